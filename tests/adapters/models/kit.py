"""A prompt to ask, and a model built from the table over a stand-in's address."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from app.adapters.models.build import Choices, build_model
from app.adapters.models.registry import Provider, load_providers
from app.adapters.models.scheduler import PacedModel, Timing
from app.core.prompts import Answer, Fault, Message, Prompt, Reply, Role, Task
from sandbox.models import ModelServer
from sandbox.models.server import count_tokens

NONCE = "0123456789abcdef"
SCHEMA = {
    "type": "object",
    "properties": {"nonce": {"type": "string", "const": NONCE}, "findings": {"type": "array"}},
    "required": ["nonce", "findings"],
    "additionalProperties": False,
}


def make_prompt(
    code: str = "R1 +| mean = sum(xs) / len(xs)",
    *,
    task: Task = Task.REVIEW,
    role: Role = Role.MAIN,
    max_tokens: int = 800,
    budget: Decimal | None = None,
) -> Prompt:
    user = f"## file: a.py\n{code}\n\ntask: {task}\nnonce: {NONCE}"
    system = "You review code."
    return Prompt(
        task=task,
        messages=(Message("system", system), Message("user", user)),
        nonce=NONCE,
        schema=json.dumps(SCHEMA),
        max_tokens=max_tokens,
        key="k",
        prompt_tokens=count_tokens(system) + count_tokens(user),
        budget_usd=budget,
        role=role,
    )


@dataclass
class VirtualTime:
    """A clock that moves when someone sleeps, and at no other time."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    @property
    def timing(self) -> Timing:
        return Timing(self.clock, self.sleep, lambda: 0.5)


def build(
    server: ModelServer,
    *,
    time: VirtualTime | None = None,
    change: Callable[[Provider], Provider] = lambda provider: provider,
    deadline: float = 3600.0,
    **choices: object,
) -> PacedModel:
    provider = change(load_providers()[server.row.id])
    if provider.models is None:
        choices.setdefault("model", "some-model")
    wished = {"api_key": server.key, "base_url": server.base_url, **choices}
    return build_model(
        provider,
        Choices(**wished),  # type: ignore[arg-type]
        deadline=deadline,
        timing=(time or VirtualTime()).timing,
    )


def ask(server: ModelServer, prompt: Prompt | None = None, **how: object) -> Reply:
    return build(server, **how).ask_all([prompt or make_prompt()])[0]  # type: ignore[arg-type]


def ask_once(server: ModelServer, prompt: Prompt | None = None, **how: object) -> Reply:
    return build(server, **how).ask_once(prompt or make_prompt())  # type: ignore[arg-type]


def slower(seconds: float) -> Callable[[Provider], Provider]:
    return lambda provider: replace(provider, call_seconds=seconds)


def answer_of(reply: Reply) -> Answer:
    assert isinstance(reply, Answer), reply
    return reply


def fault_of(reply: Reply) -> Fault:
    assert isinstance(reply, Fault), reply
    return reply
