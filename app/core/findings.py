"""Findings, and the only place where a model's words become values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much it matters; compare with ``rank``."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info to 3 for critical."""
        return ("info", "minor", "major", "critical").index(self.value)


class Category(StrEnum):
    """What kind of trouble it is. Style is not one of them."""

    BUG = "bug"
    SECURITY = "security"
    CONCURRENCY = "concurrency"
    DATA = "data"
    API = "api"
    PERFORMANCE = "performance"
    TEST = "test"
    DOCS = "docs"


MODEL = "model"


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim about the change, not yet placed on the diff.

    ``first`` and ``last`` are line tags (``R13``, ``L2``) as given, right or wrong; ``quote`` is
    the text of the line tagged ``first``. ``source`` is ``model`` or ``analyzer:NAME``; ``rule``
    is an analyzer's own code for it.
    """

    path: str
    first: str
    last: str
    quote: str
    severity: Severity
    category: Category
    title: str
    why: str
    scenario: str = ""
    suggestion: str | None = None
    source: str = MODEL
    rule: str | None = None
