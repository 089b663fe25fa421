"""Pull requests as GitHub tells of them: the record and the changed files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

from app.adapters import crash
from app.adapters.github import shapes
from app.adapters.github.access import Access
from app.adapters.github.client import Client
from app.adapters.github.limits import FILES_LISTED, PAGE
from app.adapters.github.quota import Clock
from app.adapters.github.talk import Talk
from app.adapters.github.together import Kept, side_by_side
from app.core.diff import ChangeKind, RawFile
from app.core.pull import PullRef, PullRequest
from app.errors import HostInvalid, HostMissing, HostRefused, HostUnavailable
from app.ports import RawDiff

NEW_PULL_PAUSES = (1.0, 2.0, 2.0)
"""Seconds to wait for a pull request that was announced but can't be read yet."""
PAGE_SIZES = (PAGE, PAGE // 2, PAGE // 4)
"""A page that GitHub can't make in its ten seconds may succeed when it is smaller:
https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api"""

EMPTY_BLOBS = frozenset(
    (
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    )
)
"""What git calls a file without content: ``git hash-object --stdin </dev/null``, by SHA-1 and by
SHA-256."""

UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
"""JSON can't carry a path that is not UTF-8: only git knows its name."""

FillPatches = Callable[[PullRequest, str], RawDiff]
"""(pull, merge base) -> every changed file with its patch, from the git object store."""


@dataclass(frozen=True, slots=True)
class JustRead:
    """What one job has read of its pull request a moment ago, so that nobody asks again."""

    pulls: Kept[PullRequest]
    files: Kept[tuple[RawFile, ...]]
    talks: Kept[Talk]
    checks: Kept[tuple[shapes.CheckRun, ...]]

    @classmethod
    def nothing(cls, clock: Clock) -> JustRead:
        """Begin with nothing."""
        return cls(Kept(clock), Kept(clock), Kept(clock), Kept(clock))


class GitHubPulls:
    """Reads pull requests; ``fill`` gives what GitHub's list leaves out."""

    def __init__(
        self, access: Access, fill: FillPatches | None = None, just: JustRead | None = None
    ) -> None:
        self._access = access
        self._fill = fill
        self._just = just or JustRead.nothing(access.site.clock)

    def fetch_pull(self, ref: PullRef) -> PullRequest:
        """Fetch the pull request as it is now. Raises HostError."""
        known = self._just.pulls.take(ref)
        if known is not None:
            return known
        client = self._access.client(ref)
        for pause in NEW_PULL_PAUSES:
            try:
                return _fetch(client, ref)
            except HostMissing as missing:
                if missing.data.get("final"):
                    raise
                client.site.sleep(pause)
        try:
            return _fetch(client, ref)
        except HostMissing as missing:
            raise HostMissing(missing.message, **{**missing.data, "final": True}) from missing

    def read_ahead(self, pull: PullRequest) -> None:
        """Read the changed files before they are asked for; what is refused is read in its turn.

        Raises HostUnavailable, HostLimited: it was tried often enough.
        """
        with suppress(HostRefused, HostMissing, HostInvalid):
            files = _list_files(self._access.client(pull.ref), pull)
            self._just.files.keep(pull, files)

    def fetch_diff(self, pull: PullRequest) -> RawDiff:
        """Fetch every changed file between the pinned commits. Raises HostError, CodeError."""
        client = self._access.client(pull.ref)
        files = self._just.files.take(pull) or _list_files(client, pull)
        listed = len(files) == (pull.changed_files or len(files)) and not any(
            UNDECODABLE in file.path for file in files
        )
        if self._fill and not (listed and all(map(_has_patch, files))):
            every = self._fill(pull, _merge_base(client, pull))
            return replace(every, files=_completed(files, every.files)) if listed else every
        notes = () if listed else (f"GitHub lists {len(files)} of {pull.changed_files} files",)
        return RawDiff(files, notes)


def read_pull(ref: PullRef, found: shapes.Pull) -> PullRequest:
    """Turn GitHub's record into ours, and refuse another repository's."""
    home = found.base.repo
    if home is None or (ref.repository_id and home.id != ref.repository_id):
        raise HostMissing(f"{ref.repository} is another repository now", final=True)
    author = found.user
    return PullRequest(
        ref=PullRef(home.id, home.full_name, found.number, ref.installation_id),
        title=found.title,
        body=found.body or "",
        author_id=author.id if author else 0,
        author=author.login if author else "ghost",
        base_sha=found.base.sha,
        head_sha=found.head.sha,
        base_branch=found.base.ref,
        head_branch=found.head.ref,
        draft=found.draft,
        open=found.state == "open",
        author_is_bot=bool(author and author.type == "Bot"),
        changed_files=found.changed_files,
        additions=found.additions,
        deletions=found.deletions,
        head_repository_id=found.head.repo.id if found.head.repo else None,
        url=found.html_url,
    )


def pull_path(ref: PullRef) -> str:
    """Return where the API keeps a pull request."""
    return f"/repos/{quote(ref.repository)}/pulls/{ref.number}"


def _fetch(client: Client, ref: PullRef) -> PullRequest:
    return read_pull(ref, client.read(shapes.Pull, pull_path(ref)))


def _list_files(client: Client, pull: PullRequest) -> tuple[RawFile, ...]:
    for size in PAGE_SIZES[:-1]:
        try:
            return _files(client, pull, size)
        except HostUnavailable:
            continue
    return _files(client, pull, PAGE_SIZES[-1])


def _files(client: Client, pull: PullRequest, size: int) -> tuple[RawFile, ...]:
    """List the files, each once: the list may shift while it is walked."""
    found: dict[str, RawFile] = {}
    for page in _file_pages(client, pull, size):
        for row in page:
            _refuse_other_head(row, pull)
            found.setdefault(row.filename, _raw_file(row))
        crash.at("after_files_page")
        if len(found) >= FILES_LISTED:
            break
    return tuple(found.values())


def _file_pages(
    client: Client, pull: PullRequest, size: int
) -> Iterable[tuple[shapes.ChangedFile, ...]]:
    """Read the pages side by side where it is known how many there are."""
    path = f"{pull_path(pull.ref)}/files"
    count = math.ceil(min(pull.changed_files or 0, FILES_LISTED) / size)
    if count <= 1:
        return client.rows(shapes.ChangedFile, path, {"per_page": size}, spare=True)

    def read(number: int) -> tuple[shapes.ChangedFile, ...]:
        at = {"per_page": size, "page": number}
        return client.page(shapes.ChangedFile, path, at, spare=True)

    return side_by_side(partial(read, number) for number in range(1, count + 1))


def _refuse_other_head(row: shapes.ChangedFile, pull: PullRequest) -> None:
    """Refuse a list of a newer head: each row's address names it, save for removed files."""
    named = parse_qs(urlsplit(row.contents_url).query).get("ref", [pull.head_sha])[0]
    if row.status != ChangeKind.REMOVED and named != pull.head_sha:
        raise HostMissing("the head moved while its files were read")


def _raw_file(row: shapes.ChangedFile) -> RawFile:
    try:
        kind = ChangeKind(row.status)
    except ValueError:
        kind = ChangeKind.CHANGED
    return RawFile(
        path=row.filename,
        kind=kind,
        patch="" if row.patch is None and _is_empty(row, kind) else row.patch,
        old_path=row.previous_filename,
        additions=row.additions,
        deletions=row.deletions,
    )


def _is_empty(row: shapes.ChangedFile, kind: ChangeKind) -> bool:
    """Tell whether a file without a patch is new or gone and empty, rather than binary."""
    return kind in {ChangeKind.ADDED, ChangeKind.REMOVED} and row.sha in EMPTY_BLOBS


def _has_patch(file: RawFile) -> bool:
    """Tell whether a patch is there and whole, or none is needed for what was only renamed."""
    if not isinstance(file.patch, str):
        moved = file.kind in {ChangeKind.RENAMED, ChangeKind.COPIED, ChangeKind.UNCHANGED}
        return moved and not file.additions and not file.deletions
    marks = [line[:1] for line in file.patch.split("\n")]
    return (marks.count("+"), marks.count("-")) == (file.additions, file.deletions)


def _completed(files: Sequence[RawFile], every: Sequence[RawFile]) -> tuple[RawFile, ...]:
    """Put git's word in the place of what GitHub left out or cut."""
    whole = {file.path: file for file in every}
    return tuple(file if _has_patch(file) else whole.get(file.path, file) for file in files)


def _merge_base(client: Client, pull: PullRequest) -> str:
    """Ask where the branch left its base; the second page of a comparison carries no files."""
    span = f"{pull.base_sha}...{pull.head_sha}"
    path = f"/repos/{quote(pull.ref.repository)}/compare/{span}"
    found = client.read(shapes.Comparison, path, {"per_page": 1, "page": 2})
    return found.merge_base_commit.sha
