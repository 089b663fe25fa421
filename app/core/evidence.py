"""Which rung of evidence a finding has reached, and what that caps.

=====  ==============================================  =================================
Rung   Reached when                                    Severity at most
=====  ==============================================  =================================
none   its quote is nowhere in the file                dropped
none   an oracle contradicts it                        dropped
E0     its quote is in the code                        minor (info when nobody can look)
E1     and everything it names exists                  major (critical when it withstood
                                                       a look that tried to refute it)
E2     an analyzer says the same, or an oracle agrees  what it claims
E3     a test shows it                                 what it claims
=====  ==============================================  =================================

A claim about a package's version that no manifest can settle stays at E0. Nothing here ever makes
a finding louder than it claims to be.
"""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Final

from app.core.anchors import Anchor, Placed, squeeze
from app.core.diff import Side
from app.core.findings import Finding, Severity, Standing
from app.core.oracles import (
    Case,
    Packages,
    Ruling,
    read_manifests,
    rule_on_syntax,
    rule_on_undefined,
    rule_on_unused,
    rule_on_versions,
)
from app.core.suggestions import check_suggestion


class Rung(StrEnum):
    """How far a finding is proven."""

    E0 = "E0"
    """The quote is in the code."""
    E1 = "E1"
    """Every symbol and call site it names exists."""
    E2 = "E2"
    """A deterministic oracle agrees: analyzer, parser, lock file."""
    E3 = "E3"
    """A test shows it."""


CAPS: Final[Mapping[Rung, Severity]] = {
    Rung.E0: Severity.MINOR,
    Rung.E1: Severity.MAJOR,
    Rung.E2: Severity.CRITICAL,
    Rung.E3: Severity.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Weighed:
    """A placed finding with its rung; ``severity`` is what the rung lets it claim."""

    placed: Placed
    rung: Rung
    severity: Severity
    notes: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A finding that is not shown, and why."""

    placed: Placed
    reason: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """One claim in its best telling, and the others that say the same."""

    placed: Placed
    agreeing: tuple[Placed, ...] = ()

    @property
    def members(self) -> tuple[Placed, ...]:
        """Every telling of the claim."""
        return (self.placed, *self.agreeing)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What oracles may look at, all of it at the pinned commits and masked as the model saw it.

    ``head`` and ``base`` are texts by path, of the changed files; ``manifests`` are lock files and
    manifests by path. ``has_name`` tells whether a word stands anywhere in the head commit; None
    when nobody can tell.
    """

    head: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, str] = field(default_factory=dict)
    has_name: Callable[[str], bool] | None = None

    def text(self, anchor: Anchor) -> str | None:
        """Return the file that an anchor stands in, on its side."""
        return (self.base if anchor.side is Side.LEFT else self.head).get(anchor.path)


ORACLES: Final[tuple[Callable[[Case], Ruling | None], ...]] = (
    rule_on_syntax,
    rule_on_undefined,
    rule_on_unused,
    rule_on_versions,
)

WITHSTOOD: Final = "withstood a look to refute it"
NO_QUOTE: Final = "the code it quotes is nowhere in the file"


def weigh(
    clusters: Sequence[Cluster], witnesses: Witnesses
) -> tuple[tuple[Weighed, ...], tuple[Dropped, ...]]:
    """Find the rung of every claim, cap its severity, and drop what an oracle contradicts.

    A suggestion that can't be offered is taken off its finding, and the notes say why.
    """
    packages = read_manifests(witnesses.manifests)
    if witnesses.has_name is not None:
        witnesses = replace(witnesses, has_name=cache(witnesses.has_name))
    weighed: list[Weighed] = []
    dropped: list[Dropped] = []
    for cluster in clusters:
        placed, reason = _sound(cluster.placed, witnesses)
        result = _weigh(replace(cluster, placed=placed), witnesses, packages)
        if reason and isinstance(result, Weighed):
            result = replace(result, notes=(*result.notes, f"its suggestion is left out: {reason}"))
        if isinstance(result, Dropped):
            dropped.append(result)
        else:
            weighed.append(result)
    return tuple(weighed), tuple(dropped)


def apply_refutation(weighed: Weighed, verdict: Standing, reason: str) -> Weighed | Dropped:
    """Take the result of a look that tried to refute a finding.

    What an oracle proved is not talked away. What stands may be as loud as it claims from E1 on;
    what is left unsure is at most minor.
    """
    if weighed.rung >= Rung.E2:
        return weighed
    if verdict is Standing.FALLS:
        return Dropped(weighed.placed, f"refuted: {reason}")
    if verdict is Standing.UNSURE:
        severity = _lower(weighed.severity, CAPS[Rung.E0])
        return replace(weighed, severity=severity, notes=(*weighed.notes, f"unsure: {reason}"))
    if weighed.rung is Rung.E0:
        return replace(weighed, notes=(*weighed.notes, WITHSTOOD))
    claimed = weighed.placed.finding.severity
    kept = [note for note in weighed.notes if note != _claimed_as(claimed)]
    return replace(weighed, severity=claimed, notes=(*kept, WITHSTOOD))


def offer_suggestion(weighed: Weighed, text: str, head: Mapping[str, str]) -> Weighed:
    """Give a finding a suggestion that came later, if it can be offered; else the notes say why.

    ``head`` are the files at the head commit, by path.
    """
    placed = weighed.placed
    offered = replace(placed, finding=replace(placed.finding, suggestion=text))
    placed, reason = _sound(offered, Witnesses(head=head))
    if reason:
        note = f"a suggestion that was asked for is left out: {reason}"
        return replace(weighed, notes=(*weighed.notes, note))
    return replace(weighed, placed=placed)


def _weigh(cluster: Cluster, witnesses: Witnesses, packages: Packages) -> Weighed | Dropped:
    placed = cluster.placed
    tools = [p.finding for p in cluster.members if not p.finding.by_model]
    if tools:
        names = dict.fromkeys(_tool(finding) for finding in tools)
        notes = [f"found by {', '.join(names)}"]
        if any(p.finding.by_model for p in cluster.members):
            notes.append("the model says the same")
        return _capped(placed, Rung.E2, notes)
    if placed.anchor is None:
        return _weigh_unplaced(placed, witnesses)
    ruling = _ask_oracles(placed, placed.anchor, witnesses, packages)
    if ruling is not None and ruling.agrees is False:
        return Dropped(placed, ruling.note)
    if ruling is not None:
        return _capped(placed, Rung.E2 if ruling.agrees else Rung.E0, [ruling.note])
    if missing := _missing_names(placed.finding, placed.anchor, witnesses):
        listed = ", ".join(f"`{name}`" for name in missing[:3])
        return _capped(placed, Rung.E0, [f"names {listed}, found nowhere in the code"])
    return _capped(placed, Rung.E1, ["everything it names is in the code"])


def _sound(placed: Placed, witnesses: Witnesses) -> tuple[Placed, str | None]:
    """Take off a suggestion that can't be offered, and say why."""
    finding, anchor = placed.finding, placed.anchor
    if finding.suggestion is None:
        return placed, None
    path = anchor.path if anchor else placed.path
    reason = check_suggestion(finding, anchor, witnesses.head.get(path), path)
    if reason is None:
        return placed, None
    return replace(placed, finding=replace(finding, suggestion=None)), reason


def _weigh_unplaced(placed: Placed, witnesses: Witnesses) -> Weighed | Dropped:
    """Weigh a claim without an anchor: its quote is elsewhere in its file, or it is dropped."""
    quote = squeeze(placed.finding.quote.strip().partition("\n")[0])
    sides = (witnesses.head, witnesses.base)
    texts = [text for side in sides if (text := side.get(placed.path))]
    if not quote or not texts:
        weighed = _capped(placed, Rung.E0, [placed.note])
        return replace(weighed, severity=Severity.INFO)
    if not any(quote in squeeze(text) for text in texts):
        return Dropped(placed, NO_QUOTE)
    return _capped(placed, Rung.E0, [placed.note])


def _ask_oracles(
    placed: Placed, anchor: Anchor, witnesses: Witnesses, packages: Packages
) -> Ruling | None:
    case = Case(
        finding=placed.finding,
        path=anchor.path,
        text=witnesses.text(anchor),
        lines=range(anchor.start_line, anchor.line + 1),
        packages=packages,
    )
    rulings = (oracle(case) for oracle in ORACLES)
    return next((ruling for ruling in rulings if ruling is not None), None)


def _capped(placed: Placed, rung: Rung, notes: Sequence[str]) -> Weighed:
    claimed = placed.finding.severity
    severity = _lower(claimed, CAPS[rung])
    told = [note for note in notes if note]
    if severity is not claimed:
        told.append(_claimed_as(claimed))
    return Weighed(placed, rung, severity, tuple(told))


def _claimed_as(severity: Severity) -> str:
    return f"claimed as {severity}"


def _lower(one: Severity, other: Severity) -> Severity:
    return min(one, other, key=lambda severity: severity.rank)


def _tool(finding: Finding) -> str:
    name = finding.source.removeprefix("analyzer:")
    return f"{name} {finding.rule}" if finding.rule else name


# The names a claim makes of the code.

_SPAN: Final = re.compile(r"`([^`\n]+)`")
_CALL: Final = re.compile(r"(?<![\w.`])([A-Za-z_][\w.]*)\(")
_CHAIN: Final = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|::|->)[A-Za-z_$][\w$]*)*")
_LITERAL: Final = re.compile(r"\"[^\"]*\"|'[^']*'|<[A-Z_]+_\d+>|<U\+[0-9A-F]{4,6}>")
_OUTCOME: Final = re.compile(r"[A-Z]\w*(?:Error|Exception|Warning|Fault|Panic)|[A-Z]{1,4}")
_MIN_NAME: Final = 3
_COMMON: Final = frozenset(
    (*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *sys.stdlib_module_names)
) | frozenset(
    (
        "Err",
        "NULL",
        "Ok",
        "Option",
        "Result",
        "Some",
        "String",
        "Vec",
        "append",
        "boolean",
        "byte",
        "catch",
        "chan",
        "char",
        "const",
        "crate",
        "default",
        "defer",
        "double",
        "enum",
        "expect",
        "export",
        "extends",
        "false",
        "final",
        "fn",
        "func",
        "function",
        "impl",
        "instanceof",
        "interface",
        "let",
        "long",
        "make",
        "map",
        "mod",
        "mut",
        "new",
        "nil",
        "null",
        "number",
        "package",
        "panic",
        "printf",
        "println",
        "private",
        "protected",
        "pub",
        "public",
        "select",
        "self",
        "short",
        "signed",
        "static",
        "std",
        "string",
        "struct",
        "switch",
        "this",
        "throw",
        "throws",
        "true",
        "typeof",
        "undefined",
        "unsigned",
        "unwrap",
        "use",
        "var",
        "void",
    )
)


def _missing_names(finding: Finding, anchor: Anchor, witnesses: Witnesses) -> list[str]:
    """Return the names in the claim's words that stand nowhere in the code."""
    texts = (witnesses.head.get(anchor.path), witnesses.base.get(anchor.path), finding.quote)
    known = {word for text in texts if text for word in re.findall(r"[\w$]+", text)}
    known.update(re.findall(r"\w+", anchor.path))
    unknown = [name for name in dict.fromkeys(_names(finding)) if name not in known]
    if witnesses.has_name is None:
        return unknown if witnesses.text(anchor) is not None else []
    return [name for name in unknown if not witnesses.has_name(name)]


def _names(finding: Finding) -> Iterator[str]:
    """Yield what stands in backticks or is called; in a scenario, only what is called."""
    for text in (finding.title, finding.why):
        for span in _SPAN.finditer(text):
            yield from _chain_names(span[1])
    for text in (finding.title, finding.why, finding.scenario):
        for call in _CALL.finditer(text):
            yield from _chain_names(call[1])


def _chain_names(code: str) -> Iterator[str]:
    """Yield the names of an expression; what hangs on a standard module is taken as it is."""
    if "/" in code:
        return
    for chain in _CHAIN.finditer(_LITERAL.sub(" ", code)):
        names = re.split(r"\.|::|->", chain[0])
        if names[0] in sys.stdlib_module_names:
            continue
        for name in names:
            if len(name) >= _MIN_NAME and name not in _COMMON and not _OUTCOME.fullmatch(name):
                yield name
