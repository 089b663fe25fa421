"""Odd runners, tokens and events: one sentence each, and never more than was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import action
from app.adapters.workflow import Step, refuse_other_server
from app.errors import UserError
from sandbox.models import ModelServer, Planted
from tests.action.conftest import BUG, MEAN, WRITING, Job


def test_an_empty_and_an_endless_event_are_a_wrong_set_up(job: Job, tmp_path: Path) -> None:
    empty, endless = tmp_path / "empty.json", tmp_path / "endless.json"
    empty.touch()
    with endless.open("wb") as file:
        file.truncate(30 * 1024 * 1024)
    for path, why in ((empty, "does not hold JSON"), (endless, "more than 25 MB")):
        ran = job.on_pull(environ={"GITHUB_EVENT_PATH": str(path)})
        assert (ran.code, ran.outputs["verdict"]) == (2, "failed")
        assert why in ran.of("error")[0]["message"]
    assert job.github.calls == []


def test_without_a_token_the_input_is_named(job: Job) -> None:
    ran = job.on_pull(inputs={**job.inputs, "github-token": ""})
    assert ran.code == 2
    assert "github-token" in ran.of("error")[0]["message"]


def test_a_token_that_has_expired_is_told_and_nothing_is_asked(job: Job) -> None:
    job.runner.token = "ghs_expired"
    ran = job.on_pull()
    assert (ran.code, ran.outputs["verdict"]) == (3, "failed")
    assert "401" in ran.of("error")[0]["message"] or "refused" in ran.of("error")[0]["message"]
    assert job.model.seen == []


def test_a_persons_token_writes_comments_and_no_check(job: Job) -> None:
    job.runner.token = job.github.user_token(job.alice).value
    ran = job.on_pull()
    assert (ran.code, ran.outputs["verdict"]) == (0, "findings"), ran.log
    assert job.home.check_runs == []
    assert [one.author.user for one in job.pull.review_comments] == [job.alice]
    assert "checks=write" in ran.log


def test_a_summary_is_cut_to_what_github_takes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "MAX_SUMMARY", 2_000)
    brain = Planted({r"/ len\(": {**BUG, "why": "é" * 1_000}})
    job.grant({**WRITING, "checks": "read"})
    with ModelServer("novita", brain=brain) as model:
        ran = job.on_pull(inputs={**job.inputs, "base-url": model.base_url})
    assert len(ran.summary.encode()) <= 2_000
    assert "too long" in ran.summary
    assert "What could not be posted" in ran.summary


@pytest.mark.parametrize(
    ("api", "server", "fits"),
    [
        ("https://api.github.com", "https://github.com", True),
        ("https://ghe.example.com/api/v3", "https://ghe.example.com", True),
        ("https://api.acme.ghe.com", "https://acme.ghe.com", True),
        ("https://api.github.com", "https://ghe.example.com", False),
        ("https://api.github.com.evil.example", "https://github.com", False),
        ("https://evil.example/api/v3", "https://github.com", False),
    ],
)
def test_a_token_goes_to_its_own_server_alone(api: str, server: str, *, fits: bool) -> None:
    step = Step("push", None, api, server, None, None, None, None, on_runner=True)
    if fits:
        refuse_other_server(step)
        return
    with pytest.raises(UserError, match="not the API of GITHUB_SERVER_URL"):
        refuse_other_server(step)


def test_a_poor_and_talkative_runner_changes_nothing_and_is_told_nothing(job: Job) -> None:
    job.pull.push({"größe.py": MEAN})
    ran = job.on_pull(
        in_bash=True,
        environ={
            "HOME": "/nonexistent",
            "LANG": "C",
            "LC_ALL": "C",
            "OPENAI_LOG": "debug",
            "LOG_LEVEL": "DEBUG",
            "ACTIONS_STEP_DEBUG": "true",
            "RUNNER_DEBUG": "1",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "",
        },
    )
    assert (ran.code, ran.outputs["findings"]) == (0, "2"), ran.log
    assert "größe.py" in ran.summary
    shown = [line for line in ran.log.splitlines() if not line.startswith("::add-mask::")]
    assert not any(job.model.key in line or job.runner.token in line for line in shown)
    assert "def mean" not in ran.log, "a prompt shows it"
    assert "HTTP request" not in ran.log, "the client library logs each one when it is asked to"


def test_the_head_is_the_event_s_and_never_the_branch_of_the_workflow(job: Job) -> None:
    main = job.home.git.branches()["main"]
    environ: dict[str, str | None] = {"GITHUB_SHA": main, "GITHUB_REF": "refs/heads/main"}
    ran = job.on_pull("pull_request_target", environ=environ)
    assert ran.outputs["verdict"] == "findings"
    assert [run.suite.head_sha for run in job.home.check_runs] == [job.pull.head_sha]


def test_a_comment_of_a_bot_is_no_command(job: Job) -> None:
    bot = job.installation.app.bot
    ran = job.on_comment(bot, "/review")
    assert (ran.code, ran.outputs["verdict"]) == (0, "skipped")
    assert "only people give commands" in ran.log
    assert job.model.seen == []
