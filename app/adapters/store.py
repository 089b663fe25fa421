"""Our own tables beside the durable engine's, in the same database: SQLite or PostgreSQL.

Every write transaction takes the write lock when it begins, so none fails half-way because another
one was faster (sqlite.org/lang_transaction.html).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from app.core.job import Job, JobKind, JobState, PullState
from app.errors import SettingsError

SCHEMA_VERSION: Final = 1
KEYS_PER_QUERY: Final = 500
BUSY_TIMEOUT_MS: Final = 2500
"""Three tries of this stay below the 10 seconds GitHub waits for an answer."""
MAX_WORKERS: Final = 64
TRIAL_LENGTH: Final = 16_384
"""Longer than the request of a delivery, with the longest title."""
SCHEMA_LOCK: Final = 7_052_001
WORKER_LOCK: Final = 7_052_002

_metadata = sa.MetaData()
_meta = sa.Table("postil_meta", _metadata, sa.Column("version", sa.Integer, nullable=False))
_deliveries = sa.Table(
    "postil_deliveries",
    _metadata,
    sa.Column("guid", sa.Text, primary_key=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("job_key", sa.Text),
    sa.Column("received_at", sa.Float, nullable=False),
)
_jobs = sa.Table(
    "postil_jobs",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("installation_id", sa.BigInteger),
    sa.Column("head_sha", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("queued_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Index("postil_jobs_by_state", "state", "due_at"),
    sa.Index("postil_jobs_by_head", "repository_id", "head_sha"),
)
_pulls = sa.Table(
    "postil_pulls",
    _metadata,
    sa.Column("repository_id", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("current", sa.Text, nullable=False),
    sa.Column("pushed_at", sa.Float, nullable=False),
)
_answers = sa.Table(
    "postil_answers",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False),
)
_runs = sa.Table(
    "postil_runs",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False),
)


def open_engine(data_dir: Path, database_url: str | None = None) -> sa.Engine:
    """Open the database: SQLite in the data directory unless an address says otherwise.

    Raises SettingsError when the directory can't be used.
    """
    if database_url is None:
        database_url = f"sqlite:///{_prepare_directory(data_dir) / 'postil.db'}"
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=20,
        max_overflow=20,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "application_name": "postil"},
    )


def _prepare_directory(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"POSTIL_DATA_DIR {data_dir} can't be made: {error.strerror}") from None
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise SettingsError(f"POSTIL_DATA_DIR {data_dir} can't be written to")
    return data_dir.absolute()


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database in {None, "", ":memory:"}:
        raise SettingsError("POSTIL_DATABASE_URL must name a file: memory does not survive a crash")
    engine = sa.create_engine(url, pool_size=20, max_overflow=20)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3.Connection
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _foreign_table(path: Path) -> str | None:
    """Name a table of a database in which nothing is ours; looking changes nothing in it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = [str(name) for (name,) in rows]
    except sqlite3.DatabaseError:  # there is none yet, or it is damaged: who opens it says so
        return None
    return None if _meta.name in names else next(iter(names), None)


class Store:
    """Traces, deliveries, jobs and what is known of pulls."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writing = threading.Lock()
        self._upserts = {table: self._build_upsert(table) for table in _metadata.sorted_tables}

    def prepare(self) -> Self:
        """Create the tables, or check that they are ours. Raises SettingsError; changes nothing."""
        try:
            self._prepare()
        except SettingsError:
            self.engine.dispose()
            raise
        return self

    def _prepare(self) -> None:
        where = self.engine.url.render_as_string(hide_password=True)
        foreign = _foreign_table(Path(self.engine.url.database or "")) if self._is_sqlite else None
        if foreign is not None:
            raise SettingsError(f"the database {where} is not Postil's: it holds {foreign}")
        try:
            with self.engine.connect() as connection:
                self._lock_schema(connection)
                found = self._read_version(connection)
                if found is None:
                    _metadata.create_all(connection)
                    connection.execute(sa.insert(_meta).values(version=SCHEMA_VERSION))
                connection.commit()
        except OperationalError as error:
            raise SettingsError(f"the database {where} can't be opened: {error.orig}") from None
        except DatabaseError as error:
            raise SettingsError(f"the database {where} is damaged: {error.orig}") from None
        if found not in {None, SCHEMA_VERSION}:
            raise SettingsError(
                f"the database {where} has version {found}, and this Postil knows {SCHEMA_VERSION}"
            )

    def create_missing(self, tables: sa.MetaData) -> None:
        """Create those tables that another part keeps beside ours, unless they are there."""
        with self.begin() as connection:
            self.lock(connection, "tables")
            tables.create_all(connection)

    def try_writing(self) -> None:
        """Make sure that there is room for a row, which does not stay. Raises SettingsError."""
        row = {"key": "trial", "text": "x" * TRIAL_LENGTH, "kept_at": 0.0}
        try:
            with self.begin() as connection:
                connection.execute(self._upserts[_answers], row)
                connection.execute(sa.delete(_answers).where(_answers.c.key == row["key"]))
        except DatabaseError as error:
            where = self.engine.url.render_as_string(hide_password=True)
            raise SettingsError(f"the database {where} can't be written to: {error.orig}") from None

    def _lock_schema(self, connection: sa.Connection) -> None:
        if self._is_sqlite:
            damage = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar_one()
            if damage != "ok":
                words = " ".join(damage.split())
                raise DatabaseError("PRAGMA quick_check", None, ValueError(words))
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))

    def _read_version(self, connection: sa.Connection) -> int | None:
        if not sa.inspect(connection).has_table(_meta.name):
            return None
        return connection.execute(sa.select(_meta.c.version)).scalar_one_or_none()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open one write transaction: all of it is kept, or nothing."""
        with self._turn(), self.engine.begin() as connection:
            if self._is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let this process's writers come one after the other.

        SQLite would let them try again at intervals, and the unluckiest wait for seconds.
        """
        if not self._is_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            busy = sqlite3.OperationalError("database is locked by another thread")
            raise OperationalError("BEGIN IMMEDIATE", None, busy)
        try:
            yield
        finally:
            self._writing.release()

    def lock_pull(self, connection: sa.Connection, repository_id: int, number: int) -> None:
        """Let no other transaction decide about this pull until this one ends."""
        self.lock(connection, f"{repository_id}:{number}")

    def lock(self, connection: sa.Connection, name: str) -> None:
        """Let no other transaction hold this name until this one ends."""
        if not self._is_sqlite:  # there is one writer at a time anyway
            digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
            lock = int.from_bytes(digest, "big", signed=True)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))

    def ping(self) -> bool:
        """Tell whether the database answers."""
        try:
            with self.engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def _upsert(
        self, connection: sa.Connection, table: sa.Table, row: Mapping[str, object]
    ) -> None:
        connection.execute(self._upserts[table], row)

    def _build_upsert(self, table: sa.Table) -> sa.Insert:
        """Build the statement that keeps a whole row under its key, once: that is half its time."""
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(table)
        rest = {c.name: insert.excluded[c.name] for c in table.c if not c.primary_key}
        keys = list(table.primary_key)
        return insert.on_conflict_do_update(index_elements=keys, set_=rest) if keys else insert

    # deliveries

    def find_delivery(self, connection: sa.Connection, guid: str) -> tuple[bool, str | None]:
        """Return (seen before, the key of its job)."""
        query = sa.select(_deliveries.c.job_key).where(_deliveries.c.guid == guid)
        row = connection.execute(query).one_or_none()
        return (False, None) if row is None else (True, row.job_key)

    def save_delivery(
        self,
        connection: sa.Connection,
        guid: str,
        event: tuple[str, str],
        outcome: str,
        job_key: str | None,
        received_at: float,
    ) -> None:
        """Record a delivery with what was made of it."""
        self._upsert(
            connection,
            _deliveries,
            {
                "guid": guid,
                "event": event[0],
                "action": event[1],
                "outcome": outcome,
                "job_key": job_key,
                "received_at": received_at,
            },
        )

    def drop_deliveries(self, before: float) -> int:
        """Forget deliveries that GitHub can no longer repeat; return how many."""
        with self.begin() as connection:
            gone = sa.delete(_deliveries).where(_deliveries.c.received_at < before)
            return connection.execute(gone).rowcount

    # jobs

    def find_job(self, connection: sa.Connection, key: str) -> Job | None:
        """Return the job of this key."""
        row = connection.execute(sa.select(_jobs).where(_jobs.c.key == key)).one_or_none()
        return None if row is None else _job(row)

    def save_job(self, connection: sa.Connection, job: Job) -> None:
        """Keep a job as it is now."""
        row = {column.name: getattr(job, column.name) for column in _jobs.c}
        self._upsert(connection, _jobs, {**row, "kind": str(job.kind), "state": str(job.state)})

    def list_jobs(
        self,
        connection: sa.Connection,
        *,
        states: Sequence[JobState] = (),
        installation_id: int | None = None,
        repository_id: int | None = None,
        head_sha: str | None = None,
        kind: JobKind | None = None,
        queued_between: tuple[float, float] | None = None,
    ) -> tuple[Job, ...]:
        """List the jobs that match every given condition, oldest first."""
        query = sa.select(_jobs).order_by(_jobs.c.queued_at)
        if states:
            query = query.where(_jobs.c.state.in_([str(state) for state in states]))
        if installation_id is not None:
            query = query.where(_jobs.c.installation_id == installation_id)
        if repository_id is not None:
            query = query.where(_jobs.c.repository_id == repository_id)
        if head_sha is not None:
            query = query.where(_jobs.c.head_sha == head_sha)
        if kind is not None:
            query = query.where(_jobs.c.kind == str(kind))
        if queued_between is not None:
            query = query.where(_jobs.c.queued_at.between(*queued_between))
        return tuple(_job(row) for row in connection.execute(query))

    def count_jobs(self) -> Mapping[str, int]:
        """Count the jobs by state."""
        query = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def oldest_due(self, now: float) -> float | None:
        """Return since when the longest-waiting queued job could have run."""
        query = sa.select(sa.func.min(_jobs.c.due_at)).where(
            _jobs.c.state == str(JobState.QUEUED), _jobs.c.due_at <= now
        )
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    # pulls

    def find_pull(self, connection: sa.Connection, repository_id: int, number: int) -> PullState:
        """Return what is kept of a pull; nothing yet is the default."""
        query = sa.select(_pulls).where(
            _pulls.c.repository_id == repository_id, _pulls.c.number == number
        )
        row = connection.execute(query).one_or_none()
        return PullState(repository_id, number) if row is None else PullState(**row._mapping)  # noqa: SLF001 - the public name of a row's fields

    def save_pull(self, connection: sa.Connection, pull: PullState) -> None:
        """Keep what is known of a pull."""
        row = {column.name: getattr(pull, column.name) for column in _pulls.c}
        self._upsert(connection, _pulls, row)

    # traces

    def load_answers(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        """Return what is kept under each key, in order; None where nothing is."""
        found: dict[str, str] = {}
        with self.engine.connect() as connection:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                some = keys[start : start + KEYS_PER_QUERY]
                query = sa.select(_answers.c.key, _answers.c.text).where(_answers.c.key.in_(some))
                found |= {row.key: row.text for row in connection.execute(query)}
        return tuple(found.get(key) for key in keys)

    def save_answers(self, texts: Mapping[str, str]) -> None:
        """Keep texts by key, in the place of what was kept there."""
        rows = [{"key": key, "text": texts[key], "kept_at": time.time()} for key in sorted(texts)]
        if rows:
            with self.begin() as connection:
                connection.execute(self._upserts[_answers], rows)

    def save_run(self, run_id: str, record: str) -> None:
        """Keep a finished run's JSON report."""
        with self.begin() as connection:
            row = {"run_id": run_id, "record": record, "kept_at": time.time()}
            self._upsert(connection, _runs, row)

    def drop_traces(self, before: float) -> int:
        """Forget answers and runs kept before a time, in seconds since the epoch."""
        with self.begin() as connection:
            gone = [
                connection.execute(sa.delete(table).where(table.c.kept_at < before)).rowcount
                for table in (_answers, _runs)
            ]
        return sum(gone)

    def load_run(self, run_id: str) -> str | None:
        """Return the JSON report of a finished run."""
        query = sa.select(_runs.c.record).where(_runs.c.run_id == run_id)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none()


class WorkerLocks:
    """Which worker ids are alive: a lock a living process holds, and a dead one can't.

    PostgreSQL ends a session's advisory locks with the session, the kernel a file's with the
    process (postgresql.org/docs/current/explicit-locking.html, flock(2)).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._url = engine.url
        self._is_sqlite = engine.dialect.name == "sqlite"
        # a lock lives as long as its session, so its connection goes back to no pool
        self._sessions = sa.create_engine(
            engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )
        self._held: dict[str, sa.Connection | int] = {}

    def claim(self, wanted: str | None) -> str:
        """Hold the wanted id, or the first free one. Raises SettingsError when it is taken."""
        names = (wanted,) if wanted else tuple(f"worker-{n}" for n in range(1, MAX_WORKERS + 1))
        for name in names:
            if self.take(name):
                return name
        raise SettingsError(
            f"another worker runs as POSTIL_WORKER_ID={wanted}"
            if wanted
            else "too many workers run"
        )

    def take(self, name: str) -> bool:
        """Try to hold an id, or make sure we still do; False when another living process does."""
        if name in self._held and self._is_alive(self._held[name]):
            return True
        held = self._take_file(name) if self._is_sqlite else self._take_advisory(name)
        if held is not None:
            self._held[name] = held
        return held is not None

    def release(self, name: str) -> None:
        """Let go of an id."""
        held = self._held.pop(name)
        if isinstance(held, int):
            os.close(held)
        else:
            held.close()

    def _is_alive(self, held: sa.Connection | int) -> bool:
        if isinstance(held, int):
            return True
        try:
            held.execute(sa.text("SELECT 1"))
        except SQLAlchemyError:
            held.invalidate()
            held.close()
            return False
        return True

    def _take_file(self, name: str) -> int | None:
        path = f"{self._url.database}.{name}.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def _take_advisory(self, name: str) -> sa.Connection | None:
        session = self._sessions.connect()
        number = zlib.crc32(name.encode()) - 2**31
        lock = sa.select(sa.func.pg_try_advisory_lock(WORKER_LOCK, number))
        if session.execute(lock).scalar_one():
            return session
        session.close()
        return None


def _job(row: sa.Row[Any]) -> Job:
    fields = dict(row._mapping)  # noqa: SLF001 - the public name of a row's fields
    return Job(**{**fields, "kind": JobKind(fields["kind"]), "state": JobState(fields["state"])})
