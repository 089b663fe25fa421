"""What is kept of a unit: free of line numbers, and read back only when it is whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.anchors import Anchor, Placed
from app.core.diff import ChangeKind, RawFile, Side, parse_diff
from app.core.evidence import Dropped, Rung, Weighed
from app.core.findings import Category, Finding, Severity
from app.core.ledger import Unit, open_ledger
from app.core.memory import (
    claim_key,
    find_home,
    read_findings,
    read_judged,
    share_findings,
    unit_key,
    write_findings,
    write_judged,
)
from app.core.policy import Policy
from app.core.slices import ContextLine, Slice


def units_of(start: int = 1, path: str = "a.py", text: str = "b = c / d") -> tuple[Unit, ...]:
    """Return two units of a file, the first of which adds a line at ``start + 1``."""
    patch = (
        f"@@ -{start},2 +{start},3 @@\n a\n+{text}\n e\n"
        f"@@ -{start + 50},2 +{start + 51},3 @@\n f\n+g = h\n i\n"
    )
    return open_ledger(parse_diff([RawFile(path, ChangeKind.MODIFIED, patch)]), Policy()).planned


FIRST, SECOND = units_of()
FOUND = Finding(
    path="a.py",
    first="R2",
    last="R3",
    quote="b = c / d",
    severity=Severity.MAJOR,
    category=Category.BUG,
    title="Division by zero",
    why="d may be 0.",
    scenario="d = 0",
    suggestion="b = c / (d or 1)",
)
JUDGED = Weighed(
    Placed(FOUND, Anchor("a.py", Side.RIGHT, 2, 3), "", "a.py"),
    Rung.E1,
    Severity.MAJOR,
    ("a note",),
    "f" * 16,
)


def key(unit: Unit, around: Slice | None = None, asked: str = "asked", *hints: Finding) -> str:
    return unit_key(unit, around or Slice(), asked, hints)


def test_a_unit_that_moved_is_the_same_and_takes_its_findings_along() -> None:
    moved = units_of(start=100)[0]
    assert key(moved) == key(FIRST)
    (found,) = read_findings(write_findings(FIRST, [FOUND]), moved) or ()
    assert found == replace(FOUND, first="R101", last="R102")


def test_a_unit_is_another_with_anything_that_is_shown_of_it() -> None:
    around = Slice(before=(ContextLine(40, "import x"),))
    hint = replace(FOUND, source="analyzer:ruff", rule="F821")
    others = [
        key(FIRST, around),
        key(FIRST, replace(around, before=(ContextLine(40, "import y"),))),
        key(FIRST, None, "asked otherwise"),
        key(FIRST, None, "asked", hint),
        key(units_of(path="b.py")[0]),
        key(units_of(text="b = c // d")[0]),
        key(SECOND),
    ]
    assert len({*others, key(FIRST)}) == 8
    assert key(FIRST, replace(around, before=(ContextLine(45, "import x"),))) == others[0]
    assert key(FIRST, None, "asked", replace(hint, first="R40")) == key(FIRST)


def test_a_finding_is_at_home_where_its_line_is_else_its_quote_else_its_file() -> None:
    units = (FIRST, SECOND)
    assert find_home(FOUND, units) is FIRST
    assert find_home(replace(FOUND, first="R53", quote="b = c / d"), units) is SECOND
    assert find_home(replace(FOUND, first="R9999", quote=" g  = h"), units) is SECOND
    assert find_home(replace(FOUND, first="L9999", quote="nowhere"), units) is FIRST
    assert find_home(replace(FOUND, path="other.py"), units) is None


def test_no_finding_of_an_answer_is_lost() -> None:
    stray = replace(FOUND, path="other.py")
    late = replace(FOUND, first="R53", quote="g = h")
    shared = share_findings([FOUND, late, stray], (FIRST, SECOND))
    assert shared == {FIRST.id: (FOUND, stray), SECOND.id: (late,)}
    assert share_findings([FOUND], ()) == {}


@given(
    st.builds(
        replace,
        st.just(FOUND),
        first=st.sampled_from(["R2", "R1", "L99", "", "line 2"]),
        quote=st.text(),
        title=st.text(),
        why=st.text(),
        severity=st.sampled_from(Severity),
        category=st.sampled_from(Category),
        suggestion=st.none() | st.text(),
    )
)
def test_any_finding_comes_back_as_it_was(found: Finding) -> None:
    assert read_findings(write_findings(FIRST, [found]), FIRST) == (found,)


def test_nothing_found_is_not_the_same_as_nothing_kept() -> None:
    assert read_findings(write_findings(FIRST, []), FIRST) == ()
    assert read_findings(None, FIRST) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"first":1', '"first":99'),
        ('"first":1', '"first":-99'),
        ('"first":1', '"first":1.5'),
        ('"severity":"major"', '"severity":"huge"'),
        ('"category":"bug"', '"category":"style"'),
        ('"title":', '"name":'),
        ("}]", "}"),
        ("[{", "[[{"),
    ],
)
def test_what_is_not_whole_is_nothing(old: str, new: str) -> None:
    text = write_findings(FIRST, [FOUND])
    assert old in text
    assert read_findings(text.replace(old, new), FIRST) is None


def test_what_doubts_left_comes_back_as_it_was() -> None:
    claim = JUDGED.placed.finding
    lower = replace(JUDGED, severity=Severity.MINOR, notes=("a note", "unsure: who knows"))
    mended = replace(
        JUDGED, placed=replace(JUDGED.placed, finding=replace(claim, suggestion="b = 1"))
    )
    fell = Dropped(JUDGED.placed, "refuted: d is never 0")
    for left in (lower, mended, fell):
        assert read_judged(write_judged(left), JUDGED) == left
    for text in (None, "", "{}", "[]", '{"dropped":1}'):
        assert read_judged(text, JUDGED) is None


def test_a_claim_is_another_with_its_words_its_weight_and_its_file() -> None:
    claim = JUDGED.placed.finding
    worded = replace(JUDGED, placed=replace(JUDGED.placed, finding=replace(claim, why="Else.")))
    lighter = replace(JUDGED, rung=Rung.E0, severity=Severity.MINOR)
    keys = [claim_key(one, ["k1", "k2"]) for one in (JUDGED, worded, lighter)]
    assert len({*keys, claim_key(JUDGED, ["k1", "k3"])}) == 4
    assert claim_key(JUDGED, ["k2", "k1"]) == keys[0]
