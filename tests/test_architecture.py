"""The rule of imports is a failing test: it holds as the code is, and breaks when it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "a layer reaches up": ("app/core/pull.py", "import app.pipeline\n"),
    "siblings know each other": ("app/settings.py", "import app.jobs\n"),
    "the core reads the clock": ("app/core/pull.py", "import time\n"),
    "a second door for unidiff": ("app/core/ledger.py", "import unidiff\n"),
    "a second door for dbos": ("app/adapters/store.py", "import dbos\n"),
    "a module that belongs nowhere": ("app/helpers.py", "import app.errors\n"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rule_of_imports_holds(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(("path", "line"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_breaking_the_rule_of_imports_is_found(copy: Path, path: str, line: str) -> None:
    target = copy / path
    text = target.read_text() if target.exists() else ""
    target.write_text(text.replace("from __future__ import annotations\n", "", 1) + f"\n{line}")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
