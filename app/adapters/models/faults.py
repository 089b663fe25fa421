"""What went wrong, in one place: a status or an exception of the clients becomes a Fault.

Each fault says in one sentence what to do, naming the variable to set and never its value.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
import openai

from app.adapters.models.registry import Provider
from app.core.money import Rates, Usage, price, worst_usage
from app.core.prompts import Fault, FaultKind, Prompt

UNKNOWN_OUTCOME = frozenset({504, 524})
"""A gateway gave up waiting: the service behind it may have answered, and bill it."""
NEVER_BILLED = (httpx2.ConnectError, httpx2.ConnectTimeout)
"""The request did not reach anyone."""
MAX_DETAIL = 160

_KINDS: Mapping[int, FaultKind] = {
    401: FaultKind.KEY,
    402: FaultKind.CREDITS,
    403: FaultKind.KEY,
    404: FaultKind.MODEL,
    406: FaultKind.CREDITS,  # Segmind's word for "not enough credits"
    408: FaultKind.TIMEOUT,
    409: FaultKind.UNAVAILABLE,
    413: FaultKind.TOO_LONG,
    425: FaultKind.UNAVAILABLE,
    429: FaultKind.LIMITED,
}
_TOO_LONG = ("context length", "context_length", "context size", "maximum context", "too long")
"""What services say of a prompt that does not fit; llama.cpp, vLLM and OpenAI among them."""

SDK_FAULTS: Mapping[type[Exception], FaultKind] = {
    openai.APITimeoutError: FaultKind.TIMEOUT,
    openai.APIConnectionError: FaultKind.UNAVAILABLE,
    openai.APIResponseValidationError: FaultKind.UNAVAILABLE,
    openai.LengthFinishReasonError: FaultKind.CUT,
    openai.ContentFilterFinishReasonError: FaultKind.DECLINED,
    openai.APIError: FaultKind.UNAVAILABLE,
    openai.OpenAIError: FaultKind.UNAVAILABLE,
}
"""What the client raises without a status, most particular first."""
ODD_ANSWER = (httpx2.HTTPError, ValueError, RecursionError)
"""What reading a malformed answer raises: cut bodies, text that is not JSON, nesting bombs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked, for the sentence and for the count of what it may cost."""

    provider: Provider
    model: str
    rates: Rates
    secrets: tuple[str, ...] = ()

    def fault(self, kind: FaultKind, prompt: Prompt, detail: str = "") -> Fault:
        """Return a fault of a request that may have been answered, and billed."""
        return Fault(kind, self._sentence(kind, detail), worst_usage(prompt, self.rates))

    def unbilled(
        self, kind: FaultKind, detail: str = "", retry_after: float | None = None
    ) -> Fault:
        """Return a fault of a request that the service refused, or never saw."""
        usage = Usage(requests=1)
        cost = price(usage, self.rates.tiers)
        usage = Usage(requests=1, cost_usd=cost)
        return Fault(kind, self._sentence(kind, detail), usage, retry_after)

    def _sentence(self, kind: FaultKind, detail: str) -> str:
        words = _SENTENCES[kind](self)
        told = self._clean(detail)
        return f"{words} ({told})" if told else words

    def _clean(self, text: str) -> str:
        """Make a service's words one short line without our secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= MAX_DETAIL else line[:MAX_DETAIL] + "…"


def _key(asked: Asked) -> str:
    own = asked.provider.key
    return f"{own} (or POSTIL_API_KEY)" if own else "POSTIL_API_KEY"


_SENTENCES: Mapping[FaultKind, Callable[[Asked], str]] = {
    FaultKind.KEY: lambda a: f"{a.provider.title} refused the key: check {_key(a)}",
    FaultKind.CREDITS: lambda a: (
        f"the {a.provider.title} account of {_key(a)} has no credits left: top it up"
    ),
    FaultKind.MODEL: lambda a: (
        f"{a.provider.title} does not know the model {a.model}: check POSTIL_MODEL (or --model)"
        " and POSTIL_BASE_URL"
    ),
    FaultKind.LIMITED: lambda a: (
        f"{a.provider.title}'s rate limit was reached: lower POSTIL_RPM or POSTIL_CONCURRENCY"
    ),
    FaultKind.TIMEOUT: lambda a: (
        f"{a.provider.title} did not answer within {a.provider.call_seconds:g} seconds"
    ),
    FaultKind.UNAVAILABLE: lambda a: f"{a.provider.title} is unavailable",
    FaultKind.TOO_LONG: lambda a: f"the prompt is longer than the context of {a.model}",
    FaultKind.CUT: lambda a: f"the answer of {a.model} was cut at its output limit",
    FaultKind.DECLINED: lambda a: f"{a.model} declined to answer",
    FaultKind.UNPARSED: lambda a: f"the answer of {a.model} could not be read",
    FaultKind.REFUSED: lambda a: f"{a.provider.title} refused the request",
}


def fault_of_status(
    asked: Asked,
    prompt: Prompt,
    status: int,
    *,
    headers: Mapping[str, str],
    code: str = "",
    message: str = "",
    now: float,
) -> Fault:
    """Return the fault that an HTTP status means; ``now`` is the time since the epoch."""
    if status in UNKNOWN_OUTCOME:
        return asked.fault(FaultKind.UNAVAILABLE, prompt, f"HTTP {status}")
    kind = _kind_of(status, code, message)
    if kind is FaultKind.LIMITED:
        return asked.unbilled(kind, retry_after=read_retry_after(headers, now))
    if kind is FaultKind.UNAVAILABLE:
        wait = read_retry_after(headers, now)
        return asked.unbilled(kind, f"HTTP {status}", retry_after=wait)
    if kind is FaultKind.REFUSED:
        return asked.unbilled(kind, _reason(status, message))
    return asked.unbilled(kind)


def _kind_of(status: int, code: str, message: str) -> FaultKind:
    said = f"{code} {message}".lower()
    if code == "insufficient_quota":  # OpenAI's 429 of an account without credits
        return FaultKind.CREDITS
    if status in {400, 422} and any(words in said for words in _TOO_LONG):
        return FaultKind.TOO_LONG
    if status in _KINDS:
        return _KINDS[status]
    return FaultKind.UNAVAILABLE if status >= 500 else FaultKind.REFUSED  # noqa: PLR2004 - a server's fault


def _reason(status: int, message: str) -> str:
    if status < 400:  # noqa: PLR2004 - a redirect
        return f"HTTP {status}: it redirects, which is never followed: check POSTIL_BASE_URL"
    return f"HTTP {status}: {message}" if message else f"HTTP {status}"


def fault_of_exception(asked: Asked, prompt: Prompt, error: Exception, now: float) -> Fault:
    """Return the fault that an exception of the clients means."""
    if isinstance(error, openai.APIStatusError):
        return fault_of_status(
            asked,
            prompt,
            error.status_code,
            headers=error.response.headers,
            code=error.code or "",
            message=error.message,
            now=now,
        )
    if isinstance(error, NEVER_BILLED) or isinstance(error.__cause__, NEVER_BILLED):
        return asked.unbilled(FaultKind.UNAVAILABLE, "could not connect: check POSTIL_BASE_URL")
    kinds = (kind for known, kind in SDK_FAULTS.items() if isinstance(error, known))
    return asked.fault(next(kinds, FaultKind.UNAVAILABLE), prompt, "its answer broke off or is odd")


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read ``Retry-After`` as seconds or as a date; None when it is missing or makes no sense.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((aware - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0)
