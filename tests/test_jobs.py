"""Jobs on the real durable engine, over SQLite, and over PostgreSQL what depends on it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOS

from app.adapters.store import Store, WorkerLocks, open_engine
from app.core.commands import Command, Verb
from app.core.events import (
    CommandRequest,
    CommentPlace,
    Delivery,
    Ignored,
    InstallationGone,
    Person,
    Ping,
    PullClosed,
    RepositoryMoved,
    Request,
    RerunRequest,
    ReviewRequest,
)
from app.core.job import Closing, Job, JobState, RunResult, Verdict
from app.core.pull import PullRef
from app.errors import (
    HostLimited,
    HostMissing,
    HostRefused,
    HostUnavailable,
    SettingsError,
)
from app.jobs import RUSH, RUSH_LASTS, Desk, Jobs, Outcome, Pace, Work
from tests.postgres import make_database, running_postgres

SENDER = Person(7, "ann")
REF = PullRef(11, "o/r", 5, 99)
A, B, C = "a" * 40, "b" * 40, "c" * 40
FAST = Pace(quiet=0.0, retries=(0.0,), late=(0.0, 0.0), tend=0.2, grace=0.0, poll=0.02)


def review(head: str = A, **changes: object) -> ReviewRequest:
    request = ReviewRequest(REF, head, "0" * 40, "opened", SENDER)
    return replace(request, **changes)  # type: ignore[arg-type]


@dataclass
class Worker:
    """Does what a test tells it, and remembers what it was asked."""

    reviewed: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    commanded: list[CommandRequest] = field(default_factory=list)
    closed: list[Closing] = field(default_factory=list)
    on_review: Callable[[ReviewRequest], RunResult] = lambda _: RunResult(JobState.DONE)
    on_command: Callable[[CommandRequest, Desk], None] = lambda _request, _desk: None

    def work(self) -> Work:
        return Work(self.review, self.command, self.close)

    def review(self, request: ReviewRequest, run_id: str) -> RunResult:
        self.reviewed.append(request.head_sha)
        self.runs.append(run_id)
        return self.on_review(request)

    def command(self, request: CommandRequest, _run_id: str, desk: Desk) -> None:
        self.commanded.append(request)
        self.on_command(request, desk)

    def close(self, closing: Closing, _run_id: str) -> None:
        self.closed.append(closing)


@dataclass
class Bench:
    """A store, a worker and jobs that are open; running once started."""

    engine: sa.Engine
    store: Store
    worker: Worker
    jobs: Jobs
    deliveries: int = 0

    def start(self) -> None:
        self.jobs.start(self.worker.work())

    def accept(self, request: Request, number: int | None = None) -> Outcome:
        """Accept a delivery of its own, or the numbered one again."""
        self.deliveries += 1
        guid = f"00000000-0000-0000-0000-{number or self.deliveries + 1000:012d}"
        return self.jobs.desk.accept(Delivery(guid, "pull_request", "opened", request))

    def find(self, key: str) -> Job | None:
        with self.store.begin() as connection:
            return self.store.find_job(connection, key)

    def job(self, key: str) -> Job:
        found = self.find(key)
        assert found is not None, key
        return found

    def wait(self, key: str, state: JobState = JobState.DONE) -> Job:
        until(lambda: self.job(key).state is state, lambda: str(self.job(key)))
        return self.job(key)


def until(happened: Callable[[], bool], tell: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"it never happened: {tell()}")
        time.sleep(0.02)


@contextmanager
def opened(
    engine: sa.Engine, pace: Pace = FAST, clock: Callable[[], float] = time.time
) -> Iterator[Bench]:
    store, worker = Store(engine).prepare(), Worker()
    jobs = Jobs(store, WorkerLocks(engine), pace, clock=clock)
    jobs.open()
    yield Bench(engine, store, worker, jobs)
    jobs.stop()
    DBOS.destroy(destroy_registry=True)
    # a thread of the engine's that still reads closes its connection itself
    sa.event.listen(engine, "checkin", lambda _connection, record: record.invalidate())
    engine.dispose()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    if getattr(request, "param", "sqlite") == "sqlite":
        return open_engine(tmp_path)
    return open_engine(tmp_path, make_database(request.getfixturevalue("postgres")))


on_both = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def bench(engine: sa.Engine) -> Iterator[Bench]:
    with opened(engine) as bench:
        yield bench


# accepted means recorded


@on_both
def test_an_accepted_delivery_is_reviewed_once(bench: Bench) -> None:
    bench.start()
    outcome = bench.accept(review())
    assert (outcome.status, outcome.job) == ("accepted", review().key)
    bench.wait(review().key)
    assert bench.worker.reviewed == [A]


def test_what_was_accepted_before_a_start_runs_after_it(bench: Bench) -> None:
    bench.accept(review())
    bench.start()
    bench.wait(review().key)


def test_the_same_delivery_again_is_a_duplicate(bench: Bench) -> None:
    first, again = bench.accept(review(), 1), bench.accept(review(), 1)
    assert (first.status, again.status, again.job) == ("accepted", "duplicate", review().key)


def at_once(calls: Sequence[Callable[[], Outcome]]) -> list[str]:
    barrier = threading.Barrier(len(calls))

    def post(call: Callable[[], Outcome]) -> str:
        barrier.wait()
        return call().status

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(pool.map(post, calls))


@on_both
def test_twenty_times_the_same_delivery_at_once_is_one_job(bench: Bench) -> None:
    bench.start()
    statuses = at_once([partial(bench.accept, review(), 1)] * 20)
    assert statuses == ["accepted"] + ["duplicate"] * 19
    bench.wait(review().key)
    assert bench.worker.reviewed == [A]


OTHER = review(ref=replace(REF, number=8))


def rush(bench: Bench) -> None:
    """Let deliveries about another pull come at one moment."""
    desk = bench.jobs.desk
    with desk._turn:
        senders = [threading.Thread(target=bench.accept, args=[OTHER]) for _ in range(RUSH)]
        for sender in senders:
            sender.start()
        until(lambda: len(desk._waiting) == RUSH)
    for sender in senders:
        sender.join()


def test_no_job_begins_while_deliveries_rush_in(engine: sa.Engine) -> None:
    now = [time.time()]
    with opened(engine, clock=lambda: now[0]) as bench:
        bench.accept(review())
        alone = bench.jobs.desk.rushed
        rush(bench)
        assert (alone, bench.jobs.desk.rushed) == (False, True)
        bench.start()
        time.sleep(0.5)
        assert bench.job(review().key).attempts == 0
        now[0] += RUSH_LASTS
        bench.wait(review().key)
        bench.wait(OTHER.key)


def test_a_rush_without_end_holds_a_job_up_for_a_while_only(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.RUSH_MOST", 0.2)
    now = [time.time()]
    with opened(engine, clock=lambda: now[0]) as bench:
        rush(bench)
        bench.start()
        bench.wait(OTHER.key)
        assert bench.jobs.desk.rushed


@on_both
def test_twin_events_of_one_head_at_once_are_one_job(bench: Bench) -> None:
    reasons = ("opened", "synchronize", "reopened")
    statuses = at_once([partial(bench.accept, review(reason=reason)) for reason in reasons])
    assert statuses == ["accepted", "duplicate", "duplicate"]


@on_both
def test_a_redelivery_of_a_dead_job_arms_it_again_and_of_a_finished_one_does_not(
    bench: Bench,
) -> None:
    def fail(_request: ReviewRequest) -> RunResult:
        raise HostMissing("gone")

    bench.worker.on_review = fail
    bench.start()
    bench.accept(review(), 1)
    assert bench.wait(review().key, JobState.DEAD).note == "gone"
    bench.worker.on_review = lambda _: RunResult(JobState.DONE)
    assert bench.accept(review(), 1).status == "accepted"
    bench.wait(review().key)
    assert bench.accept(review(), 1).status == "duplicate"
    assert bench.accept(review(), 2).status == "duplicate"
    first, second = bench.worker.runs
    assert first != second


def test_ignored_deliveries_and_pings_start_nothing(bench: Bench) -> None:
    assert bench.accept(Ignored("nothing to do")) == Outcome("ignored", "nothing to do")
    assert bench.accept(Ping()) == Outcome("pong")
    assert bench.accept(Ignored("x"), 1).status == "ignored"
    assert bench.accept(Ignored("x"), 1).status == "duplicate"
    assert bench.store.count_jobs() == {}


def test_a_locked_database_is_waited_for_and_then_unavailable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.store.BUSY_TIMEOUT_MS", 100)
    bench.engine.dispose()  # the next connections wait less long
    path = str(bench.engine.url.database)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert bench.accept(review(), 1).status == "unavailable"
        release = threading.Timer(0.15, other.execute, ["ROLLBACK"])
        release.start()
        assert bench.accept(review(), 1).status == "accepted"
        release.join()


def test_a_full_disk_is_unavailable_and_leaves_no_half_of_a_delivery(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    full = [0]

    @sa.event.listens_for(engine, "checkout")
    def _limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={full[0] or 2**30}")

    with opened(engine) as bench:
        with engine.connect() as connection:
            full[0] = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        big = review(title="t" * 100_000)
        ready = [bench.jobs.desk.records]
        assert bench.accept(big, 1).status == "unavailable"
        assert bench.find(big.key) is None
        ready.append(bench.jobs.desk.records)
        full[0] = 0
        ready.append(bench.jobs.desk.records)
        assert ready == [True, False, True]
        assert bench.accept(big, 1).status == "accepted"


# one running review a pull, the newest head wins


def test_of_two_waiting_heads_only_the_newer_is_reviewed(bench: Bench) -> None:
    bench.accept(review(A))
    bench.accept(review(B))
    bench.start()
    bench.wait(review(B).key)
    assert bench.job(review(A).key).state is JobState.SUPERSEDED
    assert bench.worker.reviewed == [B]
    assert bench.worker.closed == []


@on_both
def test_a_running_review_of_an_older_head_is_stopped_and_closed_as_superseded(
    bench: Bench,
) -> None:
    began, go_on, after = threading.Event(), threading.Event(), []

    def slow(request: ReviewRequest) -> RunResult:
        DBOS.run_step({"name": "before"}, lambda: 1)
        if request.head_sha == A:
            began.set()
            go_on.wait(20)
            DBOS.run_step({"name": "post"}, lambda: after.append(A))
        return RunResult(JobState.DONE)

    bench.worker.on_review = slow
    bench.start()
    bench.accept(review(A))
    assert began.wait(20)
    bench.accept(review(B))
    bench.wait(review(B).key)
    until(lambda: bool(bench.worker.closed))
    go_on.set()
    (closing,) = bench.worker.closed
    assert (closing.request, closing.state) == (review(A), JobState.SUPERSEDED)
    assert bench.job(review(A).key).state is JobState.SUPERSEDED
    status = bench.jobs.desk.client.list_workflows(workflow_ids=[closing.workflow_id])
    assert [workflow.status for workflow in status] == ["CANCELLED"]
    bench.jobs.stop(grace=2)
    assert after == []


def test_an_old_event_that_comes_late_costs_no_review_and_loses_none(bench: Bench) -> None:
    def true_head(request: ReviewRequest) -> RunResult:
        moved = request.head_sha != B
        return RunResult(JobState.SUPERSEDED if moved else JobState.DONE, head_sha=B)

    bench.worker.on_review = true_head
    bench.start()
    bench.accept(review(B))
    bench.wait(review(B).key)
    bench.accept(review(A, reason="synchronize"))
    bench.wait(review(A).key, JobState.SUPERSEDED)
    assert bench.job(review(B).key).state is JobState.DONE
    assert bench.worker.reviewed == [B, A]


@on_both
def test_a_head_that_moved_without_an_event_is_reviewed(bench: Bench) -> None:
    def true_head(request: ReviewRequest) -> RunResult:
        moved = request.head_sha != C
        return RunResult(JobState.SUPERSEDED if moved else JobState.DONE, head_sha=C)

    bench.worker.on_review = true_head
    bench.start()
    bench.accept(review(A))
    until(lambda: bench.find(review(C).key) is not None)
    bench.wait(review(C).key)
    assert bench.worker.reviewed == [A, C]


def test_a_head_that_comes_back_is_reviewed_after_all(bench: Bench) -> None:
    bench.accept(review(A))
    bench.accept(review(B))
    assert bench.accept(review(A)).status == "accepted"
    bench.start()
    bench.wait(review(A).key)
    assert bench.worker.reviewed == [A]


def test_a_skipped_draft_is_reviewed_when_it_is_ready(bench: Bench) -> None:
    bench.worker.on_review = lambda _: RunResult(JobState.SKIPPED, "a draft")
    bench.start()
    bench.accept(review())
    assert bench.wait(review().key, JobState.SKIPPED).note == "a draft"
    bench.worker.on_review = lambda _: RunResult(JobState.DONE)
    assert bench.accept(review(reason="ready_for_review")).status == "accepted"
    bench.wait(review().key)


@on_both
def test_pushes_are_awaited_by_a_delayed_workflow_and_no_worker(engine: sa.Engine) -> None:
    pace = replace(FAST, quiet=0.6, reviews=1)
    with opened(engine, pace) as bench:
        bench.start()
        bench.accept(review(A, reason="synchronize"))
        (waiting,) = bench.jobs.desk.client.list_workflows(status="DELAYED")
        assert waiting.delay_until_epoch_ms is not None
        other = replace(review(B), ref=replace(REF, number=6))
        bench.accept(other)
        bench.wait(other.key)
        bench.accept(review(C, reason="synchronize"))
        bench.wait(review(C).key)
        assert bench.worker.reviewed == [B, C]


def test_a_closed_pull_is_reviewed_no_further(bench: Bench) -> None:
    began = threading.Event()

    def slow(_request: ReviewRequest) -> RunResult:
        began.set()
        until(lambda: bool(bench.worker.closed))
        return RunResult(JobState.DONE)

    bench.worker.on_review = slow
    bench.start()
    bench.accept(review())
    assert began.wait(20)
    assert bench.accept(PullClosed(REF)).note == "stopped"
    bench.wait(review().key, JobState.CANCELLED)
    until(lambda: bool(bench.worker.closed))
    assert bench.worker.closed[0].reason == "the pull request was closed"
    assert bench.accept(PullClosed(REF)).note == "nothing was running"
    assert bench.accept(review(reason="reopened")).status == "accepted"


# checks that a run may have left open


def test_a_review_that_was_superseded_unnoticed_has_its_check_looked_at(bench: Bench) -> None:
    bench.worker.on_review = lambda _: RunResult(JobState.SUPERSEDED)
    bench.start()
    bench.accept(review())
    bench.wait(review().key, JobState.SUPERSEDED)
    until(lambda: bool(bench.worker.closed))
    assert bench.worker.closed[0].state is JobState.SUPERSEDED


def test_a_review_that_is_skipped_is_looked_at_only_if_it_had_begun_before(bench: Bench) -> None:
    skipped = RunResult(JobState.SKIPPED, "a draft")

    def skip(_request: ReviewRequest) -> RunResult:
        if bench.worker.reviewed == [A, B]:
            raise HostUnavailable("GitHub is down")
        return skipped

    bench.worker.on_review = skip
    bench.start()
    bench.accept(review())
    bench.wait(review().key, JobState.SKIPPED)
    other = replace(review(B), ref=replace(REF, number=6))
    bench.accept(other)
    bench.wait(other.key, JobState.SKIPPED)
    until(lambda: bool(bench.worker.closed))
    (closing,) = bench.worker.closed
    assert (closing.request, closing.reason) == (other, "a draft")


def test_the_check_of_a_review_that_was_asked_for_again_is_not_closed(bench: Bench) -> None:
    bench.accept(review())
    assert bench.jobs.desk.begin(review().key, 1) is not None
    bench.jobs.desk.cancel(REF)
    chore = f"close:{bench.job(review().key).run_id}"
    bench.accept(review())
    bench.start()
    bench.wait(chore)
    bench.wait(review().key)
    assert bench.worker.closed == []


# what goes wrong


@on_both
def test_a_job_that_always_fails_is_dead_after_five_tries_and_others_go_on(bench: Bench) -> None:
    other = replace(review(B), ref=replace(REF, number=6))

    def fail(request: ReviewRequest) -> RunResult:
        if request.head_sha == A:
            raise ValueError("sk-secret in a traceback")
        return RunResult(JobState.DONE)

    bench.worker.on_review = fail
    bench.start()
    bench.accept(review())
    bench.accept(other)
    dead = bench.wait(review().key, JobState.DEAD)
    bench.wait(other.key)
    until(lambda: bool(bench.worker.closed))
    assert (dead.attempts, dead.note) == (5, "ValueError")
    assert bench.worker.reviewed.count(A) == 5
    assert len(set(bench.worker.runs)) == 2
    assert [(c.state, c.reason) for c in bench.worker.closed] == [(JobState.DEAD, "ValueError")]


def test_an_error_that_no_repetition_mends_ends_the_job_at_once(bench: Bench) -> None:
    def fail(_request: ReviewRequest) -> RunResult:
        raise HostRefused("the App may not write checks", status=403, missing="checks")

    bench.worker.on_review = fail
    bench.start()
    bench.accept(review())
    bench.wait(review().key, JobState.DEAD)
    assert bench.worker.reviewed == [A]


def test_a_rate_limit_is_waited_for_and_is_no_failure(bench: Bench) -> None:
    limits = [0.0] * 7

    def limited(_request: ReviewRequest) -> RunResult:
        if limits:
            raise HostLimited("slow down", retry_after=limits.pop())
        return RunResult(JobState.DONE)

    bench.worker.on_review = limited
    bench.start()
    bench.accept(review())
    job = bench.wait(review().key)
    assert (job.attempts, job.tries) == (1, 8)


def test_a_rate_limit_that_never_clears_ends_after_a_day(tmp_path: Path) -> None:
    with opened(open_engine(tmp_path), replace(FAST, patience=-1.0)) as bench:

        def limited(_request: ReviewRequest) -> RunResult:
            raise HostLimited("slow down", retry_after=3600)

        bench.worker.on_review = limited
        bench.start()
        bench.accept(review())
        assert "rate limit" in bench.wait(review().key, JobState.DEAD).note


def test_a_job_that_took_its_worker_down_five_times_is_not_tried_again(bench: Bench) -> None:
    bench.accept(review())
    for _ in range(5):
        assert bench.jobs.desk.begin(review().key, 1) is not None
    bench.start()
    assert "took its worker down" in bench.wait(review().key, JobState.DEAD).note
    assert bench.worker.reviewed == []


def test_a_job_past_its_deadline_is_dead_and_closed(tmp_path: Path) -> None:
    with opened(open_engine(tmp_path), replace(FAST, deadline=0.2)) as bench:

        def slow(_request: ReviewRequest) -> RunResult:
            until(lambda: bool(bench.worker.closed))
            return RunResult(JobState.DONE)

        bench.worker.on_review = slow
        bench.start()
        bench.accept(review())
        assert bench.wait(review().key, JobState.DEAD).note == "its time was up"
        until(lambda: bool(bench.worker.closed))


@on_both
def test_a_job_whose_workflow_was_lost_is_tried_again(bench: Bench) -> None:
    bench.accept(review())
    client = bench.jobs.desk.client
    assert bench.jobs.desk.begin(review().key, 1) is not None
    schema = "" if bench.engine.dialect.name == "sqlite" else "dbos."
    with bench.engine.begin() as connection:  # as if its outcome could not be recorded
        connection.execute(sa.text(f"UPDATE {schema}workflow_status SET status = 'ERROR'"))  # noqa: S608 - a constant
    assert [workflow.status for workflow in client.list_workflows()] == ["ERROR"]
    bench.start()
    assert bench.wait(review().key).tries == 2


@on_both
def test_an_upgrade_leaves_no_job_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.WORKFLOWS_VERSION", "0")
    waiting = replace(review(B), ref=replace(REF, number=6))
    bench.accept(review())
    bench.accept(waiting)
    bench.accept(command())
    assert bench.jobs.desk.begin(review().key, 1) is not None
    monkeypatch.undo()
    bench.start()
    for key in (review().key, waiting.key, command().key):
        bench.wait(key)
    assert sorted(bench.worker.reviewed) == [A, B]
    assert bench.job(review().key).generation == 2


# fairness


@on_both
def test_one_installation_with_many_pulls_leaves_room_for_another(engine: sa.Engine) -> None:
    with opened(engine, replace(FAST, reviews=2)) as bench:
        small = replace(review(B), ref=PullRef(12, "p/r", 1, 100))

        def slow(request: ReviewRequest) -> RunResult:
            if request.head_sha == A:
                until(lambda: B in bench.worker.reviewed)
            return RunResult(JobState.DONE)

        bench.worker.on_review = slow
        for number in range(1, 51):
            bench.accept(review(ref=replace(REF, number=number)))
        bench.start()
        until(lambda: bench.worker.reviewed == [A])
        bench.accept(small)
        bench.wait(small.key)
        assert bench.worker.reviewed[:2] == [A, B]


def test_one_installation_with_many_commands_leaves_room_for_another(tmp_path: Path) -> None:
    with opened(open_engine(tmp_path), replace(FAST, chores=2)) as bench:
        small = replace(command(99), ref=PullRef(12, "p/r", 1, 100))

        def slow(request: CommandRequest, _desk: Desk) -> None:
            if request != small:
                until(lambda: small in bench.worker.commanded)

        bench.worker.on_command = slow
        for number in range(1, 51):
            bench.accept(command(number))
        bench.start()
        until(lambda: bool(bench.worker.commanded))
        bench.accept(small)
        bench.wait(small.key)
        assert bench.worker.commanded.index(small) == 1


# commands


def command(comment_id: int = 31) -> CommandRequest:
    return CommandRequest(
        REF, (Command(Verb.REVIEW),), CommentPlace.CONVERSATION, comment_id, SENDER
    )


def test_a_command_is_carried_out_once(bench: Bench) -> None:
    bench.start()
    assert bench.accept(command(), 1).status == "accepted"
    assert bench.accept(command(), 1).status == "duplicate"
    assert bench.accept(command(), 2).status == "duplicate"
    bench.wait(command().key)
    assert bench.worker.commanded == [command()]


@on_both
def test_a_command_may_ask_for_a_review_once_however_often_it_is_carried_out(bench: Bench) -> None:
    asked = review(kind="full", forced=True, cause=command().key)
    verdicts: list[Verdict] = []

    def ask(_request: CommandRequest, desk: Desk) -> None:
        verdicts.append(desk.arm(asked))
        if len(verdicts) == 1:
            bench.wait(asked.key)
            raise ValueError("after the review was asked for")

    bench.worker.on_command = ask
    bench.start()
    bench.accept(command())
    bench.wait(command().key)
    assert verdicts == [Verdict.ARM, Verdict.DONE]
    assert bench.worker.reviewed == [A]
    again = replace(asked, cause=command(32).key)
    assert bench.jobs.desk.arm(again) is Verdict.ARM
    assert bench.wait(asked.key).generation == 2


def test_a_plain_review_of_a_reviewed_head_is_told_so(bench: Bench) -> None:
    bench.start()
    bench.accept(review())
    bench.wait(review().key)
    assert bench.jobs.desk.arm(review(cause=command().key)) is Verdict.DONE


def test_a_hundred_commands_in_a_burst_are_one_review(bench: Bench) -> None:
    verdicts = [bench.jobs.desk.arm(review(cause=str(number))) for number in range(100)]
    assert verdicts == [Verdict.ARM] + [Verdict.RUNNING] * 99


def test_a_paused_pull_is_reviewed_only_when_somebody_asks(bench: Bench) -> None:
    desk = bench.jobs.desk
    desk.pause(REF, paused=True)
    assert bench.accept(review()) == Outcome("ignored", Verdict.PAUSED, review().key)
    assert bench.job(review().key).state is JobState.SKIPPED
    assert desk.arm(review(cause="command")) is Verdict.ARM
    assert desk.cancel(REF)
    assert not desk.cancel(REF)
    desk.pause(REF, paused=False)
    assert bench.accept(review()).status == "accepted"


def test_a_pressed_button_becomes_a_command_for_its_pull(bench: Bench) -> None:
    pressed = RerunRequest(11, "o/r", 99, A, 61, "", (5,), "rerequested", SENDER)
    unnamed = replace(pressed, numbers=())
    assert bench.accept(unnamed).status == "ignored"
    bench.accept(review())
    bench.start()
    assert bench.accept(pressed).status == "accepted"
    assert bench.accept(unnamed).status == "accepted"
    until(lambda: len(bench.worker.commanded) == 2)
    for request in bench.worker.commanded:
        assert (request.ref, request.place, request.comment_id) == (REF, CommentPlace.CHECK, 61)
        assert request.commands == (Command(Verb.FULL),)


# installations and names


@on_both
def test_a_removed_installation_has_its_jobs_stopped_and_writes_nothing(bench: Bench) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(_request: ReviewRequest) -> RunResult:
        began.set()
        go_on.wait(20)
        return RunResult(JobState.DONE)

    bench.worker.on_review = slow
    bench.start()
    other = replace(review(B), ref=PullRef(12, "p/r", 1, 100))
    bench.accept(review())
    assert began.wait(20)
    bench.accept(replace(review(C), ref=replace(REF, repository_id=13)))
    bench.accept(other)
    assert bench.accept(InstallationGone(99, (13,))).note == "1 jobs cancelled"
    assert bench.accept(InstallationGone(99)).note == "1 jobs cancelled"
    until(lambda: bench.store.count_jobs().get("done", 0) >= 1)
    go_on.set()
    bench.wait(other.key)
    assert bench.job(review().key).state is JobState.CANCELLED
    assert bench.worker.closed == []


def test_the_chore_that_stops_a_run_is_not_stopped_itself(bench: Bench) -> None:
    bench.accept(review())
    assert bench.jobs.desk.begin(review().key, 1) is not None
    assert bench.accept(InstallationGone(99)).note == "1 jobs cancelled"
    assert bench.accept(InstallationGone(99)).note == "0 jobs cancelled"
    bench.start()
    bench.wait(f"close:{bench.job(review().key).run_id}")
    assert bench.worker.closed == []


def test_a_renamed_repository_is_reviewed_under_its_new_name(bench: Bench) -> None:
    seen: list[PullRef] = []

    def remember(request: ReviewRequest) -> RunResult:
        seen.append(request.ref)
        return RunResult(JobState.DONE)

    bench.worker.on_review = remember
    bench.accept(review())
    assert bench.accept(RepositoryMoved(11, "new/name", 101)).note == "1 jobs renamed"
    bench.start()
    bench.wait(review().key)
    assert seen == [PullRef(11, "new/name", 5, 101)]


def test_a_repository_that_is_renamed_during_a_try_has_its_new_name_in_the_next(
    bench: Bench,
) -> None:
    seen: list[PullRef] = []

    def move(request: ReviewRequest) -> RunResult:
        seen.append(request.ref)
        if len(seen) == 1:
            bench.accept(RepositoryMoved(11, "new/name", 101))
            raise HostUnavailable("GitHub is down")
        return RunResult(JobState.DONE)

    bench.worker.on_review = move
    bench.start()
    bench.accept(review())
    bench.wait(review().key)
    assert seen == [REF, PullRef(11, "new/name", 5, 101)]


# several workers, stops and kills


@on_both
def test_two_workers_have_different_ids_and_a_wanted_one_is_not_shared(engine: sa.Engine) -> None:
    first, second = WorkerLocks(engine), WorkerLocks(engine)
    assert (first.claim(None), second.claim(None)) == ("worker-1", "worker-2")
    assert first.claim("build-7") == "build-7"
    with pytest.raises(SettingsError, match="POSTIL_WORKER_ID=build-7"):
        second.claim("build-7")
    first.release("worker-1")
    assert second.take("worker-1")
    for locks, name in ((first, "build-7"), (second, "worker-1"), (second, "worker-2")):
        locks.release(name)
    engine.dispose()


def serve_until_killed(url: str) -> None:
    """Review for ever, as a process of its own."""
    engine = open_engine(Path(), url)
    store = Store(engine).prepare()
    jobs = Jobs(store, WorkerLocks(engine), FAST, worker_id="doomed")

    def hang(_request: ReviewRequest, _run: str) -> RunResult:
        DBOS.run_step({"name": "read"}, lambda: 1)
        while True:
            time.sleep(60)

    jobs.open()
    jobs.start(Work(hang, lambda _request, _run, _desk: None, lambda _closing, _run: None))
    while True:
        time.sleep(60)


@on_both
def test_another_worker_takes_over_what_a_killed_one_left(engine: sa.Engine) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, __file__, url]
    with opened(engine) as bench, subprocess.Popen(command, env=environ) as doomed:
        bench.accept(review())
        until(lambda: bench.job(review().key).state is JobState.RUNNING)
        bench.start()
        bench.jobs.tend()
        assert bench.worker.reviewed == [], "its worker still lives"
        doomed.kill()
        doomed.wait()
        bench.wait(review().key)
        assert bench.worker.reviewed == [A]
        assert bench.job(review().key).attempts == 2


def test_of_all_workers_one_repairs_every_ten_minutes(engine: sa.Engine) -> None:
    now = [time.time()]
    repaired: list[Desk] = []
    with opened(engine, clock=lambda: now[0]) as bench:
        bench.jobs.start(replace(bench.worker.work(), repair=repaired.append))
        until(lambda: len(repaired) == 1)
        other = Desk(bench.store, FAST, lambda: now[0])
        other.open()
        assert not other.order_repair()
        now[0] += 601
        assert other.order_repair()
        assert not other.order_repair()
        until(lambda: len(repaired) == 2)
        other.close()
        assert repaired[0] is bench.jobs.desk


def test_old_deliveries_and_workflows_are_forgotten(engine: sa.Engine) -> None:
    now = [time.time()]
    with opened(engine, clock=lambda: now[0]) as bench:
        bench.start()
        bench.accept(review(), 1)
        bench.wait(review().key)
        client = bench.jobs.desk.client
        until(lambda: [w.status for w in client.list_workflows()] == ["SUCCESS"])
        now[0] += 31 * 24 * 3600
        bench.jobs.tend()
        assert client.list_workflows() == []
        assert bench.accept(Ignored("x"), 1).status == "ignored"


if __name__ == "__main__":
    serve_until_killed(sys.argv[1])
