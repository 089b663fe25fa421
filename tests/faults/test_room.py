"""No room: a folder that is none, an answer without end, a change that is too large."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from sandbox.serving import until
from tests.e2e.conftest import check, spots, told
from tests.faults.calls import NEVER_BEGAN, PLAIN, PULL, TOKEN, calls, check_calls, often
from tests.faults.pulls import check_given_up, check_reviewed, logged, review, state
from tests.faults.world import LIMIT_S, World, fault

ATTEMPTS, READS = 5, 4
CAP = 1 << 20
"""Bytes that are taken in these stories: a thousandth of a gigabyte."""
LINES = b"".join(b"a = '%s'\n" % (b"%d" % n * 25_000) for n in range(10, 18))
"""Lines that are too long to be shown to a model, so that none is asked."""


@pytest.fixture
def no_folder(house: World) -> Path:
    """Put a file where the folder for the code should be, and tell where."""
    folder = house.stage.folder / "data" / "code"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_bytes(b"")
    return folder


@fault(
    "The folder for the code can't be written to, once",
    "the job is tried again, and nothing is lost",
)
def test_a_folder_that_can_not_be_used_once(house: World, no_folder: Path) -> None:
    pull = house.stage.open_pull(house.create_repository("acme/cramped"))
    failed = f" job=review:{pull.repository.id}:", "a job failed"
    until(lambda: bool(logged(house, *failed)), LIMIT_S, lambda: "it never failed", 0.02)
    no_folder.unlink()
    house.wait_until_done()
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN)


@fault(
    "The folder for the code can't be written to, for ever",
    "the check run of that job says so; when it can, the next one is reviewed",
)
def test_a_folder_that_can_not_be_used(house: World, no_folder: Path) -> None:
    pull = review(house, "homeless")
    check_given_up(pull, "the folder", "can't be used")
    assert state(house, pull) == {"dead"}
    check_calls(house, pull.repository, NEVER_BEGAN)
    no_folder.unlink()
    after = review(house, "housed")
    check_reviewed(after)
    check_calls(house, after.repository, PLAIN)


@fault(
    "An answer of GitHub's swells without end",
    "it is given up at a cap, and so is the job in the end; others' reviews go on",
)
def test_an_answer_that_swells(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.github.transport.ANSWER_BYTES", CAP)
    packed = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 64 * CAP)
    swollen = house.inject(
        "GET", "swollen/pulls/1$", times=None, status=200, headers=packed, body=bomb
    )
    pull = house.stage.open_pull(house.create_repository("acme/swollen"))
    other = review(house, "slim")
    check_reviewed(other)
    check_calls(house, other.repository, PLAIN)
    assert swollen.hits == ATTEMPTS * READS
    check_given_up(pull, "answer is too large")
    assert state(house, pull) == {"dead"}
    tries = often(TOKEN + often(PULL, READS), ATTEMPTS)
    check_calls(house, pull.repository, tries + NEVER_BEGAN)


DYING = """\
#!/bin/sh
case "$*" in *diff-tree*--patch*) git "$@" | head -c 200000; kill -9 $$;; esac
exec git "$@"
"""
"""A git that is killed while it compares, as one that wants too much memory is."""


@fault(
    "A change is far larger than can be looked at, or git is killed while it compares",
    "what is too much is named as not reviewed, and others' reviews go on",
)
@pytest.mark.parametrize("how", ["large", "killed"])
def test_a_change_that_is_too_large(
    house: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "large":
        monkeypatch.setattr("app.adapters.git.MAX_DIFF_BYTES", CAP)
    else:
        dying = tmp_path / "git"
        dying.write_text(DYING)
        dying.chmod(0o700)
        monkeypatch.setattr("app.adapters.git._find_git", lambda: str(dying))
    names = [f"part_{number}.py" for number in range(6)]
    home = house.create_repository(f"acme/{how}", dict.fromkeys(names, LINES))
    pull = house.stage.open_pull(home, dict.fromkeys(names, LINES.replace(b"a", b"b")))
    other = review(house, f"beside-{how}")
    check_reviewed(other)
    check_calls(house, other.repository, PLAIN)
    assert spots(pull) == [(f"{how}.py", 2)]
    said = told(check(pull))
    assert check(pull).conclusion == "neutral"
    for name in names:
        assert f"`{name}" in said
    assert "more than could be compared at once" in said
    check_calls(house, home, PLAIN + calls("GET compare/{basehead+}"))
