"""What was asked of a model service lately, written down for all workers on one database.

A book is open for one writer at a time, and only for as long as a few short statements take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, Self

import sqlalchemy as sa

from app.adapters.models.pace import Book, Pause, Ticket, Waiting
from app.adapters.store import Store
from app.core.prompts import Fault, FaultKind

_metadata = sa.MetaData()
_tickets = sa.Table(
    "postil_tickets",
    _metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("start", sa.Float, nullable=False),
    sa.Column("counted", sa.Float, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("running", sa.Boolean, nullable=False),
)
_pauses = sa.Table(
    "postil_pauses",
    _metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("refused", sa.Boolean, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)
_waiting = sa.Table(
    "postil_waiting",
    _metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
)
_POSTGRESQL_NOW: Final = sa.text("SELECT extract(epoch FROM clock_timestamp())")

Clock = Callable[[sa.Connection], float]


def database_time(connection: sa.Connection) -> float:
    """Return the time by one clock for all workers, in seconds since the epoch."""
    if connection.dialect.name == "sqlite":  # a file of this machine
        return time.time()
    return float(connection.execute(_POSTGRESQL_NOW).scalar_one())


class Books:
    """The books of every service, in our database."""

    def __init__(self, store: Store, clock: Clock = database_time) -> None:
        self._store = store
        self._clock = clock

    def prepare(self) -> Self:
        """Create the tables that are missing."""
        self._store.create_missing(_metadata)
        return self

    @contextmanager
    def open(self, service: str) -> Iterator[Book]:
        """Open the book of a service; everybody else waits until it is closed."""
        with self._store.begin() as connection:
            self._store.lock(connection, f"service:{service}")
            yield _Page(connection, service, self._clock(connection))


class _Page:
    """A book that is open."""

    def __init__(self, connection: sa.Connection, service: str, now: float) -> None:
        self._connection = connection
        self._service = service
        self.now = now

    def tickets(self) -> Sequence[Ticket]:
        """Return what was asked lately."""
        return tuple(Ticket(*row) for row in self._rows(_tickets, Ticket.__slots__))

    def pauses(self) -> Sequence[Pause]:
        """Return every pause."""
        query = sa.select(_pauses).where(_pauses.c.service == self._service)
        return tuple(
            Pause(row.scope, row.until, _fault(row) if row.refused else None)
            for row in self._connection.execute(query)
        )

    def waiting(self) -> Sequence[Waiting]:
        """Return who waits for a place, or did."""
        return tuple(Waiting(*row) for row in self._rows(_waiting, Waiting.__slots__))

    def write(self, ticket: Ticket) -> None:
        """Keep a ticket."""
        self._put(_tickets, asdict(ticket))

    def write_waiting(self, waiting: Waiting) -> None:
        """Keep who waits."""
        self._put(_waiting, asdict(waiting))

    def write_pause(self, pause: Pause) -> None:
        """Keep a pause."""
        fault = pause.fault
        row = {
            "scope": pause.scope,
            "until": pause.until,
            "refused": fault is not None,
            "kind": fault.kind.value if fault else "",
            "message": fault.message if fault else "",
        }
        self._put(_pauses, row)

    def forget(self, before: float) -> None:
        """Drop what no longer counts."""
        for column in (_tickets.c.counted, _pauses.c.until, _waiting.c.seen):
            table = column.table
            old = sa.delete(table).where(table.c.service == self._service, column <= before)
            self._connection.execute(old)

    def _rows(self, table: sa.Table, names: Sequence[str]) -> Iterator[Any]:
        """Read what a table holds of this service."""
        columns = (table.c[name] for name in names)
        query = sa.select(*columns).where(table.c.service == self._service)
        return iter(self._connection.execute(query))

    def _put(self, table: sa.Table, fields: dict[str, object]) -> None:
        """Write a row in place of the one of its key."""
        row = {"service": self._service, **fields}
        same = [column == row[column.name] for column in table.primary_key]
        if not self._connection.execute(sa.update(table).where(*same).values(row)).rowcount:
            self._connection.execute(sa.insert(table).values(row))


def _fault(row: sa.Row[tuple[object, ...]]) -> Fault:
    return Fault(FaultKind(row.kind), row.message)
