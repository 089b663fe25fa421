"""Writes that must happen exactly once although any answer may be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from app.adapters import crash
from app.adapters.github.client import Site
from app.errors import HostUnavailable

T = TypeVar("T")

LAG_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between looks for a write whose answer was lost: lists may lag behind writes."""
TRIES = 2


def once(site: Site, find: Callable[[], T | None], make: Callable[[], T]) -> T:
    """Make what can't be found. Raises HostError."""
    found = find()
    return insist(site, find, make) if found is None else found


def insist(site: Site, find: Callable[[], T | None], make: Callable[[], T]) -> T:
    """Make what was just looked for in vain; when the answer is lost, look before trying again.

    Raises HostUnavailable when the outcome stays unknown: the next attempt begins with a look.
    """
    for _ in range(TRIES - 1):
        try:
            return _make(make)
        except HostUnavailable:
            found = _look(site, find)
            if found is not None:
                return found
    return _make(make)


def repeat(make: Callable[[], T]) -> T:
    """Make a change that may be made twice; once more when the answer is lost."""
    for _ in range(TRIES - 1):
        try:
            return _make(make)
        except HostUnavailable:
            continue
    return _make(make)


def _make(make: Callable[[], T]) -> T:
    crash.at("before_write")
    made = make()
    crash.at("after_write_before_record")
    return made


def _look(site: Site, find: Callable[[], T | None]) -> T | None:
    for pause in LAG_PAUSES:
        found = find()
        if found is not None:
            return found
        site.sleep(pause)
    return find()
