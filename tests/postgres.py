"""A real PostgreSQL for the tests that need one, from a wheel."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server of our own; yield the address of its first database."""
    # a socket's path may have some 100 characters, so not below pytest's directories
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # else the wheel warns about its lock
    from pgserver.postgres_server import get_server  # noqa: PLC0415 - it reads the variable

    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def make_database(server: str) -> str:
    """Make an empty database and return its address."""
    name = f"postil-{uuid.uuid4().hex}"
    engine = sa.create_engine(
        sa.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    url = sa.make_url(server).set(database=name)
    return url.render_as_string(hide_password=False)
