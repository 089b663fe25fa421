from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.anchors import NOT_FOUND, NOT_IN_DIFF, Anchor, Placed
from app.core.diff import Side
from app.core.evidence import (
    CAPS,
    NO_QUOTE,
    WITHSTOOD,
    Cluster,
    Dropped,
    Rung,
    Weighed,
    Witnesses,
    apply_refutation,
    weigh,
)
from app.core.findings import MODEL, Category, Finding, Severity, Standing

PATH = "src/stats.py"
HEAD = "import os\n\n\ndef mean(xs):\n    return sum(xs) / len(xs)\n"
ANCHOR = Anchor(PATH, Side.RIGHT, 5, 5)
QUOTE = "    return sum(xs) / len(xs)"
WITNESSES = Witnesses(head={PATH: HEAD}, base={PATH: "def old_mean(xs): ...\n"})


def claim(
    severity: Severity = Severity.CRITICAL,
    title: str = "Division by zero",
    why: str = "",
    source: str = "model",
    rule: str | None = None,
) -> Finding:
    return Finding(
        path=PATH,
        first="R5",
        last="R5",
        quote=QUOTE,
        severity=severity,
        category=Category.BUG,
        title=title,
        why=why,
        source=source,
        rule=rule,
    )


def placed(finding: Finding, anchor: Anchor | None = ANCHOR, note: str = "") -> Placed:
    return Placed(finding, anchor, note, PATH)


def weigh_one(*tellings: Placed, witnesses: Witnesses = WITNESSES) -> Weighed | Dropped:
    weighed, dropped = weigh([Cluster(tellings[0], tellings[1:])], witnesses)
    assert len(weighed) + len(dropped) == 1
    assert all(isinstance(one, Weighed) for one in weighed)
    return weighed[0] if weighed else dropped[0]


def rung_of(finding: Finding, witnesses: Witnesses = WITNESSES) -> tuple[Rung, Severity]:
    one = weigh_one(placed(finding), witnesses=witnesses)
    assert isinstance(one, Weighed), one
    return one.rung, one.severity


# E0: the quote.


@pytest.mark.parametrize(
    ("finding", "path", "note", "expected"),
    [
        (claim(), PATH, NOT_FOUND, (Rung.E0, Severity.MINOR)),
        (replace(claim(), quote="old_mean(xs)"), PATH, NOT_FOUND, (Rung.E0, Severity.MINOR)),
        (replace(claim(), quote=" "), PATH, NOT_FOUND, (Rung.E0, Severity.INFO)),
        (claim(), "", NOT_IN_DIFF, (Rung.E0, Severity.INFO)),
        (claim(), "other.py", NOT_FOUND, (Rung.E0, Severity.INFO)),
    ],
)
def test_a_finding_without_an_anchor_is_minor_at_most(
    finding: Finding, path: str, note: str, expected: tuple[Rung, Severity]
) -> None:
    one = weigh_one(Placed(finding, None, note, path))
    assert isinstance(one, Weighed)
    assert (one.rung, one.severity) == expected
    assert note in one.notes


def test_a_finding_whose_quote_is_nowhere_in_the_file_is_dropped() -> None:
    lost = Placed(replace(claim(), quote="nobody wrote this"), None, NOT_FOUND, PATH)
    assert weigh_one(lost) == Dropped(lost, NO_QUOTE)


# E1: the names.


@pytest.mark.parametrize(
    "words",
    [
        "It divides by zero.",
        "`mean` divides by `len(xs)`, see `os.path.join` and `stats.py`.",
        "`mean([])` raises `ZeroDivisionError`; `old_mean()` did not.",
        "`if xs is None: return 'never_written'` is missing; `null`, `NULL` and `undefined` too.",
        "mean(xs) and `src/other.py:12` and `<PASSWORD_1>`",
        "`asyncio.gather_everything()`",
        "`zq` raises `SomeOddError`, not `BadThingException`, over `HTTP`",
    ],
)
def test_a_claim_that_names_only_what_exists_may_be_major(words: str) -> None:
    assert rung_of(claim(why=words)) == (Rung.E1, Severity.MAJOR)
    assert rung_of(claim(Severity.MINOR, why=words)) == (Rung.E1, Severity.MINOR)


@pytest.mark.parametrize(
    "words",
    [
        "The caller `compute_totals` passes an empty list.",
        "compute_totals() passes an empty list.",
        "`self.frobnicate(xs)` fails.",
        "`xs.frobnicate`",
        "`stats::frobnicate`",
    ],
)
def test_a_claim_that_names_what_nobody_wrote_is_minor(words: str) -> None:
    one = weigh_one(placed(claim(why=words)))
    assert isinstance(one, Weighed)
    assert (one.rung, one.severity) == (Rung.E0, Severity.MINOR)
    assert "found nowhere in the code" in one.notes[0]
    assert one.notes[-1] == "claimed as critical"


def test_a_scenario_is_held_to_what_it_calls() -> None:
    assert rung_of(replace(claim(), scenario="`some_value = 3` then mean([])"))[0] is Rung.E1
    assert rung_of(replace(claim(), scenario="compute_totals([])"))[0] is Rung.E0


def test_a_name_elsewhere_in_the_commit_exists_and_is_looked_up_once() -> None:
    asked: list[str] = []

    def has_name(name: str) -> bool:
        asked.append(name)
        return name == "compute_totals"

    witnesses = replace(WITNESSES, has_name=has_name)
    clusters = [
        Cluster(placed(claim(why="`compute_totals` and `mean`"))),
        Cluster(placed(claim(why="`compute_totals` and `frobnicate`"))),
    ]
    weighed, _ = weigh(clusters, witnesses)
    assert [one.rung for one in weighed] == [Rung.E1, Rung.E0]
    assert asked == ["compute_totals", "frobnicate"]


def test_names_are_not_held_against_a_claim_when_nobody_can_look() -> None:
    assert rung_of(claim(why="`compute_totals`"), Witnesses())[0] is Rung.E1


# E2: the oracles.


def test_an_analyzers_finding_is_as_loud_as_it_claims() -> None:
    tool = claim(source="analyzer:ruff", rule="F821")
    one = weigh_one(placed(tool))
    assert one == Weighed(placed(tool), Rung.E2, Severity.CRITICAL, ("found by ruff F821",))


def test_an_analyzer_that_says_the_same_raises_the_rung() -> None:
    tool = placed(claim(Severity.MINOR, source="analyzer:ruff", rule="F821"))
    one = weigh_one(placed(claim(why="`frobnicate`")), tool)
    assert isinstance(one, Weighed)
    assert (one.rung, one.severity) == (Rung.E2, Severity.CRITICAL)
    assert one.notes == ("found by ruff F821", "the model says the same")
    bare = placed(claim(source="analyzer:typos"))
    both = weigh_one(bare, tool)
    assert isinstance(both, Weighed)
    assert both.notes == ("found by typos, ruff F821",)


def test_another_telling_by_the_model_proves_nothing() -> None:
    one = weigh_one(placed(claim()), placed(claim()))
    assert isinstance(one, Weighed)
    assert one.rung is Rung.E1


def test_what_an_oracle_contradicts_is_dropped_with_the_reason() -> None:
    wrong = placed(claim(title="Syntax error in `mean`"))
    assert weigh_one(wrong) == Dropped(wrong, f"{PATH} parses without an error")


def test_what_an_oracle_confirms_is_as_loud_as_it_claims() -> None:
    right = claim(title="`frobnicate` is not defined")
    witnesses = Witnesses(head={PATH: HEAD.replace("sum(xs)", "frobnicate(xs)")})
    assert rung_of(right, witnesses) == (Rung.E2, Severity.CRITICAL)


def test_a_claim_about_a_version_that_nothing_settles_stays_minor() -> None:
    about = claim(title="Wrong version", why="`mean` was removed in `numpy` 2.0")
    assert rung_of(about) == (Rung.E0, Severity.MINOR)
    locked = replace(WITNESSES, manifests={"requirements.txt": "numpy==2.1\n"})
    assert rung_of(about, locked) == (Rung.E2, Severity.CRITICAL)
    old = replace(WITNESSES, manifests={"requirements.txt": "numpy==1.26\n"})
    assert isinstance(weigh_one(placed(about), witnesses=old), Dropped)


def test_a_claim_about_a_removed_line_is_judged_by_the_old_file() -> None:
    old = replace(claim(title="Syntax error"), first="L1")
    one = weigh_one(
        Placed(old, Anchor(PATH, Side.LEFT, 1, 1), "", PATH),
        witnesses=Witnesses(head={PATH: "def f(:"}, base={PATH: "x = 1\n"}),
    )
    assert isinstance(one, Dropped)


# Suggestions.


def test_a_sound_suggestion_stays_and_an_unsound_one_is_taken_off_with_the_reason() -> None:
    good = replace(claim(), suggestion="    return sum(xs) / len(xs) if xs else 0")
    one = weigh_one(placed(good))
    assert isinstance(one, Weighed)
    assert one.placed.finding.suggestion == good.suggestion
    bad = weigh_one(placed(replace(good, suggestion="    return (")))
    assert isinstance(bad, Weighed)
    assert bad.placed.finding == replace(good, suggestion=None)
    assert bad.notes[-1] == "its suggestion is left out: the file would not parse with it"


# The refuting look.


def weighed_at(rung: Rung, severity: Severity, claimed: Severity) -> Weighed:
    return Weighed(placed(claim(claimed)), rung, severity)


def test_a_critical_claim_that_withstands_a_refuting_look_is_critical() -> None:
    one = weigh_one(placed(claim()))
    assert isinstance(one, Weighed)
    assert one.severity is Severity.MAJOR
    after = apply_refutation(one, Standing.STANDS, "it does fail")
    assert isinstance(after, Weighed)
    assert (after.rung, after.severity) == (Rung.E1, Severity.CRITICAL)
    assert after.notes == ("everything it names is in the code", "withstood a look to refute it")


def test_what_falls_is_dropped_and_what_is_unsure_is_minor() -> None:
    one = weighed_at(Rung.E1, Severity.MAJOR, Severity.MAJOR)
    assert apply_refutation(one, Standing.FALLS, "xs is never empty") == Dropped(
        one.placed, "refuted: xs is never empty"
    )
    after = apply_refutation(one, Standing.UNSURE, "no callers seen")
    assert isinstance(after, Weighed)
    assert after.severity is Severity.MINOR


def test_what_an_oracle_proved_is_not_talked_away() -> None:
    one = weighed_at(Rung.E2, Severity.CRITICAL, Severity.CRITICAL)
    for verdict in Standing:
        assert apply_refutation(one, verdict, "trust me") == one


def test_names_that_nobody_wrote_stay_minor_whatever_the_look_says() -> None:
    one = weighed_at(Rung.E0, Severity.MINOR, Severity.CRITICAL)
    stands = replace(one, notes=(WITHSTOOD,))
    assert apply_refutation(one, Standing.STANDS, "yes") == stands


@given(
    st.sampled_from(Severity),
    st.sampled_from(Standing),
    st.text("`abcmean ()._0", max_size=30),
    st.sampled_from([MODEL, "analyzer:x"]),
)
def test_nothing_makes_a_finding_louder_than_it_claims_to_be(
    claimed: Severity, verdict: Standing, words: str, source: str
) -> None:
    finding = claim(claimed, why=words, source=source)
    one = weigh_one(placed(finding))
    assert isinstance(one, Weighed)
    assert one.severity.rank <= min(claimed.rank, CAPS[one.rung].rank)
    after = apply_refutation(one, verdict, "because")
    if isinstance(after, Weighed):
        assert after.severity.rank <= claimed.rank
        assert after.rung is one.rung
