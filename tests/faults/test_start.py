"""A server that is started with what it can't use: another database, a key that is none."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.errors import SettingsError
from sandbox.serving import ROOT, environment
from tests.e2e.conftest import NEW, check, spots, told
from tests.faults.calls import (
    AGAIN,
    CLOSE,
    LIST,
    NEVER_BEGAN,
    OPEN,
    PLAIN,
    TALK,
    TOKEN,
    check_calls,
    often,
)
from tests.faults.invariants import check_invariants
from tests.faults.pulls import check_reviewed, logged, review, state
from tests.faults.world import World, fault

PAGE = 4096
REPAIRED = 1600.0
"""After so long the repair has come round, and what failed is no longer under way."""
KEY = "POSTIL_GITHUB_PRIVATE_KEY"


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def overwrite(path: Path, table: str) -> None:
    """Write over the first page of a table."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        ((page,),) = connection.execute(query, [table]).fetchall()
    data = path.read_bytes()
    at = (page - 1) * PAGE
    path.write_bytes(data[:at] + b"\xff" * PAGE + data[at + PAGE :])


def replace(path: Path, data: bytes = b"") -> None:
    path.unlink()
    if data:
        path.write_bytes(data)
    else:
        change(path, "CREATE TABLE recipes (name TEXT)")


SPOILT: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "damaged where it is read": (lambda path: overwrite(path, "postil_meta"), "damaged"),
    "damaged elsewhere": (lambda path: overwrite(path, "postil_runs"), "damaged"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[: 5 * PAGE + 100]), "damaged"),
    "no database": (lambda path: replace(path, b"recipes\n" * PAGE), "damaged"),
    "newer": (lambda path: change(path, "UPDATE postil_meta SET version = 99"), "has version 99"),
    "older": (lambda path: change(path, "UPDATE postil_meta SET version = 0"), "has version 0"),
    "another program's": (replace, "holds recipes"),
}


@fault(
    "The database is damaged, cut, none, another program's, or of a newer or an older version",
    "no start; its path and what is wrong in one sentence; it is left as it is, byte for byte",
)
def test_a_database_that_can_not_be_used(world: World) -> None:
    with world.living():
        first = review(world, "first")
    check_calls(world, first.repository, PLAIN, may=often(LIST, 2))
    good = world.database.read_bytes()
    for name, (spoil, wrong) in SPOILT.items():
        spoil(world.database)
        before = world.database.read_bytes()
        calls = len(world.github.calls)
        with pytest.raises(SettingsError) as error, world.living():
            pass
        said = error.value.message
        assert str(world.database) in said, name
        assert wrong in said, name
        assert "\n" not in said, name
        assert world.database.read_bytes() == before, name
        assert len(world.github.calls) == calls, name
        world.database.write_bytes(good)
    with world.living():
        second = review(world, "second")
    check_reviewed(second)
    check_calls(world, second.repository, PLAIN, may=often(LIST, 2))
    check_invariants(world)


@fault(
    "The command that serves meets a database that it can't use",
    "it ends at once with code 2 and that sentence alone",
)
def test_the_command_says_which_database(tmp_path: Path, world: World) -> None:
    data = tmp_path / "elsewhere"
    data.mkdir()
    change(data / "postil.db", "CREATE TABLE recipes (name TEXT)")
    before = (data / "postil.db").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=environment(world.stage.app, world.github.url, data),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert str(data / "postil.db") in line
    assert [path.name for path in data.iterdir()] == ["postil.db"]
    assert (data / "postil.db").read_bytes() == before


def make_key() -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return key, pem.decode()


@fault(
    "The App's key was rotated, and the server still has the old one",
    "soon after its start the log says so; each job asks once; with the new key the server goes on",
)
def test_a_key_that_was_rotated(world: World) -> None:
    app = world.stage.app
    old = app.private_key
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
        kept = review(world, "kept")
    check_reviewed(kept)
    app.key, app.private_key = make_key()
    world.time.jump(REPAIRED)
    since = len(world.github.calls)
    with world.living({KEY: old}) as office:
        office._jobs.tend()
        world.wait_until_done()
        locked = review(world, "locked-out")
    made = world.github.calls[since:]
    # the look at who we are, the job, and its last words
    assert sorted((call.path == "/app", call.status) for call in made) == [
        (False, 401),
        (False, 401),
        (True, 401),
    ]
    assert len(logged(world, "GitHub refuses the App's key: check POSTIL_GITHUB_APP_ID")) == 1
    assert state(world, locked) == {"dead"}
    assert len(logged(world, "a job is dead", " job=review:", "GitHub answered 401")) == 1
    world.time.jump(REPAIRED)
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
        assert "GitHub answered 401" in told(check(locked))
        kept.push({"kept.py": b"# Means.\n" + NEW})
        after = review(world, "after")
    check_reviewed(after)
    assert spots(kept) == [("kept.py", 2)]
    assert check(kept).conclusion == "success"
    check_calls(world, kept.repository, PLAIN + AGAIN + OPEN + TALK + CLOSE, may=often(LIST, 9))
    check_calls(world, locked.repository, TOKEN + TOKEN + NEVER_BEGAN, may=often(LIST, 9))
    check_calls(world, after.repository, PLAIN, may=often(LIST, 9))
    check_invariants(world)
