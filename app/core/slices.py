"""What a unit is shown with: the enclosing symbol, imports, callers of what changed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A line that is not part of the change; ``number`` is 1-based."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class CallSite:
    """A place elsewhere that uses a symbol which was changed or deleted."""

    symbol: str
    path: str
    lines: tuple[ContextLine, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """What stands around a unit in its own file, and who uses it elsewhere."""

    before: tuple[ContextLine, ...] = ()
    after: tuple[ContextLine, ...] = ()
    call_sites: tuple[CallSite, ...] = ()
