"""Looks at a change: what is asked of the model, within what may be spent, and what came back.

One failure is one chunk's rows in the ledger, never the review; and no failure, cap or odd answer
ever looks like an answer without findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.chunks import Chunk, CountTokens, render_file, reverse_chunk, split_into_chunks
from app.core.evidence import Weighed
from app.core.findings import (
    Finding,
    ReviewAnswer,
    parse_brief,
    parse_review_answer,
)
from app.core.ledger import Ledger, Unit, UnitState
from app.core.memory import find_home
from app.core.money import Estimate, Purse, Usage, worst_case
from app.core.policy import Policy, path_instructions
from app.core.prompts import (
    Answer,
    Common,
    Fault,
    FaultKind,
    Observation,
    Prompt,
    Reply,
    Role,
    Templates,
    compose_brief,
    compose_decide,
    compose_patch,
    compose_refute,
    compose_repair,
    compose_review,
    make_nonce,
)
from app.core.slices import Slice
from app.errors import AnswerRejected
from app.ports import Model, ModelInfo

ANSWER_TOKENS = 4096
"""The longest answer about one chunk."""
SHORT_ANSWER_TOKENS = 500
"""The longest brief, verdict of a refuting look, or choice of what to look up."""
PATCH_TOKENS = 1000
"""The longest replacement of a few lines."""
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
    """Makes the prompts of one run; ``seed`` is secret, so that nobody can foresee a nonce.

    ``info`` is of the model that takes ``role``; ``doubter`` is the role that tries to refute.
    """

    templates: Templates
    count: CountTokens
    seed: str
    info: ModelInfo
    common: Common
    policy: Policy
    slices: Mapping[str, Slice] = field(default_factory=dict)
    focus: str = ""
    hints: tuple[Finding, ...] = ()
    role: Role = Role.MAIN
    doubter: Role = Role.MAIN

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

    def review(self, chunk: Chunk, attempt: int, *, second: bool = False) -> Prompt:
        """Ask for the findings of one chunk."""
        rules = (rule for unit in chunk.units for rule in path_instructions(self.policy, unit.path))
        look = "second" if second else "review"
        prompt = compose_review(
            self.templates,
            self.common,
            chunk,
            nonce=self.nonce(f"{look}:{chunk.id}:{attempt}", chunk.text),
            max_tokens=min(ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
            path_instructions=tuple(dict.fromkeys(rules)),
            focus=self.focus,
            hints=self.hints,
            second=second,
        )
        return replace(prompt, role=self.role)

    def reverse(self, chunk: Chunk) -> Chunk:
        """Show a chunk the other way round, for a second look."""
        return reverse_chunk(chunk, self.slices)

    def repair(self, look: Look, bad_answer: str, error: str) -> Prompt:
        """Ask once more, with the answer that could not be used and what is wrong with it."""
        seed = f"repair:{look.chunk.id}:{look.repairs}"
        nonce = self.nonce(seed, look.chunk.text + bad_answer)
        return compose_repair(self.templates, look.prompt, bad_answer, error, nonce)

    def brief(self, units: Sequence[Unit], description: str) -> Prompt:
        """Ask what the whole change is about."""
        prompt = compose_brief(
            self.templates,
            self.common,
            units,
            description=description,
            nonce=self.nonce("brief", description),
            max_tokens=min(SHORT_ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
        )
        return replace(prompt, role=self.role)

    def refute(
        self, finding: Weighed, shown: str, observations: Sequence[Observation] = ()
    ) -> Prompt:
        """Ask whether a finding stands."""
        prompt = compose_refute(
            self.templates,
            finding.placed.finding,
            shown,
            nonce=self.nonce(f"refute:{finding.fingerprint}", shown),
            max_tokens=min(SHORT_ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
            observations=observations,
        )
        return replace(prompt, role=self.doubter)

    def decide(
        self, finding: Weighed, shown: str, observations: Sequence[Observation], steps_left: int
    ) -> Prompt:
        """Ask what to look up next about a finding."""
        prompt = compose_decide(
            self.templates,
            finding.placed.finding,
            shown,
            steps_left=steps_left,
            nonce=self.nonce(f"decide:{finding.fingerprint}:{steps_left}", shown),
            max_tokens=min(SHORT_ANSWER_TOKENS, self.info.max_output_tokens),
            count=self.count,
            observations=observations,
            calls=self.info.calls,
        )
        return replace(prompt, role=self.doubter)

    def patch(self, finding: Weighed, before: str, target: str, after: str) -> Prompt:
        """Ask for the lines that mend a finding."""
        prompt = compose_patch(
            self.templates,
            finding.placed.finding,
            before=before,
            target=target,
            after=after,
            nonce=self.nonce(f"patch:{finding.fingerprint}", before + target + after),
            max_tokens=min(PATCH_TOKENS, self.info.max_output_tokens),
            count=self.count,
        )
        return replace(prompt, role=self.role)

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
    second: bool = False


@dataclass(slots=True)
class Looks:
    """All looks of one run, and their state: ledger, purse, and what was found so far."""

    model: Model | None
    questions: Questions
    ledger: Ledger
    purse: Purse
    progress: Progress
    chunks: tuple[Chunk, ...] = ()
    twice: bool = False
    """Whether every chunk is looked at once more, in another part and order."""
    estimate: Estimate = Estimate(0, 0, 0, None)  # noqa: RUF009 - frozen
    brief: str = ""
    briefed: bool = False
    """Whether a brief was asked for, whatever came of it."""
    findings: list[Finding] = field(default_factory=list)
    usage: Usage = Usage()
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    over_cap: int = 0
    interrupted: bool = False
    unseconded: int = 0
    half_read: set[str] = field(default_factory=set)
    """Units that were reviewed, but not all that was to be said of them is known."""

    def give_up(self, kind: FaultKind, message: str) -> None:
        """Leave every planned unit unreviewed, for one reason."""
        self.faults.append(Fault(kind, message))
        ids = [unit.id for unit in self.ledger.planned]
        self.ledger = self.ledger.mark(ids, UnitState.FAILED, kind.value)

    def ask_brief(self, description: str) -> None:
        """Ask for a brief of the whole change, to stand at the head of every further prompt."""
        self.briefed = True
        wanted = {UnitState.PLANNED, UnitState.REVIEWED}
        units = [row.unit for row in self.ledger.rows if row.state in wanted]
        prompt = self.questions.brief(units, description)
        (reply,) = self.ask_aside([prompt])
        if isinstance(reply, Answer):
            try:
                self.brief = parse_brief(reply.text, prompt.nonce)
            except AnswerRejected as error:
                reply = Fault(FaultKind.UNPARSED, error.message)
        if isinstance(reply, Fault):
            self.remarks.append(f"reviewed without a brief: {reply.kind.value}")
        common = replace(self.questions.common, brief=self.brief)
        self.questions = replace(self.questions, common=common)

    def plan(self) -> list[Look]:
        """Return every look to take, and price them as if each were answered at full length."""
        second = [self._look(chunk, second=True) for chunk in self.chunks] if self.twice else []
        looks = [*map(self._look, self.chunks), *second]
        self.estimate = worst_case([look.prompt for look in looks], self.questions.info.rates)
        return looks

    def ask_reviews(self) -> None:
        """Ask about every chunk until each of its units has an answer or a reason.

        What a second look finds is added; the ledger says what the first one read.
        """
        looks = self.plan()
        total = len(looks)
        while looks:
            if self.interrupted:
                self._mark(looks, UnitState.FAILED, INTERRUPTED)
                break
            asked, refused = self._afford(looks)
            if not asked:
                self._mark(refused, UnitState.OVER_BUDGET, FaultKind.BUDGET.value)
                break
            looks = [*self._ask(asked, total), *refused]

    def ask_aside(self, prompts: Sequence[Prompt]) -> tuple[Reply, ...]:
        """Ask what a review can do without; what can't be paid for now is a fault."""
        can, _ = self.purse.affordable(() if self.interrupted else prompts)
        asked = zip((prompt.nonce for prompt in can), self._ask_all(can), strict=True)
        replies = dict(asked)
        return tuple(replies.get(prompt.nonce, Fault(FaultKind.BUDGET, "")) for prompt in prompts)

    def shown(self, finding: Weighed) -> str:
        """Return the chunk that a finding stands in; its unit, when that was not asked about."""
        claim = finding.placed.finding
        texts = [
            chunk.text
            for chunk in self.chunks
            if any(unit.path == claim.path for unit in chunk.units)
        ]
        quoted = [text for text in texts if claim.quote.strip() in text]
        home = find_home(claim, [row.unit for row in self.ledger.rows])
        alone = [render_file((home,), self.questions.slices)] if home and not quoted else []
        return next(iter((*quoted, *alone, *texts)), "")

    @property
    def fully_read(self) -> tuple[str, ...]:
        """The ids of the units of which everything is known that was to be said."""
        reviewed = [row.unit.id for row in self.ledger.rows if row.state is UnitState.REVIEWED]
        return tuple(name for name in reviewed if name not in self.half_read)

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
        if self.unseconded:
            notes.append(f"{self.unseconded} units had no second look")
        if self.over_cap:
            notes.append(f"{self.over_cap} more findings stood in answers longer than the cap")
        return tuple(notes)

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
        self._accept(look, answer)
        return []

    def _stumble(self, look: Look, fault: Fault) -> list[Look]:
        """Halve a chunk that is too long to ask or to answer; else give its rows the reason."""
        if fault.kind in {FaultKind.TOO_LONG, FaultKind.CUT} and look.splits < MAX_SPLITS:
            halves = self._halve(look.chunk)
            if len(halves) > 1:
                splits = look.splits + 1
                return [self._look(half, splits, second=look.second) for half in halves]
        self.faults.append(fault)
        self._mark([look], STATES.get(fault.kind, UnitState.FAILED), fault.kind.value)
        return []

    def _look(self, chunk: Chunk, splits: int = 0, *, second: bool = False) -> Look:
        chunk = self.questions.reverse(chunk) if second else chunk
        prompt = self.questions.review(chunk, splits, second=second)
        return Look(chunk, prompt, splits, second=second)

    def _halve(self, chunk: Chunk) -> tuple[Chunk, ...]:
        middle = len(chunk.units) // 2
        halves = (chunk.units[:middle], chunk.units[middle:])
        return tuple(
            small
            for units in halves
            if units
            for small in self.questions.split(units, self.questions.budget)[0]
        )

    def _accept(self, look: Look, answer: ReviewAnswer) -> None:
        self.findings.extend(answer.findings)
        self.over_cap += answer.over_cap
        if answer.over_cap:
            self.half_read |= {unit.id for unit in look.chunk.units}
        self._mark([look], UnitState.REVIEWED)

    def _mark(self, looks: Iterable[Look], state: UnitState, reason: str = "") -> None:
        """Give the units of first looks their state; count those that a second one left out."""
        ids: list[str] = []
        for look in looks:
            if not look.second:
                ids += [unit.id for unit in look.chunk.units]
            elif state is not UnitState.REVIEWED:
                self.unseconded += len(look.chunk.units)
                self.half_read |= {unit.id for unit in look.chunk.units}
        self.ledger = self.ledger.mark(ids, state, reason)
