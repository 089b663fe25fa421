"""What a unit is shown with: the enclosing symbol, imports, and callers of what changed.

Slices are cut from the head version of a file; for a deleted file from its base version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Protocol

from app.core.diff import ChangeKind
from app.core.ledger import Unit
from app.core.symbols import Outline, Symbol, occurrences, outline, symbols_in

MAX_SIGNATURE = 12
"""Lines of a signature that are shown."""
MAX_BODY = 40
"""Lines of a body that are shown on each side of a hunk."""
MAX_PLAIN = 8
"""Lines shown on each side where no grammar says where a symbol ends."""
MAX_HEADINGS = 3
"""Less indented lines that are shown where no grammar knows the symbols around."""
MAX_SEARCH = 400
"""Lines that are searched upwards for them."""
MAX_IMPORT = 5
"""Lines of one import that are shown."""
MAX_CHANGED = 50
"""Changed signatures that are looked for elsewhere."""
MAX_SITES = 5
"""Call sites of one symbol that are shown."""


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A line that is shown for context; ``number`` is 1-based."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class CallSite:
    """A place that uses a symbol which was changed or deleted in the file ``origin``."""

    symbol: str
    path: str
    line: int
    lines: tuple[ContextLine, ...]
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """What stands around a unit in its own file, and who uses it elsewhere.

    ``heading`` is the signature that the change stands in, empty outside of all, None when unknown.
    """

    heading: str | None = None
    before: tuple[ContextLine, ...] = ()
    after: tuple[ContextLine, ...] = ()
    call_sites: tuple[CallSite, ...] = ()


class Place(Protocol):
    """A line that a search found."""

    @property
    def path(self) -> str:
        """The file."""
        ...

    @property
    def line(self) -> int:
        """The 1-based number."""
        ...

    @property
    def text(self) -> str:
        """The line itself."""
        ...


def select_slices(
    units: Iterable[Unit],
    head_texts: Mapping[str, str],
    base_texts: Mapping[str, str],
    budget_tokens: int,
    count: Callable[[str], int],
    call_sites: Sequence[CallSite] = (),
) -> Mapping[str, Slice]:
    """Select what each unit is shown with, by unit id; ``budget_tokens`` is for one unit.

    Both texts are found by a file's path. Signatures and imports come first, then call sites, then
    the body around the hunk, nearest lines first.
    """
    files: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.hunk is not None:
            files.setdefault(unit.path, []).append(unit)
    in_diff = {path: _own_lines(group) for path, group in files.items()}
    sites = [site for site in call_sites if site.line not in in_diff.get(site.path, ())]
    slices: dict[str, Slice] = {}
    for path, group in files.items():
        texts = base_texts if group[0].kind is ChangeKind.REMOVED else head_texts
        source = _Source.of(path, texts[path], in_diff[path]) if path in texts else _NO_SOURCE
        waiting = [site for site in sites if site.origin == path]
        for unit in group:
            purse = _Purse(budget_tokens, count)
            used = [site for site in waiting if _changes(unit, site.symbol)]
            waiting = [site for site in waiting if site not in used]
            found = _slice(unit, source, used, purse)
            if found != Slice():
                slices[unit.id] = found
    return slices


def changed_signatures(
    units: Iterable[Unit], base_texts: Mapping[str, str], head_texts: Mapping[str, str]
) -> tuple[Symbol, ...]:
    """Find the symbols whose signature changed or that were deleted, as they were before.

    ``base_texts`` are found by a file's old path, ``head_texts`` by its path; the symbols carry
    the latter. A changed constructor counts as its class.
    """
    removed: dict[tuple[str, str], set[int]] = {}
    for unit in units:
        if unit.hunk is not None:
            lines = removed.setdefault((unit.path, unit.old_path or unit.path), set())
            lines |= {line.old for line in unit.hunk.lines if line.mark == "-" and line.old}
    found: dict[tuple[str, str], Symbol] = {}
    for (path, old_path), lines in removed.items():
        if not lines or old_path not in base_texts:
            continue
        now = {symbol.qualified: symbol for symbol in symbols_in(path, head_texts.get(path, ""))}
        for symbol in symbols_in(path, base_texts[old_path]):
            kept = now.get(symbol.qualified)
            touched = not lines.isdisjoint(range(symbol.start, symbol.body + 1))
            if touched and (kept is None or kept.signature != symbol.signature):
                named = _callable_name(symbol)
                if len(named.name) >= _SHORTEST_NAME and not named.name.startswith("__"):
                    found.setdefault((path, named.name), named)
    return tuple(found.values())[:MAX_CHANGED]


def confirm_call_sites(
    symbol: Symbol, hits: Iterable[Place], texts: Mapping[str, str]
) -> tuple[CallSite, ...]:
    """Keep the hits that use the symbol as code, with the line around and whose code it is.

    ``texts`` are the head versions; a hit in a file without one, or in a language that is not
    known, is kept when the name stands there as a word. Imports come last: a use tells more.
    """
    uses: list[CallSite] = []
    imports: list[CallSite] = []
    by_path: dict[str, list[Place]] = {}
    for hit in hits:
        by_path.setdefault(hit.path, []).append(hit)
    for path, places in sorted(by_path.items()):
        text = texts.get(path)
        lines = text.split("\n") if text is not None else []
        found = outline(path, text) if text is not None else Outline()
        used = occurrences(path, text, symbol.name) if text is not None else None
        for place in sorted(places, key=lambda place: place.line):
            is_use = place.line in used if used is not None else _has_word(place.text, symbol.name)
            if is_use and not _defines(found, symbol.name, place.line):
                shown = _site_lines(found, lines, place)
                site = CallSite(symbol.name, path, place.line, shown, symbol.path)
                imported = any(one.start <= place.line <= one.end for one in found.imports)
                (imports if imported else uses).append(site)
    return tuple([*uses, *imports][:MAX_SITES])


# One unit.

_SHORTEST_NAME = 3
_LINE_TOKENS = 2
"""What five spaces, a bar and a line feed cost."""
_BLANK = re.compile(r"[\s\]})>;,]*")
_WORDS = re.compile(r"[^\W\d]\w*")


@dataclass(slots=True)
class _Purse:
    """The tokens that one unit's slice may still use."""

    left: int
    count: Callable[[str], int]

    def pay(self, texts: Iterable[str]) -> bool:
        """Pay for lines if there is enough for all of them."""
        price = sum(self.count(text) + _LINE_TOKENS for text in texts)
        if price > self.left:
            return False
        self.left -= price
        return True


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that slices are cut from; ``own`` are the lines that the diff itself shows."""

    lines: Sequence[str]
    outline: Outline
    own: frozenset[int]

    @classmethod
    def of(cls, path: str, text: str, own: frozenset[int]) -> _Source:
        return cls(text.split("\n"), outline(path, text), own)

    def texts(self, numbers: Iterable[int]) -> list[str]:
        return [self.lines[number - 1] for number in numbers]


_NO_SOURCE = _Source((), Outline(), frozenset())


def _slice(unit: Unit, source: _Source, sites: Sequence[CallSite], purse: _Purse) -> Slice:
    first, last = _extent(unit)
    if last > len(source.lines):  # no text, or not of the version that the diff speaks of
        return Slice(call_sites=_pick_sites(sites, purse))
    numbers = _pick_heads(unit, source, purse)
    used = _pick_sites(sites, purse)
    numbers |= _pick_body(unit, source, numbers, purse)
    lines = [ContextLine(number, source.lines[number - 1]) for number in sorted(numbers)]
    around = source.outline.around(_changed_extent(unit)[0])
    return Slice(
        heading=(around[-1].signature if around else "") if source.outline.symbols else None,
        before=tuple(line for line in lines if line.number < first),
        after=tuple(line for line in lines if line.number > last),
        call_sites=used,
    )


def _pick_heads(unit: Unit, source: _Source, purse: _Purse) -> set[int]:
    first, last = _extent(unit)
    numbers: set[int] = set()
    for head in _heads(source, unit):
        fresh = {number for number in head if not first <= number <= last} - numbers
        if purse.pay(source.texts(fresh)):
            numbers |= fresh
    return numbers


def _pick_sites(sites: Iterable[CallSite], purse: _Purse) -> tuple[CallSite, ...]:
    return tuple(site for site in sites if purse.pay(_site_texts(site)))


def _pick_body(unit: Unit, source: _Source, taken: AbstractSet[int], purse: _Purse) -> set[int]:
    numbers: set[int] = set()
    for number in _body(source, unit):
        if number not in taken and number not in source.own:
            if not purse.pay(source.texts((number,))):
                break
            numbers.add(number)
    return numbers


def _site_texts(site: CallSite) -> list[str]:
    return [site.path, *(line.text for line in site.lines)]


def _extent(unit: Unit) -> tuple[int, int]:
    """Return the first and last line of a unit in the version that its slice is cut from."""
    hunk = unit.hunk
    if hunk is None:
        return 1, 0
    old = unit.kind is ChangeKind.REMOVED
    start, lines = (hunk.old_start, hunk.old_lines) if old else (hunk.new_start, hunk.new_lines)
    # A side without lines is numbered by the line before it.
    return (start, start + lines - 1) if lines else (start + 1, start)


def _changed_extent(unit: Unit) -> tuple[int, int]:
    """Return the first and last changed line; a removed one counts where it was."""
    first, last = _extent(unit)
    old = unit.kind is ChangeKind.REMOVED
    numbers: list[int] = []
    at = first
    for line in unit.hunk.lines if unit.hunk is not None else ():
        number = line.old if old else line.new
        at = number + 1 if number is not None else at
        if line.changed:
            numbers.append(number if number is not None else at)
    return max(min(numbers, default=first), first), min(
        max(numbers, default=last), max(last, first)
    )


def _own_lines(group: Iterable[Unit]) -> frozenset[int]:
    return frozenset(
        number for unit in group for number in range(_extent(unit)[0], _extent(unit)[1] + 1)
    )


def _heads(source: _Source, unit: Unit) -> Iterator[Sequence[int]]:
    """Name the lines that say where a hunk stands and what its names are, outermost first."""
    first = _changed_extent(unit)[0]
    for symbol in source.outline.around(first):
        yield range(symbol.start, min(symbol.body, symbol.start + MAX_SIGNATURE - 1) + 1)
    if not source.outline.symbols:
        yield _less_indented(source.lines, first)
    words = _changed_words(unit)
    for statement in source.outline.imports:
        if statement.names & words:
            yield range(statement.start, min(statement.end, statement.start + MAX_IMPORT - 1) + 1)


def _changed_words(unit: Unit) -> set[str]:
    lines = unit.hunk.lines if unit.hunk is not None else ()
    return {word for line in lines if line.changed for word in _WORDS.findall(line.text)}


def _less_indented(lines: Sequence[str], first: int) -> list[int]:
    """Find the headings above a line by indentation, where no grammar knows the language."""
    below = next((line for line in lines[first - 1 :] if not _BLANK.fullmatch(line)), "")
    indent = _indent(below)
    found: list[int] = []
    for number in range(first - 1, max(first - MAX_SEARCH, 0), -1):
        line = lines[number - 1]
        if indent == 0 or len(found) == MAX_HEADINGS:
            break
        if not _BLANK.fullmatch(line) and _indent(line) < indent:
            indent = _indent(line)
            found.append(number)
    return found[::-1]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _body(source: _Source, unit: Unit) -> Iterator[int]:
    """Name the lines around a hunk that belong to what its changes stand in, nearest first."""
    first, last = _extent(unit)
    above, below = (source.outline.around(line)[-1:] for line in _changed_extent(unit))
    top = above[0].start if above else first
    bottom = below[0].end if below else last
    if not source.outline.symbols:
        top, bottom = first - MAX_PLAIN, last + MAX_PLAIN
    for distance in range(1, MAX_BODY + 1):
        if first - distance >= max(top, 1):
            yield first - distance
        if last + distance <= min(bottom, len(source.lines)):
            yield last + distance


# Changed symbols and their users.


def _callable_name(symbol: Symbol) -> Symbol:
    """Return what callers write: a constructor is called by its class's name."""
    if symbol.name not in {"__init__", "__new__", "constructor", "initialize"}:
        return symbol
    name = symbol.container.rpartition(".")[2]
    return replace(symbol, name=name) if name else symbol


def _changes(unit: Unit, name: str) -> bool:
    lines = unit.hunk.lines if unit.hunk is not None else ()
    return any(line.changed and _has_word(line.text, name) for line in lines)


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _defines(found: Outline, name: str, line: int) -> bool:
    return any(
        symbol.name == name and symbol.start <= line <= symbol.body for symbol in found.symbols
    )


def _site_lines(found: Outline, lines: Sequence[str], place: Place) -> tuple[ContextLine, ...]:
    """Show the line of a use with its neighbours and the head of the symbol that it stands in."""
    if place.line > len(lines):
        return (ContextLine(place.line, place.text),)
    numbers = {place.line - 1, place.line, place.line + 1} & set(range(1, len(lines) + 1))
    numbers |= {symbol.head for symbol in found.around(place.line)[-1:]}
    shown = (ContextLine(number, lines[number - 1]) for number in sorted(numbers))
    return tuple(line for line in shown if line.text.strip())
