"""Named places at which a fault test kills the process; nothing happens unless one is armed.

A test arms a point in the process that it starts; no setting and no command does.
"""

from __future__ import annotations

import os
import signal
import threading

_lock = threading.Lock()
_armed: dict[str, tuple[int, signal.Signals]] = {}


def arm(name: str, nth: int = 1, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill this process when ``at(name)`` is reached for the nth time from now on."""
    with _lock:
        _armed[name] = nth, number


def at(name: str) -> None:
    """Mark a place where a crash must lose nothing and repeat nothing."""
    if not _armed:
        return
    with _lock:
        left, number = _armed.get(name, (0, signal.SIGKILL))
        _armed[name] = left - 1, number
    if left == 1:
        os.kill(os.getpid(), number)
