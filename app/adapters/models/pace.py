"""A service's quota, kept: who may ask now, who waits for how long, and who must not ask at all.

What was asked lately stands in a book: in memory for one process, in the database for all workers.
The arithmetic is the same for both. Times are seconds, by the book's own clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from app.core.prompts import Fault, FaultKind, Reply

MINUTE = 60.0
ON_THE_WAY = 1.0
"""How much later than by our clock a request may reach the service."""
CROWDED = 0.25
"""Seconds after which to look again when as many requests run as may."""
PATIENT = 4 * CROWDED
"""How long somebody who waits for a place, and looks no more, still counts as waiting."""
STOPPED_SECONDS = 60.0
"""How long a fault of the account or the settings is taken to last."""
HELD_AT_MOST = 3600.0
"""The longest that a service may make everybody wait, whatever it asks for."""
STOPPING = frozenset({FaultKind.KEY, FaultKind.CREDITS, FaultKind.MODEL})
"""Faults of the account or the settings: every further prompt would meet them too."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a service allows a key: requests and tokens in a period, and requests at once.

    ``call_seconds`` is the longest that one request may take.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int = 4
    period: float = MINUTE
    call_seconds: float = 120.0

    @property
    def window(self) -> float:
        """Return for how long a request counts."""
        return self.period + ON_THE_WAY

    @property
    def memory(self) -> float:
        """Return for how long a request is remembered: it may run, and then count."""
        return self.call_seconds + self.window


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request: when it began, since when its tokens count, how many, whether it runs."""

    name: str
    start: float
    counted: float
    tokens: int
    running: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """Until when nothing is asked: the service wants us to wait, or refuses with this fault.

    ``scope`` is "" for all that the key may ask, or the one model that the service does not know.
    """

    scope: str
    until: float
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody who waits for a place: since when, when they last looked (0.0: they have one)."""

    owner: str
    since: float
    seen: float


class Book(Protocol):
    """What is known of one service, while nobody else writes in it."""

    @property
    def now(self) -> float:
        """The time."""
        ...

    def tickets(self) -> Sequence[Ticket]:
        """Return what was asked lately, in any order."""
        ...

    def pauses(self) -> Sequence[Pause]:
        """Return every pause, over or not."""
        ...

    def write(self, ticket: Ticket) -> None:
        """Keep a ticket in place of one of its name."""
        ...

    def write_pause(self, pause: Pause) -> None:
        """Keep a pause in place of one of its scope that has or has no fault, as this one."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """Return who waits for a place, or did."""
        ...

    def write_waiting(self, waiting: Waiting) -> None:
        """Keep it in place of what was known of its owner."""
        ...

    def forget(self, before: float) -> None:
        """Drop what no longer counts: tickets, pauses that are over, who waited."""
        ...


def seconds_until_free(
    quota: Quota, tickets: Iterable[Ticket], tokens: int, now: float, ahead: int = 0
) -> float:
    """Return the seconds until a request of so many tokens fits into the quota; 0.0 is now.

    ``ahead`` are others who have waited longer: as many places that are free are theirs.
    """
    known = tuple(tickets)
    running = sum(one.running and one.start > now - quota.memory for one in known)
    crowded = CROWDED if running + ahead >= quota.concurrency else 0.0
    return max(
        crowded,
        _until_requests_fit(quota, known, now),
        _until_tokens_fit(quota, known, tokens, now),
    )


def _until_requests_fit(quota: Quota, tickets: Sequence[Ticket], now: float) -> float:
    starts = sorted(one.start for one in tickets if one.start > now - quota.window)
    if quota.rpm is None or len(starts) < quota.rpm:
        return 0.0
    return starts[-quota.rpm] + quota.window - now


def _until_tokens_fit(quota: Quota, tickets: Sequence[Ticket], tokens: int, now: float) -> float:
    """Wait for as many of the oldest as must go; a request beyond the quota waits for all."""
    if quota.tpm is None:
        return 0.0
    counted = sorted(
        (one.counted, one.tokens) for one in tickets if one.counted > now - quota.window
    )
    excess = sum(used for _, used in counted) + tokens - quota.tpm
    wait = 0.0
    for time, used in counted:
        if excess <= 0:
            break
        excess -= used
        wait = time + quota.window - now
    return wait


class Pace:
    """Keeps requests and tokens within a quota, with everybody who writes in the same book."""

    def __init__(self, quota: Quota, open_book: Callable[[], AbstractContextManager[Book]]) -> None:
        self.quota = quota
        self._open = open_book

    def claim(self, name: str, model: str, tokens: int, owner: str = "") -> float | Fault:
        """Take a place for a request now and return 0.0; or the seconds to wait, or why not to ask.

        A claim of the same name takes the place of an earlier one: a process may die between its
        claim and its request, and claim again. Places that come free go to the ``owner`` who has
        waited longest for one.
        """
        with self._open() as book:
            now = book.now
            open_pauses = [
                one for one in book.pauses() if one.until > now and one.scope in {"", model}
            ]
            for pause in open_pauses:
                if pause.fault is not None:
                    return pause.fault
            tickets, horizon = book.tickets(), now - self.quota.memory
            others = (one for one in tickets if one.name != name)
            held = max((one.until - now for one in open_pauses), default=0.0)
            mine, ahead = _line(book, owner)
            free = seconds_until_free(self.quota, others, tokens, now, len(ahead))
            wait = max(held, free)
            if wait <= 0:
                if any(one.counted <= horizon for one in tickets):
                    book.forget(horizon)
                book.write(Ticket(name, now, now, tokens))
            if mine or wait == CROWDED:
                book.write_waiting(Waiting(owner, mine or now, now if wait == CROWDED else 0.0))
            return wait

    def settle(self, name: str, model: str, reply: Reply, wait: float | None, took: float) -> None:
        """Put what a request really used in place of its claim, and heed what its fault asks for.

        ``wait`` are the seconds after which it is asked again, None when it is not; ``took`` those
        between sending it and now: it may have been sent some time after its claim.
        """
        with self._open() as book:
            now = book.now
            used = reply.usage.prompt_tokens + reply.usage.completion_tokens
            book.write(Ticket(name, now - took, now, used, running=False))
            if isinstance(reply, Fault):
                pause = _pause(model, reply, wait, now)
                known = (one.until for one in book.pauses() if pause and _alike(one, pause))
                if pause is not None and pause.until > max(known, default=now):
                    book.write_pause(pause)

    def release(self, names: Collection[str]) -> None:
        """Give back the places of requests that run no more; as they may have run, they count."""
        with self._open() as book:
            for ticket in book.tickets():
                if ticket.name in names:
                    book.write(replace(ticket, running=False))


def _line(book: Book, owner: str) -> tuple[float, list[Waiting]]:
    """Return since when an owner waits for a place (0.0: not), and who has waited longer."""
    line = [one for one in book.waiting() if one.seen > book.now - PATIENT]
    mine = next((one.since for one in line if one.owner == owner), 0.0)
    before = mine or book.now
    return mine, [one for one in line if one.owner != owner and one.since < before]


def _pause(model: str, fault: Fault, wait: float | None, now: float) -> Pause | None:
    """Return the pause that a fault calls for."""
    if fault.kind in STOPPING:
        scope = model if fault.kind is FaultKind.MODEL else ""
        return Pause(scope, now + STOPPED_SECONDS, Fault(fault.kind, fault.message))
    asked = wait if fault.retry_after is None else fault.retry_after
    if fault.kind is not FaultKind.LIMITED or asked is None:
        return None
    return Pause("", now + min(asked, HELD_AT_MOST))


def _alike(one: Pause, other: Pause) -> bool:
    return one.scope == other.scope and (one.fault is None) == (other.fault is None)


class Memory:
    """A book of one process's own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}
        self._pauses: dict[tuple[str, bool], Pause] = {}
        self._waiting: dict[str, Waiting] = {}
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[Book]:
        """Open the book for one thread at a time."""
        with self._lock:
            yield self

    @property
    def now(self) -> float:
        """The time."""
        return self._clock()

    def tickets(self) -> Sequence[Ticket]:
        """Return what was asked lately."""
        return tuple(self._tickets.values())

    def pauses(self) -> Sequence[Pause]:
        """Return every pause."""
        return tuple(self._pauses.values())

    def write(self, ticket: Ticket) -> None:
        """Keep a ticket."""
        self._tickets[ticket.name] = ticket

    def write_pause(self, pause: Pause) -> None:
        """Keep a pause."""
        self._pauses[pause.scope, pause.fault is None] = pause

    def waiting(self) -> Sequence[Waiting]:
        """Return who waits, or did."""
        return tuple(self._waiting.values())

    def write_waiting(self, waiting: Waiting) -> None:
        """Keep who waits."""
        self._waiting[waiting.owner] = waiting

    def forget(self, before: float) -> None:
        """Drop what no longer counts."""
        self._tickets = {k: one for k, one in self._tickets.items() if one.counted > before}
        self._pauses = {k: one for k, one in self._pauses.items() if one.until > before}
        self._waiting = {k: one for k, one in self._waiting.items() if one.seen > before}
