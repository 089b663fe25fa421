"""Looks at a change: what is asked of the model, within what may be spent, and what came back.

One failure is one chunk's rows in the ledger, never the review; and no failure, cap or odd answer
ever looks like an answer without findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.chunks import Chunk, CountTokens, split_into_chunks
from app.core.evidence import Dropped, Weighed, apply_refutation
from app.core.findings import (
    Finding,
    ReviewAnswer,
    parse_brief,
    parse_refute,
    parse_review_answer,
)
from app.core.ledger import Ledger, Unit, UnitState
from app.core.money import Estimate, Purse, Usage
from app.core.policy import Policy, path_instructions
from app.core.prompts import (
    Answer,
    Common,
    Fault,
    FaultKind,
    Prompt,
    Reply,
    Templates,
    compose_brief,
    compose_refute,
    compose_repair,
    compose_review,
    make_nonce,
)
from app.core.slices import Slice
from app.errors import AnswerRejected
from app.ports import Model, ModelInfo, Traces

ANSWER_TOKENS = 4096
"""The longest answer about one chunk."""
SHORT_ANSWER_TOKENS = 500
"""The longest brief, and the longest verdict of a refuting look."""
MAX_SPLITS = 4
"""How often a chunk is halved when it or its answer is too long."""

OUTAGES = frozenset(
    {
        FaultKind.UNAVAILABLE,
        FaultKind.TIMEOUT,
        FaultKind.LIMITED,
        FaultKind.KEY,
        FaultKind.MODEL,
        FaultKind.CREDITS,
        FaultKind.REFUSED,
        FaultKind.NO_MODEL,
    }
)
STATES = {
    FaultKind.BUDGET: UnitState.OVER_BUDGET,
    FaultKind.TOO_LONG: UnitState.TOO_LARGE,
}
INTERRUPTED = FaultKind.INTERRUPTED.value

Progress = Callable[[str, int, int], None]
"""(stage, done, total)"""


@dataclass(frozen=True, slots=True)
class Questions:
    """Makes the prompts of one run; ``seed`` is secret, so that nobody can foresee a nonce."""

    templates: Templates
    count: CountTokens
    seed: str
    info: ModelInfo
    common: Common
    policy: Policy
    slices: Mapping[str, Slice]
    focus: str = ""
    hints: tuple[Finding, ...] = ()

    @property
    def budget(self) -> int:
        """How many tokens of diff and slices one chunk may have."""
        return self.info.chunk_tokens

    def split(
        self, units: Sequence[Unit], budget: int
    ) -> tuple[tuple[Chunk, ...], tuple[Unit, ...]]:
        """Group units into chunks; also return those that no chunk can hold."""
        chunks = split_into_chunks(units, self.slices, budget, self.count)
        return chunks.chunks, chunks.too_large

    def review(self, chunk: Chunk, attempt: int) -> Prompt:
        """Ask for the findings of one chunk."""
        rules = (rule for unit in chunk.units for rule in path_instructions(self.policy, unit.path))
        return compose_review(
            self.templates,
            self.common,
            chunk,
            nonce=self.nonce(f"review:{chunk.id}:{attempt}", chunk.text),
            max_tokens=min(ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
            path_instructions=tuple(dict.fromkeys(rules)),
            focus=self.focus,
            hints=self.hints,
        )

    def repair(self, look: Look, bad_answer: str, error: str) -> Prompt:
        """Ask once more, with the answer that could not be used and what is wrong with it."""
        seed = f"repair:{look.chunk.id}:{look.repairs}"
        nonce = self.nonce(seed, look.chunk.text + bad_answer)
        return compose_repair(self.templates, look.prompt, bad_answer, error, nonce)

    def brief(self, units: Sequence[Unit], description: str) -> Prompt:
        """Ask what the whole change is about."""
        return compose_brief(
            self.templates,
            self.common,
            units,
            description=description,
            nonce=self.nonce("brief", description),
            max_tokens=min(SHORT_ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
        )

    def refute(self, finding: Weighed, shown: str) -> Prompt:
        """Ask whether a finding stands."""
        return compose_refute(
            self.templates,
            finding.placed.finding,
            shown,
            nonce=self.nonce(f"refute:{finding.fingerprint}", shown),
            max_tokens=min(SHORT_ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
        )

    def nonce(self, what: str, avoid: str) -> str:
        """Make a nonce for one request."""
        return make_nonce(f"{self.seed}:{what}", avoid)


@dataclass(frozen=True, slots=True)
class Look:
    """One chunk on its way to an answer."""

    chunk: Chunk
    prompt: Prompt
    splits: int = 0
    repairs: int = 0


@dataclass(slots=True)
class Looks:
    """All looks of one run, and their state: ledger, purse, and what was found so far."""

    model: Model | None
    traces: Traces
    questions: Questions
    ledger: Ledger
    purse: Purse
    progress: Progress
    chunks: tuple[Chunk, ...]
    estimate: Estimate
    brief: str = ""
    findings: list[Finding] = field(default_factory=list)
    usage: Usage = Usage()
    reused: int = 0
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    over_cap: int = 0
    interrupted: bool = False

    def give_up(self, kind: FaultKind, message: str) -> None:
        """Leave every planned unit unreviewed, for one reason."""
        self.faults.append(Fault(kind, message))
        ids = [unit.id for unit in self.ledger.planned]
        self.ledger = self.ledger.mark(ids, UnitState.FAILED, kind.value)

    def ask_brief(self, description: str) -> None:
        """Ask for a brief of the whole change, to stand at the head of every further prompt."""
        prompt = self.questions.brief(self.ledger.planned, description)
        reply = self._ask_aside(prompt)
        if isinstance(reply, Answer):
            try:
                self.brief = parse_brief(reply.text, prompt.nonce)
            except AnswerRejected as error:
                reply = Fault(FaultKind.UNPARSED, error.message)
        if isinstance(reply, Fault):
            self.remarks.append(f"reviewed without a brief: {reply.kind.value}")
        common = replace(self.questions.common, brief=self.brief)
        self.questions = replace(self.questions, common=common)

    def ask_reviews(self) -> None:
        """Ask about every chunk until each of its units has an answer or a reason."""
        looks = [Look(chunk, self.questions.review(chunk, 0)) for chunk in self.chunks]
        total = len(looks)
        while looks:
            looks = [look for look in looks if not self._remember(look)]
            if self.interrupted:
                self._mark(looks, UnitState.FAILED, INTERRUPTED)
                break
            asked, refused = self._afford(looks)
            if not asked:
                self._mark(refused, UnitState.OVER_BUDGET, FaultKind.BUDGET.value)
                break
            looks = [*self._ask(asked, total), *refused]

    def refute(self, findings: Sequence[Weighed]) -> tuple[Weighed | Dropped, ...]:
        """Try to refute each finding, in order; one that could not be looked at stays as it is."""
        prompts = [self.questions.refute(one, self._shown(one)) for one in findings]
        can, _ = self.purse.affordable(() if self.interrupted else prompts)
        asked = zip((prompt.nonce for prompt in can), self._ask_all(can), strict=True)
        replies = dict(asked)
        judged: list[Weighed | Dropped] = []
        failed = 0
        for finding, prompt in zip(findings, prompts, strict=True):
            reply = replies.get(prompt.nonce)
            try:
                answer = parse_refute(reply.text if isinstance(reply, Answer) else "", prompt.nonce)
            except AnswerRejected:
                failed += 1
                judged.append(finding)
            else:
                judged.append(apply_refutation(finding, answer.verdict, answer.reason))
        if failed:
            self.remarks.append(f"{failed} of {len(findings)} refuting looks failed")
        return tuple(judged)

    def _shown(self, finding: Weighed) -> str:
        """Return the chunk that a finding stands in."""
        path = finding.placed.finding.path
        texts = [
            chunk.text for chunk in self.chunks if any(unit.path == path for unit in chunk.units)
        ]
        quoted = [text for text in texts if finding.placed.finding.quote.strip() in text]
        return next(iter((*quoted, *texts)), "")

    @property
    def outage(self) -> str:
        """Say why nothing was answered, when it was not for the change's own sake."""
        outages = [fault for fault in self.faults if fault.kind in OUTAGES]
        if not outages or any(row.state is UnitState.REVIEWED for row in self.ledger.rows):
            return ""
        first = outages[0]
        return first.message if first.kind is FaultKind.NO_MODEL else first.kind.value

    @property
    def notes(self) -> tuple[str, ...]:
        """Tell each kind of failure once, with how often it happened."""
        notes = list(self.remarks)
        for kind, count in Counter(fault.kind for fault in self.faults).items():
            message = next(fault.message for fault in self.faults if fault.kind is kind)
            times = "" if count == 1 else f" ({count} times)"
            notes.append(f"{kind.value}{times}: {message}")
        if self.over_cap:
            notes.append(f"{self.over_cap} more findings stood in answers longer than the cap")
        return tuple(notes)

    def _remember(self, look: Look) -> bool:
        """Take the answer kept from an earlier run, if it still reads as one."""
        kept = self.traces.load_answer(self._memory_key(look))
        if kept is None or look.repairs:
            return False
        nonce, _, text = kept.partition("\n")
        try:
            answer = parse_review_answer(text, nonce)
        except AnswerRejected:
            return False
        self.reused += 1
        self._accept(look, answer)
        return True

    def _afford(self, looks: Sequence[Look]) -> tuple[list[Look], list[Look]]:
        """Split looks into those the purse can pay for in full now, and the rest."""
        can, _ = self.purse.affordable([look.prompt for look in looks])
        funded = {prompt.nonce: prompt for prompt in can}
        asked = [
            replace(look, prompt=funded[look.prompt.nonce])
            for look in looks
            if look.prompt.nonce in funded
        ]
        return asked, [look for look in looks if look.prompt.nonce not in funded]

    def _ask(self, looks: Sequence[Look], total: int) -> list[Look]:
        """Ask once about each; return the looks that must be asked again."""
        replies = self._ask_all([look.prompt for look in looks], total)
        return [
            further
            for look, reply in zip(looks, replies, strict=True)
            for further in self._take(look, reply)
        ]

    def _ask_aside(self, prompt: Prompt) -> Reply:
        """Ask something a review can do without, when it can be paid for."""
        can, _ = self.purse.affordable([prompt])
        return self._ask_all(can)[0] if can else Fault(FaultKind.BUDGET, "")

    def _ask_all(self, prompts: Sequence[Prompt], total: int = 0) -> tuple[Reply, ...]:
        """Ask within what was reserved, and settle; an interruption leaves faults."""
        replies: dict[int, Reply] = {}

        def hear(index: int, reply: Reply) -> None:
            replies[index] = reply
            if total:
                self.progress("review", total - len(prompts) + len(replies), total)

        if self.model is None or not prompts:
            return ()
        self.purse = self.purse.reserve(prompts)
        try:
            replies |= enumerate(self.model.ask_all(prompts, hear))
        except KeyboardInterrupt:
            self.interrupted = True
        silent = Fault(FaultKind.INTERRUPTED, "somebody stopped the review")
        heard = tuple(replies.get(index, silent) for index in range(len(prompts)))
        self.purse = self.purse.settle(prompts, heard)
        for reply in heard:
            self.usage += reply.usage
        return heard

    def _take(self, look: Look, reply: Reply) -> list[Look]:
        """Turn one reply into ledger rows and findings, or into further looks."""
        if isinstance(reply, Fault):
            return self._stumble(look, reply)
        try:
            answer = parse_review_answer(reply.text, look.prompt.nonce)
        except AnswerRejected as error:
            if look.repairs:
                self.faults.append(Fault(FaultKind.UNPARSED, error.message))
                self._mark([look], UnitState.FAILED, FaultKind.UNPARSED.value)
                return []
            prompt = self.questions.repair(look, reply.text, error.message)
            return [replace(look, prompt=prompt, repairs=look.repairs + 1)]
        self.traces.save_answer(self._memory_key(look), f"{look.prompt.nonce}\n{reply.text}")
        self._accept(look, answer)
        return []

    def _stumble(self, look: Look, fault: Fault) -> list[Look]:
        """Halve a chunk that is too long to ask or to answer; else give its rows the reason."""
        if fault.kind in {FaultKind.TOO_LONG, FaultKind.CUT} and look.splits < MAX_SPLITS:
            halves = self._halve(look.chunk)
            if len(halves) > 1:
                splits = look.splits + 1
                return [Look(half, self.questions.review(half, splits), splits) for half in halves]
        self.faults.append(fault)
        self._mark([look], STATES.get(fault.kind, UnitState.FAILED), fault.kind.value)
        return []

    def _halve(self, chunk: Chunk) -> tuple[Chunk, ...]:
        middle = len(chunk.units) // 2
        halves = (chunk.units[:middle], chunk.units[middle:])
        return tuple(
            small
            for units in halves
            if units
            for small in self.questions.split(units, self.questions.budget)[0]
        )

    def _memory_key(self, look: Look) -> str:
        info = self.questions.info
        return f"{info.provider}/{info.name}/{look.prompt.key}"

    def _accept(self, look: Look, answer: ReviewAnswer) -> None:
        self.findings.extend(answer.findings)
        self.over_cap += answer.over_cap
        self.ledger = self.ledger.mark([unit.id for unit in look.chunk.units], UnitState.REVIEWED)

    def _mark(self, looks: Iterable[Look], state: UnitState, reason: str) -> None:
        ids = [unit.id for look in looks for unit in look.chunk.units]
        self.ledger = self.ledger.mark(ids, state, reason)
