"""The command line on real code: a well-known package, changed as its maintainers might change it.

The package is one of Postil's own dependencies, as installed: urllib3. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sandbox.models import ModelServer
from tests.repos import Repo, make_repo

Files = dict[str, bytes | None]

PLANTED: Files = {
    "src/planted.py": b"def total(items, seen=[]):\n    return prise\n",
    "scripts/clean.sh": b'#!/bin/sh\nset -eu\nrm -rf "$1/"*\n',
    ".github/workflows/greet.yml": (
        b"name: greet\non: issues\njobs:\n  greet:\n    runs-on: ubuntu-latest\n    steps:\n"
        b'      - run: echo "${{ github.event.issue.title }}"\n'
    ),
    "docs/guide.md": b"# Guide\n\nThis pakcage is installed with pip.\n",
    "src/keys.py": b'ACCESS = "' + b"AKIA" + b'QZ7RWX3YVTPL5NUM"\n',
}
EXPECTED = {
    ("src/planted.py", "analyzer:ruff"),
    ("scripts/clean.sh", "analyzer:shellcheck"),
    (".github/workflows/greet.yml", "analyzer:zizmor"),
    ("docs/guide.md", "analyzer:typos"),
    ("src/keys.py", "analyzer:detect-secrets"),
}
HOSTILE: Files = {
    "ruff.toml": b'exclude = ["**"]\n',
    "pyproject.toml": (
        b'[tool.ruff]\nexclude = ["**"]\n[tool.typos.files]\nextend-exclude = ["*"]\n'
    ),
    ".shellcheckrc": b"disable=all\n",
    "zizmor.yml": b"rules:\n  template-injection:\n    disable: true\n",
    ".github/zizmor.yml": b"rules:\n  template-injection:\n    disable: true\n",
    "typos.toml": b'[files]\nextend-exclude = ["*"]\n',
    ".secrets.baseline": b'{"version": "1.5.0", "plugins_used": [], "results": {}}\n',
    "setup.cfg": b"[flake8]\nexclude = *\n",
}


def package_files(limit: int = 60) -> Files:
    spec = find_spec("urllib3")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    paths = sorted(root.rglob("*.py"))[:limit]
    return {f"src/urllib3/{path.relative_to(root)}": path.read_bytes() for path in paths}


def postil(
    repo: Repo, *arguments: str, cache: Path, environ: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "app",
            *arguments,
            "--format",
            "json",
            "-q",
            "--repo",
            str(repo.path),
        ],
        cwd=Path(__file__).parents[1],
        env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(cache), **(environ or {})},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def changed_numbers(repo: Repo, base: str, head: str) -> dict[str, set[int]]:
    """Which lines of which files git itself calls added."""
    found: dict[str, set[int]] = {}
    path = ""
    for line in repo.git("diff", "-U0", base, head).decode().split("\n"):
        if line.startswith("+++ b/"):
            path = line.removeprefix("+++ b/")
        elif line.startswith("@@"):
            start, _, length = line.split("+")[1].split(" ")[0].partition(",")
            numbers = range(int(start), int(start) + int(length or 1))
            found.setdefault(path, set()).update(numbers)
    return found


@pytest.mark.parametrize("hostile", [{}, HOSTILE], ids=["plain", "with hostile configuration"])
def test_every_analyzer_finds_its_planted_defect_and_nothing_off_the_changed_lines(
    tmp_path: Path, hostile: Files
) -> None:
    repo = make_repo(tmp_path / "repo")
    base = repo.commit(package_files())
    head = repo.commit({**PLANTED, **hostile})

    code, report = postil(repo, "review", f"{base}..{head}", "--no-model", cache=tmp_path)

    assert code == 0
    found = {(one["path"], one["source"]) for one in report["findings"]}
    secrets = {("src/keys.py", "analyzer:detect-secrets"), ("src/keys.py", "analyzer:secrets")}
    assert EXPECTED - secrets <= found
    assert secrets & found
    lines = changed_numbers(repo, base, head)
    assert all(one["line"] in lines[one["path"]] for one in report["findings"] if one["anchored"])
    assert "AKIA" + "QZ7RWX3YVTPL5NUM" not in json.dumps(report)


def test_a_change_that_only_touches_clean_lines_of_real_code_finds_nothing_there(
    tmp_path: Path,
) -> None:
    repo = make_repo(tmp_path / "repo")
    files = package_files(limit=10)
    base = repo.commit(files)
    head = repo.commit({path: (data or b"") + b"\n\nADDED = 1\n" for path, data in files.items()})

    code, report = postil(repo, "review", f"{base}..{head}", "--no-model", cache=tmp_path)

    assert (code, report["verdict"], report["findings"]) == (0, "clean", [])


def test_every_line_of_a_large_pull_is_in_some_prompt(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    base = repo.commit({"README.md": b"# Large\n"})
    files: Files = {
        f"pkg{number % 12}/module_{number}.py": "".join(
            f"value_{number}_{line} = {line} * {number}\n" for line in range(80)
        ).encode()
        for number in range(150)
    }
    head = repo.commit(files)
    with ModelServer("openai-compatible") as server:
        environ = {
            "POSTIL_PROVIDER": "openai-compatible",
            "POSTIL_MODEL": "stand-in",
            "POSTIL_BASE_URL": server.base_url,
            "POSTIL_API_KEY": server.key,
        }
        code, report = postil(
            repo, "review", f"{base}..{head}", cache=tmp_path / "cache", environ=environ
        )
        prompts = "\n".join(seen.prompt for seen in server.seen)
        asked = report["usage"]["requests"]

        assert (code, report["verdict"]) == (0, "clean")
        assert report["ledger"]["changed_lines"] == 12_000
        assert report["ledger"]["totals"]["reviewed"]["changed_lines"] == 12_000
        missing = [
            (number, line)
            for number in range(150)
            for line in range(80)
            if f"| value_{number}_{line} = " not in prompts
        ]
        assert missing == []
        assert asked > 10

        # one file edited: only what shows it is asked again
        edited = repo.commit({"pkg0/module_0.py": b"value_0_0 = 'edited'\n"})
        again, second = postil(
            repo, "review", f"{base}..{edited}", cache=tmp_path / "cache", environ=environ
        )

    assert (again, second["verdict"]) == (0, "clean")
    assert second["usage"]["requests"] < asked / 3
