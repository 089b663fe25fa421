"""Our own tables: what is kept, and which databases are refused."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.adapters.store import SCHEMA_VERSION, Store, open_engine
from app.core.job import Job, JobKind, JobState, PullState
from app.errors import SettingsError
from app.ports import Traces

JOB = Job("review:1", JobKind.REVIEW, '{"title": "\\u0000"}', 2**62, 5, 99, "a" * 40)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    engine = open_engine(tmp_path / "data")
    yield Store(engine).prepare()
    engine.dispose()


def test_answers_and_runs_are_kept_under_their_keys(store: Store) -> None:
    traces: Traces = store
    assert traces.load_answers(["k"]) == (None,)
    traces.save_answers({"k": "first"})
    traces.save_answers({"k": "second' OR 1=1 --", **{str(n): f"text {n}" for n in range(1200)}})
    assert traces.load_answers(["k", "none"]) == ("second' OR 1=1 --", None)
    assert traces.load_answers([str(n) for n in range(1200)])[-1] == "text 1199"
    traces.save_run("r", "{}")
    assert (store.load_run("r"), store.load_run("other")) == ("{}", None)


def test_a_job_comes_back_as_it_was_kept(store: Store) -> None:
    with store.begin() as connection:
        store.save_job(connection, JOB)
        assert store.find_job(connection, JOB.key) == JOB
        assert store.find_job(connection, "%") is None
        assert store.list_jobs(connection, states=(JobState.QUEUED,), head_sha="a" * 40) == (JOB,)
        assert store.list_jobs(connection, states=(JobState.DONE,)) == ()
        assert store.list_jobs(connection, installation_id=1) == ()
    assert store.count_jobs() == {"queued": 1}


def test_a_pull_begins_with_defaults(store: Store) -> None:
    with store.begin() as connection:
        assert store.find_pull(connection, 1, 2) == PullState(1, 2)
        paused = PullState(1, 2, paused=True, current="x", pushed_at=3.5)
        store.save_pull(connection, paused)
        assert store.find_pull(connection, 1, 2) == paused


def test_what_failed_half_way_is_not_kept(store: Store) -> None:
    def fail() -> None:
        with store.begin() as connection:
            store.save_job(connection, JOB)
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert store.count_jobs() == {}


def test_the_oldest_job_that_could_run_is_known(store: Store) -> None:
    assert store.oldest_due(100.0) is None
    with store.begin() as connection:
        for key, due_at in (("a", 50.0), ("b", 40.0), ("later", 400.0)):
            store.save_job(connection, Job(key, JobKind.REVIEW, "{}", 1, 1, 1, due_at=due_at))
    assert store.oldest_due(100.0) == 40.0


def test_deliveries_are_forgotten_by_age(store: Store) -> None:
    with store.begin() as connection:
        store.save_delivery(connection, "g1", ("ping", ""), "ignored", None, 10.0)
        store.save_delivery(connection, "g2", ("ping", ""), "accepted", "k", 20.0)
    assert store.drop_deliveries(15.0) == 1
    with store.begin() as connection:
        assert store.find_delivery(connection, "g1") == (False, None)
        assert store.find_delivery(connection, "g2") == (True, "k")


def test_traces_are_forgotten_by_age(store: Store) -> None:
    store.save_answers({"k": "text"})
    store.save_run("r", "{}")
    assert store.drop_traces(time.time() - 60) == 0
    assert store.drop_traces(time.time() + 60) == 2
    assert (store.load_answers(["k"]), store.load_run("r")) == ((None,), None)


def test_sqlite_keeps_what_it_acknowledged_and_is_nobody_elses_to_read(
    store: Store, tmp_path: Path
) -> None:
    with store.engine.connect() as connection:
        settings = {
            name: connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 2500}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_write_transaction_has_the_write_lock_from_its_first_moment(store: Store) -> None:
    path = str(store.engine.url.database)
    with store.begin() as connection, closing(sqlite3.connect(path, timeout=0)) as other:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


def test_preparing_again_keeps_everything(store: Store) -> None:
    store.save_answers({"k": "text"})
    assert Store(store.engine).prepare().load_answers(["k"]) == ("text",)


def reopen(path: Path) -> SettingsError:
    engine = open_engine(path)
    with pytest.raises(SettingsError) as caught:
        Store(engine).prepare()
    engine.dispose()
    return caught.value


def test_a_newer_database_is_refused_by_path_and_version(store: Store, tmp_path: Path) -> None:
    with store.begin() as connection:
        connection.execute(sa.text("UPDATE postil_meta SET version = version + 1"))
    message = str(reopen(tmp_path / "data"))
    assert f"version {SCHEMA_VERSION + 1}" in message
    assert "data/postil.db" in message


@pytest.mark.parametrize("damage", ["header", "middle", "end", "text"])
def test_a_damaged_database_is_refused_and_left_alone(
    store: Store, tmp_path: Path, damage: str
) -> None:
    store.save_run("r", "x" * 200_000)
    with store.engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    store.engine.dispose()
    file = tmp_path / "data" / "postil.db"
    data = bytearray(file.read_bytes())
    if damage == "header":
        data[:16] = b"\0" * 16
    elif damage == "middle":
        data[4096:20_000] = b"\xaa" * (20_000 - 4096)
    elif damage == "end":
        data[len(data) // 4 :] = b"\xaa" * (len(data) - len(data) // 4)
    else:
        data = bytearray(b"this is no database, but somebody's notes" * 100)
    file.write_bytes(data)
    assert "postil.db" in str(reopen(tmp_path / "data"))
    assert file.read_bytes() == data


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="POSTIL_DATA_DIR"):
        open_engine(tmp_path / "file")


def test_a_database_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postil.db").mkdir()
    assert "postil.db" in str(reopen(tmp_path))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must name a file"):
        open_engine(tmp_path, url)


def test_a_database_that_does_not_answer_is_refused_without_its_password(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, "postgresql://ann:s3cret@127.0.0.1:1/postil")
    with pytest.raises(SettingsError) as caught:
        Store(engine).prepare()
    assert "s3cret" not in str(caught.value)
    assert not Store(engine).ping()
    engine.dispose()


def test_a_trial_of_writing_leaves_nothing_and_tells_of_a_full_disk(store: Store) -> None:
    store.try_writing()
    assert store.drop_traces(time.time()) == 0
    with store.engine.connect() as connection:
        connection.execute(sa.text("VACUUM"))
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        connection.execute(sa.text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(SettingsError, match="full"):
        store.try_writing()


def test_a_database_that_answers_is_known_to(store: Store) -> None:
    assert store.ping()
