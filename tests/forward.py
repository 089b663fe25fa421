"""A clock that can be put forward, for servers in processes of their own: quotas take minutes.

``python -m tests.forward FILE`` is ``postil serve`` by that clock. It goes as clocks do, and is as
many seconds ahead as stand in the file. A second word leaves the analyzers' programs out.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SECONDS = struct.Struct("d")
real_time: Callable[[], float] = time.time


class SharedClock:
    """A clock for everybody who opens the same file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(SECONDS.pack(0.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SECONDS.size)

    def __call__(self) -> float:
        return real_time() + self.ahead

    @property
    def ahead(self) -> float:
        (seconds,) = SECONDS.unpack(self._shared)
        return float(seconds)

    def jump(self, seconds: float) -> None:
        """Put it forward; for one process only."""
        self._shared[:] = SECONDS.pack(self.ahead + seconds)


def serve(path: Path, *, analyzes: bool) -> None:
    """Serve by a shared clock; the database's own is put forward as far as the machine's."""
    clock = SharedClock(path)
    time.time = clock

    import sqlalchemy as sa  # noqa: PLC0415 - by this clock from the start

    from app.__main__ import main  # noqa: PLC0415
    from app.adapters import books  # noqa: PLC0415
    from app.bootstrap import server  # noqa: PLC0415

    def database_time(connection: sa.Connection) -> float:
        told = books.database_time(connection)
        return told if connection.dialect.name == "sqlite" else told + clock.ahead

    changes: dict[str, dict[str, Any]] = {
        "Books": {"clock": database_time},
        "SharedTurns": {"clock": database_time},
        "AnalyzerSuite": {} if analyzes else {"tools": ()},
    }
    for part, change in changes.items():
        setattr(server, part, partial(getattr(server, part), **change))
    sys.argv = ["postil", "serve"]
    main()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), analyzes=len(sys.argv) == 2)
