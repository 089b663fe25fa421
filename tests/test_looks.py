"""What is asked of the model, within what may be spent, and what came back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.bootstrap.parts import load_templates
from app.core.diff import parse_diff
from app.core.ledger import Conclusion, UnitState, conclude, open_ledger
from app.core.money import PriceTier, Purse, Rates, Usage, worst_cost
from app.core.policy import Policy
from app.core.prompts import Answer, Common, Fault, FaultKind, Prompt, Reply
from app.looks import Looks, Questions
from app.ports import ModelInfo
from sandbox.models import Planted
from tests.fakes import BASE, HEAD, INFO, FakeCode, FakeModel, say

TEMPLATES = load_templates()
FINDS = {"= broken": "It is broken"}
PRICED = replace(INFO, prices=(PriceTier(Decimal(1), Decimal(10)),))
ONE_CHUNK = replace(INFO, chunk_tokens=100_000)
Ask = Callable[[Prompt], Reply]


def count(text: str) -> int:
    return len(text) // 4


def tree(files: int) -> dict[str, bytes]:
    """Return files of two far-apart changed lines each: two units a file."""
    calm = "".join(f"calm_{number} = {number}\n" for number in range(30))
    return {
        f"file_{number}.py": f"first_{number} = broken\n{calm}last_{number} = broken\n".encode()
        for number in range(files)
    }


@dataclass
class Desk:
    """A change of some files and everything that looks at it."""

    files: int = 1
    ask: Ask = field(default_factory=lambda: say(Planted(FINDS)))
    info: ModelInfo = ONE_CHUNK
    cap: Decimal | None = None
    waived: bool = False

    def __post_init__(self) -> None:
        head = tree(self.files) | ({"yarn.lock": b"broken\n"} if self.waived else {})
        base = {path: data.replace(b"broken", b"whole") for path, data in head.items()}
        self.code = FakeCode({BASE: base, HEAD: head})
        self.model = FakeModel(self.ask, self.info)
        self.progress: list[tuple[str, int, int]] = []

    def looks(self) -> Looks:
        diff = parse_diff(self.code.diff(BASE, HEAD).files)
        ledger = open_ledger(diff, Policy())
        info = self.info
        questions = Questions(TEMPLATES, count, "seed", info, Common(), Policy(), slices={})
        chunks, too_large = questions.split(ledger.planned, questions.budget)
        assert too_large == ()
        rates = Rates(info.prices, info.token_factor, info.least_output)
        return Looks(
            model=self.model,
            questions=questions,
            ledger=ledger,
            purse=Purse(rates, self.cap),
            progress=lambda *step: self.progress.append(step),
            chunks=chunks,
        )

    def run(self) -> Looks:
        looks = self.looks()
        looks.ask_reviews()
        return looks


def states(looks: Looks) -> Counter[tuple[UnitState, str]]:
    return Counter((row.state, row.reason) for row in looks.ledger.rows)


def answers(*replies: Reply | str) -> Ask:
    """Answer with one reply after the other, the last for good; a text stands for an answer."""
    left = list(replies)

    def answer(_prompt: Prompt) -> Reply:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return Answer(reply, Usage(requests=1)) if isinstance(reply, str) else reply

    return answer


def then(*first: Reply | str) -> Ask:
    """Answer with these replies first, and well from then on."""
    left, well = list(first), say(Planted(FINDS))

    def answer(prompt: Prompt) -> Reply:
        if not left:
            return well(prompt)
        reply = left.pop(0)
        return Answer(reply, Usage(requests=1)) if isinstance(reply, str) else reply

    return answer


REVIEWED = (UnitState.REVIEWED, "")


def failed(kind: FaultKind) -> tuple[UnitState, str]:
    return (UnitState.FAILED, kind.value)


# Answers that can't be used.


def test_an_answer_that_is_no_answer_is_asked_for_once_more() -> None:
    desk = Desk(ask=then("Looks good to me!"))
    looks = desk.run()
    assert states(looks) == {REVIEWED: 2}
    assert [finding.title for finding in looks.findings] == ["It is broken"] * 2
    first, second = desk.model.asked
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[2].content == "Looks good to me!"
    assert "not one JSON object" in second.messages[3].content
    assert second.nonce != first.nonce


def test_two_answers_that_are_none_leave_the_units_failed() -> None:
    desk = Desk(ask=answers("Looks good to me!", "{}"))
    looks = desk.run()
    assert states(looks) == {failed(FaultKind.UNPARSED): 2}
    assert len(desk.model.asked) == 2
    assert looks.findings == []
    assert looks.outage == ""


def test_an_answer_to_another_request_is_not_taken() -> None:
    other = json.dumps({"nonce": "0" * 16, "findings": []})
    assert states(Desk(ask=answers(other)).run()) == {failed(FaultKind.UNPARSED): 2}


def test_an_empty_answer_is_not_an_answer_without_findings() -> None:
    assert states(Desk(ask=answers("")).run()) == {failed(FaultKind.UNPARSED): 2}


# Chunks and answers that are too long.


def test_a_chunk_too_long_to_answer_is_halved() -> None:
    cut = Fault(FaultKind.CUT, "cut at 4096 tokens")
    desk = Desk(files=2, ask=then(cut))
    looks = desk.run()
    assert states(looks) == {REVIEWED: 4}
    sizes = [prompt.messages[1].content.count("= broken") for prompt in desk.model.asked]
    assert sizes == [4, 2, 2]
    assert looks.faults == []


def test_halving_ends_after_four_times_and_with_every_unit_named() -> None:
    long = Fault(FaultKind.TOO_LONG, "longer than the context")
    desk = Desk(files=32, ask=answers(long))
    looks = desk.run()
    assert states(looks) == {(UnitState.TOO_LARGE, FaultKind.TOO_LONG.value): 64}
    halvings = [1, 2, 4, 8, 16]
    assert len(desk.model.asked) == sum(halvings)
    assert len({prompt.nonce for prompt in desk.model.asked}) == sum(halvings)


def test_one_unit_alone_is_not_halved() -> None:
    desk = Desk(ask=answers(Fault(FaultKind.CUT, "cut")))
    looks = desk.run()
    assert states(looks) == {failed(FaultKind.CUT): 2}
    assert len(desk.model.asked) == 3


# Money.


@given(
    cap=st.decimals(min_value="0", max_value="0.3", places=4),
    files=st.integers(1, 6),
    bad=st.integers(0, 4),
)
def test_the_cap_is_never_exceeded(cap: Decimal, files: int, bad: int) -> None:
    paid: list[Decimal] = []
    reply = then(*["no"] * bad)

    def ask(prompt: Prompt) -> Reply:
        assert prompt.budget_usd is not None
        assert prompt.budget_usd >= worst_cost(prompt, Rates(PRICED.prices))
        paid.append(prompt.budget_usd)
        return replace(reply(prompt), usage=Usage(requests=1, cost_usd=prompt.budget_usd))

    desk = Desk(files=files, ask=ask, info=replace(PRICED, chunk_tokens=100), cap=cap)
    looks = desk.run()
    assert sum(paid) <= cap
    assert looks.purse.settled == sum(paid)
    assert looks.purse.reserved == 0
    assert not looks.ledger.planned


def test_what_was_saved_pays_for_what_was_put_off() -> None:
    cheap = say(Planted(FINDS), Usage(requests=1, cost_usd=Decimal("0.000001")))
    desk = Desk(files=6, ask=cheap, info=replace(PRICED, chunk_tokens=100))
    desk.looks().ask_reviews()
    dearest = max(worst_cost(prompt, Rates(PRICED.prices)) for prompt in desk.model.asked)
    assert len(desk.model.asked) > 2
    again = Desk(files=6, ask=cheap, info=desk.info, cap=dearest * 2)
    assert states(again.run()) == {REVIEWED: 12}


def test_a_repair_that_is_too_dear_leaves_the_units_over_budget() -> None:
    dear = Answer("no", Usage(requests=1, cost_usd=Decimal("0.05")))
    desk = Desk(ask=answers(dear), info=replace(PRICED, chunk_tokens=100_000), cap=Decimal("0.06"))
    assert states(desk.run()) == {(UnitState.OVER_BUDGET, FaultKind.BUDGET.value): 2}
    assert len(desk.model.asked) == 1


# What is told.


def test_each_kind_of_failure_is_told_once() -> None:
    fault = Fault(FaultKind.TIMEOUT, "after 120 s")
    desk = Desk(files=3, ask=answers(fault), info=replace(INFO, chunk_tokens=100))
    looks = desk.run()
    asked = len(desk.model.asked)
    assert asked > 1
    assert looks.notes == (f"the model did not answer in time ({asked} times): after 120 s",)


def test_an_outage_is_one_only_while_nothing_was_answered() -> None:
    down = Fault(FaultKind.UNAVAILABLE, "refused")
    few = replace(INFO, chunk_tokens=100)
    assert Desk(files=3, ask=answers(down), info=few).run().outage == FaultKind.UNAVAILABLE.value
    assert Desk(files=3, ask=then(down), info=few).run().outage == ""


def test_findings_past_the_cap_of_one_answer_are_counted() -> None:
    finding = json.loads(Planted(FINDS)(shown(Desk())))["findings"][0]
    many = Planted(answers={"review": {"findings": [finding] * 53}})
    looks = Desk(ask=say(many)).run()
    assert len(looks.findings) == 50
    assert looks.notes == ("3 more findings stood in answers longer than the cap",)


def shown(desk: Desk) -> str:
    """Return the first prompt of a desk as its model would read it."""
    looks = desk.looks()
    prompt = looks.questions.review(looks.chunks[0], 0)
    return "\n".join(message.content for message in prompt.messages)


def test_progress_reaches_its_end() -> None:
    desk = Desk(files=3, info=replace(INFO, chunk_tokens=100))
    desk.run()
    total = len(desk.model.asked)
    assert desk.progress == [("review", done, total) for done in range(1, total + 1)]


# Whatever goes wrong.


FAULTS = st.sampled_from(FaultKind).map(lambda kind: Fault(kind, "as drawn"))
BAD_TEXTS = st.sampled_from(["", "{}", "no", '{"findings": []}', "[]", "null"])
REPLIES = st.lists(FAULTS | BAD_TEXTS | st.none(), max_size=12)


def unlucky(replies: list[Fault | str | None]) -> Ask:
    """Answer as drawn (None is well) and raise where an interruption was drawn."""
    left, well = list(replies), say(Planted(FINDS))

    def answer(prompt: Prompt) -> Reply:
        reply = left.pop(0) if left else None
        if isinstance(reply, Fault) and reply.kind is FaultKind.INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(reply, str):
            return Answer(reply, Usage(requests=1))
        return reply or well(prompt)

    return answer


@given(replies=REPLIES, files=st.integers(1, 5), tokens=st.sampled_from([60, 150, 100_000]))
def test_success_means_that_every_changed_line_was_reviewed(
    replies: list[Fault | str | None], files: int, tokens: int
) -> None:
    info = replace(INFO, chunk_tokens=tokens)
    looks = Desk(files=files, ask=unlucky(replies), info=info, waived=True).run()
    assert not looks.ledger.planned
    assert all(row.reason for row in looks.ledger.unreviewed)
    reviewed, changed = looks.ledger.reviewed_lines, looks.ledger.changed_lines
    waived = looks.ledger.totals()[UnitState.WAIVED].changed_lines
    assert (changed, waived) == (4 * files + 2, 2)
    complete = reviewed == changed - waived
    assert (conclude(looks.ledger, None, None) is Conclusion.SUCCESS) == complete
    # each finding of a reviewed line is there, once, and none of a line that was not
    assert len(looks.findings) == reviewed // 2
