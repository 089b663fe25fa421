"""Logging for a server: one line a record on stderr, through the one redactor."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from app.core.hidden import escape_line
from app.core.secrets import Redactor

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
"""What every record has, and uvicorn's coloured copy; anything else came in ``extra``."""


class RedactingFormatter(logging.Formatter):
    """Time, level, logger, message, then the facts as ``name=value``; never a secret."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self._redactor = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        facts = {name: value for name, value in vars(record).items() if name not in _OWN}
        words = "".join(f" {name}={escape_line(str(value))}" for name, value in facts.items())
        first, newline, trace = super().format(record).partition("\n")
        return self._redactor.redact(f"{first}{words}{newline}{trace}")


def configure_logging(secrets: Iterable[str]) -> None:
    """Send every log record to stderr, redacted; a full disk or closed pipe stops nothing."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("dbos", "urllib3", "github", "openai", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
