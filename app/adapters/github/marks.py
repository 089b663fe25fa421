"""How we know our own words again: a signed marker that no page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.identity import make_marker, read_markers
from app.core.pull import PullRef, PullRequest

FINDING = "finding"
"""On a comment: the fingerprint of what it says."""
REVIEW = "review"
"""On a review's body: the key of the job that wrote it."""
SUMMARY = "summary"
"""On the one summary comment: the key of the job that wrote it last."""
REPLY = "reply"
"""On an answer: the number of the comment it answers."""
FIXED = "fixed"
"""On the last word in a thread: the fingerprint of what no longer holds."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Signs names for one pull request, and reads back what was signed for it.

    ``older`` keys sign nothing any more: the App's private key was rotated.
    """

    key: bytes = field(repr=False)
    older: tuple[bytes, ...] = field(default=(), repr=False)

    def sign(self, ref: PullRef, kind: str, name: str, head_sha: str) -> str:
        """Return the marker to put into a text."""
        return make_marker(self.key, kind, name, ref.repository_id, ref.number, head_sha)

    def signer(self, pull: PullRequest) -> Callable[[str, str], str]:
        """Return what signs (kind, name) for words about this head."""
        return lambda kind, name: self.sign(pull.ref, kind, name, pull.head_sha)

    def read(self, ref: PullRef, kind: str, text: str) -> tuple[str, ...]:
        """Return the names of this kind whose signature holds for this pull request."""
        return tuple(
            marker.fingerprint
            for key in (self.key, *self.older)
            for marker in read_markers(text, key, ref.repository_id, ref.number)
            if marker.kind == kind
        )
