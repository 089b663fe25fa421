"""One step of a workflow, from the event to the outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.identity import make_marker
from sandbox.github import Fault
from tests.action.conftest import HEAD, READING, Job
from tests.action.runner import read_action
from tests.repos import make_repo


def test_a_pull_of_the_same_repository_gets_its_review_comments_and_check(job: Job) -> None:
    ran = job.on_pull(in_bash=True)
    assert ran.code == 0, ran.log
    assert job.said() == [("shop.py", 6)]
    (run,) = job.home.check_runs
    assert (run.name, run.status) == ("Postil", "completed")
    assert {name: ran.outputs[name] for name in ("verdict", "findings", "critical")} == {
        "verdict": "findings",
        "findings": "1",
        "critical": "0",
    }
    assert ran.outputs["changed-lines"] == ran.outputs["reviewed-lines"] == "4"
    assert float(ran.outputs["cost-usd"]) == float(job.model.bill.cost_usd)
    report = json.loads(Path(ran.outputs["sarif-file"]).read_text())
    assert len(report["runs"][0]["results"]) == 1
    assert "Division by zero" in ran.summary
    assert ran.notices == []
    assert {job.model.key, job.runner.token} <= set(ran.masked)
    assert job.github.unexpected == []


def test_the_outputs_of_action_yml_are_those_the_step_writes(job: Job) -> None:
    ran = job.runner.run("push", {})
    assert read_action()["outputs"].keys() == ran.outputs.keys()


def test_a_read_only_token_loses_nothing_of_the_review(job: Job) -> None:
    job.grant(READING)
    fork = job.home.fork(job.github.create_user("mallory"))
    fork.commit(HEAD, branch="patch")
    pull = job.home.open_pull("patch", "From afar", author=fork.owner, fork=fork)
    ran = job.on_pull(pull=pull)
    assert ran.code == 0, ran.log
    assert job.home.check_runs == []
    assert pull.reviews == []
    assert "Division by zero on an empty list" in ran.summary
    (error,) = ran.of("error")
    assert (error["file"], error["line"]) == ("shop.py", "6")
    assert ran.outputs["verdict"] == "findings"
    assert Path(ran.outputs["sarif-file"]).exists()
    said = " ".join(one["message"] for one in ran.of("notice"))
    assert "checks=write" in said
    assert "pull_requests=write" in said


def test_a_fork_without_a_key_is_told_so_and_the_analyzers_still_run(job: Job) -> None:
    job.grant(READING)
    ran = job.on_pull(inputs={"provider": "novita"})
    assert (ran.code, ran.outputs["verdict"]) == (0, "failed")
    (warning,) = ran.of("warning")
    assert "no api-key reached this run" in warning["message"]
    assert job.model.seen == []


def test_an_outage_of_the_model_is_neither_green_in_the_outputs_nor_red(job: Job) -> None:
    ran = job.on_pull(inputs={**job.inputs, "api-key": "sk-wrong"})
    assert (ran.code, ran.outputs["verdict"]) == (0, "failed")
    assert ran.outputs["reviewed-lines"] == "0"
    assert len(ran.of("warning")) == 1
    assert job.home.check_runs[0].conclusion == "neutral"


@pytest.mark.parametrize(("fail_on", "code"), [("major", 1), ("critical", 0), ("never", 0)])
def test_the_gate_decides_on_the_exit_code(job: Job, fail_on: str, code: int) -> None:
    ran = job.on_pull(inputs={**job.inputs, "fail-on": fail_on})
    assert ran.code == code, ran.log
    assert job.home.check_runs[0].conclusion == ("failure" if code else "success")


def test_a_writer_may_ask_by_a_comment_and_gets_a_reaction_and_the_review(job: Job) -> None:
    ran = job.on_comment(job.alice, "/review")
    assert (ran.code, ran.outputs["verdict"]) == (0, "findings"), ran.log
    assert job.said() == [("shop.py", 6)]
    assert [one.content for one in job.pull.comments[0].reactions] == ["eyes"]


@pytest.mark.parametrize(
    ("body", "action"),
    [("/review", "edited"), ("a remark", "created"), ("> /review", "created")],
)
def test_other_comments_ask_for_nothing(job: Job, body: str, action: str) -> None:
    ran = job.on_comment(job.alice, body, action=action)
    assert (ran.code, ran.outputs["verdict"]) == (0, "skipped")
    assert job.model.seen == []


def test_people_without_write_access_are_not_obeyed(job: Job) -> None:
    ran = job.on_comment(job.github.create_user("mallory"), "/review")
    assert (ran.code, ran.outputs["verdict"]) == (0, "skipped")
    assert job.model.seen == []
    assert len(job.pull.comments) == 1


def test_what_only_a_server_can_do_is_answered_in_one_line(job: Job) -> None:
    ran = job.on_comment(job.alice, "/postil pause")
    assert ran.outputs["verdict"] == "skipped"
    assert "needs the App server" in job.pull.comments[-1].body


def test_a_workflow_started_by_hand_reviews_the_pull_it_names(job: Job) -> None:
    payload = {"repository": job.repository, "inputs": {"number": str(job.pull.number)}}
    ran = job.runner.run("workflow_dispatch", payload, inputs=job.inputs)
    assert (ran.code, ran.outputs["verdict"]) == (0, "findings"), ran.log
    assert job.said() == [("shop.py", 6)]


@pytest.mark.parametrize("number", ["", "0", "1; rm", "many"])
def test_a_workflow_started_by_hand_needs_a_number(job: Job, number: str) -> None:
    payload = {"repository": job.repository, "inputs": {"number": number}}
    ran = job.runner.run("workflow_dispatch", payload, inputs=job.inputs)
    assert (ran.code, ran.outputs["verdict"]) == (2, "failed")
    assert "an input named number" in ran.of("error")[0]["message"]


@pytest.mark.parametrize("event", ["push", "schedule", "pull_request_review"])
def test_an_event_without_a_pull_is_nothing_to_review(job: Job, event: str) -> None:
    ran = job.runner.run(event, {}, environ={"GITHUB_EVENT_PATH": None})
    assert (ran.code, ran.outputs["verdict"]) == (0, "skipped")
    assert f"nothing to review: event {event}" in ran.log


def test_an_event_that_cannot_be_read_is_a_wrong_set_up(job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path in (None, str(tmp_path / "none.json"), str(broken)):
        ran = job.runner.run("pull_request", {}, environ={"GITHUB_EVENT_PATH": path})
        assert ran.code == 2
        assert "GITHUB_EVENT_PATH" in ran.of("error")[0]["message"]
    ran = job.runner.run("pull_request", {"action": "opened"})
    assert (ran.code, "no usable" in ran.log) == (2, True)


def test_the_untrusted_head_in_the_workspace_is_refused_with_the_base_s_secrets(job: Job) -> None:
    repo = make_repo(job.runner.workspace)
    repo.git("fetch", "--quiet", str(job.home.git.path), "main", "mean")
    repo.git("checkout", "--quiet", "--detach", job.pull.head_sha)
    ran = job.on_pull("pull_request_target")
    assert (ran.code, ran.outputs["verdict"]) == (2, "failed")
    assert "take the checkout out" in ran.of("error")[0]["message"]
    repo.git("checkout", "--quiet", job.pull.base_sha)
    repo.git("merge", "--quiet", "--no-ff", "-m", "a merge as GitHub makes it", job.pull.head_sha)
    assert job.on_pull("pull_request_target").code == 2
    repo.git("checkout", "--quiet", job.pull.base_sha)
    assert job.on_pull("pull_request_target").outputs["verdict"] == "findings"


def test_an_unreadable_checkout_is_taken_for_the_head(job: Job) -> None:
    (job.runner.workspace / "pr" / ".git").mkdir(parents=True)
    assert job.on_pull("pull_request_target").code == 2


def test_wrong_inputs_are_named_with_what_is_allowed(job: Job) -> None:
    for name, value in (
        ("fail-on", "High "),
        ("effort", "max\nstandard"),
        ("review", "True"),
        ("max-cost-usd", "1 dollar"),
        ("provider", "novita\n::add-mask::x"),
    ):
        ran = job.on_pull(inputs={**job.inputs, name: value})
        assert ran.code == 2, name
        assert name.upper() in ran.log.upper()
        assert ran.masked == [] or "x" not in ran.masked
    assert job.on_pull(inputs={"api-key": "sk-alone"}).code == 2


def test_an_api_of_another_server_gets_no_token(job: Job) -> None:
    ran = job.on_pull(environ={"GITHUB_SERVER_URL": "https://github.example"})
    assert ran.code == 2
    assert job.github.calls == []


def test_runner_files_that_cannot_be_written_fail_nothing(job: Job) -> None:
    files: dict[str, str | None] = {"GITHUB_OUTPUT": "/dev/full", "GITHUB_STEP_SUMMARY": None}
    ran = job.on_pull(environ=files)
    assert ran.code == 0
    assert "GITHUB_OUTPUT can't be written" in ran.log
    assert job.said() == [("shop.py", 6)]


def test_pushes_repeat_nothing_from_signed_comments_alone(job: Job) -> None:
    job.on_pull()
    job.pull.push({"other.py": "def share(a, b):\n    return a / len(b)\n"})
    job.on_pull()
    job.pull.push({"shop.py": f"import math\n\n\n{HEAD['shop.py']}"})
    job.on_pull()
    assert sorted(path for path, _ in job.said()) == ["other.py", "shop.py"]
    job.on_pull()
    assert len(job.said()) == 2
    assert len(job.pull.reviews) == 2, "one for each head that brought something new"


def test_without_a_secret_only_the_same_words_keep_a_comment_back(job: Job) -> None:
    leak = 'import subprocess\nsubprocess.run("ls " + input(), shell=True)\n'
    job.pull.push({"tool.py": leak})
    first = job.on_pull(inputs={"provider": "novita"})
    assert int(first.outputs["findings"]) > 0
    before = job.said()
    assert before
    job.pull.push({"README.md": "# The shop\n"})
    job.on_pull(inputs={"provider": "novita"})
    assert job.said() == before


def test_forged_markers_hide_nothing(job: Job) -> None:
    head = job.pull.head_sha
    honest = make_marker(b"k" * 32, "finding", "0" * 16, job.home.id, job.pull.number, head)
    mallory = job.github.create_user("mallory")
    job.on_pull()
    ours = job.pull.review_comments[0]
    for body in (ours.body, honest, ours.body[: len(ours.body) - 9], f"{honest}{'x' * 1_000_000}"):
        job.pull.comment(mallory, body)
    for thread in job.pull.threads:
        thread.comments[0].body = honest
    job.on_pull()
    assert len(job.said()) == 2
    assert all(one.body for one in job.pull.comments if one.author.user is mallory)


def test_blanks_around_a_key_are_cut_off_with_a_warning(job: Job) -> None:
    ran = job.on_pull(inputs={**job.inputs, "api-key": f" {job.model.key}\n"})
    assert ran.outputs["verdict"] == "findings"
    assert "warning: INPUT_API_KEY has blanks around its value" in ran.log
    assert job.model.key in ran.masked


def test_a_review_that_breaks_off_leaves_no_check_run_open(job: Job) -> None:
    fault = Fault("GET", r"/pulls/\d+/files", status=404, times=None)
    job.github.inject(fault)
    ran = job.on_pull()
    assert (ran.code, ran.outputs["verdict"]) == (3, "failed")
    (run,) = job.home.check_runs
    assert (run.status, run.conclusion) == ("completed", "neutral")
