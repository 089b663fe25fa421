"""Findings on their lines: where GitHub accepts a comment, or nowhere. Never drops a finding."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.diff import Side
from app.core.findings import Finding


@dataclass(frozen=True, slots=True)
class Anchor:
    """Lines of one side in one hunk that a review comment may stand on; both ends included."""

    path: str
    side: Side
    start_line: int
    line: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A finding and its anchor; without one it belongs in the summary, and ``note`` says why."""

    finding: Finding
    anchor: Anchor | None
    note: str = ""
