"""What every dialect shares: how an answer is asked to be JSON, and when it is complete.

An answer is complete when its finish reason says so, and in no other case.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.adapters.models.faults import Asked
from app.adapters.models.registry import Mode, Provider
from app.core.money import Rates, Usage, price, worst_usage
from app.core.prompts import Answer, FaultKind, Prompt, Reply

OPENING = '{"nonce":'
"""How an answer is begun for the model where partial mode is all there is."""
CALLED = '{"action": '
"""How a call begins when it is spelled as the decision that it is."""
TOOL = "answer"
BYTES_PER_TOKEN = 3
"""For answers that the service did not count; source code and JSON have about four."""

Schema = Mapping[str, Any]
Form = Mode | Literal["functions"]
"""How one answer is asked for: in the row's mode, or by a call of one of several functions."""


class OddAnswer(ValueError):
    """A success that is not the answer of a model: a proxy's page, an error, nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function that a model wishes; ``index`` is its place among several.

    In pieces of a stream ``arguments`` are a part, and ``name`` may be missing.
    """

    name: str
    arguments: str
    index: int = 0

    @classmethod
    def read(cls, name: object, arguments: object, index: object) -> Call:
        """Read a call. Raises OddAnswer for what is no text."""
        if not isinstance(name, str | None) or not isinstance(arguments, str | None):
            raise OddAnswer("a call that is not text")
        return cls(name or "", arguments or "", index if isinstance(index, int) else 0)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a service said, before it is judged.

    ``usage`` is its own count, None without one; ``credits_left`` is what its header told.
    """

    text: str | None
    finish: str | None
    model: str = ""
    refusal: str | None = None
    calls: tuple[Call, ...] = ()
    usage: Usage | None = None
    credits_left: float | None = None


def messages_of(prompt: Prompt, form: Form) -> list[dict[str, Any]]:
    """Compose the messages; a last one of the assistant is an answer to go on with."""
    messages: list[dict[str, Any]] = [
        {"role": message.role, "content": message.content} for message in prompt.messages
    ]
    if form == "partial" and messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": OPENING})
    if messages[-1]["role"] == "assistant":
        messages[-1]["partial"] = True
    return messages


def tools_of(prompt: Prompt, schema: Schema) -> list[dict[str, Any]]:
    """Compose the one tool whose arguments are the answer."""
    function = {
        "name": TOOL,
        "description": f"Give the answer to the task: {prompt.task}",
        "parameters": schema,
    }
    return [{"type": "function", "function": function}]


def functions_of(prompt: Prompt) -> list[dict[str, Any]]:
    """Compose the tools of which one is to be called."""
    return [{"type": "function", "function": one} for one in json.loads(prompt.functions)]


def schema_of(prompt: Prompt, provider: Provider) -> Schema:
    """Return the answer's schema, made smaller for a model that would ramble on."""
    schema: Schema = json.loads(prompt.schema)
    if provider.answer_chars:
        schema = _smaller(schema, provider.answer_chars, provider.answer_items)
    return schema


def _smaller(value: Any, chars: Mapping[str, int], items: int | None, name: str = "") -> Any:  # noqa: ANN401 - any part of a JSON schema
    """Limit each text to the ``chars`` of its property (``*``: of any other), each list to items.

    A text that may be null and has no characters left is null.
    """
    if not isinstance(value, dict):
        return value
    small = {key: _smaller(part, chars, items, name) for key, part in value.items()}
    parts = value.get("properties", {})
    if parts:
        small["properties"] = {key: _smaller(parts[key], chars, items, key) for key in parts}
    kinds = value.get("type", ())
    limit = chars.get(name, chars.get("*"))
    if limit == 0 and "null" in kinds:
        return {"type": "null"}
    if limit is not None and "string" in kinds and not {"const", "enum", "pattern"} & set(value):
        small["maxLength"] = limit
    if items is not None and kinds == "array":
        small["maxItems"] = items
    return small


def judge(asked: Asked, prompt: Prompt, form: Form, heard: Heard) -> Reply:
    """Decide what was heard: a complete answer, or the fault that it is."""
    text = _whole(prompt, form, heard)
    usage = _counted(asked, prompt, heard, text)
    kind = _verdict(heard, text)
    if kind is None:
        return Answer(text, usage, heard.model)
    detail = f"finish reason: {heard.finish}" if kind is FaultKind.UNPARSED and text else ""
    fault = asked.fault(kind, prompt, detail)
    partial = text if kind is FaultKind.CUT and not (prompt.functions or heard.calls) else ""
    return replace(fault, usage=usage, partial=partial)


def _verdict(heard: Heard, text: str) -> FaultKind | None:
    if heard.refusal or heard.finish == "content_filter":
        return FaultKind.DECLINED
    if heard.finish == "length":
        return FaultKind.CUT
    if heard.finish is None:
        return FaultKind.UNAVAILABLE
    complete = heard.finish == "stop" or (heard.finish == "tool_calls" and heard.calls)
    return None if complete and text.strip() else FaultKind.UNPARSED


def _whole(prompt: Prompt, form: Form, heard: Heard) -> str:
    """Put the answer together from what was begun for the model and what it said."""
    if form == "functions" and heard.calls:
        return _decision(heard.calls[0]) if len(heard.calls) == 1 else ""
    if form == "tool" and len(heard.calls) == 1 and heard.calls[0].name == TOOL:
        return heard.calls[0].arguments
    said = heard.text or ""
    if not said.strip():
        return ""
    if prompt.messages[-1].role == "assistant":
        return prompt.messages[-1].content + said
    begun_anew = said.lstrip().startswith(("{", "`"))
    return OPENING + said if form == "partial" and not begun_anew else said


def _decision(call: Call) -> str:
    """Spell a call as the JSON object that it stands for, whose reader judges both alike.

    Arguments that are no object make no answer; a second ``action`` among them makes it a bad one.
    """
    opened, inside = call.arguments.strip()[:1], call.arguments.strip()[1:].lstrip()
    comma = "" if inside.startswith("}") else ", "
    return f"{CALLED}{json.dumps(call.name)}{comma}{inside}" if opened == "{" else ""


def _counted(asked: Asked, prompt: Prompt, heard: Heard, text: str) -> Usage:
    usage = heard.usage or _own_count(prompt, asked.rates, text)
    left, little = heard.credits_left, asked.provider.low_credits
    return replace(
        usage,
        cost_usd=price(usage, asked.rates.tiers),
        credits_left=left,
        credits_low=left is not None and little is not None and left < little,
    )


def _own_count(prompt: Prompt, rates: Rates, text: str) -> Usage:
    worst = worst_usage(prompt, rates)
    answered = math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
    return replace(worst, completion_tokens=min(answered, worst.completion_tokens))


def read_usage(
    prompt_tokens: object, completion_tokens: object, cached: object, reasoning: object
) -> Usage | None:
    """Read a service's own count; None when it is missing or makes no sense."""
    counts = (_count(prompt_tokens), _count(completion_tokens))
    if counts[0] is None or counts[1] is None:
        return None
    return Usage(
        requests=1,
        prompt_tokens=counts[0],
        completion_tokens=counts[1],
        cached_tokens=min(_count(cached) or 0, counts[0]),
        reasoning_tokens=min(_count(reasoning) or 0, counts[1]),
    )


def read_credits(header: str | None) -> float | None:
    """Read how many credits an account has left; None when the header tells nothing."""
    try:
        credits_left = float(header or "")
    except ValueError:
        return None
    return credits_left if math.isfinite(credits_left) else None


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None  # type: ignore[return-value]
