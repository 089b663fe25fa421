from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.anchors import (
    MAX_RANGE,
    MOVED,
    NO_LINE,
    NOT_FOUND,
    NOT_IN_DIFF,
    Anchor,
    place,
    place_on_diff,
)
from app.core.diff import ChangeKind, Diff, RawFile, Side, parse_diff
from app.core.findings import MODEL, Category, Finding, Severity

STATS = """@@ -1,4 +1,4 @@
 def mean(xs):
-    return sum(xs) / max(len(xs), 1)
+    return sum(xs) / len(xs)
 # done
 def end():
@@ -20,5 +20,7 @@ class Box:
     def open(self):
+        self.lid = None
         return None
     def shut(self):
+        self.lid = None
         return None
-    pass
+    x = 1
"""
TWO = "@@ -1,1 +1,2 @@\n a = 1\n+b = 2\n"


def diff_of(**patches: str) -> Diff:
    return parse_diff(
        RawFile(path.replace("__", "/").replace("_py", ".py"), ChangeKind.MODIFIED, patch)
        for path, patch in patches.items()
    )


DIFF = diff_of(src__stats_py=STATS, src__two_py=TWO, lib__two_py=TWO)
PATH = "src/stats.py"


def claim(
    first: str, quote: str, last: str | None = None, path: str = PATH, source: str = MODEL
) -> Finding:
    return Finding(
        path=path,
        first=first,
        last=first if last is None else last,
        quote=quote,
        severity=Severity.MAJOR,
        category=Category.BUG,
        title="t",
        why="w",
        source=source,
    )


def where(finding: Finding) -> tuple[str, int, int] | None:
    anchor = place(finding, DIFF).anchor
    return None if anchor is None else (anchor.side.value, anchor.start_line, anchor.line)


RETURN = "    return sum(xs) / len(xs)"


def found(path: str, diff: Diff) -> str:
    return place(claim("R9", "", path=path), diff).path


def test_tag_and_quote_that_agree_are_the_anchor() -> None:
    placed = place(claim("R2", RETURN), DIFF)
    assert placed.anchor == Anchor(PATH, Side.RIGHT, 2, 2)
    assert placed.note == ""


@pytest.mark.parametrize(
    ("first", "quote", "expected"),
    [
        ("R2", "return sum(xs)  /  len(xs)", ("RIGHT", 2, 2)),
        ("R2", "R2 +|     return sum(xs) / len(xs)", ("RIGHT", 2, 2)),
        ("R2 +|", RETURN, ("RIGHT", 2, 2)),
        (" r2 ", RETURN, ("RIGHT", 2, 2)),
        ("R2", "sum(xs) / len(xs)", ("RIGHT", 2, 2)),
        ("R2", f"\n{RETURN}\n\ndef end():", ("RIGHT", 2, 2)),
        ("L2", "    return sum(xs) / max(len(xs), 1)", ("LEFT", 2, 2)),
        ("R1", "def mean(xs):", ("RIGHT", 1, 1)),
        ("L1", "def mean(xs):", ("LEFT", 1, 1)),
        ("L4", "def end():", ("LEFT", 4, 4)),
        ("R26", "    x = 1", ("RIGHT", 26, 26)),
        ("L24", "    pass", ("LEFT", 24, 24)),
    ],
)
def test_a_quote_agrees_with_its_line_but_for_whitespace_and_a_copied_tag(
    first: str, quote: str, expected: tuple[str, int, int]
) -> None:
    assert where(claim(first, quote)) == expected
    assert place(claim(first, quote), DIFF).note == ""


@pytest.mark.parametrize(
    ("first", "quote", "expected"),
    [
        ("R4", RETURN, ("RIGHT", 2, 2)),
        ("R22", RETURN, ("RIGHT", 2, 2)),
        ("R900", RETURN, ("RIGHT", 2, 2)),
        ("R15", RETURN, ("RIGHT", 2, 2)),
        ("", RETURN, ("RIGHT", 2, 2)),
        ("12", RETURN, ("RIGHT", 2, 2)),
        ("R0", RETURN, ("RIGHT", 2, 2)),
        ("R-1", RETURN, ("RIGHT", 2, 2)),
        ("R99999999", RETURN, ("RIGHT", 2, 2)),
        ("R20", "        self.lid = None", ("RIGHT", 21, 21)),
        ("R25", "        self.lid = None", ("RIGHT", 24, 24)),
        ("R900", "        self.lid = None", ("RIGHT", 24, 24)),
        ("R1", "self.lid = None", ("RIGHT", 21, 21)),
    ],
)
def test_a_wrong_tag_is_mended_by_the_quote(
    first: str, quote: str, expected: tuple[str, int, int]
) -> None:
    assert where(claim(first, quote)) == expected
    assert place(claim(first, quote), DIFF).note == MOVED


@pytest.mark.parametrize(
    ("finding", "note"),
    [
        (claim("R2", "nobody wrote this"), NOT_FOUND),
        (claim("R2", ""), NOT_FOUND),
        (claim("R2", " \n\t"), NOT_FOUND),
        (claim("R2", "s"), NOT_FOUND),
        (claim("", "        self.lid = None"), NOT_FOUND),
        (claim("R2", RETURN, path="other.py"), NOT_IN_DIFF),
        (claim("R2", RETURN, path=""), NOT_IN_DIFF),
        (claim("R2", RETURN, path="../src/stats.py"), NOT_IN_DIFF),
        (claim("R2", "b = 2", path="two.py"), NOT_IN_DIFF),
        (claim("R2", RETURN, path="SRC/STATS.PY"), NOT_IN_DIFF),
    ],
)
def test_what_can_not_be_placed_stays_without_an_anchor_and_says_why(
    finding: Finding, note: str
) -> None:
    placed = place(finding, DIFF)
    assert (placed.finding, placed.anchor, placed.note) == (finding, None, note)


@pytest.mark.parametrize(
    "path",
    [PATH, "a/src/stats.py", "b/src/stats.py", "./src/stats.py", "stats.py", "src\\stats.py"],
)
def test_a_path_is_exact_or_the_one_it_is_a_suffix_of(path: str) -> None:
    assert found(path, DIFF) == PATH
    assert found("repo/" + path.removeprefix("./"), DIFF) == ("" if path == "stats.py" else PATH)


def test_a_renamed_file_is_found_by_its_old_path() -> None:
    (file, *_) = diff_of(new_py=TWO).files
    diff = Diff((replace(file, old_path="old.py"),))
    assert found("old.py", diff) == "new.py"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("R20", "R22", ("RIGHT", 20, 22)),
        ("R22", "R20", ("RIGHT", 20, 22)),
        ("R20", "R5000", ("RIGHT", 20, 26)),
        ("R22", "R2", ("RIGHT", 20, 22)),
        ("R20", "L22", ("RIGHT", 20, 20)),
        ("R20", "", ("RIGHT", 20, 20)),
        ("L20", "L24", ("LEFT", 20, 24)),
    ],
)
def test_a_range_keeps_to_one_hunk_and_one_side(
    first: str, last: str, expected: tuple[str, int, int]
) -> None:
    quote = "        return None" if first == "R22" else "    def open(self):"
    assert where(claim(first, quote, last)) == expected


def test_a_range_moves_with_its_first_line() -> None:
    assert where(claim("R5", RETURN, "R7")) == ("RIGHT", 2, 4)


def test_a_range_that_moves_to_the_other_side_is_about_its_first_line() -> None:
    assert where(claim("L1", RETURN, "L4")) == ("RIGHT", 2, 2)


def test_a_range_of_thousands_of_lines_is_about_its_first() -> None:
    patch = "@@ -0,0 +1,5000 @@\n" + "".join(f"+x{n} = {n}\n" for n in range(1, 5001))
    placed = place(claim("R7", "x7 = 7", "R5000", path="big.py"), diff_of(big_py=patch))
    assert placed.anchor == Anchor("big.py", Side.RIGHT, 7, 7)
    assert MAX_RANGE < 5000


def test_an_analyzers_finding_without_a_quote_stands_on_its_tag_or_nowhere() -> None:
    found = claim("R2", "", source="analyzer:ruff")
    assert where(found) == ("RIGHT", 2, 2)
    assert place(replace(found, first="R10"), DIFF).note == NO_LINE


def test_a_quote_in_the_tags_own_hunk_comes_before_a_nearer_one() -> None:
    patch = "@@ -0,0 +1,4 @@\n+same\n+b\n+c\n+d\n@@ -0,0 +6,1 @@\n+same\n"
    anchor = place(claim("R4", "same", path="a.py"), diff_of(a_py=patch)).anchor
    assert anchor == Anchor("a.py", Side.RIGHT, 1, 1)


def test_the_nearest_is_told_by_the_tags_side() -> None:
    patch = "@@ -10,4 +10,1 @@\n-same\n-b\n-c\n-d\n+e\n@@ -30,3 +27,3 @@\n same\n-f\n+f\n g\n"
    diff = diff_of(a_py=patch)
    assert place(claim("L19", "same", path="a.py"), diff).anchor == Anchor(
        "a.py", Side.LEFT, 10, 10
    )
    assert place(claim("R19", "same", path="a.py"), diff).anchor == Anchor(
        "a.py", Side.RIGHT, 27, 27
    )


def test_of_two_that_are_equally_near_the_tags_side_wins() -> None:
    diff = diff_of(a_py="@@ -1,1 +1,1 @@\n-same \n+same\n")
    for tag, side in (("L9", Side.LEFT), ("R9", Side.RIGHT)):
        placed = place(claim(tag, " same", path="a.py"), diff)
        assert placed.anchor == Anchor("a.py", side, 1, 1)


def test_an_empty_quote_does_not_stand_on_an_empty_line() -> None:
    diff = diff_of(a_py="@@ -0,0 +1,2 @@\n+x\n+\n")
    assert place(claim("R1", "", path="a.py"), diff).anchor is None
    assert place(claim("R2", "", path="a.py"), diff).anchor == Anchor("a.py", Side.RIGHT, 2, 2)


def test_an_exact_path_comes_before_what_it_could_mean() -> None:
    diff = diff_of(a__x_py=TWO, x_py=TWO)
    assert found("a/x.py", diff) == "a/x.py"
    assert found("x.py", diff) == "x.py"
    assert found("", diff_of(x_py=TWO)) == ""


def test_an_analyzers_quote_is_looked_for_like_any_other() -> None:
    assert where(claim("R4", RETURN, source="analyzer:ruff")) == ("RIGHT", 2, 2)


def test_a_short_line_agrees_with_its_own_quote_only() -> None:
    diff = diff_of(a_py="@@ -0,0 +1,4 @@\n+}\n+x = {}\n+}\n+ab}\n")
    placed = place(claim("R3", "}", path="a.py"), diff)
    assert (placed.anchor, placed.note) == (Anchor("a.py", Side.RIGHT, 3, 3), "")
    assert place(claim("R4", "}", path="a.py"), diff).anchor == Anchor("a.py", Side.RIGHT, 3, 3)
    assert place(claim("R2", "x", path="a.py"), diff).anchor is None


def test_a_small_part_of_a_long_line_is_no_quote() -> None:
    diff = diff_of(a_py="@@ -0,0 +1,1 @@\n+" + "word " * 20 + "\n")
    assert place(claim("R1", "word word", path="a.py"), diff).anchor is None
    assert place(claim("R1", "word " * 10, path="a.py"), diff).anchor is not None


def test_a_line_that_was_shown_cut_is_found_by_what_was_shown() -> None:
    diff = diff_of(big_py="@@ -0,0 +1,2 @@\n+x = 1\n+data = '" + "ab" * 2_000 + "'\n")
    quote = "data = '" + "ab" * 1_000 + "<2001 more characters>"
    assert place(claim("R2", quote, path="big.py"), diff).anchor == Anchor(
        "big.py", Side.RIGHT, 2, 2
    )


def test_every_finding_comes_back_in_order() -> None:
    findings = [claim("R2", RETURN), claim("R2", "gone"), claim("R2", RETURN)]
    assert [placed.finding for placed in place_on_diff(findings, DIFF)] == findings


LINES = [line for file in DIFF.files for hunk in file.hunks for line in hunk.lines]


@given(
    first=st.sampled_from([line.tag for line in LINES]) | st.text(max_size=5),
    last=st.sampled_from([line.tag for line in LINES]) | st.text(max_size=5),
    quote=st.sampled_from([line.text for line in LINES]) | st.text(max_size=9),
    path=st.sampled_from([file.path for file in DIFF.files]) | st.text("/.ab\\s", max_size=6),
)
def test_every_anchor_is_accepted_by_github(first: str, last: str, quote: str, path: str) -> None:
    placed = place(claim(first, quote, last, path=path), DIFF)
    if placed.anchor is None:
        assert placed.note
        return
    anchor = placed.anchor
    file = DIFF.file(anchor.path)
    assert file is not None
    assert anchor.start_line <= anchor.line
    numbers = [
        {line.old if anchor.side is Side.LEFT else line.new for line in hunk.lines}
        for hunk in file.hunks
    ]
    assert any(set(range(anchor.start_line, anchor.line + 1)) <= hunk for hunk in numbers)
