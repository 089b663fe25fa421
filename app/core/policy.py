"""The repository's own choices, from the base commit: which pulls, which files, what gates.

Whoever can merge wrote this file, so it may say what is looked at and how; it can't name a host, a
model, a key or a tool. Its strings are never interpolated, included or run. Reading it never
fails: what can't be used falls back to the default and is named in ``Policy.notes``.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from app.core.findings import Severity
from app.core.hidden import escape_hidden, escape_line

MAX_BYTES = 64 * 1024
MAX_NOTE = 200
MAX_NOTES = 20
MAX_INSTRUCTIONS = 4_000
MAX_PATTERN = 200
MAX_PATTERNS = 200
_MACHINE_WORD = 64
_SHOWN = 40
_MAX_DOTS = 200

OPERATOR_ONLY = frozenset(
    {
        "allow_insecure",
        "api_base",
        "api_key",
        "api_url",
        "base_url",
        "command",
        "commands",
        "database_url",
        "endpoint",
        "github_token",
        "github_url",
        "host",
        "hosts",
        "key",
        "model",
        "models",
        "private_key",
        "provider",
        "providers",
        "proxy",
        "token",
        "tools",
        "url",
        "webhook_secret",
    }
)


class Effort(StrEnum):
    """How hard a review looks."""

    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class PathRule:
    """Instructions for the files that match a gitignore-style pattern."""

    match: str
    instructions: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What `.postil.toml` says, with defaults for what it does not; ``notes`` go to the summary.

    ``fail_on`` None means the gate never fails.
    """

    auto: bool = True
    drafts: bool = False
    effort: Effort = Effort.STANDARD
    max_comments: int = 10
    min_severity: Severity = Severity.MINOR
    ignore: tuple[str, ...] = ()
    instructions: str = ""
    paths: tuple[PathRule, ...] = ()
    fail_on: Severity | None = None
    per_review_usd: Decimal | None = None
    notes: tuple[str, ...] = ()


def parse_policy(data: bytes | None, path: str = ".postil.toml") -> Policy:
    """Parse the policy file; None is an absent one. Never raises: trouble is named in the notes."""
    try:
        document = _read_document(data or b"")
    except _Unusable as trouble:
        return Policy(notes=(_note(f"config ignored: {trouble} ({escape_line(path)})"),))
    notes = _Notes(_clip(document))
    file = _validate(document, notes)
    return _to_policy(file, notes.all())


def path_instructions(policy: Policy, path: str) -> tuple[str, ...]:
    """Return the instructions of every path rule that matches, in the file's order."""
    return tuple(rule.instructions for rule in policy.paths if matches(rule.match, path))


def ignored_by(policy: Policy, path: str) -> str | None:
    """Return the first ignore pattern that matches the path, which is the name of its rule."""
    return next((pattern for pattern in policy.ignore if matches(pattern, path)), None)


def matches(pattern: str, path: str) -> bool:
    """Tell whether a gitignore-style pattern matches a file, itself or through its directory.

    Time is bounded by the product of both lengths, whatever the pattern:
    https://git-scm.com/docs/gitignore#_pattern_format
    """
    return _match_parts(_compile(pattern), tuple(path.split("/")))


def pattern_fault(pattern: str) -> str | None:
    """Say what is wrong with a path pattern; None when it can be used."""
    plain = re.sub(r"\\.", "", pattern)
    outside_classes = re.sub(r"\[[!^]?\]?[^\]/]*\]", "", plain)
    faults = (
        (not pattern.strip("/ "), "names nothing"),
        (len(pattern) > MAX_PATTERN, f"is longer than {MAX_PATTERN} characters"),
        (pattern.startswith("!"), "is a negation, which is not supported"),
        (".." in pattern.split("/"), "leaves the repository"),
        (escape_line(pattern) != pattern, "holds a hidden character"),
        ("\\" in plain, "ends in a backslash"),
        ("[" in outside_classes, "has a [ that is not closed"),
    )
    return next((fault for wrong, fault in faults if wrong), None)


def policy_schema() -> dict[str, Any]:
    """Return the JSON schema of the policy file."""
    schema = _File.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": ".postil.toml",
    }


def policy_to_toml(policy: Policy) -> str:
    """Write a policy as the file that would say the same."""
    lines = [
        "[review]",
        f"auto = {_toml(policy.auto)}",
        f"drafts = {_toml(policy.drafts)}",
        f"effort = {_toml(policy.effort.value)}",
        f"max_comments = {policy.max_comments}",
        f"min_severity = {_toml(policy.min_severity.value)}",
        f"ignore = [{', '.join(_toml(pattern) for pattern in policy.ignore)}]",
        f"instructions = {_toml(policy.instructions)}",
    ]
    for rule in policy.paths:
        lines += ["", "[[review.path]]", f"match = {_toml(rule.match)}"]
        lines += [f"instructions = {_toml(rule.instructions)}"]
    lines += ["", "[gate]", f"fail_on = {_toml(policy.fail_on or 'never')}"]
    if policy.per_review_usd is not None:
        lines += ["", "[budget]", f"per_review_usd = {policy.per_review_usd:f}"]
    return "\n".join(lines) + "\n"


# The file as a closed, strict model.


def _usable_pattern(pattern: str) -> str:
    fault = pattern_fault(pattern)
    if fault:
        raise ValueError(fault)
    return pattern


def _to_decimal(value: Any) -> Any:  # noqa: ANN401  whatever stands in the file
    small = type(value) is int and value.bit_length() <= _MACHINE_WORD
    return Decimal(value) if small else value


_Pattern = Annotated[str, AfterValidator(_usable_pattern)]
_Instructions = Annotated[str, AfterValidator(escape_hidden)]
_Severity = Literal["info", "minor", "major", "critical"]
_Usd = Annotated[
    Decimal,
    BeforeValidator(_to_decimal),
    Field(gt=0, le=10_000, max_digits=11, decimal_places=6),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 10_000}),
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PathTable(_Table):
    """One `[[review.path]]`."""

    match: _Pattern = Field(description="gitignore-style pattern")
    instructions: _Instructions = Field(description="what to watch in these files")


class ReviewTable(_Table):
    """`[review]`."""

    auto: bool = Field(
        default=True, description="review on opened, reopened, ready, and every push"
    )
    drafts: bool = Field(default=False, description="review drafts too")
    effort: Literal["quick", "standard", "deep"] = Field(
        default="standard", description="how hard to look"
    )
    max_comments: int = Field(
        default=10, ge=0, le=100, description="the rest is listed in the summary"
    )
    min_severity: _Severity = Field(
        default="minor", description="findings below it are listed in the summary"
    )
    ignore: list[_Pattern] = Field(default=[], description="patterns of files that are waived")
    instructions: _Instructions = Field(default="", description="what the reviewer should know")
    path: list[PathTable] = Field(default=[], description="instructions for some files")


class GateTable(_Table):
    """`[gate]`."""

    fail_on: Literal["never", "info", "minor", "major", "critical"] = Field(
        default="never", description="the check fails from this severity on"
    )


class BudgetTable(_Table):
    """`[budget]`."""

    per_review_usd: _Usd | None = Field(default=None, description="what one review may cost")


class _File(_Table):
    review: ReviewTable = Field(default=ReviewTable(), description="which pulls and files, and how")
    gate: GateTable = Field(default=GateTable(), description="when the check fails")
    budget: BudgetTable = Field(default=BudgetTable(), description="what it may cost")


_TABLES: dict[str, type[_Table]] = {
    "": _File,
    "review": ReviewTable,
    "review.path": PathTable,
    "gate": GateTable,
    "budget": BudgetTable,
}


def _to_policy(file: _File, notes: tuple[str, ...]) -> Policy:
    review, gate = file.review, file.gate
    return Policy(
        auto=review.auto,
        drafts=review.drafts,
        effort=Effort(review.effort),
        max_comments=review.max_comments,
        min_severity=Severity(review.min_severity),
        ignore=tuple(review.ignore),
        instructions=review.instructions,
        paths=tuple(PathRule(rule.match, rule.instructions) for rule in review.path),
        fail_on=None if gate.fail_on == "never" else Severity(gate.fail_on),
        per_review_usd=file.budget.per_review_usd,
        notes=notes,
    )


# From bytes to a document.


class _Unusable(Exception):
    """The file as a whole can't be used; the text says why."""


_Document = dict[str, Any]


def _read_document(data: bytes) -> _Document:
    if len(data) > MAX_BYTES:
        raise _Unusable(f"larger than {MAX_BYTES // 1024} KB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unusable("not UTF-8 text") from error
    if "\0" in text:
        raise _Unusable("not text: it holds a NUL byte")
    # tomllib takes time with the square of a dotted key's parts.
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):
        raise _Unusable(f"more than {_MAX_DOTS} dots in a line")
    try:
        return tomllib.loads(text, parse_float=_read_number)
    except tomllib.TOMLDecodeError as error:
        raise _Unusable(_place(str(error), text)) from error
    except RecursionError as error:
        raise _Unusable("too deeply nested") from error
    except ValueError as error:  # an integer of more than 4,300 digits
        raise _Unusable("a number in it has too many digits") from error


def _read_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all limits
        return Decimal("NaN")


def _place(message: str, text: str) -> str:
    """Turn tomllib's ``Text (at line 3, column 5)`` round."""
    found = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    if found is None:
        return message
    lines = text.split("\n")
    end = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    place = found[2].replace("end of document", end)
    return f"{place}: {found[1][:1].lower()}{found[1][1:]}"


def _clip(document: _Document) -> Iterator[str]:
    """Cut what is longer than we read, and say so."""
    review = document.get("review")
    if not isinstance(review, dict):
        return
    for key, limit in (("ignore", MAX_PATTERNS), ("path", MAX_PATTERNS)):
        value = review.get(key)
        if isinstance(value, list) and len(value) > limit:
            review[key] = value[:limit]
            yield f"config: review.{key}: only the first {limit} of {len(value)} entries are used"
    rules = review.get("path")
    tables = [("review", review)]
    if isinstance(rules, list):
        tables += [(f"review.path[{number}]", rule) for number, rule in enumerate(rules, 1)]
    for name, table in tables:
        value = table.get("instructions") if isinstance(table, dict) else None
        if isinstance(value, str) and len(value) > MAX_INSTRUCTIONS:
            table["instructions"] = value[:MAX_INSTRUCTIONS]
            kept = f"only the first {MAX_INSTRUCTIONS} characters are used"
            yield f"config: {name}.instructions: {kept}"


def _validate(document: _Document, notes: _Notes) -> _File:
    """Validate, name what can't be used, take it out, and validate again until it holds."""
    while True:
        try:
            return _File.model_validate(document)
        except ValidationError as error:
            faults = error.errors(include_url=False)
        for fault in faults:
            notes.add(fault)
        # A later entry of an array goes first, so that the numbers of the earlier ones hold.
        for place in sorted({_affected(fault) for fault in faults}, key=_by_number, reverse=True):
            _take_out(document, place)


_Place = tuple[int | str, ...]


def _affected(fault: ErrorDetails) -> _Place:
    """Return the place that falls back: a path rule does as a whole, it can't do without a part."""
    place = fault["loc"]
    in_rule = place[:2] == ("review", "path") and len(place) == len(("review", "path", 0, "match"))
    return place[:3] if in_rule and fault["type"] != "extra_forbidden" else place


def _by_number(place: _Place) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in place]


def _take_out(document: Any, place: _Place) -> None:  # noqa: ANN401  a node of a parsed document
    for part in place[:-1]:
        if isinstance(document, list) and part not in range(len(document)):
            return
        document = document[part]
    if isinstance(document, dict):
        document.pop(place[-1], None)
    else:
        del document[place[-1]]


# What the summary says.


class _Notes:
    """The first notes, and how many more there were."""

    def __init__(self, notes: Iterable[str]) -> None:
        self._notes = [_note(note) for note in notes]
        self._more = 0

    def add(self, fault: ErrorDetails) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(_note(_explain(fault)))
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        more = (f"config: {self._more} more settings that can't be used",) if self._more else ()
        return (*self._notes, *more)


def _note(text: str) -> str:
    line = escape_line(text)
    return line if len(line) <= MAX_NOTE else f"{line[: MAX_NOTE - 3]}..."


def _explain(fault: ErrorDetails) -> str:
    place, kind, context = fault["loc"], fault["type"], fault.get("ctx", {})
    name = _dotted(place)
    if kind == "extra_forbidden":
        return _explain_unknown(place, name)
    if kind == "missing":
        return f"config: {_dotted(place[:-1])} has no {place[-1]}; it is left out"
    reason = _REASONS.get(kind, "can't be used").format(**context)
    entry = any(isinstance(part, int) for part in place)
    rest = "it is left out" if entry else "the default is used"
    return f"config: {name}: {_shown(fault['input'])} {reason}; {rest}"


_REASONS = {
    "bool_type": "is not true or false",
    "decimal_max_digits": "has too many digits",
    "decimal_max_places": "has too many digits",
    "decimal_whole_digits": "is more than 10000",
    "finite_number": "is not a finite number",
    "greater_than": "is not more than {gt}",
    "greater_than_equal": "is less than {ge}",
    "int_type": "is not a whole number",
    "is_instance_of": "is not a number",
    "less_than_equal": "is more than {le}",
    "list_type": "is not an array",
    "literal_error": "is not {expected}",
    "model_type": "is not a table",
    "string_type": "is not text",
    "value_error": "{error}",
}


def _explain_unknown(place: _Place, name: str) -> str:
    key = str(place[-1])[:MAX_PATTERN].lower().replace("-", "_")
    if key in OPERATOR_ONLY:
        return f"config: {name} is an operator-only setting; it is ignored"
    table = ".".join(part for part in place[:-1] if isinstance(part, str))
    meant = _nearest(key, table)
    hint = f' (did you mean "{meant}"?)' if meant else ""
    return f"config: {name} is not a known setting; it is ignored{hint}"


def _nearest(key: str, table: str) -> str | None:
    """Find the setting that was probably meant: in the same table, else in another one."""
    here = difflib.get_close_matches(key, _TABLES[table].model_fields, n=1)
    if here:
        return here[0]
    elsewhere = {field: at for at, model in _TABLES.items() for field in model.model_fields}
    close = difflib.get_close_matches(key, elsewhere, n=1)
    return f"{elsewhere[close[0]]}.{close[0]}".lstrip(".") if close else None


def _dotted(place: _Place) -> str:
    parts = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place]
    return "".join(parts).lstrip(".")


def _shown(value: object) -> str:
    """Show a value as it was read: `no` without quotes would have been an error, 010 too."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > _MACHINE_WORD:
        return "a huge number"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _toml(value: str | bool) -> str:  # noqa: FBT001  it is written, not obeyed
    return json.dumps(value, ensure_ascii=False)


# Patterns.

_Matcher = re.Pattern[str] | None
"""A compiled part of a pattern; None stands for `**`."""


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> tuple[_Matcher, ...]:
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        parts = ["**", *parts]
    elif not parts[0]:
        parts = parts[1:]
    if pattern.endswith("/") or parts[-1] == "**":
        parts = [*parts, "*"]
    return tuple(_compile_part(part) for part in [*parts, "**"])


def _compile_part(part: str) -> _Matcher:
    if part == "**":
        return None
    classes = re.sub(r"\\(.)", r"[\1]", part).replace("[^", "[!")
    return re.compile(fnmatch.translate(classes))


def _match_parts(pattern: tuple[_Matcher, ...], names: tuple[str, ...]) -> bool:
    """Match with one step back at most to the last `**`, which is all that a wildcard needs."""
    at = name = 0
    back: tuple[int, int] | None = None
    while name < len(names):
        if at < len(pattern) and (matcher := pattern[at]) is None:
            at, back = at + 1, (at + 1, name)
        elif at < len(pattern) and matcher is not None and matcher.match(names[name]):
            at, name = at + 1, name + 1
        elif back is not None:
            back = (back[0], back[1] + 1)
            at, name = back
        else:
            return False
    return all(matcher is None for matcher in pattern[at:])
