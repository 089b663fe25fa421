"""The pages that people look at: a pull request with its conversation, checks and diff."""

import hashlib
import posixpath
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from itertools import groupby, pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from sandbox.github import checks
from sandbox.github.diff import LEFT, FileChange, Row
from sandbox.github.http import Refusal, Reply, Request, Routes
from sandbox.github.markdown import render
from sandbox.github.routes.pulls import with_patches
from sandbox.github.shapes import shown
from sandbox.github.state import IssueComment, Kind, Pull, Review, Thread, User
from sandbox.github.threads import FILE
from sandbox.github.world import World

routes = Routes()
PULL = "/{owner}/{repo}/pull/{number}"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
SNIPPET_ROWS = 4
STAT_BLOCKS = 5
HUES = (210, 262, 330, 12, 38, 96, 152, 184)


@routes.on("GET", PULL, by="everybody")
def show_pull(world: World, request: Request) -> Reply:
    """Show the whole pull request."""
    return _page(world, request.pull, tab="conversation")


@routes.on("GET", f"{PULL}/files", by="everybody")
def show_files(world: World, request: Request) -> Reply:
    """Show what it changes, with the comments at their lines."""
    return _page(world, request.pull, tab="files")


@routes.on("GET", "/{owner}/{repo}/raw/{ref}/{path+}", by="everybody")
def show_raw(_world: World, request: Request) -> Reply:
    """Send a file as it is, as plain text."""
    git = request.repository.git
    sha = git.resolve(request.params["ref"])
    entry = git.entry(sha, request.params["path"]) if sha else None
    if entry is None or entry.kind != "blob":
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    return Reply(body=git.blob(entry.sha))


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One row of a shown diff, with the threads that hang under it."""

    kind: str
    left: int | None
    right: int | None
    mark: str
    text: Markup
    threads: tuple[Thread, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffFile:
    """One shown file."""

    anchor: str
    path: str
    previous: str | None
    additions: int
    deletions: int
    blocks: tuple[str, ...]
    note: str
    lines: tuple[DiffLine, ...]
    threads: tuple[Thread, ...]


def _page(world: World, pull: Pull, tab: str) -> Reply:
    changes = list(with_patches(world.changes(pull), world.limits))
    threads = [one for one in pull.threads if any(_submitted(one))]
    files = [
        _file(change, [t for t in threads if t.path == change.path], fits)
        for change, fits in changes
    ]
    html = (
        _templates()
        .get_template("pull.html.j2")
        .render(
            pull=pull,
            repository=pull.repository,
            tab=tab,
            state="merged" if pull.merged_at else "draft" if pull.draft else pull.state,
            commits=len(world.commits(pull)),
            additions=sum(one.additions for one in files),
            deletions=sum(one.deletions for one in files),
            timeline=_timeline(pull),
            runs=checks.runs_of(pull),
            files=files,
        )
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    return Reply(body=html.encode(), headers=headers)


def _timeline(pull: Pull) -> list[IssueComment | Review]:
    shown_reviews = [one for one in pull.reviews if one.state != "PENDING"]
    told = [one for one in shown_reviews if one.body or any(_threads_of(one))]
    return sorted([*pull.comments, *told], key=lambda one: one.id)


def _threads_of(review: Review) -> list[Thread]:
    return [one for one in review.pull.threads if one.comments[0].review is review]


def _submitted(thread: Thread) -> list[object]:
    return [one for one in thread.comments if one.review.state != "PENDING"]


def _file(change: FileChange, threads: list[Thread], fits: bool) -> DiffFile:  # noqa: FBT001 - a row of with_patches
    note = ""
    if change.patch is None:
        note = _textless(change)
    elif not fits:
        note = "Large diffs are not rendered."
    return DiffFile(
        anchor=_anchor(change.path),
        path=shown(change.path),
        previous=shown(change.previous) if change.previous else None,
        additions=change.additions,
        deletions=change.deletions,
        blocks=_blocks(change),
        note=note,
        lines=() if note else _lines(change.rows, threads),
        threads=tuple(one for one in threads if one.subject == FILE),
    )


def _textless(change: FileChange) -> str:
    if change.old_sha == change.new_sha:
        moved = change.previous is not None
        return (
            "File renamed without changes."
            if moved
            else (f"File mode changed from {change.old_mode} to {change.new_mode}.")
        )
    empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    return "Empty file." if empty in {change.old_sha, change.new_sha} else "Binary file not shown."


def _blocks(change: FileChange) -> tuple[str, ...]:
    total = change.additions + change.deletions
    if not total:
        return ("none",) * STAT_BLOCKS
    used = min(total, STAT_BLOCKS)
    green = round(used * change.additions / total)
    return ("add",) * green + ("del",) * (used - green) + ("none",) * (STAT_BLOCKS - used)


def _lines(rows: tuple[Row, ...], threads: list[Thread]) -> tuple[DiffLine, ...]:
    emphasized = _emphasized(rows)
    lines = []
    for row in rows:
        under = tuple(
            one for one in threads if one.subject != FILE and one.now.position == row.position
        )
        text = emphasized.get(row.position, escape(row.text))
        if row.mark == "@":
            text = escape(row.mark + row.text)
        lines.append(DiffLine(_kind(row), row.left, row.right, row.mark, text, under))
    return tuple(lines)


def _kind(row: Row) -> str:
    return {"+": "add", "-": "del", "@": "hunk", "\\": "note"}.get(row.mark, "same")


def _emphasized(rows: tuple[Row, ...]) -> dict[int, Markup]:
    """Mark what differs inside lines, where as many were removed as were added."""
    runs = [(mark, list(group)) for mark, group in groupby(rows, key=lambda row: row.mark)]
    marked = {}
    for (mark, old), (next_mark, new) in pairwise(runs):
        if (mark, next_mark) == ("-", "+") and len(old) == len(new):
            for one, other in zip(old, new, strict=True):
                head = posixpath.commonprefix([one.text, other.text])
                ends = [one.text[len(head) :][::-1], other.text[len(head) :][::-1]]
                tail = len(posixpath.commonprefix(ends))
                if head.strip() or tail:
                    for row in (one, other):
                        marked[row.position] = _marked(row.text, len(head), tail)
    return marked


def _marked(text: str, head: int, tail: int) -> Markup:
    end = len(text) - tail
    middle = Markup("<mark>{}</mark>").format(text[head:end]) if head < end else Markup()
    return escape(text[:head]) + middle + escape(text[end:])


def _snippet(thread: Thread) -> list[DiffLine]:
    rows = FileChange("", None, "", "", "", "", "", 0, 0, (b"\n" + thread.diff_hunk.encode(),)).rows
    size = SNIPPET_ROWS
    if thread.original.start_line is not None and thread.original.line is not None:
        size = max(size, thread.original.line - thread.original.start_line + 1)
    return [
        DiffLine(_kind(row), row.left, row.right, row.mark, escape(row.text))
        for row in rows[1:][-size:]
    ]


def _replaced(thread: Thread) -> list[str] | None:
    if thread.original.line is None:
        return None
    first = thread.original.start_line or thread.original.line
    numbers = range(first, thread.original.line + 1)
    side_left = thread.original.side == LEFT
    return [
        str(line.text.unescape())
        for line in _snippet(thread)
        if (line.left if side_left else line.right) in numbers
    ]


def _where(thread: Thread) -> str:
    anchor = thread.original if thread.outdated else thread.now
    if thread.subject == FILE or anchor.line is None:
        return "Comment on the file"
    sign = "-" if anchor.side == LEFT else "+"
    if anchor.start_line is None:
        return f"Comment on line {sign}{anchor.line}"
    start = "-" if anchor.start_side == LEFT else "+"
    return f"Comment on lines {start}{anchor.start_line} to {sign}{anchor.line}"


def _initials(user: User) -> str:
    words = user.login.removesuffix("[bot]").replace("_", "-").split("-")
    return "".join(word[:1] for word in words if word)[:2].upper()


def _hue(user: User) -> int:
    return HUES[hashlib.sha256(user.login.encode()).digest()[0] % len(HUES)]


def _anchor(path: str) -> str:
    return f"diff-{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _date(at: float) -> str:
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


@cache
def _templates() -> Environment:
    folder = Path(__file__).parent.parent / "templates"
    templates = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(
        markdown=render,
        date=_date,
        initials=_initials,
        hue=_hue,
        shown=shown,
        snippet=_snippet,
        replaced=_replaced,
        where=_where,
        threads=_threads_of,
        anchor=_anchor,
    )
    templates.tests.update(
        bot=lambda user: user.kind is Kind.BOT,
        review=lambda one: isinstance(one, Review),
    )
    return templates
