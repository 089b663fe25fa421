"""The changed files' texts at both ends of a change, masked as a model may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.diff import FileDiff, Hunk, Mark
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


def encode(text: str) -> bytes:
    """Encode a text, whatever characters a broken source left in it."""
    return text.encode("utf-8", errors="backslashreplace")


def undo(file: FileDiff, head: str) -> str:
    """Return the file before the change, given it after: its hunks applied backwards."""
    lines = head.split("\n")
    for hunk in reversed(file.hunks):
        lines[_new(hunk)] = _texts(hunk, "+")
    return "\n".join(lines)


def settle(file: FileDiff, text: str) -> str | None:
    """Return the file after the change, given it before or after; None when it is neither.

    A patch that came alone does not say whether the code beside it has it already.
    """
    lines = text.split("\n")
    if all(lines[_new(hunk)] == _texts(hunk, "-") for hunk in file.hunks):
        return text
    if any(lines[_old(hunk)] != _texts(hunk, "+") for hunk in file.hunks):
        return None
    for hunk in reversed(file.hunks):
        lines[_old(hunk)] = _texts(hunk, "-")
    return "\n".join(lines)


def _new(hunk: Hunk) -> slice:
    start = hunk.new_start - 1 if hunk.new_lines else hunk.new_start
    return slice(start, start + hunk.new_lines)


def _old(hunk: Hunk) -> slice:
    start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
    return slice(start, start + hunk.old_lines)


def _texts(hunk: Hunk, without: Mark) -> list[str]:
    return [line.text for line in hunk.lines if line.mark != without]


def added_text(file: FileDiff) -> str:
    """Return the text of a file that the change adds whole."""
    return _marked(file, "+")


def removed_text(file: FileDiff) -> str:
    """Return the text of a file that the change removes whole."""
    return _marked(file, "-")


def _marked(file: FileDiff, mark: Mark) -> str:
    lines = (line.text for hunk in file.hunks for line in hunk.lines if line.mark == mark)
    return "".join(f"{line}\n" for line in lines)
