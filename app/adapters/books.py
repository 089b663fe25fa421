"""What was asked of a model service lately, written down for all workers on one database.

A book is open for one writer at a time, and only for as long as a few short statements take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

import sqlalchemy as sa

from app.adapters.models.pace import Book, Pause, Ticket
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
        with self._store.begin() as connection:
            self._store.lock(connection, "books")
            _metadata.create_all(connection)
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
        columns = (_tickets.c[name] for name in Ticket.__slots__)
        query = sa.select(*columns).where(_tickets.c.service == self._service)
        return tuple(Ticket(*row) for row in self._connection.execute(query))

    def pauses(self) -> Sequence[Pause]:
        """Return every pause."""
        query = sa.select(_pauses).where(_pauses.c.service == self._service)
        return tuple(
            Pause(row.scope, row.until, _fault(row) if row.refused else None)
            for row in self._connection.execute(query)
        )

    def write(self, ticket: Ticket) -> None:
        """Keep a ticket."""
        row = {name: getattr(ticket, name) for name in Ticket.__slots__}
        self._put(_tickets, row)

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
        for table, column in ((_tickets, _tickets.c.counted), (_pauses, _pauses.c.until)):
            old = sa.delete(table).where(table.c.service == self._service, column <= before)
            self._connection.execute(old)

    def _put(self, table: sa.Table, fields: dict[str, object]) -> None:
        """Write a row in place of the one of its key."""
        row = {"service": self._service, **fields}
        same = [column == row[column.name] for column in table.primary_key]
        if not self._connection.execute(sa.update(table).where(*same).values(row)).rowcount:
            self._connection.execute(sa.insert(table).values(row))


def _fault(row: sa.Row[tuple[object, ...]]) -> Fault:
    return Fault(FaultKind(row.kind), row.message)
