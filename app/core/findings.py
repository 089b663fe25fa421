"""Findings, and the only place where a model's words become values.

An answer is one JSON object and nothing else; what is cut, doubled, commented on or of another
request is rejected with a sentence that can be sent back to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from app.errors import AnswerRejected

MAX_FINDINGS: Final = 50
"""Findings kept of one answer; the rest is counted."""
MAX_TITLE: Final = 200
"""Characters of a title."""
MAX_TEXT: Final = 4_000
"""Characters of every other text but a suggestion, which is never cut."""
MAX_BRIEF_WORDS: Final = 120
MAX_ANSWER: Final = 8_000_000
"""Characters of a whole answer."""
MAX_DIGITS: Final = 20
"""Digits of a number; none is asked for, so none may be large."""
MAX_REPLACEMENT: Final = 20_000
"""Characters of a patch's replacement."""


class Severity(StrEnum):
    """How much it matters; compare with ``rank``."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info to 3 for critical."""
        return ("info", "minor", "major", "critical").index(self.value)


class Category(StrEnum):
    """What kind of trouble it is. Style is not one of them."""

    BUG = "bug"
    SECURITY = "security"
    CONCURRENCY = "concurrency"
    DATA = "data"
    API = "api"
    PERFORMANCE = "performance"
    TEST = "test"
    DOCS = "docs"


MODEL = "model"


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim about the change, not yet placed on the diff.

    ``first`` and ``last`` are line tags (``R13``, ``L2``) as given, right or wrong; ``quote`` is
    the text of the line tagged ``first``. ``source`` is ``model`` or ``analyzer:NAME``; ``rule``
    is an analyzer's own code for it.
    """

    path: str
    first: str
    last: str
    quote: str
    severity: Severity
    category: Category
    title: str
    why: str
    scenario: str = ""
    suggestion: str | None = None
    source: str = MODEL
    rule: str | None = None

    @property
    def by_model(self) -> bool:
        """Whether a model claims it, rather than an analyzer."""
        return self.source == MODEL


@dataclass(frozen=True, slots=True)
class ReviewAnswer:
    """What one chunk's answer holds; ``over_cap`` counts the findings beyond the cap."""

    findings: tuple[Finding, ...]
    over_cap: int = 0


class Standing(StrEnum):
    """What a refuting look came to."""

    STANDS = "stands"
    FALLS = "falls"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Refutation:
    """The result of a look that tried to refute a finding."""

    verdict: Standing
    reason: str


class Action(StrEnum):
    """What a refuting look may ask to see."""

    INSPECT_FILE = "inspect_file"
    SEARCH_CODE = "search_code"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Decision:
    """One step of a refuting look: a file to inspect, a text to search, or nothing more."""

    action: Action
    path: str | None
    query: str | None
    rationale: str


def parse_review_answer(text: str, nonce: str) -> ReviewAnswer:
    """Read the answer to a ``review`` request.

    An unknown severity is info. An unknown category (style is one) is a bug of severity info, so
    that one odd word does not cost the whole answer and still never grows loud. Tags are kept as
    given. Raises AnswerRejected.
    """
    answer = _parse(text, nonce, _Review)
    kept = tuple(_finding(item) for item in answer.findings[:MAX_FINDINGS])
    return ReviewAnswer(kept, over_cap=len(answer.findings) - len(kept))


def parse_brief(text: str, nonce: str) -> str:
    """Read the answer to a ``brief`` request, cut after 120 words. Raises AnswerRejected."""
    brief = " ".join(_parse(text, nonce, _Brief).brief.split())
    if not brief:
        _reject("The brief is empty.")
    words = brief.split(" ")
    return brief if len(words) <= MAX_BRIEF_WORDS else " ".join(words[:MAX_BRIEF_WORDS]) + " …"


def parse_refute(text: str, nonce: str) -> Refutation:
    """Read the answer to a ``refute`` request. Raises AnswerRejected."""
    answer = _parse(text, nonce, _Refute)
    return Refutation(_member(Standing, answer.verdict, "verdict"), answer.reason)


def parse_decide(text: str, nonce: str) -> Decision:
    """Read the answer to a ``decide`` request. Raises AnswerRejected."""
    answer = _parse(text, nonce, _Decide)
    action = _member(Action, answer.action, "action")
    if action is Action.INSPECT_FILE and not answer.path:
        _reject('The action "inspect_file" needs "path".')
    if action is Action.SEARCH_CODE and not answer.query:
        _reject('The action "search_code" needs "query".')
    return Decision(action, answer.path, answer.query, answer.rationale)


def parse_patch(text: str, nonce: str) -> str:
    """Read the answer to a ``patch`` request: the replacement text. Raises AnswerRejected."""
    replacement = _parse(text, nonce, _Patch).replacement
    if len(replacement) > MAX_REPLACEMENT:
        _reject(f"The replacement is longer than {MAX_REPLACEMENT} characters.")
    return replacement


def _whole(value: object) -> object:
    """Replace lone surrogates, which JSON can spell and no encoding can carry."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _tag(value: object) -> object:
    """Keep a tag of any kind as text; anchors decide what it is worth."""
    return str(value)[:40] if isinstance(value, str | int | float) else ""


def _word(value: object) -> object:
    """Keep an enumerated word of any kind as text."""
    return value.strip().lower() if isinstance(value, str) else ""


_Text = Annotated[str, BeforeValidator(_whole)]
_Tag = Annotated[str, BeforeValidator(_whole), BeforeValidator(_tag)]
_Word = Annotated[str, BeforeValidator(_whole), BeforeValidator(_word)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    nonce: str


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    path: _Text
    first: _Tag
    last: _Tag = ""
    quote: _Text
    severity: _Word = ""
    category: _Word = ""
    title: _Text = Field(min_length=1)
    why: _Text
    scenario: _Text | None = ""
    suggestion: _Text | None = None


class _Review(_Strict):
    findings: list[_Item]


class _Brief(_Strict):
    brief: _Text


class _Refute(_Strict):
    verdict: _Word
    reason: _Text = ""


class _Decide(_Strict):
    action: _Word
    path: _Text | None = None
    query: _Text | None = None
    rationale: _Text = ""


class _Patch(_Strict):
    replacement: _Text


_AnswerT = TypeVar("_AnswerT", bound=_Strict)
_EnumT = TypeVar("_EnumT", bound=StrEnum)


def _finding(item: _Item) -> Finding:
    known = item.category in set(Category)
    severity = item.severity if known and item.severity in set(Severity) else Severity.INFO
    return Finding(
        path=item.path[:MAX_TEXT],
        first=item.first,
        last=item.last,
        quote=item.quote[:MAX_TEXT],
        severity=Severity(severity),
        category=Category(item.category) if known else Category.BUG,
        title=_clip(" ".join(item.title.split()) or "Untitled", MAX_TITLE),
        why=_clip(item.why, MAX_TEXT),
        scenario=_clip(item.scenario or "", MAX_TEXT),
        suggestion=item.suggestion,
    )


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _member(kind: type[_EnumT], word: str, key: str) -> _EnumT:
    if word not in set(kind):
        _reject(f'"{key}" must be one of: {", ".join(kind)}.')
    return kind(word)


def _parse(text: str, nonce: str, kind: type[_AnswerT]) -> _AnswerT:
    value = _read_json(_unfence(text))
    if not isinstance(value, dict):
        _reject("The answer must be one JSON object.")
    try:
        answer = kind.model_validate(value)
    except ValidationError as error:
        _reject(_sentence(error.errors(include_url=False, include_context=False)[0]))
    if answer.nonce != nonce:
        _reject('"nonce" is not the one of this request.')
    return answer


# The closing fence must equal the opening one: a longer one cut short is not a closing fence.
_FENCE: Final = re.compile(r"(`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*\n(.*)\n[ \t]*\1", re.DOTALL)


def _unfence(text: str) -> str:
    """Return the text inside one enclosing code fence, or the text itself. One BOM is tolerated."""
    if len(text) > MAX_ANSWER:
        _reject(f"The answer is longer than {MAX_ANSWER} characters.")
    text = text.removeprefix("\ufeff").strip(" \t\r\n")
    if not text:
        _reject("The answer is empty; it must be one JSON object.")
    if text.startswith(("```", "~~~")):
        match = _FENCE.fullmatch(text.replace("\r\n", "\n"))
        if match is None:
            _reject("The code fence around the answer must close at its end.")
        return match[2]
    return text


def _read_json(text: str) -> object:
    """Read one value of RFC 8259 and nothing around it."""
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        _reject(f"The answer is not one JSON object: {error.msg} at character {error.pos}.")
    except RecursionError:
        _reject("The answer is nested too deeply.")
    return value


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        _reject("A key stands twice in one JSON object.")
    return value


def _constant(_: str) -> NoReturn:
    _reject("NaN and Infinity are not JSON.")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        _reject("A number is too large.")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        _reject("A number is too large.")
    return value


def _sentence(error: ErrorDetails) -> str:
    """Say where the answer departs from the schema."""
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{ascii(part)[1:-1][:40]}"
        for part in error["loc"]
    )
    if error["type"] == "extra_forbidden":
        return f'"{where[1:]}" is not a key of the answer.'
    return f'"{where[1:]}" is wrong: {error["msg"]}.'


def _reject(message: str) -> NoReturn:
    raise AnswerRejected(message)
