"""What a model is told. The only importer of jinja2 for prompts; template text is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.core.money import Usage


class Task(StrEnum):
    """What an answer is for; a prompt's last lines name it."""

    REVIEW = "review"
    BRIEF = "brief"
    REFUTE = "refute"
    DECIDE = "decide"
    PATCH = "patch"


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    ``schema`` is the JSON schema of the answer, as JSON text. ``key`` is the digest of everything
    but brief and nonce: an answer may be kept and reused under it. ``prompt_tokens`` is our count.
    """

    task: Task
    messages: tuple[Message, ...]
    nonce: str
    schema: str
    max_tokens: int
    key: str
    prompt_tokens: int


class FaultKind(StrEnum):
    """Why a prompt has no usable answer; the value is what the ledger says."""

    UNAVAILABLE = "the model service is unavailable"
    TIMEOUT = "the model did not answer in time"
    LIMITED = "the model service's rate limit was reached"
    KEY = "the model service refused the key"
    MODEL = "the model service does not know the model"
    CREDITS = "the model account has no credits left"
    TOO_LONG = "the prompt is longer than the model's context"
    CUT = "the answer was cut at the output limit"
    DECLINED = "the model declined to answer"
    UNPARSED = "the answer could not be read"
    BUDGET = "the cost cap was reached"
    NO_MODEL = "no model"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, complete (its finish reason was ``stop``) but not yet parsed."""

    text: str
    usage: Usage
    model: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A prompt without an answer: never the same as an answer without findings.

    ``partial`` is the text of an answer cut at its length. ``retry_after`` is in seconds.
    """

    kind: FaultKind
    message: str
    usage: Usage = Usage()
    retry_after: float | None = None
    partial: str = ""


Reply = Answer | Fault
