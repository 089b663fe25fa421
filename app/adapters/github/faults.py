"""What an answer of GitHub's means when it is not the one that was asked for. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from app.adapters.github.limits import SECONDARY_WAIT_S
from app.errors import (
    HostError,
    HostInvalid,
    HostLimited,
    HostMissing,
    HostRefused,
    HostUnavailable,
)

SHOWN = 300
"""Characters of GitHub's own words that an error repeats."""
SKEW_S = 30
"""A clock that is off by less explains no refusal."""
LIMIT_WORDS = ("rate limit", "abuse detection", "please wait a few minutes", "request again later")
"""https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit"""
KEYS = re.compile(r"(gh[a-z]_|github_pat_)\w{8,}|eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""Tokens of every kind and JWTs: an answer that repeats our request must not bring our key along.
https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats"""
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})


def read_fault(status: int, headers: Mapping[str, str], data: object, now: float) -> HostError:
    """Name what a status of 400 and above means; header names are in lower case."""
    said = f"GitHub answered {status}: {_words(data)}"
    if status == HTTPStatus.UNAUTHORIZED:
        return HostRefused(said + _skew(headers, now), status=status)
    if _limited(status, headers, data):
        return HostLimited(said, retry_after=_wait(headers, now))
    if status == HTTPStatus.FORBIDDEN:
        return HostRefused(
            said, status=status, missing=headers.get("x-accepted-github-permissions")
        )
    if status in GONE:
        return HostMissing(said, status=status, final=status != HTTPStatus.NOT_FOUND)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return HostUnavailable(said, status=status)
    return HostInvalid(said, status=status)


def read_graphql_fault(errors: object, headers: Mapping[str, str], now: float) -> HostError:
    """Name what the ``errors`` of a GraphQL answer mean; its HTTP status is 200.

    https://docs.github.com/en/graphql/guides/forming-calls-with-graphql
    """
    rows = errors if isinstance(errors, list) else [errors]
    kinds = {row.get("type") for row in rows if isinstance(row, dict)}
    said = "GitHub answered: " + "; ".join(_words(row) for row in rows[:3])
    if "RATE_LIMITED" in kinds:
        return HostLimited(said, retry_after=_wait(headers, now))
    if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES"} or "not accessible by" in said:
        return HostRefused(said, status=HTTPStatus.FORBIDDEN)
    if "NOT_FOUND" in kinds:
        return HostMissing(said)
    if not kinds or None in kinds:
        return HostUnavailable(said)
    return HostInvalid(said)


def odd_answer(what: str) -> HostUnavailable:
    """Name an answer that has not the shape it must have; whether a write happened is unknown."""
    return HostUnavailable(f"GitHub's answer can't be used: {what}")


def _limited(status: int, headers: Mapping[str, str], data: object) -> bool:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    if status != HTTPStatus.FORBIDDEN:
        return False
    words = _words(data).lower()
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or any(word in words for word in LIMIT_WORDS)
    )


def _wait(headers: Mapping[str, str], now: float) -> float:
    """Return the seconds to wait: as told, until the reset, or the documented minute."""
    told = _number(headers.get("retry-after"))
    if told is not None:
        return max(told, 1.0)
    reset = _number(headers.get("x-ratelimit-reset"))
    if headers.get("x-ratelimit-remaining") == "0" and reset is not None:
        return max(reset - now, 1.0)
    return SECONDARY_WAIT_S


def _number(text: str | None) -> float | None:
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return float(text)


def _skew(headers: Mapping[str, str], now: float) -> str:
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return ""
    ahead = now - theirs.replace(tzinfo=theirs.tzinfo or UTC).timestamp()
    if abs(ahead) < SKEW_S:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return f"; this machine's clock is {abs(ahead):.0f} s {side} GitHub's"


def _words(data: object) -> str:
    """Return GitHub's own explanation as one short line."""
    if not isinstance(data, dict):
        return "no explanation"
    parts = [data.get("message"), *_details(data.get("errors"))]
    line = " ".join("; ".join(str(part) for part in parts if part).split())
    plain = KEYS.sub("[key]", "".join(c if c.isprintable() else "?" for c in line))
    return plain[:SHOWN] or "no explanation"


def _details(errors: object) -> list[object]:
    if not isinstance(errors, list):
        return [errors] if isinstance(errors, str) else []
    return [
        (row.get("message") or row.get("code")) if isinstance(row, dict) else row for row in errors
    ]
