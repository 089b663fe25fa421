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

_DIRECTIVE = re.compile(r"(#[^\w\n]*)shellcheck(?![^\S\n]+shell=\w+[^\S\n]*$)", re.MULTILINE)

_LEFT_OUT = (
    "SC1017",  # carriage returns: one on every line
    "SC1071",  # a shell that it does not know
    "SC1090",  # a sourced file is not followed
    "SC1091",  # the same
    "SC2034",  # unused variable: another script may source this one
    "SC2148",  # no shebang: the file may be sourced
    "SC2154",  # unassigned variable: the environment or a sourced file may set it
    "SC2312",  # style, optional
)

_SEVERITIES = {"error": Severity.MAJOR, "warning": Severity.MINOR, "info": Severity.INFO}

_SECURITY = {2029, 2091, 2115, 2294}
_MAJOR = {
    2050,  # a comparison of constants
    2066,  # a loop that runs once
    2068,  # "$@" without quotes
    2114,  # rm of a system folder
    2115,  # rm -rf "$var/"
    2164,  # cd without a way out
}


class _Comment(BaseModel):
    file: str
    line: int
    endLine: int  # noqa: N815 - ShellCheck's own name
    level: Literal["error", "warning", "info", "style"]
    code: int
    message: str


class _Comments(BaseModel):
    comments: list[_Comment]


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
    return _DIRECTIVE.sub(r"\1ShellCheck", text).replace("\r\n", "\n")


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    for comment in _Comments.model_validate_json(output).comments:
        if comment.file not in copies:
            raise ValueError("a file that was not asked about")
        if comment.level == "style":
            continue
        loud = Severity.MAJOR if comment.code in _MAJOR else _SEVERITIES[comment.level]
        yield Remark(
            name=comment.file,
            first=comment.line,
            last=comment.line,
            rule=f"SC{comment.code}",
            severity=loud,
            category=Category.SECURITY if comment.code in _SECURITY else Category.BUG,
            title=comment.message,
            why="",
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
