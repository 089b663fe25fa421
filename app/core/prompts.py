"""What a model is told. The only importer of jinja2 for prompts; template text is handed in.

The templates are ours alone. Everything from a repository, a pull request or a model is a value
that they print and never evaluate: code stands behind line tags (``app.core.chunks``), prose behind
``> `` at the start of each line, so that no data can begin a line of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from jinja2 import DictLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.core.chunks import Chunk, CountTokens
from app.core.findings import MAX_BRIEF_WORDS, Action, Category, Finding, Severity, Standing
from app.core.hidden import escape_hidden, escape_line
from app.core.ledger import Unit
from app.core.money import Usage

MAX_PROSE = 8_000
"""Characters of one piece of prose (guidelines, a description, what was looked up) in a prompt."""
MAX_HINTS = 30
MAX_FINDINGS = 20
"""Findings that one answer is asked for at most."""
MAX_BAD_ANSWER = 4_000
"""Characters of a bad answer that are shown again when a better one is asked for."""
FUNCTIONS_TOKENS = 512
"""What a service adds to a prompt with functions beside their definitions, at most.

Model Studio's page of Qwen-Coder bills 494 tokens for an example of 12 with one function of 106.
"""
_MAX_SYMBOL = 120


class Task(StrEnum):
    """What an answer is for; a prompt's last lines name it."""

    REVIEW = "review"
    BRIEF = "brief"
    REFUTE = "refute"
    DECIDE = "decide"
    PATCH = "patch"


class Role(StrEnum):
    """Which of a service's models is asked: the quick one, the usual one, or the second look's."""

    FAST = "fast"
    MAIN = "main"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    ``schema`` is the JSON schema of the answer, as JSON text. ``key`` is the digest of everything
    but brief and nonce: an answer may be kept and reused under it. ``prompt_tokens`` is our count.
    ``budget_usd`` is what all attempts together may cost; None: no limit. ``fill`` is the code
    before and after the lines that are asked for, for a model that fills in the middle. ``role``
    names the model that is to answer. ``functions``, when not empty, are those of which it is to
    call one instead of writing, as JSON text: a list of name, description and parameters.
    """

    task: Task
    messages: tuple[Message, ...]
    nonce: str
    schema: str
    max_tokens: int
    key: str
    prompt_tokens: int
    budget_usd: Decimal | None = None
    fill: tuple[str, str] | None = None
    role: Role = Role.MAIN
    functions: str = ""


class FaultKind(StrEnum):
    """Why a prompt has no usable answer; the value is what the ledger says."""

    UNAVAILABLE = "the model service is unavailable"
    TIMEOUT = "the model did not answer in time"
    LIMITED = "the model service's rate limit was reached"
    KEY = "the model service refused the key"
    MODEL = "the model service does not know the model"
    CREDITS = "the model account has no credits left"
    TOO_LONG = "the prompt is longer than the model's context"
    CUT = "the answer was cut at the output limit"
    DECLINED = "the model declined to answer"
    UNPARSED = "the answer could not be read"
    BUDGET = "the cost cap was reached"
    NO_MODEL = "no model"
    REFUSED = "the model service refused the request"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, complete (its finish reason was ``stop``) but not yet parsed."""

    text: str
    usage: Usage
    model: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A prompt without an answer: never the same as an answer without findings.

    ``partial`` is the text of an answer cut at its length. ``retry_after`` is in seconds.
    """

    kind: FaultKind
    message: str
    usage: Usage = Usage()
    retry_after: float | None = None
    partial: str = ""


Reply = Answer | Fault


class Templates:
    """The texts of ``prompts/*.j2`` by file name, compiled once.

    Raises jinja2.TemplateError for a text that does not compile.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(dict(texts)),
            undefined=StrictUndefined,
            autoescape=False,  # a prompt is plain text, HTML escapes would change the code in it
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(quoted=_quoted, line=escape_line)
        self._templates = {name: environment.get_template(name) for name in texts}

    def render(self, task: str, part: str, values: Mapping[str, Any]) -> str:
        """Render one message of a task's template, or what it says of an action."""
        template = self._templates[f"{task}.j2"]
        text = "".join(template.blocks[part](template.new_context(dict(values))))
        return text.removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Common:
    """What every prompt of a run begins with, byte for byte.

    ``guidelines`` are the project's own, ``instructions`` its policy's; ``brief`` is what a model
    made of the whole change.
    """

    guidelines: str = ""
    instructions: str = ""
    title: str = ""
    brief: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Something that was looked up for a refuting look: what was seen, or a note of it."""

    what: str
    text: str
    note: str = ""


def make_nonce(seed: str, avoid: str = "") -> str:
    """Make 16 hex digits from a seed that do not occur in ``avoid``."""
    for attempt in range(1_000):
        nonce = _digest(f"{seed}:{attempt}")[:16]
        if nonce not in avoid:
            return nonce
    raise ValueError("a text that holds every nonce can't be asked about")


def compose_review(  # noqa: PLR0913  each is a part of the prompt
    templates: Templates,
    common: Common,
    chunk: Chunk,
    *,
    nonce: str,
    max_tokens: int,
    count: CountTokens,
    path_instructions: Sequence[str] = (),
    focus: str = "",
    hints: Sequence[Finding] = (),
    second: bool = False,
) -> Prompt:
    """Ask for the findings of one chunk; of the hints those on its lines are shown.

    A ``second`` look is asked in another part than the first.
    """
    values = {
        "second": second,
        "path_instructions": "\n\n".join(path_instructions),
        "focus": focus,
        "hints": "\n".join(_hint_lines(chunk, hints)),
        "chunk": chunk.text,
        "max_findings": MAX_FINDINGS,
    }
    return _compose(templates, Task.REVIEW, common, values, nonce, max_tokens, count)


def compose_brief(
    templates: Templates,
    common: Common,
    units: Sequence[Unit],
    *,
    description: str,
    nonce: str,
    max_tokens: int,
    count: CountTokens,
) -> Prompt:
    """Ask what the whole change is about; ``description`` is what a reader of the page sees."""
    values = {
        "description": description,
        "files": "\n".join(_listing(units)),
        "max_words": MAX_BRIEF_WORDS,
    }
    return _compose(templates, Task.BRIEF, common, values, nonce, max_tokens, count)


def compose_refute(
    templates: Templates,
    claim: Finding,
    shown: str,
    *,
    nonce: str,
    max_tokens: int,
    count: CountTokens,
    observations: Sequence[Observation] = (),
) -> Prompt:
    """Ask whether a claim stands; ``shown`` is code as ``app.core.chunks`` shows it."""
    values = {"claim": claim, "shown": shown, "observations": observations}
    return _compose(templates, Task.REFUTE, Common(), values, nonce, max_tokens, count)


def compose_decide(  # noqa: PLR0913  each is a part of the prompt
    templates: Templates,
    claim: Finding,
    shown: str,
    *,
    steps_left: int,
    nonce: str,
    max_tokens: int,
    count: CountTokens,
    observations: Sequence[Observation] = (),
    calls: bool = False,
) -> Prompt:
    """Ask what to look up next about a claim: by a call of a function, or by a JSON object.

    The functions are the same in every such prompt, so that a service may keep them cached.
    """
    functions = _functions(templates) if calls else ""
    values = {
        "claim": claim,
        "shown": shown,
        "observations": observations,
        "steps_left": steps_left,
        "functions": functions,
    }
    prompt = _compose(templates, Task.DECIDE, Common(), values, nonce, max_tokens, count)
    if not functions:
        return prompt
    return replace(
        prompt,
        functions=functions,
        key=_digest(f"{prompt.key}\0{functions}"),
        prompt_tokens=prompt.prompt_tokens + count(functions) + FUNCTIONS_TOKENS,
    )


def compose_patch(
    templates: Templates,
    claim: Finding,
    *,
    before: str,
    target: str,
    after: str,
    nonce: str,
    max_tokens: int,
    count: CountTokens,
) -> Prompt:
    """Ask for the lines that replace ``target``, given the lines around it."""
    values = {"claim": claim, "before": before, "target": target, "after": after}
    prompt = _compose(templates, Task.PATCH, Common(), values, nonce, max_tokens, count)
    return replace(prompt, fill=(before, after))


def compose_repair(
    templates: Templates, prompt: Prompt, bad_answer: str, error: str, nonce: str
) -> Prompt:
    """Ask again, showing the answer that can't be used and why.

    The repaired answer may be kept under the same key. Its tokens are counted as one a byte, which
    is never too few.
    """
    shown = escape_hidden(bad_answer[:MAX_BAD_ANSWER]) or "(an empty answer)"
    values = {"error": error, "task": prompt.task.value, "nonce": nonce}
    request = templates.render("repair", "user", values)
    return replace(
        prompt,
        messages=(*prompt.messages, Message("assistant", shown), Message("user", request)),
        nonce=nonce,
        schema=_schema(prompt.task, nonce),
        prompt_tokens=prompt.prompt_tokens + len(f"{shown}{request}".encode()),
    )


def _compose(
    templates: Templates,
    task: Task,
    common: Common,
    values: Mapping[str, Any],
    nonce: str,
    max_tokens: int,
    count: CountTokens,
) -> Prompt:
    def render(part: Literal["system", "user"], shared: Common, nonce: str) -> str:
        fields = {
            "guidelines": shared.guidelines,
            "instructions": shared.instructions,
            "title": shared.title,
            "brief": shared.brief,
        }
        return templates.render(task.value, part, {**fields, **values, "nonce": nonce})

    system, user = render("system", common, nonce), render("user", common, nonce)
    lasting = render("user", replace(common, title="", brief=""), "")
    return Prompt(
        task=task,
        messages=(Message("system", system), Message("user", user)),
        nonce=nonce,
        schema=_schema(task, nonce),
        max_tokens=max_tokens,
        key=_digest(f"{task.value}\0{system}\0{lasting}"),
        prompt_tokens=count(system) + count(user),
    )


# How data is shown.


def _quoted(text: str) -> str:
    """Put prose behind ``> ``, line by line, so that none of its lines begins a line of ours."""
    lines = escape_hidden(text[:MAX_PROSE].replace("\r\n", "\n")).split("\n")
    cut = ["> (cut here)"] if len(text) > MAX_PROSE else []
    return "\n".join([*(f"> {line}" for line in lines), *cut])


def _hint_lines(chunk: Chunk, hints: Sequence[Finding]) -> list[str]:
    tags = {
        (unit.path, line.tag)
        for unit in chunk.units
        if unit.hunk is not None
        for line in unit.hunk.lines
        if line.changed
    }
    return [
        escape_line(f"{hint.path} {hint.first}: {hint.title} ({hint.source} {hint.rule or ''})")
        for hint in hints
        if (hint.path, hint.first) in tags
    ][:MAX_HINTS]


def _listing(units: Sequence[Unit]) -> list[str]:
    """List files with the symbols their hunks stand in, as many as fit."""
    files: dict[str, list[Unit]] = {}
    for unit in units:
        files.setdefault(unit.path, []).append(unit)
    lines: list[str] = []
    room = MAX_PROSE - len(f"and {len(files)} more files")
    for shown, (path, group) in enumerate(files.items()):
        entry = [_file_line(path, group), *_symbol_lines(group)]
        room -= sum(len(line) + 1 for line in entry)
        if room < 0:
            return [*lines, f"and {len(files) - shown} more files"]
        lines += entry
    return lines


def _file_line(path: str, group: Sequence[Unit]) -> str:
    marks = [line.mark for unit in group if unit.hunk for line in unit.hunk.lines]
    facts = f"{group[0].kind.value}, +{marks.count('+')} -{marks.count('-')}"
    return f"{escape_line(path)} ({facts})"


def _symbol_lines(group: Sequence[Unit]) -> list[str]:
    names = (unit.symbol or (unit.hunk.section if unit.hunk else "") for unit in group)
    return [f"  {escape_line(name)[:_MAX_SYMBOL]}" for name in dict.fromkeys(names) if name]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# What an answer looks like. No lengths: a grammar made of them is slow, and the parser bounds them.

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_TAG = {"type": "string", "pattern": "^[LR][0-9]{1,7}$"}


def _words(kind: type[StrEnum]) -> dict[str, Any]:
    return {"type": "string", "enum": [word.value for word in kind]}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_FINDING = _closed(
    {
        "path": _TEXT,
        "first": _TAG,
        "last": _TAG,
        "quote": _TEXT,
        "severity": _words(Severity),
        "category": _words(Category),
        "title": _TEXT,
        "why": _TEXT,
        "scenario": _TEXT,
        "suggestion": _MAYBE,
    }
)
_ANSWERS: Mapping[Task, Mapping[str, Any]] = {
    Task.REVIEW: {"findings": {"type": "array", "items": _FINDING, "maxItems": MAX_FINDINGS}},
    Task.BRIEF: {"brief": _TEXT},
    Task.REFUTE: {"verdict": _words(Standing), "reason": _TEXT},
    Task.DECIDE: {
        "action": _words(Action),
        "path": _MAYBE,
        "query": _MAYBE,
        "rationale": _TEXT,
    },
    Task.PATCH: {"replacement": _TEXT},
}


_NEEDS = {Action.INSPECT_FILE: "path", Action.SEARCH_CODE: "query"}
"""What a decision for an action can't do without; for the other one it may do without both."""


def _functions(templates: Templates) -> str:
    """Define the actions of a decision as functions, in the words that its prompt has for them."""
    return json.dumps([_function(one, templates.render(Task.DECIDE, one, {})) for one in Action])


def _function(action: Action, description: str) -> dict[str, Any]:
    """Define one action: what a decision says beside it is its parameters."""
    decision, needed = _ANSWERS[Task.DECIDE], _NEEDS.get(action)
    unused = {"action"} if needed else {"action", *_NEEDS.values()}
    names = ["nonce", *(name for name in decision if name not in unused)]
    required = [name for name in names if name == needed or decision.get(name) is not _MAYBE]
    properties = dict.fromkeys(names, _TEXT)
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": action.value, "description": description, "parameters": parameters}


def _schema(task: Task, nonce: str) -> str:
    """Write the schema of a task's answer in the subset that strict modes and grammars take."""
    properties = {"nonce": {"type": "string", "const": nonce}, **_ANSWERS[task]}
    return json.dumps(_closed(properties), separators=(",", ":"))
