from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import (  # type: ignore[import-untyped]  # it ships no types
    Draft202012Validator,
    FormatChecker,
)

from app.core.anchors import Anchor, Placed
from app.core.diff import Side
from app.core.evidence import Rung, Weighed
from app.core.findings import Category, Finding, Severity
from app.core.sarif import MAX_RESULTS, to_sarif

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "sarif-2.1.0.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
FINDING = Finding(
    path="src/a b.py",
    first="R3",
    last="R4",
    quote="x",
    severity=Severity.MAJOR,
    category=Category.BUG,
    title="Title",
    why="Why",
    scenario="f([])",
)
ANCHOR = Anchor("src/a b.py", Side.RIGHT, 3, 4)
WEIGHED = Weighed(Placed(FINDING, ANCHOR), Rung.E1, Severity.MAJOR, ("note",), "0123456789abcdef")


def run_of(*findings: Weighed) -> dict[str, Any]:
    log = to_sarif(findings, tool_version="0.1.0", head_sha="a" * 40)
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def with_finding(**changes: Any) -> Weighed:  # noqa: ANN401 - a field of any type
    finding = replace(FINDING, **changes)
    return replace(WEIGHED, placed=Placed(finding, ANCHOR), severity=finding.severity)


def test_a_finding_is_a_result_at_its_lines_with_a_relative_encoded_address() -> None:
    run = run_of(WEIGHED)
    (result,) = run["results"]
    assert result["ruleId"] == "postil/bug"
    assert result["level"] == "error"
    assert result["message"]["text"] == "Title\n\nWhy\n\nHow it fails: f([])"
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "src/a%20b.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "endLine": 4},
    }
    assert result["partialFingerprints"] == {"primaryLocationLineHash": "0123456789abcdef:1"}
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "postil/bug"
    assert run["properties"] == {"headSha": "a" * 40}


def test_what_is_not_known_is_left_out() -> None:
    bare = replace(with_finding(scenario="", why=""), fingerprint="")
    run = run_of(bare)
    (result,) = run["results"]
    assert "partialFingerprints" not in result
    assert "fixes" not in result
    assert result["message"]["text"] == "Title"
    assert run["tool"]["driver"]["rules"][0]["properties"] == {"tags": ["bug"]}
    lost = Placed(replace(FINDING, first="", why="", scenario=""), None)
    (note,) = run_of(replace(WEIGHED, placed=lost))["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "Title\n\nsrc/a b.py"


def test_nothing_found_is_a_valid_log() -> None:
    assert run_of()["results"] == []
    assert "properties" not in to_sarif((), tool_version="0", head_sha=None)["runs"][0]


def test_rules_are_listed_once_with_their_worst_severity() -> None:
    minor = with_finding(severity=Severity.MINOR, category=Category.SECURITY)
    critical = with_finding(severity=Severity.CRITICAL, category=Category.SECURITY)
    tool = with_finding(severity=Severity.INFO, source="analyzer:ruff", rule="F401")
    run = run_of(minor, tool, critical)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["postil/security", "ruff/F401"]
    assert rules[0]["properties"]["security-severity"] == "9.5"
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]


def test_a_finding_on_a_removed_line_stands_on_the_file_and_says_so() -> None:
    finding = replace(FINDING, suggestion="x = 1")
    left = replace(WEIGHED, placed=Placed(finding, Anchor("a.py", Side.LEFT, 7, 9)))
    (result,) = run_of(left)["results"]
    assert "fixes" not in result
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert "line 9 before the change" in result["message"]["text"]


def test_a_finding_without_a_file_is_a_notification() -> None:
    lost = replace(WEIGHED, placed=Placed(FINDING, None, "the path is not part of this change"))
    run = run_of(lost)
    assert run["results"] == []
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "It names src/a b.py R3" in note["message"]["text"]
    known = replace(lost, placed=replace(lost.placed, path="src/a b.py"))
    assert len(run_of(known)["results"]) == 1


def test_a_suggestion_is_a_fix() -> None:
    (result,) = run_of(with_finding(suggestion="x = 1"))["results"]
    (change,) = result["fixes"][0]["artifactChanges"]
    assert change["replacements"][0] == {
        "deletedRegion": {"startLine": 3, "endLine": 4},
        "insertedContent": {"text": "x = 1"},
    }


def test_results_beyond_githubs_cap_are_counted() -> None:
    many = [with_finding(severity=Severity.INFO)] * MAX_RESULTS + [WEIGHED] * 2
    log = to_sarif(many, tool_version="0", head_sha=None)["runs"][0]
    assert len(log["results"]) == MAX_RESULTS
    assert log["results"][1]["level"] == "error"
    (note,) = log["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "2 more findings are left out."


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a:b/c.py", "a%3Ab/c.py"),
        ("é?#[x].py", "%C3%A9%3F%23%5Bx%5D.py"),
        ("100%.py", "100%25.py"),
        ("\udcff.py", "%FF.py"),
    ],
)
def test_an_address_is_percent_encoded(path: str, uri: str) -> None:
    odd = replace(WEIGHED, placed=Placed(FINDING, replace(ANCHOR, path=path)))
    (result,) = run_of(odd)["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_words_hold_no_link_and_no_hidden_character() -> None:
    (result,) = run_of(with_finding(title="[x](http://x.example) \u202e"))["results"]
    assert "](" not in result["message"]["text"]
    assert "<U+202E>" in result["message"]["text"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_words_make_a_valid_log(title: str, path: str) -> None:
    run_of(
        with_finding(title=title, path=path),
        replace(WEIGHED, placed=Placed(replace(FINDING, title=title, path=path), None, "lost")),
    )
