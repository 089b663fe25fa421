r"""A unified diff as values: files, hunks, lines and sides. The only importer of unidiff.

Line numbers are git's: a line ends at ``\n`` and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from io import StringIO
from itertools import takewhile
from typing import Final, Literal

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk as UnidiffHunk
from unidiff.patch import PatchSet

from app.errors import UserError

MAX_LINE_NUMBER: Final = 10_000_000
SYMLINK_MODE: Final = "120000"
SUBMODULE_MODE: Final = "160000"

_HUNK_HEADER = re.compile(
    r"@@ -([0-9]{1,20})(?:,([0-9]{1,20}))? \+([0-9]{1,20})(?:,([0-9]{1,20}))? @@.*", re.DOTALL
)
_BLANKS: Final = frozenset({"", "\r"})
"""Empty context lines whose blank some tool has stripped."""


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
    r"""One line of a hunk; ``text`` has no ``\n`` (a ``\r`` before it stays).

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
    ``patch`` starts at the first ``@@``; it is empty when the source says that no text changed, and
    None when the source sent none. ``additions`` and ``deletions`` are the source's own count;
    modes are git's octal text (``100644``). ``too_large`` says in a few words why the source left
    the patch out on purpose.
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
    too_large: str | None = None


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One changed file.

    ``unsupported`` names why its content can't be reviewed (binary, submodule, symlink);
    ``fault`` says why its patch could not be trusted (truncated, miscounted, missing, combined);
    ``too_large`` why it was not loaded; ``note`` is a fact a reader should know (encoding).
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
    too_large: str | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """All changed files; ``notes`` are facts about the whole (files missing from a listing)."""

    files: tuple[FileDiff, ...]
    notes: tuple[str, ...] = ()

    def file(self, path: str) -> FileDiff | None:
        """Return the file of exactly this path, if it is part of the diff."""
        return next((file for file in self.files if file.path == path), None)


class _PatchFault(ValueError):
    """A patch that can't be trusted; the text says why."""


@dataclass(frozen=True, slots=True)
class _Span:
    """What a hunk's header announces, and where its lines stand in the patch."""

    old_start: int
    old_lines: int
    new_start: int
    new_lines: int
    first: int = 0
    end: int = 0


def parse_diff(raws: Iterable[RawFile], notes: Sequence[str] = ()) -> Diff:
    """Parse every file on its own; a path that comes twice is refused the second time."""
    files: dict[str, FileDiff] = {}
    repeated: list[FileDiff] = []
    for raw in raws:
        file = parse_file(raw)
        if raw.path in files:
            repeated.append(replace(file, hunks=(), fault="its path comes twice in this diff"))
        else:
            files[raw.path] = file
    return Diff(files=(*files.values(), *repeated), notes=tuple(notes))


def parse_file(raw: RawFile) -> FileDiff:
    """Parse one file; whatever is wrong with its content becomes ``fault`` or ``unsupported``."""
    text, note = _decode(raw.patch or "")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    hunks: tuple[Hunk, ...] = ()
    unsupported = _name_unsupported(raw, text)
    if unsupported in {"symlink", "submodule"}:
        note = _describe_pointer(raw, lines)
    fault = None
    if unsupported is None and raw.too_large is None:
        try:
            hunks = _parse_hunks(raw, text, lines)
        except _PatchFault as problem:
            fault = str(problem)
    changed = _count_by_source(raw)
    if changed is None:
        changed = sum(line.startswith(("+", "-")) for line in lines)
    return FileDiff(
        path=raw.path,
        kind=raw.kind,
        hunks=hunks,
        old_path=raw.old_path,
        old_mode=raw.old_mode,
        new_mode=raw.new_mode,
        unsupported=unsupported,
        fault=fault,
        note=note,
        changed_lines=changed,
        too_large=raw.too_large if unsupported is None else None,
    )


def commentable(file: FileDiff) -> Mapping[tuple[Side, int], tuple[int, Line]]:
    """Index the lines a comment may stand on by side and number: the hunk's index and the line.

    Removed lines are on the LEFT, added ones on the RIGHT, and context is on both.
    """
    index: dict[tuple[Side, int], tuple[int, Line]] = {}
    for number, hunk in enumerate(file.hunks):
        for line in hunk.lines:
            if line.old is not None:
                index[Side.LEFT, line.old] = (number, line)
            if line.new is not None:
                index[Side.RIGHT, line.new] = (number, line)
    return index


def map_lines(
    diff: Diff,
    texts: Callable[[str, Hunk], Sequence[str]],
    section: Callable[[str], str] = str,
) -> Diff:
    """Replace the text of every line and, if asked, of every section; numbers and marks stay.

    ``texts`` gets a path and a hunk and gives one text for each of its lines.
    """
    return replace(
        diff,
        files=tuple(
            replace(
                file,
                hunks=tuple(
                    _map_hunk(hunk, texts(file.path, hunk), section) for hunk in file.hunks
                ),
            )
            for file in diff.files
        ),
    )


def _map_hunk(hunk: Hunk, texts: Sequence[str], section: Callable[[str], str]) -> Hunk:
    lines = tuple(
        line if line.text == text else replace(line, text=text)
        for line, text in zip(hunk.lines, texts, strict=True)
    )
    return replace(hunk, lines=lines, section=section(hunk.section))


def _name_unsupported(raw: RawFile, text: str) -> str | None:
    modes = (raw.old_mode, raw.new_mode)
    if SUBMODULE_MODE in modes:
        return "submodule"
    if SYMLINK_MODE in modes:
        return "symlink"
    if raw.binary or "\0" in text:
        return "binary"
    if raw.patch is None and raw.too_large is None and _count_by_source(raw) == 0:
        # GitHub sends neither a patch nor counts for a binary file, nor for a new empty one.
        return None if raw.kind in {ChangeKind.RENAMED, ChangeKind.COPIED} else "binary"
    return None


def _describe_pointer(raw: RawFile, lines: Sequence[str]) -> str | None:
    """Say where a link or a submodule points now, from the one line that is its content."""
    target = next((line[1:201] for line in reversed(lines) if line.startswith("+")), "")
    if raw.new_mode == SUBMODULE_MODE and target.startswith("Subproject commit "):
        return target
    if raw.new_mode == SYMLINK_MODE and target:
        outside = target.startswith("/") or target.split("/").count("..") > raw.path.count("/")
        return f"a link to {target!r}{', outside the repository' if outside else ''}"
    return None


def _count_by_source(raw: RawFile) -> int | None:
    if raw.additions is None or raw.deletions is None:
        return None
    return raw.additions + raw.deletions


def _decode(patch: str | bytes) -> tuple[str, str | None]:
    """Decode a patch; what is not UTF-8 is named in the note, and no line is lost over it."""
    if isinstance(patch, str):
        try:
            patch.encode()
        except UnicodeEncodeError:
            return patch.encode(errors="replace").decode(), "some of its characters are not Unicode"
        return patch, None
    try:
        return patch.decode(), None
    except UnicodeDecodeError:
        lines = [_decode_line(line) for line in patch.split(b"\n")]
    latin = any(is_latin for _, is_latin in lines)
    note = "its bytes are not all UTF-8: such lines are read as Latin-1" if latin else None
    return "\n".join(text for text, _ in lines), note


def _decode_line(line: bytes) -> tuple[str, bool]:
    """Decode a line on its own; the second value tells whether it had to be read as Latin-1."""
    try:
        return line.decode(), False
    except UnicodeDecodeError:
        if line.startswith(b"@@ "):  # git cuts the section after 80 bytes, maybe inside a letter
            return line.decode(errors="ignore"), False
        return line.decode("latin-1"), True


def _parse_hunks(raw: RawFile, text: str, lines: Sequence[str]) -> tuple[Hunk, ...]:
    """Parse the hunks, and believe them where our own count and the source's agree."""
    if raw.patch is None:
        if raw.kind in {ChangeKind.RENAMED, ChangeKind.COPIED} and not _count_by_source(raw):
            return ()
        raise _PatchFault("its source sent no patch")
    hunks: tuple[Hunk, ...] = ()
    if spans := _scan(lines):
        hunks = _parse_with_unidiff(spans, text, lines)
    _check_against_source(raw, hunks)
    return hunks


def _parse_with_unidiff(
    spans: Sequence[_Span], text: str, lines: Sequence[str]
) -> tuple[Hunk, ...]:
    # Names that unidiff can't stumble over. In this mode it checks the hunks and keeps no lines,
    # which takes a fifth of the time.
    patch = StringIO(f"--- a/file\n+++ b/file\n{text}")
    try:
        (parsed,) = PatchSet(patch, metadata_only=True)
        return tuple(
            _build_hunk(hunk, lines[span.first : span.end])
            for hunk, span in zip(parsed, spans, strict=True)
        )
    except (UnidiffParseError, ValueError) as error:
        raise _PatchFault("its patch could not be parsed") from error


def _scan(lines: Sequence[str]) -> tuple[_Span, ...]:
    """Count the lines of each hunk against its header; raises _PatchFault."""
    spans: list[_Span] = []
    at = 0
    while at < len(lines):
        header = _read_header(lines[at], spans[-1] if spans else None)
        first = at + 1
        at = _scan_hunk(lines, first, header)
        while at < len(lines) and lines[at].startswith("\\"):
            at += 1
        spans.append(replace(header, first=first, end=at))
    return tuple(spans)


def _read_header(line: str, before: _Span | None) -> _Span:
    if line.startswith("@@@"):
        raise _PatchFault("its patch is a combined diff of a merge, which has no single old side")
    match = _HUNK_HEADER.fullmatch(line)
    if match is None:
        if before is None:
            raise _PatchFault("its patch does not begin with a hunk")
        raise _PatchFault(
            f"its patch goes on beyond what the hunk at new line {before.new_start} announces"
        )
    old_start, old_lines, new_start, new_lines = (
        1 if number is None else int(number) for number in match.groups()[:4]
    )
    if max(old_start + old_lines, new_start + new_lines) > MAX_LINE_NUMBER:
        raise _PatchFault(f"its patch has line numbers beyond {MAX_LINE_NUMBER:,}")
    if (old_lines and not old_start) or (new_lines and not new_start):
        raise _PatchFault("its patch counts lines from 0")
    if before is not None and (
        old_start < before.old_start + before.old_lines
        or new_start < before.new_start + before.new_lines
    ):
        raise _PatchFault(f"its patch has overlapping hunks at new line {new_start}")
    return _Span(old_start, old_lines, new_start, new_lines)


def _scan_hunk(lines: Sequence[str], first: int, header: _Span) -> int:
    """Walk a hunk's lines until its header is satisfied; return the index behind the last."""
    old, new = header.old_lines, header.new_lines
    at = first
    while at < len(lines) and (old > 0 or new > 0):
        mark = lines[at][:1]
        if mark == "+":
            new -= 1
        elif mark == "-":
            old -= 1
        elif mark == " " or lines[at] in _BLANKS:
            old -= 1
            new -= 1
        elif mark != "\\":
            break
        at += 1
    if old == new == 0:
        return at
    if min(old, new) < 0:
        raise _PatchFault(
            f"its patch has other lines than the hunk at new line {header.new_start} announces"
        )
    raise _PatchFault(
        f"its patch is cut: the hunk at new line {header.new_start} announces"
        f" {old} old and {new} new lines more"
    )


def _build_hunk(parsed: UnidiffHunk, patch: Sequence[str]) -> Hunk:
    """Give a hunk's lines their numbers on both sides."""
    lines: list[Line] = []
    old, new = parsed.source_start, parsed.target_start
    for text in patch:
        mark = text[:1]
        if mark == "+":
            lines.append(Line("+", text[1:], None, new))
            new += 1
        elif mark == "-":
            lines.append(Line("-", text[1:], old, None))
            old += 1
        elif mark != "\\":
            lines.append(Line(" ", text if text in _BLANKS else text[1:], old, new))
            old += 1
            new += 1
        elif lines:
            lines[-1] = replace(lines[-1], no_newline=True)
    return Hunk(
        old_start=parsed.source_start,
        old_lines=parsed.source_length,
        new_start=parsed.target_start,
        new_lines=parsed.target_length,
        lines=tuple(lines),
        section=parsed.section_header.rstrip("\r"),
    )


def _check_against_source(raw: RawFile, hunks: Sequence[Hunk]) -> None:
    """Compare with the source's own count; what one side of a hunk lacks is the other's."""
    added = sum(len(hunk.lines) - hunk.old_lines for hunk in hunks)
    removed = sum(len(hunk.lines) - hunk.new_lines for hunk in hunks)
    told_added = added if raw.additions is None else raw.additions
    told_removed = removed if raw.deletions is None else raw.deletions
    if (added, removed) != (told_added, told_removed):
        raise _PatchFault(
            f"its patch has {added} added and {removed} removed lines,"
            f" its source counts {told_added} and {told_removed}"
        )


# A whole patch as text: git diff, git format-patch, diff -u. It is cut into files here, with paths
# from its headers, and every hunk is left for parse_file to check.

_GIT_HEADER: Final = b"diff --git "
_COMBINED_HEADERS: Final = (b"diff --cc ", b"diff --combined ")
_EXTENDED_HEADERS: Final = (
    b"old mode ",
    b"new mode ",
    b"deleted file mode ",
    b"new file mode ",
    b"copy from ",
    b"copy to ",
    b"rename from ",
    b"rename to ",
    b"similarity index ",
    b"dissimilarity index ",
    b"index ",
    b"mode ",
    b"--- ",
    b"+++ ",
    b"Binary files ",
    b"GIT binary patch",
)
_TEXTLESS: Final = (b"rename to", b"copy to", b"new mode", b"new file mode", b"deleted file mode")
_EMPTY_BLOBS: Final = (b"e69de29", b"473a0f4", b"0000000")
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_BYTES_HUNK_HEADER = re.compile(
    rb"@@ -[0-9]{1,20}(?:,([0-9]{1,20}))? \+[0-9]{1,20}(?:,([0-9]{1,20}))? @@"
)
_BARE_HUNK = re.compile(rb"@@ -[0-9,]+ \+[0-9,]+ @@\r?$")
_HUNK_LINE = re.compile(rb"[-+ \\\r]|$")
_PLAIN_BINARY = re.compile(rb"Binary files (.+) and (.+) differ")
_ONLY_IN = re.compile(rb"Only in (.+?): (.+)")
_EPOCH = re.compile(rb"\t(1970-01-01|1969-12-31|Thu Jan  1 |Wed Dec 31 )")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
}
_HTML = re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Section:
    """One file's headers by their keyword, and its hunks from the first ``@@`` on."""

    header: bytes
    fields: Mapping[bytes, bytes]
    body: Sequence[bytes]


def parse_patch_text(data: bytes) -> tuple[RawFile, ...]:
    """Cut a whole patch into its files. Raises UserError when it is not a patch at all."""
    lines = _split_patch_text(data)
    files = tuple(_read_file(section) for section in _read_sections(lines))
    if not files or _HTML.match(data):
        raise UserError(_explain_no_diff(data))
    return files


def _split_patch_text(data: bytes) -> list[bytes]:
    """Split at newlines; undo what a shell or an editor did to the file as a whole."""
    if data.startswith(_UTF16_BOMS):
        data = data.decode("utf-16", errors="replace").encode(errors="replace")
    lines = data.removeprefix(_UTF8_BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    # Git ends none of these lines in a carriage return: if one does, every line was given one.
    headers = (line for line in lines if line.startswith(_GIT_HEADER) or _BARE_HUNK.match(line))
    if next(headers, b"").endswith(b"\r"):
        lines = [line.removesuffix(b"\r") for line in lines]
    return lines


def _read_sections(lines: Sequence[bytes]) -> Iterator[_Section]:
    """Find every file's headers and hunks; what stands between them is somebody's prose."""
    at = 0
    while at < len(lines):
        first = at
        fields, at = _read_headers(lines, at)
        if at == first:
            at += 1
            continue
        end = _find_body_end(lines, at)
        yield _Section(lines[first], fields, lines[at:end])
        at = end


def _read_headers(lines: Sequence[bytes], at: int) -> tuple[dict[bytes, bytes], int]:
    """Read the headers of a file that starts here; the index stays where it is if none does."""
    fields: dict[bytes, bytes] = {}
    line = lines[at]
    if line.startswith((_GIT_HEADER, *_COMBINED_HEADERS)):
        at += 1
        while at < len(lines) and (found := _read_field(lines[at])) is not None:
            fields.setdefault(*found)
            at += 1
    elif _starts_plain_file(lines, at):
        fields = dict(filter(None, map(_read_field, lines[at : at + 2])))
        at += 2
    elif _PLAIN_BINARY.fullmatch(line) or _ONLY_IN.fullmatch(line):
        at += 1
    return fields, at


def _read_field(line: bytes) -> tuple[bytes, bytes] | None:
    """Split a header into its keyword and its value."""
    keyword = next((key for key in _EXTENDED_HEADERS if line.startswith(key)), None)
    return None if keyword is None else (keyword.strip(), line.removeprefix(keyword))


def _starts_plain_file(lines: Sequence[bytes], at: int) -> bool:
    return lines[at].startswith(b"--- ") and any(
        line.startswith(b"+++ ") for line in lines[at + 1 : at + 2]
    )


def _find_body_end(lines: Sequence[bytes], at: int) -> int:
    """Return the index behind a file's last hunk, by its headers' counts.

    Lines beyond the counts that look like more of the hunk are kept, so that parse_file sees them.
    """
    while at < len(lines) and lines[at].startswith(b"@@"):
        match = _BYTES_HUNK_HEADER.match(lines[at])
        if match is None:  # combined, or no header at all: everything up to the next file is its
            while at < len(lines) and not lines[at].startswith(b"diff --"):
                at += 1
            return at
        old, new = (1 if count is None else int(count) for count in match.groups())
        at += 1
        while at < len(lines) and (old > 0 or new > 0) and _HUNK_LINE.match(lines[at]):
            old -= not lines[at].startswith((b"+", b"\\"))
            new -= not lines[at].startswith((b"-", b"\\"))
            at += 1
        while at < len(lines) and _is_excess(lines, at):
            at += 1
    return at


def _is_excess(lines: Sequence[bytes], at: int) -> bool:
    """Tell a line that goes on behind a complete hunk from the next file or a mail's signature."""
    line = lines[at]
    return line.startswith((b"+", b"-", b" ", b"\\")) and not (
        line == b"-- " or _starts_plain_file(lines, at)
    )


def _read_file(section: _Section) -> RawFile:
    """Make a RawFile of one file's headers and hunks."""
    fields = section.fields
    if section.header.startswith(_COMBINED_HEADERS):
        return RawFile(
            path=_show(_unquote(section.header.split(b" ", 2)[2])),
            kind=ChangeKind.MODIFIED,
            patch=b"\n".join(section.body) or b"@@@",
        )
    old_path, path = _read_paths(section)
    kind = _read_kind(section)
    old_mode, new_mode = _read_modes(fields)
    cut = not section.body and _must_have_hunks(section)
    return RawFile(
        path=_show(path),
        kind=kind,
        patch=None if cut else b"\n".join(section.body),
        old_path=_show(old_path) if kind in {ChangeKind.RENAMED, ChangeKind.COPIED} else None,
        old_mode=old_mode,
        new_mode=new_mode,
        binary=bool(
            fields.keys() & {b"Binary files", b"GIT binary patch"}
            or _PLAIN_BINARY.fullmatch(section.header)
        ),
    )


def _must_have_hunks(section: _Section) -> bool:
    """Tell whether the headers speak of changed text, so that missing hunks were cut off."""
    fields = section.fields
    if b"+++" in fields or fields.keys().isdisjoint(_TEXTLESS):
        return True
    old, _, new = fields.get(b"index", b"").partition(b" ")[0].partition(b"..")
    return old != new and not (old.startswith(_EMPTY_BLOBS) and new.startswith(_EMPTY_BLOBS))


def _read_kind(section: _Section) -> ChangeKind:
    fields = section.fields
    for keyword, kind in (
        (b"rename to", ChangeKind.RENAMED),
        (b"copy to", ChangeKind.COPIED),
        (b"new file mode", ChangeKind.ADDED),
        (b"deleted file mode", ChangeKind.REMOVED),
    ):
        if keyword in fields:
            return kind
    if _is_nothing(fields.get(b"---", b"")):
        return ChangeKind.ADDED
    if _is_nothing(fields.get(b"+++", b"")):
        return ChangeKind.REMOVED
    if b"new mode" in fields and b"index" not in fields:
        return ChangeKind.CHANGED
    return ChangeKind.MODIFIED


def _is_nothing(name: bytes) -> bool:
    """Tell the absent side of a change: git's /dev/null, or diff -N's epoch for a missing file."""
    return name.startswith(b"/dev/null") or _EPOCH.search(name) is not None


def _read_modes(fields: Mapping[bytes, bytes]) -> tuple[str | None, str | None]:
    same = fields.get(b"index", b"").partition(b" ")[2]
    old = fields.get(b"old mode") or fields.get(b"deleted file mode") or same
    new = fields.get(b"new mode") or fields.get(b"new file mode") or same
    return old.decode("ascii", "replace") or None, new.decode("ascii", "replace") or None


def _read_paths(section: _Section) -> tuple[bytes, bytes]:
    """Find both paths: in the rename's own lines, else in git's header, else in the two names."""
    fields = section.fields
    for old_key, new_key in ((b"rename from", b"rename to"), (b"copy from", b"copy to")):
        if old_key in fields and new_key in fields:
            return _unquote(fields[old_key]), _unquote(fields[new_key])
    path = _read_git_header(section.header) or _read_plain_path(section)
    return path, path


def _read_git_header(header: bytes) -> bytes | None:
    """Find the one path in ``diff --git a/PATH b/PATH``; None when its two sides differ."""
    if not header.startswith(_GIT_HEADER):
        return None
    names = header.removeprefix(_GIT_HEADER)
    quoted = _QUOTED.match(names)
    if quoted is not None:
        old, new = _unquote(names), _unquote(names[quoted.end() + 1 :])
    else:
        middle = len(names) // 2
        old, new = names[:middle], names[middle + 1 :]
    return new if old == new else _drop_prefixes(old, new)


def _read_plain_path(section: _Section) -> bytes:
    """Find the path of a file by its two names."""
    if match := _ONLY_IN.fullmatch(section.header):
        return match[1] + b"/" + match[2]
    binary = b"Binary files " + section.fields.get(b"Binary files", b"")
    if match := _PLAIN_BINARY.fullmatch(section.header) or _PLAIN_BINARY.fullmatch(binary):
        old, new = match.groups()
    else:
        old, new = (_read_name(section.fields.get(key, b"")) for key in (b"---", b"+++"))
    if old == b"/dev/null":
        return new.removeprefix(b"b/")
    if new == b"/dev/null":
        return old.removeprefix(b"a/")
    # diff -u x.orig x: the new name is the file's.
    return _drop_prefixes(old, new) or new.removeprefix(b"b/") or b"unnamed"


def _drop_prefixes(old: bytes, new: bytes) -> bytes | None:
    """Keep the folders and the name that two names end in: a/x and b/x, old/src/x and new/src/x."""
    pairs = zip(reversed(old.split(b"/")), reversed(new.split(b"/")), strict=False)
    shared = [part for part, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return b"/".join(reversed(shared)) or None


def _read_name(value: bytes) -> bytes:
    """Read the name in a ``---`` or ``+++`` line: quoted, or up to the tab before a date."""
    return _unquote(value) if value.startswith(b'"') else value.partition(b"\t")[0]


def _unquote(name: bytes) -> bytes:
    """Undo git's quoting of odd paths; a name without quotes is returned as it is."""
    quoted = _QUOTED.match(name)
    return name if quoted is None else _ESCAPE.sub(_restore_byte, quoted[1])


def _restore_byte(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code, 8) & 0xFF]) if len(code) > 1 else _ESCAPES.get(code, code)


def _show(path: bytes) -> str:
    """Decode a path; bytes that are not UTF-8 are written out, so that it can be shown anywhere."""
    return path.decode(errors="backslashreplace")


def _explain_no_diff(data: bytes) -> str:
    """Say in one sentence why there is no patch in this text, and what to give instead."""
    start = data.lstrip()[:1000].lower()
    if not start:
        return "The diff is empty: give the output of git diff with at least one change in it."
    if _HTML.match(start):
        return "This is a web page and not a diff: save the diff itself (a pull's address + .diff)."
    if b"\x1b[" in start:
        return "This diff has terminal colours in it: make it again with git diff --no-color."
    if start.startswith((b"*** ", b"diff -c")):
        return "This is a context diff: make it again with diff -u or git diff."
    return (
        "There is no diff in this text: give the output of git diff, git format-patch or diff -u."
    )
