"""When prompts are asked: within the quota, in time, and again only where that can help."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.models.registry import Figures, Provider
from app.adapters.models.scheduler import (
    TRIES,
    Attempt,
    continue_prompt,
    next_step,
)
from app.core.money import Rates, Usage
from app.core.prompts import Answer, Fault, FaultKind, Message, Role
from sandbox.models import Act, ModelServer, Planted, Seen
from tests.adapters.models.kit import (
    VirtualTime,
    answer_of,
    ask,
    build,
    fault_of,
    make_prompt,
)


def quota(**figures: Any) -> Any:  # noqa: ANN401 - figures of any kind
    def change(provider: Provider) -> Provider:
        assert provider.models is not None
        return replace(provider, figures={provider.models.main: Figures(**figures)})

    return change


def test_two_hundred_prompts_take_the_quotas_floor_and_no_429() -> None:
    time = VirtualTime()
    with ModelServer("novita", rpm=30, clock=time.clock) as server:
        replies = build(server, time=time).ask_all([make_prompt()] * 200)

    assert all(isinstance(reply, Answer) for reply in replies)
    assert server.limited == 0
    floor = (200 // 30) * 60
    assert floor <= time.now - 1000 <= floor * 1.1


def test_a_quota_of_tokens_is_kept_as_well() -> None:
    time = VirtualTime()
    prompts = [make_prompt("R1 +| " + "x" * 3800, max_tokens=200)] * 50
    with ModelServer("novita", tpm=20_000, clock=time.clock) as server:
        model = build(server, time=time, change=quota(tpm=20_000))
        assert all(isinstance(reply, Answer) for reply in model.ask_all(prompts))

    assert server.limited == 0
    used = server.bill.prompt_tokens + server.bill.completion_tokens
    floor = (used / 20_000 - 1) * 60
    assert time.now - 1000 <= (floor + 60) * 1.1


def test_the_quota_of_a_minute_spans_several_rounds() -> None:
    time = VirtualTime()
    with ModelServer("novita", rpm=30, clock=time.clock) as server:
        model = build(server, time=time)
        for _ in range(4):
            model.ask_all([make_prompt()] * 10)

    assert server.limited == 0
    assert time.now - 1000 >= 60


def test_no_more_than_the_concurrency_is_asked_at_once() -> None:
    running: list[int] = []

    def look(_seen: Seen) -> Act:
        running.append(1)
        return Act(delay=0.02)

    peaks: list[int] = []
    with ModelServer("novita", script=look) as server:
        model = build(server, concurrency=2, rpm=1000)
        model.ask_all([make_prompt()] * 6, lambda index, _reply: peaks.append(len(running) - index))

    assert len(running) == 6
    assert max(peaks) <= 3


def test_replies_keep_the_order_of_their_prompts() -> None:
    brain = Planted(answers={"brief": lambda prompt: {"brief": prompt.split("#")[1][:2]}})
    with ModelServer("novita", brain=brain, script=[Act(delay=0.1), Act(delay=0.05)]) as server:
        prompts = [
            replace(
                make_prompt(f"#{n:02}"),
                messages=(Message("user", f"#{n:02}\ntask: brief\nnonce: {'0' * 16}"),),
            )
            for n in range(8)
        ]
        heard: list[int] = []
        replies = build(server).ask_all(prompts, lambda index, _reply: heard.append(index))

    assert [json.loads(answer_of(reply).text)["brief"] for reply in replies] == [
        f"{n:02}" for n in range(8)
    ]
    assert sorted(heard) == list(range(8))


def test_nothing_to_ask_is_no_request() -> None:
    with ModelServer("novita") as server:
        assert build(server).ask_all([]) == ()
    assert server.seen == []


def test_a_limit_is_waited_out_as_the_service_asks() -> None:
    time = VirtualTime()
    act = Act(429, headers={"retry-after": "70"})
    with ModelServer("novita", script=[act], clock=time.clock) as server:
        reply = answer_of(ask(server, time=time))

    assert time.slept == [70.0]
    assert reply.usage.requests == 2
    assert reply.usage.cost_usd == server.bill.cost_usd


def test_a_limit_holds_every_other_prompt_too() -> None:
    time = VirtualTime()
    act = Act(429, headers={"retry-after": "40"})
    with ModelServer("novita", script=[act], clock=time.clock) as server:
        build(server, time=time, concurrency=1).ask_all([make_prompt()] * 3)

    assert [seen.time - 1000 for seen in server.seen] == [0, 40, 40, 40]


@pytest.mark.parametrize("header", ["soon", "-1", ""])
def test_without_a_sensible_wait_it_backs_off_more_each_time(header: str) -> None:
    time = VirtualTime()
    acts = [Act(429, headers={"retry-after": header})] * 4
    with ModelServer("novita", script=acts) as server:
        answer_of(ask(server, time=time))
    assert time.slept == [1.0, 2.0, 4.0, 8.0]


def test_a_wait_beyond_the_runs_end_is_not_begun() -> None:
    time = VirtualTime()
    act = Act(429, headers={"retry-after": "3600"})
    with ModelServer("novita", script=[act]) as server:
        fault = fault_of(ask(server, time=time, deadline=600))

    assert (fault.kind, fault.retry_after, time.slept) == (FaultKind.LIMITED, 3600.0, [])


def test_prompts_for_which_the_quota_leaves_no_time_are_named_so() -> None:
    time = VirtualTime()
    with ModelServer("novita", clock=time.clock) as server:
        replies = build(server, time=time, deadline=90, rpm=2).ask_all([make_prompt()] * 6)

    assert [isinstance(reply, Answer) for reply in replies] == [True] * 4 + [False] * 2
    assert fault_of(replies[-1]).kind is FaultKind.LIMITED
    assert "POSTIL_RPM" in fault_of(replies[-1]).message


@pytest.mark.parametrize(
    ("act", "tries"),
    [
        (Act(503), 3),
        (Act(529), 3),
        (Act(cut=10), 3),
        (Act(body=b"<html>", content_type="text/html"), 3),
        (Act(answer=None), 2),
        (Act(429), 8),
        (Act(finish="content_filter"), 1),
        (Act(finish="length"), 1),
        (Act(400), 1),
        (Act(400, error="maximum context length"), 1),
        (Act(401), 1),
        (Act(402), 1),
        (Act(403), 1),
        (Act(404), 1),
        (Act(406), 1),
    ],
)
def test_only_what_may_pass_is_asked_again(act: Act, tries: int) -> None:
    with ModelServer("novita", script=lambda _seen: act) as server:
        fault_of(ask(server))
    assert len(server.seen) == tries


def test_an_outage_that_passes_costs_one_prompt_nothing_but_time() -> None:
    with ModelServer("novita", script=[500, 503]) as server:
        reply = answer_of(ask(server))
    assert (reply.usage.requests, reply.usage.cost_usd) == (3, server.bill.cost_usd)


@pytest.mark.parametrize("status", [401, 402, 404, 406])
def test_a_fault_of_the_account_stops_the_rest_unasked(status: int) -> None:
    with ModelServer("novita", script=lambda _seen: Act(status)) as server:
        model = build(server, concurrency=1)
        replies = model.ask_all([make_prompt()] * 50)
        again = model.ask_all([make_prompt()])

    assert len(server.seen) == 1
    assert len({fault_of(reply).message for reply in (*replies, *again)}) == 1


def test_a_model_that_the_service_does_not_know_keeps_no_other_from_being_asked() -> None:
    def change(provider: Provider) -> Provider:
        assert provider.models is not None
        return replace(provider, models=replace(provider.models, verify="typo"))

    prompts = [replace(make_prompt(), role=Role.VERIFY), make_prompt()] * 3
    with ModelServer("novita") as server:
        replies = build(server, change=change, concurrency=1).ask_all(prompts)

    assert [isinstance(reply, Answer) for reply in replies] == [False, True] * 3
    assert len(server.seen) == 4


def test_a_stopped_account_is_tried_again_later() -> None:
    time = VirtualTime()
    with ModelServer("novita", script=[402]) as server:
        model = build(server, time=time)
        fault_of(model.ask_all([make_prompt()])[0])
        time.now += 61
        answer_of(model.ask_all([make_prompt()])[0])


def test_other_prompts_answers_survive_one_that_fails() -> None:
    def script(seen: Seen) -> Act | None:
        return Act(500) if "doomed" in seen.prompt else None

    with ModelServer("novita", script=script) as server:
        prompts = [
            make_prompt("R1 +| fine"),
            make_prompt("R1 +| doomed"),
            make_prompt("R1 +| fine"),
        ]
        replies = build(server).ask_all(prompts)

    assert [isinstance(reply, Answer) for reply in replies] == [True, False, True]


@pytest.mark.parametrize("row", ["modelstudio", "dashscope"])
def test_an_answer_cut_at_its_length_is_continued(row: str) -> None:
    brain = Planted({"len": "x" * 300})
    whole = brain(make_prompt().messages[-1].content)

    def script(seen: Seen) -> Act:
        if seen.begun == '{"nonce":':
            return Act(answer=whole[: len(whole) // 2], finish="length")
        return Act(answer=whole)

    with ModelServer(row, script=script) as server:
        reply = answer_of(ask(server))

    assert reply.text == whole
    assert len(server.seen) == 2
    assert server.seen[1].begun == whole[: len(whole) // 2]
    assert reply.usage.requests == 2


def test_an_answer_that_never_ends_is_continued_twice_and_then_cut() -> None:
    with ModelServer(
        "dashscope", script=lambda _seen: Act(answer="and ", finish="length")
    ) as server:
        fault = fault_of(ask(server))

    assert fault.kind is FaultKind.CUT
    assert fault.partial == '{"nonce":and and and '
    assert len(server.seen) == 3


def test_a_service_without_partial_mode_is_not_asked_to_continue() -> None:
    with ModelServer("novita", brain=Planted({"len": "x" * 900})) as server:
        fault = fault_of(ask(server, make_prompt(max_tokens=60)))

    assert fault.kind is FaultKind.CUT
    assert fault.partial.startswith('{"nonce"')
    assert len(server.seen) == 1


def test_a_repaired_answer_is_continued_after_the_repair() -> None:
    prompt = make_prompt()
    repair = replace(
        prompt, messages=(*prompt.messages, Message("assistant", "bad"), Message("user", "again"))
    )
    first = continue_prompt(repair, "{")
    second = continue_prompt(first, '{"a"')

    assert first.messages[:-1] == second.messages[:-1] == repair.messages
    assert second.messages[-1] == Message("assistant", '{"a"')


def test_another_attempt_must_fit_what_the_prompt_may_cost() -> None:
    prompt = make_prompt(max_tokens=1000, budget=Decimal("0.0020"))
    with ModelServer("novita", script=[Act(cut=5), Act(cut=5)]) as server:
        fault = fault_of(ask(server, prompt))

    assert len(server.seen) == 1
    assert fault.usage.cost_usd is not None
    assert fault.usage.cost_usd <= Decimal("0.0020")


KINDS = st.sampled_from(list(FaultKind))


@given(
    kinds=st.lists(KINDS, min_size=1, max_size=12),
    left=st.floats(0, 1e4),
    waits=st.one_of(st.none(), st.floats(0, 1e4)),
)
def test_attempts_end_and_no_wait_is_shorter_than_asked_or_longer_than_is_left(
    kinds: list[FaultKind], left: float, waits: float | None
) -> None:
    attempt = Attempt(make_prompt())
    for number, kind in enumerate(kinds, 1):
        fault = Fault(kind, "m", Usage(requests=1), retry_after=waits, partial="{")
        step = next_step(attempt, fault, rates=Rates(), can_continue=True, seconds_left=left)
        if not isinstance(step, Attempt):
            assert step.usage.requests == number
            return
        assert step.wait <= left
        if kind is not FaultKind.CUT and waits is not None:
            assert step.wait == waits
        attempt = step
    assert len(kinds) < sum(TRIES.values()) + 3


def test_an_interrupt_ends_every_call_at_once_and_what_was_heard_stays_heard() -> None:
    heard: list[int] = []

    def hear(index: int, _reply: object) -> None:
        heard.append(index)
        raise KeyboardInterrupt

    def slow(_seen: Seen) -> Act:
        return Act(delay=0.0 if len(server.seen) == 1 else 30.0)

    with ModelServer("novita", script=slow) as server, pytest.raises(KeyboardInterrupt):
        build(server).ask_all([make_prompt()] * 4, hear)
    assert len(heard) == 1
