"""One check run a job, ours by App and job, completed once with everything in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.adapters.github.access import GitHubToken
from app.adapters.github.checks import GitHubChecks
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.core.job import Closing, JobState
from app.core.ledger import Conclusion
from app.core.repair import ask_for
from app.core.review import Annotation
from app.errors import HostInvalid, HostMissing, HostRefused, HostUnavailable
from sandbox.github import checks
from tests.adapters.github.conftest import JOB, Scene, report
from tests.adapters.github.one_review import KEY


def _annotations(count: int) -> tuple[Annotation, ...]:
    return tuple(
        Annotation("cart.py", number, number, "warning", f"title {number}", "why")
        for number in range(1, count + 1)
    )


def _open(scene: Scene, key: str = JOB) -> int | None:
    return scene.reviews().open_check(scene.fetch(), key)


def test_a_job_has_one_check_run_however_often_it_starts(scene: Scene) -> None:
    assert _open(scene) == _open(scene)
    (run,) = scene.repository.check_runs
    assert (run.status, run.external_id, run.name) == ("in_progress", JOB, "Postil")
    assert _open(scene, "review:1:1:full") != run.id


def test_a_completed_run_of_the_same_job_is_opened_again(scene: Scene) -> None:
    check = _open(scene)
    scene.reviews().close_check(scene.fetch(), check, report())
    assert _open(scene) == check
    (run,) = scene.repository.check_runs
    assert (run.status, run.conclusion) == ("in_progress", None)


def test_a_run_of_the_same_name_by_another_app_is_left_alone(scene: Scene) -> None:
    other = scene.github.create_app("postil-official")
    wanted = {"name": "Postil", "head_sha": scene.pull.head_sha, "external_id": JOB}
    foreign = checks.create(scene.github, scene.repository, other, wanted)
    check = _open(scene)
    scene.reviews().close_check(scene.fetch(), check, report())
    assert check != foreign.id
    assert foreign.status == "queued"


def test_another_app_s_run_is_left_alone_even_if_the_list_is_not_filtered(scene: Scene) -> None:
    run = {"id": 5, "status": "queued", "external_id": JOB, "app": {"id": 1, "slug": "other"}}
    scene.inject("GET", "/check-runs$", body={"total_count": 1, "check_runs": [run]})
    assert _open(scene) == scene.repository.check_runs[0].id


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"hang": True}, {"reset": True}, {"body": "<html>"}], ids=str
)
def test_a_run_whose_creation_was_not_heard_of_is_found(
    scene: Scene, fault: dict[str, Any]
) -> None:
    scene.inject("POST", "/check-runs$", apply=1, **fault)
    check = _open(scene.impatient())
    (run,) = scene.repository.check_runs
    assert run.id == check


def test_a_run_that_lags_in_the_list_is_waited_for(scene: Scene) -> None:
    pull = scene.fetch()
    scene.inject("POST", "/check-runs$", apply=1, status=502)
    scene.github.lag(3)
    scene.reviews().open_check(pull, JOB)
    assert len(scene.repository.check_runs) == 1


def test_without_the_permission_there_is_no_check(scene: Scene) -> None:
    scene.installation.permissions.pop("checks")
    assert _open(scene) is None
    scene.reviews().close_check(scene.fetch(), None, report())
    assert scene.repository.check_runs == []


def test_a_person_s_token_writes_no_checks(scene: Scene) -> None:
    token = scene.github.user_token(scene.alice).value
    access = GitHubToken(token, scene.github.url, clock=scene.time, sleep=scene.time.sleep)
    assert GitHubReviews(access, Marks(KEY)).open_check(scene.fetch(), JOB) is None


def test_a_head_that_is_gone_is_superseded(scene: Scene) -> None:
    pull = scene.fetch()
    words = {"message": f"No commit found for SHA: {pull.head_sha}"}
    scene.inject("GET", "/check-runs$", status=422, body=words)
    with pytest.raises(HostMissing) as error:
        scene.reviews().open_check(pull, JOB)
    assert "head is gone" in error.value.message


def test_a_request_github_cannot_take_is_not_taken_for_a_lost_head(scene: Scene) -> None:
    pull = scene.fetch()
    scene.inject("POST", "/check-runs$", status=422, body={"message": "Invalid request."})
    with pytest.raises(HostInvalid):
        scene.reviews().open_check(pull, JOB)


def test_a_job_s_token_finds_its_run_again(scene: Scene) -> None:
    token = scene.github.mint(scene.installation).value
    access = GitHubToken(token, scene.github.url, clock=scene.time, sleep=scene.time.sleep)
    reviews = GitHubReviews(access, Marks(KEY))
    assert reviews.open_check(scene.fetch(), JOB) == reviews.open_check(scene.fetch(), JOB)


@pytest.mark.parametrize("conclusion", list(Conclusion))
def test_a_run_is_completed_in_place(scene: Scene, conclusion: Conclusion) -> None:
    check = _open(scene)
    scene.reviews().close_check(scene.fetch(), check, report(conclusion=conclusion))
    (run,) = scene.repository.check_runs
    assert (run.status, run.conclusion) == ("completed", conclusion)
    assert (run.output["title"], run.output["summary"]) == ("Done", "All of it")


@pytest.mark.parametrize("count", [1, 50, 51, 120])
def test_annotations_are_sent_by_fifties(scene: Scene, count: int) -> None:
    check = _open(scene)
    scene.reviews().close_check(scene.fetch(), check, report(annotations=_annotations(count)))
    (run,) = scene.repository.check_runs
    assert [one["start_line"] for one in run.annotations] == list(range(1, count + 1))
    assert run.status == "completed"
    assert len(scene.github.called("PATCH", "/check-runs/")) == -(-count // 50)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("apply", [0, 1])
def test_no_annotation_is_sent_twice_when_an_answer_is_lost(
    scene: Scene, nth: int, apply: int
) -> None:
    check = _open(scene)
    scene.inject("PATCH", "/check-runs/", nth=nth, apply=apply, status=502)
    scene.reviews().close_check(scene.fetch(), check, report(annotations=_annotations(120)))
    (run,) = scene.repository.check_runs
    assert [one["start_line"] for one in run.annotations] == list(range(1, 121))
    assert (run.status, run.conclusion) == ("completed", "neutral")


def test_closing_again_changes_nothing(scene: Scene) -> None:
    check, wanted = _open(scene), report(annotations=_annotations(60))
    for _ in range(2):
        scene.reviews().close_check(scene.fetch(), check, wanted)
    (run,) = scene.repository.check_runs
    assert len(run.annotations) == 60


def test_a_close_that_stays_unknown_is_left_to_the_next_attempt(scene: Scene) -> None:
    check = _open(scene)
    scene.inject("PATCH", "/check-runs/", times=None, status=502)
    with pytest.raises(HostUnavailable):
        scene.reviews().close_check(scene.fetch(), check, report())
    assert len(scene.github.called("PATCH", "/check-runs/")) == 2


def test_a_permission_taken_away_meanwhile_is_an_error(scene: Scene) -> None:
    check = _open(scene)
    scene.installation.permissions.pop("checks")
    with pytest.raises(HostRefused):
        scene.reviews().close_check(scene.fetch(), check, report())


def test_every_field_fits_github_s_limits(scene: Scene) -> None:
    check = _open(scene)
    long = "🙂 word\n" * 20_000
    huge = Annotation("cart.py", 1, 1, "notice", long, long)
    wanted = report(title="T" * 400, summary=f"```\n{long}\n```\n", annotations=(huge,))
    scene.reviews().close_check(scene.fetch(), check, wanted)
    (run,) = scene.repository.check_runs
    assert len(run.output["title"]) <= 255
    assert len(run.output["summary"].encode()) <= 60_000
    assert run.output["summary"].count("```") == 2


# what an ended run left behind


def _closing(scene: Scene, state: JobState = JobState.CANCELLED, kind: str = "auto") -> Closing:
    return Closing(replace(ask_for(scene.fetch()), kind=kind), state, "somebody cancelled it")


def test_a_check_that_was_left_open_is_closed_with_the_reason(scene: Scene) -> None:
    closing = _closing(scene)
    _open(scene, closing.request.key)
    other = _open(scene)
    ours = GitHubChecks(scene.access())
    assert ours.close(closing)
    assert not ours.close(closing)
    left, untouched = scene.repository.check_runs
    assert (left.status, left.conclusion) == ("completed", "neutral")
    assert left.output["title"] == "Nothing was reviewed: somebody cancelled it"
    assert (untouched.id, untouched.status) == (other, "in_progress")


def test_twins_that_a_lost_answer_made_are_both_closed(scene: Scene) -> None:
    closing = _closing(scene, JobState.SUPERSEDED)
    for _ in range(2):
        wanted = {"name": "Postil", "head_sha": scene.pull.head_sha, "status": "in_progress"}
        key = {"external_id": closing.request.key}
        checks.create(scene.github, scene.repository, scene.app, {**wanted, **key})
    assert GitHubChecks(scene.access()).close(closing)
    for run in scene.repository.check_runs:
        assert run.output["title"] == "Superseded by a newer commit"


def test_a_run_that_never_started_its_check_gets_one_only_when_it_is_dead(scene: Scene) -> None:
    ours = GitHubChecks(scene.access())
    assert not ours.close(_closing(scene))
    assert scene.repository.check_runs == []
    assert ours.close(_closing(scene, JobState.DEAD))
    (run,) = scene.repository.check_runs
    assert (run.status, run.conclusion) == ("completed", "neutral")


def test_a_dead_job_that_may_not_write_checks_leaves_none(scene: Scene) -> None:
    scene.inject("POST", "/check-runs", status=403)
    assert not GitHubChecks(scene.access()).close(_closing(scene, JobState.DEAD))


def test_a_review_that_stands_is_not_overwritten(scene: Scene) -> None:
    closing = _closing(scene, JobState.DEAD)
    check = _open(scene, closing.request.key)
    scene.reviews().close_check(scene.fetch(), check, report())
    assert not GitHubChecks(scene.access()).close(closing)
    assert scene.repository.check_runs[0].output["title"] == "Done"
