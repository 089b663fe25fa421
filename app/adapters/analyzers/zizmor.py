"""zizmor: what endangers a repository in its GitHub Actions workflows and action files.

``--offline`` and an environment without tokens keep it from the network, ``--no-config`` hides
every ``zizmor.yml``, ``--no-ignores`` every ``# zizmor: ignore`` comment. A file that GitHub would
refuse fails the run by ``--strict-collection``, and so is named instead of left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, Field, TypeAdapter

from app.adapters.analyzers.tool import Copy, Remark, Tool
from app.core.findings import Category, Severity

_WORKFLOW = re.compile(r"\.github/workflows/[^/]+\.ya?ml")
_ACTION = re.compile(r"(?:.*/)?(action\.ya?ml)", re.DOTALL)

_SEVERITIES = {
    "High": Severity.MAJOR,
    "Medium": Severity.MINOR,
    "Low": Severity.INFO,
    "Informational": Severity.INFO,
}

_LEFT_OUT = {"self-repository", "superfluous-actions"}
"""Tidiness."""

_QUIETER = {
    "adhoc-packages": Severity.INFO,
    "artipacked": Severity.INFO,
    "cache-poisoning": Severity.MINOR,
    "excessive-permissions": Severity.MINOR,
    "secrets-outside-env": Severity.INFO,
    "template-injection": Severity.MINOR,
    "unpinned-tools": Severity.INFO,
    "unpinned-uses": Severity.MINOR,
}
"""True, but a habit of nearly every workflow: said quietly."""

_STRANGER = re.compile(
    r"github\.(?:head_ref\b|event\.(?:issue|pull_request|comment|review|discussion|commits"
    r"|head_commit|pages|workflow_run)\b)"
)
"""Text that anybody may write, by opening an issue or a pull request."""
_FIRST_PARTY = re.compile(r"[\"']?(?:actions|github)/")
_NO_PERMISSIONS = "no permissions: block"

_MENDS = {
    "adhoc-packages": "Install what a lock file names.",
    "archived-uses": "Use one that is maintained: nobody mends this one.",
    "artipacked": "Set `persist-credentials: false`: later steps and artifacts can read the token.",
    "bot-conditions": "Compare the event's own author: the actor can be made to look like a bot.",
    "cache-poisoning": "Restore no cache where a release is built: other runs can fill it.",
    "dangerous-triggers": "Use `pull_request`: it gives a stranger's change your secrets.",
    "excessive-permissions": "Grant each job only what it needs.",
    "github-app": "Ask for the repositories and permissions that are needed, and no more.",
    "github-env": "Write no outside text there: it sets variables for every later step.",
    "hardcoded-container-credentials": "Take the password from a secret, and change it.",
    "insecure-commands": "Remove it: any printed line can set variables and paths.",
    "insecure-url-scheme": "Use https: anyone on the way can change what arrives.",
    "misfeature": "Use the documented way: this one is not checked or not supported.",
    "obfuscation": "Write it plainly: reviewers and tools read past this.",
    "overprovisioned-secrets": "Hand over the one secret that is needed.",
    "secrets-inherit": "Hand over the secrets that are needed by name.",
    "secrets-outside-env": "Keep the secret in an environment with rules of its own.",
    "self-hosted-runner": "Let no stranger's pull request run there: it keeps what a run leaves.",
    "template-injection": 'Pass it through `env:` and write `"$NAME"`: here its words become code.',
    "typosquat-uses": "Check the name: it is close to one that is well known.",
    "unpinned-images": "Pin the image by its digest.",
    "unpinned-tools": "Name the tool's version.",
    "unpinned-uses": "Pin it by the full commit id: a tag can be moved.",
    "unredacted-secrets": "Make each part a secret of its own: parts are not masked in logs.",
    "unsound-condition": "Drop the text around the expression: it makes the condition always true.",
    "unsound-contains": "Compare with `==`, or give a list: parts of names match too.",
    "unsound-ternary": "Swap the branches: an empty middle value falls through.",
    "use-trusted-publishing": "Publish by OpenID Connect, without a key that lasts.",
}


class _Point(BaseModel):
    row: int
    column: int


class _Span(BaseModel):
    start_point: _Point
    end_point: _Point


class _Concrete(BaseModel):
    location: _Span
    feature: str


class _LocalKey(BaseModel):
    verbatim_path: str


class _Key(BaseModel):
    local: _LocalKey = Field(alias="Local")


class _Symbolic(BaseModel):
    key: _Key
    annotation: str
    kind: str


class _Location(BaseModel):
    symbolic: _Symbolic
    concrete: _Concrete


class _Determinations(BaseModel):
    severity: Literal["High", "Medium", "Low", "Informational"]
    confidence: str


class _Finding(BaseModel):
    ident: str
    desc: str
    determinations: _Determinations
    locations: list[_Location]


_FINDINGS = TypeAdapter(list[_Finding])


def _suffix(path: str, text: str) -> str | None:
    del text
    if _WORKFLOW.fullmatch(path):
        return ".yml"
    action = _ACTION.fullmatch(path)
    return None if action is None else f"/{action[1]}"


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    for found in _FINDINGS.validate_json(output):
        for location in found.locations:
            if location.symbolic.kind == "Primary" and not _is_habit(found, location):
                yield _remark(found, location, copies)


def _remark(found: _Finding, location: _Location, copies: Mapping[str, Copy]) -> Remark:
    copy = copies.get(location.symbolic.key.local.verbatim_path)
    if copy is None:
        raise ValueError("a file that was not asked about")
    span = location.concrete.location
    first, last = span.start_point.row + 1, span.end_point.row + 1
    if span.end_point.column == 0 and last > first:
        last -= 1
    return Remark(
        name=copy.name,
        first=first,
        last=last,
        rule=found.ident,
        severity=_severity(found, location),
        category=Category.SECURITY,
        title=_title(found, location),
        why=_MENDS.get(found.ident, ""),
    )


def _title(found: _Finding, location: _Location) -> str:
    said = location.symbolic.annotation.removesuffix(" (required by blanket policy)")
    return f"{found.desc[:1].upper()}{found.desc[1:]}: {said}"


def _is_habit(found: _Finding, location: _Location) -> bool:
    """Tell whether this stands in nearly every workflow, and says nothing of this change."""
    match found.ident:
        case "unpinned-uses":
            used = location.concrete.feature.removeprefix("uses:").lstrip()
            return _FIRST_PARTY.match(used) is not None
        case "excessive-permissions":
            return _NO_PERMISSIONS in location.symbolic.annotation
        case ident:
            return ident in _LEFT_OUT


def _severity(found: _Finding, location: _Location) -> Severity:
    stated = found.determinations
    if found.ident == "template-injection" and stated.severity == "High":
        stranger = _STRANGER.search(location.concrete.feature)
        return Severity.CRITICAL if stranger else Severity.MINOR
    severity = _SEVERITIES[stated.severity]
    if stated.confidence == "Low":
        severity = min(severity, Severity.MINOR, key=lambda severity: severity.rank)
    quiet = _QUIETER.get(found.ident, severity)
    return min(severity, quiet, key=lambda severity: severity.rank)


ZIZMOR = Tool(
    name="zizmor",
    suffix=_suffix,
    arguments=(
        "--offline",
        "--no-config",
        "--no-ignores",
        "--strict-collection",
        "--no-progress",
        "--no-exit-codes",
        "--quiet",
        "--min-severity=low",
        "--color=never",
        "--format=json-v1",
    ),
    read=_read,
    batch=200,
)
