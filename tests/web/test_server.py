"""A server as a process of its own: how it stops, and what it left goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from dbos import DBOS

from app.adapters.store import Store, WorkerLocks, open_engine
from app.core.events import ReviewRequest, sign
from app.core.job import JobState, RunResult
from app.jobs import Jobs, Pace, Work
from app.web.app import Doors, build_app
from app.web.server import build_server, leave
from tests.web.test_app import GUID, OPENED, SECRET

PACE = Pace(grace=1.0, poll=0.02)


def serve_a_job_that_hangs(folder: Path) -> None:
    """Serve until a signal; a review makes one step and then waits without end."""
    engine = open_engine(folder)
    jobs = Jobs(Store(engine).prepare(), WorkerLocks(engine), PACE)

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        DBOS.run_step({"name": "first"}, lambda: (folder / "first").open("a").write("x"))
        (folder / "hangs").touch()
        while True:
            time.sleep(60)

    jobs.open()
    jobs.start(Work(review, lambda _request, _run, _desk: None, lambda _closing, _run: None))
    doors = Doors(accept=jobs.desk.accept, secrets=[SECRET], version="1")
    server = build_server(build_app(doors), "127.0.0.1", int(sys.argv[2]))
    server.run()
    jobs.stop()
    leave(0)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail("it never happened")
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_soon_and_its_job_goes_on_at_the_next_start(
    tmp_path: Path, free_port: int, number: signal.Signals
) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(tmp_path), str(free_port)]
    with subprocess.Popen(command, env=environ) as server:
        until(lambda: answers(free_port))
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "pull_request",
            "X-GitHub-Delivery": GUID,
            "X-Hub-Signature-256": sign(OPENED, SECRET),
        }
        url = f"http://127.0.0.1:{free_port}/webhook"
        assert httpx2.post(url, content=OPENED, headers=headers).status_code == 202
        until((tmp_path / "hangs").exists)
        server.send_signal(number)
        assert server.wait(20) == 0
    engine = open_engine(tmp_path)
    store = Store(engine).prepare()
    jobs = Jobs(store, WorkerLocks(engine), PACE)

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        DBOS.run_step({"name": "first"}, lambda: (tmp_path / "first").open("a").write("x"))
        return RunResult(JobState.DONE)

    jobs.open()
    jobs.start(Work(review, lambda _request, _run, _desk: None, lambda _closing, _run: None))
    until(lambda: store.count_jobs() == {"done": 1})
    jobs.stop(grace=0)
    DBOS.destroy(destroy_registry=True)
    engine.dispose()
    assert (tmp_path / "first").read_text() == "x"


if __name__ == "__main__":
    serve_a_job_that_hangs(Path(sys.argv[1]))
