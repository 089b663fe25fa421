"""What did not change is not asked again, and stands in the review as if it had been."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.findings import MAX_FINDINGS, Severity
from app.core.ledger import ALREADY_REVIEWED, Conclusion, UnitState
from app.core.policy import Effort, Policy
from app.core.prompts import Answer, Fault, FaultKind, Prompt, Reply, Templates
from app.core.review import Result, receipt
from app.pipeline import Change, Gate, Wishes
from app.ports import ModelInfo
from sandbox.models import Planted
from tests.fakes import BASE, HEAD, INFO, REF, FakeAnalyzers, FakeModel, FakeTraces, Tree, say
from tests.test_pipeline import Town, analyzed, large

ROOT = Path(__file__).resolve().parents[1]
CALM = "".join(f"calm_{number} = {number}\n" for number in range(40))
SHAKY = {r"/ len\(": "Division by zero on an empty list", r"= None\[": "Nothing is no list"}
MEAN = "def mean(xs):\n    return sum(xs) / len(xs)\n"
FIRST = "first = None[0]\n"
LAST = "last = None[-1]\n"
BEFORE: Tree = {"stats.py": CALM.encode(), "other.py": b"other = 1\n"}
AFTER: Tree = {"stats.py": f"{FIRST}{CALM}{LAST}".encode(), "other.py": f"{MEAN}".encode()}


def town(head: Tree, traces: FakeTraces | None = None, base: Tree | None = None) -> Town:
    traces = traces or FakeTraces()
    return Town(base or BEFORE, head, FakeModel(say(Planted(SHAKY))), traces=traces)


def spots(result: Result) -> list[tuple[str, int, str]]:
    return sorted(
        (one.placed.anchor.path, one.placed.anchor.line, one.placed.finding.title)
        for one in result.findings
        if one.placed.anchor is not None
    )


def shown(one: Town) -> str:
    """Return all that was asked about, but for looks that doubt."""
    reviews = [prompt for prompt in one.asked if prompt.task == "review"]
    return "".join(prompt.messages[1].content for prompt in reviews)


def test_the_same_change_asks_nothing_and_comes_to_the_same() -> None:
    first = town(AFTER)
    once = first.examine()
    assert len(once.findings) == 3
    second = town(AFTER, first.traces)
    again = second.examine()
    assert second.asked == []
    assert again.findings == once.findings
    assert (again.verdict, again.conclusion) == (once.verdict, once.conclusion)
    assert {row.reason for row in again.ledger.rows} == {ALREADY_REVIEWED}
    assert again.reused == 3
    assert "3 parts reviewed earlier and unchanged" in receipt(again)


def test_a_push_is_asked_about_alone_and_the_rest_stands_on_its_new_lines() -> None:
    first = town(AFTER)
    first.examine()
    head = {**AFTER, "stats.py": f"new = 0\n{CALM}{LAST}".encode()}
    moved = town(head, first.traces)
    result = moved.examine()
    assert "new = 0" in shown(moved)
    assert "last = None" not in shown(moved)
    assert "mean" not in shown(moved)
    assert spots(result) == [
        ("other.py", 2, "Division by zero on an empty list"),
        ("stats.py", 42, "Nothing is no list"),
    ]


def test_what_was_found_earlier_still_reaches_the_gate() -> None:
    first = town(AFTER)
    first.examine()
    head = {**AFTER, "README.md": b"# Shop\n"}
    result = town(head, first.traces).examine(Wishes(gate=Gate(Severity.MAJOR)))
    assert result.conclusion is Conclusion.FAILURE
    assert len(result.findings) == 3


def rules(text: str) -> Callable[[Town], Wishes]:
    def make(one: Town) -> Wishes:
        for sha in (BASE, HEAD):
            one.code.trees[sha] = {**one.code.trees[sha], ".postil.toml": text.encode()}
        return Wishes()

    return make


def model(info: ModelInfo) -> Callable[[Town], Wishes]:
    def make(one: Town) -> Wishes:
        one.model = FakeModel(say(Planted(SHAKY)), info)
        return Wishes()

    return make


def guidelines(one: Town) -> Wishes:
    for sha in (BASE, HEAD):
        one.code.trees[sha] = {**one.code.trees[sha], "AGENTS.md": b"Never divide.\n"}
    return Wishes()


def hint(one: Town) -> Wishes:
    one.analyzers = FakeAnalyzers((analyzed(2, path="other.py"),))
    return Wishes()


def context(one: Town) -> Wishes:
    for sha in (BASE, HEAD):
        text = one.code.trees[sha]["stats.py"].decode().replace("calm_2 ", "calm_two ")
        one.code.trees[sha] = {**one.code.trees[sha], "stats.py": text.encode()}
    return Wishes()


ASKED = ("other.py", "stats.py")


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (rules('[review]\ninstructions = "Mind the empty list."\n'), ASKED),
        (rules('[[review.path]]\nmatch = "other.py"\ninstructions = "New."\n'), ("other.py",)),
        (model(replace(INFO, name="another")), ASKED),
        (model(replace(INFO, provider="another")), ASKED),
        (guidelines, ASKED),
        (hint, ("other.py",)),
        (context, ("stats.py",)),
        (lambda _: Wishes(effort=Effort.QUICK), ASKED),
        (lambda _: Wishes(focus="empty lists"), ASKED),
        (lambda _: Wishes(full=True), ASKED),
        (rules('[gate]\nfail_on = "major"\n'), ()),
        (lambda _: Wishes(gate=Gate(Severity.MAJOR)), ()),
    ],
    ids=(
        *("instructions", "instructions for a path", "model", "provider", "guidelines", "hint"),
        *("context", "effort", "focus", "full", "gate in the policy", "gate"),
    ),
)
def test_all_that_an_answer_rests_on_is_asked_about_when_it_changes(
    make: Callable[[Town], Wishes], asked: tuple[str, ...]
) -> None:
    first = town(AFTER)
    first.examine()
    second = town(AFTER, first.traces)
    result = second.examine(make(second))
    assert tuple(path for path in ASKED if f"## file: {path}" in shown(second)) == asked
    assert len({one.fingerprint for one in result.findings if one.placed.finding.by_model}) >= 2


def test_other_words_of_ours_are_asked_with() -> None:
    first = town(AFTER)
    first.examine()
    texts = {path.name: path.read_text() for path in (ROOT / "prompts").glob("*.j2")}
    texts["rules.j2"] += "\nLook twice.\n"
    second = town(AFTER, first.traces)
    change = Change(second.code.diff(BASE, HEAD), BASE, HEAD, second.code)
    reviewer = replace(second.reviewer, templates=Templates(texts))
    reviewer.examine(change, Policy(), Wishes(), "run")
    assert "review" in second.tasks


def test_a_full_review_takes_nothing_and_keeps_what_it_finds() -> None:
    first = town(AFTER)
    first.examine()
    quiet = Town(BEFORE, AFTER, FakeModel(say(Planted())), traces=first.traces)
    assert quiet.examine(Wishes(full=True)).findings == ()
    third = town(AFTER, first.traces)
    assert third.examine().findings == ()
    assert third.asked == []


def test_what_was_said_of_another_pull_request_is_not_taken() -> None:
    traces = FakeTraces()
    for number, asked in ((7, True), (8, True), (7, False)):
        one = town(AFTER, traces)
        pull = replace(one.pulls.pull, ref=replace(REF, number=number))
        change = Change(one.code.diff(BASE, HEAD), BASE, HEAD, one.code, pull)
        one.reviewer.examine(change, Policy(), Wishes(), "run")
        assert (one.asked != []) == asked


def test_a_brief_is_of_the_whole_change_whatever_is_asked_about() -> None:
    base, head = large("one", "two", "three")
    first = Town(base, {**base, "one.py": head["one.py"]})
    first.examine()
    second = Town(base, head, traces=first.traces)
    second.examine()
    assert second.tasks[:3] == ["brief", "review", "review"]
    for name in ("one.py", "two.py", "three.py"):
        assert name in second.asked[0].messages[1].content


def test_a_plan_neither_takes_nor_keeps() -> None:
    first = town(AFTER)
    first.examine(Wishes(plan_only=True))
    assert first.traces.answers == {}


def test_what_was_not_reviewed_is_asked_again() -> None:
    fault = Fault(FaultKind.UNAVAILABLE, "down")
    first = Town(BEFORE, AFTER, FakeModel(lambda _: fault))
    assert first.examine().ledger.reviewed_lines == 0
    second = town(AFTER, first.traces)
    assert len(second.examine().findings) == 3


def test_an_answer_longer_than_the_cap_is_not_all_there_is_to_say() -> None:
    lines = "".join(f"x = None[{number}]\n" for number in range(MAX_FINDINGS + 1))
    first = town({"many.py": lines.encode()}, base={"many.py": b"\n"})
    first.examine(Wishes(effort=Effort.QUICK))
    assert first.traces.answers == {}


def test_what_no_longer_reads_is_asked_again_and_kept_anew() -> None:
    first = town(AFTER)
    once = first.examine()
    whole = dict(first.traces.answers)
    for text in ("", "nonsense", "{}", '[{"path": 1}]', "[" * 100_000):
        second = town(AFTER, FakeTraces(dict.fromkeys(whole, text)))
        assert second.examine().findings == once.findings
        assert second.traces.answers == whole


def test_a_line_that_is_not_there_is_not_taken() -> None:
    first = town(AFTER)
    first.examine()
    for key, text in first.traces.answers.items():
        first.traces.answers[key] = text.replace('"first":', '"first":9')
    second = town(AFTER, first.traces)
    second.examine()
    assert len(shown(second)) > 0


def judge(prompt: Prompt) -> Reply:
    """Find what was planted, and refute the one in the other file."""
    if prompt.task == "refute":
        falls = "The claim, at other.py" in prompt.messages[-1].content
        answers = {"refute": {"verdict": "falls" if falls else "stands", "reason": "read"}}
        return say(Planted(SHAKY, answers))(prompt)
    return say(Planted(SHAKY))(prompt)


def test_a_doubt_is_remembered_while_its_file_is_as_it_was() -> None:
    first = Town(BEFORE, AFTER, FakeModel(judge))
    once = first.examine()
    assert (len(once.findings), len(once.dropped)) == (2, 1)
    second = Town(BEFORE, AFTER, FakeModel(judge), traces=first.traces)
    again = second.examine()
    assert (second.asked, again.findings, again.dropped) == ([], once.findings, once.dropped)
    head = {**AFTER, "other.py": f"{MEAN}{CALM}more = 1\n".encode()}
    third = Town(BEFORE, head, FakeModel(judge), traces=first.traces)
    result = third.examine()
    refutes = [prompt.messages[-1].content for prompt in third.asked if prompt.task == "refute"]
    assert len(refutes) == 1
    assert "/ len(xs)" in refutes[0]
    assert len(result.dropped) == 1


def test_a_doubt_about_an_earlier_finding_is_shown_its_code() -> None:
    first = town(AFTER)
    first.examine(Wishes())
    kept = {key: text for key, text in first.traces.answers.items() if text.startswith("[")}
    second = town(AFTER, FakeTraces(kept))
    second.examine()
    assert second.tasks == ["refute"] * 3
    codes = [prompt.messages[-1].content.split("## file: ", 1)[1] for prompt in second.asked]
    assert sorted(code.split("\n")[0] for code in codes) == ["other.py", "stats.py", "stats.py"]
    assert [sum(line in code for line in (MEAN[18:], FIRST, LAST)) for code in codes] == [1, 1, 1]


def test_a_look_that_failed_is_taken_again() -> None:
    def fails(prompt: Prompt) -> Reply:
        reply = say(Planted(SHAKY))(prompt)
        return Answer("{}", reply.usage) if prompt.task == "refute" else reply

    first = Town(BEFORE, AFTER, FakeModel(fails))
    first.examine()
    second = town(AFTER, first.traces)
    second.examine()
    assert second.tasks == ["refute"] * 3


LINES = st.sampled_from(["calm = 1", "a / len(b)", "c = None[1]", "def f(x):", "    return x", ""])
TEXTS = st.lists(LINES, max_size=25).map("\n".join)
FILES = st.fixed_dictionaries({"a.py": TEXTS, "b.py": TEXTS})


@settings(max_examples=40)
@given(base=FILES, heads=st.lists(FILES, min_size=2, max_size=4))
def test_after_any_pushes_the_review_is_the_one_that_asks_about_everything(
    base: dict[str, str], heads: list[dict[str, str]]
) -> None:
    traces = FakeTraces()
    start = {path: text.encode() for path, text in base.items()}
    for head in heads:
        tree = {path: text.encode() for path, text in head.items()}
        step = town(tree, traces, start).examine()
        whole = town(tree, FakeTraces(), start).examine()
        assert spots(step) == spots(whole)
        assert sorted(one.fingerprint for one in step.findings) == sorted(
            one.fingerprint for one in whole.findings
        )
        assert [one.severity for one in step.findings] == [one.severity for one in whole.findings]
        assert step.ledger.totals()[UnitState.REVIEWED] == whole.ledger.totals()[UnitState.REVIEWED]


def test_what_is_kept_names_no_line_of_the_file() -> None:
    first = town(AFTER)
    first.examine()
    kept = [json.loads(text) for text in first.traces.answers.values()]
    found = [one for some in kept if isinstance(some, list) for one in some]
    assert {type(one["first"]) for one in found} == {int}
