"""What becomes of a wish to review, and how long pushes are waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.events import Person, ReviewRequest
from app.core.job import Job, JobKind, JobState, PullState, Verdict, judge, quiet_until
from app.core.pull import PullRef

REF = PullRef(11, "o/r", 5, 99)
A, B = "a" * 40, "b" * 40
REQUEST = ReviewRequest(REF, A, "0" * 40, "opened", Person(7, "ann"))
FULL = replace(REQUEST, kind="full", forced=True, cause="command:1")


def job(state: JobState, request: ReviewRequest = REQUEST) -> Job:
    return Job(
        request.key,
        JobKind.REVIEW,
        "{}",
        11,
        5,
        99,
        head_sha=request.head_sha,
        state=state,
        cause=request.cause,
    )


def test_ids_tell_runs_and_tries_apart() -> None:
    known = replace(job(JobState.QUEUED), generation=2, tries=5)
    assert known.run_id == f"{REQUEST.key}.2"
    assert known.workflow_id == f"{REQUEST.key}.2.5"


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (None, Verdict.ARM),
        (JobState.QUEUED, Verdict.RUNNING),
        (JobState.RUNNING, Verdict.RUNNING),
        (JobState.DONE, Verdict.DONE),
        (JobState.SKIPPED, Verdict.ARM),
        (JobState.SUPERSEDED, Verdict.ARM),
        (JobState.CANCELLED, Verdict.ARM),
        (JobState.DEAD, Verdict.ARM),
    ],
)
def test_a_job_is_armed_when_it_neither_runs_nor_is_done(
    state: JobState | None, verdict: Verdict
) -> None:
    known = None if state is None else job(state)
    assert judge(REQUEST, known, known, paused=False) is verdict


def test_a_plain_wish_joins_whatever_reviews_its_head() -> None:
    current = job(JobState.RUNNING, FULL)
    assert judge(REQUEST, None, current, paused=False) is Verdict.RUNNING
    assert judge(replace(REQUEST, head_sha=B), None, current, paused=False) is Verdict.ARM


def test_a_forced_wish_runs_again_once_for_each_cause() -> None:
    done = job(JobState.DONE, FULL)
    assert judge(FULL, done, done, paused=False) is Verdict.DONE
    again = replace(FULL, cause="command:2")
    assert judge(again, done, done, paused=False) is Verdict.ARM
    assert judge(again, None, job(JobState.RUNNING), paused=False) is Verdict.ARM


def test_a_paused_pull_is_reviewed_for_people_only() -> None:
    assert judge(REQUEST, None, None, paused=True) is Verdict.PAUSED
    assert judge(replace(REQUEST, cause="command:1"), None, None, paused=True) is Verdict.ARM
    assert judge(FULL, None, None, paused=True) is Verdict.ARM


PULL = PullState(11, 5)
PUSH = replace(REQUEST, reason="synchronize")


def wait(pull: PullState, current: Job | None, now: float) -> tuple[float, float]:
    return quiet_until(PUSH, pull, current, now, quiet=5, most=60)


def test_what_is_no_push_starts_at_once() -> None:
    assert quiet_until(REQUEST, PULL, None, 100.0, quiet=5, most=60) == (100.0, 0.0)


def test_a_push_waits_for_five_quiet_seconds() -> None:
    assert wait(PULL, None, 100.0) == (105.0, 100.0)


def test_pushes_in_a_row_wait_together_for_at_most_a_minute() -> None:
    waiting = job(JobState.QUEUED)
    burst = replace(PULL, pushed_at=100.0)
    assert wait(burst, waiting, 104.0) == (109.0, 100.0)
    assert wait(burst, waiting, 158.0) == (160.0, 100.0)
    assert wait(burst, waiting, 170.0) == (170.0, 100.0)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.DONE, JobState.SUPERSEDED])
def test_a_push_after_a_review_began_starts_a_burst_of_its_own(state: JobState) -> None:
    assert wait(replace(PULL, pushed_at=100.0), job(state), 104.0) == (109.0, 104.0)
