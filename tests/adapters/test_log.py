"""One line a record, with its facts, and never a secret."""

from __future__ import annotations

import errno
import io
import logging
import sys
from collections.abc import Iterator

import pytest

from app.adapters.log import RedactingFormatter, configure_logging

SECRET = "s3cr3t-webhook-secret"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before


def record(message: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("app.jobs", logging.INFO, __file__, 1, message, (), None)
    made.__dict__ |= facts
    return made


def shown(made: logging.LogRecord) -> str:
    return RedactingFormatter([SECRET]).format(made)


def test_facts_stand_behind_the_message() -> None:
    line = shown(record("a job is dead", job="review:1", attempt=5))
    assert line.endswith(" INFO app.jobs a job is dead job=review:1 attempt=5")


def test_a_fact_never_begins_a_line_of_its_own() -> None:
    line = shown(record("delivery", event="x\n2026-01-01 INFO app.jobs all is well"))
    assert "\n" not in line


def test_a_secret_is_hidden_wherever_it_stands() -> None:
    told = shown(record(f"refused {SECRET}", why=f"bad key {SECRET}"))
    made = record("failed")
    try:
        int(SECRET)
    except ValueError:
        made.exc_info = sys.exc_info()
    text = told + shown(made)
    assert "ValueError" in text
    assert SECRET not in text


def test_the_coloured_copy_of_a_message_is_left_out() -> None:
    assert "color" not in shown(record("Started", color_message="\x1b[36mStarted"))


class Full(io.StringIO):
    """A stream on a disk without space."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    configure_logging([SECRET])
    logging.getLogger("app.jobs").warning("nobody hears this")
