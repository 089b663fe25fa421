"""Ports whose calls are recorded, and a model asked in workflows, on the real durable engine."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
import sqlalchemy as sa
from dbos import DBOS

from app.adapters.books import Books
from app.adapters.durable import ASK_WORKFLOW, LONG, DurableModel, decode, durable, encode
from app.adapters.models.pace import Pace, Pause, Quota
from app.adapters.models.scheduler import Attempt
from app.adapters.store import Store, WorkerLocks, open_engine
from app.core.events import Delivery, Person, ReviewRequest
from app.core.job import Halted, Job, JobState, RunResult
from app.core.money import Usage
from app.core.prompts import Answer, Fault, FaultKind, Message, Prompt, Reply, Task
from app.core.pull import PullRef
from app.errors import HostLimited, HostRefused
from app.jobs import Jobs, Work
from app.jobs import Pace as JobPace
from app.ports import ModelInfo, OnReply
from sandbox.serving import until

FAST = JobPace(quiet=0.0, retries=(0.0,), tend=0.2, grace=0.0, poll=0.02)
REQUEST = ReviewRequest(PullRef(11, "o/r", 5, 99), "a" * 40, "0" * 40, "opened", Person(7, "ann"))
DELIVERY = Delivery("00000000-0000-0000-0000-000000000001", "pull_request", "opened", REQUEST)


def prompt(key: str) -> Prompt:
    return Prompt(Task.REVIEW, (Message("user", key),), f"{key}-nonce", "{}", 10, key, 1)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    data: bytes = b""
    price: Decimal | None = None
    colour: Colour | None = None
    parts: tuple[Thing, ...] = ()


@dataclass(frozen=True, slots=True)
class Other:
    name: str


class Things(Protocol):
    def fetch(self, name: str) -> Thing | Other | None: ...

    def refuse(self) -> Thing: ...


@dataclass
class RealThings:
    calls: int = 0

    def fetch(self, name: str) -> Thing | Other | None:
        self.calls += 1
        if name == "other":
            return Other("o")
        return Thing(name, b"\xff\x00", Decimal("1.10"), Colour.RED, (Thing("p\ud800"),))

    def refuse(self) -> Thing:
        self.calls += 1
        raise HostRefused("no", status=403, missing="checks")


class SlowModel:
    """Answers with its key; a prompt named ``limited`` is first refused for a moment.

    A prompt named ``refused`` is refused for the key's sake.
    """

    info = ModelInfo("p", "m", 1000, 100)

    def __init__(self, on_ask: Callable[[Prompt], None] = lambda _: None) -> None:
        self.on_ask = on_ask
        self.asked: list[str] = []
        self.retry_after = 0.05

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        assert on_reply is None
        return tuple(self.ask_once(prompt) for prompt in prompts)

    def ask_once(self, prompt: Prompt) -> Reply:
        self.asked.append(prompt.key)
        self.on_ask(prompt)
        if prompt.key == "limited" and self.asked.count("limited") == 1:
            return Fault(FaultKind.LIMITED, "slow down", retry_after=self.retry_after)
        if prompt.key == "refused":
            return Fault(FaultKind.KEY, "check the key", Usage(requests=1))
        return Answer(prompt.key.upper(), Usage(requests=1, cost_usd=Decimal("0.1")))

    def next_step(
        self, attempt: Attempt, reply: Reply, seconds_left: float = math.inf
    ) -> Attempt | Reply:
        assert seconds_left > 0
        if isinstance(reply, Fault) and reply.retry_after is not None:
            return replace(attempt, tries=attempt.tries + 1, wait=reply.retry_after)
        return reply


def durable_model(
    model: SlowModel,
    store: Store,
    jobs: Jobs,
    quota: Quota | None = None,
    clock: Callable[[], float] = time.time,
) -> DurableModel:
    """Wire a model as the server does."""
    books = Books(store, lambda _: clock()).prepare()
    return DurableModel(
        model,
        lambda: jobs.desk.client,
        Pace(quota or Quota(concurrency=8), partial(books.open, "service")),
        clock=clock,
        halted=lambda: jobs.halted,
    )


@dataclass
class Bench:
    jobs: Jobs
    store: Store
    work: Work
    model: SlowModel
    clock: Callable[[], float] = time.time
    review: Callable[[ReviewRequest, str], RunResult] = lambda _request, _run: RunResult(
        JobState.DONE
    )

    def start(
        self, quota: Quota | None = None, clock: Callable[[], float] = time.time
    ) -> DurableModel:
        self.clock = clock
        asking = durable_model(self.model, self.store, self.jobs, quota, clock)
        self.jobs.start(self.work)
        return asking

    @property
    def job(self) -> Job:
        with self.store.begin() as connection:
            job = self.store.find_job(connection, REQUEST.key)
        assert job is not None
        return job

    def hold(self, seconds: float) -> None:
        """Let the service want everybody to wait."""
        with Books(self.store, lambda _: self.clock()).open("service") as book:
            book.write_pause(Pause("", book.now + seconds))

    def places_taken(self) -> int:
        with Books(self.store).open("service") as book:
            return sum(ticket.running for ticket in book.tickets())

    def wait_for(self, state: JobState) -> Job:
        until(lambda: self.job.state is state, 20, lambda: f"it is {self.job.state}", 0.02)
        return self.job

    def run(self) -> None:
        self.jobs.desk.accept(DELIVERY)
        self.wait_for(JobState.DONE)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    engine = open_engine(tmp_path)
    store = Store(engine).prepare()
    made: list[Bench] = []

    def review(request: ReviewRequest, run: str) -> RunResult:
        return made[0].review(request, run)

    work = Work(review, lambda _request, _run, _desk: None, lambda _closing, _run: None)
    jobs = Jobs(store, WorkerLocks(engine), FAST)
    jobs.open()
    made.append(Bench(jobs, store, work, SlowModel()))
    yield made[0]
    jobs.stop()
    DBOS.destroy(destroy_registry=True)
    engine.dispose()


def test_a_value_crosses_as_itself_whatever_its_text_holds() -> None:
    known = {"Thing": Thing, "Other": Other, "Colour": Colour}
    things = (RealThings().fetch("x"), Other("x"), None, 1, 1.5, True)
    assert decode(encode(things), known) == things


def test_a_value_that_is_not_of_the_core_is_refused() -> None:
    with pytest.raises(TypeError, match="object can't cross"):
        encode(object())


def test_outside_of_a_job_calls_go_straight_through() -> None:
    real = RealThings()
    things = durable(real, Things, name="things")
    assert things.fetch("other") == Other("o")
    assert things.calls == 1
    with pytest.raises(HostRefused):
        things.refuse()


def test_inside_of_a_job_values_and_errors_come_back_as_themselves(bench: Bench) -> None:
    things = durable(RealThings(), Things, name="things")
    seen: list[object] = []

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        seen.extend([things.fetch("x"), things.fetch("other")])
        try:
            things.refuse()
        except HostRefused as error:
            seen.extend([error.message, error.status, error.missing])
        return RunResult(JobState.DONE)

    bench.review = review
    bench.start()
    bench.run()
    assert seen == [RealThings().fetch("x"), Other("o"), "no", 403, "checks"]


def test_a_rate_limit_keeps_its_seconds() -> None:
    from app.adapters.durable import _decode_error, _encode_error  # noqa: PLC0415

    error = _decode_error(_encode_error(HostLimited("wait", retry_after=7.5)))  # type: ignore[arg-type]
    assert isinstance(error, HostLimited)
    assert (error.retry_after, str(error)) == (7.5, "wait")


def test_every_prompt_is_answered_in_order_and_a_limit_is_waited_out(bench: Bench) -> None:
    replies: list[Reply] = []
    heard: list[int] = []

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        prompts = [prompt("one"), prompt("limited"), prompt("two")]
        replies.extend(asking.ask_all(prompts, lambda index, _: heard.append(index)))
        return RunResult(JobState.DONE)

    bench.review = review
    asking = bench.start()
    bench.run()
    assert [reply.text for reply in replies if isinstance(reply, Answer)] == [
        "ONE",
        "LIMITED",
        "TWO",
    ]
    assert sorted(heard) == [0, 1, 2]
    assert sorted(bench.model.asked) == ["limited", "limited", "one", "two"]


def test_a_failed_run_pays_for_no_finished_call_again(bench: Bench) -> None:
    runs: list[str] = []

    def review(_request: ReviewRequest, run: str) -> RunResult:
        runs.append(run)
        asking.ask_all([prompt("one"), prompt("two")])
        if len(runs) == 1:
            raise ValueError("a bug")
        return RunResult(JobState.DONE)

    bench.review = review
    asking = bench.start()
    bench.run()
    assert runs[0] == runs[1]
    assert sorted(bench.model.asked) == ["one", "two"]
    with Books(bench.store).open("service") as book:
        places = [ticket.running for ticket in book.tickets()]
    assert places == [False, False], "nor does it claim a place for one"


def test_a_refused_key_is_every_further_prompts_answer_unasked(bench: Bench) -> None:
    replies: list[Reply] = []

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        prompts = [prompt("refused"), *(prompt(f"p{n}") for n in range(20))]
        replies.extend(asking.ask_all(prompts))
        replies.extend(asking.ask_all([prompt("later")]))
        return RunResult(JobState.DONE)

    bench.review = review
    asking = bench.start(Quota(concurrency=1))
    bench.run()
    assert bench.model.asked == ["refused"]
    assert {(reply.kind, reply.message) for reply in replies if isinstance(reply, Fault)} == {
        (FaultKind.KEY, "check the key")
    }
    assert sum(reply.usage.requests for reply in replies) == 1
    assert len(replies) == 22


def test_requests_wait_for_their_place_in_the_quota_and_no_more_run_than_may(bench: Bench) -> None:
    sent: list[float] = []
    running: list[int] = [0]
    peaks: list[int] = []
    lock = threading.Lock()

    def ask(_prompt: Prompt) -> None:
        with lock:
            sent.append(time.monotonic())
            running[0] += 1
            peaks.append(running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        asking.ask_all([prompt(f"p{n}") for n in range(6)])
        return RunResult(JobState.DONE)

    bench.review = review
    bench.model.on_ask = ask
    asking = bench.start(Quota(rpm=5, period=0.0, concurrency=2))  # a second on the way is left
    bench.run()
    assert max(peaks) == 2
    assert sent[5] - sent[0] > 0.9


def test_prompts_for_which_the_quota_leaves_no_time_are_not_waited_for(bench: Bench) -> None:
    replies: list[Reply] = []

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        replies.extend(asking.ask_all([prompt(f"p{n}") for n in range(4)]))
        return RunResult(JobState.DONE)

    bench.review = review
    asking = bench.start(Quota(rpm=3, period=3600.0))
    bench.run()
    assert len(bench.model.asked) == 3
    (fault,) = (reply for reply in replies if isinstance(reply, Fault))
    assert (fault.kind, "POSTIL_RPM" in fault.message) == (FaultKind.LIMITED, True)


def test_a_request_that_broke_off_is_one_failed_prompt_and_keeps_no_place(bench: Bench) -> None:
    replies: list[Reply] = []

    def ask(prompt: Prompt) -> None:
        if prompt.key == "broken":
            raise ValueError("a bug")

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        replies.extend(asking.ask_all([prompt("broken"), prompt("one"), prompt("two")]))
        return RunResult(JobState.DONE)

    bench.review = review
    bench.model.on_ask = ask
    asking = bench.start(Quota(concurrency=1))
    bench.run()
    assert [isinstance(reply, Answer) for reply in replies] == [False, True, True]


def test_an_answer_that_can_not_be_settled_is_an_answer(bench: Bench) -> None:
    replies: list[Reply] = []

    def lose(_prompt: Prompt) -> None:
        with bench.store.begin() as connection:
            connection.execute(sa.text("DROP TABLE postil_tickets"))

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        replies.extend(asking.ask_all([prompt("one")]))
        return RunResult(JobState.DONE)

    bench.review = review
    bench.model.on_ask = lose
    asking = bench.start()
    bench.run()
    assert [reply.text for reply in replies if isinstance(reply, Answer)] == ["ONE"]


def test_a_cancelled_job_asks_nothing_more_and_leaves_nothing_behind(bench: Bench) -> None:
    asked, ended, done = (threading.Event() for _ in range(3))

    def ask(_prompt: Prompt) -> None:
        asked.set()
        assert done.wait(20)

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        try:
            asking.ask_all([prompt(f"p{n}") for n in range(9)])
        finally:
            ended.set()
        return RunResult(JobState.DONE)

    bench.review = review
    bench.model.on_ask = ask
    asking = bench.start(Quota(concurrency=3))
    bench.jobs.desk.accept(DELIVERY)
    assert asked.wait(20)
    bench.jobs.desk.cancel(REQUEST.ref)
    assert ended.wait(20)
    done.set()
    client = bench.jobs.desk.client
    active = ["PENDING", "ENQUEUED", "DELAYED"]
    assert client.list_workflows(name=ASK_WORKFLOW, status=active) == []
    until(
        lambda: not bench.places_taken(),
        20,
        lambda: "a place is kept, and nobody else may ask",
        0.02,
    )
    assert sorted(bench.model.asked) == ["p0", "p1", "p2"]
    assert bench.job.state is JobState.CANCELLED


def test_a_job_that_waits_for_the_service_is_cancelled_as_well(bench: Bench) -> None:
    waits, ended = threading.Event(), threading.Event()

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        bench.hold(LONG - 1)
        waits.set()
        try:
            asking.ask_all([prompt("one")])
        finally:
            ended.set()
        return RunResult(JobState.DONE)

    bench.review = review
    asking = bench.start()
    bench.jobs.desk.accept(DELIVERY)
    assert waits.wait(20)
    bench.jobs.desk.cancel(REQUEST.ref)
    assert ended.wait(20)
    assert bench.model.asked == []


def test_what_must_wait_for_long_occupies_no_worker_and_goes_on_where_it_was(bench: Bench) -> None:
    ahead, tries = [0.0], [0]

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        tries[0] += 1
        assert all(isinstance(one, Answer) for one in asking.ask_all([prompt("one")]))
        if tries[0] == 1:
            bench.hold(10 * LONG)
        asking.ask_all([prompt("two"), prompt("limited")])
        return RunResult(JobState.DONE)

    bench.review = review
    bench.model.retry_after = 2 * LONG
    asking = bench.start(clock=lambda: time.time() + ahead[0])
    bench.jobs.desk.accept(DELIVERY)
    for number, seconds in enumerate((10 * LONG, 2 * LONG), start=1):
        until(partial(lambda done: bench.job.tries > done, number), 20, lambda: "no wait", 0.02)
        waiting = bench.wait_for(JobState.QUEUED)
        assert waiting.note == "waits for the model service"
        assert (waiting.attempts, waiting.due_at > time.time() + LONG) == (0, True)
        ahead[0] += seconds
        bench.jobs.desk.client.set_workflow_delay(waiting.workflow_id, delay_seconds=0.0)
        until(partial(lambda done: tries[0] > done, number), 20, lambda: "it does not go on", 0.02)
    bench.wait_for(JobState.DONE)
    assert sorted(bench.model.asked) == ["limited", "limited", "one", "two"]


def test_a_stop_interrupts_between_steps_and_the_next_start_goes_on(tmp_path: Path) -> None:
    real = RealThings()
    refusals: list[str | None] = []
    attempts: list[int] = []

    def serve(*, stop_within: bool) -> None:
        engine = open_engine(tmp_path)
        store = Store(engine).prepare()
        halted = [False]
        things = durable(real, Things, name="things", halted=lambda: halted[0])

        def review(_request: ReviewRequest, _run: str) -> RunResult:
            try:
                things.refuse()
            except HostRefused as error:
                refusals.append(error.missing)
            halted[0] = stop_within
            things.fetch("second")
            return RunResult(JobState.DONE)

        work = Work(review, lambda _r, _i, _d: None, lambda _c, _i: None)
        jobs = Jobs(store, WorkerLocks(engine), FAST)
        jobs.open()
        jobs.start(work)
        jobs.desk.accept(DELIVERY)
        deadline = time.monotonic() + 20
        while True:
            with store.begin() as connection:
                job = store.find_job(connection, REQUEST.key)
            if (halted[0] and real.calls == 1) or (job and job.state is JobState.DONE):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if job and job.state is JobState.DONE:
            attempts.append(job.attempts)
        jobs.stop()
        DBOS.destroy(destroy_registry=True)
        engine.dispose()

    serve(stop_within=True)
    serve(stop_within=False)
    assert (refusals, real.calls) == (["checks", "checks"], 2)
    assert attempts == [1], "a stop is no failure"
    assert not issubclass(Halted, Exception)


def serve_until_killed(folder: Path) -> None:
    """Review with six prompts; each call writes its key to a file. Runs in a process of its own."""
    engine = open_engine(folder)
    store = Store(engine).prepare()
    log = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(prompt: Prompt) -> None:
        os.write(log, f"{prompt.key}\n".encode())
        if prompt.key in {"p2", "p3"} and not (folder / "second").exists():
            time.sleep(60)  # asked, and not answered when the process dies

    def review(_request: ReviewRequest, _run: str) -> RunResult:
        replies = asking.ask_all([prompt(f"p{n}") for n in range(6)])
        texts = [reply.text for reply in replies if isinstance(reply, Answer)]
        with (folder / "posted").open("a") as posted:
            posted.write(" ".join(texts) + "\n")
        return RunResult(JobState.DONE)

    work = Work(review, lambda _r, _i, _d: None, lambda _c, _i: None)
    jobs = Jobs(store, WorkerLocks(engine), FAST)
    jobs.open()
    asking = durable_model(SlowModel(note), store, jobs)
    jobs.start(work)
    jobs.desk.accept(DELIVERY)
    posted = folder / "posted"
    while not posted.exists() or not posted.stat().st_size:
        time.sleep(0.02)
    os._exit(0)


def test_a_kill_amid_model_calls_repeats_no_finished_one(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    calls = tmp_path / "calls"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environ) as first:
        deadline = time.monotonic() + 30
        while not calls.exists() or len(calls.read_text().split()) < 6:
            assert first.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)  # let the finished ones be recorded
        first.send_signal(signal.SIGKILL)
    (tmp_path / "second").touch()
    subprocess.run(command, env=environ, check=True, timeout=40)
    made = calls.read_text().split()
    assert {key: made.count(key) for key in sorted(set(made))} == {
        "p0": 1,
        "p1": 1,
        "p2": 2,
        "p3": 2,
        "p4": 1,
        "p5": 1,
    }
    assert (tmp_path / "posted").read_text() == "P0 P1 P2 P3 P4 P5\n"


if __name__ == "__main__":
    serve_until_killed(Path(sys.argv[1]))
