"""What a stand-in says: answers in the form that the product's contract describes.

A brain is any callable from the prompt's text (all messages, in order) to the answer's text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Brain = Callable[[str], str]

_TASK = re.compile(r"^task: (\w+)\nnonce: ([0-9a-f]{16})\s*\Z", re.MULTILINE)
_FILE = re.compile(r"^## file: (.*)$")
_LINE = re.compile(r"^([LR]\d+) ([-+ ])\| (.*)$")

QUIET: Mapping[str, Mapping[str, Any]] = {
    "review": {"findings": []},
    "brief": {"brief": "A change, summed up by a stand-in."},
    "refute": {"verdict": "stands", "reason": "A stand-in doubts nothing."},
    "decide": {"action": "finish", "path": None, "query": None, "rationale": "Enough was shown."},
    "patch": {"replacement": ""},
}
"""What is answered to each task when nothing else was planted."""


def read_task(prompt: str) -> tuple[str, str]:
    """Read the task and the nonce, which a prompt ends with. Raises ValueError without them."""
    match = _TASK.search(prompt)
    if match is None:
        raise ValueError("the prompt does not end with its task and nonce")
    return match[1], match[2]


def answer_nothing(prompt: str) -> str:
    """Answer each task in the least way that is valid: no findings."""
    task, nonce = read_task(prompt)
    return json.dumps({"nonce": nonce, **QUIET[task]})


@dataclass(frozen=True, slots=True)
class Shown:
    """A tagged line that a prompt shows."""

    path: str
    tag: str
    mark: str
    text: str


def read_lines(prompt: str) -> Iterator[Shown]:
    """Read the tagged lines of the files that a prompt shows."""
    path = ""
    for line in prompt.split("\n"):
        if opened := _FILE.match(line):
            path = opened[1]
        elif shown := _LINE.match(line):
            yield Shown(path, shown[1], shown[2], shown[3])


@dataclass(frozen=True, slots=True)
class Planted:
    """Finds a bug on every added line that a pattern matches.

    ``bugs`` maps patterns to titles, or to the fields of a finding that differ from the usual.
    ``answers`` maps a task to what is answered to it, or to a callable from the prompt to that.
    """

    bugs: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any] | Callable[[str], Mapping[str, Any]]] = field(
        default_factory=dict
    )

    def __call__(self, prompt: str) -> str:
        """Answer a prompt."""
        task, nonce = read_task(prompt)
        said = self.answers.get(task, QUIET[task])
        body = dict(said(prompt) if callable(said) else said)
        if task == "review" and "review" not in self.answers:
            body["findings"] = [
                _finding(line, bug)
                for line in read_lines(prompt)
                for pattern, bug in self.bugs.items()
                if line.mark == "+" and re.search(pattern, line.text)
            ]
        return json.dumps({"nonce": nonce, **body})


def _finding(line: Shown, bug: str | Mapping[str, Any]) -> dict[str, Any]:
    told = {"title": bug} if isinstance(bug, str) else bug
    return {
        "path": line.path,
        "first": line.tag,
        "last": line.tag,
        "quote": line.text,
        "severity": "major",
        "category": "bug",
        "title": "A planted bug",
        "why": "It was planted here.",
        "scenario": "Any call that reaches this line.",
        "suggestion": None,
        **told,
    }
