"""Faults: what goes wrong, what must come of it, and what holds after every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.calls import REPAIR, check_nothing_else
from tests.faults.invariants import check_restart
from tests.faults.nursery import Nursery, open_nursery
from tests.faults.story import story
from tests.faults.world import World, open_world

LONG = 3700.0
"""After so long every rate limit of an earlier story is over."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(words, outcome): a row of docs/faults.md")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own, in which no server lives yet."""
    with open_world(tmp_path) as opened:
        yield opened
        check_nothing_else(opened, opened.github.calls, REPAIR)


@pytest.fixture(scope="module")
def service() -> str:
    """Which model service stands in the house of a module."""
    return "openai-compatible"


@pytest.fixture(scope="module")
def _house(tmp_path_factory: pytest.TempPathFactory, service: str) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("house"), service) as opened:
        opened.restart()
        yield opened
        check_restart(opened)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where servers come from that are processes of their own."""
    with open_nursery() as opened:
        yield opened


@pytest.fixture
def house(_house: World) -> Iterator[World]:
    """The world that the tests of a module share; each has repositories of its own.

    After each a server is started anew, which must find nothing to do, and serves the next one. So
    every story is followed by two such starts, and then its repositories are deleted.
    """
    _house.time.jump(LONG)
    told = list(_house.github.repositories.values())
    with story(_house):
        yield _house
    for one in told:
        _house.github.delete_repository(one)
