"""The repository's own choices, from the base commit: which pulls, which files, what gates."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.core.findings import Severity


class Effort(StrEnum):
    """How hard a review looks."""

    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class PathRule:
    """Instructions for the files that match a gitignore-style pattern."""

    match: str
    instructions: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What `.postil.toml` says, with defaults for what it does not; ``notes`` go to the summary.

    ``fail_on`` None means the gate never fails.
    """

    auto: bool = True
    drafts: bool = False
    effort: Effort = Effort.STANDARD
    max_comments: int = 10
    min_severity: Severity = Severity.MINOR
    ignore: tuple[str, ...] = ()
    instructions: str = ""
    paths: tuple[PathRule, ...] = ()
    fail_on: Severity | None = None
    per_review_usd: Decimal | None = None
    notes: tuple[str, ...] = ()
