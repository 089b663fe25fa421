"""Where servers come from that are to die: a process that has all loaded, and forks.

It reads one order a line, lets a ``postil serve`` live and says how it ended. What a server of its
own would load in seconds is there at once; from then on it is a process like any other.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from app.__main__ import main as postil
from app.adapters import crash
from app.web import run
from tests.faults.world import Time, hurried

LOADED = run.serve
"""What the command would load only when it is asked for."""


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
    sys.argv = ["postil", "serve"]
    code = 1
    with suppress(BaseException), hurried(Time(order["ahead"]), grace=5.0):
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
