"""GitHub as one job sees it: reads, writes, and the code of one pull request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.adapters.git import GitObjects, fetch_commits
from app.adapters.github.access import Access
from app.adapters.github.conversation import GitHubConversation
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.adapters.github.reading import GitHubPulls, JustRead
from app.adapters.github.together import both
from app.core.address import choose_proxy
from app.core.pull import PullRequest
from app.pipeline import Host
from app.ports import RawDiff


def build_host(
    access: Access,
    marks: Marks,
    scratch: Path,
    *,
    proxies: Mapping[str, str] | None = None,
    posts: bool = False,
) -> Host:
    """Wire GitHub; the pull request's objects are fetched into ``scratch``, a private directory.

    While git fetches them, what is read next is read beside it; ``posts`` says that this is also
    our check runs on the head.
    """
    store, just = scratch / "objects.git", JustRead.nothing(access.site.clock)

    def fetch(pull: PullRequest, *shas: str) -> GitObjects:
        url, token = access.code_url(pull.ref), access.token(pull.ref)
        return fetch_commits(store, url, shas, token, proxy=choose_proxy(proxies or {}, url))

    def fill(pull: PullRequest, merge_base: str) -> RawDiff:
        return fetch(pull, merge_base, pull.head_sha).diff_raw(merge_base, pull.head_sha)

    pulls, reviews = GitHubPulls(access, fill, just), GitHubReviews(access, marks, just)

    def read_ahead(pull: PullRequest) -> None:
        if posts:
            both(lambda: pulls.read_ahead(pull), lambda: reviews.read_ahead(pull))
        else:
            pulls.read_ahead(pull)

    def open_code(pull: PullRequest) -> GitObjects:
        code, _ = both(lambda: fetch(pull, pull.base_sha, pull.head_sha), lambda: read_ahead(pull))
        return code

    return Host(
        pulls=pulls,
        reviews=reviews,
        conversation=GitHubConversation(access, marks),
        open_code=open_code,
    )
