from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.adapters.analyzers import process
from app.adapters.analyzers.process import Fault, Output, run_process


def run(tmp_path: Path, *command: str, seconds: float = 20) -> Output | Fault:
    return run_process(command, folder=tmp_path, scratch=tmp_path, seconds=seconds)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_was_printed_and_the_exit_code_come_back(tmp_path: Path) -> None:
    assert run(tmp_path, "/bin/sh", "-c", "echo out; echo err >&2; exit 3") == Output(3, b"out\n")


def test_an_argument_is_never_read_by_the_shell(tmp_path: Path) -> None:
    said = run(tmp_path, "/bin/echo", "$(touch pwned)", "`touch pwned`", "; touch pwned", "$HOME")

    assert said == Output(0, b"$(touch pwned) `touch pwned` ; touch pwned $HOME\n")
    assert not (tmp_path / "pwned").exists()


def test_the_environment_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "HTTPS_PROXY", "RUFF_CONFIG", "SHELLCHECK_OPTS"):
        monkeypatch.setenv(name, "canary")
    said = run(tmp_path, "/usr/bin/env")

    assert isinstance(said, Output)
    assert b"canary" not in said.stdout
    assert f"HOME={tmp_path}/home".encode() in said.stdout


def test_whoever_waits_for_the_machine_comes_before_an_analyzer(tmp_path: Path) -> None:
    least = os.getpriority(os.PRIO_PROCESS, 0) + 10
    assert run(tmp_path, "/usr/bin/nice") == Output(0, f"{min(least, 19)}\n".encode())


def test_a_process_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! > child; wait"
    said = run(tmp_path, "/bin/sh", "-c", script, seconds=0.5)

    assert said == Fault("took too long")
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def test_a_process_that_prints_too_much_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_OUTPUT_BYTES", 64 * 1024)

    assert run(tmp_path, "/usr/bin/yes", seconds=5) == Fault("printed too much")


def test_a_process_that_wants_too_much_memory_gets_none(tmp_path: Path) -> None:
    said = run(tmp_path, sys.executable, "-c", "bytearray(3 << 30)")

    assert isinstance(said, Output)
    assert said.code == 1


def test_a_program_that_is_not_there_is_an_exit_code(tmp_path: Path) -> None:
    assert run(tmp_path, str(tmp_path / "missing")) == Output(127, b"")


def test_an_interrupt_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self.pid)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "/bin/sleep", "60")

    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
