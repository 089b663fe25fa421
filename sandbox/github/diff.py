"""What a comparison changed, file by file, and which of its lines can carry a comment.

Paths come from git's raw listing, never from the diff's own text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

LEFT, RIGHT = "LEFT", "RIGHT"
_HUNK = re.compile(rb"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a patch. `position` counts from the line after the first hunk header."""

    position: int
    hunk: int
    mark: str
    left: int | None
    right: int | None
    text: str

    def number(self, side: str) -> int | None:
        """Return the line's number on one side, None when it is not there."""
        return self.left if side == LEFT else self.right


@dataclass(frozen=True)
class FileChange:
    """One file of a comparison; `patch` is None when git shows no text for it."""

    path: str
    previous: str | None
    status: str
    old_mode: str
    new_mode: str
    old_sha: str
    new_sha: str
    additions: int
    deletions: int
    sections: tuple[bytes, ...]

    @cached_property
    def patch(self) -> bytes | None:
        """Return the hunks alone, without the header and without the last line feed."""
        hunks = [part.partition(b"\n@@ ")[2] for part in self.sections]
        return b"\n".join(b"@@ " + part.removesuffix(b"\n") for part in hunks if part) or None

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Return every line of the patch, hunk headers included."""
        return tuple(_rows(self.patch or b""))

    def find(self, side: str, line: int) -> Row | None:
        """Return the row a comment on this line would hang on; None when GitHub refuses it."""
        return next((row for row in self.rows if row.number(side) == line), None)

    def hunk_until(self, row: Row) -> str:
        """Return the text from the hunk's header down to a row."""
        shown = [one for one in self.rows if one.hunk == row.hunk and one.position <= row.position]
        return "\n".join(one.mark + one.text for one in shown)


def read_changes(raw: bytes, diff: bytes) -> tuple[FileChange, ...]:
    """Join `git diff --raw --numstat -z` with the diff's sections, which come in the same order."""
    fields = iter(raw.split(b"\0"))
    listed: list[tuple[list[str], str | None, str]] = []
    counts: list[tuple[int, int]] = []
    for field in fields:
        if field.startswith(b":"):
            facts = field[1:].decode().split()
            first = _text(next(fields))
            second = _text(next(fields)) if facts[4][0] in "RC" else None
            listed.append((facts, first if second else None, second or first))
        elif field:
            added, removed, path = field.split(b"\t", 2)
            if not path:
                next(fields)
                next(fields)
            counts.append((_count(added), _count(removed)))
    sections = iter(_sections(diff))
    return tuple(
        _change(entry, count, sections) for entry, count in zip(listed, counts, strict=True)
    )


def _change(
    entry: tuple[list[str], str | None, str], count: tuple[int, int], sections: Iterator[bytes]
) -> FileChange:
    (old_mode, new_mode, old_sha, new_sha, letter), previous, path = entry
    # A file that became a link (or the reverse) is printed as a removal and an addition.
    parts = tuple(next(sections) for _ in range(2 if letter == "T" else 1))
    status = _STATUS.get(letter[0], "changed")
    if status == "modified" and old_sha == new_sha:
        status = "changed"
    return FileChange(path, previous, status, old_mode, new_mode, old_sha, new_sha, *count, parts)


def _sections(diff: bytes) -> list[bytes]:
    parts = re.split(rb"^diff --git ", diff, flags=re.MULTILINE)[1:]
    return [b"diff --git " + part for part in parts]


def _rows(patch: bytes) -> Iterator[Row]:
    left = right = 0
    hunk = -1
    for position, line in enumerate(patch.split(b"\n") if patch else ()):
        mark, text = line[:1].decode(errors="replace"), line[1:].decode("utf-8", "replace")
        if match := _HUNK.match(line):
            left, right, hunk = int(match[1]), int(match[2]), hunk + 1
            yield Row(position, hunk, mark, None, None, text)
        else:
            yield Row(
                position,
                hunk,
                mark,
                left if mark in {" ", "-"} else None,
                right if mark in {" ", "+"} else None,
                text,
            )
            left += mark in {" ", "-"}
            right += mark in {" ", "+"}


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _count(number: bytes) -> int:
    return int(number) if number != b"-" else 0
