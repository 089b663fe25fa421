"""How an answer is asked to be JSON, and made smaller for a small model."""

from __future__ import annotations

import json
from dataclasses import replace

from app.adapters.models.exchange import schema_of
from app.adapters.models.registry import Provider, load_providers
from app.core.prompts import FaultKind
from sandbox.models import Act, ModelServer
from tests.adapters.models.kit import answer_of, ask_once, fault_of, make_prompt

FINDING = {
    "type": "object",
    "properties": {
        "first": {"type": "string", "pattern": "^R[0-9]+$"},
        "severity": {"type": "string", "enum": ["major"]},
        "why": {"type": "string"},
        "suggestion": {"type": ["string", "null"]},
    },
}
WHOLE = {
    "type": "object",
    "properties": {
        "nonce": {"type": "string", "const": "0" * 16},
        "findings": {"type": "array", "items": FINDING, "maxItems": 20},
    },
}


def tools(provider: Provider) -> Provider:
    return replace(provider, modes=("tool",), fields=(*provider.fields, "tool_choice"))


def call(name: str, arguments: str) -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]}


def test_the_embedded_models_answers_are_kept_short() -> None:
    prompt = replace(make_prompt(), schema=json.dumps(WHOLE))
    small = schema_of(prompt, load_providers()["local"])
    findings = small["properties"]["findings"]

    assert findings["maxItems"] == 1
    assert findings["items"]["properties"] == {
        "first": {"type": "string", "pattern": "^R[0-9]+$"},
        "severity": {"type": "string", "enum": ["major"]},
        "why": {"type": "string", "maxLength": 80},
        "suggestion": {"type": "null"},
    }
    assert small["properties"]["nonce"] == WHOLE["properties"]["nonce"]  # type: ignore[index]


def test_every_other_models_schema_is_left_alone() -> None:
    prompt = replace(make_prompt(), schema=json.dumps(WHOLE))
    assert schema_of(prompt, load_providers()["novita"]) == WHOLE


def test_a_forced_tool_calls_arguments_are_the_answer() -> None:
    act = Act(message=call("answer", '{"nonce": "n"}'), answer=None, finish="tool_calls")
    with ModelServer("novita", script=[act], more_fields=["tool_choice"]) as server:
        assert answer_of(ask_once(server, change=tools)).text == '{"nonce": "n"}'

    body = server.seen[0].body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "answer"}}
    assert body["tools"][0]["function"]["parameters"]["required"] == ["nonce", "findings"]
    assert "response_format" not in body


def test_a_streamed_tool_call_is_put_together() -> None:
    def piece(arguments: str, finish: str | None = None) -> str:
        delta = call("answer", arguments)
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})

    act = Act(sse=(piece('{"nonce"'), piece(': "n"}', "tool_calls"), "[DONE]"))
    with ModelServer("openai", script=[act], more_fields=["tool_choice"]) as server:
        assert answer_of(ask_once(server, change=tools)).text == '{"nonce": "n"}'


def test_an_unknown_tool_or_two_calls_are_no_answer() -> None:
    two = call("answer", "{}")
    two["tool_calls"] = [*two["tool_calls"], *two["tool_calls"]]  # type: ignore[misc]
    for message in (call("run_shell", '{"cmd": "id"}'), two):
        act = Act(message=message, answer=None, finish="tool_calls")
        with ModelServer("novita", script=[act], more_fields=["tool_choice"]) as server:
            assert fault_of(ask_once(server, change=tools)).kind is FaultKind.UNPARSED


def test_a_tool_call_that_nobody_asked_for_is_no_answer() -> None:
    act = Act(message=call("answer", "{}"), answer=None, finish="tool_calls")
    with ModelServer("novita", script=[act]) as server:
        assert fault_of(ask_once(server)).kind is FaultKind.UNPARSED


def test_the_native_protocol_takes_tools_too() -> None:
    act = Act(message=call("answer", '{"a": 1}'), answer="", finish="tool_calls")
    with ModelServer("dashscope", script=[act]) as server:
        reply = answer_of(ask_once(server, change=lambda row: replace(row, modes=("tool",))))

    assert reply.text == '{"a": 1}'
    assert server.seen[0].body["parameters"]["tools"][0]["function"]["name"] == "answer"
