"""All that was said on a pull request, by one query: reviews, threads, the conversation.

Whether words are ours is decided here and nowhere else: the author must be our own account and the
marker in them must carry our signature. Review comments and reviews name no App on GitHub; a bot's
account belongs to one App alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, Field

from app.adapters.github.client import Client
from app.core.diff import Side
from app.core.pull import PullRef
from app.errors import HostMissing, HostUnavailable

MOST_PAGES = 50
SIZES = (100, 25)
"""Rows asked for at once; a talk that GitHub can't gather in ten seconds is asked for in parts."""
QUERY = """
query ($owner: String!, $name: String!, $number: Int!, $size: Int!, $after: String) {
  viewer { databaseId }
  repository(owner: $owner, name: $name) {
    databaseId
    pullRequest(number: $number) {
      headRefOid
      state
      locked
      reviews(last: $size) {
        nodes {
          fullDatabaseId
          state
          body
          url
          commit { oid }
          author { __typename login ... on Bot { databaseId } ... on User { databaseId } }
        }
      }
      comments(last: $size) {
        nodes {
          fullDatabaseId
          body
          url
          author { __typename login ... on Bot { databaseId } ... on User { databaseId } }
        }
      }
      reviewThreads(first: $size, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          isResolved
          isOutdated
          path
          line
          diffSide
          comments(first: $size) {
            nodes {
              fullDatabaseId
              body
              author { __typename login ... on Bot { databaseId } ... on User { databaseId } }
              pullRequestReview { fullDatabaseId }
              reactions(content: THUMBS_DOWN) { totalCount }
            }
          }
        }
      }
    }
  }
}
"""


class Author(BaseModel):
    """Who wrote it; a deleted account is no author at all."""

    kind: str = Field(alias="__typename")
    id: int = Field(default=0, alias="databaseId")


class Commit(BaseModel):
    """A commit by id."""

    oid: str


class Numbered(BaseModel):
    """Anything with a number, which GraphQL gives as text: it may be longer than 32 bits."""

    id: int = Field(alias="fullDatabaseId")


class Written(Numbered):
    """Anything with words and an author."""

    body: str
    url: str = ""
    author: Author | None


class ReviewNode(Written):
    """A review of one commit."""

    state: str
    commit: Commit | None


class Count(BaseModel):
    """How many there are."""

    total: int = Field(alias="totalCount")


class CommentNode(Written):
    """A review comment."""

    review: Numbered | None = Field(alias="pullRequestReview")
    thumbs_down: Count = Field(alias="reactions")


class Comments(BaseModel):
    """The comments of one thread."""

    nodes: list[CommentNode]


class ThreadNode(BaseModel):
    """A thread of review comments."""

    id: str
    resolved: bool = Field(alias="isResolved")
    outdated: bool = Field(alias="isOutdated")
    path: str
    line: int | None
    side: Side = Field(alias="diffSide")
    comments: Comments


class PageInfo(BaseModel):
    """Where the list goes on."""

    more: bool = Field(alias="hasNextPage")
    cursor: str | None = Field(alias="endCursor")


class Threads(BaseModel):
    """One page of threads."""

    page: PageInfo = Field(alias="pageInfo")
    nodes: list[ThreadNode]


class Reviews(BaseModel):
    """The latest reviews."""

    nodes: list[ReviewNode]


class Conversation(BaseModel):
    """The latest comments of the conversation."""

    nodes: list[Written]


class PullNode(BaseModel):
    """A pull request and everything said on it."""

    head_sha: str = Field(alias="headRefOid")
    state: str
    locked: bool
    reviews: Reviews
    comments: Conversation
    threads: Threads = Field(alias="reviewThreads")


class RepositoryNode(BaseModel):
    """A repository with the pull request asked for."""

    id: int = Field(alias="databaseId")
    pull: PullNode | None = Field(alias="pullRequest")


class Viewer(BaseModel):
    """Whose token asks: an App's is its bot's."""

    id: int = Field(alias="databaseId")


class Found(BaseModel):
    """What the query finds."""

    viewer: Viewer
    repository: RepositoryNode | None


@dataclass(frozen=True, slots=True)
class Talk:
    """A pull request as it stands now, with everything said on it; ``us`` is our account there."""

    us: int
    head_sha: str
    open: bool
    locked: bool
    reviews: tuple[ReviewNode, ...]
    comments: tuple[Written, ...]
    threads: tuple[ThreadNode, ...] = field(default=())


def fetch_talk(client: Client, ref: PullRef) -> Talk:
    """Fetch everything said: all threads, the latest reviews and comments. Raises HostError."""
    try:
        return _fetch(client, ref, SIZES[0])
    except HostUnavailable:
        return _fetch(client, ref, SIZES[1])


def _fetch(client: Client, ref: PullRef, size: int) -> Talk:
    talk: Talk | None = None
    for us, page in _pages(client, ref, size):
        talk = talk or Talk(
            us=us,
            head_sha=page.head_sha,
            open=page.state == "OPEN",
            locked=page.locked,
            reviews=tuple(page.reviews.nodes),
            comments=tuple(page.comments.nodes),
        )
        talk = replace(talk, threads=(*talk.threads, *page.threads.nodes))
    if talk is None:
        raise HostMissing("the pull request is gone")
    return talk


def ours(written: Written, us: int) -> bool:
    """Tell whether the account with our number wrote it."""
    return written.author is not None and written.author.id == us


def by_a_person(written: Written, us: int) -> bool:
    """Tell whether somebody wrote it who is neither we nor another bot."""
    return not ours(written, us) and (written.author is None or written.author.kind != "Bot")


def _pages(client: Client, ref: PullRef, size: int) -> Iterator[tuple[int, PullNode]]:
    owner, _, name = ref.repository.partition("/")
    fixed = {"owner": owner, "name": name, "number": ref.number, "size": size}
    after: str | None = None
    for _ in range(MOST_PAGES):
        variables = {**fixed, "after": after}
        answer = client.graphql(Found, QUERY, variables)
        found = answer.repository
        if found is None or found.pull is None or found.id != ref.repository_id:
            raise HostMissing("the pull request is gone")
        yield answer.viewer.id, found.pull
        after = found.pull.threads.page.cursor
        if not found.pull.threads.page.more:
            return
