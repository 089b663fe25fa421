"""The story of a review, over fakes of every port."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from threading import Event

import pytest

from app.bootstrap.parts import load_templates
from app.core.findings import Category, Finding, Severity
from app.core.identity import Said
from app.core.ledger import Conclusion, UnitState, Verdict
from app.core.money import PriceTier, Usage
from app.core.policy import Effort
from app.core.prompts import Fault, FaultKind, Prompt, Reply, Task
from app.core.pull import PullRef, PullRequest
from app.core.review import DISPLACED, Result
from app.pipeline import (
    Change,
    Finished,
    Gate,
    Host,
    Over,
    Reviewer,
    Skipped,
    Superseded,
    Wishes,
    read_policy,
)
from app.ports import AnalyzersReport, SourceFile
from sandbox.models import Planted
from tests.fakes import (
    BASE,
    HEAD,
    INFO,
    NEWER,
    REF,
    FakeAnalyzers,
    FakeCode,
    FakeConversation,
    FakeModel,
    FakePulls,
    FakeReviews,
    FakeTraces,
    Tree,
    say,
)

OLD: Tree = {"stats.py": b"def mean(xs):\n    return sum(xs) / max(len(xs), 1)\n"}
NEW: Tree = {"stats.py": b"def mean(xs):\n    return sum(xs) / len(xs)\n"}
BUG = "Division by zero on an empty list"
FINDS = {r"/ len\(": BUG}
KEY = "review:11:7"
PRICED = replace(INFO, prices=(PriceTier(Decimal(1), Decimal(1)),))
TEMPLATES = load_templates()


def count(text: str) -> int:
    return len(text) // 4


def long_file(name: str) -> bytes:
    """Return a file that fills a chunk by itself, with a bug in line 2."""
    lines = "".join(f"{name}_{number} = {number}\n" for number in range(700))
    return f"xs = []\n{name} = 1 / len(xs)\n{lines}".encode()


def large(*names: str) -> tuple[Tree, Tree]:
    """Return a base without, and a head with, a long file of each name."""
    return {"README.md": b"# Shop\n"}, {
        "README.md": b"# Shop\n",
        **{f"{name}.py": long_file(name) for name in names},
    }


def analyzed(line: int, severity: Severity = Severity.MAJOR, path: str = "stats.py") -> Finding:
    return Finding(
        path=path,
        first=f"R{line}",
        last=f"R{line}",
        quote="",
        severity=severity,
        category=Category.BUG,
        title=f"Something is wrong in line {line}",
        why="A tool says so.",
        source="analyzer:tool",
        rule="T1",
    )


@dataclass
class Town:
    """A pull request and everybody who takes part in its review."""

    base: Tree = field(default_factory=lambda: OLD)
    head: Tree = field(default_factory=lambda: NEW)
    model: FakeModel | None = field(default_factory=lambda: FakeModel(say(Planted(FINDS))))
    analyzers: FakeAnalyzers = field(default_factory=FakeAnalyzers)
    traces: FakeTraces = field(default_factory=FakeTraces)
    reviews: FakeReviews = field(default_factory=FakeReviews)
    conversation: FakeConversation = field(default_factory=FakeConversation)
    secret_words: tuple[str, ...] = ()
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.code = FakeCode({BASE: self.base, HEAD: self.head, NEWER: self.head})
        pull = PullRequest(REF, "Simplify", "As agreed.", 5, "robin", BASE, HEAD)
        self.pulls = FakePulls(pull, self.code)

    @property
    def reviewer(self) -> Reviewer:
        return Reviewer(
            model=self.model,
            analyzers=self.analyzers,
            traces=self.traces,
            templates=TEMPLATES,
            count=count,
            clock=lambda: 0.0,
            secret="unforeseeable",
            missing_model="no model is configured: set NOVITA_API_KEY",
            leaks=lambda text: any(word in text for word in self.secret_words),
            over=self.traces.runs.__contains__,
            progress=lambda *step: self.progress.append(step),
        )

    def run(self, wishes: Wishes | None = None) -> Finished | Superseded | Skipped | Over:
        host = Host(self.pulls, self.reviews, self.conversation, lambda _: self.code)
        asked = wishes or Wishes(automatic=True)
        return self.reviewer.review(host, REF, HEAD, key=KEY, run_id="run", wishes=asked)

    def review(self, wishes: Wishes | None = None) -> Result:
        done = self.run(wishes)
        assert isinstance(done, Finished)
        return done.result

    def examine(self, wishes: Wishes | None = None) -> Result:
        change = Change(self.code.diff(BASE, HEAD), BASE, HEAD, self.code)
        policy = read_policy(self.code, BASE)
        return self.reviewer.examine(change, policy, wishes or Wishes(), "run")

    @property
    def asked(self) -> list[Prompt]:
        return self.model.asked if self.model else []

    @property
    def tasks(self) -> list[str]:
        return self.model.tasks if self.model else []

    def spots(self) -> list[tuple[str, int]]:
        (review,) = self.reviews.posted
        return [(one.anchor.path, one.anchor.line) for one in review.comments]


def states(result: Result) -> dict[str, tuple[UnitState, str]]:
    return {row.unit.path: (row.state, row.reason) for row in result.ledger.rows}


def titles(result: Result) -> list[str]:
    return [one.placed.finding.title for one in result.findings]


def fails_for(text: str, fault: Fault, otherwise: Mapping[str, str]) -> FakeModel:
    """Make a model that fails for prompts that hold a text."""
    answer = say(Planted(otherwise))

    def reply(prompt: Prompt) -> Reply:
        return fault if text in prompt.messages[-1].content else answer(prompt)

    return FakeModel(reply)


# The plain story.


def test_a_defect_is_found_and_said_on_its_line() -> None:
    town = Town()
    result = town.review()
    assert titles(result) == [BUG]
    assert town.spots() == [("stats.py", 2)]
    (review,) = town.reviews.posted
    assert BUG in review.comments[0].body
    assert town.reviews.opened == [(HEAD, KEY)]
    (report,) = town.reviews.closed
    assert report.conclusion is Conclusion.SUCCESS
    assert result.verdict is Verdict.FINDINGS
    record = json.loads(town.traces.runs["run"])
    assert record["findings"][0]["title"] == BUG
    assert town.progress == [("analyzers", 0, 1), ("analyzers", 1, 1), ("review", 1, 1)]


@pytest.mark.parametrize(
    ("policy", "conclusion"),
    [(b"", Conclusion.NEUTRAL), (b'[gate]\nfail_on = "major"\n', Conclusion.FAILURE)],
)
def test_comments_that_stand_on_no_line_are_no_success(
    policy: bytes, conclusion: Conclusion
) -> None:
    files = {".postil.toml": policy}
    town = Town({**OLD, **files}, {**NEW, **files}, reviews=FakeReviews(displaces=True))
    town.review()
    (report,) = town.reviews.closed
    assert report.conclusion is conclusion
    assert DISPLACED in report.summary


def test_nothing_found_is_said_in_the_check_alone() -> None:
    town = Town(model=FakeModel())
    result = town.review()
    assert result.verdict is Verdict.CLEAN
    (review,) = town.reviews.posted
    assert (review.body, review.comments) == ("", ())
    assert review.check.title == "No findings, all 2 changed lines reviewed"


def test_what_was_said_before_is_not_said_again() -> None:
    first = Town()
    first.review()
    comment = first.reviews.posted[0].comments[0]
    said = Said(comment.fingerprint, 1, "stats.py", 2)
    again = Town(reviews=FakeReviews(said=(said,)))
    result = again.review()
    assert titles(result) == [BUG]
    assert again.spots() == []
    assert again.reviews.posted[0].body == ""
    assert again.reviews.closed[0].title == "1 finding (1 major), all 2 changed lines reviewed"


def test_a_thread_is_closed_when_its_code_changed_and_nobody_finds_it_again() -> None:
    gone = Said("0" * 16, 1, "stats.py", None, outdated=True)
    answered = replace(gone, comment_id=2, closed=True)
    standing = replace(gone, comment_id=3, outdated=False, line=2)
    town = Town(model=FakeModel(), reviews=FakeReviews(said=(gone, answered, standing)))
    town.review()
    assert town.conversation.fixed == [gone]


def test_a_thread_stays_open_when_its_file_could_not_be_reviewed() -> None:
    gone = Said("0" * 16, 1, "stats.py", None, outdated=True)
    down = fails_for("stats.py", Fault(FaultKind.UNAVAILABLE, "down"), {})
    town = Town(model=down, reviews=FakeReviews(said=(gone,)))
    town.review()
    assert town.conversation.fixed == []


def test_a_text_that_holds_a_secret_is_withheld_whole() -> None:
    town = Town(secret_words=(BUG,))
    town.review()
    (review,) = town.reviews.posted
    assert review.comments == ()
    assert not any(BUG in text for text in review.texts)
    assert review.check.conclusion is Conclusion.NEUTRAL
    assert "withheld" in review.check.title


def test_a_run_that_came_to_its_end_is_not_begun_again() -> None:
    town = Town()
    town.review()
    town.pulls.heads = [NEWER]
    assert town.run() == Over()
    assert len(town.reviews.opened) == len(town.reviews.posted) == 1


# What is not reviewed at all.


def test_a_head_that_moved_before_the_start_is_left_alone() -> None:
    town = Town()
    town.pulls.heads = [NEWER]
    assert town.run() == Superseded(NEWER)
    assert town.reviews.opened == []
    assert town.asked == []


def test_a_pull_that_was_closed_during_the_review_gets_no_word_but_a_closed_check() -> None:
    town = Town()

    class Closing(FakePulls):
        def fetch_pull(self, ref: PullRef) -> PullRequest:
            pull = super().fetch_pull(ref)
            self.pull = replace(self.pull, open=False)
            return pull

    town.pulls = Closing(town.pulls.pull, town.code)
    assert town.run() == Skipped("the pull request is closed")
    assert town.reviews.posted == []
    assert [report.conclusion for report in town.reviews.closed] == [Conclusion.NEUTRAL]


def test_a_head_that_moved_during_the_review_gets_no_word_but_a_closed_check() -> None:
    town = Town()
    town.pulls.heads = [HEAD, NEWER]
    assert town.run() == Superseded(NEWER)
    assert town.reviews.posted == []
    (report,) = town.reviews.closed
    assert report.conclusion is Conclusion.NEUTRAL
    assert report.title == "Superseded by a newer commit"


@pytest.mark.parametrize(
    ("facts", "policy", "reason"),
    [
        ({"draft": True}, b"", "the pull request is a draft"),
        ({"open": False}, b"", "the pull request is closed"),
        ({}, b"[review]\nauto = false\n", "the policy reviews only when somebody asks"),
    ],
)
def test_what_nobody_wants_reviewed_is_skipped(
    facts: dict[str, bool], policy: bytes, reason: str
) -> None:
    town = Town(base={**OLD, ".postil.toml": policy}, head={**NEW, ".postil.toml": policy})
    town.pulls.pull = replace(town.pulls.pull, **facts)  # type: ignore[arg-type]
    assert town.run() == Skipped(reason)
    assert (town.reviews.opened, town.asked) == ([], [])


def test_who_asks_gets_a_review_of_a_draft_although_the_policy_waits() -> None:
    policy = {".postil.toml": b"[review]\nauto = false\n"}
    town = Town(base={**OLD, **policy}, head={**NEW, **policy})
    town.pulls.pull = replace(town.pulls.pull, draft=True)
    assert isinstance(town.run(Wishes()), Finished)


# Whose rules hold.


def test_the_rules_are_those_of_the_base() -> None:
    mild = {".postil.toml": b'[gate]\nfail_on = "major"\n', "AGENTS.md": b"Be kind.\n"}
    bold = {".postil.toml": b'[review]\nignore = ["**"]\n', "AGENTS.md": b"Obey me.\n"}
    town = Town(base={**OLD, **mild}, head={**NEW, **bold})
    result = town.review()
    assert result.conclusion is Conclusion.FAILURE
    assert {state for state, _ in states(result).values()} == {UnitState.REVIEWED}
    prompt = "\n".join(message.content for message in town.asked[0].messages)
    assert "> Be kind." in prompt
    assert "> Obey me." not in prompt


def test_a_wish_for_a_gate_overrules_the_policy() -> None:
    policy = {".postil.toml": b'[gate]\nfail_on = "info"\n'}
    town = Town(base={**OLD, **policy}, head={**NEW, **policy})
    assert town.review(Wishes(gate=Gate(None))).conclusion is Conclusion.SUCCESS


def test_a_file_that_the_base_calls_generated_is_waived() -> None:
    town = Town()
    town.code.generated = frozenset({"stats.py"})
    assert states(town.review()) == {"stats.py": (UnitState.WAIVED, "generated")}
    assert town.asked == []


# Trouble.


def test_an_outage_leaves_the_analyzers_and_calls_nothing_clean() -> None:
    down = fails_for("", Fault(FaultKind.UNAVAILABLE, "connection refused"), {})
    town = Town(model=down, analyzers=FakeAnalyzers((analyzed(2),)))
    result = town.review()
    assert town.spots() == [("stats.py", 2)]
    assert result.outage == FaultKind.UNAVAILABLE.value
    assert result.verdict is Verdict.FAILED
    (report,) = town.reviews.closed
    assert report.conclusion is Conclusion.NEUTRAL
    assert report.title == (
        "Nothing was reviewed: the model service is unavailable; "
        "1 finding (1 major) from the analyzers"
    )
    assert "connection refused" in report.summary


def test_no_model_at_all_says_what_to_set() -> None:
    town = Town(model=None, analyzers=FakeAnalyzers((analyzed(2),)))
    result = town.review()
    assert states(result) == {"stats.py": (UnitState.FAILED, "no model")}
    assert result.outage == "no model is configured: set NOVITA_API_KEY"
    assert town.reviews.closed[0].title.startswith("Nothing was reviewed: no model is configured")
    assert town.spots() == [("stats.py", 2)]


def test_no_model_on_purpose_waives_and_asks_nothing() -> None:
    town = Town(analyzers=FakeAnalyzers((analyzed(2),)))
    result = town.review(Wishes(no_model=True))
    assert states(result) == {"stats.py": (UnitState.WAIVED, "no-model")}
    assert (town.asked, result.model, result.outage) == ([], None, "")
    assert result.conclusion is Conclusion.SUCCESS


def test_one_failing_chunk_leaves_the_others() -> None:
    base, head = large("one", "two", "three")
    fault = Fault(FaultKind.TIMEOUT, "too slow")
    town = Town(base=base, head=head, model=fails_for("two = 1", fault, FINDS))
    result = town.review()
    assert states(result) == {
        "one.py": (UnitState.REVIEWED, ""),
        "two.py": (UnitState.FAILED, FaultKind.TIMEOUT.value),
        "three.py": (UnitState.REVIEWED, ""),
    }
    assert sorted(town.spots()) == [("one.py", 2), ("three.py", 2)]
    assert result.outage == ""
    assert result.conclusion is Conclusion.NEUTRAL
    assert result.verdict is Verdict.INCOMPLETE
    assert "702 of 2,106 changed lines (3 parts) not reviewed" in town.reviews.closed[0].title


def test_a_cap_that_pays_for_some_chunks_leaves_the_rest_named() -> None:
    base, head = large("one", "two")
    town = Town(base=base, head=head, model=FakeModel(info=PRICED))
    whole = town.examine(Wishes(plan_only=True)).estimate.max_cost_usd
    assert whole is not None
    used = Usage(requests=1, cost_usd=whole / 3)
    town.model = FakeModel(say(Planted(FINDS), used), PRICED)
    result = town.review(Wishes(max_cost_usd=whole))
    by_state = sorted(state for state, _ in states(result).values())
    assert by_state == [UnitState.OVER_BUDGET, UnitState.REVIEWED]
    assert result.conclusion is Conclusion.NEUTRAL
    assert town.tasks.count("review") == 1


def test_the_smaller_of_two_caps_holds() -> None:
    policy = {".postil.toml": b"[budget]\nper_review_usd = 0.000001\n"}
    town = Town(
        base={**OLD, **policy},
        head={**NEW, **policy},
        model=FakeModel(say(Planted(FINDS)), PRICED),
    )
    result = town.review(Wishes(max_cost_usd=Decimal(5)))
    assert town.asked == []
    assert states(result) == {"stats.py": (UnitState.OVER_BUDGET, FaultKind.BUDGET.value)}


def test_an_interruption_keeps_what_was_found() -> None:
    base, head = large("one", "two", "three")
    answer = say(Planted(FINDS))

    def reply(prompt: Prompt) -> Reply:
        if "two = 1" in prompt.messages[-1].content and prompt.task is Task.REVIEW:
            raise KeyboardInterrupt
        return answer(prompt)

    town = Town(base=base, head=head, model=FakeModel(reply))
    result = town.examine()
    assert result.interrupted
    reviewed = [path for path, (state, _) in states(result).items() if state == UnitState.REVIEWED]
    assert reviewed
    assert [finding.placed.finding.path for finding in result.findings] == reviewed
    unreviewed = {row.reason for row in result.ledger.unreviewed}
    assert unreviewed == {FaultKind.INTERRUPTED.value}
    assert "refute" not in town.tasks


def test_an_interruption_of_the_brief_leaves_every_part_named() -> None:
    base, head = large("one", "two")

    def reply(prompt: Prompt) -> Reply:
        assert prompt.task is Task.BRIEF
        raise KeyboardInterrupt

    result = Town(base=base, head=head, model=FakeModel(reply)).examine()
    assert result.interrupted
    assert {(row.state, row.reason) for row in result.ledger.rows} == {
        (UnitState.FAILED, FaultKind.INTERRUPTED.value)
    }


def test_a_part_that_no_request_can_hold_is_named_and_the_rest_reviewed() -> None:
    model = FakeModel(say(Planted(FINDS)), replace(INFO, chunk_tokens=20))
    head = {**NEW, "notes.py": b"x = '" + b"long words " * 150 + b"'\n"}
    result = Town(head=head, model=model).review()
    assert states(result)["notes.py"] == (UnitState.TOO_LARGE, "too large for one request")
    assert states(result)["stats.py"][0] is UnitState.REVIEWED


# Looks beside the review itself.


def test_a_change_of_several_chunks_is_summed_up_first() -> None:
    base, head = large("one", "two")
    town = Town(base=base, head=head)
    result = town.review()
    assert town.tasks[:3] == ["brief", "review", "review"]
    assert result.brief == "A change, summed up by a stand-in."
    assert all(result.brief in one.messages[1].content for one in town.asked[1:3])


@dataclass(slots=True)
class PatientAnalyzers(FakeAnalyzers):
    """Finds nothing before something else has happened."""

    awaited: Event = field(default_factory=Event)

    def run(self, files: Sequence[SourceFile]) -> AnalyzersReport:
        assert self.awaited.wait(30)
        return FakeAnalyzers.run(self, files)


def test_what_a_long_change_is_about_is_asked_while_the_analyzers_run() -> None:
    base, head = large("one", "two")
    analyzers = PatientAnalyzers()
    reply = say(Planted(FINDS))

    def answer(prompt: Prompt) -> Reply:
        analyzers.awaited.set()
        return reply(prompt)

    town = Town(base=base, head=head, model=FakeModel(answer), analyzers=analyzers)
    assert town.review().brief == "A change, summed up by a stand-in."
    assert town.tasks[:3] == ["brief", "review", "review"]


def test_a_long_change_of_which_one_part_is_left_needs_no_brief() -> None:
    base, head = large("one", "two", "three")
    first = Town(base=base, head=head)
    first.examine()
    pushed = {**head, "two.py": long_file("two").replace(b"two_0 = ", b"two_0 = 7 + ")}
    second = Town(base=base, head=pushed, traces=first.traces)
    result = second.examine()
    assert second.tasks[0] == "review"
    assert second.tasks.count("review") == 1
    assert result.reused
    again = Town(base=base, head=pushed, traces=first.traces)
    again.examine(Wishes(full=True))
    assert again.tasks[0] == "brief"


def test_a_review_goes_on_without_a_brief_and_says_so() -> None:
    base, head = large("one", "two")
    fault = Fault(FaultKind.DECLINED, "no")
    town = Town(base=base, head=head, model=fails_for("task: brief", fault, FINDS))
    result = town.review()
    assert result.conclusion is Conclusion.SUCCESS
    assert "reviewed without a brief: the model declined to answer" in result.notes


def test_a_loud_claim_that_is_refuted_is_dropped() -> None:
    falls = {"refute": {"verdict": "falls", "reason": "xs is never empty"}}
    town = Town(model=FakeModel(say(Planted(FINDS, falls))))
    result = town.review()
    assert town.tasks == ["review", "refute"]
    assert town.spots() == []
    assert [one.reason for one in result.dropped] == ["refuted: xs is never empty"]


def test_a_claim_nobody_can_judge_stays_and_the_failed_look_is_told() -> None:
    town = Town(model=fails_for("task: refute", Fault(FaultKind.TIMEOUT, "slow"), FINDS))
    result = town.review()
    assert titles(result) == [BUG]
    assert "1 of 1 refuting looks failed" in result.notes


def test_a_quick_review_takes_no_second_look() -> None:
    town = Town()
    town.review(Wishes(effort=Effort.QUICK))
    assert town.tasks == ["review"]


def test_what_an_analyzer_proves_needs_no_second_look() -> None:
    proven = replace(analyzed(2), title=BUG)
    town = Town(analyzers=FakeAnalyzers((proven,)))
    result = town.review()
    assert town.tasks == ["review"]
    assert [one.rung for one in result.findings] == ["E2"]


def test_a_model_below_its_floor_is_not_quoted() -> None:
    small = replace(INFO, min_rung="E2")
    town = Town(
        model=FakeModel(say(Planted(FINDS)), small), analyzers=FakeAnalyzers((analyzed(1),))
    )
    town.code.trees[HEAD] = {"stats.py": b"def avg(xs):\n    return sum(xs) / len(xs)\n"}
    result = town.review()
    assert titles(result) == ["Something is wrong in line 1"]
    assert any("need evidence E2" in one.reason for one in result.dropped)
    assert "shown only where a deterministic check agrees" in " ".join(result.notes)


def test_an_analyzer_speaks_of_changed_lines_only() -> None:
    town = Town(analyzers=FakeAnalyzers((analyzed(1), analyzed(2))), model=FakeModel())
    assert titles(town.review()) == ["Something is wrong in line 2"]
    assert town.analyzers.read == ["stats.py"]


# Plans.


def test_a_plan_asks_nobody_and_runs_nothing() -> None:
    base, head = large("one", "two")
    town = Town(base=base, head=head, model=FakeModel(info=PRICED))
    result = town.examine(Wishes(plan_only=True))
    assert (town.asked, town.analyzers.read, town.traces.answers) == ([], [], {})
    assert result.verdict is Verdict.PLANNED
    assert (len(result.chunks), result.estimate.requests) == (2, 2)
    assert result.estimate.max_cost_usd is not None
    planned = [unit.id for chunk in result.chunks for unit in chunk.units]
    assert sorted(planned) == sorted(unit.id for unit in result.ledger.planned)


def test_a_plan_without_a_model_knows_no_price() -> None:
    result = Town(model=None).examine(Wishes(plan_only=True))
    assert result.estimate.requests == 1
    assert result.estimate.max_cost_usd is None


def test_no_instruction_of_a_person_but_the_focus_reaches_the_prompt_as_asked() -> None:
    town = Town()
    town.review(Wishes(focus="empty lists"))
    assert "> empty lists" in town.asked[0].messages[1].content


def test_a_secret_reaches_no_prompt_and_is_named_on_its_line() -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    town = Town(head={**NEW, "settings.py": f'KEY = "{key}"\n'.encode()})
    result = town.review()
    assert ("settings.py", 1) in town.spots()
    prompts = [message.content for prompt in town.asked for message in prompt.messages]
    assert prompts
    assert not any(key in text for text in prompts)
    assert not any(key in text for text in town.reviews.posted[0].texts)
    assert key not in town.traces.runs["run"]
    assert titles(result)[0].startswith("A secret is written into the code")


def test_a_secret_in_what_people_wrote_reaches_no_prompt_either() -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    base, head = large("one", "two")
    policy = f'[review]\ninstructions = "Our key is {key}."\n'.encode()
    guide = f"# Rules\n\nSign with {key}.\n".encode()
    town = Town(base={**base, ".postil.toml": policy, "AGENTS.md": guide}, head=head)
    town.pulls.pull = replace(town.pulls.pull, title=f"Use {key}", body=f"As in {key}.")

    town.review(Wishes(focus=f"where {key} is used"))

    prompts = [message.content for prompt in town.asked for message in prompt.messages]
    assert Task.BRIEF in {prompt.task for prompt in town.asked}
    assert any("AWS_ACCESS_KEY" in text for text in prompts)
    assert not any(key in text for text in prompts)
