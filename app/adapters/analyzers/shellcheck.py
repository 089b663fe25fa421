"""ShellCheck: bugs in shell scripts.

``--norc`` hides every ``.shellcheckrc``. No option hides the directives in a script: in the copy,
the word that starts one is spelled differently, with the same length. Only ``shell=`` stays, as it
names the dialect and hides nothing. Files named by ``source`` are never opened (no ``-x``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

from app.adapters.analyzers.tool import Copy, Remark, Tool, interpreter
from app.core.findings import Category, Severity

_SHELLS = {"sh", "bash", "dash", "ksh", "busybox"}
_ENDINGS = (".sh", ".bash", ".dash", ".ksh", ".bats")

_DIRECTIVE = re.compile(r"(#[^\S\n]*)shellcheck(?![^\S\n]+shell=\w+[^\S\n]*$)", re.MULTILINE)

_LEFT_OUT = (
    "SC1017",  # carriage returns: one on every line
    "SC1071",  # a shell that it does not know
    "SC1078",  # a quote that is perhaps not closed: any text of several lines
    "SC1090",  # a sourced file is not followed
    "SC1091",  # the same
    "SC2034",  # unused variable: another script may source this one
    "SC2120",  # arguments that nobody passes: another script may
    "SC2148",  # no shebang: the file may be sourced
    "SC2154",  # unassigned variable: the environment or a sourced file may set it
    "SC2166",  # `-a` and `-o` in a test: old, not wrong
    "SC2172",  # signals by number
    "SC2188",  # a redirection alone: how files are emptied and probed
    "SC2209",  # a word that is also a command
    "SC3037",  # flags of echo: every sh in use has them
    "SC3043",  # `local`: the same
    "SC3049",  # lower-case signal names: the same
)
"""What is reported as warning or error and was meant so in most of 300 well-used scripts."""

_SEVERITIES = {"error": Severity.MAJOR, "warning": Severity.MINOR}

_TABLE = """
2028 info  `echo` prints escapes as they are in some shells: use `printf`.
2030 minor The change is lost when the subshell ends: keep it out of the pipe or the parentheses.
2031 minor The change was made in a subshell and lost with it.
2035 info  A file called like an option becomes one: write `./*`.
2045 minor Loop over a wildcard: names with spaces come apart here.
2046 info  The output is split at spaces and its wildcards are expanded: quote it.
2059 info  A `%` in the value is taken for a format: use `printf '%s'`.
2064 info  Quote the trap with single quotes, unless the value of now is meant.
2066 major The loop runs once, over all the words as one.
2068 minor Without quotes each element is split again at its spaces.
2086 info  Without quotes the value is split at spaces and its wildcards are expanded.
2094 minor The file is emptied before it is read: write to another and move it.
2114 major It removes a folder of the system.
2115 major With the variable empty it removes from the root: write `"${name:?}/"`.
2145 minor The array comes apart into several words here: use `$*`, or its own argument.
2155 info  The command's exit code is lost: declare first, then assign.
2206 info  The value is split at spaces and its wildcards are expanded.
2207 info  The output is split at spaces and its wildcards are expanded.
"""
"""Codes that are louder or quieter than their level says, and what to know about them. Of the
levels below warning, only these are told."""

_SECURITY = {2029, 2059, 2091, 2115}


class _Comment(BaseModel):
    file: str
    line: int
    endLine: int  # noqa: N815 - ShellCheck's own name
    level: Literal["error", "warning", "info", "style"]
    code: int
    message: str


class _Comments(BaseModel):
    comments: list[_Comment]


def _read_table() -> dict[int, tuple[Severity, str]]:
    rows = (line.split(maxsplit=2) for line in _TABLE.splitlines() if line)
    return {int(code): (Severity(loud), why) for code, loud, why in rows}


_RULES = _read_table()


def _suffix(path: str, text: str) -> str | None:
    name = path.rpartition("/")[2]
    shell = interpreter(text)
    if shell and shell not in _SHELLS:
        return None
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
    if ending is not None:
        return ending
    return ".sh" if shell in _SHELLS and "." not in name else None


def _quiet(text: str) -> str:
    return _DIRECTIVE.sub(r"\1ShellCheck", text)


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    for comment in _Comments.model_validate_json(output).comments:
        if comment.file not in copies:
            raise ValueError("a file that was not asked about")
        severity, why = _RULES.get(comment.code, (_SEVERITIES.get(comment.level), ""))
        if severity is None:
            continue
        yield Remark(
            name=comment.file,
            first=comment.line,
            last=comment.line,
            rule=f"SC{comment.code}",
            severity=severity,
            category=Category.SECURITY if comment.code in _SECURITY else Category.BUG,
            title=comment.message,
            why=why,
        )


SHELLCHECK = Tool(
    name="shellcheck",
    suffix=_suffix,
    arguments=("--norc", "--format=json1", f"--exclude={','.join(_LEFT_OUT)}"),
    read=_read,
    quiet=_quiet,
    codes=frozenset({0, 1}),
    batch=40,
)
