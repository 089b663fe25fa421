"""What a GitHub remembers: plain records, changed only by `world`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox.github.git import Changes, GitRepository

if TYPE_CHECKING:
    from sandbox.github.world import World

Json = dict[str, Any]
Permissions = dict[str, str]

REVIEWER = {
    "metadata": "read",
    "contents": "read",
    "pull_requests": "write",
    "issues": "read",
    "checks": "write",
}
SUBSCRIBED = (
    "pull_request",
    "issue_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "check_run",
    "check_suite",
    "repository",
)
LEVELS = ("none", "read", "triage", "write", "maintain", "admin")


class Kind(StrEnum):
    """What an account is, in GitHub's words."""

    USER = "User"
    BOT = "Bot"
    ORGANIZATION = "Organization"


@dataclass(eq=False, slots=True)
class User:
    """An account: a person, an organization or an App's bot."""

    id: int
    login: str
    kind: Kind = Kind.USER

    @property
    def email(self) -> str:
        """Return the address GitHub gives to everybody's commits."""
        return f"{self.id}+{self.login}@users.noreply.github.invalid"


@dataclass(eq=False, slots=True)
class App:
    """A GitHub App with its key, its bot and the place its webhooks go to."""

    id: int
    slug: str
    name: str
    owner: User
    bot: User
    key: RSAPrivateKey
    private_key: str
    permissions: Permissions
    events: tuple[str, ...]
    webhook_secret: str
    webhook_url: str | None
    created_at: float
    hook_content_type: str = "json"
    hook_insecure_ssl: str = "0"


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts: an account, and the App it acts through."""

    user: User
    app: App | None = None


@dataclass(eq=False, slots=True)
class Installation:
    """An App on an account; `repositories` is None when it may see all of them."""

    id: int
    app: App
    account: User
    permissions: Permissions
    repositories: set[int] | None
    created_at: float
    suspended_at: float | None = None
    deleted: bool = False


@dataclass(eq=False, slots=True)
class Token:
    """What a client authenticates with: an installation's token or a person's."""

    value: str
    installation: Installation | None
    user: User
    permissions: Permissions
    repositories: frozenset[int] | None
    expires_at: float
    calls_left: int | None = None
    used: int = 0
    window_ends_at: float = 0

    @property
    def author(self) -> Author:
        """Return who a call with this token acts as."""
        return Author(self.user, self.installation.app if self.installation else None)


@dataclass(eq=False, slots=True)
class Reaction:
    """One reaction to a comment."""

    id: int
    user: User
    content: str
    created_at: float


@dataclass(eq=False, slots=True)
class IssueComment:
    """One comment of a pull request's conversation."""

    id: int
    pull: "Pull"
    author: Author
    body: str
    created_at: float
    updated_at: float
    reactions: list[Reaction] = field(default_factory=list)
    minimized: bool = False


@dataclass(eq=False, slots=True)
class Review:
    """One review of one commit."""

    id: int
    pull: "Pull"
    author: Author
    body: str
    state: str
    commit_id: str
    submitted_at: float | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a comment hangs in a comparison; `position` is None once it is outdated."""

    side: str
    line: int | None
    start_side: str | None
    start_line: int | None
    position: int | None


@dataclass(eq=False, slots=True)
class ReviewComment:
    """One comment on a line, a range or a file."""

    id: int
    review: Review
    thread: "Thread"
    body: str
    created_at: float
    updated_at: float
    reactions: list[Reaction] = field(default_factory=list)
    minimized: bool = False

    @property
    def author(self) -> Author:
        """Return who wrote it."""
        return self.review.author

    @property
    def pull(self) -> "Pull":
        """Return the pull request it stands on."""
        return self.review.pull


@dataclass(eq=False, slots=True)
class Thread:
    """The comments that hang on one place."""

    id: int
    path: str
    subject: str
    original: Anchor
    now: Anchor
    original_commit_id: str
    commit_id: str
    diff_hunk: str
    comments: list[ReviewComment] = field(default_factory=list)
    resolved_by: User | None = None

    @property
    def outdated(self) -> bool:
        """Tell whether the line it was about is no longer in the diff."""
        return self.now.position is None


@dataclass(eq=False, slots=True)
class CheckSuite:
    """One App's check runs on one commit."""

    id: int
    app: App
    repository: "Repository"
    head_sha: str
    created_at: float


@dataclass(eq=False, slots=True)
class CheckRun:
    """One check of one commit."""

    id: int
    suite: CheckSuite
    name: str
    status: str
    conclusion: str | None
    external_id: str
    details_url: str
    started_at: float
    completed_at: float | None
    output: Json
    annotations: list[Json] = field(default_factory=list)
    actions: list[Json] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Pull:
    """A pull request. `head_repository` is None once the fork is gone."""

    id: int
    number: int
    repository: "Repository"
    author: User
    title: str
    body: str | None
    head_repository: "Repository | None"
    head_owner: User
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool
    created_at: float
    updated_at: float
    state: str = "open"
    locked: bool = False
    closed_at: float | None = None
    merged_at: float | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    labels: list[str] = field(default_factory=list)
    comments: list[IssueComment] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)

    @property
    def review_comments(self) -> list[ReviewComment]:
        """Return the comments of submitted reviews, oldest first."""
        every = [comment for thread in self.threads for comment in thread.comments]
        shown = [comment for comment in every if comment.review.state != "PENDING"]
        return sorted(shown, key=lambda comment: comment.id)

    @property
    def world(self) -> "World":
        """Return the GitHub it lives on."""
        return self.repository.world

    def push(self, changes: Changes, message: str = "More work") -> str:
        """Commit on the head branch and return the new head."""
        if self.head_repository is None:
            raise LookupError("the head repository was deleted")
        return self.head_repository.commit(changes, branch=self.head_ref, message=message)

    def comment(self, user: User, body: str) -> IssueComment:
        """Say something in the conversation."""
        return self.world.comment(self, Author(user), body)

    def edit(self, user: User, title: str | None = None, body: str | None = None) -> None:
        """Change the title or the description."""
        self.world.edit_pull(self, user, title, body)

    def close(self, user: User | None = None) -> None:
        """Close it without merging."""
        self.world.change_state(self, user, "closed")

    def reopen(self, user: User | None = None) -> None:
        """Open it again."""
        self.world.change_state(self, user, "open")

    def merge(self, user: User | None = None) -> str:
        """Merge it into its base and return the merge commit."""
        return self.world.merge(self, user)

    def convert_to_draft(self, user: User | None = None) -> None:
        """Say that it is not ready."""
        self.world.change_draft(self, user, draft=True)

    def ready_for_review(self, user: User | None = None) -> None:
        """Say that it is ready."""
        self.world.change_draft(self, user, draft=False)

    def label(self, name: str, user: User | None = None) -> None:
        """Put a label on it."""
        self.world.label(self, user, name)


@dataclass(eq=False, slots=True)
class Repository:
    """A repository: its git objects, who may do what, and its pull requests."""

    id: int
    owner: User
    name: str
    private: bool
    git: GitRepository
    created_at: float
    pushed_at: float
    world: "World"
    default_branch: str = "main"
    parent: "Repository | None" = None
    access: dict[int, str] = field(default_factory=dict)
    old_names: list[str] = field(default_factory=list)
    pulls: dict[int, Pull] = field(default_factory=dict)
    suites: list[CheckSuite] = field(default_factory=list)
    check_runs: list[CheckRun] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """Return `owner/name`."""
        return f"{self.owner.login}/{self.name}"

    def commit(
        self,
        changes: Changes,
        *,
        branch: str = "main",
        message: str = "Work",
        author: User | None = None,
        parent: str | None = None,
    ) -> str:
        """Commit on a branch and return the commit's id; a new branch starts at the default one.

        With `parent` the branch is rewritten to start there, as a force push does.
        """
        return self.world.commit(self, changes, branch, message, author, parent)

    def open_pull(
        self,
        head: str,
        title: str,
        author: User,
        *,
        base: str | None = None,
        body: str | None = None,
        draft: bool = False,
        fork: "Repository | None" = None,
    ) -> Pull:
        """Open a pull request from a branch here or, with `fork`, there."""
        branches = (fork or self, head, base or self.default_branch)
        return self.world.open_pull(self, branches, title, body, author, draft=draft)

    def fork(self, owner: User) -> "Repository":
        """Copy it to another account."""
        return self.world.fork(self, owner)

    def grant(self, user: User, level: str) -> None:
        """Give a user none, read, triage, write, maintain or admin."""
        self.world.grant(self, user, level)


@dataclass(eq=False, slots=True)
class Delivery:
    """One attempt to hand an event to an App. `status_code` is 0 until it was sent."""

    id: int
    guid: str
    app: App
    event: str
    payload: Json
    body: bytes
    headers: dict[str, str]
    redelivery: bool
    delivered_at: float
    status: str = "not sent"
    status_code: int = 0
    duration_s: float = 0.0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where GitHub stops; the numbers are its documented ones, a test may lower them.

    docs.github.com/en/repositories/creating-and-managing-repositories/repository-limits and the
    pages of the endpoints.
    """

    files_listed: int = 3000
    compare_files: int = 300
    compare_commits: int = 250
    diff_files: int = 300
    diff_lines: int = 20_000
    diff_bytes: int = 1_000_000
    patch_lines: int = 20_000
    patch_bytes: int = 500_000
    directory_entries: int = 1000
    content_bytes: int = 1_000_000
    blob_bytes: int = 100_000_000
    body_characters: int = 65_536
    check_text_characters: int = 65_535
    annotations: int = 50
    token_seconds: int = 3600
    requests_per_hour: int = 5000
