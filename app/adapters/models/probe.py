"""What a model can do, measured on a few small changes with a planted bug or none.

``postil doctor --model`` shows it. A model below the floor is not forbidden: its findings are shown
only when a deterministic tool agrees with them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.core.findings import Category, Finding, Severity, parse_review_answer
from app.core.money import Usage
from app.core.prompts import Answer, Fault, FaultKind, Message, Prompt, Reply, Task
from app.errors import AnswerRejected
from app.ports import Model

FLOOR_FOUND = 2
FLOOR_FORMED = 3
MAX_ALARMS = 1
ANSWER_TOKENS = 700

_SYSTEM = (
    "You review a change. Report only real bugs in added lines (marked +), at most one. Answer with"
    ' one JSON object: {"nonce": the nonce below, "findings": []} or with one finding of the fields'
    " path, first, last (the line's tag), quote (the line's text), severity (critical, major, minor"
    " or info), category (bug or security), title, why, scenario and suggestion (null)."
)


@dataclass(frozen=True, slots=True)
class Fixture:
    """A small change; ``bug`` is the tag of its buggy line, empty when it has none."""

    text: str
    bug: str


FIXTURES = (
    Fixture(
        "## file: stats.py\n@@ def mean(xs)\nR1  | def mean(xs):\n"
        "L2 -|     return sum(xs) / max(len(xs), 1)\nR2 +|     return sum(xs) / len(xs)\n",
        "R2",
    ),
    Fixture(
        "## file: users.py\n@@ def find(db, name)\nR1  | def find(db, name):\n"
        'L2 -|     return db.execute("SELECT * FROM users WHERE name = ?", (name,))\n'
        "R2 +|     return db.execute(f\"SELECT * FROM users WHERE name = '{name}'\")\n",
        "R2",
    ),
    Fixture(
        "## file: pages.py\n@@ def last_page(items, size)\nR1  | def last_page(items, size):\n"
        "L2 -|     return items[-size:]\nR2 +|     return items[len(items)]\n",
        "R2",
    ),
    Fixture(
        "## file: greet.py\n@@ def greet(name)\nR1  | def greet(name):\n"
        'L2 -|     return "Hello " + name\nR2 +|     return f"Hello {name}"\n',
        "",
    ),
)


@dataclass(frozen=True, slots=True)
class Grade:
    """What a probe measured: answers in the right form, bugs found, alarms without a bug."""

    model: str
    asked: int
    formed: int
    planted: int
    found: int
    alarms: int
    seconds: float
    usage: Usage
    faults: tuple[str, ...] = ()
    refused: bool = False
    """Whether the service took no request in the form that its row declares."""

    @property
    def answers(self) -> bool:
        """Tell whether the model could be asked at all."""
        return len(self.faults) < self.asked

    @property
    def min_rung(self) -> str:
        """Return the rung of evidence from which on its findings may be shown."""
        enough = self.found >= FLOOR_FOUND and self.formed >= FLOOR_FORMED
        return "E0" if enough and self.alarms <= MAX_ALARMS else "E2"

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the grade in words, a line each."""
        if not self.answers:
            return (f"{self.model} does not answer: {self.faults[0]}",)
        may = (
            "It may review on its own: its findings are posted at the severity they prove."
            if self.min_rung == "E0"
            else "It may not review on its own: a finding of it is posted only when a deterministic"
            " tool agrees (evidence E2)."
        )
        measured = (
            f"{self.model}: {self.formed} of {self.asked} answers in the right form,"
            f" {self.found} of {self.planted} planted bugs found, {self.alarms} false alarms,"
            f" {self.seconds / self.asked:.1f} seconds an answer."
        )
        used = f"It used {self.usage.prompt_tokens:,} and {self.usage.completion_tokens:,} tokens."
        return (measured, may, used, *self.faults)


def probe(model: Model, clock: Callable[[], float] = time.monotonic) -> Grade:
    """Ask a model about each fixture, and grade it."""
    prompts = [_prompt(number, fixture) for number, fixture in enumerate(FIXTURES)]
    started = clock()
    replies = model.ask_all(prompts)
    seconds = clock() - started
    read = [_findings(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
    right = [
        found is not None and any(finding.first == fixture.bug for finding in found)
        for fixture, found in zip(FIXTURES, read, strict=True)
    ]
    alarms = sum(
        finding.first != fixture.bug
        for fixture, found in zip(FIXTURES, read, strict=True)
        for finding in found or ()
    )
    return Grade(
        model=f"{model.info.provider} {model.info.name}",
        asked=len(FIXTURES),
        formed=sum(found is not None for found in read),
        planted=sum(bool(fixture.bug) for fixture in FIXTURES),
        found=sum(right),
        alarms=alarms,
        seconds=seconds,
        usage=sum((reply.usage for reply in replies), Usage()),
        faults=tuple(reply.message for reply in replies if isinstance(reply, Fault)),
        refused=all(isinstance(one, Fault) and one.kind is FaultKind.REFUSED for one in replies),
    )


def _findings(prompt: Prompt, reply: Reply) -> tuple[Finding, ...] | None:
    """Read an answer's findings; None when there is none in the right form."""
    if not isinstance(reply, Answer):
        return None
    try:
        return parse_review_answer(reply.text, prompt.nonce).findings
    except AnswerRejected:
        return None


def _prompt(number: int, fixture: Fixture) -> Prompt:
    nonce = f"{number:016x}"
    user = f"{fixture.text}\nAnswer with one JSON object.\ntask: review\nnonce: {nonce}"
    return Prompt(
        task=Task.REVIEW,
        messages=(Message("system", _SYSTEM), Message("user", user)),
        nonce=nonce,
        schema=_schema(nonce),
        max_tokens=ANSWER_TOKENS,
        key=f"probe-{number}",
        prompt_tokens=len(_SYSTEM + user) // 3,
    )


def _schema(nonce: str) -> str:
    tag = {"type": "string", "pattern": "^[LR][0-9]{1,7}$"}
    words = {"type": "string"}
    properties = {
        "path": words,
        "first": tag,
        "last": tag,
        "quote": words,
        "severity": {"type": "string", "enum": [word.value for word in Severity]},
        "category": {"type": "string", "enum": [word.value for word in Category]},
        "title": words,
        "why": words,
        "scenario": words,
        "suggestion": {"type": ["string", "null"]},
    }
    finding = _closed(properties)
    findings = {"type": "array", "items": finding, "maxItems": 3}
    return json.dumps(_closed({"nonce": {"type": "string", "const": nonce}, "findings": findings}))


def _closed(properties: dict[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
