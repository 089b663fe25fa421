"""A suggestion's lines are filled in where a model was made for it, else asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from app.core.prompts import FaultKind, Prompt, Task
from sandbox.models import Act, ModelServer, Planted, Seen
from tests.adapters.models.kit import NONCE, answer_of, build, fault_of, make_prompt

REGION = "cn-beijing"
ASKED = Planted(answers={"patch": {"replacement": "asked"}})


def patch_prompt(before: str = "def f():\n", after: str = "\n    return x\n") -> Prompt:
    return replace(make_prompt(task=Task.PATCH), fill=(before, after))


def fill_in(seen: Seen) -> Act | None:
    return Act(answer="    x = 1") if seen.fills else None


def paths(server: ModelServer) -> list[str]:
    return [seen.path.rpartition("v1")[2] for seen in server.seen]


def test_the_lines_are_filled_in_between_the_code_around() -> None:
    with ModelServer("modelstudio", script=fill_in) as server:
        reply = answer_of(build(server, region=REGION).ask_once(patch_prompt()))

    assert json.loads(reply.text) == {"nonce": NONCE, "replacement": "    x = 1"}
    assert server.seen[0].body == {
        "model": "qwen-coder-turbo",
        "prompt": "<|fim_prefix|>def f():\n<|fim_suffix|>\n    return x\n<|fim_middle|>",
    }
    assert paths(server) == ["/completions"]
    assert reply.usage.completion_tokens == server.bill.completion_tokens


@pytest.mark.parametrize("region", [None, "ap-southeast-1"])
def test_elsewhere_the_lines_are_asked_for(region: str | None) -> None:
    with ModelServer("modelstudio", brain=ASKED) as server:
        answer_of(build(server, region=region).ask_once(patch_prompt()))
    assert paths(server) == ["/chat/completions"]


def test_other_tasks_are_asked_as_ever() -> None:
    with ModelServer("modelstudio") as server:
        answer_of(build(server, region=REGION).ask_once(make_prompt()))
    assert paths(server) == ["/chat/completions"]


@pytest.mark.parametrize("mark", ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"])
def test_code_that_holds_a_mark_is_not_filled_into(mark: str) -> None:
    with ModelServer("modelstudio", brain=ASKED) as server:
        answer_of(build(server, region=REGION).ask_once(patch_prompt(before=f"x = '{mark}'\n")))
    assert paths(server) == ["/chat/completions"]


@pytest.mark.parametrize(
    "act",
    [
        Act(404),
        Act(500),
        Act(finish=None),
        Act(finish="length"),
        Act(body=b'{"choices": []}'),
        Act(body=b'{"choices": [{"index": 0, "finish_reason": "stop"}]}'),
        Act(body=b"<html>", content_type="text/html"),
    ],
)
def test_what_can_not_be_filled_in_is_asked_for(act: Act) -> None:
    with ModelServer("modelstudio", brain=ASKED, script=[act]) as server:
        reply = answer_of(build(server, region=REGION).ask_once(patch_prompt()))

    assert json.loads(reply.text)["replacement"] == "asked"
    assert paths(server) == ["/completions", "/chat/completions"]
    assert reply.usage.requests == 2


def test_a_capped_run_fills_in_only_at_a_known_price() -> None:
    capped = replace(patch_prompt(), budget_usd=Decimal(1))
    with ModelServer("modelstudio", brain=ASKED) as server:
        answer_of(build(server, region=REGION).ask_once(capped))
    assert paths(server) == ["/chat/completions"]


def test_the_stand_in_fills_in_with_that_model_alone() -> None:
    def careless(row: object) -> object:
        return replace(row, completions=replace(row.completions, model="qwen3-coder-next"))  # type: ignore[attr-defined,type-var]

    with ModelServer("modelstudio", brain=lambda _prompt: "", script=[]) as server:
        model = build(server, region=REGION, change=careless)  # type: ignore[arg-type]
        fault = fault_of(model.ask_once(patch_prompt()))
    assert server.seen[0].status == 404
    assert fault.kind is FaultKind.UNPARSED
