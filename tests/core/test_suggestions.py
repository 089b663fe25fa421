from __future__ import annotations

import pytest

from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.findings import Category, Finding, Severity
from app.core.suggestions import check_suggestion

HEAD = """def mean(xs):
    total = sum(xs)
    return total / len(xs)

URL = "https://known.example/a"
"""


def why_not(
    suggestion: str | None,
    *,
    tags: tuple[str, str] = ("R3", "R3"),
    lines: tuple[int, int] = (3, 3),
    head: str | None = HEAD,
    path: str = "src/stats.py",
    side: Side = Side.RIGHT,
) -> str | None:
    finding = Finding(
        path,
        *tags,
        "",
        Severity.MAJOR,
        Category.BUG,
        title="t",
        why="w",
        suggestion=suggestion,
    )
    return check_suggestion(finding, Anchor(path, side, *lines), head, path)


GOOD = "    return total / len(xs) if xs else 0.0"


@pytest.mark.parametrize(
    "suggestion",
    [
        GOOD,
        GOOD + "\n",
        "    if not xs:\n        return 0.0\n    return total / len(xs)",
        "    # see https://known.example/a\n    return total",
    ],
)
def test_a_sound_suggestion_may_be_offered(suggestion: str) -> None:
    assert why_not(suggestion) is None


def test_a_range_may_be_replaced() -> None:
    assert why_not("    return 1", tags=("R2", "R3"), lines=(2, 3)) is None
    assert why_not("    return 1", tags=("R2", ""), lines=(2, 2)) is None


@pytest.mark.parametrize(
    ("suggestion", "reason"),
    [
        (None, "there is none"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("    return total / len(xs)", "it changes nothing"),
        ("    x = 1\n" * 21, "it is longer than 20 lines"),
        ("    x = '" + "a" * 4_000 + "'", "it is longer than 4000 characters"),
        ("    return 1  # \u202e", "it holds hidden characters"),
        ("    return '\u200b'", "it holds hidden characters"),
        ("    key = '<AWS_ACCESS_KEY_1>'", "it holds a placeholder"),
        ("    x = '<U+202E>'", "it holds a placeholder"),
        ("    # ... rest of the function", "it leaves code out"),
        ("    # existing code\n    return 1", "it leaves code out"),
        ("```\n<img src=//x>\n```suggestion\nevil", "it holds a code fence"),
        ("    key = 'AKIA" + "ABCDEFGHIJKLMNOP'", "it holds a secret"),
        ("    get('https://evil.example/x')", "it brings in an address"),
        ("    get('https://known.example/b')", "it brings in an address"),
        ("    get('www.evil.example')", "it brings in an address"),
        ("/approve\n    return 1", "a line of it could be a command"),
        ("    return (total", "the file would not parse with it"),
        ("return total", "it is indented unlike the line it replaces"),
        ("\treturn total", "it is indented unlike the line it replaces"),
        ("    if xs:\n\treturn total", "it mixes tabs and spaces"),
        ("    return 1\r\n    return 2", "carriage return"),
    ],
)
def test_an_unsound_suggestion_is_not_offered(suggestion: str | None, reason: str) -> None:
    assert reason in (why_not(suggestion) or "")


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/x.yml",
        ".github/actions/a/index.js",
        "uv.lock",
        "web/package-lock.json",
        "package.json",
        "pyproject.toml",
        "requirements-dev.txt",
        "go.mod",
        "go.sum",
        "Dockerfile",
        "deploy/api.Dockerfile",
        ".gitlab-ci.yml",
        ".circleci/config.yml",
        "Jenkinsfile",
        "setup.py",
        "Makefile",
        ".pre-commit-config.yaml",
        ".postil.toml",
    ],
)
def test_no_suggestion_for_files_that_run_or_choose_code(path: str) -> None:
    assert why_not(GOOD, path=path) == (
        "it would change a workflow, build file, manifest or lock file"
    )


def test_a_suggestion_needs_the_very_lines_it_names() -> None:
    assert why_not(GOOD, side=Side.LEFT) == "it would replace lines that are gone"
    assert why_not(GOOD, head=None) == "the lines it replaces are not at hand"
    assert why_not(GOOD, tags=("R2", "R2")) == "the lines it names are not the ones it quotes"
    assert why_not(GOOD, tags=("R3", "R9")) == "the lines it names are not the ones it quotes"
    assert why_not(GOOD, tags=("R99", "R99"), lines=(99, 99)) == (
        "the file ends before the lines it replaces"
    )


def test_a_file_with_carriage_returns_gets_no_suggestion() -> None:
    for ending in ("\r\n", "<U+000D>\n"):
        assert "carriage return" in (why_not(GOOD, head=HEAD.replace("\n", ending)) or "")


def test_a_file_indented_with_tabs_keeps_its_tabs() -> None:
    head = HEAD.replace("    ", "\t")
    assert why_not("\treturn 0", head=head) is None
    assert why_not("\tif xs:\n        return 0", head=head) == "it mixes tabs and spaces"


def test_an_unindented_place_takes_the_files_indentation() -> None:
    spaces, tabs = "def f():\n    return 1\n\t\n", "def f():\n\treturn 1"
    assert why_not(spaces, tags=("R5", "R5"), lines=(5, 5)) is None
    assert why_not(tabs, tags=("R5", "R5"), lines=(5, 5)) == "it mixes tabs and spaces"


def test_a_finding_without_lines_has_no_suggestion() -> None:
    finding = Finding("a.py", "", "", "", Severity.MAJOR, Category.BUG, "t", "w", suggestion=GOOD)
    assert check_suggestion(finding, None, HEAD, "a.py") == "the lines it replaces are not at hand"


def test_a_language_without_a_parser_is_judged_by_the_rest() -> None:
    assert why_not("    return (total", path="a.unknown") is None
