"""Reviews by a process that holds no secret to sign with: nothing it reads proves anything.

Whatever key it makes up, its next run has another. So nothing is known as said before, and all
that may keep a comment back is one of the same account, on the same file, with the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from app.adapters.github.access import Access
from app.adapters.github.talk import fetch_talk, ours
from app.core.identity import Said
from app.core.pull import PullRequest
from app.core.review import CheckReport, Review
from app.ports import Posted, Reviews

_MARKER = re.compile(r"<!-- postil:1 [^<>]*-->")


@dataclass(frozen=True, slots=True)
class UnsignedReviews:
    """Posts through ``reviews`` what does not stand there word by word."""

    reviews: Reviews
    access: Access

    def open_check(self, pull: PullRequest, key: str) -> int | None:
        """Start our check run on the head, or find it."""
        return self.reviews.open_check(pull, key)

    def close_check(self, pull: PullRequest, check_id: int | None, report: CheckReport) -> None:
        """Complete our check run."""
        self.reviews.close_check(pull, check_id, report)

    def fetch_said(self, pull: PullRequest) -> tuple[Said, ...]:
        """Know nothing: without a signature nothing is proven."""
        del pull
        return ()

    def post(self, pull: PullRequest, review: Review) -> Posted:
        """Post what is new. Raises HostError."""
        talk = fetch_talk(self.access.client(pull.ref), pull.ref)
        comments = {
            (thread.path, _bare(thread.comments.nodes[0].body))
            for thread in talk.threads
            if thread.comments.nodes and ours(thread.comments.nodes[0], talk.us)
        }
        bodies = {_bare(one.body) for one in (*talk.reviews, *talk.comments) if ours(one, talk.us)}
        fresh = tuple(
            one for one in review.comments if (one.anchor.path, _bare(one.body)) not in comments
        )
        body = "" if _bare(review.body) in bodies else review.body
        return self.reviews.post(pull, replace(review, body=body, comments=fresh))


def _bare(text: str) -> str:
    """Take the markers out: they differ from run to run."""
    return _MARKER.sub("", text).strip()
