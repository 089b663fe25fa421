"""Units grouped into chunks within a token budget, stable under small changes.

Where one chunk ends and the next begins is decided by paths alone; sizes only decide how far the
division goes on. So a push that edits one file changes the chunk of that file and no other.

A chunk's text can't be forged from inside: every line of repository text stands behind a tag or
five spaces, and no path or symbol holds a line break.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.core.diff import ChangeKind
from app.core.hidden import escape_line
from app.core.ledger import Unit
from app.core.slices import ContextLine, Slice

CountTokens = Callable[[str], int]

MAX_LINE = 2_100
"""Characters of one line that are shown: somewhat more than the ledger leaves of a changed one."""
MAX_TIMES_BUDGET = 4
"""A unit is shown alone up to this many times the budget; beyond that it is too large."""

_READ_ONLY = "to read only"
_MAX_HEADING = 200


@dataclass(frozen=True, slots=True)
class Chunk:
    """Units that are sent together; ``text`` is how they and their slices are shown.

    ``id`` is the digest of ``text``: the same content is the same chunk in every run.
    """

    id: str
    units: tuple[Unit, ...]
    text: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """All chunks of a change, and the units that no chunk can hold."""

    chunks: tuple[Chunk, ...]
    too_large: tuple[Unit, ...] = ()


def split_into_chunks(
    units: Iterable[Unit], slices: Mapping[str, Slice], budget: int, count: CountTokens
) -> Chunks:
    """Group units by file and kinship into chunks of at most ``budget`` tokens.

    A unit larger than that stands alone in its chunk, up to MAX_TIMES_BUDGET times the budget.
    ``slices`` are found by unit id. A unit without a hunk has nothing to show and is left out.
    """
    groups = _by_path(units)
    places = _in_order(groups)
    files = [_show(groups[path], slices, count) for _, path in places]
    packs: list[list[_Block]] = []
    for start, end in _divide(files, _gaps_of_files(places), budget):
        if end - start > 1 or files[start].tokens <= budget:
            packs.append(files[start:end])
        else:
            packs += [[part] for part in _split_file(files[start].units, slices, budget, count)]
    limit = budget * MAX_TIMES_BUDGET
    return Chunks(
        tuple(_to_chunk(pack) for pack in packs if pack[0].tokens <= limit),
        tuple(unit for pack in packs if pack[0].tokens > limit for unit in pack[0].units),
    )


def reverse_chunk(chunk: Chunk, slices: Mapping[str, Slice]) -> Chunk:
    """Show the same units the other way round: the last file first, and its last hunk."""
    groups = [tuple(reversed(group)) for group in reversed(_by_path(chunk.units).values())]
    text = "".join(render_file(group, slices) for group in groups)
    units = tuple(unit for group in groups for unit in group)
    return Chunk(_digest(text), units, text, chunk.prompt_tokens)


def render_unit(unit: Unit, around: Slice | None = None) -> str:
    """Show one unit as a model sees it, without the file's heading."""
    return _join(_unit_lines(unit, around or Slice(), _numbers((unit,))))


def render_file(units: Sequence[Unit], slices: Mapping[str, Slice]) -> str:
    """Show units of one file under its heading; no line of context is shown twice."""
    first = units[0]
    lines = [f"## file: {escape_line(first.path)}", *_file_notes(first)]
    shown = _numbers(units)
    for unit in units:
        lines += _unit_lines(unit, slices.get(unit.id, Slice()), shown)
    return _join(lines)


def render_line(text: str) -> str:
    """Show the text of one line: hidden characters escaped, cut at MAX_LINE, a last CR kept."""
    body, end = (text[:-1], "\r") if text.endswith("\r") else (text, "")
    more = len(body) - MAX_LINE
    return escape_line(body[:MAX_LINE]) + (f"<{more} more characters>" if more > 0 else "") + end


# How a unit looks.


def _unit_lines(unit: Unit, around: Slice, shown: set[int]) -> Iterator[str]:
    if unit.hunk is None:
        return
    yield from _context_lines(around.before, shown)
    heading = around.heading
    yield f"@@ {escape_line(unit.symbol if heading is None else heading)[:_MAX_HEADING]}".rstrip()
    for line in unit.hunk.lines:
        yield f"{line.tag} {line.mark}| {render_line(line.text)}"
        if line.no_newline:
            yield "# no newline at the end of the file"
    yield from _context_lines(around.after, shown)
    for site in around.call_sites:
        yield f"# uses {escape_line(site.symbol)}, in {escape_line(site.path)}, {_READ_ONLY}"
        yield from _numbered(site.lines)


def _context_lines(lines: Iterable[ContextLine], shown: set[int]) -> Iterator[str]:
    fresh = _trim([line for line in lines if line.number not in shown])
    if fresh:
        yield f"# context, {_READ_ONLY}"
        yield from _numbered(fresh)
        shown.update(line.number for line in fresh)


def _trim(lines: list[ContextLine]) -> list[ContextLine]:
    """Leave out blank lines at both ends."""
    filled = [at for at, line in enumerate(lines) if line.text.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _numbered(lines: Iterable[ContextLine]) -> Iterator[str]:
    last: int | None = None
    for line in lines:
        if last is not None and line.number != last + 1:
            yield "     ..."
        yield f"     | {render_line(line.text)}"
        last = line.number


def _file_notes(unit: Unit) -> Iterator[str]:
    match unit.kind:
        case ChangeKind.ADDED:
            yield "# a new file"
        case ChangeKind.REMOVED:
            yield "# the file is deleted"
        case ChangeKind.RENAMED | ChangeKind.COPIED:
            yield f"# {unit.kind.value} from {escape_line(unit.old_path or '')}"
        case _:
            return


def _numbers(units: Iterable[Unit]) -> set[int]:
    """Collect the line numbers that the units show, on the side that their slices are cut from."""
    return {
        number
        for unit in units
        if unit.hunk is not None
        for line in unit.hunk.lines
        if (number := line.old if unit.kind is ChangeKind.REMOVED else line.new) is not None
    }


def _join(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# How units are packed.


@dataclass(frozen=True, slots=True)
class _Block:
    """Units of one file, as they are shown together."""

    units: tuple[Unit, ...]
    text: str
    tokens: int


_Place = tuple[str, str]
"""The path that a file is sorted under (the file it tests, or its own), and its own path."""

_SAME_FILE = 1_000
"""Nearer than any number of shared folders."""

_NAMESAKES = 20
"""With more files of one name (`index`, `mod`) a test is left in its own folder."""

_Gap = tuple[int, str]
"""How near the neighbours on both sides of a possible cut are, and a digest to decide ties."""


def _show(units: Iterable[Unit], slices: Mapping[str, Slice], count: CountTokens) -> _Block:
    group = tuple(units)
    text = render_file(group, slices)
    return _Block(group, text, count(text))


def _to_chunk(blocks: Sequence[_Block]) -> Chunk:
    text = "".join(block.text for block in blocks)
    units = tuple(unit for block in blocks for unit in block.units)
    return Chunk(_digest(text), units, text, sum(block.tokens for block in blocks))


def _split_file(
    units: Sequence[Unit], slices: Mapping[str, Slice], budget: int, count: CountTokens
) -> list[_Block]:
    alone = [_show((unit,), slices, count) for unit in units]
    gaps = [
        (int(first.symbol == second.symbol), _digest(f"{first.id}\n{second.id}"))
        for first, second in itertools.pairwise(units)
    ]
    return [
        alone[start] if end - start == 1 else _show(units[start:end], slices, count)
        for start, end in _divide(alone, gaps, budget)
    ]


def _divide(
    blocks: Sequence[_Block], gaps: Sequence[_Gap], budget: int
) -> Iterator[tuple[int, int]]:
    """Halve a run of blocks until each part fits the budget or is one block.

    ``gaps[i]`` stands between ``blocks[i]`` and ``blocks[i + 1]``. The widest gap in the middle
    third is cut, which depends on no size: another size of one block changes no other part.
    """
    sums = [0, *itertools.accumulate(block.tokens for block in blocks)]
    waiting = [(0, len(blocks))] if blocks else []
    while waiting:
        start, end = waiting.pop()
        if end - start == 1 or sums[end] - sums[start] <= budget:
            yield start, end
            continue
        margin = max(1, (end - start) // 3)
        middle = range(start + margin, end - margin + 1)
        cut = min(middle, key=lambda place: gaps[place - 1])
        waiting += [(cut, end), (start, cut)]


def _gaps_of_files(places: Sequence[_Place]) -> list[_Gap]:
    return [
        (
            _SAME_FILE if first[0] == second[0] else _shared_folders(first[0], second[0]),
            _digest(f"{first[1]}\n{second[1]}"),
        )
        for first, second in itertools.pairwise(places)
    ]


def _shared_folders(first: str, second: str) -> int:
    pairs = zip(first.split("/")[:-1], second.split("/")[:-1], strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# Which units stand next to each other.

_TEST_NAME = re.compile(
    r"test_(?P<a>.+)|(?P<b>.+?)(?:_test|_spec|\.test|\.spec|-test|-spec|Tests?|Spec)"
)


def _by_path(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    files: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.hunk is not None:
            files.setdefault(unit.path, []).append(unit)
    return files


def _in_order(paths: Iterable[str]) -> list[_Place]:
    """Sort files by folder and name, each test behind the file that it tests."""
    namesakes: dict[str, list[str]] = {}
    for path in paths:
        namesakes.setdefault(_bare_name(path), []).append(path)

    def tested_by(path: str) -> str:
        found = namesakes.get(_tested_name(path) or "", [])
        if len(found) > _NAMESAKES:
            return path
        return max(found, key=lambda other: (_common_folders(path, other), other), default=path)

    places = [(tested_by(path), path) for path in paths]
    return sorted(places, key=lambda place: (place[0].split("/"), place[0] != place[1], place[1]))


def _bare_name(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _tested_name(path: str) -> str | None:
    found = _TEST_NAME.fullmatch(_bare_name(path))
    return (found["a"] or found["b"]) if found else None


def _common_folders(first: str, second: str) -> int:
    return len({*first.split("/")[:-1]} & {*second.split("/")[:-1]})
