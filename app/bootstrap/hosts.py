"""GitHub as one job sees it: reads, writes, and the code of one pull request."""

from __future__ import annotations

from pathlib import Path

from app.adapters.git import GitObjects, fetch_commits
from app.adapters.github.access import Access
from app.adapters.github.conversation import GitHubConversation
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.adapters.github.reading import GitHubPulls
from app.core.pull import PullRequest
from app.pipeline import Host
from app.ports import RawDiff


def build_host(access: Access, marks: Marks, scratch: Path) -> Host:
    """Wire GitHub; the pull request's objects are fetched into ``scratch``, a private directory."""
    store = scratch / "objects.git"

    def fetch(pull: PullRequest, *shas: str) -> GitObjects:
        return fetch_commits(store, access.code_url(pull.ref), shas, access.token(pull.ref))

    def open_code(pull: PullRequest) -> GitObjects:
        return fetch(pull, pull.base_sha, pull.head_sha)

    def fill(pull: PullRequest, merge_base: str) -> RawDiff:
        return fetch(pull, merge_base, pull.head_sha).diff_raw(merge_base, pull.head_sha)

    return Host(
        pulls=GitHubPulls(access, fill),
        reviews=GitHubReviews(access, marks),
        conversation=GitHubConversation(access, marks),
        open_code=open_code,
    )
