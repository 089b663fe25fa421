"""A real ``postil serve`` in a process of its own, for the demonstration and the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from socket import socket
from urllib.error import URLError
from urllib.request import urlopen

from sandbox.github import App, CheckRun, GitHub, Pull

START_LIMIT_S = 60.0
REVIEW_LIMIT_S = 600.0
STOP_LIMIT_S = 20.0
SERVE = ("-m", "app", "serve")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``postil serve``."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path
    data: Path

    def kill(self) -> None:
        """Kill it as a power cut would, and wait until it is gone."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """Find a TCP port on loopback that nobody uses now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def inherited() -> dict[str, str]:
    """Return what a server keeps of this process's environment."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def environment(app: App, api: str, data: Path) -> dict[str, str]:
    """Return the environment of a server for an App, without a choice of model."""
    return inherited() | {
        "POSTIL_GITHUB_API_URL": api,
        "POSTIL_GITHUB_APP_ID": str(app.id),
        "POSTIL_GITHUB_PRIVATE_KEY": app.private_key,
        "POSTIL_WEBHOOK_SECRET": app.webhook_secret,
        "POSTIL_DATA_DIR": str(data),
        "POSTIL_PORT": _address(app).rpartition(":")[2],
    }


@contextmanager
def running_server(
    app: App,
    api: str,
    folder: Path,
    environ: Mapping[str, str],
    command: Sequence[str] = SERVE,
) -> Iterator[Server]:
    """Run a server for an App until the block ends; in the same folder it goes on where it was."""
    log, data = folder / "server.log", folder / "data"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**environment(app, api, data), **environ},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, _address(app), log, data)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(
    happened: Callable[[], bool], limit_s: float, tell: Callable[[], str], pause_s: float = 0.05
) -> None:
    """Wait until something happened; raises RuntimeError with what ``tell`` says when it did not.

    Nothing ends the wait early: ``happened`` raises when it can see that it never will.
    """
    deadline = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(tell())
        time.sleep(pause_s)


def wait_until_ready(server: Server, limit_s: float = START_LIMIT_S) -> None:
    """Wait for ``/readyz``; raises RuntimeError with the log's end when the server stops."""

    def tell() -> str:
        return f"the server is not ready:\n{server.log.read_text(errors='replace')[-2000:]}"

    def is_ready() -> bool:
        if server.process.poll() is not None:
            raise RuntimeError(tell())
        try:
            with urlopen(f"{server.address}/readyz", timeout=2):  # noqa: S310 - loopback
                return True
        except (URLError, OSError, HTTPException):
            return False

    until(is_ready, limit_s, tell)


def completed_check(pull: Pull) -> CheckRun | None:
    """Return the completed check run on the pull request's head, if there is one."""
    for run in pull.repository.check_runs:
        if run.suite.head_sha == pull.head_sha and run.status == "completed":
            return run
    return None


def wait_for_check(pull: Pull, limit_s: float = REVIEW_LIMIT_S) -> CheckRun:
    """Wait until our check run on the head is completed."""
    until(
        lambda: completed_check(pull) is not None,
        limit_s,
        lambda: "no completed check run appeared in time",
    )
    run = completed_check(pull)
    if run is None:
        raise RuntimeError("the check run was opened again")
    return run


def leaks(key: str, github: GitHub, pull: Pull, server: Server) -> list[str]:
    """Name every place but the code itself where the planted key is found."""
    said = {f"the review {review.id}": review.body for review in pull.reviews}
    said |= {f"the comment {one.id}": one.body for one in pull.review_comments}
    said |= {f"the comment {one.id}": one.body for one in pull.comments}
    said |= {f"the check run {run.id}": str(run.output) for run in pull.repository.check_runs}
    said |= {
        f"a request: {call.method} {call.path}": call.body.decode(errors="replace")
        for call in github.calls
        if "git-upload-pack" not in call.path
    }
    files = [server.log, *(path for path in server.data.rglob("*") if path.is_file())]
    # the object store holds the pull request's own code; prompts, answers and records do not
    kept = [path for path in files if "objects" not in path.parts]
    found = [place for place, text in said.items() if key in text]
    return found + [str(path) for path in kept if _holds(path, key.encode())]


def _holds(path: Path, key: bytes) -> bool:
    try:
        return key in path.read_bytes()
    except FileNotFoundError:  # a running server removes what it no longer needs
        return False


def _address(app: App) -> str:
    return (app.webhook_url or "").removesuffix("/webhook")
