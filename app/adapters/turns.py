"""When each installation wrote to GitHub lately, written down for all workers on one database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final, Self

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.adapters.books import Clock, database_time
from app.adapters.github.quota import Turns
from app.adapters.store import Store
from app.errors import HostLimited

BUSY_S: Final = 5.0
"""Seconds after which to ask again for a turn that a busy database did not give."""
_metadata = sa.MetaData()
_turns: Final = sa.Table(
    "postil_turns",
    _metadata,
    sa.Column("installation_id", sa.BigInteger, primary_key=True),
    sa.Column("turns", sa.Text, nullable=False),
)


class SharedTurns:
    """The turns of every installation, in our database."""

    def __init__(self, store: Store, clock: Clock = database_time) -> None:
        self._store = store
        self._clock = clock

    def prepare(self) -> Self:
        """Create the table if it is missing."""
        self._store.create_missing(_metadata)
        return self

    @contextmanager
    def open(self, installation_id: int) -> Iterator[Turns]:
        """Open an installation's turns; every other worker waits until they are closed.

        Raises HostLimited when the database is busy: without a turn nothing is written.
        """
        try:
            with self._store.begin() as connection:
                self._store.lock(connection, f"turns:{installation_id}")
                turns = _load(connection, installation_id)
                turns.now = self._clock(connection)
                yield turns
                _save(connection, installation_id, turns)
        except OperationalError as error:
            raise HostLimited("no turn to write can be had now", retry_after=BUSY_S) from error


def _load(connection: sa.Connection, installation_id: int) -> Turns:
    query = sa.select(_turns.c.turns).where(_turns.c.installation_id == installation_id)
    text = connection.execute(query).scalar_one_or_none()
    return Turns(**json.loads(text)) if text else Turns()


def _save(connection: sa.Connection, installation_id: int, turns: Turns) -> None:
    text = json.dumps(asdict(turns))
    mine = _turns.c.installation_id == installation_id
    if not connection.execute(sa.update(_turns).where(mine).values(turns=text)).rowcount:
        row = {"installation_id": installation_id, "turns": text}
        connection.execute(sa.insert(_turns).values(row))
