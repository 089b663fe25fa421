"""What was found on a unit, kept so that the same unit is not asked about again.

A unit is known by everything an answer about it rests on: its lines, what it is shown with, the
instructions, the model. No line number is among that, and none in what is kept: a unit that moved
is the same unit, and its findings move with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from app.core.anchors import squeeze
from app.core.chunks import render_unit
from app.core.evidence import Dropped, Weighed
from app.core.findings import Category, Finding, Severity
from app.core.ledger import Unit
from app.core.slices import Slice

KEY: Final = 32
"""Hex digits of a key."""

_TAG: Final = re.compile(r"^[LR]\d+ ", re.MULTILINE)


class _Kept(BaseModel):
    """A finding; ``first`` and ``last`` count lines of the unit's hunk, or are tags as given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    first: int | str
    last: int | str
    quote: str
    severity: str
    category: str
    title: str
    why: str
    scenario: str
    suggestion: str | None


class _Judged(BaseModel):
    """What doubts left of a finding; ``dropped`` is why nothing is left."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dropped: str | None
    severity: str
    notes: list[str]
    suggestion: str | None


_KEPT: Final = TypeAdapter(list[_Kept])


def unit_key(unit: Unit, around: Slice, asked: str, hints: Sequence[Finding]) -> str:
    """Name a unit with all that an answer about it rests on.

    ``asked`` stands for the rest of the prompt and for who answers it; of the ``hints`` about its
    file those on the unit's lines count.
    """
    tags = _tags(unit)
    told = [
        (tags[hint.first], hint.title, hint.source, hint.rule)
        for hint in hints
        if hint.first in tags
    ]
    shown = _TAG.sub("", render_unit(unit, around))
    return _digest("unit", asked, unit.id, unit.kind, unit.old_path, shown, told)


def terms_key(terms: str) -> str:
    """Name the terms on which something is kept."""
    return _digest("terms", terms)


def claim_key(one: Weighed, keys: Iterable[str]) -> str:
    """Name a finding before it is doubted; ``keys`` are those of its file's units."""
    claim = one.placed.finding
    words = (claim.quote, claim.title, claim.why, claim.scenario, claim.suggestion)
    weight = (claim.severity, one.fingerprint, one.rung, one.severity, one.notes)
    return _digest("claim", sorted(keys), words, weight)


def share_findings(
    findings: Sequence[Finding], units: Sequence[Unit]
) -> Mapping[str, tuple[Finding, ...]]:
    """Give each finding of an answer to one of the units it is about, by the unit's id."""
    shared: dict[str, list[Finding]] = {unit.id: [] for unit in units}
    for finding in findings if units else ():
        home = find_home(finding, units) or units[0]
        shared[home.id].append(finding)
    return {name: tuple(some) for name, some in shared.items()}


def find_home(finding: Finding, units: Sequence[Unit]) -> Unit | None:
    """Find the unit that a finding is about: by its line, else by its quote, else by its path."""
    near = [unit for unit in units if finding.path in {unit.path, unit.old_path}]
    quote = squeeze(finding.quote)
    tagged = (unit for unit in near if finding.first in _tags(unit))
    quoted = (unit for unit in near if quote and quote in _texts(unit))
    return next(tagged, None) or next(quoted, None) or next(iter(near), None)


def write_findings(unit: Unit, findings: Sequence[Finding]) -> str:
    """Write what was found on a unit."""
    tags = _tags(unit)
    kept = [
        _Kept(
            path=finding.path,
            first=tags.get(finding.first, finding.first),
            last=tags.get(finding.last, finding.last),
            quote=finding.quote,
            severity=finding.severity.value,
            category=finding.category.value,
            title=finding.title,
            why=finding.why,
            scenario=finding.scenario,
            suggestion=finding.suggestion,
        ).model_dump()
        for finding in findings
    ]
    return _json(kept)


def read_findings(text: str | None, unit: Unit) -> tuple[Finding, ...] | None:
    """Read what was found on a unit, on the lines it has now; None when nothing usable is kept."""
    tags = tuple(_tags(unit))
    try:
        kept = _KEPT.validate_json(text or "")
        return tuple(
            Finding(
                path=one.path,
                first=_tag(tags, one.first),
                last=_tag(tags, one.last),
                quote=one.quote,
                severity=Severity(one.severity),
                category=Category(one.category),
                title=one.title,
                why=one.why,
                scenario=one.scenario,
                suggestion=one.suggestion,
            )
            for one in kept
        )
    except (ValueError, IndexError):
        return None


def write_judged(judged: Weighed | Dropped) -> str:
    """Write what doubts left of a finding."""
    suggestion = judged.placed.finding.suggestion
    if isinstance(judged, Dropped):
        kept = _Judged(dropped=judged.reason, severity="", notes=[], suggestion=suggestion)
    else:
        severity, notes = judged.severity.value, list(judged.notes)
        kept = _Judged(dropped=None, severity=severity, notes=notes, suggestion=suggestion)
    return _json(kept.model_dump())


def read_judged(text: str | None, one: Weighed) -> Weighed | Dropped | None:
    """Read what doubts left of this finding; None when nothing usable is kept."""
    try:
        kept = _Judged.model_validate_json(text or "")
        if kept.dropped is not None:
            return Dropped(one.placed, kept.dropped)
        finding = replace(one.placed.finding, suggestion=kept.suggestion)
        return replace(
            one,
            placed=replace(one.placed, finding=finding),
            severity=Severity(kept.severity),
            notes=tuple(kept.notes),
        )
    except ValueError:
        return None


def _tags(unit: Unit) -> dict[str, int]:
    """Count the unit's lines, by tag."""
    return {line.tag: at for at, line in enumerate(unit.hunk.lines)} if unit.hunk else {}


def _texts(unit: Unit) -> set[str]:
    return {squeeze(line.text) for line in unit.hunk.lines} if unit.hunk else set()


def _tag(tags: Sequence[str], place: int | str) -> str:
    return place if isinstance(place, str) else tags[place]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _digest(*parts: object) -> str:
    text = json.dumps(parts, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY]
