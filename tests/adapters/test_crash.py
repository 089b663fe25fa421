"""The places where a fault test may kill the process: silent unless armed."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path

import app
from app.adapters import crash

ROOT = Path(app.__file__).parent


def crash_points(folder: Path) -> list[str]:
    """Return the name of every crash point in the source below a folder, in order."""
    return [
        name.value
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"crash.at", "self._at"}
        for name in node.args
        if isinstance(name, ast.Constant) and isinstance(name.value, str)
    ]


def test_every_crash_point_has_a_name_of_its_own() -> None:
    points = crash_points(ROOT)
    assert len(points) == len(set(points))
    assert {
        "after_files_page",
        "before_write",
        "after_write_before_record",
        "before_check",
        "after_check_before_record",
    } <= set(points)


def test_nothing_happens_unless_armed() -> None:
    crash.at("before_write")


def test_the_nth_time_kills() -> None:
    code = (
        "from app.adapters import crash\n"
        "crash.arm('here', 3)\n"
        "for turn in range(5):\n"
        "    print(turn, flush=True)\n"
        "    crash.at('there')\n"
        "    crash.at('here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]
