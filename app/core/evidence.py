"""Which rung of evidence a finding has reached, and what that caps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.core.anchors import Placed
from app.core.findings import Severity


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
