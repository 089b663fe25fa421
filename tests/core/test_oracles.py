from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.findings import Category, Finding, Severity
from app.core.oracles import (
    Case,
    Ruling,
    is_manifest,
    read_manifests,
    rule_on_syntax,
    rule_on_undefined,
    rule_on_unused,
    rule_on_versions,
)


def case(
    title: str,
    text: str | None = "",
    line: int = 1,
    *,
    path: str = "a.py",
    why: str = "",
    manifests: dict[str, str] | None = None,
) -> Case:
    finding = Finding(
        path, f"R{line}", f"R{line}", "", Severity.MAJOR, Category.BUG, title=title, why=why
    )
    return Case(finding, path, text, range(line, line + 1), read_manifests(manifests or {}))


def agrees(ruling: Ruling | None) -> bool | str | None:
    return "silent" if ruling is None else ruling.agrees


# Syntax.


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Syntax error in f()", "def f(:\n", True),
        ("Syntax error in f()", "def f(): ...\n", False),
        ("Missing closing parenthesis", "x = (1\n", True),
        ("Unterminated string", "x = '1'\n", False),
        ("This does not parse", "x = '\\d'\n", False),
        ("Does not parse negative numbers", "x = 1\n", "silent"),
        ("SQL syntax error in the query", "x = 1\n", "silent"),
        ("Syntax error on empty input", "x = 1\n", "silent"),
        ("Unterminated string when the name has a quote", "x = 1\n", "silent"),
        ("Missing closing bracket in the generated HTML", "x = 1\n", "silent"),
        ("Division by zero", "def f(:\n", "silent"),
        ("Syntax error in f()", None, "silent"),
        ("Syntax error in f()", "x = a<U+200B>b\n", "silent"),
        ("Syntax error in f()", "x = 1<U+000D>\ny = 2<U+000D>\n", False),
    ],
)
def test_a_claim_of_a_syntax_error_is_checked_by_parsing(
    title: str, text: str | None, expected: object
) -> None:
    assert agrees(rule_on_syntax(case(title, text))) == expected


@pytest.mark.parametrize(
    "title",
    [
        *(f"{word} parenthesis" for word in ("Unbalanced", "Missing closing", "Missing opening")),
        *(f"Unbalanced {word}" for word in ("brackets", "braces", "quotes")),
        *(f"Missing closing {word}" for word in ("bracket", "brace", "quote")),
        *(f"Unterminated {word}" for word in ("string", "literal", "comment")),
        *(
            f"The file {words} parse"
            for words in ("does not", "doesn't", "won't", "will not", "cannot", "can't", "fails to")
        ),
        *(f"{word} does not compile" for word in ("The module", "The code", "This")),
        *("Invalid syntax", "SyntaxError in mean()"),
    ],
)
def test_a_plain_claim_about_syntax_is_known_by_its_words(title: str) -> None:
    assert agrees(rule_on_syntax(case(title, "x = 1\n"))) is False


@pytest.mark.parametrize(
    "words",
    [
        *("SQL", "query", "queries", "regex", "regular expression", "pattern", "JSON", "YAML"),
        *("TOML", "XML", "HTML", "CSS", "Markdown", "template", "shell", "command", "format"),
        *("URL", "input", "argument", "value", "user", "runtime", "generated", "output"),
        *("that emits", "that produces", "for x", "on x", "with x", "may happen", "if x"),
    ],
)
def test_a_claim_about_some_other_syntax_is_not_ruled_on(words: str) -> None:
    assert rule_on_syntax(case(f"Syntax error {words}", "x = 1\n")) is None


def test_a_language_that_nobody_can_parse_is_not_ruled_on() -> None:
    assert rule_on_syntax(case("Syntax error", "((((", path="a.unknown")) is None


# Names.

MODULE = """import os
import sys as system
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from x import Late
def used(a, b):
    c = a
    d = os.path
    return undefined_name + late_one + Late
late_one = 1
def other():
    e = 1
    e = 2
    return e, len
"""


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("undefined_name", 9, True),
        ("os", 8, False),
        ("late_one", 9, "silent"),
        ("Late", 9, "silent"),
        ("len", 14, False),
        ("undefined_name", 8, "silent"),
        ("never_written", 9, "silent"),
    ],
)
def test_a_claim_of_an_undefined_name_is_checked_against_the_bindings(
    name: str, line: int, expected: object
) -> None:
    title = f"`{name}` is not defined"
    assert agrees(rule_on_undefined(case(title, MODULE, line))) == expected


@pytest.mark.parametrize(
    "title",
    [
        "`undefined_name` may be undefined",
        "`undefined_name` is not defined when `x` is empty",
        "undefined_name is not defined",
        "`undefined_name` and `other_name` are not defined",
        "The result is wrong for `undefined_name`",
    ],
)
def test_a_claim_that_depends_on_something_is_not_ruled_on(title: str) -> None:
    assert rule_on_undefined(case(title, MODULE, 9)) is None


@pytest.mark.parametrize(
    "words",
    ["is undefined", "is not imported", "is not declared", "is never defined", "isn't defined"],
)
def test_a_plain_claim_about_a_name_is_known_by_its_words(words: str) -> None:
    assert agrees(rule_on_undefined(case(f"`undefined_name` {words}", MODULE, 9))) is True


@pytest.mark.parametrize(
    "text",
    [
        "f = undefined_name\nundefined_name = 1\n",
        "print(undefined_name)\nfor undefined_name in (): ...\n",
        "print(undefined_name)\ntry: ...\nexcept E as undefined_name: ...\n",
        "print(undefined_name)\nmatch x:\n    case {**undefined_name}: ...\n",
        "print(undefined_name)\nmatch x:\n    case [*undefined_name]: ...\n",
        "print(undefined_name)\nmatch x:\n    case y as undefined_name: ...\n",
        "print(undefined_name)\nclass undefined_name: ...\n",
        "print(undefined_name)\nlambda undefined_name: 1\n",
        "print(undefined_name)\nimport undefined_name.x\n",
        "print(undefined_name)\nexec('x')\n",
    ],
)
def test_a_name_that_is_bound_somewhere_is_not_called_undefined(text: str) -> None:
    assert rule_on_undefined(case("`undefined_name` is not defined", text, 1)) is None


def test_a_name_that_is_deleted_is_not_ruled_on() -> None:
    assert rule_on_undefined(case("`os` is not defined", "import os\ndel os\nos.path\n", 3)) is None


def test_a_file_that_binds_unseen_names_is_not_ruled_on() -> None:
    text = "from x import *\nprint(undefined_name)\n"
    assert rule_on_undefined(case("`undefined_name` is not defined", text, 2)) is None


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("os", 1, False),
        ("system", 2, True),
        ("b", 6, True),
        ("c", 7, True),
        ("d", 8, True),
        ("a", 6, False),
        ("e", 12, "silent"),
        ("other", 11, "silent"),
        ("os", 5, "silent"),
    ],
)
def test_a_claim_of_an_unused_name_is_checked_against_its_uses(
    name: str, line: int, expected: object
) -> None:
    assert agrees(rule_on_unused(case(f"`{name}` is never used", MODULE, line))) == expected


def test_a_name_that_a_string_may_use_is_not_ruled_on() -> None:
    text = "import os\n__all__ = ['os']\n"
    assert rule_on_unused(case("Unused import `os`", text)) is None
    assert rule_on_unused(case("Unused import `os`", "import os\n", path="p/__init__.py")) is None
    text = "x = 1\ndef f():\n    global x\n    x = 2\n"
    assert rule_on_unused(case("`x` is never used", text, 4)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import { a } from 'x';\nconsole.log(1);\n", True),
        ("import { a } from 'x';\na();\n", False),
        ("import { a } from 'x'; a();\n", True),
    ],
)
def test_an_unused_import_is_checked_in_other_languages(text: str, expected: object) -> None:
    assert agrees(rule_on_unused(case("Unused import `a`", text, path="a.ts"))) == expected


# Versions.

MANIFESTS = {
    "uv.lock": '[[package]]\nname = "pydantic"\nversion = "2.14.3"\n\n'
    '[[package]]\nname = "Flask_Login"\nversion = "0.6"\n',
    "pyproject.toml": '[project]\nrequires-python = ">=3.11"\ndependencies = ["httpx>=0.27"]\n',
    "requirements.txt": "requests==2.31.0 ; python_version > '3'\npydantic>=1\n# c\n-r x\n",
    "web/package.json": '{"dependencies": {"react": "^18.2.0"}, "engines": {"node": ">=20"}}',
    "web/package-lock.json": '{"packages": {"": {}, "node_modules/@a/b": {"version": "1.2.3"}}}',
    "Cargo.lock": '[[package]]\nname = "serde"\nversion = "1.0.200"\n',
    "go.mod": "module x\n\ngo 1.22\n\nrequire (\n\tgithub.com/a/b v1.4.0\n)\n",
}


@pytest.mark.parametrize(
    ("words", "path", "expected"),
    [
        ("`model_validate` requires `pydantic` 2.0", "a.py", False),
        ("`model_validate` requires `pydantic>=2.0`", "a.py", False),
        ("This needs pydantic 3.0", "a.py", True),
        ("added in pydantic v3", "a.py", True),
        ("only available since flask-login 0.5.0", "a.py", False),
        ("`match` requires Python 3.10", "a.py", False),
        ("`type` statements need Python 3.12", "a.py", True),
        ("deprecated since requests 3.0", "a.py", False),
        ("removed in requests 2.0", "a.py", True),
        ("removed in httpx 1.0", "a.py", None),
        ("requests 2.31 does not exist", "a.py", False),
        ("requests 2.99 does not exist", "a.py", None),
        ("The package `requests` does not exist", "a.py", False),
        ("`requests` is not installed", "a.py", False),
        ("`nosuch` is not installed", "a.py", "silent"),
        ("requires `nosuch` 1.0", "a.py", None),
        ("requires `nosuch>=1.0`", "a.py", None),
        ("requires nosuch version 1.0", "a.py", None),
        ("requires nosuch 1.0", "a.py", "silent"),
        ("This loop needs about 100 rounds, requires exactly 2.5 s", "a.py", "silent"),
        ("requires react 19", "a.tsx", True),
        ("requires react 17.0", "a.tsx", False),
        ("requires Node.js 18", "a.js", False),
        ("removed in @a/b 1.0", "a.js", True),
        ("requires serde 1.0.100", "a.rs", False),
        ("requires github.com/a/b v1.5", "a.go", True),
        ("requires Go 1.21", "a.go", False),
        ("requires `pydantic` 2.0", "a.js", None),
        ("requires a lock", "a.py", "silent"),
        ("needs 3 arguments", "a.py", "silent"),
    ],
)
def test_a_claim_about_a_version_is_checked_against_what_is_locked(
    words: str, path: str, expected: object
) -> None:
    for asked in (case(words, path=path, manifests=MANIFESTS),):
        assert agrees(rule_on_versions(asked)) == expected
    told = case("Wrong version", path=path, why=words, manifests=MANIFESTS)
    assert agrees(rule_on_versions(told)) == expected


def test_where_manifests_differ_nothing_is_ruled() -> None:
    two = {"a/requirements.txt": "numpy==1.26\n", "b/requirements.txt": "numpy==2.1\n"}
    for words in ("requires `numpy` 2.0", "removed in `numpy` 2.0"):
        assert agrees(rule_on_versions(case(words, manifests=two))) is None


def test_a_lock_file_is_believed_before_a_manifest() -> None:
    both = {"uv.lock": MANIFESTS["uv.lock"], "requirements.txt": "pydantic>=1\n"}
    assert agrees(rule_on_versions(case("requires `pydantic` 2.0", manifests=both))) is False
    ruling = rule_on_versions(case("requires `pydantic` 3.0", manifests=both))
    assert ruling == Ruling(agrees=True, note="pydantic is at 2.14.3 by uv.lock")
    loose = {"requirements.txt": "pydantic>=1\n"}
    ruling = rule_on_versions(case("requires `pydantic` 3.0", manifests=loose))
    assert ruling == Ruling(agrees=True, note="pydantic may be 1 by requirements.txt")


@pytest.mark.parametrize(
    ("name", "text", "listed"),
    [
        ("poetry.lock", '[[package]]\nname = "a"\nversion = "1.2"\n', "pypi:a"),
        ("yarn.lock", '"@x/a@^1.0.0", "@x/a@^1":\n  version "1.2.0"\n', "npm:@x/a"),
        ("yarn.lock", 'a@^1.0.0:\n  version "1.2.0"\n', "npm:a"),
        ("pnpm-lock.yaml", "packages:\n\n  '@x/a@1.2.0':\n    resolution: {}\n", "npm:@x/a"),
        ("pnpm-lock.yaml", "packages:\n\n  /a@1.2.0(b@1):\n    resolution: {}\n", "npm:a"),
        ("Gemfile.lock", "GEM\n  specs:\n    a (1.2)\n      b (>= 1)\n", "gem:a"),
        ("Cargo.toml", '[dependencies]\na = { version = "1.2" }\n', "cargo:a"),
        ("composer.lock", '{"packages": [{"name": "x/a", "version": "v1.2"}]}', "composer:x/a"),
        ("requirements-dev.txt", "a[b] == 1.2\n", "pypi:a"),
    ],
)
def test_lock_files_of_every_kind_are_read(name: str, text: str, listed: str) -> None:
    packages = read_manifests({f"some/{name}": text})
    assert [entry.version for entry in packages[listed]] == [(1, 2)]
    assert is_manifest(f"some/{name}")


@pytest.mark.parametrize("name", [*MANIFESTS, "yarn.lock", "pnpm-lock.yaml", "composer.lock"])
@given(text=st.text() | st.sampled_from(["[]", "{}", "null", '{"packages": 1}', "package = 1"]))
def test_a_manifest_that_can_not_be_read_says_nothing(name: str, text: str) -> None:
    read_manifests({name: text})


def test_deeply_nested_manifests_say_nothing() -> None:
    assert read_manifests({"package.json": "[" * 100_000}) == {}
    assert read_manifests({"package.json": json.dumps({"dependencies": {"a": None}})}) == {}
