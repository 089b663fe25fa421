from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from app.adapters.analyzers.ruff import RUFF
from app.adapters.analyzers.ruff_rules import RULES
from app.adapters.analyzers.tool import find_program
from app.core.findings import Category, Finding, Severity

Analyze = Callable[..., list[Finding]]


def spots(findings: list[Finding]) -> set[tuple[str | None, str]]:
    return {(finding.rule, finding.first) for finding in findings}


def test_defects_are_found_on_their_lines(analyze: Analyze) -> None:
    found = analyze(
        RUFF,
        {
            "src/a.py": "def total(items=[]):\n    items.append(1)\n    return sum(item)\n",
            "src/b.py": "import yaml\n\ndef load(text):\n    return yaml.load(text)\n",
        },
    )

    assert {(f.path, f.rule, f.first, f.severity) for f in found} == {
        ("src/a.py", "B006", "R1", Severity.MAJOR),
        ("src/a.py", "F821", "R3", Severity.MAJOR),
        ("src/b.py", "S506", "R4", Severity.MAJOR),
    }
    undefined = next(f for f in found if f.rule == "F821")
    assert undefined.quote == "    return sum(item)"
    assert undefined.title == "Undefined name `item`"
    assert undefined.source == "analyzer:ruff"
    assert undefined.why.endswith("(ruff: F821)")


def test_a_file_that_does_not_parse_is_critical(analyze: Analyze) -> None:
    (found,) = analyze(RUFF, {"a.py": "x = 1\ny = = 2\n"})

    assert (found.first, found.severity) == ("R2", Severity.CRITICAL)


@pytest.mark.parametrize(
    "text",
    [
        "# ruff: noqa\nx = missing\n",
        "# flake8: noqa\nx = missing\n",
        "\nx = missing  # noqa\n",
        "\nx = missing  # noqa: F821\n",
        "\nx = missing  # ruff: ignore[F821]\n",
        "# ruff: disable[F821]\nx = missing\n# ruff: enable[F821]\n",
        "# ruff: file-ignore[F821]\nx = missing\n",
    ],
)
def test_no_comment_hides_a_defect(analyze: Analyze, text: str) -> None:
    assert ("F821", "R2") in spots(analyze(RUFF, {"a.py": text}))


def test_an_import_that_is_handed_on_is_left_alone(analyze: Analyze) -> None:
    texts = {
        "a.py": "import os  # noqa: F401\nimport sys\n",
        "pkg/__init__.py": "from pkg.a import b\n",
    }

    assert [(f.path, f.first) for f in analyze(RUFF, texts)] == [("a.py", "R2")]


def test_a_safe_fix_of_whole_lines_is_a_suggestion(analyze: Analyze) -> None:
    (found,) = analyze(RUFF, {"a.py": "def f(x):\n    return x is 'ä' \n"})

    assert (found.first, found.last) == ("R2", "R2")
    assert found.suggestion == "    return x == 'ä' "


def test_an_unsafe_fix_or_a_removed_line_is_no_suggestion(analyze: Analyze) -> None:
    found = analyze(RUFF, {"a.py": "import os\nx = 1\n\ndef f():\n    y = print()\n"})

    assert spots(found) == {("F401", "R1"), ("F841", "R5")}
    assert all(finding.suggestion is None for finding in found)


def test_lines_are_gits_where_ruff_counts_a_lone_carriage_return(analyze: Analyze) -> None:
    found = analyze(RUFF, {"a.py": "x = 1\ry = 2\rz = 3\nq = missing\r\nr = gone\n"})

    assert spots(found) == {("F821", "R2"), ("F821", "R3")}
    assert {f.quote for f in found} == {"q = missing\r", "r = gone"}


def test_a_word_in_quotes_is_not_an_undefined_name(analyze: Analyze) -> None:
    text = "from .own import Literal\n\nMode: Literal['inline', \"auto\"] = 'auto'\n"

    assert analyze(RUFF, {"a.py": text}) == []


def test_security_rules_whisper_in_tests(analyze: Analyze) -> None:
    text = "import yaml\n\nyaml.load('x')\n"
    found = analyze(RUFF, {"src/a.py": text, "tests/test_a.py": text})

    assert {f.path: f.severity for f in found} == {
        "src/a.py": Severity.MAJOR,
        "tests/test_a.py": Severity.INFO,
    }
    assert {f.category for f in found} == {Category.SECURITY}


def test_a_script_without_an_ending_is_known_by_its_first_line(analyze: Analyze) -> None:
    texts = {"bin/run": "#!/usr/bin/env -S python3 -u\nx = missing\n", "bin/other": "x = missing\n"}

    assert [f.path for f in analyze(RUFF, texts)] == ["bin/run"]


def test_dependencies_of_fastapi_in_defaults_are_its_way(analyze: Analyze) -> None:
    text = "from fastapi import Depends\n\ndef route(user=Depends(print)):\n    return user\n"

    assert analyze(RUFF, {"a.py": text}) == []


def test_every_rule_asked_for_exists_and_is_stable() -> None:
    program = find_program("ruff")
    assert program is not None
    listed = subprocess.run(
        [*program, "rule", "--all", "--output-format=json"], capture_output=True, check=True
    )
    stable = {rule["code"] for rule in json.loads(listed.stdout) if "Stable" in rule["status"]}

    assert set(RULES) - stable == set()
