"""Who a finding is: fingerprints, clusters, and what was said before. Never a line number inside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """A comment of ours that already stands on the pull request, proven to be ours.

    ``closed`` is true when its thread was resolved, or a person answered it or thumbed it down.
    """

    fingerprint: str
    comment_id: int
    path: str
    line: int | None
    closed: bool = False
    outdated: bool = False
    thread_id: str | None = None
