"""One child process: literal environment, limits on time, memory and output, nothing inherited."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

THREADS = 4
MAX_OUTPUT_BYTES = 32 * 1024 * 1024
MAX_MEMORY_BYTES = 2 * 1024 * 1024 * 1024

_LIMITED = """\
ulimit -c 0
ulimit -t "$1"
ulimit -v "$2"
ulimit -f "$3"
shift 3
exec nice -n 10 "$@"
"""
"""Units: seconds, KiB, blocks of 512 bytes (pubs.opengroup.org, utilities/ulimit). ``nice``: so
that a delivery, for whose answer somebody waits, comes first."""


_ENDED: dict[int, str] = {signal.SIGXCPU: "took too long", signal.SIGXFSZ: "printed too much"}


@dataclass(frozen=True, slots=True)
class Output:
    """A process that ended by itself."""

    code: int
    stdout: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A process that could not be used, in the words that follow the tool's name."""

    reason: str


def run_process(
    command: Sequence[str], *, folder: Path, scratch: Path, seconds: float
) -> Output | Fault:
    """Run a command in ``folder``, for at most ``seconds``; ``scratch`` holds its home and output.

    The output goes to a file, so that the kernel stops a process that prints too much.
    """
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    printed = scratch / "stdout"
    limits = (THREADS * int(seconds + 1), MAX_MEMORY_BYTES // 1024, MAX_OUTPUT_BYTES // 512)
    with printed.open("wb") as stdout:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _LIMITED, "sh", *map(str, limits), *command],
                cwd=folder,
                env=_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return Fault(f"could not be started ({error.strerror})")
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Fault("took too long")
        finally:
            _end(process)
    if code < 0:
        return Fault(_ENDED.get(-code, f"was ended by signal {-code}"))
    return Output(code, printed.read_bytes())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with everything it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a tool: no key, no proxy, no configuration to find."""
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "RAYON_NUM_THREADS": str(THREADS),
    }
