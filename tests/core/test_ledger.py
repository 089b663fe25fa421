from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.diff import ChangeKind, Diff, FileDiff, Hunk, RawFile, parse_diff, parse_patch_text
from app.core.findings import Severity
from app.core.ledger import (
    Conclusion,
    Cut,
    Ledger,
    Row,
    Unit,
    UnitState,
    Verdict,
    conclude,
    open_ledger,
    says_generated,
    verdict,
)
from app.core.policy import Policy
from tests.repos import Repo, Tree, changes, make_repo

PATCH = "@@ -1,3 +1,3 @@ def f():\n a\n-b\n+c\n d"
POLICY = Policy()


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return make_repo(tmp_path_factory.mktemp("ledger"))


def diff_of(*paths: str, patch: str = PATCH, kind: ChangeKind = ChangeKind.MODIFIED) -> Diff:
    return parse_diff(RawFile(path, kind, patch) for path in paths)


def ledger_of(states: Iterable[UnitState], reason: str = "why") -> Ledger:
    return Ledger(
        tuple(
            Row(Unit(f"u{number}", "a.py", ChangeKind.MODIFIED, None, "", 1), state, reason)
            for number, state in enumerate(states)
        )
    )


def added(*lines: str) -> str:
    return f"@@ -0,0 +1,{len(lines)} @@\n" + "\n".join(f"+{line}" for line in lines)


# What must always hold.


@given(
    changes(),
    st.integers(1, 6),
    st.integers(20, 200),
    st.lists(st.sampled_from(["*.py", "a/", "**", "x b/**", "[", "nothing"]), max_size=2),
)
def test_the_states_lines_add_up_to_the_diffs_changed_lines(
    repo: Repo, change: tuple[Tree, Tree], lines: int, characters: int, ignore: list[str]
) -> None:
    before, after = repo.import_trees(*change)
    text = repo.git("diff", before, after)
    if not text:
        return
    diff = parse_diff(parse_patch_text(text))
    cut = Cut(changed_lines=lines, characters=characters, shown_of_a_line=30, longest_line=100)
    ledger = open_ledger(diff, Policy(ignore=tuple(ignore)), cut=cut)
    expected = sum(file.changed_lines for file in diff.files)
    assert ledger.changed_lines == expected
    assert sum(total.changed_lines for total in ledger.totals().values()) == expected
    assert {row.unit.path for row in ledger.rows} == {file.path for file in diff.files}
    assert len({row.unit.id for row in ledger.rows}) == len(ledger.rows)


@given(changes(), st.integers(1, 6), st.integers(20, 200), st.sets(st.integers(0, 60)))
def test_pieces_of_a_hunk_are_hunks_and_hold_every_changed_line_once(
    repo: Repo, change: tuple[Tree, Tree], lines: int, characters: int, symbols: set[int]
) -> None:
    before, after = repo.import_trees(*change)
    text = repo.git("diff", "-U9", before, after)
    if not text:
        return
    diff = parse_diff(parse_patch_text(text))
    cut = Cut(changed_lines=lines, characters=characters, boundaries=lambda _path, _hunk: symbols)
    ledger = open_ledger(diff, POLICY, cut=cut)
    for file in diff.files:
        hunks = [row.unit.hunk for row in ledger.rows if row.unit.path == file.path]
        pieces = [hunk for hunk in hunks if hunk is not None]
        for piece in pieces:
            assert_valid(piece)
        whole = [line for hunk in file.hunks for line in hunk.lines if line.changed]
        assert [line for piece in pieces for line in piece.lines if line.changed] == whole


def assert_valid(hunk: Hunk) -> None:
    """Check a hunk against its own header, with git's rule for a side without lines."""
    old = [line.old for line in hunk.lines if line.old is not None]
    new = [line.new for line in hunk.lines if line.new is not None]
    assert old == list(range(old[0], old[0] + hunk.old_lines)) if old else hunk.old_lines == 0
    assert new == list(range(new[0], new[0] + hunk.new_lines)) if new else hunk.new_lines == 0
    assert not old or hunk.old_start == old[0]
    assert not new or hunk.new_start == new[0]
    assert hunk.changed_lines


@given(st.lists(st.sampled_from(UnitState)), st.none() | st.sampled_from(Severity))
def test_success_means_that_all_is_reviewed_or_waived(
    states: list[UnitState], worst: Severity | None
) -> None:
    ledger = ledger_of(states)
    totals = ledger.totals()
    if conclude(ledger, worst, None) is Conclusion.SUCCESS:
        settled = totals[UnitState.REVIEWED].changed_lines + totals[UnitState.WAIVED].changed_lines
        assert settled == ledger.changed_lines > 0
    assert (verdict(ledger, 0) is Verdict.CLEAN) == (not ledger.unreviewed)


# States.


def test_a_unit_is_planned_unless_something_is_known_of_it() -> None:
    ledger = open_ledger(diff_of("a.py", "tests/test_a.py"), POLICY)
    assert [row.state for row in ledger.rows] == [UnitState.PLANNED] * 2
    assert ledger.planned[0].symbol == "def f():"
    assert ledger.planned[0].changed_lines == 2


def test_deletions_are_reviewed() -> None:
    diff = diff_of("a.py", patch="@@ -1,2 +0,0 @@\n-a\n-b", kind=ChangeKind.REMOVED)
    assert len(open_ledger(diff, POLICY).planned) == 1


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("docs/a.md", "ignore docs/**"),
        ("go.sum", "lock file"),
        ("web/package-lock.json", "lock file"),
        ("Cargo.lock", "lock file"),
        ("requirements-dev.lock", "lock file"),
        ("src/vendor/x/y.go", "vendored"),
        ("node_modules/x/index.js", "vendored"),
        ("api/service.pb.go", "generated"),
        ("declared.py", "generated"),
        ("static/app.min.js", "minified"),
        ("static/app.js.map", "minified"),
    ],
)
def test_a_waiver_names_its_rule(path: str, rule: str) -> None:
    policy = Policy(ignore=("docs/**",))
    (row,) = open_ledger(diff_of(path), policy, generated={"declared.py"}).rows
    assert (row.state, row.reason) == (UnitState.WAIVED, rule)


@pytest.mark.parametrize(
    "path",
    [
        "vendor.py",
        "go.sum.py",
        "src/locks/lock.py",
        "min.js",
        "Makefile.lock",
        "pb.go",
        "requirements.txt",
    ],
)
def test_a_name_that_only_resembles_a_rule_is_reviewed(path: str) -> None:
    assert open_ledger(diff_of(path), POLICY).planned


def test_a_new_file_with_a_generators_header_is_waived() -> None:
    patch = added("// Code generated by protoc-gen-go. DO NOT EDIT.", "package x")
    (row,) = open_ledger(diff_of("x.go", patch=patch, kind=ChangeKind.ADDED), POLICY).rows
    assert (row.state, row.reason) == (UnitState.WAIVED, "generated")


def test_a_header_that_a_change_adds_to_an_existing_file_waives_nothing() -> None:
    header = "# @generated"
    hiding = diff_of("x.py", patch=f"@@ -1 +1,2 @@\n+{header}\n-a\n+evil")
    assert open_ledger(hiding, POLICY).planned
    honest = diff_of("x.py", patch=f"@@ -1,2 +1,2 @@\n {header}\n-a\n+b")
    assert not open_ledger(honest, POLICY).planned


@pytest.mark.parametrize(
    ("line", "generated"),
    [
        ("// Code generated by mockery v2. DO NOT EDIT.", True),
        ("# Generated by the protocol buffer compiler.  DO NOT EDIT!", True),
        ("# Generated by the gRPC Python protocol compiler plugin. DO NOT EDIT!", True),
        ("// <auto-generated>", True),
        ("/* @generated by flow */", True),
        ("# This file is automatically generated by SQLAlchemy.", True),
        ("// This file was autogenerated.", True),
        ("# We handle @generated markers here", False),
        ("x = 'Code generated'", False),
        ("# This file is not generated", False),
    ],
)
def test_only_generators_own_words_count_as_a_header(line: str, generated: bool) -> None:  # noqa: FBT001 - a table
    assert says_generated(["#!/bin/sh", line]) == generated


@pytest.mark.parametrize(
    ("file", "state", "reason"),
    [
        (FileDiff("a", ChangeKind.RENAMED, old_path="b"), UnitState.WAIVED, "no content change"),
        (FileDiff("a", ChangeKind.ADDED), UnitState.WAIVED, "no content change"),
        (FileDiff("a", ChangeKind.MODIFIED, unsupported="binary"), "unsupported", "binary"),
        (FileDiff("a", ChangeKind.MODIFIED, fault="it is cut"), UnitState.FAILED, "it is cut"),
        (FileDiff("a", ChangeKind.MODIFIED, too_large="9 GB"), UnitState.TOO_LARGE, "9 GB"),
    ],
)
def test_a_file_without_hunks_is_one_row_with_its_reason(
    file: FileDiff, state: UnitState, reason: str
) -> None:
    file = dataclasses.replace(file, changed_lines=7)
    (row,) = open_ledger(Diff((file,)), POLICY).rows
    assert (row.state, row.reason, row.unit.hunk) == (state, reason, None)
    assert row.unit.changed_lines == 7


# Identity.


def test_an_id_does_not_depend_on_line_numbers_or_context() -> None:
    here = open_ledger(diff_of("a.py", patch=PATCH), POLICY)
    moved = PATCH.replace("@@ -1,3 +1,3 @@", "@@ -91,3 +99,3 @@").replace(" a\n", " z\n")
    there = open_ledger(diff_of("a.py", patch=moved), POLICY)
    assert here.rows[0].unit.id == there.rows[0].unit.id


@pytest.mark.parametrize(
    ("path", "patch"),
    [
        ("b.py", PATCH),
        ("a.py", PATCH.replace("+c", "+e")),
        ("a.py", PATCH.replace("def f", "def g")),
        ("a.py", PATCH.replace("-b\n+c", "+b\n-c")),
    ],
)
def test_an_id_depends_on_path_symbol_and_changed_text(path: str, patch: str) -> None:
    one = open_ledger(diff_of("a.py"), POLICY).rows[0].unit.id
    assert open_ledger(diff_of(path, patch=patch), POLICY).rows[0].unit.id != one


def test_equal_hunks_of_one_file_have_ids_of_their_own() -> None:
    ledger = open_ledger(diff_of("a.py", patch="@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-a\n+b"), POLICY)
    one, two = (unit.id for unit in ledger.planned)
    assert two == f"{one}-2"


# Cutting.


def functions(count: int, lines: int) -> list[str]:
    body = [f"    step({number})" for number in range(lines)]
    return [line for number in range(count) for line in (f"def f{number}():", *body, "")]


def test_a_huge_hunk_is_cut_where_functions_begin() -> None:
    diff = diff_of("a.py", patch=added(*functions(40, 20)), kind=ChangeKind.ADDED)
    units = open_ledger(diff, POLICY).planned
    assert len(units) > 2
    for unit in units:
        assert unit.hunk is not None
        assert unit.hunk.lines[0].text.startswith("def f")
        assert unit.changed_lines <= Cut().changed_lines
    assert units[1].symbol.startswith("def f")


def test_an_insertion_at_the_start_leaves_most_pieces_as_they_were() -> None:
    text = functions(200, 20)
    before = open_ledger(diff_of("a.py", patch=added(*text), kind=ChangeKind.ADDED), POLICY)
    longer = [*(f"constant_{number} = {number}" for number in range(97)), "", *text]
    after = open_ledger(diff_of("a.py", patch=added(*longer), kind=ChangeKind.ADDED), POLICY)
    ids = {unit.id for unit in before.planned}
    kept = [unit for unit in after.planned if unit.id in ids]
    assert len(kept) >= len(after.planned) - 5


def test_a_hunk_without_symbols_is_cut_behind_a_blank_line() -> None:
    text = [
        line for number in range(60) for line in (*(f"{number} {word}" for word in "abcdefghi"), "")
    ]
    units = open_ledger(diff_of("a.md", patch=added(*text), kind=ChangeKind.ADDED), POLICY).planned
    assert len(units) > 1
    assert all(unit.changed_lines % 10 == 0 for unit in units)


def first_lines(patch: str, kind: ChangeKind = ChangeKind.MODIFIED) -> list[str]:
    units = open_ledger(diff_of("a.c", patch=patch, kind=kind), POLICY).planned
    assert len(units) > 1
    return [unit.hunk.lines[0].mark + unit.hunk.lines[0].text for unit in units if unit.hunk]


def test_a_cut_does_not_part_a_block_from_its_closing_bracket() -> None:
    body = [f"  h({number})," for number in range(40)]
    text = [line for n in range(50) for line in (f"const f{n} = g([", *body, ")]")]
    assert all(line.startswith("+const") for line in first_lines(added(*text), ChangeKind.ADDED))


def test_a_cut_does_not_part_a_line_from_what_replaces_it() -> None:
    pairs = "".join(f"\n-old {number}\n+new {number}" for number in range(300))
    assert all(line.startswith("-") for line in first_lines(f"@@ -1,300 +1,300 @@{pairs}"))


def test_given_boundaries_decide_where_to_cut() -> None:
    diff = diff_of("a.py", patch=added(*["x"] * 40), kind=ChangeKind.ADDED)
    cut = Cut(changed_lines=10, boundaries=lambda _path, _hunk: [7, 16, 22, 30])
    starts = [
        unit.hunk.new_start for unit in open_ledger(diff, POLICY, cut=cut).planned if unit.hunk
    ]
    assert starts == [1, 8, 17, 23, 31]


def test_a_long_line_is_shown_cut_and_says_so() -> None:
    diff = diff_of("a.py", patch=f"@@ -1 +1 @@\n-a\n+{'x' * 5000}")
    (unit,) = open_ledger(diff, POLICY).planned
    assert unit.hunk is not None
    assert unit.hunk.lines[1].text == "x" * 2000 + " [... 3,000 characters more]"
    assert "2,000" in unit.note
    assert diff.files[0].hunks[0].lines[1].text == "x" * 5000


def test_a_line_too_long_to_show_is_a_unit_of_its_own() -> None:
    lines = ["a"] * 10 + ["x" * 10_000_000] + ["b"] * 10
    ledger = open_ledger(diff_of("a.py", patch=added(*lines), kind=ChangeKind.ADDED), POLICY)
    assert [(row.state, row.unit.changed_lines) for row in ledger.rows] == [
        (UnitState.PLANNED, 10),
        (UnitState.TOO_LARGE, 1),
        (UnitState.PLANNED, 10),
    ]
    assert ledger.rows[1].reason == "a line of 10,000,000 characters"


# Marking.


def test_marking_moves_planned_units_once() -> None:
    ledger = ledger_of([UnitState.PLANNED, UnitState.PLANNED])
    marked = ledger.mark(["u0"], UnitState.REVIEWED)
    assert [row.state for row in marked.rows] == [UnitState.REVIEWED, UnitState.PLANNED]
    assert ledger.rows[0].state is UnitState.PLANNED
    with pytest.raises(ValueError, match="reviewed already"):
        marked.mark(["u0"], UnitState.FAILED, "late")
    again = marked.mark(["u0"], UnitState.FAILED, "late", again=True)
    assert again.rows[0] == Row(ledger.rows[0].unit, UnitState.FAILED, "late")
    assert marked.reviewed_lines == 1


def test_marking_refuses_unknown_units_and_states_without_a_reason() -> None:
    ledger = ledger_of([UnitState.PLANNED])
    with pytest.raises(ValueError, match="not in the ledger: nope"):
        ledger.mark(["u0", "nope"], UnitState.REVIEWED)
    with pytest.raises(ValueError, match="needs a reason"):
        ledger.mark(["u0"], UnitState.FAILED)


# Verdict and conclusion.


@pytest.mark.parametrize(
    ("states", "findings", "expected"),
    [
        ([], 0, Verdict.CLEAN),
        (["reviewed", "waived"], 0, Verdict.CLEAN),
        (["reviewed", "waived"], 2, Verdict.FINDINGS),
        (["reviewed", "failed"], 2, Verdict.INCOMPLETE),
        (["reviewed", "planned"], 0, Verdict.INCOMPLETE),
        (["reviewed", "over_budget"], 0, Verdict.INCOMPLETE),
        (["unsupported", "waived"], 0, Verdict.INCOMPLETE),
        (["over_budget"], 0, Verdict.INCOMPLETE),
        (["failed", "waived"], 2, Verdict.FAILED),
        (["failed", "unsupported"], 0, Verdict.FAILED),
    ],
)
def test_the_verdict_sums_up_the_run(states: list[str], findings: int, expected: Verdict) -> None:
    assert verdict(ledger_of(map(UnitState, states)), findings) is expected


@pytest.mark.parametrize(
    ("states", "worst", "fail_on", "expected"),
    [
        (["reviewed"], None, Severity.INFO, Conclusion.SUCCESS),
        (["reviewed"], Severity.MINOR, Severity.MAJOR, Conclusion.SUCCESS),
        (["reviewed"], Severity.MAJOR, Severity.MAJOR, Conclusion.FAILURE),
        (["reviewed"], Severity.CRITICAL, None, Conclusion.SUCCESS),
        (["failed"], Severity.CRITICAL, Severity.MAJOR, Conclusion.FAILURE),
        (["failed"], None, Severity.INFO, Conclusion.NEUTRAL),
        (["reviewed", "too_large"], None, None, Conclusion.NEUTRAL),
        (["waived"], None, None, Conclusion.SUCCESS),
        ([], None, None, Conclusion.NEUTRAL),
    ],
)
def test_the_conclusion_is_red_for_findings_only_and_green_for_complete_reviews_only(
    states: list[str], worst: Severity | None, fail_on: Severity | None, expected: Conclusion
) -> None:
    assert conclude(ledger_of(map(UnitState, states)), worst, fail_on) is expected


def test_a_policy_that_ignores_everything_is_never_green() -> None:
    policy = Policy(ignore=("**",))
    assert conclude(open_ledger(diff_of("a.py", "go.sum"), policy), None, None) == "neutral"
    some = open_ledger(diff_of("a.py", "docs/a.md"), Policy(ignore=("docs/**",)))
    done = some.mark([unit.id for unit in some.planned], UnitState.REVIEWED)
    assert conclude(done, None, None) is Conclusion.SUCCESS
