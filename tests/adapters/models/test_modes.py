"""The form of answer that a row declares is tried; when it is not kept the best one is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from app.adapters.models.build import Choices, build_model
from app.adapters.models.local import find_model
from app.adapters.models.modes import probe_modes
from app.adapters.models.registry import Mode, Provider, Routing, load_providers
from app.adapters.tokens import count_tokens
from app.core.note import Note
from app.core.prompts import Templates
from sandbox.models import ROWS, Act, ModelServer, Planted, Seen, answer_nothing
from sandbox.models.brain import Brain, read_task
from tests.adapters.models.kit import VirtualTime, build

TEMPLATES = Templates(
    {file.name: file.read_text() for file in Path(__file__).parents[3].glob("prompts/*.j2")}
)
PROSE = "It greets people in French too."
CALLING = [row for row, provider in load_providers().items() if provider.functions]


def by_words(prompt: str) -> str:
    """Do what the words say, and no more: the service enforces nothing."""
    return answer_nothing(prompt) if "JSON object" in prompt else PROSE


def same(provider: Provider) -> Provider:
    return provider


def examine(server: ModelServer, change: Callable[[Provider], Provider] = same) -> list[Note]:
    provider = change(load_providers()[server.row.id])

    def made(row: Provider) -> object:
        return build(server, time=VirtualTime(), change=lambda _row: row)

    return list(probe_modes(made(provider), provider, made, TEMPLATES, count_tokens))  # type: ignore[arg-type]


def modes_of(notes: Sequence[Note]) -> Note:
    (note,) = [note for note in notes if note.subject == "model's mode"]
    return note


def calls_of(notes: Sequence[Note]) -> Note:
    (note,) = [note for note in notes if note.subject == "model's calls"]
    return note


def only(*modes: Mode, fields: Sequence[str] = ()) -> Callable[[Provider], Provider]:
    return lambda row: replace(row, modes=modes, fields=(*row.fields, *fields), try_modes=False)


@pytest.mark.parametrize("row", ROWS)
def test_a_service_that_keeps_to_its_page_is_well(row: str) -> None:
    with ModelServer(row) as server:
        notes = examine(server)
    declared = load_providers()[row].modes[0]
    assert server.refusals == ()
    assert all(note.well for note in notes)
    assert {note.text.partition(": ")[2] for note in notes} == {
        f"{declared}: kept",
        "function calling: kept" if row in CALLING else "none: what to look up is told in JSON",
    }


def test_each_model_of_a_row_is_tried_and_named_with_its_roles() -> None:
    with ModelServer("segmind") as server:
        notes = examine(server)
    assert [note.text for note in notes if note.subject == "model's mode"] == [
        "qwen3-coder-plus (main, verify): plain: kept",
        "qwen3-coder-flash (fast): plain: kept",
    ]
    assert [seen.path.rpartition("-")[2] for seen in server.seen] == ["plus", "flash"]


@pytest.mark.parametrize("row", ["novita", "openai", "openai-compatible"])
def test_a_service_that_ignores_the_format_is_found_out_and_the_mend_works(row: str) -> None:
    with ModelServer(row, brain=by_words) as server:
        note = modes_of(examine(server))
        assert server.refusals == ()
        name = note.text.partition(": ")[0]
        assert not note.well
        assert note.text == (
            f"{name}: json_schema: not kept: plain text came back; json_object: not kept: plain "
            f'text came back; plain: kept; set modes = ["plain"] of {row} in POSTIL_PROVIDERS_FILE'
        )
        chosen = note.text.partition("; set ")[2].partition(" of ")[0]
        mended = load_providers(f"[{row}]\n{chosen}\n")[row]
        again = modes_of(examine(server, lambda _row: mended))
    assert (again.well, again.text) == (True, f"{name}: plain: kept")


def test_the_line_that_the_page_shows_is_the_one_that_is_printed() -> None:
    def named(row: Provider) -> Provider:
        return replace(row, models=Routing("qwen3-coder", "qwen3-coder", "qwen3-coder"))

    def brain(prompt: str) -> str:
        return answer_nothing(prompt) if "JSON" in prompt else PROSE

    with ModelServer("openai-compatible", brain=brain) as server:
        notes = examine(server, named)
    page = (Path(__file__).parents[3] / "docs" / "models-and-cost.md").read_text()
    assert all(note.text in page for note in notes)


def test_a_service_that_refuses_a_format_gets_the_next_one() -> None:
    with ModelServer("novita") as server:
        server.row = replace(server.row, formats=frozenset({"json_object"}))
        note = modes_of(examine(server))
    assert not note.well
    assert "json_schema: refused: Novita AI refused the request (HTTP 400" in note.text
    assert note.text.endswith(
        'json_object: kept; set modes = ["json_object", "plain"] of novita in POSTIL_PROVIDERS_FILE'
    )


def test_a_row_that_falls_back_by_itself_needs_no_mend() -> None:
    with ModelServer("openai-compatible") as server:
        server.row = replace(server.row, formats=frozenset())
        note = modes_of(examine(server))
    assert note.well
    assert note.text.count("refused: ") == 2
    assert note.text.endswith("plain: kept, and fallen back to by itself")


def fenced(prompt: str) -> str:
    return f"```json\n{answer_nothing(prompt)}\n```"


def another(prompt: str) -> str:
    return json.dumps({"summary": PROSE, "nonce": read_task(prompt)[1]})


def anew(prompt: str) -> str:
    nonce = read_task(prompt)[1]
    return json.dumps({"brief": PROSE, "nonce": nonce})


@pytest.mark.parametrize(
    ("row", "mode", "brain", "came"),
    [
        ("novita", "json_schema", fenced, "JSON in a code fence"),
        ("novita", "json_schema", another, "JSON of another form"),
        ("novita", "json_object", fenced, "JSON in a code fence"),
        ("novita", "json_object", lambda _prompt: "[1]", "plain text"),
        ("modelstudio", "partial", anew, "an answer that was begun anew"),
        ("dashscope", "partial", lambda _prompt: PROSE, "plain text"),
        ("segmind", "plain", another, "JSON of another form"),
        ("segmind", "plain", lambda _prompt: PROSE, "plain text"),
    ],
)
def test_what_came_back_instead_is_told(row: str, mode: Mode, brain: Brain, came: str) -> None:
    with ModelServer(row, brain=brain) as server:
        notes = [note for note in examine(server, only(mode)) if note.subject == "model's mode"]
    for note in notes:
        assert not note.well
        assert note.text.endswith(f"{mode}: not kept: {came} came back; no other is known")


@pytest.mark.parametrize(
    ("row", "mode", "brain"),
    [
        ("novita", "json_object", another),
        ("segmind", "plain", fenced),
        ("modelstudio", "plain", answer_nothing),
    ],
)
def test_a_mode_is_held_to_what_it_promises_and_no_more(row: str, mode: Mode, brain: Brain) -> None:
    with ModelServer(row, brain=brain) as server:
        notes = [note for note in examine(server, only(mode)) if note.subject == "model's mode"]
    assert all(note.well for note in notes)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Act(answer=""), "nothing that can be read came back"),
        (Act(finish="length"), "the answer did not end"),
        (Act(finish="content_filter"), "the model declined to answer"),
    ],
)
def test_an_answer_that_is_none_keeps_no_mode(act: Act, said: str) -> None:
    with ModelServer("novita", script=lambda _seen: act) as server:
        note = modes_of(examine(server))
    assert not note.well
    assert note.text.count(f"not kept: {said}") == 3


def test_a_forced_call_is_tried_where_a_row_declares_it() -> None:
    forced = only("tool", "plain", fields=["tool_choice"])
    with ModelServer("novita", more_fields=["tool_choice"]) as server:
        note = modes_of(examine(server, forced))
        assert (note.well, note.text.partition(": ")[2]) == (True, "tool: kept")
    with ModelServer("novita", brain=by_words, more_fields=["tool_choice"]) as server:
        note = modes_of(examine(server, forced))
    assert "tool: not kept: plain text came back; plain: kept; set modes = " in note.text


def test_a_service_that_can_not_be_asked_is_no_proof_against_a_mode() -> None:
    with ModelServer("novita", script=lambda _seen: Act(401)) as server:
        notes = examine(server)
    (note,) = notes
    assert not note.well
    assert "json_schema: could not be tried: Novita AI refused the key" in note.text
    assert "set modes" not in note.text


@pytest.mark.skipif(find_model() is None, reason="postil[local] is not installed")
@pytest.mark.slow
def test_the_embedded_model_keeps_to_its_grammar_though_no_word_asks_for_json() -> None:
    provider = load_providers()["local"]
    model = build_model(provider, Choices())
    notes = list(probe_modes(model, provider, build_unasked, TEMPLATES, count_tokens))
    assert [(note.well, note.text.partition(": ")[2]) for note in notes] == [
        (True, "json_schema: kept"),
        (True, "none: what to look up is told in JSON"),
    ]


def build_unasked(_row: Provider) -> NoReturn:
    raise AssertionError("a row of one mode needs no second server")


# Calls of functions.


def without_calls(seen: Seen) -> Act | None:
    return Act(answer=PROSE) if seen.tools else None


@pytest.mark.parametrize("row", CALLING)
def test_a_service_that_ignores_functions_is_found_out_and_the_mend_works(row: str) -> None:
    with ModelServer(row, script=without_calls) as server:
        note = calls_of(examine(server))
        assert not note.well
        assert note.text.partition(": ")[2] == (
            "function calling: not kept: plain text came back; set functions = false of"
            f" {row} in POSTIL_PROVIDERS_FILE"
        )
        mended = load_providers(f"[{row}]\nfunctions = false\n")[row]
        assert calls_of(examine(server, lambda _row: mended)).well


def test_a_service_that_refuses_functions_is_found_out() -> None:
    with ModelServer("novita", script=lambda seen: Act(400) if seen.tools else None) as server:
        notes = examine(server)
    assert modes_of(notes).well
    assert not calls_of(notes).well
    assert "function calling: refused: Novita AI refused the request" in calls_of(notes).text


@pytest.mark.parametrize(
    ("decision", "came"),
    [
        ({"action": "write_file", "path": "x", "rationale": ""}, "a call of another form"),
        ({"action": "inspect_file", "rationale": "why"}, "a call of another form"),
    ],
)
def test_a_call_of_another_form_is_told(decision: dict[str, str], came: str) -> None:
    with ModelServer("openai", brain=Planted(answers={"decide": decision})) as server:
        note = calls_of(examine(server))
    assert f"not kept: {came} came back" in note.text


def test_the_decision_in_json_is_not_taken_for_a_call() -> None:
    def spelled(seen: Seen) -> Act | None:
        said = {"content": answer_nothing(seen.prompt)}
        return Act(answer="", message=said) if seen.tools else None

    with ModelServer("novita", script=spelled) as server:
        assert "not kept: JSON came back" in calls_of(examine(server)).text
