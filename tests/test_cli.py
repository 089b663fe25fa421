"""What may be reviewed from the command line, and the forms its result comes in."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from app.bootstrap import parts
from app.cli import run
from sandbox.models import ModelServer, Planted
from tests.repos import Repo, make_repo

ROOT = Path(__file__).parents[1]
SARIF_SCHEMA = ROOT / "tests" / "data" / "sarif-2.1.0.json"
BUG = "Division by zero on an empty list"
OLD = b"def mean(xs):\n    return sum(xs) / max(len(xs), 1)\n"
NEW = b"def mean(xs):\n    return sum(xs) / len(xs)\n"
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """A repository on a branch of its own, and a model service."""

    repo: Repo
    model: ModelServer
    home: Path

    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "POSTIL_PROVIDER": "openai-compatible",
            "POSTIL_MODEL": "stand-in",
            "POSTIL_API_KEY": self.model.key,
            "POSTIL_BASE_URL": self.model.base_url,
        }

    def postil(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        """Run a command in this process, where a start costs nothing, and return what it wrote."""
        out = io.TextIOWrapper(io.BytesIO())
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
            patch.setattr(os, "environ", self.environ())
            patch.chdir(self.repo.path)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            assert run(arguments, serve=lambda _settings, _role: 0, act=lambda: 0) == code
        return out.buffer.getvalue()

    def start(
        self, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=self.repo.path,
            env=self.environ(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )

    def report(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> Report:
        report: Report = json.loads(
            self.postil(*arguments, "--format", "json", "-q", stdin=stdin, code=code)
        )
        check_report(report)
        return report


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One repository for all: committed, staged, unstaged and untracked changes on a branch."""
    folder = tmp_path_factory.mktemp("desk")
    repo = make_repo(folder / "repo")
    repo.commit({"stats.py": OLD, "staged.py": b"", "loose.py": b"", ".gitignore": b"*.log\n"})
    repo.git("checkout", "--quiet", "-b", "work")
    repo.commit({"stats.py": NEW})
    repo.write({"staged.py": b"x = undefined_one\n"})
    repo.git("add", "staged.py")
    repo.write({"loose.py": b"x = undefined_two\n", "new.py": b"x = undefined_three\n"})
    repo.write({"ignored.log": b"x = undefined_four\n"})
    with ModelServer("openai-compatible", brain=Planted({r"/ len\(": BUG})) as model:
        yield Desk(repo, model, folder / "home")


# The result as JSON, exactly as it is documented.

Shape = Mapping[str, object]
TEXT, COUNT, NUMBER = "a text", "a count", "a number"
FINDING: Shape = {
    "id": TEXT,
    "path": TEXT,
    "side": {"LEFT", "RIGHT"},
    "start_line": COUNT,
    "line": COUNT,
    "anchored": {True, False},
    "severity": {"critical", "major", "minor", "info"},
    "category": {"bug", "security", "concurrency", "data", "api", "performance", "test", "docs"},
    "title": TEXT,
    "body": TEXT,
    "scenario": TEXT,
    "suggestion": (TEXT, None),
    "evidence": {"rung": {"E0", "E1", "E2", "E3"}, "notes": [TEXT]},
    "source": TEXT,
}
STATES = {"planned", "reviewed", "waived", "failed", "over_budget", "too_large", "unsupported"}
TOTAL: Shape = {"units": COUNT, "changed_lines": COUNT}
UNIT: Shape = {
    "id": TEXT,
    "path": TEXT,
    "old_start": COUNT,
    "old_lines": COUNT,
    "new_start": COUNT,
    "new_lines": COUNT,
    "changed_lines": COUNT,
    "state": STATES,
    "reason": TEXT,
}
REPORT: Shape = {
    "schema": {"postil.review/1"},
    "run_id": TEXT,
    "verdict": {"clean", "findings", "incomplete", "failed", "planned"},
    "conclusion": {"success", "neutral", "failure"},
    "summary": TEXT,
    "duration_s": NUMBER,
    "pull": ({"repository": TEXT, "number": COUNT, "title": TEXT}, None),
    "base_sha": (TEXT, None),
    "head_sha": (TEXT, None),
    "model": ({"provider": TEXT, "model": TEXT}, None),
    "findings": [FINDING],
    "dropped": [{"path": TEXT, "line": COUNT, "title": TEXT, "reason": TEXT}],
    "ledger": {
        "changed_lines": COUNT,
        "units": [UNIT],
        "totals": dict.fromkeys(STATES, TOTAL),
    },
    "estimate": {
        "requests": COUNT,
        "prompt_tokens": COUNT,
        "max_completion_tokens": COUNT,
        "max_cost_usd": (NUMBER, None),
    },
    "usage": {
        "requests": COUNT,
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "cached_tokens": COUNT,
        "reasoning_tokens": COUNT,
        "cost_usd": (NUMBER, None),
    },
}
CHUNK: Shape = {"id": TEXT, "units": [TEXT], "prompt_tokens": COUNT}


def check_report(report: Report) -> None:
    """Check that a result has the documented form, and that its sums are right."""
    wanted = dict(REPORT)
    if "notes" in report:
        wanted["notes"] = [TEXT]
    if report["verdict"] == "planned":
        wanted["chunks"] = [CHUNK]
    check(report, wanted, "")
    ledger = report["ledger"]
    for state, total in ledger["totals"].items():
        units = [unit for unit in ledger["units"] if unit["state"] == state]
        assert total["units"] == len(units)
        assert total["changed_lines"] == sum(unit["changed_lines"] for unit in units)
    assert ledger["changed_lines"] == sum(unit["changed_lines"] for unit in ledger["units"])
    for unit in ledger["units"]:
        assert unit["reason"] or unit["state"] in {"reviewed", "planned"}
    for finding in report["findings"]:
        assert finding["source"] == "model" or finding["source"].startswith("analyzer:")
        assert finding["start_line"] <= finding["line"]


def check(value: object, wanted: object, where: str) -> None:
    """Check a value against a shape: nothing is missing, more, or of another kind."""
    if isinstance(wanted, tuple):
        first, other = wanted
        if value is other:
            return
        wanted = first
    if isinstance(wanted, Mapping):
        assert isinstance(value, dict), where
        assert value.keys() == wanted.keys(), where
        for key, shape in wanted.items():
            check(value[key], shape, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(value, list), where
        for item in value:
            check(item, wanted[0], f"{where}[]")
    elif isinstance(wanted, set):
        assert isinstance(value, str | bool), where
        assert value in wanted, where
    else:
        kinds: dict[object, tuple[type, ...]] = {TEXT: (str,), COUNT: (int,), NUMBER: (int, float)}
        assert isinstance(value, kinds[wanted]), where
        assert not isinstance(value, bool), where
        assert isinstance(value, str) or value >= 0, where  # type: ignore[operator]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("usage"),
        lambda report: report.update(more=1),
        lambda report: report.update(verdict="good"),
        lambda report: report.update(duration_s="1"),
        lambda report: report["usage"].update(requests=True),
        lambda report: report["ledger"]["units"].pop(),
        lambda report: report["findings"][0].update(anchored="yes"),
    ],
)
def test_the_checker_itself_is_strict(spoil: Any, reviewed: Report) -> None:  # noqa: ANN401 - any change
    spoilt = json.loads(json.dumps(reviewed))
    spoil(spoilt)
    with pytest.raises((AssertionError, KeyError)):
        check_report(spoilt)


# What is reviewed.


@pytest.fixture(scope="module")
def reviewed(desk: Desk) -> Report:
    """The result of a range."""
    return desk.report("review", "main..work")


def paths(report: Report) -> list[str]:
    return sorted({unit["path"] for unit in report["ledger"]["units"]})


def test_a_range_is_what_changed_between_its_ends(desk: Desk, reviewed: Report) -> None:
    assert paths(reviewed) == ["stats.py"]
    assert reviewed["head_sha"] == desk.repo.head()
    assert reviewed["base_sha"] == desk.repo.git("rev-parse", "main").decode().strip()
    assert reviewed["model"] == {"provider": "openai-compatible", "model": "stand-in"}
    (finding,) = reviewed["findings"]
    assert (finding["path"], finding["line"], finding["title"]) == ("stats.py", 2, BUG)
    assert finding["anchored"]
    assert reviewed["verdict"] == "findings"
    assert reviewed["usage"]["requests"] == 2


def test_nothing_named_is_the_branch_with_all_that_is_not_committed(desk: Desk) -> None:
    report = desk.report("review", "--no-model")
    assert paths(report) == ["loose.py", "new.py", "staged.py", "stats.py"]
    named = {finding["title"] for finding in report["findings"]}
    assert named == {f"Undefined name `undefined_{word}`" for word in ("one", "two", "three")}


def test_what_is_staged_can_be_looked_at_alone(desk: Desk) -> None:
    report = desk.report("review", "--staged", "--no-model")
    assert paths(report) == ["staged.py"]
    assert [finding["title"] for finding in report["findings"]] == [
        "Undefined name `undefined_one`"
    ]


def test_a_base_can_be_named(desk: Desk) -> None:
    report = desk.report("plan", "--base", "HEAD")
    assert paths(report) == ["loose.py", "new.py", "staged.py"]


def test_a_diff_may_come_from_a_pipe_or_a_file(desk: Desk, tmp_path: Path) -> None:
    diff = desk.repo.git("diff", "main", "work")
    piped = desk.report("review", "-", stdin=diff)
    assert [finding["title"] for finding in piped["findings"]] == [BUG]
    assert (piped["base_sha"], piped["head_sha"]) == (None, None)
    patch = tmp_path / "change.patch"
    patch.write_bytes(diff)
    with_code = desk.report("review", str(patch), "--repo", str(desk.repo.path), "--no-model")
    assert paths(with_code) == ["stats.py"]
    assert with_code["head_sha"] == desk.repo.head()


def test_a_plan_says_what_would_be_asked_and_asks_nothing(desk: Desk) -> None:
    asked = len(desk.model.seen)
    report = desk.report("plan", "main..work")
    assert len(desk.model.seen) == asked
    assert (report["verdict"], report["findings"]) == ("planned", [])
    assert {unit["state"] for unit in report["ledger"]["units"]} == {"planned"}
    assert report["estimate"]["requests"] == len(report["chunks"]) == 1
    planned = [unit["id"] for unit in report["ledger"]["units"]]
    assert [unit for chunk in report["chunks"] for unit in chunk["units"]] == planned


# The forms of a result.


def test_the_result_stands_on_stdout_and_progress_on_stderr(desk: Desk) -> None:
    done = desk.start("review", "main..work")
    text = done.stdout.decode()
    assert text.startswith("1 finding (1 major), all 2 changed lines reviewed\n")
    assert f"         {BUG}\n" in text
    assert "postil:" not in text
    assert b"\x1b" not in done.stdout
    lines = done.stderr.decode().splitlines()
    assert lines
    assert all(line.startswith("postil: ") for line in lines)


def test_quiet_is_quiet_and_a_file_takes_the_result(desk: Desk, tmp_path: Path) -> None:
    output = tmp_path / "report.sarif"
    done = desk.start("review", "main..work", "-q", "--format", "sarif", "-o", str(output))
    assert (done.stdout, done.stderr) == (b"", b"")
    report = json.loads(output.read_bytes())
    jsonschema.validate(report, json.loads(SARIF_SCHEMA.read_text()))
    (result,) = report["runs"][0]["results"]
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "stats.py"
    assert location["physicalLocation"]["region"]["startLine"] == 2


def test_markdown_is_one_document(desk: Desk) -> None:
    text = desk.postil("review", "main..work", "--format", "markdown", "-q").decode()
    assert text.startswith("# Postil: 1 finding (1 major), all 2 changed lines reviewed\n")
    assert "## `stats.py:2`" in text
    assert text.endswith("\n")


# What goes wrong outside of the review.


def test_a_folder_that_is_no_repository_is_named(desk: Desk, tmp_path: Path) -> None:
    done = desk.start("review", "--repo", str(tmp_path), "-q")
    assert (done.returncode, done.stdout) == (2, b"")
    (sentence,) = done.stderr.decode().splitlines()
    assert str(tmp_path) in sentence
    assert "--repo" in sentence


def test_a_result_that_can_not_be_written_is_no_failed_gate(desk: Desk) -> None:
    with Path("/dev/full").open("wb") as full:
        done = desk.start("review", "main..work", "--no-model", "-q", stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"postil: the result can't be written: No space left on device\n"


def test_a_reader_that_went_away_is_no_failed_gate(desk: Desk) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = desk.start("review", "main..work", "--no-model", "-q", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (3, b"")


def test_without_any_model_the_first_line_says_what_to_set(
    desk: Desk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts, "has_local", lambda: False)
    for name in [name for name in os.environ if name.endswith("_API_KEY") or "POSTIL" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["review", "main..work", "--repo", str(desk.repo.path), "-q"]
    code = run(arguments, serve=lambda _settings, _role: 0, act=lambda: 0)
    first, *rest = capfd.readouterr().out.splitlines()
    assert code == 3
    assert first.startswith("Nothing was reviewed: no model is configured: set NOVITA_API_KEY")
    assert any("stats.py:1: failed, no model" in line for line in rest)
