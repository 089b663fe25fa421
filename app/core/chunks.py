"""Units grouped into chunks within a token budget, stable under small changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.core.ledger import Unit

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Units that are sent together; ``text`` is how they and their slices are shown.

    ``id`` is the digest of ``text``: the same content is the same chunk in every run.
    """

    id: str
    units: tuple[Unit, ...]
    text: str
    prompt_tokens: int
