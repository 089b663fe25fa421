"""Each row of the table, end to end: the real client against a stand-in of exactly its page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.adapters.models.build import Choices, build_model
from app.adapters.models.registry import Provider, load_providers
from app.core.prompts import FaultKind, Role
from sandbox.models import ROWS, ModelServer, Planted
from tests.adapters.models.kit import answer_of, ask, build, fault_of, make_prompt

BUG = Planted({"/ len": "Division by zero"})


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_asked_as_its_page_documents_and_answers(row: str) -> None:
    with ModelServer(row, brain=BUG) as server:
        reply = answer_of(ask(server))

    assert server.refusals == ()
    assert json.loads(reply.text)["findings"][0]["title"] == "Division by zero"
    assert reply.usage.requests == 1


@pytest.mark.parametrize("row", [row for row in ROWS if row != "modelstudio"])
def test_a_row_is_billed_what_its_stand_in_counted(row: str) -> None:
    with ModelServer(row, brain=BUG) as server:
        usage = ask(server).usage

    assert usage.uncounted == 0
    assert usage.prompt_tokens == server.bill.prompt_tokens
    assert usage.completion_tokens == server.bill.completion_tokens
    assert usage.reasoning_tokens == server.bill.reasoning_tokens


@pytest.mark.parametrize("row", ROWS)
def test_nothing_goes_out_but_the_documented_headers(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-CANARY")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-CANARY")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-CANARY\nx-extra: CANARY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ModelServer(row) as server:
        answer_of(ask(server))

    assert "CANARY" not in str(server.seen[0].headers)
    assert not [name for name in server.seen[0].headers if name.startswith("x-stainless")]


@pytest.mark.parametrize("row", ROWS)
def test_an_undocumented_field_shows_as_a_refusal(row: str) -> None:
    def careless(provider: Provider) -> Provider:
        more = ("temperature", "max_tokens", "max_completion_tokens", "enable_thinking")
        return replace(provider, fields=(*provider.fields, *more), try_modes=False)

    with ModelServer(row) as server:
        reply = fault_of(ask(server, change=careless))

    assert reply.kind is FaultKind.REFUSED
    assert "undocumented fields" in server.refusals[0]


@pytest.mark.parametrize("row", ROWS)
def test_a_wrong_key_header_is_refused(row: str) -> None:
    def careless(provider: Provider) -> Provider:
        auth = "bearer" if provider.auth != "bearer" else "x-api-key"
        return replace(provider, auth=auth)

    with ModelServer(row) as server:
        fault_of(ask(server, change=careless))

    assert "not documented" in server.refusals[0]


def test_novita_is_asked_for_a_strict_schema() -> None:
    with ModelServer("novita") as server:
        answer_of(ask(server))

    wished = server.seen[0].body["response_format"]
    assert wished["type"] == "json_schema"
    assert wished["json_schema"]["strict"] is True
    assert wished["json_schema"]["schema"]["properties"]["nonce"]["const"] == "0123456789abcdef"
    assert server.seen[0].body["temperature"] == 0


@pytest.mark.parametrize("row", ["modelstudio", "dashscope"])
def test_an_answer_is_begun_where_no_format_can_be_asked_for(row: str) -> None:
    with ModelServer(row) as server:
        reply = answer_of(ask(server))

    assert server.seen[0].messages[-1] == {
        "role": "assistant",
        "content": '{"nonce":',
        "partial": True,
    }
    assert json.loads(reply.text)["findings"] == []


@pytest.mark.parametrize("row", ["modelstudio", "dashscope"])
def test_a_model_that_begins_the_answer_anew_is_understood(row: str) -> None:
    with ModelServer(row, brain=lambda prompt: " " + BUG(prompt)) as server:
        assert len(json.loads(answer_of(ask(server)).text)["findings"]) == 1


def test_model_studio_streams() -> None:
    with ModelServer("modelstudio") as server:
        answer_of(ask(server))

    assert server.seen[0].body["stream"] is True
    assert "stream_options" not in server.seen[0].body


def test_model_studio_counts_a_stream_when_the_operator_turns_that_on() -> None:
    def counted(provider: Provider) -> Provider:
        return replace(provider, fields=(*provider.fields, "stream_options", "max_tokens"))

    with ModelServer("modelstudio", more_fields=("stream_options", "max_tokens")) as server:
        usage = ask(server, change=counted).usage

    assert usage.uncounted == 0
    assert usage.completion_tokens == server.bill.completion_tokens


def test_a_cached_prefix_is_reported() -> None:
    with ModelServer("dashscope") as server:
        model = build(server)
        first, second = (model.ask_once(make_prompt("R1 +| " + "x" * 400)) for _ in range(2))

    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == server.bill.cached_tokens > 100


@pytest.mark.parametrize(
    ("role", "model"), [(Role.FAST, "flash"), (Role.MAIN, "plus"), (Role.VERIFY, "plus")]
)
def test_segmind_names_the_model_in_the_path_by_role(role: Role, model: str) -> None:
    with ModelServer("segmind") as server:
        answer_of(ask(server, make_prompt(role=role)))

    assert server.seen[0].path == f"/v1/qwen3-coder-{model}"
    assert set(server.seen[0].body) == {"messages"}


def test_segmind_tells_the_credits_left() -> None:
    with ModelServer("segmind", credits_left=6) as server:
        model = build(server)
        first, second = (model.ask_once(make_prompt()).usage for _ in range(2))

    assert (first.credits_left, first.credits_low) == (5, False)
    assert (second.credits_left, second.credits_low) == (4, True)
    assert (first + second).credits_left == 4


@pytest.mark.parametrize(
    ("role", "thinks"), [(Role.FAST, False), (Role.MAIN, True), (Role.VERIFY, True)]
)
def test_the_thinking_model_thinks_unless_the_look_is_quick(role: Role, *, thinks: bool) -> None:
    with ModelServer("aimlapi", brain=BUG) as server:
        reply = answer_of(ask(server, make_prompt(role=role)))

    assert server.seen[0].body["enable_thinking"] is thinks
    assert "I look at each line" not in reply.text
    assert reply.usage.reasoning_tokens == server.bill.reasoning_tokens > 0


def test_each_role_is_taken_by_its_model() -> None:
    def routed(provider: Provider) -> Provider:
        assert provider.models is not None
        models = replace(provider.models, main="qwen3-coder-flash", verify="qwen3-coder-plus")
        return replace(provider, models=models)

    with ModelServer("segmind") as server:
        model = build(server, change=routed)
        for role in (Role.FAST, Role.MAIN, Role.VERIFY):
            answer_of(model.ask_once(make_prompt(role=role)))

    assert [seen.path.rpartition("-")[2] for seen in server.seen] == ["flash", "flash", "plus"]


def test_an_openai_compatible_service_without_a_key_gets_none() -> None:
    with ModelServer("openai-compatible", key="") as server:
        answer_of(ask(server, api_key=None))

    assert "authorization" not in server.seen[0].headers


def test_a_service_that_refuses_a_format_is_asked_for_the_next_one() -> None:
    with ModelServer("openai-compatible") as server:
        server.row = replace(server.row, formats=frozenset({"json_object"}))
        model = build(server)
        for _ in range(2):
            answer_of(model.ask_once(make_prompt()))

    formats = [seen.body["response_format"]["type"] for seen in server.seen]
    assert formats == ["json_schema", "json_object", "json_object"]


def test_a_new_service_needs_no_code() -> None:
    with ModelServer("novita") as server:
        override = f"""
            [acme]
            title = "Acme"
            dialect = "chat"
            address = "{server.base_url}"
            key = "ACME_KEY"
            fields = ["model", "messages", "max_tokens"]
            modes = ["plain"]
            [acme.models]
            fast = "qwen/qwen3-coder-next"
            main = "qwen/qwen3-coder-next"
            verify = "qwen/qwen3-coder-next"
        """
        provider = load_providers(override)["acme"]
        model = build_model(provider, Choices(api_key=server.key))
        answer_of(model.ask_once(make_prompt()))

    assert set(server.seen[0].body) == {"model", "messages", "max_tokens"}
