"""The story of a review, told once, over ports. No adapter, framework or settings in here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from app.core.anchors import Placed, place_on_diff
from app.core.chunks import Chunk, CountTokens, render_unit
from app.core.diff import ChangeKind, Diff, FileDiff, commentable, parse_diff
from app.core.evidence import Dropped, Rung, Weighed, Witnesses, weigh
from app.core.findings import Finding, Severity
from app.core.identity import Said, cluster, drop_already_said, identify, name_all
from app.core.ledger import (
    ALREADY_REVIEWED,
    Cut,
    Ledger,
    Unit,
    UnitState,
    open_ledger,
)
from app.core.money import Purse
from app.core.oracles import is_manifest
from app.core.policy import Effort, Policy, parse_policy
from app.core.prompts import Common, FaultKind, Role, Templates
from app.core.prose import guideline_paths, read_guidelines, visible_text
from app.core.pull import PullRef, PullRequest
from app.core.report import to_json
from app.core.review import (
    DISPLACED,
    Result,
    compose,
    failed_report,
    superseded_report,
    unposted_report,
    withhold,
)
from app.core.secrets import mask, mask_diff
from app.core.slices import (
    CallSite,
    Slice,
    changed_signatures,
    confirm_call_sites,
    select_slices,
)
from app.core.symbols import hunk_boundaries as cut_at
from app.core.texts import (
    Texts,
    added_text,
    decode,
    encode,
    removed_text,
    settle,
    show,
    undo,
)
from app.doubts import Library, mend, refute
from app.looks import Looks, Progress, Questions
from app.memory import Memory, open_memory, remembers
from app.ports import (
    Analyzers,
    AnalyzersReport,
    Code,
    Conversation,
    Model,
    ModelInfo,
    Posted,
    PullRequests,
    RawDiff,
    Reviews,
    SourceFile,
    Traces,
)

SLICE_TOKENS = 600
"""Tokens of context shown with one unit."""
MANIFESTS_READ = 20
NOTES_SHOWN = 20
FILES_NAMED = 5
POLICY_PATHS = (".postil.toml", ".github/postil.toml")
UNPRICED = "the cost cap can't be kept: no price is known for"
CUT_PER_TOKEN = 2
"""Characters that one piece of a hunk may have for each token of a chunk: it must fit in one."""
NO_MODEL_WISHED = "no-model"
LOW_TRUST = "what {model} says is shown only where a deterministic check agrees (evidence {rung})"
TOO_LARGE = "too large for one request"
CLOSED = "the pull request is closed"
UNKNOWN_MODEL = ModelInfo("none", "none", context_tokens=32_768, max_output_tokens=4096)
"""What a plan reckons with when no model is configured."""


@dataclass(frozen=True, slots=True)
class Gate:
    """From which severity on the check fails; None is never."""

    fail_on: Severity | None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person who asked wants of this one review, beyond the repository's policy."""

    effort: Effort | None = None
    focus: str = ""
    max_cost_usd: Decimal | None = None
    gate: Gate | None = None
    no_model: bool = False
    plan_only: bool = False
    automatic: bool = False
    """Nobody asked for it by name: the policy may say no."""
    full: bool = False
    """Ask about everything, also about what was reviewed before and has not changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be reviewed: a diff between two pinned commits, and the code to read beside it.

    ``code`` is None when only a patch is at hand. ``loose`` says that the diff came alone, so that
    the code's head may be before or after it, or another version altogether.
    """

    raw: RawDiff
    base_sha: str | None = None
    head_sha: str | None = None
    code: Code | None = None
    pull: PullRequest | None = None
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Superseded:
    """The head moved; nothing was posted for the old one. ``head_sha`` is the new one."""

    head_sha: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The policy, or the pull's state, says that nothing is to be reviewed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A review that was posted."""

    result: Result
    posted: Posted


@dataclass(frozen=True, slots=True)
class Over:
    """This very run came to its end before; nothing was done again."""


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a model is to be asked about, and what is known without it."""

    report: AnalyzersReport
    known: tuple[Finding, ...]
    slices: Mapping[str, Slice]
    memory: Memory
    chunks: tuple[Chunk, ...]
    too_large: tuple[Unit, ...]

    def put_before(self, looks: Looks) -> None:
        """Tell those who look what there is to look at."""
        looks.questions = replace(looks.questions, slices=self.slices, hints=self.known)
        ledger = looks.ledger.mark(self.memory.found, UnitState.REVIEWED, ALREADY_REVIEWED)
        looks.ledger = ledger.mark(ids(self.too_large), UnitState.TOO_LARGE, TOO_LARGE)
        looks.chunks = self.chunks


@dataclass(frozen=True, slots=True)
class Host:
    """Where pull requests live: what reads them and what writes to them."""

    pulls: PullRequests
    reviews: Reviews
    conversation: Conversation
    open_code: Callable[[PullRequest], Code]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A review from the first read to the last word.

    ``clock`` counts seconds. ``secret`` makes nonces that nobody can foresee. ``missing_model`` is
    the sentence to show when ``model`` is None. ``leaks`` tells whether a text holds a secret: it
    is the last thing that is asked before anything is posted. ``over`` tells whether a run came to
    its end before: who died right after it asks for the same run once more.
    """

    model: Model | None
    analyzers: Analyzers
    traces: Traces
    templates: Templates
    count: CountTokens
    clock: Callable[[], float]
    secret: str
    missing_model: str = ""
    leaks: Callable[[str], bool] = lambda _text: False
    over: Callable[[str], bool] = lambda _run_id: False
    progress: Progress = lambda _stage, _done, _total: None

    def review(
        self, host: Host, ref: PullRef, head_sha: str, *, key: str, run_id: str, wishes: Wishes
    ) -> Finished | Superseded | Skipped | Over:
        """Review one head of a pull request and post what was found.

        Raises HostError, CodeError.
        """
        if self.over(run_id):
            return Over()
        pull = host.pulls.fetch_pull(ref)
        if pull.head_sha != head_sha:
            return Superseded(pull.head_sha)
        code = host.open_code(pull)
        policy = read_policy(code, pull.base_sha)
        reason = why_skip(pull, policy, wishes)
        if reason:
            return Skipped(reason)
        check_id = host.reviews.open_check(pull, key)
        change = Change(host.pulls.fetch_diff(pull), pull.base_sha, pull.head_sha, code, pull)
        result = self.examine(change, policy, wishes, run_id)
        said = host.reviews.fetch_said(pull)
        fresh, _ = drop_already_said(result.findings, said, result.shown)
        review = compose(
            result,
            key=key,
            fresh=fresh,
            max_comments=policy.max_comments,
            min_severity=policy.min_severity,
        )
        if any(self.leaks(text) for text in review.texts):
            review = withhold(review)
        now = host.pulls.fetch_pull(ref)
        if now.head_sha != pull.head_sha:
            host.reviews.close_check(pull, check_id, superseded_report(pull.head_sha))
            return Superseded(now.head_sha)
        if not now.open:
            host.reviews.close_check(pull, check_id, failed_report(CLOSED))
            return Skipped(CLOSED)
        posted = host.reviews.post(pull, review)
        host.conversation.close_fixed(pull, find_fixed(said, result))
        notes = ((DISPLACED,) if posted.displaced else ()) + posted.notes
        host.reviews.close_check(pull, check_id, unposted_report(review.check, notes))
        self.traces.save_run(run_id, json.dumps(to_json(result)))
        return Finished(result, posted)

    def examine(self, change: Change, policy: Policy, wishes: Wishes, run_id: str) -> Result:
        """Review a change without telling anybody: all between the diff and the words."""
        began = self.clock()
        diff = parse_diff(change.raw.files, change.raw.notes)
        shown, planted = mask_diff(diff)
        cut = Cut(boundaries=cut_at, characters=CUT_PER_TOKEN * self._info.chunk_tokens)
        ledger = open_ledger(shown, policy, generated=generated_paths(change, shown), cut=cut)
        sources = read_sources(change, diff, ledger)
        texts = read_texts(sources, diff)
        effort = wishes.effort or policy.effort
        wishes = replace(wishes, effort=effort)
        looks = self._open_looks(change, policy, wishes, run_id, ledger)
        early = self._is_new_and_long(looks, change, wishes)
        arrange = partial(self._arrange, change, wishes, looks.questions, looks.ledger.planned)
        with ThreadPoolExecutor(1) as beside:  # a model takes its time
            arranged = beside.submit(copy_context().run, arrange, sources, texts, planted)
            if early:
                self._ask_brief(looks, change)
            agenda = arranged.result()
        agenda.put_before(looks)
        unread = () if wishes.plan_only else note_unread(sources, diff, ledger)
        if wishes.plan_only or wishes.no_model:
            looks.plan()
        else:
            self._look(looks, change)
        agenda.memory.keep(looks.fully_read, looks.findings)
        placed = place_on_diff((*agenda.known, *agenda.memory.findings, *looks.findings), shown)
        clusters = cluster([one for one in placed if concerns_change(one, shown)])
        weighed, dropped = weigh(clusters, witnesses_of(change, texts))
        identified = identify(weighed, shown)
        kept, refuted = self._doubt(looks, agenda.memory, identified, effort, change, texts)
        trusted, below = self._trusted(kept)
        asked = None if wishes.no_model or self.model is None else looks.questions.info
        trust = (
            (LOW_TRUST.format(model=asked.name, rung=asked.min_rung),)
            if asked and asked.min_rung != Rung.E0
            else ()
        )
        return Result(
            run_id=run_id,
            ledger=looks.ledger,
            shown=shown,
            pull=change.pull,
            base_sha=change.base_sha,
            head_sha=change.head_sha,
            provider=asked.provider if asked else None,
            model=asked.name if asked else None,
            findings=tuple(sorted(trusted, key=lambda one: -one.severity.rank)),
            dropped=(*dropped, *refuted, *below),
            chunks=looks.chunks,
            estimate=looks.estimate,
            usage=looks.usage,
            brief=looks.brief,
            outage=looks.outage,
            notes=(
                *policy.notes,
                *notes_of(shown, ledger),
                *unread,
                *agenda.report.notes,
                *looks.notes,
                *trust,
            ),
            reused=len(agenda.memory.found),
            fail_on=wishes.gate.fail_on if wishes.gate else policy.fail_on,
            planned=wishes.plan_only,
            interrupted=looks.interrupted,
            duration_s=self.clock() - began,
        )

    @property
    def _info(self) -> ModelInfo:
        return self.model.info if self.model else UNKNOWN_MODEL

    def _analyze(self, wishes: Wishes, sources: Sequence[SourceFile]) -> AnalyzersReport:
        if wishes.plan_only or not sources:
            return AnalyzersReport(())
        self.progress("analyzers", 0, 1)
        report = self.analyzers.run(sources)
        self.progress("analyzers", 1, 1)
        return report

    def _slice(self, change: Change, units: Sequence[Unit], texts: Texts) -> Mapping[str, Slice]:
        """Select the code to show beside each unit that a model is to look at."""
        sites = find_call_sites(change, units, texts)
        return select_slices(units, texts.head, texts.base, SLICE_TOKENS, self.count, sites)

    def _open_looks(
        self, change: Change, policy: Policy, wishes: Wishes, run_id: str, ledger: Ledger
    ) -> Looks:
        """Say who is asked, in which words and for how much; about what is arranged later."""
        effort = wishes.effort
        role = Role.FAST if effort is Effort.QUICK else Role.MAIN
        doubter = Role.VERIFY if effort is Effort.DEEP else role
        info, doubting = self._info.of(role), self._info.of(doubter)
        if wishes.no_model:
            ledger = ledger.mark(ids(ledger.planned), UnitState.WAIVED, NO_MODEL_WISHED)
        questions = Questions(
            templates=self.templates,
            count=self.count,
            seed=f"{self.secret}:{run_id}",
            info=info,
            common=Common(
                guidelines=read_project_guidelines(change, ledger.planned),
                instructions=show(policy.instructions),
                title=show(change.pull.title) if change.pull else "",
            ),
            policy=policy,
            focus=show(wishes.focus),
            role=role,
            doubter=doubter,
        )
        caps = (policy.per_review_usd, wishes.max_cost_usd)
        cap = min((cap for cap in caps if cap is not None), default=None)
        purse = Purse(info.rates, cap, others={doubter: doubting.rates})
        return Looks(
            model=self.model,
            questions=questions,
            ledger=ledger,
            purse=purse,
            progress=self.progress,
            twice=effort is Effort.DEEP,
            remarks=[] if purse.enforceable else [f"{UNPRICED} {info.provider}/{info.name}"],
        )

    def _is_new_and_long(self, looks: Looks, change: Change, wishes: Wishes) -> bool:
        """Tell whether there is much to ask about, as is known before it is looked at."""
        questions, left = looks.questions, looks.questions.budget
        if self.model is None or wishes.plan_only:
            return False
        for unit in looks.ledger.planned:
            left -= questions.count(render_unit(unit))
            if left < 0:  # and it takes more than one chunk
                return wishes.full or not remembers(self.traces, terms_of(change, wishes))
        return False

    def _ask_brief(self, looks: Looks, change: Change) -> None:
        """Ask what the change is about, unless it was asked or nothing rests on the answer."""
        trusted = self.model is not None and Rung(self.model.info.min_rung) is Rung.E0
        if trusted and not looks.briefed:
            looks.ask_brief(show(visible_text(change.pull.body)) if change.pull else "")

    def _arrange(
        self,
        change: Change,
        wishes: Wishes,
        questions: Questions,
        units: Sequence[Unit],
        sources: Sequence[SourceFile],
        texts: Texts,
        planted: Sequence[Finding],
    ) -> Agenda:
        """Find what is shown beside each unit and what is known of it; cut the rest in chunks."""
        with ThreadPoolExecutor(1) as beside:  # analyzers are programs: this one can go on
            analyzed = beside.submit(copy_context().run, self._analyze, wishes, sources)
            slices = self._slice(change, units, texts)
            report = analyzed.result()
        known = (*planted, *(masked(finding) for finding in report.findings))
        questions = replace(questions, slices=slices, hints=known)
        memory = Memory(self.traces)
        if self.model is not None and not wishes.plan_only:
            terms = terms_of(change, wishes)
            memory = open_memory(self.traces, questions, units, terms, full=wishes.full)
        left = [unit for unit in units if unit.id not in memory.found]
        chunks, too_large = questions.split(left, questions.budget)
        return Agenda(
            report=report,
            known=known,
            slices=slices,
            memory=memory,
            chunks=tuple(sorted(chunks, key=risk, reverse=True)),
            too_large=too_large,
        )

    def _look(self, looks: Looks, change: Change) -> None:
        if self.model is None:
            looks.plan()
            looks.give_up(FaultKind.NO_MODEL, self.missing_model)
            return
        if len(looks.chunks) > 1:
            self._ask_brief(looks, change)
        looks.ask_reviews()

    def _doubt(
        self,
        looks: Looks,
        memory: Memory,
        found: Sequence[Weighed],
        effort: Effort,
        change: Change,
        texts: Texts,
    ) -> tuple[list[Weighed], list[Dropped]]:
        """Doubt each finding, unless an earlier run did while its file was as it is now."""
        known = dict(zip(map(id, found), memory.recall_judged(found), strict=True))
        anew = [one for one in found if known[id(one)] is None]
        judged = self._doubt_anew(looks, anew, effort, library_of(change), texts)
        memory.keep_judged(list(zip(anew, judged, strict=True)))
        known |= dict(zip(map(id, anew), judged, strict=True))
        left = [known[id(one)] or one for one in found]
        kept = [one for one in left if isinstance(one, Weighed)]
        return kept, [one for one in left if isinstance(one, Dropped)]

    def _doubt_anew(
        self,
        looks: Looks,
        found: Sequence[Weighed],
        effort: Effort,
        library: Library | None,
        texts: Texts,
    ) -> list[Weighed | Dropped]:
        """Try to refute what only the model says and would be loud; a deep review looks things up.

        What withstood that is then mended where it can be.
        """
        loud = [one for one in found if effort is not Effort.QUICK and is_doubtful(one)]
        deep = effort is Effort.DEEP
        refuted = refute(looks, loud, library if deep else None)
        judged = dict(zip(map(id, loud), refuted, strict=True))
        left = [judged.get(id(one), one) for one in found]
        if deep:
            stands = [one for one in left if isinstance(one, Weighed) and is_loud(one)]
            mended = dict(zip(map(id, stands), mend(looks, stands, texts), strict=True))
            left = [mended.get(id(one), one) for one in left]
        return left

    def _trusted(self, found: Sequence[Weighed]) -> tuple[list[Weighed], list[Dropped]]:
        """Drop what the model in use may not say without proof."""
        floor = Rung(self.model.info.min_rung) if self.model else Rung.E0
        kept: list[Weighed] = []
        dropped: list[Dropped] = []
        for one in found:
            if not one.placed.finding.by_model or one.rung >= floor:
                kept.append(one)
            else:
                reason = f"this model's findings need evidence {floor}, this has {one.rung}"
                dropped.append(Dropped(one.placed, reason))
        return kept, dropped


def find_fixed(said: Sequence[Said], result: Result) -> tuple[Said, ...]:
    """Find what was said and no longer holds: its code has changed, and nobody finds it again."""
    standing = frozenset[str]().union(*name_all(result.findings, said, result.shown))
    unreviewed = {row.unit.path for row in result.ledger.unreviewed}
    return tuple(
        one
        for one in said
        if one.outdated
        and not one.closed
        and one.fingerprint not in standing
        and one.path not in unreviewed
    )


def why_skip(pull: PullRequest, policy: Policy, wishes: Wishes) -> str:
    """Say why a pull request is not reviewed; empty when it is."""
    if not pull.open:
        return CLOSED
    if not wishes.automatic:
        return ""
    if not policy.auto:
        return "the policy reviews only when somebody asks"
    if pull.draft and not policy.drafts:
        return "the pull request is a draft"
    return ""


def read_policy(code: Code, base_sha: str) -> Policy:
    """Read the repository's policy from the base commit: a pull request never changes its rules."""
    files = {file.path: file for file in code.read_files(base_sha, POLICY_PATHS)}
    path = next((path for path in POLICY_PATHS if path in files), POLICY_PATHS[0])
    return parse_policy(files[path].data if path in files else None, path)


def generated_paths(change: Change, diff: Diff) -> frozenset[str]:
    """Find the paths that the base commit declares generated."""
    if change.code is None or change.base_sha is None:
        return frozenset()
    return change.code.list_generated(change.base_sha, [file.path for file in diff.files])


def read_sources(change: Change, diff: Diff, ledger: Ledger) -> tuple[SourceFile, ...]:
    """Read the head of every file that has something to review; a lone patch gives added files."""
    wanted = {unit.path for unit in ledger.planned}
    present = [
        file for file in diff.files if file.path in wanted and file.kind is not ChangeKind.REMOVED
    ]
    if change.code is not None and change.head_sha is not None:
        read = change.code.read_files(change.head_sha, [file.path for file in present])
        return _settled(read, present) if change.loose else read
    return _added(present)


def _settled(read: Sequence[SourceFile], present: Sequence[FileDiff]) -> tuple[SourceFile, ...]:
    """Bring files to how a lone patch leaves them; one that it does not fit is left out."""
    changed = {file.path: file for file in present}
    texts = ((one, settle(changed[one.path], decode(one.data))) for one in read)
    known = [replace(one, data=encode(text)) for one, text in texts if text is not None]
    names = {one.path for one in read}
    return (*known, *_added([file for file in present if file.path not in names]))


def _added(present: Sequence[FileDiff]) -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(file.path, encode(added_text(file)))
        for file in present
        if file.kind is ChangeKind.ADDED
    )


def note_unread(sources: Sequence[SourceFile], diff: Diff, ledger: Ledger) -> tuple[str, ...]:
    """Name the files that no analyzer could read, because only their patch is at hand."""
    read = {source.path for source in sources}
    removed = {file.path for file in diff.files if file.kind is ChangeKind.REMOVED}
    unread = sorted({unit.path for unit in ledger.planned} - read - removed)
    if not unread:
        return ()
    named = ", ".join(unread[:FILES_NAMED]) + (", ..." if len(unread) > FILES_NAMED else "")
    return (f"no analyzer read {len(unread)} of the files, whose text is not at hand: {named}",)


def read_texts(sources: Sequence[SourceFile], diff: Diff) -> Texts:
    """Give each changed file's text at both ends, masked as a model may see it."""
    head = {source.path: decode(source.data) for source in sources}
    changed = {file.path: file for file in diff.files}
    base: dict[str, str] = {}
    for file in diff.files:
        if file.kind is ChangeKind.REMOVED and file.hunks:
            base[file.path] = show(removed_text(file))
    for path, text in head.items():
        file = changed[path]
        if file.hunks and file.kind is not ChangeKind.ADDED:
            base[path] = base[file.old_path or path] = show(undo(file, text))
    return Texts(head={path: show(text) for path, text in head.items()}, base=base)


def read_project_guidelines(change: Change, units: Sequence[Unit]) -> str:
    """Read the project's own guidelines at the base commit, as data of lower rank."""
    if change.code is None or change.base_sha is None:
        return ""
    paths = guideline_paths(change.code.list_paths(change.base_sha))
    files = change.code.read_files(change.base_sha, paths)
    texts = {file.path: show(decode(file.data)) for file in files}
    return read_guidelines(texts, sorted({unit.path for unit in units}))


def notes_of(diff: Diff, ledger: Ledger) -> tuple[str, ...]:
    """Collect what a reader should know of the change's files: encodings, links, cut lines."""
    files = [f"{file.path}: {file.note}" for file in diff.files if file.note]
    units = [f"{row.unit.path}: {row.unit.note}" for row in ledger.rows if row.unit.note]
    found = tuple(dict.fromkeys((*files, *units)))
    left = len(found) - NOTES_SHOWN
    return (*diff.notes, *found[:NOTES_SHOWN], *([f"and {left} notes more"] if left > 0 else []))


def find_call_sites(change: Change, units: Sequence[Unit], texts: Texts) -> tuple[CallSite, ...]:
    """Find who uses the functions whose signature changed or that are gone."""
    code, sha = change.code, change.head_sha
    if code is None or sha is None:
        return ()
    found: list[CallSite] = []
    for symbol in changed_signatures(units, texts.base, texts.head):
        hits = code.search(sha, symbol.name)
        files = code.read_files(sha, sorted({hit.path for hit in hits}))
        shown = {file.path: show(decode(file.data)) for file in files}
        found += confirm_call_sites(symbol, hits, shown)
    return tuple(found)


def witnesses_of(change: Change, texts: Texts) -> Witnesses:
    """Say what the oracles may look at."""
    code, sha = change.code, change.head_sha
    if code is None or sha is None:
        return Witnesses(head=texts.head, base=texts.base)
    manifests = [path for path in code.list_paths(sha) if is_manifest(path)][:MANIFESTS_READ]
    return Witnesses(
        head=texts.head,
        base=texts.base,
        manifests={file.path: decode(file.data) for file in code.read_files(sha, manifests)},
        has_name=lambda name: bool(code.search(sha, name, 1)),
    )


def masked(finding: Finding) -> Finding:
    """Take secrets out of what an analyzer says; its line tells where it stands."""
    return replace(finding, title=mask(finding.title), why=mask(finding.why), quote="")


def concerns_change(placed: Placed, diff: Diff) -> bool:
    """Tell whether a finding is about the change: analyzers read whole files."""
    if placed.finding.by_model:
        return True
    anchor = placed.anchor
    file = diff.file(anchor.path) if anchor else None
    if anchor is None or file is None:
        return False
    lines = commentable(file)
    numbers = range(anchor.start_line, anchor.line + 1)
    spots = (lines.get((anchor.side, number)) for number in numbers)
    return any(spot is not None and spot[1].changed for spot in spots)


def library_of(change: Change) -> Library | None:
    """Say where a doubting look may look things up."""
    if change.code is None or change.head_sha is None:
        return None
    return Library(change.code, change.head_sha)


def is_doubtful(one: Weighed) -> bool:
    """Tell whether only the model says it, and it would be loud."""
    claimed = one.placed.finding.severity
    return (
        one.rung < Rung.E2 and claimed.rank >= Severity.MAJOR.rank and one.placed.anchor is not None
    )


def is_loud(one: Weighed) -> bool:
    """Tell whether it is a model's finding that will be told as major or above."""
    return one.placed.finding.by_model and one.severity.rank >= Severity.MAJOR.rank


def terms_of(change: Change, wishes: Wishes) -> str:
    """Say on which terms answers are kept.

    They name a pull request by numbers, which no renaming changes; a change without one by none.
    """
    pull = change.pull
    place = f"{pull.ref.repository_id}#{pull.ref.number}" if pull else "-"
    return f"{place} {wishes.effort}"


def ids(units: Sequence[Unit]) -> list[str]:
    """List the units' ids."""
    return [unit.id for unit in units]


def risk(chunk: Chunk) -> int:
    """Rank a chunk for when money is short: code first, then tests, then prose."""
    return max(_risk(unit.path) for unit in chunk.units)


def _risk(path: str) -> int:
    lower = path.lower()
    if lower.endswith((".md", ".rst", ".txt", ".adoc")):
        return 0
    return 1 if "test" in lower else 2
