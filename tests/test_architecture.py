"""The rule of imports holds, and breaking it is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the package ``app`` that stands in a folder."""
    return subprocess.run(
        [sys.executable, *LINT, "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may spoil."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rule_holds() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("core/pull.py", "import app.ports"),
        ("core/pull.py", "import time"),
        ("pipeline.py", "import app.adapters.store"),
        ("pipeline.py", "import app.settings"),
        ("adapters/git.py", "import app.pipeline"),
        ("cli.py", "import app.web.app"),
        ("adapters/console.py", "import unidiff"),
        ("jobs.py", "import github"),
        ("bootstrap/server.py", "import fastapi"),
    ],
)
def test_breaking_the_rule_is_seen(copy: Path, module: str, forbidden: str) -> None:
    path = copy / "app" / module
    path.write_text(f"{path.read_text()}\n{forbidden}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    imported = forbidden.removeprefix("import ")
    assert "BROKEN" in done.stdout
    assert imported in done.stdout


def test_a_module_that_does_not_say_where_it_belongs_is_seen(copy: Path) -> None:
    (copy / "app" / "helpers.py").write_text('"""Everything else."""\n')
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "helpers" in done.stdout
