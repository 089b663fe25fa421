"""A unified diff as values: files, hunks, lines and sides. The only importer of unidiff.

Line numbers are git's: a line ends at ``\\n`` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Side(StrEnum):
    """Which version of the file a line belongs to, in GitHub's words."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"


class ChangeKind(StrEnum):
    """What happened to a file, in the words of GitHub's files API."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"
    RENAMED = "renamed"
    COPIED = "copied"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


Mark = Literal["+", "-", " "]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk; ``text`` has no ``\\n`` (a ``\\r`` before it stays).

    ``old`` and ``new`` are the 1-based numbers on the two sides, None where it does not exist.
    """

    mark: Mark
    text: str
    old: int | None
    new: int | None
    no_newline: bool = False

    @property
    def side(self) -> Side:
        """LEFT for a removed line, RIGHT for an added one or context."""
        return Side.LEFT if self.mark == "-" else Side.RIGHT

    @property
    def number(self) -> int:
        """The number on this line's own side."""
        number = self.old if self.mark == "-" else self.new
        if number is None:
            raise ValueError("a line without a number on its own side")
        return number

    @property
    def tag(self) -> str:
        """Side and number as a model sees and says them: ``R13``, ``L13``."""
        return f"{'L' if self.mark == '-' else 'R'}{self.number}"

    @property
    def changed(self) -> bool:
        """Whether the line was added or removed."""
        return self.mark != " "


@dataclass(frozen=True, slots=True)
class Hunk:
    """A run of lines; ``section`` is the text git prints behind the second ``@@``."""

    old_start: int
    old_lines: int
    new_start: int
    new_lines: int
    lines: tuple[Line, ...]
    section: str = ""

    @property
    def changed_lines(self) -> int:
        """How many lines of this hunk were added or removed."""
        return sum(line.changed for line in self.lines)


@dataclass(frozen=True, slots=True)
class RawFile:
    """One changed file as its source tells of it, before its patch is parsed.

    ``path`` comes from the files API's JSON or from ``git diff --raw -z``, never from diff text.
    ``patch`` starts at the first ``@@`` and is None when the source sent none; ``additions`` and
    ``deletions`` are the source's own count; modes are git's octal text (``100644``).
    """

    path: str
    kind: ChangeKind
    patch: str | bytes | None
    old_path: str | None = None
    additions: int | None = None
    deletions: int | None = None
    old_mode: str | None = None
    new_mode: str | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One changed file.

    ``unsupported`` names why its content can't be reviewed (binary, submodule, symlink,
    undecodable); ``fault`` says in a sentence why its patch could not be trusted (truncated,
    miscounted, missing, combined); ``note`` is a fact a reader should know (encoding).
    """

    path: str
    kind: ChangeKind
    hunks: tuple[Hunk, ...] = ()
    old_path: str | None = None
    old_mode: str | None = None
    new_mode: str | None = None
    unsupported: str | None = None
    fault: str | None = None
    note: str | None = None
    changed_lines: int = 0
    """Added and removed lines as the source counts them: the hunks' own count when it is silent."""


@dataclass(frozen=True, slots=True)
class Diff:
    """All changed files; ``notes`` are facts about the whole (files missing from a listing)."""

    files: tuple[FileDiff, ...]
    notes: tuple[str, ...] = ()

    def file(self, path: str) -> FileDiff | None:
        """Return the file of exactly this path, if it is part of the diff."""
        return next((file for file in self.files if file.path == path), None)
