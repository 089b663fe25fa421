"""What was signed with a key that is in use no more is still known as ours."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.adapters.github.marks import FINDING, Marks
from app.adapters.signatures import Signatures
from app.adapters.store import Store, open_engine
from app.core.pull import PullRef
from tests.postgres import make_database, running_postgres

OLD, NEW, OTHER = (letter * 32 for letter in (b"o", b"n", b"x"))
REF = PullRef(7, "acme/shop", 1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def signatures(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Signatures]:
    address = f"sqlite:///{tmp_path / 'postil.db'}"
    if request.param == "postgresql":
        address = make_database(request.getfixturevalue("postgres"))
    engine = open_engine(tmp_path, address)
    yield Signatures(Store(engine)).prepare()
    engine.dispose()


def test_a_key_is_known_after_another_took_its_place(signatures: Signatures) -> None:
    assert signatures.keep(OLD) == ()
    assert signatures.keep(OLD) == ()
    assert signatures.keep(NEW) == (OLD,)
    assert signatures.keep(OLD) == (NEW,)


def test_servers_that_start_at_once_keep_their_key_once(signatures: Signatures) -> None:
    signatures.keep(OLD)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: signatures.keep(NEW), range(8)))
    assert found == [(OLD,)] * 8


def test_what_an_older_key_signed_is_ours_and_what_another_did_is_not() -> None:
    said = Marks(OLD).sign(REF, FINDING, "0123456789abcdef", "a" * 40)
    assert Marks(NEW, (OLD,)).read(REF, FINDING, said) == ("0123456789abcdef",)
    assert Marks(NEW, (OTHER,)).read(REF, FINDING, said) == ()
    assert Marks(NEW).read(REF, FINDING, said) == ()
    assert "older" not in repr(Marks(NEW, (OLD,)))
