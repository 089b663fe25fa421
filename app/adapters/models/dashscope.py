"""Alibaba's native protocol, DashScope text generation, through httpx2.

Its own SDK keeps its address in a global and reads with a timeout for each part only, so that a
dripping service holds it for ever; the protocol is one request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from app.adapters.models import exchange
from app.adapters.models.exchange import Call, Form, Heard, OddAnswer
from app.adapters.models.faults import ODD_ANSWER, fault_of_exception, fault_of_status
from app.adapters.models.target import Target
from app.adapters.models.wire import Wire, build_client
from app.core.prompts import FaultKind, Prompt, Reply


class DashScopeService:
    """Asks DashScope, once."""

    def __init__(self, target: Target, wall: Callable[[], float] = time.time) -> None:
        self._target = target
        self._wall = wall

    async def ask(self, prompt: Prompt) -> Reply:
        """Ask one prompt once, never waiting before or after."""
        asked = self._target.asked(prompt.role)
        form: Form = "functions" if prompt.functions else self._target.provider.modes[0]
        try:
            async with asyncio.timeout(self._target.provider.call_seconds):
                response = await self._post(self._body(prompt, form))
            if not response.is_success:
                return self._failed(prompt, response)
            heard = _hear(_object(response), self._target.part_for(prompt.role).model)
        except TimeoutError:
            return asked.fault(FaultKind.TIMEOUT, prompt)
        except ODD_ANSWER as error:
            return fault_of_exception(asked, prompt, error, self._wall())
        return exchange.judge(asked, prompt, form, heard)

    def _failed(self, prompt: Prompt, response: httpx2.Response) -> Reply:
        body = _any_object(response)
        return fault_of_status(
            self._target.asked(prompt.role),
            prompt,
            response.status_code,
            headers=response.headers,
            code=str(body.get("code", "")),
            message=str(body.get("message", "")),
            now=self._wall(),
        )

    async def _post(self, body: Mapping[str, Any]) -> httpx2.Response:
        target = self._target
        async with build_client(Wire(target.headers(), target.proxy)) as http:
            return await http.post(target.address + target.provider.path, json=body)

    def _body(self, prompt: Prompt, form: Form) -> Mapping[str, Any]:
        """Compose the request of parameters that the service documents."""
        part = self._target.part_for(prompt.role)
        parameters: dict[str, Any] = {
            "result_format": "message",
            "max_tokens": min(prompt.max_tokens, part.max_output),
            "temperature": 0,
        }
        if form == "functions":
            parameters["tools"] = exchange.functions_of(prompt)
        if form == "tool":
            parameters["tools"] = exchange.tools_of(
                prompt, exchange.schema_of(prompt, self._target.provider)
            )
        known = self._target.provider.fields
        return {
            "model": part.model,
            "input": {"messages": exchange.messages_of(prompt, form)},
            "parameters": {name: value for name, value in parameters.items() if name in known},
        }


def _any_object(response: httpx2.Response) -> Mapping[str, Any]:
    """Read the JSON object of a failure, or nothing: its status says enough."""
    try:
        return _object(response)
    except ODD_ANSWER:
        return {}


def _object(response: httpx2.Response) -> Mapping[str, Any]:
    body = response.json()
    if not isinstance(body, dict):
        raise OddAnswer("not a JSON object")
    return body


def _hear(body: Mapping[str, Any], model: str) -> Heard:
    """Read a success. Raises OddAnswer when it holds no message."""
    output = body.get("output")
    choices = output.get("choices") if isinstance(output, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise OddAnswer("no message in it")
    text, finish = message.get("content"), choice.get("finish_reason")
    if not isinstance(text, str | None) or not isinstance(finish, str | None):
        raise OddAnswer("a message that is not text")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    return Heard(
        text=text,
        finish=None if finish == "null" else finish,
        model=model,
        refusal=str(message.get("refusal") or ""),
        calls=_calls(message.get("tool_calls")),
        usage=exchange.read_usage(
            counts.get("input_tokens"),
            counts.get("output_tokens"),
            details.get("cached_tokens") if isinstance(details, dict) else None,
            None,
        ),
    )


def _calls(calls: object) -> tuple[Call, ...]:
    listed = calls if isinstance(calls, list) else []
    return tuple(_call(call, place) for place, call in enumerate(listed))


def _call(call: object, place: int) -> Call:
    function = call.get("function") if isinstance(call, dict) else None
    said = function if isinstance(function, dict) else {}
    return Call.read(said.get("name"), said.get("arguments"), place)
