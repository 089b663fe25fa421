"""Which form of answer a service keeps to, found out by asking it: ``postil doctor --model``.

A form that the service is to enforce (a schema, a forced call) is tried with words that do not
mention it, so that an obedient model can't hide a service that ignores it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from app.adapters.models.exchange import CALLED, OPENING, TOOL
from app.adapters.models.registry import OVERRIDE, Mode, Provider
from app.core.chunks import CountTokens
from app.core.findings import Category, Finding, Severity, parse_brief, parse_decide
from app.core.note import Note
from app.core.prompts import (
    Answer,
    FaultKind,
    Message,
    Prompt,
    Role,
    Task,
    Templates,
    compose_decide,
)
from app.errors import AnswerRejected
from app.ports import Model

ANSWER_TOKENS = 1000
NONCE = "0123456789abcdef"
_SYSTEM = "You sum up changes of programs, in one sentence."
_CHANGE = (
    "A program that said hello in English now says it in French too. What is this change about?"
)
_SPELLED = (
    'Answer with one JSON object and nothing around it: {"brief": "your sentence", "nonce": "the'
    ' nonce below"}'
)
_WORDS: Mapping[Mode, str] = {
    "json_schema": "",
    "tool": f"Call the function {TOOL}.",
    "json_object": "Answer in JSON.",
    "partial": _SPELLED,
    "plain": _SPELLED,
}
_UNKEPT: Mapping[FaultKind, str] = {
    FaultKind.UNPARSED: "not kept: nothing that can be read came back",
    FaultKind.CUT: "not kept: the answer did not end",
    FaultKind.DECLINED: "not kept: the model declined to answer",
}
_CLAIM = Finding(
    "hello.py",
    "R2",
    "R2",
    "    return words[language]",
    Severity.MAJOR,
    Category.BUG,
    "An unknown language raises",
    "Who calls it is not shown.",
)
_SHOWN = (
    "## file: hello.py\n@@ def hello\nR1  | def hello(language):\nR2 +|     return words[language]"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one form: ``trouble`` is empty when it was kept.

    ``asked`` is false when the service could not be asked at all, ``refused`` tells that it does
    not take such requests.
    """

    form: str
    trouble: str = ""
    refused: bool = False
    asked: bool = True

    @property
    def text(self) -> str:
        """Say it in words."""
        return f"{self.form}: {self.trouble or 'kept'}"


def probe_modes(
    model: Model,
    provider: Provider,
    build: Callable[[Provider], Model],
    templates: Templates,
    count: CountTokens,
) -> Iterator[Note]:
    """Try the forms that a row declares on each of its models, and name the mend of what fails."""
    for role, who in _models(model).items():
        tried = _try_modes(role, model, provider, build)
        yield _mode_note(who, tried, provider)
        if tried[-1].asked:
            yield _calls_note(who, role, model, provider, templates, count)


def _models(model: Model) -> Mapping[Role, str]:
    """Name each model once, with the roles that it takes, by the first of them."""
    info = model.info
    roles: dict[str, list[Role]] = {info.name: [Role.MAIN]}
    for role in (Role.FAST, Role.VERIFY):
        roles.setdefault(info.of(role).name, []).append(role)
    several = len(roles) > 1
    return {
        taken[0]: f"{name} ({', '.join(taken)})" if several else name
        for name, taken in roles.items()
    }


def _try_modes(
    role: Role, model: Model, provider: Provider, build: Callable[[Provider], Model]
) -> list[Tried]:
    """Try the modes of a row, best first, until one is kept."""
    tried: list[Tried] = []
    for mode in provider.modes:
        alone = replace(provider, modes=(mode,), try_modes=False)
        asked = model if alone == provider else build(alone)
        tried.append(_try(asked, _prompt(mode, role), mode, partial(_kept, mode)))
        if not (tried[-1].trouble and tried[-1].asked):
            break
    return tried


def _try(model: Model, prompt: Prompt, form: str, read: Callable[[str], str]) -> Tried:
    """Ask once; ``read`` says what is wrong with an answer, if anything is."""
    (reply,) = model.ask_all([prompt])
    if isinstance(reply, Answer):
        wrong = read(reply.text)
        return Tried(form, f"not kept: {wrong} came back" if wrong else "")
    if reply.kind is FaultKind.REFUSED:
        return Tried(form, f"refused: {reply.message}", refused=True)
    if reply.kind in _UNKEPT:
        return Tried(form, _UNKEPT[reply.kind])
    return Tried(form, f"could not be tried: {reply.message}", asked=False)


def _kept(mode: Mode, text: str) -> str:
    """Say what came back in place of a mode's answer; nothing when it was kept."""
    bare = text.strip()
    if mode != "plain" and not _is_object(bare):
        return "JSON in a code fence" if bare.startswith("```") else "plain text"
    if mode == "json_object":
        return ""
    if mode == "partial" and not bare.startswith(OPENING):
        return "an answer that was begun anew"
    try:
        parse_brief(text, NONCE)
    except AnswerRejected:
        return "JSON of another form" if _is_object(bare) else "plain text"
    return ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _mode_note(who: str, tried: list[Tried], provider: Provider) -> Note:
    """Tell the mode in use, or the best one that the service keeps to."""
    said = f"{who}: {'; '.join(one.text for one in tried)}"
    failed, last = tried[:-1], tried[-1]
    if last.trouble:
        none = "" if len(tried) < len(provider.modes) or not last.asked else "; no other is known"
        return Note("model's mode", well=False, text=f"{said}{none}")
    if not failed:
        return Note("model's mode", well=True, text=said)
    if provider.try_modes and all(one.refused for one in failed):
        return Note("model's mode", well=True, text=f"{said}, and fallen back to by itself")
    modes = json.dumps(provider.modes[len(failed) :])
    return Note("model's mode", well=False, text=f"{said}; {_mend(f'modes = {modes}', provider)}")


def _calls_note(
    who: str,
    role: Role,
    model: Model,
    provider: Provider,
    templates: Templates,
    count: CountTokens,
) -> Note:
    """Tell how a doubting look asks for what it wishes to see."""
    if not provider.functions:
        return Note(
            "model's calls", well=True, text=f"{who}: none: what to look up is told in JSON"
        )
    prompt = compose_decide(
        templates,
        _CLAIM,
        _SHOWN,
        steps_left=6,
        nonce=NONCE,
        max_tokens=ANSWER_TOKENS,
        count=count,
        calls=True,
    )
    tried = _try(model, replace(prompt, role=role), "function calling", _called)
    mend = f"; {_mend('functions = false', provider)}" if tried.trouble and tried.asked else ""
    return Note("model's calls", well=not tried.trouble, text=f"{who}: {tried.text}{mend}")


def _called(text: str) -> str:
    if not text.startswith(CALLED):
        return "JSON" if _is_object(text) else "plain text"
    try:
        parse_decide(text, NONCE)
    except AnswerRejected:
        return "a call of another form"
    return ""


def _mend(choice: str, provider: Provider) -> str:
    return f"set {choice} of {provider.id} in {OVERRIDE}"


def _prompt(mode: Mode, role: Role) -> Prompt:
    asked = "\n".join(part for part in (_CHANGE, _WORDS[mode]) if part)
    user = f"{asked}\ntask: {Task.BRIEF}\nnonce: {NONCE}"
    properties = {
        "nonce": {"type": "string", "const": NONCE},
        "brief": {"type": "string"},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return Prompt(
        task=Task.BRIEF,
        messages=(Message("system", _SYSTEM), Message("user", user)),
        nonce=NONCE,
        schema=json.dumps(schema),
        max_tokens=ANSWER_TOKENS,
        key=f"probe-{mode}",
        prompt_tokens=len(_SYSTEM + user) // 3,
        role=role,
    )
