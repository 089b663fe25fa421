"""The file that keeps an App's key: whole, private, and never stronger than the environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.bootstrap.appfile import FILE, StoredApp, check_writable, complete, read_app, write_app
from app.errors import SettingsError
from app.settings import Settings

API = "https://api.github.com"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nCANARY-KEY\n-----END RSA PRIVATE KEY-----"
SECRET = "CANARY-secret-of-the-webhook"
APP = StoredApp(
    api_url=API,
    id=7,
    slug="postil",
    page="https://github.com/apps/postil",
    private_key=KEY,
    webhook_secret=SECRET,
)


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        complete(settings)
    assert "CANARY" not in caught.value.message
    return caught.value.message


def test_what_was_stored_is_read_again_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    before = os.umask(0)
    try:
        write_app(folder, APP)
    finally:
        os.umask(before)
    assert read_app(folder) == APP
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert "CANARY" not in repr(APP)


def test_storing_leaves_the_old_file_whole_when_the_new_one_can_t_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_app(tmp_path, APP)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingsError, match="can't be written: No space left on device"):
        write_app(tmp_path, APP.model_copy(update={"id": 8}))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert read_app(tmp_path) == APP


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    write_app(tmp_path, APP)
    (tmp_path / FILE).chmod(mode)
    told = refusal(Settings(data_dir=tmp_path))
    assert told.endswith(f"holds a key that others may read: chmod 600 {tmp_path / FILE}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"id": 7}',
        APP.model_dump_json().replace('"id":7', '"id":0'),
        APP.model_dump_json().replace('"id":7', '"id":7,"more":"CANARY"'),
        APP.model_dump_json().replace(SECRET, "CANARY-short"),
        APP.model_dump_json() + " " * 70_000 + "x",
    ],
)
def test_a_damaged_file_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    write_app(tmp_path, APP)
    (tmp_path / FILE).write_text(text)
    assert "is damaged: remove it" in refusal(Settings(data_dir=tmp_path))


def test_only_a_regular_file_of_that_name_is_read(tmp_path: Path) -> None:
    write_app(tmp_path / "real", APP)
    (tmp_path / FILE).symlink_to(tmp_path / "real" / FILE)
    assert "can't be read" in refusal(Settings(data_dir=tmp_path))
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE, 0o600)
    assert "is not a regular file" in refusal(Settings(data_dir=tmp_path))


def test_a_stored_app_completes_settings_that_name_none(tmp_path: Path) -> None:
    write_app(tmp_path, APP)
    chosen = complete(Settings(data_dir=tmp_path))
    assert chosen.stored == APP
    assert not chosen.unset
    own = chosen.settings
    assert (own.github_app_id, own.github_private_key, own.webhook_secrets) == (7, KEY, (SECRET,))
    assert {KEY, SECRET} <= set(own.secrets)


def test_the_environment_wins(tmp_path: Path) -> None:
    write_app(tmp_path, APP)
    (tmp_path / FILE).chmod(0o644)  # what is not used is not judged either
    for named in (
        Settings(data_dir=tmp_path, github_app_id=9),
        Settings(data_dir=tmp_path, github_private_key="k"),
    ):
        chosen = complete(named)
        assert (chosen.settings, chosen.stored, chosen.unset) == (named, None, False)
    (tmp_path / FILE).chmod(0o600)
    turning = Settings(data_dir=tmp_path, webhook_secrets=("the new secret of it", SECRET))
    assert complete(turning).settings.webhook_secrets == turning.webhook_secrets
    assert complete(turning).settings.github_app_id == 7


def test_an_app_of_another_github_is_refused(tmp_path: Path) -> None:
    write_app(tmp_path, APP)
    told = refusal(Settings(data_dir=tmp_path, github_api_url="https://ghe.example.com/api/v3"))
    assert "POSTIL_GITHUB_API_URL" in told


def test_nothing_named_and_nothing_stored_is_unset(tmp_path: Path) -> None:
    assert complete(Settings(data_dir=tmp_path / "none")).unset
    alone = Settings(data_dir=tmp_path, webhook_secrets=("a secret on its own",))
    assert not complete(alone).unset


def test_a_data_directory_that_can_t_be_written_is_found_before_an_app_is_made(
    tmp_path: Path,
) -> None:
    check_writable(tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="POSTIL_DATA_DIR"):
        check_writable(tmp_path / "file" / "below")
