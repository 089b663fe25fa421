"""The keys that our words were ever signed with, so that a new one disowns nothing."""

from __future__ import annotations

import time
from typing import Final, Self

import sqlalchemy as sa

from app.adapters.store import Store

_metadata = sa.MetaData()
_keys: Final = sa.Table(
    "postil_signatures",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kept_at", sa.Float, nullable=False),
)


class Signatures:
    """The keys of all signatures on one database, none of which opens anything.

    They are derived from the App's private key, and who knows one can at most sign what stands
    under our own account.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def prepare(self) -> Self:
        """Create the table if it is missing."""
        self._store.create_missing(_metadata)
        return self

    def keep(self, key: bytes) -> tuple[bytes, ...]:
        """Remember the key in use, and return those that were in use before it, latest first."""
        with self._store.begin() as connection:
            self._store.lock(connection, _keys.name)
            rows = connection.execute(sa.select(_keys.c.key).order_by(_keys.c.kept_at.desc()))
            known = [bytes.fromhex(row.key) for row in rows]
            if key not in known:
                connection.execute(sa.insert(_keys).values(key=key.hex(), kept_at=time.time()))
        return tuple(one for one in known if one != key)
