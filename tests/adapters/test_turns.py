"""The pace of writes that several workers keep together, on a real SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from app.adapters.github.quota import LONGEST_WAIT_S, Quota
from app.adapters.store import Store, open_engine
from app.adapters.turns import SharedTurns
from app.errors import HostLimited
from tests.adapters.github.conftest import Time
from tests.postgres import make_database, running_postgres

ROUNDS = 5


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[SharedTurns]]:
    """Two processes on one database, as far as the database can tell, by one clock."""
    address = f"sqlite:///{tmp_path / 'postil.db'}"
    if request.param == "postgresql":
        address = make_database(request.getfixturevalue("postgres"))
    engines = [open_engine(tmp_path, address) for _ in range(2)]
    yield [SharedTurns(Store(one), lambda _connection: 1000.0).prepare() for one in engines]
    for engine in engines:
        engine.dispose()


def test_writes_of_two_workers_at_once_are_a_second_apart(workers: list[SharedTurns]) -> None:
    barrier = threading.Barrier(len(workers))

    def write(turns: SharedTurns) -> list[float]:
        waits: list[float] = []
        quota = Quota(Time(), waits.append, turns=partial(turns.open, 99))
        barrier.wait(10)
        for _ in range(ROUNDS):
            quota.take_write()
        return waits

    with ThreadPoolExecutor() as pool:
        waits = sorted(wait for some in pool.map(write, workers) for wait in some)
    assert waits == [float(second) for second in range(1, 2 * ROUNDS)], (
        "the first one's turn is now"
    )


def test_each_installation_has_turns_of_its_own(workers: list[SharedTurns]) -> None:
    waits: list[float] = []
    for installation in (99, 100):
        Quota(Time(), waits.append, turns=partial(workers[0].open, installation)).take_write()
    assert waits == []


def test_what_one_worker_used_up_another_has_not(workers: list[SharedTurns]) -> None:
    ours, theirs = (Quota(Time(), lambda _: None, turns=partial(one.open, 99)) for one in workers)
    for _ in range(int(LONGEST_WAIT_S) + 1):
        theirs.take_write()
    with pytest.raises(HostLimited) as limited:
        ours.take_write()
    assert limited.value.retry_after > LONGEST_WAIT_S
    with workers[0].open(99) as turns:
        assert [later - sooner for sooner, later in pairwise(turns.writes)] == [1.0] * 20


def test_a_pause_that_one_worker_was_told_holds_the_other(workers: list[SharedTurns]) -> None:
    ours, theirs = (Quota(Time(), lambda _: None, turns=partial(one.open, 99)) for one in workers)
    theirs.punish(HostLimited("slow down", retry_after=60))
    with pytest.raises(HostLimited) as limited:
        ours.take_write()
    assert limited.value.retry_after == 60


def test_a_busy_database_gives_no_turn_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.store.BUSY_TIMEOUT_MS", 50)
    engine = open_engine(tmp_path)
    turns = SharedTurns(Store(engine)).prepare()
    path = str(engine.url.database)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HostLimited, match="no turn"):
            Quota(Time(), lambda _: None, turns=partial(turns.open, 99)).take_write()
    engine.dispose()
