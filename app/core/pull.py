"""What is known of a pull request before its diff is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PullRef:
    """Which pull request, bound once when a job starts; nothing later names another.

    ``repository`` is ``owner/name`` as last seen and may change; ``repository_id`` is the identity.
    """

    repository_id: int
    repository: str
    number: int
    installation_id: int | None = None


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One pull request at one moment; both commits are full object ids."""

    ref: PullRef
    title: str
    body: str
    author_id: int
    author: str
    base_sha: str
    head_sha: str
    base_branch: str = ""
    head_branch: str = ""
    draft: bool = False
    open: bool = True
    author_is_bot: bool = False
    changed_files: int | None = None
    additions: int | None = None
    deletions: int | None = None
    head_repository_id: int | None = None
    url: str = ""
