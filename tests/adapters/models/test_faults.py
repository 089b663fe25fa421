"""Whatever goes wrong has one name, one sentence and one count of what it may have cost."""

from __future__ import annotations

import gzip
import inspect
import socket
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.models.build import Choices, build_model
from app.adapters.models.faults import (
    ODD_ANSWER,
    SDK_FAULTS,
    fault_of_exception,
    read_retry_after,
)
from app.adapters.models.registry import load_providers
from app.core.prompts import Fault, FaultKind
from sandbox.models import Act, ModelServer
from tests.adapters.models.kit import (
    answer_of,
    ask,
    ask_once,
    build,
    fault_of,
    make_prompt,
    slower,
)

CANARY = "sk-CANARY-0123456789"
EPOCH = 1_000_000_000.0


def sdk_exceptions() -> Sequence[type[Exception]]:
    """Every exception class that the installed client names."""
    named = (getattr(openai, name) for name in dir(openai))
    return [
        each
        for each in (*named, *vars(openai._exceptions).values())
        if inspect.isclass(each)
        and issubclass(each, Exception)
        and each.__module__.startswith("openai")
    ]


@pytest.mark.parametrize("kind", sorted(set(sdk_exceptions()), key=str))
def test_every_exception_of_the_client_is_mapped(kind: type[Exception]) -> None:
    by_status = issubclass(kind, openai.APIStatusError)
    known = issubclass(kind, tuple(SDK_FAULTS)) or issubclass(kind, ODD_ANSWER)
    assert by_status or known, f"{kind.__name__} is a new exception: say in faults.py what it means"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FaultKind.KEY),
        (402, FaultKind.CREDITS),
        (403, FaultKind.KEY),
        (404, FaultKind.MODEL),
        (405, FaultKind.REFUSED),
        (406, FaultKind.CREDITS),
        (408, FaultKind.TIMEOUT),
        (409, FaultKind.UNAVAILABLE),
        (413, FaultKind.TOO_LONG),
        (418, FaultKind.REFUSED),
        (422, FaultKind.REFUSED),
        (429, FaultKind.LIMITED),
        (500, FaultKind.UNAVAILABLE),
        (502, FaultKind.UNAVAILABLE),
        (503, FaultKind.UNAVAILABLE),
        (504, FaultKind.UNAVAILABLE),
        (529, FaultKind.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("row", ["novita", "modelstudio", "dashscope"])
def test_each_status_has_its_fault(row: str, status: int, kind: FaultKind) -> None:
    with ModelServer(row, script=[status]) as server:
        assert fault_of(ask_once(server)).kind is kind
    assert len(server.seen) == 1, "a call repeats nothing"


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, ("NOVITA_API_KEY", "POSTIL_API_KEY")),
        (402, ("NOVITA_API_KEY",)),
        (404, ("POSTIL_MODEL", "POSTIL_BASE_URL")),
        (406, ("NOVITA_API_KEY",)),
        (429, ("POSTIL_RPM",)),
    ],
)
def test_a_fault_names_what_to_set_and_never_the_key(status: int, names: tuple[str, ...]) -> None:
    with ModelServer("novita", script=[Act(status, error=f"bad {CANARY}")], key=CANARY) as server:
        fault = fault_of(ask_once(server))

    assert all(name in fault.message for name in names)
    assert CANARY not in repr(fault)


def test_a_refused_request_tells_the_reason_without_the_key_or_control_characters() -> None:
    act = Act(400, error=f"no\x1b[2J such field for {CANARY}\n" + "x" * 500)
    with ModelServer("novita", script=[act], key=CANARY) as server:
        fault = fault_of(ask_once(server))

    assert fault.kind is FaultKind.REFUSED
    assert "such field for ***" in fault.message
    assert CANARY not in fault.message
    assert fault.message.isprintable()
    assert len(fault.message) < 300


def test_an_account_without_quota_is_out_of_credits_though_the_status_is_429() -> None:
    act = Act(429, code="insufficient_quota")
    with ModelServer("openai", script=[act]) as server:
        assert fault_of(ask_once(server)).kind is FaultKind.CREDITS


@pytest.mark.parametrize(
    "error",
    [
        "This model's maximum context length is 8192 tokens.",
        "the request exceeds the available context size",
        "prompt is too long",
    ],
)
def test_a_prompt_beyond_the_context_is_too_long(error: str) -> None:
    with ModelServer("novita", script=[Act(400, error=error)]) as server:
        assert fault_of(ask_once(server)).kind is FaultKind.TOO_LONG


def test_the_stand_ins_own_context_limit_is_met() -> None:
    with ModelServer("novita", context=20) as server:
        assert fault_of(ask(server)).kind is FaultKind.TOO_LONG


def test_a_redirect_is_not_followed_and_nothing_reaches_the_other_host() -> None:
    with ModelServer("novita") as other:
        act = Act(307, headers={"location": other.base_url + "/chat/completions"})
        with ModelServer("novita", script=[act]) as server:
            fault = fault_of(ask_once(server))

    assert other.seen == []
    assert "redirects" in fault.message
    assert other.address not in fault.message


@pytest.mark.parametrize("row", ["novita", "dashscope"])
def test_a_redirect_of_the_native_protocol_is_not_followed_either(row: str) -> None:
    with ModelServer(row) as other:
        act = Act(302, headers={"location": other.base_url})
        with ModelServer(row, script=[act]) as server:
            assert fault_of(ask_once(server)).kind is FaultKind.REFUSED
    assert other.seen == []


@pytest.mark.parametrize("drip_head", [True, False])
@pytest.mark.parametrize("row", ["novita", "modelstudio", "dashscope"])
def test_a_dripping_service_is_cut_off_by_the_clock(row: str, *, drip_head: bool) -> None:
    act = Act(drip=0.05, drip_head=drip_head)
    with ModelServer(row, script=[act]) as server:
        fault = fault_of(ask_once(server, change=slower(0.4)))

    assert fault.kind is FaultKind.TIMEOUT
    assert "0.4 seconds" in fault.message
    assert fault.usage.uncounted == 1, "it may be billed"


def test_a_silent_service_is_cut_off_by_the_clock() -> None:
    with ModelServer("novita", script=[Act(delay=30)]) as server:
        assert fault_of(ask_once(server, change=slower(0.2))).kind is FaultKind.TIMEOUT


def test_a_service_that_is_not_there_was_not_paid() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    model = build_model(load_providers()["novita"], Choices(api_key="k", base_url=address))
    fault = fault_of(model.ask_once(make_prompt()))

    assert fault.kind is FaultKind.UNAVAILABLE
    assert "POSTIL_BASE_URL" in fault.message
    assert fault.usage.cost_usd == 0


ODD_SUCCESSES = {
    "a login page": Act(body=b"<html>login</html>", content_type="text/html"),
    "an error in a success": Act(body=b'{"error": {"message": "no"}}'),
    "no choices": Act(body=b'{"choices": []}'),
    "choices that are null": Act(body=b'{"choices": null}'),
    "no message": Act(body=b'{"choices": [{"index": 0, "finish_reason": "stop"}]}'),
    "a list": Act(body=b"[]"),
    "null": Act(body=b"null"),
    "nothing": Act(body=b""),
    "cut JSON": Act(body=b'{"choices": [{"mess'),
    "content of the wrong type": Act(
        body=b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": [1]}}]}'
    ),
    "a nesting bomb": Act(body=b"[" * 100_000),
    "a body cut by TCP": Act(cut=40),
    "gzip that was not asked for": Act(
        body=gzip.compress(
            b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "{}"}}]}'
        ),
        headers={"content-encoding": "gzip"},
    ),
}


@pytest.mark.parametrize("name", ODD_SUCCESSES)
@pytest.mark.parametrize("row", ["novita", "modelstudio", "dashscope"])
def test_an_odd_success_is_a_fault_and_never_an_answer(row: str, name: str) -> None:
    with ModelServer(row, script=[ODD_SUCCESSES[name]]) as server:
        fault = fault_of(ask_once(server))

    assert fault.kind is FaultKind.UNAVAILABLE
    assert fault.usage.uncounted == 1


def test_an_endless_answer_is_cut_off_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.models.wire.MAX_ANSWER_BYTES", 1000)
    with ModelServer("novita", script=[Act(answer="x" * 2000)]) as server:
        assert fault_of(ask_once(server)).kind is FaultKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (Act(finish="length"), FaultKind.CUT),
        (Act(finish="content_filter"), FaultKind.DECLINED),
        (Act(message={"refusal": "I would rather not."}), FaultKind.DECLINED),
        (Act(finish=None), FaultKind.UNAVAILABLE),
        (Act(finish="tired"), FaultKind.UNPARSED),
        (Act(finish="tool_calls"), FaultKind.UNPARSED),
        (Act(answer=None), FaultKind.UNPARSED),
        (Act(answer=""), FaultKind.UNPARSED),
        (Act(answer=" \n"), FaultKind.UNPARSED),
    ],
)
@pytest.mark.parametrize("row", ["novita", "modelstudio", "openai"])
def test_only_an_answer_that_says_it_stopped_is_complete(
    row: str, act: Act, kind: FaultKind
) -> None:
    with ModelServer(row, script=[act]) as server:
        assert fault_of(ask_once(server)).kind is kind


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (Act(finish="length"), FaultKind.CUT),
        (Act(finish="null"), FaultKind.UNAVAILABLE),
        (Act(finish=None), FaultKind.UNAVAILABLE),
        (Act(answer=None), FaultKind.UNPARSED),
    ],
)
def test_the_native_protocol_is_as_strict(act: Act, kind: FaultKind) -> None:
    with ModelServer("dashscope", script=[act]) as server:
        assert fault_of(ask_once(server)).kind is kind


CHUNK = (
    '{{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices":'
    ' [{{"index": {index}, "delta": {{"content": "{text}"}}, "finish_reason": {finish}}}]}}'
)


def chunk(text: str, *, index: int = 0, finish: str = "null") -> str:
    return CHUNK.format(index=index, text=text, finish=finish)


BROKEN_STREAMS = {
    "cut before its end": (chunk("half an ans"),),
    "ended without a finish reason": (chunk("half an ans"), "[DONE]"),
    "done before it began": ("[DONE]", chunk("late", finish='"stop"')),
    "with a garbage line": (chunk("a"), "{garbage", chunk("b", finish='"stop"')),
    "with an error in it": (chunk("a"), '{"error": {"message": "overloaded"}}'),
    "with events that are not chunks": ("[1, 2]", '"text"'),
    "of nothing": (),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_stream_that_breaks_is_a_fault_and_never_an_answer(name: str) -> None:
    with ModelServer("openai", script=[Act(sse=BROKEN_STREAMS[name])]) as server:
        fault = fault_of(ask_once(server))

    assert fault.kind is FaultKind.UNAVAILABLE
    assert fault.usage.uncounted == 1


def test_a_stream_cut_by_tcp_is_a_fault() -> None:
    with ModelServer("openai", script=[Act(cut=200)]) as server:
        assert fault_of(ask_once(server)).kind is FaultKind.UNAVAILABLE


def test_of_two_choices_the_first_is_heard_even_interleaved() -> None:
    sse = (
        chunk("one ", index=0),
        chunk("uno ", index=1),
        chunk("two", index=0),
        chunk("due", index=1, finish='"length"'),
        chunk("", index=0, finish='"stop"'),
        chunk("afterthought", index=0),
        "[DONE]",
    )
    with ModelServer("openai", script=[Act(sse=sse)]) as server:
        assert answer_of(ask_once(server)).text == "one two"
    with ModelServer("novita", script=[Act(choices=2, answer="one")]) as server:
        assert answer_of(ask_once(server)).text == "one"


def test_a_service_that_does_not_stream_after_all_is_understood() -> None:
    body = b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "{}"}}]}'
    with ModelServer("openai", script=[Act(body=body)]) as server:
        assert answer_of(ask_once(server)).text == "{}"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": -1},
        {"completion_tokens": "many"},
        {"prompt_tokens": None},
        {"completion_tokens": 1.5},
    ],
)
def test_a_count_that_makes_no_sense_is_replaced_by_our_own(
    usage: dict[str, object] | None,
) -> None:
    with ModelServer("novita", script=[Act(usage=usage)]) as server:
        reply = answer_of(ask_once(server))

    assert reply.usage.uncounted == 1
    assert reply.usage.prompt_tokens >= server.bill.prompt_tokens
    assert reply.usage.completion_tokens >= server.bill.completion_tokens
    assert reply.usage.cost_usd is not None
    assert reply.usage.cost_usd >= server.bill.cost_usd > 0


def test_an_overdone_count_of_cached_tokens_is_no_discount_beyond_the_prompt() -> None:
    usage = {"prompt_tokens_details": {"cached_tokens": 10**9}}
    with ModelServer("novita", script=[Act(usage=usage)]) as server:
        reply = answer_of(ask_once(server))
    assert reply.usage.cached_tokens == reply.usage.prompt_tokens


def test_a_fault_of_unknown_outcome_is_counted_at_its_worst() -> None:
    prompt = make_prompt(max_tokens=1000)
    with ModelServer("novita", script=[Act(cut=10)]) as server:
        usage = ask_once(server, prompt).usage

    assert usage.completion_tokens == 1000
    assert usage.cost_usd is not None
    assert usage.cost_usd >= Decimal("0.0015")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("70", 70.0),
        ("3600", 3600.0),
        ("0.5", 0.5),
        ("Sun, 09 Sep 2001 01:47:40 GMT", 60.0),
        ("Sun, 09 Sep 2001 01:46:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": value}, EPOCH) == seconds


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_retry_after_header_raises(value: str) -> None:
    wait = read_retry_after({"retry-after": value}, EPOCH)
    assert wait is None or wait >= 0


def test_a_limit_carries_the_wait_that_the_service_asked_for() -> None:
    act = Act(429, headers={"retry-after": "7"})
    with ModelServer("novita", script=[act]) as server:
        assert fault_of(ask_once(server)).retry_after == 7.0


def test_an_exception_from_deep_inside_is_translated_too() -> None:
    request = httpx2.Request("POST", "http://127.0.0.1/")
    with ModelServer("novita") as server:
        asked = build(server)._service._target.asked(make_prompt().role)  # type: ignore[attr-defined]
    error = openai.APITimeoutError(request=request)
    fault = fault_of_exception(asked, make_prompt(), error, EPOCH)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.TIMEOUT
    assert replace(fault, message="").usage.uncounted == 1
