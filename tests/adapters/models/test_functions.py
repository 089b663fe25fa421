"""What a doubting look wishes to see it asks for by a call, where the service's page has calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.adapters.models import registry
from app.adapters.models.build import Choices, build_model
from app.adapters.models.registry import Provider, load_providers
from app.adapters.tokens import count_tokens
from app.core.findings import Action, Category, Decision, Finding, Severity, parse_decide
from app.core.money import most_tokens
from app.core.prompts import (
    FUNCTIONS_TOKENS,
    Answer,
    FaultKind,
    Prompt,
    Reply,
    Templates,
    compose_decide,
)
from app.errors import AnswerRejected, SettingsError
from sandbox.models import ROWS, Act, ModelServer, Planted
from tests.adapters.models.kit import NONCE, answer_of, ask_once, build, fault_of, make_prompt

CALLING = [row for row, provider in load_providers().items() if provider.functions]
PROMPTS = Path(__file__).parents[3] / "prompts"
TEMPLATES = Templates({file.name: file.read_text() for file in PROMPTS.glob("*.j2")})
CLAIM = Finding("a.py", "R1", "R1", "x = 1", Severity.MAJOR, Category.BUG, "It is late", "So.")
LOOK = {"action": "inspect_file", "path": "a.py", "query": None, "rationale": "who calls it"}
SEEN = Decision(Action.INSPECT_FILE, "a.py", None, "who calls it")
BRAIN = Planted(answers={"decide": LOOK})


def decide(*, calls: bool = True) -> Prompt:
    return compose_decide(
        TEMPLATES,
        CLAIM,
        "## file: a.py\nR1 +| x = 1",
        steps_left=6,
        nonce=NONCE,
        max_tokens=500,
        count=count_tokens,
        calls=calls,
    )


def function(name: str, arguments: object) -> dict[str, Any]:
    said = {"name": name, "arguments": arguments}
    return {"index": 0, "id": "call_1", "type": "function", "function": said}


def called(name: str, **arguments: object) -> dict[str, Any]:
    return function(name, json.dumps({"nonce": NONCE, "rationale": "why", **arguments}))


def acted(*calls: dict[str, Any], text: str | None = None) -> Act:
    return Act(message={"tool_calls": list(calls)}, answer=text, finish="tool_calls")


def options_of(server: ModelServer) -> Mapping[str, Any]:
    (seen,) = server.seen
    return seen.options


def test_four_services_document_calls_and_say_where() -> None:
    assert CALLING == ["novita", "modelstudio", "dashscope", "openai"]
    for row in CALLING:
        provider = load_providers()[row]
        assert "read 2026-" in provider.sources["functions"]
        assert build_info(provider) is True
    assert build_info(load_providers()["aimlapi"]) is False


def build_info(provider: Provider) -> bool:
    key, workspace = "sk-key", "ws-1"
    return build_model(provider, Choices(api_key=key, workspace=workspace)).info.calls


@pytest.mark.parametrize("row", CALLING)
def test_a_look_is_asked_for_by_three_functions_and_the_call_is_the_decision(row: str) -> None:
    with ModelServer(row, brain=BRAIN) as server:
        reply = answer_of(ask_once(server, decide()))

    assert server.refusals == ()
    assert parse_decide(reply.text, NONCE) == SEEN
    options = options_of(server)
    functions = {tool["function"]["name"]: tool["function"] for tool in options["tools"]}
    assert list(functions) == [action.value for action in Action]
    required = {name: one["parameters"]["required"] for name, one in functions.items()}
    assert required == {
        "inspect_file": ["nonce", "path", "rationale"],
        "search_code": ["nonce", "query", "rationale"],
        "finish": ["nonce", "rationale"],
    }
    assert set(functions["finish"]["parameters"]["properties"]) == {"nonce", "rationale"}
    assert "response_format" not in options
    assert not server.seen[0].begun
    demands = {
        name: options[name] for name in ("tool_choice", "parallel_tool_calls") if name in options
    }
    one = {"tool_choice": "required", "parallel_tool_calls": False}
    assert demands == (one if row == "openai" else {})


@pytest.mark.parametrize("row", CALLING)
def test_every_other_question_keeps_the_mode_of_its_row(row: str) -> None:
    with ModelServer(row) as server:
        answer_of(ask_once(server, make_prompt()))
    assert "tools" not in options_of(server)
    assert server.refusals == ()


@pytest.mark.parametrize("row", [row for row in ROWS if row not in CALLING])
def test_a_row_without_calls_is_asked_for_json(row: str) -> None:
    with ModelServer(row, brain=BRAIN) as server:
        model = build(server)
        assert model.info.calls is False
        reply = answer_of(model.ask_once(decide(calls=False)))
    assert parse_decide(reply.text, NONCE) == SEEN
    assert "tools" not in options_of(server)
    assert server.refusals == ()


def test_the_functions_are_the_same_at_every_step_and_hold_no_nonce() -> None:
    one = decide()
    other = compose_decide(
        TEMPLATES,
        replace(CLAIM, title="Another"),
        "## file: b.py\nR1 +| y = 2",
        steps_left=1,
        nonce="f" * 16,
        max_tokens=500,
        count=count_tokens,
        calls=True,
    )
    assert one.functions == other.functions
    assert NONCE not in one.functions
    heads = [prompt.messages[0].content.partition("You have ")[0] for prompt in (one, other)]
    assert heads[0] == heads[1]


def test_an_answer_to_other_definitions_is_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    before = decide().key
    changed = {file.name: file.read_text() for file in PROMPTS.glob("*.j2")}
    changed["decide.j2"] = changed["decide.j2"].replace("see a part of a file", "see a file")
    monkeypatch.setattr(f"{__name__}.TEMPLATES", Templates(changed))
    assert decide().key != before


def test_each_form_is_told_of_itself_alone() -> None:
    calling, writing = decide(), decide(calls=False)
    told = ["\n".join(message.content for message in one.messages) for one in (calling, writing)]
    assert "JSON" not in told[0]
    assert "function" not in told[1].replace("a function's name", "")
    assert all(text.endswith(f"\ntask: decide\nnonce: {NONCE}") for text in told)
    words = [one["description"] for one in json.loads(calling.functions)]
    assert all(word in told[1] for word in words)
    assert writing.functions == ""
    assert calling.key != writing.key


@pytest.mark.parametrize("row", CALLING)
def test_the_definitions_are_counted_before_they_are_billed(row: str) -> None:
    prompt = decide()
    with ModelServer(row, brain=BRAIN, count=count_tokens) as server:
        model = build(server)
        answer_of(model.ask_once(prompt))
    messages = sum(count_tokens(message.content) for message in prompt.messages)
    template = 494 - 12 - 106  # what the page of Qwen-Coder adds to an example's own tokens
    billed = server.bill.prompt_tokens
    assert messages + 200 < billed <= most_tokens(prompt, model.info.rates) - template


def test_what_a_template_adds_to_definitions_is_counted_too() -> None:
    words = {"type": "string", "description": "The relative or absolute path of the object file"}
    content = {"type": "string", "description": "The string content to write to the file"}
    parameters = {
        "type": "object",
        "properties": {"path": words, "content": content},
        "required": ["path", "content"],
    }
    description = "Writes content to a specified file. Creates the file if it does not exist."
    defined = [{"name": "write_file", "description": description, "parameters": parameters}]
    asked = "Write a Python quick sort script and name it quick_sort.py"
    ours = count_tokens(asked) + count_tokens(json.dumps(defined)) + FUNCTIONS_TOKENS
    assert ours >= 494  # what the page of Qwen-Coder bills for this example


BAD: Mapping[str, Act] = {
    "another function": acted(called("run_shell_command", query="id")),
    "a function without a name": acted(called("", query="id")),
    "arguments that are no JSON": acted(function("inspect_file", '{"path": ')),
    "arguments that are a list": acted(function("inspect_file", "[]")),
    "arguments that are a whole decision as text": acted(function("x", f'"{{{NONCE}}}"')),
    "arguments in other brackets": acted(
        function("finish", f'("nonce": "{NONCE}", "rationale": "why"}}')
    ),
    "no arguments": acted(function("finish", "")),
    "empty arguments": acted(function("finish", "{}")),
    "no path": acted(called("inspect_file")),
    "a parameter of its own": acted(called("search_code", query="x", host="evil")),
    "another action among the arguments": acted(called("finish", action="inspect_file", path="a")),
    "a nonce of another request": acted(called("finish", nonce="f" * 16)),
    "two calls": acted(called("finish"), called("inspect_file", path="a.py")),
    "words instead": Act(answer="I would look at a.py."),
    "nothing": Act(answer=""),
    "nothing that was said to be a call": Act(answer=None, finish="tool_calls"),
    "a call that was filtered": Act(
        message={"tool_calls": [called("finish")]}, finish="content_filter"
    ),
    "a call without an end": Act(message={"tool_calls": [called("finish")]}, finish=None),
}


def reads(reply: Reply) -> bool:
    try:
        return isinstance(reply, Answer) and bool(parse_decide(reply.text, NONCE))
    except AnswerRejected:
        return False


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("row", CALLING)
def test_what_is_no_single_right_call_decides_nothing(row: str, name: str) -> None:
    with ModelServer(row, script=[BAD[name]]) as server:
        assert not reads(ask_once(server, decide()))
    assert server.refusals == ()


@pytest.mark.parametrize("row", CALLING)
@pytest.mark.parametrize(
    "act",
    [
        acted(called("inspect_file", path="a.py", rationale="who calls it")),
        acted(called("inspect_file", path="a.py", rationale="who calls it"), text="I look."),
        replace(
            acted(called("inspect_file", path="a.py", rationale="who calls it")), finish="stop"
        ),
        Act(answer="", message={"content": json.dumps({"nonce": NONCE, **LOOK})}),
    ],
)
def test_a_call_with_words_beside_it_or_the_same_in_json_is_taken(row: str, act: Act) -> None:
    with ModelServer(row, script=[act]) as server:
        reply = answer_of(ask_once(server, decide()))
    assert parse_decide(reply.text, NONCE) == SEEN


def chunk(*calls: object, finish: str | None = None) -> str:
    delta = {"content": None, "tool_calls": list(calls)} if calls else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})


def piece(arguments: str | None, index: object = 0, name: object = None) -> dict[str, Any]:
    said = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {"index": index, "id": "", "type": "function", "function": said}


@pytest.mark.parametrize("row", ["modelstudio", "openai"])
def test_a_call_is_put_together_from_the_chunks_of_a_stream(row: str) -> None:
    text = json.dumps({"nonce": NONCE, "path": "a.py", "rationale": "who calls it"})
    cuts = (text[:1], text[1:20], text[20:])
    events = [chunk(piece("", name="inspect_file")), *(chunk(piece(cut)) for cut in cuts)]
    act = Act(sse=(*events, chunk(piece(None)), chunk(finish="tool_calls"), "[DONE]"))
    with ModelServer(row, script=[act]) as server:
        reply = answer_of(ask_once(server, decide()))
    assert parse_decide(reply.text, NONCE) == SEEN


@pytest.mark.parametrize("row", ["modelstudio", "openai"])
def test_two_calls_in_one_stream_are_never_one(row: str) -> None:
    text = json.dumps({"nonce": NONCE, "rationale": "why"})
    both = (chunk(piece(text[:9], 0, "finish")), chunk(piece(text, 1, "finish")))
    act = Act(sse=(*both, chunk(piece(text[9:])), chunk(finish="tool_calls"), "[DONE]"))
    with ModelServer(row, script=[act]) as server:
        assert fault_of(ask_once(server, decide())).kind is FaultKind.UNPARSED


@pytest.mark.parametrize("odd", [{"a": 1}, 7, ["x"]])
@pytest.mark.parametrize("row", CALLING)
def test_a_call_that_is_not_text_is_an_odd_answer_and_no_crash(row: str, odd: object) -> None:
    streamed = (chunk(piece("", name="finish")), chunk(piece(odd)), "[DONE]")  # type: ignore[arg-type]
    streams = load_providers()[row].stream
    act = Act(sse=streamed) if streams else acted(function("finish", odd))
    with ModelServer(row, script=[act]) as server:
        assert fault_of(ask_once(server, decide())).kind is FaultKind.UNAVAILABLE


@pytest.mark.parametrize("row", ["modelstudio", "dashscope"])
@pytest.mark.parametrize("text", ["I would look", None])
def test_a_call_that_was_cut_is_not_gone_on_with(row: str, text: str | None) -> None:
    calls = {"tool_calls": [function("inspect_file", '{"path": "a')]} if text is None else {}
    act = Act(message=calls, answer=text, finish="length")
    with ModelServer(row, script=[act]) as server:
        reply = build(server).ask_all([decide()])[0]
    assert fault_of(reply).kind is FaultKind.CUT
    assert len(server.seen) == 1


# The stand-ins keep to the pages.


def careless(change: Callable[[dict[str, Any]], object]) -> Callable[[Prompt], Prompt]:
    """Send other tools than the product does."""

    def changed(prompt: Prompt) -> Prompt:
        functions = json.loads(prompt.functions)
        change(functions[0])
        return replace(prompt, functions=json.dumps(functions))

    return changed


@pytest.mark.parametrize("row", CALLING)
@pytest.mark.parametrize(
    "change",
    [
        careless(lambda one: one.update(strict=True)),
        careless(lambda one: one.update(name="no name")),
        careless(lambda one: one.pop("description")),
        careless(lambda one: one["parameters"].update(type="array")),
        careless(lambda one: one["parameters"].pop("required")),
        lambda prompt: replace(prompt, functions="[]"),
    ],
)
def test_tools_in_another_form_show_as_a_refusal(
    row: str, change: Callable[[Prompt], Prompt]
) -> None:
    with ModelServer(row) as server:
        assert fault_of(ask_once(server, change(decide()))).kind is FaultKind.REFUSED
    assert len(server.refusals) == 1


@pytest.mark.parametrize("row", CALLING)
def test_more_than_twenty_tools_show_where_the_page_has_a_limit(row: str) -> None:
    prompt = decide()
    many = replace(prompt, functions=json.dumps(json.loads(prompt.functions) * 7))
    with ModelServer(row) as server:
        ask_once(server, many)
    assert len(server.refusals) == (row in {"modelstudio", "dashscope"})


@pytest.mark.parametrize("row", [row for row in ROWS if row not in CALLING])
def test_tools_where_no_page_has_them_show_as_a_refusal(row: str) -> None:
    def careless(provider: Provider) -> Provider:
        return replace(provider, fields=(*provider.fields, "tools"), functions=True)

    with ModelServer(row) as server:
        reply = fault_of(ask_once(server, decide(), change=careless))
    assert reply.kind is FaultKind.REFUSED
    assert "undocumented fields: tools" in server.refusals[0]


@pytest.mark.parametrize("row", ["novita", "modelstudio"])
def test_a_choice_of_tools_where_the_page_is_silent_shows_as_a_refusal(row: str) -> None:
    def careless(provider: Provider) -> Provider:
        return replace(provider, fields=(*provider.fields, "tool_choice"))

    with ModelServer(row) as server:
        fault_of(ask_once(server, decide(), change=careless))
    assert "undocumented fields: tool_choice" in server.refusals[0]


# The operator's own rows.


def test_an_operator_declares_calls_for_any_service() -> None:
    override = '[segmind]\nfields = ["messages", "tools"]\nfunctions = true'
    provider = load_providers(override)["segmind"]
    assert provider.sources == {"functions": "POSTIL_PROVIDERS_FILE"}
    with ModelServer("segmind", brain=BRAIN, more_fields=["tools"]) as server:
        reply = answer_of(ask_once(server, decide(), change=lambda _row: provider))
    assert parse_decide(reply.text, NONCE) == SEEN
    assert set(server.seen[0].body) == {"messages", "tools"}


def test_the_built_in_table_may_not_declare_calls_without_saying_where_they_are_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {
        "title": "Acme",
        "dialect": "chat",
        "address": "https://acme.test/v1",
        "fields": ["messages", "tools"],
        "modes": ["plain"],
        "functions": True,
    }
    monkeypatch.setattr(registry, "_built_in", lambda: {"acme": row})
    with pytest.raises(SettingsError, match="sources does not say where functions is stated"):
        load_providers()


def test_an_operator_may_turn_calls_off() -> None:
    assert load_providers("[novita]\nfunctions = false")["novita"].functions is False


def test_calls_without_their_field_are_refused_in_one_sentence() -> None:
    with pytest.raises(SettingsError, match="functions needs `tools` in its fields"):
        load_providers("[aimlapi]\nfunctions = true")
