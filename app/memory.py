"""What earlier runs found on the units of this one: what did not change is not asked again.

Findings are kept as the model gave them, so they are placed, weighed and counted anew like those
of this run: a unit that is not asked about again stands in the review as if it had been.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.chunks import Chunk
from app.core.evidence import Dropped, Weighed
from app.core.findings import Finding
from app.core.ledger import Unit
from app.core.memory import (
    claim_key,
    read_findings,
    read_judged,
    share_findings,
    terms_key,
    unit_key,
    write_findings,
    write_judged,
)
from app.core.policy import path_instructions
from app.core.slices import Slice
from app.looks import Questions
from app.ports import Traces


@dataclass(frozen=True, slots=True)
class Memory:
    """Keeps findings by unit, and what doubts left of them by claim.

    ``keys`` name the ``units`` by id; units without a key are not remembered. ``found`` is what
    was kept of them, by the same ids. ``full`` takes nothing from it, and keeps everything anew.
    ``terms`` are those under which anything is kept.
    """

    traces: Traces
    terms: str = ""
    units: tuple[Unit, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    full: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that was found on units that are not asked about again."""
        return tuple(finding for some in self.found.values() for finding in some)

    def recall(self) -> Memory:
        """Look up what was found on the units."""
        texts = self._load([self.keys[unit.id] for unit in self.units])
        read = (
            (unit.id, read_findings(text, unit))
            for unit, text in zip(self.units, texts, strict=True)
        )
        return replace(self, found={name: some for name, some in read if some is not None})

    def keep(self, ids: Iterable[str], findings: Sequence[Finding]) -> None:
        """Keep what was found on the units of these ids, which is all there is to say of them."""
        wanted = {*ids} - self.found.keys()
        units = [unit for unit in self.units if unit.id in wanted]
        shared = share_findings(findings, units)
        texts = {self.keys[unit.id]: write_findings(unit, shared[unit.id]) for unit in units}
        self._save({terms_key(self.terms): "true", **texts} if texts else texts)

    def recall_judged(self, claims: Sequence[Weighed]) -> tuple[Weighed | Dropped | None, ...]:
        """Look up what doubts left of each finding."""
        texts = self._load([self._claim_key(one) for one in claims])
        return tuple(read_judged(text, one) for text, one in zip(texts, claims, strict=True))

    def keep_judged(self, judged: Sequence[tuple[Weighed, Weighed | Dropped]]) -> None:
        """Keep what doubts left of each finding; one that is as it was has not been looked at."""
        looked = [(one, left) for one, left in judged if left != one]
        self._save({self._claim_key(one): write_judged(left) for one, left in looked})

    def _claim_key(self, one: Weighed) -> str:
        """Name a finding while its file is as it is; empty when the file is not remembered."""
        path = one.placed.path or one.placed.finding.path
        keys = [self.keys[unit.id] for unit in self.units if unit.path == path]
        return claim_key(one, keys) if keys else ""

    def _load(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        named = [] if self.full else [key for key in dict.fromkeys(keys) if key]
        texts = dict(zip(named, self.traces.load_answers(named), strict=True)) if named else {}
        return tuple(texts.get(key) for key in keys)

    def _save(self, texts: Mapping[str, str]) -> None:
        named = {key: text for key, text in texts.items() if key}
        if named:
            self.traces.save_answers(named)


def open_memory(
    traces: Traces, questions: Questions, units: Sequence[Unit], terms: str, *, full: bool
) -> Memory:
    """Name units by all that answers about them rest on, and look up what is kept.

    ``terms`` are those that no prompt shows. The pull request belongs to them: what was said of a
    unit beside others that have gone holds there alone.
    """
    asked: dict[tuple[str, ...], str] = {}
    keys: dict[str, str] = {}
    hints: dict[str, list[Finding]] = {}
    for hint in questions.hints:
        hints.setdefault(hint.path, []).append(hint)
    info, bare = questions.info, replace(questions, hints=())
    for unit in units:
        rules = path_instructions(questions.policy, unit.path)
        if rules not in asked:
            prompt = bare.review(Chunk("", (unit,), "", 0), 0)
            asked[rules] = f"{info.provider}/{info.name} {terms} {prompt.key}"
        around = questions.slices.get(unit.id, Slice())
        keys[unit.id] = unit_key(unit, around, asked[rules], hints.get(unit.path, ()))
    return Memory(traces, terms, tuple(units), keys, full=full).recall()


def remembers(traces: Traces, terms: str) -> bool:
    """Tell whether anything was ever kept on these terms."""
    return traces.load_answers([terms_key(terms)]) != (None,)
