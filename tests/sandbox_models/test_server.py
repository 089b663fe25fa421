"""The stand-ins keep to their pages: what is not documented is refused, and all is billed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from sandbox.models import ROWS, Act, ModelServer, Planted, Tier
from sandbox.models.brain import answer_nothing, read_lines, read_task

NONCE = "0123456789abcdef"
PROMPT = (
    f"## file: a.py\n@@ def f\nR1  | def f():\nR2 +|     boom()\n\ntask: review\nnonce: {NONCE}"
)
MESSAGES = [{"role": "user", "content": PROMPT}]
BODIES: Mapping[str, Mapping[str, Any]] = {
    "novita": {"model": "qwen/qwen3-coder-next", "messages": MESSAGES},
    "modelstudio": {"model": "qwen3-coder-next", "messages": MESSAGES},
    "dashscope": {
        "model": "qwen3-coder-next",
        "input": {"messages": MESSAGES},
        "parameters": {"result_format": "message"},
    },
    "segmind": {"messages": MESSAGES},
    "aimlapi": {"model": "alibaba/qwen3-next-80b-a3b-thinking", "messages": MESSAGES},
    "openai": {"model": "m", "messages": MESSAGES},
    "openai-compatible": {"model": "m", "messages": MESSAGES},
}


def post(
    server: ModelServer,
    body: object,
    *,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any, Mapping[str, str]]:
    path = path or server.row.path.replace("{model}", "qwen3-coder-plus")
    bearer = server.row.auth == "authorization"
    auth = {server.row.auth: f"Bearer {server.key}" if bearer else server.key}
    answer = httpx2.post(server.base_url + path, json=body, headers={**auth, **(headers or {})})
    return answer.status_code, answer.json(), answer.headers


@pytest.mark.parametrize("row", ROWS)
def test_a_documented_request_is_answered(row: str) -> None:
    with ModelServer(row, brain=Planted({"boom": "Boom"})) as server:
        status, body, _ = post(server, BODIES[row])

    assert status == 200
    choice = (body.get("output") or body)["choices"][0]
    finding = json.loads(choice["message"]["content"])["findings"][0]
    assert choice["finish_reason"] == "stop"
    assert (finding["path"], finding["first"], finding["quote"]) == ("a.py", "R2", "    boom()")
    assert server.refusals == ()


@pytest.mark.parametrize("row", ROWS)
def test_an_undocumented_field_is_refused_and_recorded(row: str) -> None:
    with ModelServer(row) as server:
        status, _, _ = post(server, {**BODIES[row], "seed": 1})
    assert status == 400
    assert "undocumented fields: seed" in server.refusals[0]
    assert server.bill.requests == 0


@pytest.mark.parametrize("row", ROWS)
def test_an_undocumented_header_path_or_message_field_is_refused(row: str) -> None:
    with ModelServer(row) as server:
        assert post(server, BODIES[row], headers={"x-odd": "1"})[0] == 400
        assert post(server, BODIES[row], path="/elsewhere")[0] == 404
        odd = [{**MESSAGES[0], "name": "me"}]
        body: dict[str, Any] = {**BODIES[row]}
        if "input" in body:
            body["input"] = {"messages": odd}
        else:
            body["messages"] = odd
        assert post(server, body)[0] == 400


@pytest.mark.parametrize("row", ROWS)
def test_a_wrong_key_is_not_let_in(row: str) -> None:
    with ModelServer(row) as server:
        assert post(server, BODIES[row], headers={server.row.auth: "wrong"})[0] == 401


def test_an_unknown_model_is_not_found() -> None:
    with ModelServer("novita") as server:
        assert post(server, {**BODIES["novita"], "model": "gpt"})[0] == 404


def test_get_is_not_allowed() -> None:
    with ModelServer("segmind") as server:
        assert httpx2.get(server.base_url).status_code == 405


def test_requests_and_tokens_beyond_the_quota_are_limited() -> None:
    now = [0.0]
    with ModelServer("novita", rpm=2, clock=lambda: now[0]) as server:
        statuses = [post(server, BODIES["novita"])[0] for _ in range(3)]
        wait = post(server, BODIES["novita"])[2]["retry-after"]
        now[0] = 60.1
        statuses.append(post(server, BODIES["novita"])[0])
    assert (statuses, wait) == ([200, 200, 429, 200], "61")

    with ModelServer("novita", tpm=50, clock=lambda: now[0]) as server:
        assert [post(server, BODIES["novita"])[0] for _ in range(2)] == [200, 429]


def test_a_bill_takes_the_tier_that_the_prompt_reached() -> None:
    tiers = (Tier(Decimal(1), Decimal(1), up_to=10), Tier(Decimal(100), Decimal(100)))
    with ModelServer("novita", tiers=tiers) as server:
        usage = post(server, BODIES["novita"])[1]["usage"]
    assert usage["prompt_tokens"] > 10
    assert server.bill.cost_usd == Decimal(usage["total_tokens"]) * 100 / 1_000_000


def test_an_answer_beyond_the_limit_is_cut_and_said_to_be() -> None:
    with ModelServer("novita") as server:
        body = post(server, {**BODIES["novita"], "max_tokens": 3})[1]
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["message"]["content"]) == 12


def test_partial_mode_goes_on_without_repeating() -> None:
    begun = {"role": "assistant", "content": '{"nonce":', "partial": True}
    with ModelServer("modelstudio") as server:
        body = post(server, {**BODIES["modelstudio"], "messages": [*MESSAGES, begun]})[1]
    assert body["choices"][0]["message"]["content"] == f' "{NONCE}", "findings": []}}'


def test_a_script_is_followed_once_and_then_all_is_well() -> None:
    with ModelServer("novita", script=[503, Act(404, code="gone")]) as server:
        assert [post(server, BODIES["novita"])[0] for _ in range(3)] == [503, 404, 200]


def test_each_task_has_an_answer_and_a_prompt_without_one_is_noticed() -> None:
    for task in ("review", "brief", "refute", "decide", "patch"):
        prompt = f"x\ntask: {task}\nnonce: {NONCE}"
        assert json.loads(answer_nothing(prompt))["nonce"] == NONCE
    with pytest.raises(ValueError, match="task and nonce"):
        read_task("no task")


def test_shown_lines_are_read_with_their_file() -> None:
    assert [(line.path, line.tag, line.mark) for line in read_lines(PROMPT)] == [
        ("a.py", "R1", " "),
        ("a.py", "R2", "+"),
    ]


TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "see a file",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}
DECIDE = [{"role": "user", "content": f"x\ntask: decide\nnonce: {NONCE}"}]


def with_tools(row: str, **more: object) -> dict[str, Any]:
    """Ask to decide, with a tool and whatever else, in the dialect of a row."""
    body: dict[str, Any] = {**BODIES[row]}
    options = {"tools": [TOOL], **more}
    if "input" in body:
        return {
            **body,
            "input": {"messages": DECIDE},
            "parameters": {**body["parameters"], **options},
        }
    return {**body, "messages": DECIDE, **options}


@pytest.mark.parametrize("row", ["novita", "modelstudio", "dashscope", "openai"])
def test_a_request_with_tools_is_answered_by_a_call(row: str) -> None:
    brain = Planted(answers={"decide": {"action": "look", "path": "a.py", "query": None}})
    with ModelServer(row, brain=brain) as server:
        two = {"tools": [TOOL, {**TOOL, "function": {**TOOL["function"], "name": "stop"}}]}  # type: ignore[dict-item]
        status, body, _ = post(server, with_tools(row, **two))
    choice = (body.get("output") or body)["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (status, choice["finish_reason"], call["type"]) == (200, "tool_calls", "function")
    assert call["function"]["name"] == "look"
    assert json.loads(call["function"]["arguments"]) == {"nonce": NONCE, "path": "a.py"}


@pytest.mark.parametrize("row", ["segmind", "aimlapi", "openai-compatible"])
def test_tools_are_refused_where_the_page_has_none(row: str) -> None:
    with ModelServer(row) as server:
        assert post(server, with_tools(row))[0] == 400


def test_tools_are_refused_beside_another_form_of_the_answer_or_a_choice_without_them() -> None:
    with ModelServer("novita") as server:
        assert post(server, with_tools("novita", response_format={"type": "json_object"}))[0] == 400
    with ModelServer("modelstudio") as server:
        begun = {"role": "assistant", "content": "{", "partial": True}
        assert post(server, with_tools("modelstudio", messages=[*DECIDE, begun]))[0] == 400
    with ModelServer("openai") as server:
        assert post(server, {**BODIES["openai"], "tool_choice": "required"})[0] == 400
        assert post(server, with_tools("openai", tool_choice="always"))[0] == 400
        assert post(server, with_tools("openai", tool_choice="required"))[0] == 200
