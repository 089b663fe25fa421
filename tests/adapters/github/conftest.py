"""One App on one repository of a GitHub on loopback, and our adapter in front of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.adapters.github.access import GitHubApp
from app.adapters.github.conversation import GitHubConversation
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.adapters.github.reading import GitHubPulls
from app.adapters.github.transport import Timeouts
from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.ledger import Conclusion
from app.core.pull import PullRef, PullRequest
from app.core.review import CheckReport, Comment, Review
from sandbox.github import App, Fault, GitHub, Installation, Pull, Repository, User
from sandbox.github.http import Reply, Request
from tests.adapters.github.one_review import KEY, NOW

LINES = 60
OLD = "".join(f"old {number}\n" for number in range(1, LINES + 1))
NEW = "".join(f"new {number}\n" for number in range(1, LINES + 1))
Fact = Any
"""What a constructor takes: its own annotations say which."""
JOB = "review:1:1:auto"


@dataclass(slots=True)
class Time:
    """A clock that only a sleep moves; GitHub's and ours are the same one."""

    now: float = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Scene:
    """A pull request that rewrites sixty lines, by alice, in acme/shop."""

    github: GitHub
    time: Time
    app: App
    repository: Repository
    installation: Installation
    alice: User
    pull: Pull
    patience: float = 5

    @property
    def ref(self) -> PullRef:
        home = self.repository
        return PullRef(home.id, home.full_name, self.pull.number, self.installation.id)

    def access(self, **facts: Fact) -> GitHubApp:
        return GitHubApp(
            self.app.id,
            self.app.private_key,
            self.github.url,
            **{
                "clock": self.time,
                "sleep": self.time.sleep,
                "timeouts": Timeouts(silence=self.patience, whole=4 * self.patience),
                **facts,
            },
        )

    def impatient(self) -> Scene:
        """Wait only so long for an answer that never comes."""
        return replace(self, patience=0.4)

    def fetch(self) -> PullRequest:
        return GitHubPulls(self.access()).fetch_pull(self.ref)

    def reviews(self, access: GitHubApp | None = None) -> GitHubReviews:
        return GitHubReviews(access or self.access(), Marks(KEY))

    def conversation(self, access: GitHubApp | None = None) -> GitHubConversation:
        return GitHubConversation(access or self.access(), Marks(KEY))

    def review(
        self, count: int = 1, *, key: str = JOB, body: str = "Found something", first: int = 1
    ) -> Review:
        """Compose a review that comments on the first ``count`` new lines."""
        pull = self.fetch()
        comments = tuple(
            Comment(
                Anchor("cart.py", Side.RIGHT, number, number),
                f"About line {number}",
                name(number),
            )
            for number in range(first, first + count)
        )
        return Review(key, pull.head_sha, body, comments, report())

    def bad_line(self, review: Review, *at: int) -> Review:
        """Move some comments to lines that are not in the diff."""
        comments = [
            Comment(Anchor("cart.py", Side.RIGHT, 900, 900), one.body, one.fingerprint)
            if place in at
            else one
            for place, one in enumerate(review.comments)
        ]
        return Review(review.key, review.head_sha, review.body, tuple(comments), review.check)

    def inject(self, method: str, pattern: str, **facts: Fact) -> Fault:
        return self.github.inject(Fault(method, pattern, **facts))

    def after(self, method: str, pattern: str, change: Callable[[], object]) -> None:
        """Let something happen right after the first call that matches."""
        respond = self.github._server.respond
        done: list[bool] = []

        def respond_and_change(request: Request) -> Reply:
            path = request.path
            reply = respond(request)
            if request.method == method and re.search(pattern, path) and not done:
                done.append(True)
                change()
            return reply

        self.github._server.respond = respond_and_change

    def writes(self) -> list[tuple[str, str]]:
        """Name the calls that changed something, without those that only ask or log in."""
        return [
            (one.method, one.path.rpartition("/shop")[2])
            for one in self.github.calls
            if one.method != "GET" and "graphql" not in one.path and "access_tokens" not in one.path
        ]

    def lines_said(self) -> list[int]:
        """Return the lines our review comments were posted on, with repetitions."""
        return sorted(
            one.thread.original.line or 0
            for one in self.pull.review_comments
            if one.author.user is self.app.bot
        )

    def summaries(self) -> list[str]:
        return [one.body for one in self.pull.comments if one.author.user is self.app.bot]


def name(number: int) -> str:
    return f"{number:016x}"


def report(**facts: Fact) -> CheckReport:
    return CheckReport(
        **{"conclusion": Conclusion.NEUTRAL, "title": "Done", "summary": "All of it", **facts}
    )


def build_scene(github: GitHub, time: Time) -> Scene:
    github.clock = time
    app = github.create_app()
    home = github.create_repository("acme/shop", {"cart.py": OLD, "notes.md": "a\n"})
    installation = github.install(app, home.owner)
    alice = github.create_user("alice")
    github.grant(home, alice, "write")
    home.commit({"cart.py": NEW}, branch="one")
    pull = home.open_pull("one", "Rewrite it", author=alice)
    return Scene(github, time, app, home, installation, alice, pull)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with GitHub() as github:
        yield build_scene(github, Time())


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    opened: list[GitHub] = []

    def make(**facts: Fact) -> Scene:
        github = GitHub(**facts).__enter__()
        opened.append(github)
        return build_scene(github, Time())

    yield make
    for github in opened:
        github.close()
