"""What a stand-in may do wrong, one request at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STOP = "stop"
BRAIN = "\0"
"""An answer that is the brain's."""


@dataclass(frozen=True, slots=True)
class Act:
    """How one request is answered; the default is as it should be.

    ``body`` is sent as it is, instead of an answer. ``delay`` is in seconds before the answer,
    ``drip`` in seconds between its bytes (``drip_head``: of the status line and headers too).
    ``cut`` closes the connection after so many bytes of the body. ``finish`` is the finish reason,
    None for none. ``answer`` is the content, None for none at all. ``usage`` replaces the count;
    None leaves it out. ``sse`` are the events of a stream, sent as they are.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    delay: float = 0.0
    drip: float = 0.0
    drip_head: bool = False
    cut: int | None = None
    finish: str | None = STOP
    answer: str | None = BRAIN
    message: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = field(default_factory=dict)
    choices: int = 1
    sse: tuple[str, ...] | None = None
    code: str = "error"
    error: str = "as scripted"

    @property
    def billed(self) -> bool:
        """Tell whether the service worked for it."""
        return self.status == 200 and self.body is None  # noqa: PLR2004 - success
