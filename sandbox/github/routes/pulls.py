"""Pull requests: the record, the list, files, diff, commits."""

from collections.abc import Iterator
from http import HTTPStatus

from sandbox.github import shapes
from sandbox.github.diff import FileChange
from sandbox.github.http import Refusal, Reply, Request, Routes
from sandbox.github.lists import paged
from sandbox.github.state import Limits
from sandbox.github.world import World

routes = Routes()
READ = "pull_requests=read"
TOO_MANY = (
    "Sorry, the diff exceeded the maximum number of {what} ({limit}). Consider using 'List pull "
    "requests files' API or locally cloning the repository instead."
)


@routes.on("GET", "/repos/{owner}/{repo}/pulls", READ)
def list_pulls(world: World, request: Request) -> Reply:
    """List pull requests, newest first unless asked otherwise."""
    query = request.query
    state = query.get("state", "open")
    found = [
        one
        for one in request.repository.pulls.values()
        if state in {one.state, "all"}
        and query.get("base", one.base_ref) == one.base_ref
        and query.get("head", head := f"{one.head_owner.login}:{one.head_ref}") == head
    ]
    by_update = query.get("sort") == "updated"
    found.sort(key=lambda one: (one.updated_at if by_update else one.created_at, one.number))
    if query.get("direction", "desc") == "desc":
        found.reverse()
    return paged(world, request, found, lambda one: shapes.simple_pull(world, one))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}", READ)
def read_pull(world: World, request: Request) -> Reply:
    """Show a pull request, or its diff or patch when that media type is asked for."""
    pull = request.pull
    git = pull.repository.git
    base = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    if "diff" in request.accept:
        _refuse_large(world.limits, world.changes(pull), "diff")
        return raw(git.diff_text(base, pull.head_sha), "diff")
    if "patch" in request.accept:
        _refuse_large(world.limits, world.changes(pull), "patch")
        return raw(git.patch_text(base, pull.head_sha), "patch")
    return Reply(shapes.pull(world, pull))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/files", READ)
def list_files(world: World, request: Request) -> Reply:
    """List the changed files, at most 3,000, with the patches that are not too large."""
    pull = request.pull
    every = world.changes(pull)[: world.limits.files_listed]
    rows = list(with_patches(every, world.limits))
    return paged(
        world,
        request,
        rows,
        lambda row: shapes.file_change(
            world, pull.repository, row[0], head=pull.head_sha, patch=row[1]
        ),
    )


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/commits", READ)
def list_commits(world: World, request: Request) -> Reply:
    """List the commits, oldest first, at most 250."""
    git = request.repository.git
    every = world.commits(request.pull)[: world.limits.compare_commits]
    return paged(
        world,
        request,
        every,
        lambda sha: shapes.commit(world, request.repository, git.commit_info(sha)),
    )


@routes.on("GET", "/repos/{owner}/{repo}/issues/{number}", "issues=read|pull_requests=read")
def read_issue(world: World, request: Request) -> Reply:
    """Show a pull request as the issue it also is."""
    return Reply(shapes.issue(world, request.pull))


def with_patches(
    changes: tuple[FileChange, ...], limits: Limits
) -> Iterator[tuple[FileChange, bool]]:
    """Tell for each file whether its patch is shown: neither it nor the sum may be too large."""
    lines = size = 0
    for one in changes:
        patch = one.patch or b""
        own_lines, own_size = patch.count(b"\n") + 1 if patch else 0, len(patch)
        fits = own_lines <= limits.patch_lines and own_size <= limits.patch_bytes
        fits = fits and lines + own_lines <= limits.diff_lines
        fits = fits and size + own_size <= limits.diff_bytes
        if fits:
            lines, size = lines + own_lines, size + own_size
        yield one, fits


def raw(body: bytes, kind: str) -> Reply:
    """Answer with bytes in one of GitHub's own media types."""
    return Reply(
        body=body, headers={"Content-Type": f"application/vnd.github.{kind}; charset=utf-8"}
    )


def _refuse_large(limits: Limits, changes: tuple[FileChange, ...], field: str) -> None:
    lines = sum((one.patch or b"").count(b"\n") + 1 for one in changes if one.patch)
    for what, number, limit in (
        ("files", len(changes), limits.diff_files),
        ("lines", lines, limits.diff_lines),
    ):
        if number > limit:
            raise Refusal(
                HTTPStatus.NOT_ACCEPTABLE,
                TOO_MANY.format(what=what, limit=limit),
                errors=[{"resource": "PullRequest", "field": field, "code": "too_large"}],
                documentation="https://docs.github.com/rest/pulls/pulls#list-pull-requests-files",
            )
