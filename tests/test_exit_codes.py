"""Every exit code of the command line, from real runs on a real repository."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sandbox.models import Act, ModelServer, Planted
from sandbox.serving import until
from tests.repos import Repo, make_repo

BUG = "Division by zero on an empty list"
OLD = b"def mean(xs):\n    return sum(xs) / max(len(xs), 1)\n"
NEW = b"def mean(xs):\n    return sum(xs) / len(xs)\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = make_repo(tmp_path / "repo")
    made.commit({"stats.py": OLD})
    made.commit({"stats.py": NEW})
    return made


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer("openai-compatible", brain=Planted({r"/ len": BUG})) as server:
        yield server


def environ(tmp_path: Path, base_url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "POSTIL_PROVIDER": "openai-compatible",
        "POSTIL_MODEL": "stand-in",
        "POSTIL_API_KEY": "sk-sandbox-key",
        "POSTIL_BASE_URL": base_url,
    }


def postil(
    repo: Repo, chosen: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=repo.path,
        env={**chosen, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_complete_review_whose_gate_passes_is_0(
    repo: Repo, model: ModelServer, tmp_path: Path
) -> None:
    done = postil(repo, environ(tmp_path, model.base_url), "review", "HEAD~1..HEAD")
    assert done.returncode == 0
    assert BUG in done.stdout
    assert "stats.py:2" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_gate_that_fails_is_1(repo: Repo, model: ModelServer, tmp_path: Path) -> None:
    chosen = environ(tmp_path, model.base_url)
    done = postil(repo, chosen, "review", "HEAD~1..HEAD", "--fail-on", "info", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["conclusion"] == "failure"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["review", "--nonsense"], "--nonsense"),
        (["review", "no-such-target"], "no-such-target"),
        (["review", "HEAD~9..HEAD"], "HEAD~9"),
        (["review", "--provider", "nobody"], "--provider"),
        (["review", "--max-cost", "much"], "--max-cost"),
        (["review", "--max-cost", "1"], "POSTIL_PROVIDERS_FILE"),
        (["review", "--base-url", "http://models.example/v1"], "https"),
        (["review", "--post"], "--post"),
        (["review", "-o", "no/such/folder/x"], "-o"),
        (["serve", "--role", "worker"], "POSTIL_WEBHOOK_SECRET"),
    ],
)
def test_usage_and_configuration_are_2_with_one_sentence(
    repo: Repo, model: ModelServer, tmp_path: Path, arguments: list[str], named: str
) -> None:
    done = postil(repo, environ(tmp_path, model.base_url), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("postil: ana")]
    assert len(sentences) == 1
    assert named in sentences[0]


def test_a_model_that_is_down_is_3_and_never_reads_like_a_clean_review(
    repo: Repo, tmp_path: Path
) -> None:
    chosen = environ(tmp_path, "http://127.0.0.1:9/v1")
    done = postil(repo, chosen, "review", "HEAD~1..HEAD")
    assert done.returncode == 3
    assert done.stdout.startswith("Nothing was reviewed: the model service is unavailable")
    assert "No findings" not in done.stdout


def test_the_analyzers_alone_on_purpose_are_complete(repo: Repo, tmp_path: Path) -> None:
    chosen = environ(tmp_path, "http://127.0.0.1:9/v1")
    done = postil(repo, chosen, "review", "HEAD~1..HEAD", "--no-model", "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (0, "clean")
    assert {unit["reason"] for unit in report["ledger"]["units"]} == {"no-model"}


def test_a_plan_asks_nothing_and_is_0(repo: Repo, model: ModelServer, tmp_path: Path) -> None:
    chosen = environ(tmp_path, model.base_url)
    done = postil(repo, chosen, "plan", "HEAD~1..HEAD", "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (0, "planned")
    assert [chunk["units"] for chunk in report["chunks"]] == [
        [unit["id"] for unit in report["ledger"]["units"]]
    ]
    assert model.seen == []


def test_an_interruption_prints_what_was_found_and_is_130(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"planted.py": b"def total():\n    return prise\n"})
    slow = ModelServer("openai-compatible", script=lambda _seen: Act(delay=60.0))
    with slow as server:
        running = subprocess.Popen(
            [sys.executable, "-m", "app", "review", "HEAD~1..HEAD"],
            cwd=repo.path,
            env={
                **environ(tmp_path, server.base_url),
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: bool(server.seen), 60.0, lambda: "the model was not asked")
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Undefined name `prise`" in out
    assert "interrupted" in out
    assert "No findings" not in out
