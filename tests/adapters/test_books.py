"""A quota that several workers keep together, on a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.adapters.books import Books
from app.adapters.models.pace import Memory, Pace, Pause, Quota, Ticket, Waiting
from app.adapters.models.scheduler import PacedModel, Round, Taken, settle
from app.adapters.store import Store, open_engine
from app.core.money import Usage
from app.core.prompts import Answer, Fault, FaultKind, Prompt, Reply
from sandbox.models import ModelServer
from tests.adapters.models.kit import VirtualTime, build, make_prompt
from tests.adapters.models.test_scheduler import quota
from tests.postgres import make_database, running_postgres

on_both = pytest.mark.parametrize(
    "address", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return make_database(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path / 'postil.db'}"


@dataclass
class Workers:
    """Several processes on one database, as far as the database can tell."""

    address: str
    time: VirtualTime | None = None
    engines: list[sa.Engine] = field(default_factory=list)

    def books(self) -> Books:
        """Open the database once more."""
        self.engines.append(open_engine(Path(), self.address))
        store, time = Store(self.engines[-1]), self.time
        if time is None:
            return Books(store).prepare()
        return Books(store, lambda _connection: time.now).prepare()

    def pace(self, quota: Quota) -> Pace:
        return Pace(quota, partial(self.books().open, "service"))


@pytest.fixture
def workers(address: str) -> Iterator[Workers]:
    workers = Workers(address)
    yield workers
    for engine in workers.engines:
        engine.dispose()


@on_both
def test_a_book_says_what_was_written_into_it(workers: Workers) -> None:
    workers.time = VirtualTime()
    books = workers.books()
    first, second = Ticket("a", 1.5, 1.5, 10), Ticket("b", 2.5, 9.5, 2**40, running=False)
    hold, stop = Pause("", 70.0), Pause("", 60.0, Fault(FaultKind.KEY, "the key's no good"))
    with books.open("service") as book:
        assert (book.now, book.tickets(), book.pauses()) == (1000.0, (), ())
        for ticket in (first, second, replace(first, tokens=20)):
            book.write(ticket)
        for pause in (hold, stop, replace(hold, until=80.0)):
            book.write_pause(pause)
        for waiting in (
            Waiting("ann", 5.0, 6.0),
            Waiting("bob", 7.0, 85.0),
            Waiting("ann", 5.0, 8.0),
        ):
            book.write_waiting(waiting)
    with books.open("another") as book:
        assert (book.tickets(), book.pauses(), book.waiting()) == ((), (), ())
        book.forget(before=1e9)
    with workers.books().open("service") as book:
        assert set(book.tickets()) == {replace(first, tokens=20), second}
        assert set(book.pauses()) == {replace(hold, until=80.0), stop}
        assert set(book.waiting()) == {Waiting("ann", 5.0, 8.0), Waiting("bob", 7.0, 85.0)}
        book.forget(before=9.0)
        assert set(book.tickets()) == {second}
        book.forget(before=60.0)
        assert (book.tickets(), set(book.pauses())) == ((), {replace(hold, until=80.0)})
        assert book.waiting() == (Waiting("bob", 7.0, 85.0),)


@on_both
def test_of_many_claims_at_once_no_more_succeed_than_may(workers: Workers) -> None:
    paces = [workers.pace(Quota(rpm=10, concurrency=100)) for _ in range(2)]
    claims: list[Callable[[], float | Fault]] = [
        partial(pace.claim, f"{number}-{side}", "m", 1)
        for number in range(12)
        for side, pace in enumerate(paces)
    ]
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda claim: claim(), claims))
    assert waits.count(0.0) == 10
    assert all(isinstance(wait, float) and 55 < wait <= 61 for wait in waits if wait != 0.0)


@on_both
def test_what_one_worker_was_told_every_worker_heeds(workers: Workers) -> None:
    workers.time = VirtualTime()
    one, other = (workers.pace(Quota()) for _ in range(2))
    one.settle("a", "m", Fault(FaultKind.LIMITED, "", retry_after=70.0), None, 0.0)
    assert other.claim("b", "m", 1) == 70.0
    refusal = Fault(FaultKind.CREDITS, "top it up", Usage(requests=1))
    other.settle("b", "m", refusal, None, 0.0)
    assert one.claim("c", "m", 1) == Fault(FaultKind.CREDITS, "top it up")
    workers.time.now += 70.0
    assert one.claim("c", "m", 1) == 0.0


@on_both
def test_a_place_whose_process_died_comes_free_by_itself(workers: Workers) -> None:
    workers.time = VirtualTime()
    limits = Quota(rpm=2, tpm=100, concurrency=2, call_seconds=30.0)
    dead, alive = (workers.pace(limits) for _ in range(2))
    assert [dead.claim(name, "m", 50) for name in "ab"] == [0.0, 0.0]
    assert alive.claim("c", "m", 50) == 61.0
    assert alive.claim("a", "m", 50) == 0.0, "it is taken over, and takes no second place"
    workers.time.now += 91.0
    assert [alive.claim(name, "m", 50) for name in "cd"] == [0.0, 0.0]
    with workers.books().open("service") as book:
        assert {ticket.name for ticket in book.tickets()} == {"c", "d"}


# two workers ask two hundred prompts


def play(
    time: VirtualTime, model: PacedModel, paces: Sequence[Pace], prompts: Sequence[Prompt]
) -> list[Reply]:
    """Let each pace have its share of the prompts; a request takes 5 seconds."""
    count = itertools.count()
    rounds = [
        Round(
            prompts[side :: len(paces)],
            [f"{side}-{number}" for number in range(len(prompts[side :: len(paces)]))],
            lambda _index, _reply: None,
            claim=partial(pace.claim, owner=str(side)),
            info=model.info,
            clock=time.clock,
            end=time.now + 3600.0,
        )
        for side, pace in enumerate(paces)
    ]
    running: list[tuple[float, int, int, Taken, Reply]] = []
    while running or any(round_.waits for round_ in rounds):
        moments = []
        for side, round_ in enumerate(rounds):
            while isinstance(taken := round_.take(), Taken):
                reply = model.ask_once(taken.attempt.prompt)
                heapq.heappush(running, (time.now + 5.0, next(count), side, taken, reply))
            if taken is not None:
                moments.append(time.now + taken)
        time.now = min([*moments, *(one[0] for one in running[:1])])
        while running and running[0][0] <= time.now:
            _, _, side, taken, reply = heapq.heappop(running)
            step = model.next_step(taken.attempt, reply)
            settle(paces[side], model.info, taken.name, taken.attempt.prompt, reply, step, 5.0)
            rounds[side].put(taken.index, step)
    return [reply for round_ in rounds for reply in round_.replies]


@on_both
def test_two_workers_with_two_hundred_prompts_take_the_quotas_floor_and_meet_no_429(
    workers: Workers,
) -> None:
    time = workers.time = VirtualTime()
    with ModelServer("novita", rpm=30, clock=time.clock) as server:
        model = build(server, time=time)
        paces = [workers.pace(model.quota) for _ in range(2)]
        replies = play(time, model, paces, [make_prompt()] * 200)

    assert [isinstance(reply, Answer) for reply in replies] == [True] * 200
    assert (len(server.seen), server.limited) == (200, 0)
    floor = (200 // 30) * 60
    assert floor <= time.now - 1000 <= floor * 1.1


@on_both
def test_two_workers_keep_a_quota_of_tokens_together(workers: Workers) -> None:
    time = workers.time = VirtualTime()
    prompts = [make_prompt("R1 +| " + "x" * 3800, max_tokens=200)] * 200
    with ModelServer("novita", rpm=300, tpm=20_000, clock=time.clock) as server:
        model = build(server, time=time, concurrency=8, change=quota(rpm=300, tpm=20_000))
        paces = [workers.pace(model.quota) for _ in range(2)]
        replies = play(time, model, paces, prompts)

    assert [isinstance(reply, Answer) for reply in replies] == [True] * 200
    assert server.limited == 0
    each = (server.bill.prompt_tokens + server.bill.completion_tokens) / 200
    floor = (200 // (20_000 // each)) * 60
    assert floor <= time.now - 1000 <= floor * 1.1


def test_without_a_shared_book_two_workers_ask_twice_as_much_as_they_may() -> None:
    """The stand-in sees it: what the other tests promise is not true by itself."""
    time = VirtualTime()
    with ModelServer("novita", rpm=30, clock=time.clock) as server:
        model = build(server, time=time)
        paces = [Pace(model.quota, Memory(time.clock).open) for _ in range(2)]
        play(time, model, paces, [make_prompt()] * 80)
    assert server.limited > 0
