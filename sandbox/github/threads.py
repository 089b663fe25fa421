"""Review comments: which anchors GitHub accepts, and where they go when the head moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from sandbox.github.diff import LEFT, RIGHT, FileChange, Row
from sandbox.github.state import Anchor, Json, Pull, Thread

if TYPE_CHECKING:
    from sandbox.github.world import World

FILE, LINE = "file", "line"


class UnplacedError(Exception):
    """GitHub would refuse this place; `what` is the part that could not be resolved."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} could not be resolved")
        self.what = what


@dataclass(frozen=True, slots=True)
class Place:
    """What a client asks for: a line, a range, a position, or a whole file."""

    path: str
    side: str
    line: int | None
    start_side: str | None
    start_line: int | None
    position: int | None
    subject: str

    @classmethod
    def read(cls, wanted: Json) -> Place:
        """Read the fields of one comment of a request."""
        side = wanted.get("side") or RIGHT
        return cls(
            path=str(wanted.get("path", "")),
            side=side,
            line=wanted.get("line"),
            start_side=wanted.get("start_side") or (side if wanted.get("start_line") else None),
            start_line=wanted.get("start_line"),
            position=wanted.get("position"),
            subject=wanted.get("subject_type") or LINE,
        )


def open_thread(world: World, pull: Pull, place: Place, commit: str) -> Thread:
    """Hang a new thread on a place of the diff up to `commit`, or raise UnplacedError."""
    change = next((one for one in world.changes(pull, commit) if one.path == place.path), None)
    if change is None:
        raise UnplacedError("Path")
    anchor, hunk = _file_anchor() if place.subject == FILE else _line_anchor(change, place)
    return Thread(
        id=world.new_id(),
        path=place.path,
        subject=place.subject,
        original=anchor,
        now=anchor,
        original_commit_id=commit,
        commit_id=commit,
        diff_hunk=hunk,
    )


def follow_head(world: World, pull: Pull) -> None:
    """Move every thread to the new head, or mark it as outdated."""
    for thread in pull.threads:
        place_on_head(world, pull, thread)


def place_on_head(world: World, pull: Pull, thread: Thread) -> None:
    """Find a thread's lines in the newest diff."""
    if thread.original_commit_id == pull.head_sha:
        thread.now, thread.commit_id = thread.original, pull.head_sha
        return
    change = next((one for one in world.changes(pull) if one.path == thread.path), None)
    moved = change and _moved_anchor(pull, thread, change)
    if moved:
        thread.now, thread.commit_id = moved, pull.head_sha
    else:
        thread.now = replace(thread.original, line=None, start_line=None, position=None)


def _file_anchor() -> tuple[Anchor, str]:
    return Anchor(RIGHT, None, None, None, 1), ""


def _line_anchor(change: FileChange, place: Place) -> tuple[Anchor, str]:
    last = _row_at(change, place)
    start_line = place.start_line
    if start_line is not None:
        first = change.find(place.start_side or place.side, start_line)
        if first is None or first.hunk != last.hunk or first.position >= last.position:
            raise UnplacedError("Start line")
    side = LEFT if last.mark == "-" or (last.mark == " " and place.side == LEFT) else RIGHT
    anchor = Anchor(side, last.number(side), place.start_side, start_line, last.position)
    return anchor, change.hunk_until(last)


def _row_at(change: FileChange, place: Place) -> Row:
    if place.line is not None:
        found = change.find(place.side, place.line)
        if found is None:
            raise UnplacedError("Line")
        return found
    rows = [one for one in change.rows if one.position == place.position and one.mark in " +-"]
    if not rows:
        raise UnplacedError("Position" if place.position is not None else "Line")
    return rows[0]


def _moved_anchor(pull: Pull, thread: Thread, change: FileChange) -> Anchor | None:
    if thread.subject == FILE:
        return thread.original
    ends = [(thread.original.side, thread.original.line)]
    if thread.original.start_line is not None:
        ends.insert(0, (thread.original.start_side or RIGHT, thread.original.start_line))
    rows = [_moved_row(pull, thread, change, side, line or 0) for side, line in ends]
    found = [row for row in rows if row]
    if len(found) < len(rows) or any(one.hunk != other.hunk for one, other in pairwise(found)):
        return None
    last = found[-1]
    first = found[0].number(ends[0][0]) if len(ends) > 1 else None
    return replace(
        thread.original,
        line=last.number(thread.original.side),
        start_line=first,
        position=last.position,
    )


def _moved_row(pull: Pull, thread: Thread, change: FileChange, side: str, line: int) -> Row | None:
    git = pull.repository.git
    old, new = thread.original_commit_id, pull.head_sha
    path = thread.path
    if side == LEFT:
        old = git.merge_base(pull.base_sha, old) or old
        new = git.merge_base(pull.base_sha, new) or new
        path = change.previous or path
    at = git.map_line(old, new, path, line)
    row = None if at is None else change.find(side, at)
    return row if row and (side == RIGHT or row.left) else None
