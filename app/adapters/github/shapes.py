"""What we read of GitHub's answers: the fields we use, and nothing we do not."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

Sha = str
SHA = r"^([0-9a-f]{40}|[0-9a-f]{64})$"


class Account(BaseModel):
    """A user, bot or organisation."""

    id: int
    login: str
    type: str = "User"


class Repository(BaseModel):
    """A repository by number and present name."""

    id: int
    full_name: str
    archived: bool = False


class Branch(BaseModel):
    """One side of a pull request; the repository is gone when a fork was deleted."""

    ref: str
    sha: Sha = Field(pattern=SHA)
    repo: Repository | None = None


class Pull(BaseModel):
    """A pull request; the counts are only there when it is asked for by itself."""

    number: int
    title: str
    body: str | None = None
    state: str
    draft: bool = False
    locked: bool = False
    user: Account | None = None
    head: Branch
    base: Branch
    html_url: str = ""
    created_at: datetime
    updated_at: datetime
    changed_files: int | None = None
    additions: int | None = None
    deletions: int | None = None


class ChangedFile(BaseModel):
    """One row of a pull request's files."""

    filename: str
    status: str
    sha: str | None = None
    additions: int
    deletions: int
    patch: str | None = None
    previous_filename: str | None = None
    contents_url: str = ""


class Comparison(BaseModel):
    """Where two commits parted."""

    class Commit(BaseModel):
        """A commit by id."""

        sha: Sha = Field(pattern=SHA)

    merge_base_commit: Commit


class App(BaseModel):
    """A GitHub App."""

    id: int
    slug: str


class CheckRun(BaseModel):
    """A check run; ``external_id`` is ours to choose."""

    class Output(BaseModel):
        """What was reported so far."""

        annotations_count: int = 0
        text: str | None = None

    id: int
    external_id: str | None = None
    status: str
    conclusion: str | None = None
    app: App | None = None
    output: Output = Output()


class Made(BaseModel):
    """Anything just created or changed."""

    id: int
    html_url: str = ""


class ReviewRow(BaseModel):
    """A review as it is listed."""

    id: int
    state: str
    user: Account | None = None


class Done(BaseModel):
    """An answer of which only the status matters."""


class MintedToken(BaseModel):
    """An installation's token."""

    token: str = Field(repr=False)
    expires_at: datetime


class Installation(BaseModel):
    """Where an App is installed and what it was granted."""

    id: int
    permissions: dict[str, str] = {}
    suspended_at: datetime | None = None


class Permission(BaseModel):
    """What a user may do in a repository."""

    permission: str
    user: Account


class Delivery(BaseModel):
    """One attempt to deliver a webhook."""

    id: int
    guid: str
    delivered_at: datetime
    status: str
    event: str


class Resolved(BaseModel):
    """The answer to resolving a thread; that there is one is enough."""

    done: Done = Field(alias="resolveReviewThread")
