"""Reads that do not wait for each other, and what one job has read a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from app.adapters.github.quota import Clock

T = TypeVar("T")
S = TypeVar("S")

WIDTH = 4
"""Calls of one job side by side: GitHub asks for few at a time, and allows a hundred.
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"""
MOMENT_S = 20.0
"""How long what was read is good for the next who asks for it."""


def both(one: Callable[[], T], other: Callable[[], S]) -> tuple[T, S]:
    """Make two calls side by side. When both fail the first one's error is raised."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(other)
        return one(), beside.result()


def side_by_side(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Make calls side by side, a few at a time; what they return is in their order.

    When some fail the first one's error is raised, after all have ended.
    """
    with ThreadPoolExecutor(WIDTH) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


@dataclass(slots=True)
class Kept(Generic[T]):
    """What was just read, by what it was read for; each is given out once."""

    clock: Clock
    _values: dict[object, tuple[float, T]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def keep(self, key: object, value: T) -> None:
        """Keep a value for the next who asks."""
        with self._lock:
            self._values[key] = (self.clock(), value)

    def take(self, key: object) -> T | None:
        """Give out what was read a moment ago; None when nothing was."""
        with self._lock:
            at, value = self._values.pop(key, (0.0, None))
        return value if self.clock() - at <= MOMENT_S else None
