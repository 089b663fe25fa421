"""ruff: bugs in Python, by the table in ``ruff_rules``.

``--isolated`` hides every configuration, ``--ignore-noqa`` every comment that would hide a finding
(``noqa``, ``ruff: noqa``, ``ruff: ignore``, ``ruff: disable``): who adds a defect could add the
comment too. Only on an unused import a ``noqa`` is believed, as it is how a module says that it
hands the name on. The newest target version is assumed, as the project's own is not known here:
code for it is never called a syntax error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from app.adapters.analyzers.ruff_rules import RULES, SYNTAX
from app.adapters.analyzers.tool import FOLDER, Copy, Remark, Tool, interpreter, is_test
from app.core.findings import Category, Severity

MAX_SUGGESTED_LINES = 10

_BUILTINS = 'builtins = ["_", "get_ipython", "ngettext"]'
"""Names that gettext and IPython install."""

_IMMUTABLE_CALLS = """lint.flake8-bugbear.extend-immutable-calls = [
  "fastapi.Body", "fastapi.Cookie", "fastapi.Depends", "fastapi.File", "fastapi.Form",
  "fastapi.Header", "fastapi.Path", "fastapi.Query", "fastapi.Security",
  "typer.Argument", "typer.Option"]""".replace("\n", " ")


class _Position(BaseModel):
    row: int
    column: int


class _Edit(BaseModel):
    content: str
    location: _Position
    end_location: _Position


class _Fix(BaseModel):
    applicability: Literal["safe", "unsafe", "display"]
    edits: list[_Edit]


class _Diagnostic(BaseModel):
    code: str
    filename: str
    message: str
    location: _Position
    end_location: _Position
    noqa_row: int | None
    fix: _Fix | None


_DIAGNOSTICS = TypeAdapter(list[_Diagnostic])


def _suffix(path: str, text: str) -> str | None:
    name = path.rpartition("/")[2]
    if name in {"__init__.py", "__init__.pyi"}:
        return f"/{name}"
    if name.endswith((".py", ".pyi", ".pyw")):
        return ".pyi" if name.endswith(".pyi") else ".py"
    return ".py" if "." not in name and interpreter(text) == "python" else None


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    rows: dict[str, tuple[int, ...]] = {}
    for found in _DIAGNOSTICS.validate_json(output):
        name = found.filename.rpartition(f"/{FOLDER}/")[2]
        copy = copies.get(name)
        if copy is None:
            raise ValueError("a file that was not asked about")
        if name not in rows:
            rows[name] = _git_lines(copy.text)
        remark = _remark(found, copy, rows[name])
        if remark is not None:
            yield remark


def _remark(found: _Diagnostic, copy: Copy, rows: tuple[int, ...]) -> Remark | None:
    rule = RULES.get(found.code, SYNTAX)
    if _is_false_alarm(found, copy):
        return None
    severity = rule.severity
    if rule.category is Category.SECURITY and is_test(copy.path):
        severity = Severity.INFO
    first, last = _line(found.location, rows), _line(found.end_location, rows)
    if found.end_location.column == 1 and last > first:
        last -= 1
    replaced = _replaced_lines(found, copy, rows)
    if replaced is not None:
        first, last, suggestion = replaced
    else:
        suggestion = None
    return Remark(
        name=copy.name,
        first=first,
        last=last,
        rule=found.code,
        severity=severity,
        category=rule.category,
        title=found.message,
        why=rule.mend,
        suggestion=suggestion,
    )


def _is_false_alarm(found: _Diagnostic, copy: Copy) -> bool:
    """Tell whether this is one of the shapes that were wrong on every well-known package tried."""
    match found.code:
        case "S602" | "S604" | "S605":
            return "seems safe" in found.message
        case "T100":
            return found.message.startswith("Import for")
        case "F401":
            return copy.name.endswith("/__init__.py") or "noqa" in copy.line(found.noqa_row or 0)
        case "F821":
            # A word in quotes is a string until someone proves it an annotation: Literal["x"]
            # from a module that ruff does not know as typing.
            column = found.location.column
            return copy.line(found.location.row)[max(column - 2, 0) : column - 1] in {'"', "'"}
        case _:
            return False


def _replaced_lines(
    found: _Diagnostic, copy: Copy, rows: tuple[int, ...]
) -> tuple[int, int, str] | None:
    """Return first line, last line and new text when a safe fix rewrites a few whole lines."""
    fix = found.fix
    if fix is None or fix.applicability != "safe" or len(fix.edits) != 1:
        return None
    edit = fix.edits[0]
    first, last = _line(edit.location, rows), _line(edit.end_location, rows)
    if not first <= _line(found.location, rows) <= last < first + MAX_SUGGESTED_LINES:
        return None
    if edit.end_location.column == 1 and last > first:
        return None
    before = copy.line(first)[: edit.location.column - 1]
    after = copy.line(last)[edit.end_location.column - 1 :]
    text = before + edit.content + after
    return (first, last, text) if text.strip() and "\r" not in text else None


def _git_lines(text: str) -> tuple[int, ...]:
    """Return git's line of each of ruff's: to ruff, a lone carriage return ends a line too."""
    ends = re.findall(r"\r\n|\r|\n", text)
    return tuple(accumulate((int("\n" in end) for end in ends), initial=1))


def _line(position: _Position, rows: tuple[int, ...]) -> int:
    return rows[min(max(position.row, 1), len(rows)) - 1]


RUFF = Tool(
    name="ruff",
    suffix=_suffix,
    arguments=(
        "check",
        "--isolated",
        "--ignore-noqa",
        "--no-cache",
        "--no-fix",
        "--quiet",
        "--output-format=json",
        "--target-version=py314",
        f"--select={','.join(RULES)}",
        f"--config={_BUILTINS}",
        f"--config={_IMMUTABLE_CALLS}",
    ),
    read=_read,
    codes=frozenset({0, 1}),
)
