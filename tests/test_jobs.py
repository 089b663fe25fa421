"""Jobs on the real durable engine, over SQLite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from dbos import DBOS

from app.adapters.store import Store, WorkerLocks, open_engine
from app.core.events import CommandRequest, Delivery, Person, ReviewRequest
from app.core.job import Job, JobState, RunResult
from app.core.pull import PullRef
from app.jobs import Closing, Desk, Jobs, Pace, Work

SENDER = Person(7, "ann")
REF = PullRef(11, "o/r", 5, 99)
A, B, C = "a" * 40, "b" * 40, "c" * 40
FAST = Pace(quiet=0.0, retries=(0.0,), tend=0.2, grace=0.0, poll=0.02)


def review(head: str = A, **changes: object) -> ReviewRequest:
    request = ReviewRequest(REF, head, "0" * 40, "opened", SENDER)
    return replace(request, **changes)  # type: ignore[arg-type]


def delivery(request: object, number: int = 1) -> Delivery:
    guid = f"00000000-0000-0000-0000-{number:012d}"
    return Delivery(guid, "pull_request", "opened", request)  # type: ignore[arg-type]


@dataclass
class Worker:
    """Does what a test tells it, and remembers what it was asked."""

    reviewed: list[str] = field(default_factory=list)
    commanded: list[CommandRequest] = field(default_factory=list)
    closed: list[Closing] = field(default_factory=list)
    on_review: Callable[[ReviewRequest], RunResult] = lambda _: RunResult(JobState.DONE)
    on_command: Callable[[CommandRequest, Desk], None] = lambda _request, _desk: None

    def work(self) -> Work:
        return Work(self.review, self.command, self.close)

    def review(self, request: ReviewRequest, _run_id: str) -> RunResult:
        self.reviewed.append(request.head_sha)
        return self.on_review(request)

    def command(self, request: CommandRequest, _run_id: str, desk: Desk) -> None:
        self.commanded.append(request)
        self.on_command(request, desk)

    def close(self, closing: Closing, _run_id: str) -> None:
        self.closed.append(closing)


@dataclass
class Bench:
    """A store, a worker and jobs that are open, and running once started."""

    store: Store
    worker: Worker
    jobs: Jobs

    def job(self, key: str) -> Job:
        with self.store.begin() as connection:
            found = self.store.find_job(connection, key)
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


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    engine = open_engine(tmp_path)
    store, worker = Store(engine).prepare(), Worker()
    jobs = Jobs(store, WorkerLocks(engine), worker.work(), FAST)
    jobs.open()
    yield Bench(store, worker, jobs)
    jobs.stop()
    DBOS.destroy(destroy_registry=True)
    engine.dispose()


def test_an_accepted_delivery_is_reviewed_once(bench: Bench) -> None:
    bench.jobs.start()
    outcome = bench.jobs.accept(delivery(review()))
    assert (outcome.status, outcome.job) == ("accepted", review().key)
    bench.wait(review().key)
    assert bench.worker.reviewed == [A]


def test_the_same_delivery_again_is_a_duplicate(bench: Bench) -> None:
    first = bench.jobs.accept(delivery(review()))
    again = bench.jobs.accept(delivery(review()))
    assert (first.status, again.status, again.job) == ("accepted", "duplicate", review().key)


def test_twenty_times_the_same_delivery_at_once_is_one_job(bench: Bench) -> None:
    bench.jobs.start()
    barrier = threading.Barrier(20)
    statuses: list[str] = []

    def post() -> None:
        barrier.wait()
        statuses.append(bench.jobs.accept(delivery(review())).status)

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ["accepted"] + ["duplicate"] * 19
    bench.wait(review().key)
    assert bench.worker.reviewed == [A]
