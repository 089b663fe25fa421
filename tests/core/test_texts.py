from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.diff import ChangeKind, FileDiff, RawFile, parse_file
from app.core.texts import added_text, removed_text, settle, show, undo

BASE = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n"
HEAD = "one\n2\nthree\nfour\nfive\nsix\nseven\nnine\nten\n"

texts = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=20).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


def change(before: str, after: str) -> FileDiff:
    lines = difflib.unified_diff(before.split("\n")[:-1], after.split("\n")[:-1], lineterm="")
    patch = "\n".join(list(lines)[2:])
    return parse_file(RawFile("a.txt", ChangeKind.MODIFIED, f"{patch}\n" if patch else ""))


@given(texts, texts)
def test_what_was_changed_can_be_undone_and_done_again(before: str, after: str) -> None:
    file = change(before, after)
    assert file.fault is None
    assert undo(file, after) == before
    assert settle(file, after) == after
    if settle(file, before) != before:
        assert settle(file, before) == after


def test_a_file_before_the_patch_is_brought_behind_it() -> None:
    assert settle(change(BASE, HEAD), BASE) == HEAD


def test_a_file_behind_the_patch_stays_as_it_is() -> None:
    assert settle(change(BASE, HEAD), HEAD) == HEAD


@pytest.mark.parametrize("other", ["", "something else\n", BASE.replace("two", "zwei"), BASE[:9]])
def test_a_file_that_a_patch_does_not_fit_is_none_of_its_sides(other: str) -> None:
    assert settle(change(BASE, HEAD), other) is None


def test_whole_files_come_out_of_their_own_patch() -> None:
    patch = "@@ -0,0 +1,2 @@\n+one\n+two\n"
    assert added_text(parse_file(RawFile("a", ChangeKind.ADDED, patch))) == "one\ntwo\n"
    patch = "@@ -1,2 +0,0 @@\n-one\n-two\n"
    assert removed_text(parse_file(RawFile("a", ChangeKind.REMOVED, patch))) == "one\ntwo\n"


def test_secrets_and_hidden_characters_are_not_shown() -> None:
    key = "AKIA" + "QZ7RWX3YVTPL5NUM"
    shown = show(f"a = '{key}'\nb = 'x\u202ey'\n")
    assert key not in shown
    assert "\u202e" not in shown
    assert "<U+202E>" in shown
