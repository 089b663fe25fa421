from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.anchors import Anchor, Placed, place_on_diff
from app.core.diff import ChangeKind, Diff, RawFile, Side, parse_diff
from app.core.evidence import Rung, Weighed
from app.core.findings import Category, Finding, Severity
from app.core.identity import (
    Marker,
    Said,
    cluster,
    drop_already_said,
    fingerprint,
    identify,
    make_marker,
    name_all,
    read_markers,
)

PATH = "a.py"


def diff_of(*lines: str, start: int = 1, path: str = PATH) -> Diff:
    old = sum(line[0] != "+" for line in lines)
    new = sum(line[0] != "-" for line in lines)
    patch = "\n".join([f"@@ -{start},{old} +{start},{new} @@", *lines, ""])
    return parse_diff([RawFile(path, ChangeKind.MODIFIED, patch)])


CLAIM = Finding(
    path=PATH,
    first="R2",
    last="R2",
    quote="",
    severity=Severity.MAJOR,
    category=Category.BUG,
    title="Division by zero",
    why="w",
)


def claim(first: str = "R2", **more: Any) -> Finding:  # noqa: ANN401 - a field of any type
    return replace(CLAIM, first=first, last=first, **more)


DIFF = diff_of(" a", "+b = c / d", "+}", "+b = c / d", " e")


def put(finding: Finding, diff: Diff = DIFF) -> Placed:
    (placed,) = place_on_diff([finding], diff)
    return placed


def at(first: int, last: int | None = None, **more: Any) -> Placed:  # noqa: ANN401 - as above
    finding = claim(f"R{first}", **more)
    return Placed(finding, Anchor(PATH, Side.RIGHT, first, last or first), "", PATH)


# Fingerprints.


def test_a_fingerprint_survives_moved_lines_and_other_words() -> None:
    one = put(claim("R2", quote="b = c / d"))
    later = diff_of(" x", " y", " a", "+  b  = c / d", start=40)
    moved = put(
        claim("R43", quote="b  = c / d", title="It may fail", severity=Severity.MINOR), later
    )
    assert fingerprint(one, DIFF) == fingerprint(moved, later)
    assert len(fingerprint(one, DIFF)) == 16
    assert int(fingerprint(one, DIFF), 16) >= 0


def test_a_removed_line_is_known_by_the_code_it_held() -> None:
    diff = diff_of("-gone = 1", "+come = 2", start=7)
    later = diff_of("-gone = 1", "+came = 3", start=9)
    left = Placed(CLAIM, Anchor(PATH, Side.LEFT, 7, 7), "", PATH)
    moved = Placed(CLAIM, Anchor(PATH, Side.LEFT, 9, 9), "", PATH)
    assert fingerprint(left, diff) == fingerprint(moved, later)
    assert fingerprint(at(7), diff) != fingerprint(at(9), later)


def test_a_fingerprint_does_not_depend_on_where_the_claim_ends() -> None:
    assert fingerprint(at(2, 2), DIFF) == fingerprint(at(2, 4), DIFF)


def test_a_line_without_a_word_is_told_by_the_next() -> None:
    assert fingerprint(at(3, 4), DIFF) == fingerprint(at(4, 4), DIFF)
    assert fingerprint(at(3, 3), DIFF) != fingerprint(at(4, 4), DIFF)


@pytest.mark.parametrize(
    "other",
    [
        at(5),
        at(2, category=Category.SECURITY),
        at(2, source="analyzer:ruff", rule="F821"),
        replace(at(2), anchor=Anchor("b.py", Side.RIGHT, 2, 2)),
    ],
)
def test_other_code_kind_or_path_is_another_finding(other: Placed) -> None:
    assert fingerprint(at(2), DIFF) != fingerprint(other, DIFF)


def test_categories_of_one_family_are_one_finding() -> None:
    assert fingerprint(at(2, category=Category.DATA), DIFF) == fingerprint(at(2), DIFF)


def test_the_number_of_a_masked_secret_does_not_count() -> None:
    one, two = diff_of("+k = '<TOKEN_1>'"), diff_of("+k = '<TOKEN_2>'")
    assert fingerprint(at(1), one) == fingerprint(at(1), two)


def test_a_finding_without_an_anchor_is_known_by_its_quote() -> None:
    lost = Placed(claim(quote="x  y"), None, "n", PATH)
    other = Placed(claim(quote="x y", first="R9"), None, "n", PATH)
    assert fingerprint(lost, DIFF) == fingerprint(other, DIFF)
    elsewhere = Placed(replace(lost.finding, path="z.py"), None, "n")
    assert fingerprint(elsewhere, DIFF) != fingerprint(Placed(lost.finding, None, "n"), DIFF)
    assert fingerprint(replace(lost, path="z.py"), DIFF) == fingerprint(elsewhere, DIFF)


def test_equal_findings_on_equal_code_are_told_apart_by_their_order() -> None:
    weighed = [Weighed(at(line), Rung.E1, Severity.MAJOR) for line in (2, 4)]
    first, second = identify(weighed, DIFF)
    assert first.fingerprint == fingerprint(at(2), DIFF)
    assert second.fingerprint != first.fingerprint


# Clusters.


def titles(*placed: Placed) -> list[list[str]]:
    return [[one.finding.title for one in found.members] for found in cluster(placed)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (at(2), at(2)),
        (at(2), at(2, title="Wrong result")),
        (at(2), at(3, title="Zero division")),
        (at(2, 4), at(4, title="Division by zero here", category=Category.DATA)),
        (
            at(2, title="`d` is undefined"),
            at(2, title="Undefined name `d`", source="analyzer:ruff", rule="F821"),
        ),
        (
            at(
                2,
                source="analyzer:secrets",
                rule="aws-access-key",
                category=Category.SECURITY,
                title="A secret is in the code",
            ),
            at(
                2,
                source="analyzer:detect-secrets",
                rule="AWS",
                category=Category.SECURITY,
                title="AWS secret",
            ),
        ),
        (
            at(2, source="analyzer:ruff", rule="E1"),
            at(2, source="analyzer:ruff", rule="E1"),
        ),
        (
            at(2, title="Import never used (F401)", category=Category.DOCS),
            at(2, title="x", source="analyzer:ruff", rule="F401"),
        ),
    ],
)
def test_the_same_claim_is_made_once(one: Placed, other: Placed) -> None:
    assert len(cluster([one, other])) == 1
    assert len(cluster([other, one])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (at(2), at(4)),
        (at(2), at(3, title="Wrong result")),
        (at(2), at(2, category=Category.SECURITY)),
        (at(2), at(2, title="Wrong result", category=Category.DATA)),
        (at(2), replace(at(2), anchor=Anchor(PATH, Side.LEFT, 2, 2))),
        (at(2), replace(at(2), anchor=Anchor("b.py", Side.RIGHT, 2, 2), path="b.py")),
        (at(2), at(2, title="Unused name", why="", source="analyzer:ruff", rule="F401")),
        (at(2, source="analyzer:ruff", rule="E1"), at(2, source="analyzer:ruff", rule="E2")),
        (at(2, source="analyzer:ruff", rule="E1"), at(3, source="analyzer:ruff", rule="E1")),
    ],
)
def test_different_claims_stay_apart(one: Placed, other: Placed) -> None:
    assert len(cluster([one, other])) == 2
    assert len(cluster([other, one])) == 2


def test_a_merged_claim_keeps_the_highest_severity_and_what_only_one_says() -> None:
    (found,) = cluster(
        [
            at(2, title="Division by zero", severity=Severity.MINOR, why="First."),
            at(2, title="Crash on empty input", severity=Severity.CRITICAL, why="Second."),
        ]
    )
    finding = found.placed.finding
    assert finding.severity is Severity.CRITICAL
    assert finding.title == "Crash on empty input"
    assert finding.why == "Second.\n\nDivision by zero\n\nFirst."


def test_a_merged_claim_takes_the_scenario_that_is_there_and_does_not_grow_for_ever() -> None:
    (found,) = cluster([at(2, why="x" * 2_000), at(2, scenario="mean([])"), at(2, scenario="f()")])
    assert found.placed.finding.scenario == "mean([])"
    assert found.placed.finding.why == "x" * 2_000
    (found,) = cluster([at(2, scenario="f()"), at(2, scenario="g()")])
    assert found.placed.finding.scenario == "f()"


def test_what_is_said_twice_is_written_once() -> None:
    (found,) = cluster([at(2, why="Once."), at(2, why="Once."), at(2, title=" ", why="")])
    assert found.placed.finding.why == "Once."


def test_a_tools_words_come_before_a_models() -> None:
    tool = at(
        2,
        source="analyzer:secrets",
        rule="aws",
        category=Category.SECURITY,
        title="A secret is in the code",
        severity=Severity.CRITICAL,
        why="Revoke it.",
    )
    calm = at(
        2,
        category=Category.SECURITY,
        title="A harmless example, not a secret",
        severity=Severity.INFO,
        why="Ignore it.",
    )
    (found,) = cluster([calm, tool])
    assert found.placed.finding.title == "A secret is in the code"
    assert found.placed.finding.why.startswith("Revoke it.")
    assert found.placed.finding.severity is Severity.CRITICAL
    assert found.placed.finding.source == "analyzer:secrets"
    assert found.agreeing == (calm,)


def test_two_tools_that_agree_keep_the_words_of_the_louder() -> None:
    loud = at(2, source="analyzer:a", title="A secret", severity=Severity.CRITICAL, why="Revoke.")
    quiet = at(2, source="analyzer:b", title="Secret found", severity=Severity.MINOR, why="Look.")
    (found,) = cluster([quiet, loud])
    assert found.placed == loud
    assert found.agreeing == (quiet,)


def test_findings_without_an_anchor_merge_when_they_say_and_quote_the_same() -> None:
    lost = Placed(claim(quote="x"), None, "n", PATH)
    assert len(cluster([lost, lost])) == 1
    assert len(cluster([lost, Placed(claim(quote="y"), None, "n", PATH)])) == 2
    other = Placed(claim(quote="x", title="Wrong result"), None, "n", PATH)
    assert len(cluster([lost, other])) == 2


def test_fifty_tellings_are_one_claim_and_many_claims_take_no_time() -> None:
    assert len(cluster([at(2)] * 50)) == 1
    many = [at(line, source="analyzer:ruff", rule=f"E{line % 7}") for line in range(1, 5_000)]
    assert len(cluster(many)) == len(many)


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(Category)), max_size=12))
def test_no_telling_is_lost(tellings: list[tuple[int, Category]]) -> None:
    placed = [at(line, category=category) for line, category in tellings]
    found = cluster(placed)
    assert sum(len(one.members) for one in found) == len(placed)


# What was said.


def weighed_at(line: int, name: str = "f" * 16, **more: Any) -> Weighed:  # noqa: ANN401 - as above
    placed = at(line, **more)
    return Weighed(placed, Rung.E1, placed.finding.severity, (), name)


def said(name: str, line: int | None = None, *, outdated: bool = False) -> Said:
    return Said(name, 1, PATH, line, outdated=outdated)


def test_what_has_the_fingerprint_of_a_comment_is_not_said_again() -> None:
    one, two = weighed_at(2, "a" * 16), weighed_at(9, "b" * 16)
    assert drop_already_said([one, two], [said("a" * 16)], DIFF) == ((two,), (one,))
    outdated = [said("a" * 16, outdated=True)]
    assert drop_already_said([one, two], outdated, DIFF) == ((two,), (one,))
    assert drop_already_said([one], [], DIFF) == ((one,), ())


def moved_to(path: str, *lines: str, old_path: str | None = None) -> tuple[Diff, Weighed]:
    """Return a file under another path and what is found in its second line."""
    kind = ChangeKind.RENAMED if old_path else ChangeKind.ADDED
    old = sum(line[0] != "+" for line in lines)
    patch = "\n".join([f"@@ -{min(1, old)},{old} +1,{len(lines)} @@", *lines, ""])
    diff = parse_diff([RawFile(path, kind, patch, old_path=old_path)])
    placed = replace(at(2), anchor=Anchor(path, Side.RIGHT, 2, 2), path=path)
    return diff, identify([Weighed(placed, Rung.E1, Severity.MAJOR)], diff)[0]


def test_a_renamed_file_takes_its_findings_along() -> None:
    before, one = moved_to("old.py", "+a", "+b = c / d")
    after, again = moved_to("new.py", "+a", "+b = c / d")
    comment = Said(one.fingerprint, 1, "old.py", None, outdated=True)
    assert again.fingerprint != one.fingerprint
    assert drop_already_said([again], [comment], after) == ((), (again,))
    assert name_all([again], [comment], after) == (frozenset({again.fingerprint, one.fingerprint}),)
    both = replace(after, files=(*before.files, *after.files))
    assert drop_already_said([again], [comment], both) == ((again,), ()), "it is a copy"


def test_what_was_resolved_follows_only_a_renaming_that_the_diff_tells_of() -> None:
    _, one = moved_to("old.py", "+a", "+b = c / d")
    closed = Said(one.fingerprint, 1, "old.py", None, outdated=True, resolved=True)
    alike, again = moved_to("new.py", "+a", "+b = c / d")
    assert drop_already_said([again], [closed], alike) == ((again,), ())
    renamed, again = moved_to("new.py", " a", "+b = c / d", old_path="old.py")
    assert drop_already_said([again], [closed], renamed) == ((), (again,))


def test_a_late_thought_on_a_line_that_has_a_comment_is_not_said() -> None:
    late = weighed_at(2)
    assert drop_already_said([late], [said("0" * 16, 2)], DIFF) == ((), (late,))
    assert drop_already_said([late], [said("0" * 16, 3)], DIFF) == ((late,), ())
    assert drop_already_said([late], [said("0" * 16, 2, outdated=True)], DIFF) == ((late,), ())
    left = replace(said("0" * 16, 2), side=Side.LEFT)
    assert drop_already_said([late], [left], DIFF) == ((late,), ())


def test_a_critical_finding_and_a_tools_are_said_beside_another_comment() -> None:
    for one in (
        weighed_at(2, severity=Severity.CRITICAL),
        weighed_at(2, source="analyzer:ruff", rule="E1"),
    ):
        assert drop_already_said([one], [said("0" * 16, 2)], DIFF) == ((one,), ())


# Markers.

KEY = b"k" * 32
SHA = "a" * 40
MARKER = make_marker(KEY, "finding", "0123456789abcdef", 7, 3, SHA)


def test_a_marker_is_read_back_where_it_was_made() -> None:
    body = f"words\n\n{MARKER}\n<!-- postil: not this -->"
    assert read_markers(body, KEY, 7, 3) == (Marker("finding", "0123456789abcdef", SHA),)
    key = f"review:7:3:{SHA}:auto"
    assert read_markers(make_marker(KEY, "review", key, 7, 3, SHA), KEY, 7, 3) == (
        Marker("review", key, SHA),
    )


def test_every_marker_of_a_body_is_read_up_to_a_cap() -> None:
    names = [f"{number:016x}" for number in range(600)]
    body = "\n".join(make_marker(KEY, "finding", name, 7, 3, SHA) for name in names)
    assert [marker.fingerprint for marker in read_markers(body, KEY, 7, 3)] == names[:500]


@pytest.mark.parametrize(
    ("body", "repository", "number"),
    [
        (MARKER, 7, 4),
        (MARKER, 8, 3),
        (MARKER[:-6], 7, 3),
        (MARKER.replace("0123456789abcdef", "0123456789abcdee"), 7, 3),
        (MARKER.replace("finding", "review"), 7, 3),
        (MARKER.replace(SHA, "b" * 40), 7, 3),
        (MARKER.replace("postil:1", "postil:2"), 7, 3),
        (MARKER.replace(" -->", "\u200b -->"), 7, 3),
        ("<!-- postil:1 finding bm90IGJhc2U2NA== -->", 7, 3),
        ("<!-- postil:1 finding " * 50_000, 7, 3),
        ("<!-- postil:1 finding " + "a" * 1_000_000, 7, 3),
        ("", 7, 3),
    ],
)
def test_a_marker_that_is_not_ours_for_this_pull_is_text(
    body: str, repository: int, number: int
) -> None:
    assert read_markers(body, KEY, repository, number) == ()


def test_a_marker_needs_our_key() -> None:
    assert read_markers(MARKER, b"other", 7, 3) == ()


@pytest.mark.parametrize("bad", ["", "a b", "a-->", "a--b", "x" * 201, "é", "a\n"])
def test_a_marker_carries_nothing_that_could_end_it(bad: str) -> None:
    with pytest.raises(ValueError, match="a marker can't carry"):
        make_marker(KEY, "finding", bad, 7, 3, SHA)


@given(st.text(max_size=200))
def test_any_text_is_harmless(text: str) -> None:
    assert read_markers(text, KEY, 7, 3) == ()
    assert read_markers(text + MARKER + text, KEY, 7, 3)
