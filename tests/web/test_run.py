"""What keeps ``postil serve`` from starting is one sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import Settings
from app.web.run import serve


def test_a_port_that_is_taken_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            host="127.0.0.1",
            port=port,
            data_dir=tmp_path / "data",
            webhook_secrets=("a secret of sixteen",),
            github_app_id=1,
            github_private_key="a key",
        )
        with pytest.raises(SettingsError, match=rf"POSTIL_PORT .*{port}.*: Address already in use"):
            serve(settings, "all")
    assert not (tmp_path / "data").exists()
