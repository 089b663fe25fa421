"""Everything a run came to, and every sentence a person reads of it."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.anchors import Anchor
from app.core.ledger import Conclusion


@dataclass(frozen=True, slots=True)
class Comment:
    """One line comment, ready to post: the body has passed the output gate and holds its marker."""

    anchor: Anchor
    body: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One check-run annotation; ``level`` is GitHub's word (notice, warning, failure)."""

    path: str
    start_line: int
    end_line: int
    level: str
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check run says when it is completed."""

    conclusion: Conclusion
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """One review of one head, frozen before the first write.

    ``key`` names the run in markers (the same for every attempt at the same job). ``body`` is
    empty when there is nothing to say beyond the check run.
    """

    key: str
    head_sha: str
    body: str
    comments: tuple[Comment, ...]
    check: CheckReport
