"""A model is graded by what it finds in small changes, and told what it may do."""

from __future__ import annotations

import json

import pytest

from app.adapters.models.probe import FIXTURES, probe
from sandbox.models import ModelServer, Planted
from sandbox.models.brain import Brain, read_task
from tests.adapters.models.kit import VirtualTime, build

SEES_ALL = Planted({r"/ len": "Division by zero", "SELECT": "Injection", r"\[len": "Out of range"})


def grade(brain: Brain) -> list[str]:
    time = VirtualTime()
    with ModelServer("novita", brain=brain) as server:
        return list(probe(build(server, time=time), time.clock).lines)


def test_a_model_that_finds_what_was_planted_may_review() -> None:
    lines = grade(SEES_ALL)
    assert "4 of 4 answers in the right form, 3 of 3 planted bugs found, 0 false alarms" in lines[0]
    assert "may review on its own" in lines[1]
    assert lines[2].startswith("It used ")


@pytest.mark.parametrize(
    "brain",
    [
        Planted(),
        Planted({"return": "Everything is wrong"}),
        lambda _prompt: "LGTM",
        lambda prompt: json.dumps({"nonce": read_task(prompt)[1]}),
    ],
)
def test_a_model_below_the_floor_needs_a_tool_to_agree(brain: Brain) -> None:
    bugs = [fixture for fixture in FIXTURES if fixture.bug]
    lines = grade(brain)
    assert len(bugs) == 3
    if "Everything" in str(brain):
        assert "1 false alarms" in lines[0]
    else:
        assert "only when a deterministic tool agrees (evidence E2)" in lines[1]


def test_a_model_that_can_not_be_asked_says_why() -> None:
    with ModelServer("novita", key="another") as server:
        lines = probe(build(server, api_key="wrong")).lines
    assert len(lines) == 1
    assert "NOVITA_API_KEY" in lines[0]


def test_a_model_that_fails_now_and_then_is_graded_on_the_rest() -> None:
    with ModelServer("novita", brain=SEES_ALL, script=[400]) as server:
        lines = probe(build(server)).lines
    assert "3 of 4 answers in the right form" in lines[0]
    assert "refused the request" in lines[-1]
