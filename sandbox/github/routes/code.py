"""Repositories, commits, comparisons, trees, blobs and contents."""

import base64
import posixpath
from http import HTTPStatus
from urllib.parse import quote

from sandbox.github import shapes
from sandbox.github.git import EMPTY_TREE, SUBMODULE, SYMLINK, GitFailedError, TreeEntry
from sandbox.github.http import Json, Refusal, Reply, Request, Routes
from sandbox.github.lists import paged
from sandbox.github.routes.pulls import raw, with_patches
from sandbox.github.state import Repository
from sandbox.github.world import World

routes = Routes()
MEGABYTE = 1_000_000
READ = "contents=read"
REPO = "/repos/{owner}/{repo}"
TOO_LARGE = (
    "This API returns blobs up to {limit} MB in size. The requested blob is too large to fetch via "
    "the API, but you can always clone the repository via Git in order to obtain it."
)


@routes.on("GET", REPO, "metadata=read")
def read_repository(world: World, request: Request) -> Reply:
    """Show the repository."""
    return Reply(shapes.full_repository(world, request.repository))


@routes.on("GET", f"{REPO}/branches/{{branch+}}", READ)
def read_branch(world: World, request: Request) -> Reply:
    """Show a branch and its tip."""
    home, name = request.repository, request.params["branch"]
    sha = home.git.branches().get(name)
    if sha is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "Branch not found")
    url = f"{world.address.api}/repos/{home.full_name}/branches/{quote(name)}"
    page = f"{world.address.origin}/{home.full_name}/tree/{quote(name)}"
    return Reply(
        {
            "name": name,
            "commit": shapes.commit(world, home, home.git.commit_info(sha)),
            "_links": {"self": url, "html": page},
            "protected": False,
            "protection": {"enabled": False},
            "protection_url": f"{url}/protection",
        }
    )


@routes.on("GET", f"{REPO}/commits", READ)
def list_commits(world: World, request: Request) -> Reply:
    """List a branch's commits, newest first."""
    git = request.repository.git
    start = _commit(
        request.repository, request.query.get("sha") or request.repository.default_branch
    )
    every = git.run("rev-list", start).decode().split()
    return paged(
        world,
        request,
        every,
        lambda sha: shapes.commit(world, request.repository, git.commit_info(sha)),
    )


@routes.on("GET", f"{REPO}/commits/{{ref+}}", READ)
def read_commit(world: World, request: Request) -> Reply:
    """Show a commit with what it changed."""
    home = request.repository
    ref = request.params["ref"]
    sha = home.git.resolve(ref)
    if sha is None:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {ref}")
    info = home.git.commit_info(sha)
    base = info.parents[0] if info.parents else EMPTY_TREE
    if "diff" in request.accept:
        return raw(home.git.diff_text(base, sha), "diff")
    if "sha" in request.accept:
        return raw(sha.encode(), "sha")
    rows = list(with_patches(home.git.changes(base, sha), world.limits))
    added = sum(row[0].additions for row in rows)
    removed = sum(row[0].deletions for row in rows)
    page = paged(
        world,
        request,
        rows,
        lambda row: shapes.file_change(world, home, row[0], head=sha, patch=row[1]),
    )
    stats = {"total": added + removed, "additions": added, "deletions": removed}
    whole = shapes.commit(world, home, info) | {"stats": stats, "files": page.data}
    return Reply(whole, headers=page.headers)


@routes.on("GET", f"{REPO}/compare/{{basehead+}}", READ)
def compare(world: World, request: Request) -> Reply:
    """Compare two commits from their merge base; files stand on the first page only."""
    home = request.repository
    git = home.git
    base_name, dots, head_name = request.params["basehead"].partition("...")
    if not dots:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    base, head = (
        _commit(_home_of(world, home, one), one.rpartition(":")[2])
        for one in (base_name, head_name)
    )
    meeting = git.merge_base(base, head)
    if meeting is None:
        raise Refusal(
            HTTPStatus.NOT_FOUND, f"No common ancestor between {base_name} and {head_name}."
        )
    if "diff" in request.accept:
        return raw(git.diff_text(meeting, head), "diff")
    ahead, behind = git.history(base, head), git.history(head, base)
    commits = paged(
        world,
        request,
        ahead[: world.limits.compare_commits],
        lambda sha: shapes.commit(world, home, git.commit_info(sha)),
    )
    state = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    names = f"{quote(base_name)}...{quote(head_name)}"
    url = f"{world.address.api}/repos/{home.full_name}/compare/{names}"
    page = f"{world.address.origin}/{home.full_name}/compare/{base}...{head}"
    first = request.query.get("page", "1") == "1"
    changes = git.changes(meeting, head)[: world.limits.compare_files] if first else ()
    shape: Json = {
        "url": url,
        "html_url": page,
        "permalink_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": shapes.commit(world, home, git.commit_info(base)),
        "merge_base_commit": shapes.commit(world, home, git.commit_info(meeting)),
        "status": state.get((bool(ahead), bool(behind)), "identical"),
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": commits.data,
        "files": [
            shapes.file_change(world, home, one, head=head, patch=fits)
            for one, fits in with_patches(changes, world.limits)
        ],
    }
    return Reply(shape, headers=commits.headers)


@routes.on("GET", f"{REPO}/git/ref/{{ref+}}", READ)
def read_ref(world: World, request: Request) -> Reply:
    """Show what a ref points at."""
    home, ref = request.repository, f"refs/{request.params['ref']}"
    try:
        sha = home.git.run("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
    except GitFailedError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found") from error
    url = f"{world.address.api}/repos/{home.full_name}/git"
    target = {
        "type": "commit",
        "sha": (name := sha.decode().strip()),
        "url": f"{url}/commits/{name}",
    }
    return Reply({"ref": ref, "node_id": f"REF_{ref}", "url": f"{url}/{ref}", "object": target})


@routes.on("GET", f"{REPO}/git/commits/{{sha}}", READ)
def read_git_commit(world: World, request: Request) -> Reply:
    """Show a commit as git has it."""
    home = request.repository
    shape = shapes.commit(world, home, home.git.commit_info(_commit(home, request.params["sha"])))
    inner = shape["commit"]
    kept = {
        name: inner[name] for name in ("author", "committer", "message", "tree", "verification")
    }
    return Reply(
        kept
        | {name: shape[name] for name in ("sha", "node_id", "html_url", "parents")}
        | {"url": inner["url"]}
    )


@routes.on("GET", f"{REPO}/git/trees/{{sha+}}", READ)
def read_tree(world: World, request: Request) -> Reply:
    """List a tree, with everything below it when asked."""
    home, name = request.repository, request.params["sha"]
    git = home.git
    try:
        sha = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{tree}}")
    except GitFailedError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found") from error
    tree = sha.decode().strip()
    entries = git.tree(tree, recursive="recursive" in request.query)
    url = f"{world.address.api}/repos/{home.full_name}/git"
    rows = [
        {
            "path": shapes.shown(one.path),
            "mode": one.mode,
            "type": one.kind,
            "sha": one.sha,
            "url": f"{url}/{one.kind}s/{one.sha}",
        }
        | ({} if one.size is None else {"size": one.size})
        for one in entries
    ]
    return Reply({"sha": tree, "url": f"{url}/trees/{tree}", "tree": rows, "truncated": False})


@routes.on("GET", f"{REPO}/git/blobs/{{sha}}", READ)
def read_blob(world: World, request: Request) -> Reply:
    """Show a blob in base64, or as it is when the raw media type is asked for."""
    home, sha = request.repository, request.params["sha"]
    try:
        data = home.git.blob(sha)
    except GitFailedError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found") from error
    _refuse_large(world, len(data))
    if "raw" in request.accept:
        return raw(data, "raw")
    return Reply(
        {
            "sha": sha,
            "node_id": f"B_{sha}",
            "size": len(data),
            "url": f"{world.address.api}/repos/{home.full_name}/git/blobs/{sha}",
            "content": _base64(data),
            "encoding": "base64",
        }
    )


@routes.on("GET", f"{REPO}/contents", READ)
@routes.on("GET", f"{REPO}/contents/{{path+}}", READ)
def read_contents(world: World, request: Request) -> Reply:
    """Show a file, what a link points at, a submodule, or what a directory holds."""
    home = request.repository
    ref = request.query.get("ref") or home.default_branch
    sha = home.git.resolve(ref)
    if sha is None:
        raise Refusal(HTTPStatus.NOT_FOUND, f"No commit found for the ref {ref}")
    path = request.params.get("path", "").strip("/")
    entry = home.git.entry(sha, path) if path else None
    if entry is None and path:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    if entry is None or entry.kind == "tree":
        listing = home.git.tree(sha, path)[: world.limits.directory_entries]
        rows = [_listed(world, home, one, posixpath.join(path, one.path), ref) for one in listing]
        return Reply(rows)
    shape = _entry(world, home, entry, path, ref)
    if entry.mode == SUBMODULE:
        url = _submodule_url(home, sha, path)
        return Reply(shape | {"type": "submodule", "submodule_git_url": url})
    if entry.mode == SYMLINK:
        target = home.git.blob(entry.sha).decode("utf-8", "surrogateescape")
        followed = _followed(home, sha, path, target)
        if followed is None:
            return Reply(shape | {"type": "symlink", "target": shapes.shown(target)})
        entry = followed
        shape = _entry(world, home, entry, path, ref)
    return _file(world, home, entry, shape, as_is="raw" in request.accept)


def _file(world: World, home: Repository, entry: TreeEntry, shape: Json, *, as_is: bool) -> Reply:
    size = entry.size or 0
    _refuse_large(world, size)
    if as_is:
        return raw(home.git.blob(entry.sha), "raw")
    if size > world.limits.content_bytes:
        return Reply(shape | {"type": "file", "content": "", "encoding": "none"})
    content = _base64(home.git.blob(entry.sha))
    return Reply(shape | {"type": "file", "content": content, "encoding": "base64"})


def _commit(home: Repository, name: str) -> str:
    sha = home.git.resolve(name)
    if sha is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    return sha


def _home_of(world: World, home: Repository, name: str) -> Repository:
    owner = name.rpartition(":")[0]
    if not owner:
        return home
    every = [one for one in world.repositories.values() if one.parent is home or one is home]
    return next((one for one in every if one.owner.login == owner), home)


def _refuse_large(world: World, size: int) -> None:
    if size > world.limits.blob_bytes:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            TOO_LARGE.format(limit=world.limits.blob_bytes // MEGABYTE),
            errors=[{"resource": "Blob", "field": "data", "code": "too_large"}],
        )


def _base64(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "".join(f"{text[at : at + 60]}\n" for at in range(0, len(text), 60))


def _followed(home: Repository, commit: str, path: str, target: str) -> TreeEntry | None:
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    found = None if aim.startswith(("/", "..")) else home.git.entry(commit, aim)
    return found if found and found.kind == "blob" and found.mode != SYMLINK else None


def _submodule_url(home: Repository, commit: str, path: str) -> str:
    try:
        config = ("config", f"--blob={commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.")
        lines = home.git.run(*config).decode(errors="replace").splitlines()
    except GitFailedError:
        return ""
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    named = [key.removesuffix(".path") for key, value in values.items() if value == path]
    return values.get(f"{named[0]}.url", "") if named else ""


def _entry(world: World, home: Repository, one: TreeEntry, path: str, ref: str) -> Json:
    address = quote(shapes.shown(path))
    api = f"{world.address.api}/repos/{home.full_name}"
    url = f"{api}/contents/{address}?ref={quote(ref)}"
    git_url = f"{api}/git/{one.kind}s/{one.sha}"
    page = f"{world.address.origin}/{home.full_name}"
    html = f"{page}/blob/{quote(ref)}/{address}"
    has_text = one.kind == "blob"
    return {
        "size": one.size or 0,
        "name": posixpath.basename(shapes.shown(path)),
        "path": shapes.shown(path),
        "sha": one.sha,
        "url": url,
        "git_url": git_url,
        "html_url": html,
        "download_url": f"{page}/raw/{quote(ref)}/{address}" if has_text else None,
        "_links": {"self": url, "git": git_url, "html": html},
    }


def _listed(world: World, home: Repository, one: TreeEntry, path: str, ref: str) -> Json:
    kind = "dir" if one.kind == "tree" else "symlink" if one.mode == SYMLINK else "file"
    return _entry(world, home, one, path, ref) | {"type": kind}
