"""How often one installation may call: our own pace for writes, and GitHub's limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from app.adapters.github.limits import (
    SECONDARY_WAIT_S,
    SECONDS_BETWEEN_WRITES,
    WRITES_PER_HOUR,
    WRITES_PER_MINUTE,
)
from app.errors import HostLimited

Clock = Callable[[], float]
Sleep = Callable[[float], None]

LONGEST_WAIT_S = 20.0
"""A write that would wait longer goes back to the scheduler."""
RESERVE = 0.1
"""The part of the hourly limit kept for finishing what was begun."""
MINUTE, HOUR = 60.0, 3600.0
LONGEST_PENALTY = 6
"""Doublings of the minute after secondary limits in a row: about an hour."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Hears of every call to GitHub.

    ``called`` is told its method and its outcome: ok, unchanged, redirected, or what kind of error
    it was. ``remaining`` is told how many requests an installation has left in GitHub's hour.
    """

    called: Callable[[str, str], None] = lambda _method, _outcome: None
    remaining: Callable[[int, float], None] = lambda _installation, _left: None


@dataclass(slots=True)
class Turns:
    """When an installation wrote in the last hour, and until when it is to write less or nothing.

    Times are seconds by the clock that ``now`` was read from; mutable, for whoever holds it open.
    """

    now: float = 0.0
    writes: list[float] = field(default_factory=list)
    slow_until: float = 0.0
    blocked_until: float = 0.0


OpenTurns = Callable[[], AbstractContextManager[Turns]]
"""Opens the turns of one installation; everybody else waits until they are closed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one installation may write; GitHub's limits are the default.

    ``turns`` opens an installation's turns that all workers share; without it they are this
    process's own.
    """

    seconds_between: float = SECONDS_BETWEEN_WRITES
    per_minute: int = WRITES_PER_MINUTE
    per_hour: int = WRITES_PER_HOUR
    turns: Callable[[int], AbstractContextManager[Turns]] | None = None


def turns_of_process(clock: Clock) -> OpenTurns:
    """Keep turns for all threads of this process alone."""
    turns, lock = Turns(), threading.Lock()

    @contextmanager
    def opened() -> Iterator[Turns]:
        with lock:
            turns.now = clock()
            yield turns

    return opened


class Quota:
    """The pace of one installation: calls for all threads of this process, writes for its turns."""

    def __init__(
        self,
        clock: Clock,
        sleep: Sleep,
        pace: Pace = Pace(),
        remaining: Callable[[float], None] = lambda _left: None,
        turns: OpenTurns | None = None,
    ) -> None:
        """Count for one installation; ``remaining`` is told how many requests GitHub leaves it.

        Without ``turns`` to share nobody but this process writes.
        """
        self._turns = turns or turns_of_process(clock)
        self._told = remaining
        self._clock = clock
        self._sleep = sleep
        self._pace = pace
        self._lock = threading.Lock()
        self._blocked_until = 0.0
        self._penalties = 0
        self._remaining = self._limit = 1.0
        self._reset = 0.0

    def check(self, *, spare: bool = False) -> None:
        """Refuse a call that GitHub asked us not to make yet.

        ``spare`` calls begin new work: they leave a tenth of the hourly limit alone. Raises
        HostLimited.
        """
        now = self._clock()
        with self._lock:
            wait = self._blocked_until - now
            low = self._remaining <= self._limit * RESERVE and now < self._reset
            if spare and low:
                wait = max(wait, self._reset - now)
        if wait > 0:
            raise HostLimited("GitHub's rate limit is not yet over", retry_after=wait)

    def take_write(self) -> None:
        """Wait for a turn to write. Raises HostLimited when it is far away."""
        with self._turns() as turns:
            blocked = turns.blocked_until - turns.now
            wait = self._next_turn(turns) - turns.now
            if blocked <= 0 and wait <= LONGEST_WAIT_S:
                turns.writes.append(turns.now + wait)
        if blocked > 0:
            raise HostLimited("GitHub's rate limit is not yet over", retry_after=blocked)
        if wait > LONGEST_WAIT_S:
            raise HostLimited("our own pace for writes is used up", retry_after=wait)
        if wait > 0:
            self._sleep(wait)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Remember the rate limit that an answer tells of; GraphQL has one of its own."""
        if headers.get("x-ratelimit-resource", "core") != "core":
            return
        try:
            remaining = float(headers["x-ratelimit-remaining"])
            limit = float(headers["x-ratelimit-limit"])
            reset = float(headers["x-ratelimit-reset"])
        except (KeyError, ValueError):
            return
        with self._lock:
            self._remaining, self._limit, self._reset = remaining, limit, reset
        self._told(remaining)

    def praise(self) -> None:
        """Forget earlier secondary limits: a write went through, and reads prove nothing."""
        with self._lock:
            self._penalties = 0

    def punish(self, limited: HostLimited) -> HostLimited:
        """Hold every call back as told; a secondary limit also halves the pace for an hour.

        Secondary limits in a row double the wait:
        https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
        """
        now, wait = self._clock(), limited.retry_after
        with self._lock:
            secondary = self._remaining > 0
            if secondary:
                if self._penalties:
                    longer = SECONDARY_WAIT_S * 2 ** min(self._penalties, LONGEST_PENALTY)
                    wait = max(wait, longer)
                self._penalties += 1
            self._blocked_until = max(self._blocked_until, now + wait)
        with self._turns() as turns:
            turns.blocked_until = max(turns.blocked_until, turns.now + wait)
            if secondary:
                turns.slow_until = turns.now + HOUR
        return HostLimited(limited.message, retry_after=wait)

    def _next_turn(self, turns: Turns) -> float:
        """Return when the next write may be, and forget what is more than an hour old.

        No turn is further ahead than anybody waits: the clock was put back since it was given.
        """
        now = turns.now
        turns.writes[:] = [at for at in turns.writes if now - HOUR < at <= now + LONGEST_WAIT_S]
        slow = 2 if now < turns.slow_until else 1
        times = [now]
        if turns.writes:
            times.append(turns.writes[-1] + self._pace.seconds_between * slow)
        for limit, span in ((self._pace.per_minute, MINUTE), (self._pace.per_hour, HOUR)):
            most = max(limit // slow, 1)
            if len(turns.writes) >= most:
                times.append(turns.writes[-most] + span)
        return max(times)
