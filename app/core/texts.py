"""The changed files' texts at both ends of a change, masked as a model may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.diff import FileDiff, Mark
from app.core.hidden import escape_hidden
from app.core.secrets import mask


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by path; a file that is absent on a side, or can't be read, is absent here."""

    head: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)


def show(text: str) -> str:
    """Return a text as a model may see it: secrets masked, hidden characters spelled out."""
    return escape_hidden(mask(text))


def decode(data: bytes) -> str:
    """Decode a file as git would show it: UTF-8, else every byte as Latin-1 has it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def undo(file: FileDiff, head: str) -> str:
    """Return the file before the change, given it after: its hunks applied backwards."""
    lines = head.split("\n")
    for hunk in reversed(file.hunks):
        start = hunk.new_start - 1 if hunk.new_lines else hunk.new_start
        before = [line.text for line in hunk.lines if line.mark != "+"]
        lines[start : start + hunk.new_lines] = before
    return "\n".join(lines)


def added_text(file: FileDiff) -> str:
    """Return the text of a file that the change adds whole."""
    return _marked(file, "+")


def removed_text(file: FileDiff) -> str:
    """Return the text of a file that the change removes whole."""
    return _marked(file, "-")


def _marked(file: FileDiff, mark: Mark) -> str:
    lines = (line.text for hunk in file.hunks for line in hunk.lines if line.mark == mark)
    return "".join(f"{line}\n" for line in lines)
