"""The ledger: one row per unit, written before anything is asked; verdict and conclusion from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.core.diff import ChangeKind, Hunk


class UnitState(StrEnum):
    """Where a unit stands."""

    PLANNED = "planned"
    REVIEWED = "reviewed"
    WAIVED = "waived"
    FAILED = "failed"
    OVER_BUDGET = "over_budget"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"


class Verdict(StrEnum):
    """What a run came to."""

    CLEAN = "clean"
    FINDINGS = "findings"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    PLANNED = "planned"


class Conclusion(StrEnum):
    """A check run's conclusion, in GitHub's words."""

    SUCCESS = "success"
    NEUTRAL = "neutral"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Unit:
    """One hunk, or a piece of a huge one, of one file: what the ledger counts.

    ``id`` is made of the path, the symbol and the changed text, never of line numbers. A file with
    nothing to show (binary, renamed only, patch missing) is one unit with ``hunk`` None.
    """

    id: str
    path: str
    kind: ChangeKind
    hunk: Hunk | None
    symbol: str = ""
    changed_lines: int = 0
    old_path: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A unit and its state; ``reason`` is the rule, cause or limit, empty only when reviewed."""

    unit: Unit
    state: UnitState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """How many units and changed lines stand in one state."""

    units: int
    changed_lines: int
