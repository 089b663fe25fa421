"""The look that doubts: what would be loud is tried to be refuted, and what stands may be mended.

Before its verdict such a look may look things up, by two actions on one pinned commit that change
nothing. What the model asks for is checked against the commit's own list of files; it names no
commit, host or tool, and how often and how much is bounded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.evidence import Dropped, Weighed, apply_refutation, offer_suggestion
from app.core.findings import Action, Decision, parse_decide, parse_patch, parse_refute
from app.core.prompts import Answer, Observation
from app.core.texts import Texts, decode, show
from app.errors import AnswerRejected, CodeError
from app.looks import Looks
from app.ports import Code

STEPS = 6
"""How often one look may look something up."""
EXCERPT = 6_000
"""Characters of one thing looked up that are shown."""
MAX_LINE = 300
HITS = 50
PATCH_CONTEXT = 40
"""Lines before and after the ones that are to be replaced."""
POINTER = "version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Library:
    """The files of one pinned commit, for reading."""

    code: Code
    sha: str

    def look_up(self, decision: Decision, claim: Anchor | None) -> str:
        """Do what was decided; what can't be done is said."""
        try:
            if decision.action is Action.SEARCH_CODE:
                return self._search(decision.query or "", decision.path)
            return self._inspect(decision.path or "", decision.query or "", claim)
        except CodeError as error:
            return f"not available: {error.message}"

    def _inspect(self, path: str, near: str, claim: Anchor | None) -> str:
        """Show a part of a file: near a text, else near the claim, else its head."""
        if path not in self.code.list_paths(self.sha):
            return "not a file of this commit"
        files = self.code.read_files(self.sha, [path])
        text = decode(files[0].data) if files else ""
        if not files or "\0" in text or text.startswith(POINTER):
            return "a link, a submodule, a binary or a very large file: there is no text to show"
        lines = show(text).removesuffix("\n").split("\n")
        found = (number for number, line in enumerate(lines) if near and near in line)
        centre = next(found, None)
        missing = f"no line of it holds {near[:MAX_LINE]!r}\n" if near and centre is None else ""
        if centre is None and claim and (claim.path, claim.side) == (path, Side.RIGHT):
            centre = claim.line - 1
        return missing + _excerpt(lines, centre or 0)

    def _search(self, text: str, path: str | None) -> str:
        """Show the lines that hold a text."""
        if path and path not in self.code.list_paths(self.sha):
            return "not a file of this commit"
        found = self.code.search(self.sha, text, HITS)
        hits = [hit for hit in found if path in {None, "", hit.path}]
        more = ["there are more\n"] if len(found) == HITS else []
        if not hits:
            return "".join(["no line holds it\n", *more])
        lines = [f"{hit.path}:{hit.line}: {show(hit.text)[:MAX_LINE]}\n" for hit in hits]
        return _cut("".join([*lines, *more]))


@dataclass(slots=True)
class Doubt:
    """One finding on its way to a verdict."""

    finding: Weighed
    shown: str
    seen: dict[str, str] = field(default_factory=dict)
    """What was looked up, and what was seen; the latest is the last."""
    notes: dict[str, str] = field(default_factory=dict)
    """What was noted after each."""
    reasons: set[str] = field(default_factory=set)
    ended: bool = False

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Return everything that was seen, for the verdict."""
        return tuple(Observation(what, text) for what, text in self.seen.items())

    @property
    def summary(self) -> tuple[Observation, ...]:
        """Return the last thing seen, and of the others what was noted."""
        noted = [Observation(what, "", self.notes.get(what, "")) for what in self.seen]
        return (*noted[:-1], *self.observations[-1:])

    def follow(self, decision: Decision, library: Library) -> None:
        """Look up what was decided; a call that was made before is answered from memory.

        It ends at ``finish``, and when no new reason is given.
        """
        reason = " ".join(decision.rationale.split()).lower()
        if decision.action is Action.FINISH or reason in self.reasons:
            self.ended = True
            return
        self.reasons.add(reason)
        if self.seen:
            self.notes[next(reversed(self.seen))] = decision.rationale
        what = _name(decision)
        remembered = self.seen.pop(what, None)
        self.seen[what] = remembered or library.look_up(decision, self.finding.placed.anchor)


def refute(
    looks: Looks, findings: Sequence[Weighed], library: Library | None
) -> tuple[Weighed | Dropped, ...]:
    """Try to refute each finding, in order; one that could not be looked at stays as it is.

    With a library each look may look things up first.
    """
    doubts = [Doubt(finding, looks.shown(finding)) for finding in findings]
    if library is not None:
        _look_up(looks, doubts, library)
    questions = looks.questions
    prompts = [questions.refute(one.finding, one.shown, one.observations) for one in doubts]
    judged: list[Weighed | Dropped] = []
    failed = 0
    for finding, prompt, reply in zip(findings, prompts, looks.ask_aside(prompts), strict=True):
        try:
            answer = parse_refute(reply.text if isinstance(reply, Answer) else "", prompt.nonce)
        except AnswerRejected:
            failed += 1
            judged.append(finding)
        else:
            judged.append(apply_refutation(finding, answer.verdict, answer.reason))
    if failed:
        looks.remarks.append(f"{failed} of {len(findings)} refuting looks failed")
    return tuple(judged)


def mend(looks: Looks, findings: Sequence[Weighed], texts: Texts) -> tuple[Weighed, ...]:
    """Ask for a suggestion where a finding has none; what comes is checked as any other."""
    places = [(one, _around(one, texts)) for one in findings]
    asked = [(one, place) for one, place in places if place is not None]
    prompts = [looks.questions.patch(one, *place) for one, place in asked]
    mended: dict[str, Weighed] = {}
    failed = 0
    replies = looks.ask_aside(prompts)
    for (one, _), prompt, reply in zip(asked, prompts, replies, strict=True):
        try:
            text = parse_patch(reply.text if isinstance(reply, Answer) else "", prompt.nonce)
        except AnswerRejected:
            failed += 1
        else:
            mended[one.fingerprint] = offer_suggestion(one, text, texts.head)
    if failed:
        looks.remarks.append(f"{failed} of {len(asked)} suggestions could not be asked for")
    return tuple(mended.get(one.fingerprint, one) for one in findings)


def _look_up(looks: Looks, doubts: Sequence[Doubt], library: Library) -> None:
    """Let every doubt look things up, all of them side by side, step by step."""
    failed = 0
    for left in range(STEPS, 0, -1):
        going = [doubt for doubt in doubts if not doubt.ended]
        prompts = [looks.questions.decide(d.finding, d.shown, d.summary, left) for d in going]
        for doubt, prompt, reply in zip(going, prompts, looks.ask_aside(prompts), strict=True):
            try:
                text = reply.text if isinstance(reply, Answer) else ""
                doubt.follow(parse_decide(text, prompt.nonce), library)
            except AnswerRejected:
                failed += 1
                doubt.ended = True
    if failed:
        looks.remarks.append(f"{failed} of {len(doubts)} refuting looks could not look further")


def _name(decision: Decision) -> str:
    """Name a call in words; two calls of one name are the same."""
    path, query = decision.path or "", decision.query or ""
    if decision.action is Action.SEARCH_CODE:
        return f"lines that hold {query!r}" + (f" in {path!r}" if path else "")
    return f"file {path!r}" + (f" near {query!r}" if query else "")


def _excerpt(lines: Sequence[str], centre: int) -> str:
    """Show the lines around one, numbered, as many as fit."""
    centre = min(max(centre, 0), len(lines) - 1)
    first = last = centre
    room = EXCERPT - len(_numbered(lines, centre))
    while room > 0 and (first > 0 or last + 1 < len(lines)):
        if first > 0:
            first -= 1
            room -= len(_numbered(lines, first))
        if last + 1 < len(lines) and room > 0:
            last += 1
            room -= len(_numbered(lines, last))
    shown = "".join(_numbered(lines, number) for number in range(first, last + 1))
    return f"lines {first + 1} to {last + 1} of {len(lines)}\n{shown}"


def _numbered(lines: Sequence[str], index: int) -> str:
    text = lines[index]
    cut = "..." if len(text) > MAX_LINE else ""
    return f"{index + 1}: {text[:MAX_LINE]}{cut}\n"


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}\n(cut here)"


def _around(finding: Weighed, texts: Texts) -> tuple[str, str, str] | None:
    """Return the code before, in and after a finding's lines, when it may have a suggestion."""
    anchor = finding.placed.anchor
    text = texts.head.get(anchor.path) if anchor and anchor.side is Side.RIGHT else None
    if anchor is None or text is None or finding.placed.finding.suggestion is not None:
        return None
    lines = text.split("\n")
    first, last = anchor.start_line - 1, anchor.line
    before = "".join(f"{line}\n" for line in lines[max(0, first - PATCH_CONTEXT) : first])
    after = "".join(f"\n{line}" for line in lines[last : last + PATCH_CONTEXT])
    return before, "\n".join(lines[first:last]), after
