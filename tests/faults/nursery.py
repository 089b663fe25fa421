"""Where servers come from that are to die, or are processes of their own for another reason.

A process that has all loaded, and forks: it reads one order a line, lets a ``postil serve`` live
and says how it ended. What a server of its own would load in seconds is there at once; from then on
it is a process like any other.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.request import urlopen

import pytest

from app.__main__ import main as postil
from app.adapters import crash
from app.jobs import Jobs
from app.web import run
from sandbox.serving import ROOT, environment, until
from tests.faults.world import LIMIT_S, Time, World, hurried

HEARING = {"after_verify", "after_insert", "after_ack"}
"""Where a delivery is answered: a server that is asked to stop waits for that."""
LOADED = run.serve
"""What the command would load only when it is asked for."""


@dataclass(frozen=True, slots=True)
class Nursery:
    """Starts servers in processes of their own; ``heard`` is what it says of them, line by line."""

    process: subprocess.Popen[str]
    heard: queue.Queue[str] = field(default_factory=queue.Queue)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.put(line)

    @contextmanager
    def child(
        self,
        world: World,
        point: str = "",
        nth: int = 1,
        number: signal.Signals = signal.SIGKILL,
        log: str = "",
        **environ: str,
    ) -> Iterator[Child]:
        """Let a server live that gets a signal when it comes to a point for the nth time.

        One that is asked to stop in the middle of a job holds still there until it knows.
        """
        stage = world.stage
        usual = environment(stage.app, stage.github.url, stage.folder / "data")
        usual |= {**stage.choice_of_model(), "POSTIL_CONCURRENCY": "1", **environ}
        order = {
            "environ": usual,
            "log": log or str(stage.folder / "server.log"),
            "ahead": world.time.ahead,
            "point": point,
            "nth": nth,
            "number": int(number),
            "hold": number is signal.SIGTERM and point not in HEARING,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child = Child(int(self.heard.get(timeout=LIMIT_S)), self, usual["POSTIL_PORT"])
        try:
            yield child
        finally:
            child.end(signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """A server; ``code`` is how it ended, once it has."""

    pid: int
    nursery: Nursery
    port: str
    code: int | None = None

    def memory(self, what: str) -> int:
        """Return its resident bytes: now (``VmRSS``), or the most there ever were (``VmHWM``)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (size,) = (line.split()[1] for line in lines if line.startswith(f"{what}:"))
        return int(size) * 1024

    def wait_until_ready(self) -> None:
        address = f"http://127.0.0.1:{self.port}/readyz"
        until(lambda: answers(address), LIMIT_S, lambda: "the server is not ready", 0.01)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end."""
        if self.code is None:
            try:
                self.code = int(self.nursery.heard.get(timeout=limit_s))
            except queue.Empty:
                pytest.fail("the server did not end")
        return self.code

    def end(self, number: signal.Signals) -> int:
        if self.code is None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.pid, number)
        return self.wait()


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.faults.nursery"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        nursery = Nursery(process)
        listener = threading.Thread(target=nursery.listen, daemon=True)
        listener.start()
        yield nursery
        assert process.stdin is not None
        process.stdin.close()
        listener.join()


# the process itself


def hold_at(point: str) -> None:
    """Let who has been asked to stop at a point go on when all of the server know of it."""
    stop, at, stopping = Jobs.stop, crash.at, threading.Event()

    def stop_all(jobs: Jobs, grace: float | None = None) -> None:
        jobs._halt.set()
        stopping.set()
        stop(jobs, grace)

    def stay(name: str) -> None:
        at(name)
        if name == point and crash._armed[point][0] == 0:
            stopping.wait(LIMIT_S)

    patch = pytest.MonkeyPatch()
    patch.setattr(Jobs, "stop", stop_all)
    patch.setattr(crash, "at", stay)


def live(order: dict[str, Any]) -> NoReturn:
    """Serve until the named point, or until somebody else ends it."""
    sink = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ.clear()
    os.environ.update(order["environ"])
    if order["point"]:
        crash.arm(order["point"], order["nth"], signal.Signals(order["number"]))
    if order["hold"]:
        hold_at(order["point"])
    # the engine looks once a second whether all have come to an end
    eager = SimpleNamespace(time=time.time, sleep=lambda _: time.sleep(0.05))
    pytest.MonkeyPatch().setattr("dbos._dbos.time", eager)
    sys.argv = ["postil", "serve"]
    code = 1
    with suppress(BaseException), hurried(Time(order["ahead"]), grace=15.0):
        try:
            postil()
        except SystemExit as end:
            code = int(end.code or 0)
    logging.shutdown()
    os._exit(code)


def serve_orders() -> None:
    """Let one server live for each order, one after the other."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve_orders()
