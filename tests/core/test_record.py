"""A record hands on what our key signed for one head of one pull request, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.pull import PullRef, PullRequest
from app.core.record import read_record, write_record

KEY = b"a key for records"
HEAD = "a" * 40
ROOM = 60_000
PULL = PullRequest(PullRef(1, "acme/shop", 7), "", "", 1, "robin", "b" * 40, HEAD)
TEXTS = {"one": "[]", "two": '[{"title":"Über\\u0000 --> <!-- "}]'}
WRITTEN = write_record(TEXTS, KEY, PULL, ROOM)


@given(st.dictionaries(st.text(), st.text(), min_size=1, max_size=20))
def test_any_texts_come_back_and_no_page_shows_them(texts: dict[str, str]) -> None:
    record = write_record(texts, KEY, PULL, ROOM)
    assert read_record(record, KEY, PULL, HEAD) == texts
    assert record.startswith("<!-- ")
    assert record.index("-->") == len(record) - 3
    assert record.isascii()
    assert "--" not in record[4:-3]


def test_a_record_is_good_for_its_key_its_pull_and_its_head_alone() -> None:
    other_number = replace(PULL, ref=replace(PULL.ref, number=8))
    other_home = replace(PULL, ref=replace(PULL.ref, repository_id=2))
    assert read_record(WRITTEN, KEY, PULL, HEAD) == TEXTS
    assert read_record(WRITTEN, KEY, replace(PULL, head_sha="c" * 40), HEAD) == TEXTS
    assert read_record(WRITTEN, KEY, PULL, "c" * 40) == {}
    assert read_record(WRITTEN, KEY, other_number, HEAD) == {}
    assert read_record(WRITTEN, KEY, other_home, HEAD) == {}
    assert read_record(WRITTEN, b"another key", PULL, HEAD) == {}


@given(st.integers(0, len(WRITTEN) - 1), st.sampled_from(["", "A", "0", " ", "é"]))
def test_a_record_that_was_changed_anywhere_is_none(at: int, instead: str) -> None:
    changed = WRITTEN[:at] + instead + WRITTEN[at + 1 :]
    assert read_record(changed, KEY, PULL, HEAD) == (TEXTS if changed == WRITTEN else {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Looks good!",
        WRITTEN[:-1],
        WRITTEN[: len(WRITTEN) // 2],
        f"{WRITTEN}\n{WRITTEN}",
        f"said: {WRITTEN}",
        "<!-- postil:record:1 " + "0" * 64 + " " + "A" * 1_000_000 + " -->",
        WRITTEN + " " * 1_000_000,
        "<!-- postil:record:1 " * 50_000,
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert read_record(text, KEY, PULL, HEAD) == {}


def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    texts = {f"{number:032x}": "x" * number for number in range(9_000)}
    texts = {key: text + key[::-1] for key, text in texts.items()}
    record = write_record(texts, KEY, PULL, ROOM)
    assert ROOM - 100 < len(record) <= ROOM
    read = read_record(record, KEY, PULL, HEAD)
    assert list(read.items()) == list(texts.items())[: len(read)]
    assert len(read) > 500


def test_where_nothing_fits_there_is_no_record() -> None:
    assert write_record({}, KEY, PULL, ROOM) == ""
    assert write_record(TEXTS, KEY, PULL, 100) == ""
