"""Findings as SARIF 2.1.0, within what GitHub's code scanning takes.

https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from app.core.diff import Side
from app.core.evidence import Weighed
from app.core.findings import Category, Finding, Severity
from app.core.markdown import BREAK, escape_hidden

Json = dict[str, Any]

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
INFORMATION: Final = "https://github.com/postil/postil"
ROOT: Final = "%SRCROOT%"
MAX_RESULTS: Final = 5_000
"""Results of a run that GitHub keeps; the rest is counted in a notification."""
MAX_MESSAGE: Final = 10_000
"""Characters of a message; GitHub states no cap."""

LEVELS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "error",
    Severity.MAJOR: "error",
    Severity.MINOR: "warning",
    Severity.INFO: "note",
}
SECURITY_SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "9.5",
    Severity.MAJOR: "8.0",
    Severity.MINOR: "5.0",
    Severity.INFO: "1.0",
}
"""GitHub reads over 9.0 as critical, 7.0 to 8.9 as high, 4.0 to 6.9 as medium, the rest as low."""

_DESCRIPTIONS: Final[Mapping[Category, str]] = {
    Category.BUG: "Code that does not do what it is meant to",
    Category.SECURITY: "Code that can be misused",
    Category.CONCURRENCY: "Code that fails when run side by side",
    Category.DATA: "Data that may be lost or spoiled",
    Category.API: "A contract between parts that is broken",
    Category.PERFORMANCE: "Code that is slower or larger than it need be",
    Category.TEST: "A test that does not prove what it says",
    Category.DOCS: "Documentation that is wrong",
}


def to_sarif(findings: Sequence[Weighed], *, tool_version: str, head_sha: str | None) -> Json:
    """Return the SARIF log of one run.

    A finding on a removed line, or on none, stands on the first line of its file and says so. One
    whose file is not part of the change has no place in SARIF and becomes a notification.
    """
    ordered = sorted(findings, key=lambda one: -one.severity.rank)
    placed = [one for one in ordered if _path(one)]
    shown = placed[:MAX_RESULTS]
    rules = _rules(shown)
    indexes = {rule["id"]: index for index, rule in enumerate(rules)}
    notes = [_message(one) for one in ordered if not _path(one)]
    if len(placed) > len(shown):
        notes.append(f"{len(placed) - len(shown)} more findings are left out.")
    run: Json = {
        "tool": {
            "driver": {
                "name": "Postil",
                "version": tool_version,
                "informationUri": INFORMATION,
                "rules": rules,
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": note}} for note in notes[:MAX_RESULTS]
                ],
            }
        ],
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the repository."}}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, indexes[_rule_id(one.placed.finding)]) for one in shown],
    }
    if head_sha:
        run["properties"] = {"headSha": head_sha}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _path(weighed: Weighed) -> str:
    anchor = weighed.placed.anchor
    return anchor.path if anchor else weighed.placed.path


def _rule_id(finding: Finding) -> str:
    source = "postil" if finding.by_model else finding.source.removeprefix("analyzer:")
    return f"{source}/{finding.rule or finding.category}"


def _rules(findings: Sequence[Weighed]) -> list[Json]:
    """List every rule once, with the severity of its worst finding, which comes first."""
    rules: dict[str, Json] = {}
    for one in findings:
        claim = one.placed.finding
        name = _rule_id(claim)
        if name in rules:
            continue
        properties: Json = {"tags": [claim.category.value]}
        if claim.category is Category.SECURITY:
            properties["security-severity"] = SECURITY_SEVERITIES[one.severity]
        rules[name] = {
            "id": name,
            "shortDescription": {"text": _DESCRIPTIONS[claim.category]},
            "defaultConfiguration": {"level": LEVELS[one.severity]},
            "properties": properties,
        }
    return list(rules.values())


def _result(weighed: Weighed, rule_index: int) -> Json:
    claim, anchor = weighed.placed.finding, weighed.placed.anchor
    right = anchor is not None and anchor.side is Side.RIGHT
    region = {"startLine": 1}
    if anchor and right:
        region = {"startLine": anchor.start_line, "endLine": anchor.line}
    place = {"uri": _uri(_path(weighed)), "uriBaseId": ROOT}
    result: Json = {
        "ruleId": _rule_id(claim),
        "ruleIndex": rule_index,
        "level": LEVELS[weighed.severity],
        "message": {"text": _message(weighed)},
        "locations": [{"physicalLocation": {"artifactLocation": place, "region": region}}],
        "properties": {
            "severity": weighed.severity.value,
            "category": claim.category.value,
            "evidence": weighed.rung.value,
            "notes": [_plain(note) for note in weighed.notes],
            "source": claim.source,
        },
    }
    if weighed.fingerprint:
        result["partialFingerprints"] = {"primaryLocationLineHash": f"{weighed.fingerprint}:1"}
    if claim.suggestion is not None and right:
        change = {
            "artifactLocation": place,
            "replacements": [
                {"deletedRegion": region, "insertedContent": {"text": claim.suggestion}}
            ],
        }
        result["fixes"] = [{"artifactChanges": [change]}]
    return result


def _message(weighed: Weighed) -> str:
    """Say the claim, why, and how it fails; where it stands when a region can't say that."""
    claim, anchor = weighed.placed.finding, weighed.placed.anchor
    parts = [claim.title, claim.why]
    if claim.scenario:
        parts.append(f"How it fails: {claim.scenario}")
    if anchor is None:
        place = " ".join(word for word in (claim.path, claim.first) if word)
        parts.append(f"It names {place}: {weighed.placed.note}." if weighed.placed.note else place)
    elif anchor.side is Side.LEFT:
        parts.append(f"This is about line {anchor.line} before the change.")
    text = "\n\n".join(part for part in parts if part)
    return _plain(text[:MAX_MESSAGE])


def _plain(text: str) -> str:
    """Return words that hold no hidden character and no link: SARIF reads ``[words](address)``."""
    return escape_hidden(text).replace("](", f"]{BREAK}(")


def _uri(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"), safe="/")
