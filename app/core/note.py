"""What ``postil doctor`` says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that was looked at; ``text`` names the mend when it is not well."""

    subject: str
    well: bool
    text: str
