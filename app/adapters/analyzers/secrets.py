"""detect-secrets: keys and passwords in the text. What was found is never repeated.

It runs in a child process, so that an expression that takes for ever ends with the child. See
``secrets_child`` for what is looked for. No comment silences it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from app.adapters.analyzers.tool import Copy, Remark, Tool, is_test
from app.core.findings import Category, Severity

NAME = "detect-secrets"

_SURE = {
    "AWS Access Key",
    "Azure Storage Account access key",
    "GitHub Token",
    "GitLab Token",
    "NPM tokens",
    "OpenAI Token",
    "Private Key",
    "PyPI Token",
    "SendGrid API Key",
    "Slack Token",
    "Square OAuth Secret",
    "Stripe Access Key",
}
"""Shapes that nothing else has."""

_UNSURE = {"JSON Web Token", "Secret Keyword"}

_OFTEN_MADE_UP = {"Basic Auth Credentials", "High Entropy String", "Private Key", *_UNSURE}
"""What tests invent for themselves."""

_KINDS = {
    "Basic Auth Credentials": "a password in an address",
    "High Entropy String": "a random value under a secret's name",
    "Secret Keyword": "a value under a secret's name",
}

_MEND = (
    "Revoke it, take it out of the history, and read it from the environment or a secret store: "
    "everyone who can read the repository has it now."
)

_LISTS = re.compile(r".*(?:\.lock|\.sum|\.svg|\.map|\.css|-lock\.json|[-.]lock\.ya?ml|\.min\.js)")
_ENDING = re.compile(r"\.[a-z0-9]{1,10}")


class _Found(BaseModel):
    name: str
    line: int
    kind: str
    example: bool


_FOUND = TypeAdapter(list[_Found])


def _suffix(path: str, text: str) -> str | None:
    del text
    name = path.rpartition("/")[2].lower()
    if _LISTS.fullmatch(name):
        return None
    if name.startswith(".") or name.endswith(".env") or "dockerfile" in name:
        return ".ini"  # values without quotes
    stem, _, ending = name.rpartition(".")
    return f".{ending}" if stem and _ENDING.fullmatch(f".{ending}") else ""


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    for found in _FOUND.validate_json(output):
        if found.name not in copies:
            raise ValueError("a file that was not asked about")
        path = copies[found.name].path
        yield Remark(
            name=found.name,
            first=found.line,
            last=found.line,
            rule=found.kind,
            severity=Severity.MINOR if found.example else _severity(found.kind, path),
            category=Category.SECURITY,
            title=f"Looks like {_KINDS.get(found.kind, f'a secret: {found.kind}')}",
            why=_MEND,
        )


def _severity(kind: str, path: str) -> Severity:
    if kind in _UNSURE or (kind in _OFTEN_MADE_UP and is_test(path)):
        return Severity.MINOR
    return Severity.CRITICAL if kind in _SURE else Severity.MAJOR


SECRETS = Tool(
    name=NAME,
    suffix=_suffix,
    arguments=(),
    read=_read,
    batch=200,
    program=(sys.executable, "-I", "-B", str(Path(__file__).with_name("secrets_child.py"))),
)
