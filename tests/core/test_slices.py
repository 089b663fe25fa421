"""A unit is shown with what a reader would look up, within a budget, and nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.diff import ChangeKind, Hunk, Line
from app.core.ledger import Unit
from app.core.slices import (
    MAX_SITES,
    CallSite,
    ContextLine,
    Slice,
    changed_signatures,
    confirm_call_sites,
    select_slices,
)
from app.core.symbols import Symbol, symbols_in

STATS = """\
import os
import math
from shapes import Box

LIMIT = 3


class Stats(Box):
    def first(self):
        return 1

    def mean(
        self,
        xs,
    ):
        before = 1
        near = 2
        changed = math.sqrt(sum(xs))
        after = 3
        return changed

    def last(self):
        return 9
"""
CHANGED_LINE = 18


@dataclass(frozen=True)
class Hit:
    path: str
    line: int
    text: str


def words(text: str) -> int:
    return len(text.split())


def unit(
    path: str, *lines: Line, kind: ChangeKind = ChangeKind.MODIFIED, old_path: str | None = None
) -> Unit:
    new = [line.new for line in lines if line.new is not None]
    old = [line.old for line in lines if line.old is not None]
    hunk = Hunk(min(old, default=0), len(old), min(new, default=0), len(new), lines)
    return Unit(f"{path}:{lines[0].tag}", path, kind, hunk, old_path=old_path)


def change(path: str, number: int, text: str) -> Unit:
    return unit(path, Line("+", text, None, number))


def shown(lines: tuple[ContextLine, ...]) -> list[str]:
    return [line.text.strip() for line in lines]


def test_a_hunk_is_shown_with_its_signatures_its_imports_and_its_body() -> None:
    one = change("stats.py", CHANGED_LINE, "        changed = math.sqrt(sum(xs))")
    around = select_slices([one], {"stats.py": STATS}, {}, 500, words)[one.id]
    assert shown(around.before) == [
        "import math",
        "class Stats(Box):",
        "def mean(",
        "self,",
        "xs,",
        "):",
        "before = 1",
        "near = 2",
    ]
    assert shown(around.after) == ["after = 3", "return changed"]


def test_the_symbols_that_git_shows_around_a_change_are_not_its_own() -> None:
    lines = STATS.split("\n")
    shown_lines = [Line(" ", lines[number - 1], number, number) for number in range(18, 24)]
    shown_lines[0] = Line("+", lines[17], None, 18)
    one = unit("stats.py", *shown_lines)
    around = select_slices([one], {"stats.py": STATS}, {}, 500, words)[one.id]
    assert around.heading == "def mean( self, xs, ):"
    assert "def mean(" in shown(around.before)
    assert around.after == ()


def test_a_change_outside_all_symbols_has_an_empty_heading() -> None:
    one = change("stats.py", 5, "LIMIT = 3")
    assert select_slices([one], {"stats.py": STATS}, {}, 500, words)[one.id].heading == ""
    plain = change("stats.txt", 5, "LIMIT = 3")
    assert select_slices([plain], {"stats.txt": STATS}, {}, 500, words)[plain.id].heading is None


def test_an_import_counts_by_the_names_it_binds() -> None:
    one = change("stats.py", CHANGED_LINE, "        changed = shapes.thing(os)")
    around = select_slices([one], {"stats.py": STATS}, {}, 500, words)[one.id]
    assert "import os" in shown(around.before)
    assert "from shapes import Box" not in shown(around.before)


def test_signatures_and_imports_come_before_the_body_when_the_budget_is_small() -> None:
    one = change("stats.py", CHANGED_LINE, "        changed = math.sqrt(sum(xs))")
    around = select_slices([one], {"stats.py": STATS}, {}, 22, words)[one.id]
    assert shown(around.before)[:3] == ["import math", "class Stats(Box):", "def mean("]
    assert "before = 1" not in shown(around.before)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 80), st.integers(1, 23))
def test_a_slice_never_costs_more_than_its_budget(budget: int, number: int) -> None:
    text = STATS.split("\n")[number - 1]
    one = change("stats.py", number, text)
    slices = select_slices([one], {"stats.py": STATS}, {}, budget, words)
    around = slices.get(one.id, Slice())
    lines = (*around.before, *around.after)
    assert sum(words(line.text) + 2 for line in lines) <= budget
    assert all(line.text == STATS.split("\n")[line.number - 1] for line in lines)
    assert number not in {line.number for line in lines}


def test_what_another_hunk_shows_is_no_context_of_this_one() -> None:
    first = change("stats.py", CHANGED_LINE, "        changed = math.sqrt(sum(xs))")
    second = change("stats.py", CHANGED_LINE + 1, "        after = 3")
    slices = select_slices([first, second], {"stats.py": STATS}, {}, 500, words)
    assert "after = 3" not in shown(slices[first.id].after)


def test_a_deletion_is_shown_with_the_function_that_it_was_in() -> None:
    gone = unit(
        "stats.py", Line("-", "        if not xs: return 0", 18, None), kind=ChangeKind.MODIFIED
    )
    hunk = Hunk(18, 1, 17, 0, gone.hunk.lines if gone.hunk else ())
    one = Unit("gone", "stats.py", ChangeKind.MODIFIED, hunk)
    around = select_slices([one], {"stats.py": STATS}, {}, 500, words)["gone"]
    assert "def mean(" in shown(around.before)
    assert shown(around.before)[-1] == "near = 2"
    assert shown(around.after)[0] == "changed = math.sqrt(sum(xs))"


def test_a_deleted_file_is_shown_as_it_was() -> None:
    gone = unit("stats.py", Line("-", "        near = 2", 17, None), kind=ChangeKind.REMOVED)
    around = select_slices([gone], {}, {"stats.py": STATS}, 500, words)[gone.id]
    assert shown(around.before)[-1] == "before = 1"


def test_without_a_grammar_indentation_tells_what_a_hunk_stands_in() -> None:
    text = "server\n  listen 80\n  location /\n    a 1\n\n    b 2\n    c 3\n"
    one = change("site.conf", 6, "    b 2")
    around = select_slices([one], {"site.conf": text}, {}, 500, words)[one.id]
    assert shown(around.before)[:2] == ["server", "listen 80"]
    assert "location /" in shown(around.before)


def test_a_file_without_text_or_beyond_its_end_has_no_slice() -> None:
    assert select_slices([change("a.py", 1, "x")], {}, {}, 500, words) == {}
    assert select_slices([change("a.py", 900, "x")], {"a.py": "y\n"}, {}, 500, words) == {}
    longer = unit("a.py", Line(" ", "def f():", 1, 1), Line("+", "    x", None, 2))
    assert select_slices([longer], {}, {}, 500, words) == {}
    assert select_slices([longer], {"a.py": "y"}, {}, 500, words) == {}
    assert select_slices([Unit("u", "a.png", ChangeKind.ADDED, None)], {}, {}, 500, words) == {}


BASE = """\
class Stats:
    def __init__(self, xs):
        self.xs = xs

    def mean(self, xs):
        return 1

    def kept(self):
        return 2


def gone(a):
    return a
"""
HEAD = """\
class Stats:
    def __init__(self, xs, strict):
        self.xs = xs

    def mean(self, xs, weights):
        return 1

    def kept(self):
        return 3
"""


def edited(old_path: str | None = None) -> Unit:
    removed = [2, 5, 9, 12, 13]
    lines = BASE.split("\n")
    gone = tuple(Line("-", lines[number - 1], number, None) for number in removed)
    return unit("stats.py", *gone, old_path=old_path)


def test_changed_and_deleted_signatures_are_found_and_changed_bodies_are_not() -> None:
    found = changed_signatures([edited()], {"stats.py": BASE}, {"stats.py": HEAD})
    assert {symbol.name for symbol in found} == {"Stats", "mean", "gone"}
    assert all(symbol.path == "stats.py" for symbol in found)


def test_a_renamed_file_is_compared_with_what_it_was_called() -> None:
    found = changed_signatures([edited("old.py")], {"old.py": BASE}, {"stats.py": HEAD})
    assert "gone" in {symbol.name for symbol in found}


def test_a_deleted_file_has_all_its_functions_deleted() -> None:
    found = changed_signatures([edited()], {"stats.py": BASE}, {})
    assert {symbol.name for symbol in found} >= {"mean", "gone"}


def test_an_addition_alone_changes_no_signature() -> None:
    new = change("stats.py", 2, "    def other(self): ...")
    assert changed_signatures([new], {"stats.py": BASE}, {"stats.py": HEAD}) == ()


GONE = Symbol("stats.py", "gone", 12, 12, 12, 13, "def gone(a):")
USER = """\
# gone is documented here
from stats import gone


def run():
    text = "gone"
    return gone(1)
"""


def hits(path: str, text: str) -> list[Hit]:
    lines = enumerate(text.split("\n"), 1)
    return [Hit(path, number, line) for number, line in lines if "gone" in line]


def test_a_call_site_is_code_and_not_a_comment_or_string() -> None:
    sites = confirm_call_sites(GONE, hits("app.py", USER), {"app.py": USER})
    assert [(site.line, site.symbol, site.origin) for site in sites] == [
        (7, "gone", "stats.py"),
        (2, "gone", "stats.py"),
    ]
    assert shown(sites[0].lines) == ["def run():", 'text = "gone"', "return gone(1)"]


def test_a_definition_of_the_same_name_is_no_call_site() -> None:
    text = "def gone(b):\n    return b\n"
    assert confirm_call_sites(GONE, hits("b.py", text), {"b.py": text}) == ()


@pytest.mark.parametrize(("line", "kept"), [("call gone(1)", 1), ("call foregone(1)", 0)])
def test_where_no_grammar_knows_the_language_a_word_is_enough(line: str, kept: int) -> None:
    assert len(confirm_call_sites(GONE, [Hit("a.sql", 1, line)], {"a.sql": line})) == kept
    assert len(confirm_call_sites(GONE, [Hit("a.py", 1, line)], {})) == kept


def test_call_sites_are_few() -> None:
    text = "gone(1)\n" * 100
    assert len(confirm_call_sites(GONE, hits("a.py", text), {"a.py": text})) == MAX_SITES


def test_a_call_site_goes_with_the_unit_that_changed_the_symbol() -> None:
    other = change("stats.py", 1, "import os")
    breaking = unit("stats.py", Line("-", "def gone(a):", 12, None))
    site = CallSite("gone", "app.py", 7, (ContextLine(7, "return gone(1)"),), "stats.py")
    foreign = CallSite("gone", "app.py", 9, (ContextLine(9, "gone(2)"),), "other.py")
    slices = select_slices([other, breaking], {}, {}, 500, words, [site, foreign])
    assert slices == {breaking.id: Slice(call_sites=(site,))}


def test_a_call_site_that_the_change_itself_touches_is_not_shown_again() -> None:
    breaking = unit("stats.py", Line("-", "def gone(a):", 12, None))
    mended = change("app.py", 7, "    return kept(1)")
    site = CallSite("gone", "app.py", 7, (ContextLine(7, "return gone(1)"),), "stats.py")
    assert select_slices([breaking, mended], {}, {}, 500, words, [site]) == {}


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200), st.integers(1, 12), st.sampled_from(["a.py", "a.ts", "a.txt"]))
def test_any_text_can_be_sliced(text: str, number: int, path: str) -> None:
    one = change(path, number, "x")
    for around in select_slices([one], {path: text}, {}, 100, words).values():
        for line in (*around.before, *around.after):
            assert line.text == text.split("\n")[line.number - 1]
    for symbol in symbols_in(path, text):
        confirm_call_sites(symbol, [Hit(path, number, text)], {path: text})
    changed_signatures([one], {path: text}, {path: ""})
