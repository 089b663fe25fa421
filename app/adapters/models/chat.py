"""Every service that speaks OpenAI's chat completions, through the openai SDK.

Fenced here: what is posted, and what comes back. Nothing waits, nothing is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.adapters.models import exchange
from app.adapters.models.exchange import Call, Form, Heard, OddAnswer
from app.adapters.models.faults import ODD_ANSWER, fault_of_exception
from app.adapters.models.target import Target
from app.adapters.models.wire import Wire, build_client
from app.core.money import Usage
from app.core.prompts import Fault, FaultKind, Prompt, Reply, Role


class ChatService:
    """Asks one service, once."""

    def __init__(self, target: Target, wall: Callable[[], float] = time.time) -> None:
        self._target = target
        self._wall = wall
        self._refused_modes = 0

    async def ask(self, prompt: Prompt) -> Reply:
        """Ask one prompt once, never waiting before or after."""
        if prompt.functions:
            return await self._ask(prompt, "functions")
        usage = Usage()
        modes = self._target.provider.modes
        while True:
            tried = self._refused_modes
            reply = await self._ask(prompt, modes[tried])
            usage += reply.usage
            if not self._is_refused(reply) or tried + 1 == len(modes):
                return replace(reply, usage=usage)
            self._refused_modes = tried + 1

    def _is_refused(self, reply: Reply) -> bool:
        refused = isinstance(reply, Fault) and reply.kind is FaultKind.REFUSED
        return refused and self._target.provider.try_modes

    async def _ask(self, prompt: Prompt, form: Form) -> Reply:
        asked = self._target.asked(prompt.role)
        try:
            async with asyncio.timeout(self._target.provider.call_seconds):
                heard = await self._call(prompt, form)
        except TimeoutError:
            return asked.fault(FaultKind.TIMEOUT, prompt)
        except (openai.OpenAIError, *ODD_ANSWER) as error:
            return fault_of_exception(asked, prompt, error, self._wall())
        return exchange.judge(asked, prompt, form, heard)

    async def _call(self, prompt: Prompt, form: Form) -> Heard:
        target = self._target
        wire = Wire(target.headers(), target.proxy)
        path = target.provider.path.replace("{model}", target.part_for(prompt.role).model)
        body = self._body(prompt, form)
        async with open_client(target, wire) as client:
            if not target.provider.stream:
                heard = _hear(await client.post(path, cast_to=ChatCompletion, body=body))
            else:
                stream = await client.post(
                    path,
                    cast_to=ChatCompletion,
                    body=body,
                    stream=True,
                    stream_cls=AsyncStream[ChatCompletionChunk],
                )
                heard = await _hear_stream(stream)
        return self._with_credits(heard, wire)

    def _body(self, prompt: Prompt, form: Form) -> dict[str, Any]:
        """Compose the request of fields that the service documents."""
        target = self._target
        provider = target.provider
        part = target.part_for(prompt.role)
        limit = min(prompt.max_tokens, part.max_output)
        fields: dict[str, Any] = {
            "model": part.model,
            "messages": exchange.messages_of(prompt, form),
            "temperature": 0,
            "max_tokens": limit,
            "max_completion_tokens": limit,
            "enable_thinking": prompt.role is not Role.FAST,
            **self._form(prompt, form),
        }
        if provider.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in fields.items() if name in provider.fields}

    def _form(self, prompt: Prompt, form: Form) -> dict[str, Any]:
        """Compose the fields that make the answer a call, or JSON."""
        if form == "functions":
            tools = exchange.functions_of(prompt)
            return {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        schema = exchange.schema_of(prompt, self._target.provider)
        if form == "json_schema":
            named = {"name": prompt.task.value, "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        if form == "json_object":
            return {"response_format": {"type": "json_object"}}
        if form == "tool":
            choice = {"type": "function", "function": {"name": exchange.TOOL}}
            return {"tools": exchange.tools_of(prompt, schema), "tool_choice": choice}
        return {}

    def _with_credits(self, heard: Heard, wire: Wire) -> Heard:
        header = self._target.provider.credits_header
        if header is None:
            return heard
        return replace(heard, credits_left=exchange.read_credits(wire.answered.get(header)))


@asynccontextmanager
async def open_client(target: Target, wire: Wire | None = None) -> AsyncIterator[AsyncOpenAI]:
    """Open the SDK's client on a target; it repeats nothing, and the wire has the key."""
    wire = wire or Wire(target.headers(), target.proxy)
    async with build_client(wire) as http:
        yield AsyncOpenAI(
            api_key="in the wire's headers",
            base_url=target.address,
            max_retries=0,
            http_client=http,
        )


def _hear(completion: object) -> Heard:
    """Read a completion. Raises OddAnswer when a 200 is not one (a proxy's page, an error)."""
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise OddAnswer("not a chat completion")
    choice = completion.choices[0]
    message = choice.message
    if message is None:
        raise OddAnswer("a choice without a message")
    return Heard(
        text=_text(message.content),
        finish=choice.finish_reason,
        model=completion.model or "",
        refusal=message.refusal,
        calls=_calls(message.tool_calls),
        usage=read_counts(completion.usage),
    )


def _text(content: object) -> str | None:
    if content is not None and not isinstance(content, str):
        raise OddAnswer("a content that is not text")
    return content


def _calls(calls: object) -> tuple[Call, ...]:
    """Read the calls of a whole answer, which need not be numbered."""
    return tuple(replace(call, index=place) for place, call in enumerate(_pieces(calls)))


def _pieces(calls: object) -> tuple[Call, ...]:
    return tuple(_piece(call) for call in calls) if isinstance(calls, list) else ()


def _piece(call: object) -> Call:
    function = getattr(call, "function", None)
    name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
    return Call.read(name, arguments, getattr(call, "index", None))


def read_counts(usage: object) -> Usage | None:
    """Read a completion's own count; None when it is missing or makes no sense."""
    asked = getattr(usage, "prompt_tokens_details", None)
    answered = getattr(usage, "completion_tokens_details", None)
    return exchange.read_usage(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        getattr(asked, "cached_tokens", None),
        getattr(answered, "reasoning_tokens", None),
    )


async def _hear_stream(stream: AsyncStream[ChatCompletionChunk]) -> Heard:
    """Read a stream's first choice to its end. Raises OddAnswer when it is no stream of chunks."""
    if stream.response.headers.get("content-type", "").startswith("application/json"):
        return _hear(ChatCompletion.construct(**(await _json_body(stream.response))))
    heard = Heard(text=None, finish=None)
    async for chunk in stream:
        if not isinstance(chunk, ChatCompletionChunk):
            raise OddAnswer("not a chunk of a chat completion")
        heard = _extended(heard, chunk)
    return heard


async def _json_body(response: httpx2.Response) -> dict[str, Any]:
    await response.aread()
    body = response.json()
    if not isinstance(body, dict):
        raise OddAnswer("not a chat completion")
    return body


def _extended(heard: Heard, chunk: ChatCompletionChunk) -> Heard:
    heard = replace(heard, usage=read_counts(chunk.usage) or heard.usage, model=chunk.model or "")
    for choice in chunk.choices or ():
        if choice.index != 0 or heard.finish is not None:
            continue
        delta = choice.delta
        if delta is None:
            raise OddAnswer("a choice without a delta")
        heard = replace(
            heard,
            text=(heard.text or "") + (_text(delta.content) or ""),
            refusal=delta.refusal or heard.refusal,
            finish=choice.finish_reason,
            calls=_joined(heard.calls, _pieces(delta.tool_calls)),
        )
    return heard


def _joined(calls: tuple[Call, ...], pieces: tuple[Call, ...]) -> tuple[Call, ...]:
    """Join the pieces of the calls that are streamed; the first of each has its name."""
    joined = {call.index: call for call in calls}
    for piece in pieces:
        begun = joined.get(piece.index, replace(piece, arguments=""))
        joined[piece.index] = replace(begun, arguments=begun.arguments + piece.arguments)
    return tuple(joined.values())
