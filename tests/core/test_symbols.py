"""A parser's word on a file is read in each language, and odd source never raises."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.diff import Hunk, Line
from app.core.symbols import (
    _GRAMMARS,
    _LANGUAGES,
    MAX_SOURCE,
    boundaries,
    has_symbol,
    hunk_boundaries,
    occurrences,
    outline,
    parses,
    symbols_in,
)

PYTHON = '''\
import os
from shapes import Box as Square


@final
class Stats(Base):
    """Numbers."""

    @property
    def mean(
        self,
        xs: list[int],
    ) -> float:
        # mean of os
        return os.path("mean") + Square(xs)


async def load(): ...
'''

SOURCES = {
    "a.py": ("class A:\n    def m(self, x): pass\n", ["A", "A.m"]),
    "a.js": ("class A { m(x) { return 1 } }\nconst g = (a) => 1\nlet n = 1\n", ["A", "A.m", "g"]),
    "a.ts": ("interface I { m(): void }\nexport class A { p = () => 1 }\n", ["I", "A", "A.p"]),
    "a.tsx": ("export function C(p: P) { return <div/> }\n", ["C"]),
    "a.go": ("package a\nfunc (s *S) M(a int) error { return nil }\n", ["M"]),
    "a.rs": ("impl T for S { fn m(&self) { } }\nstruct Q { a: i32 }\n", ["S", "S.m", "Q"]),
    "A.java": ("class A { A() {} int m(int a) { return 1; } }\n", ["A", "A.A", "A.m"]),
    "a.c": ("static int *f(int a) { return 0; }\nint g(void);\n", ["f"]),
    "a.cpp": ("namespace n { class A { int m() { return 1; } }; }\n", ["n", "n.A", "n.A.m"]),
    "a.cs": ("class A { public int M(int a) { return 1; } }\n", ["A", "A.M"]),
    "a.rb": ("module M\n  class A\n    def m(a)\n    end\n  end\nend\n", ["M", "M.A", "M.A.m"]),
    "a.php": ("<?php\nclass A { function m($a) { return 1; } }\n", ["A", "A.m"]),
    "a.kt": ("object O {\n  fun f(a: Int): Int { return 1 }\n}\n", ["O", "O.f"]),
    "a.swift": ("class C {\n  func m(a: Int) -> Int { return 1 }\n}\n", ["C", "C.m"]),
    "a.scala": ("object O { def z(a: Int): Int = 1 }\n", ["O", "O.z"]),
    "a.lua": ("function M.h(a) return 1 end\n", ["h"]),
    "a.sh": ("f() {\n  echo 1\n}\n", ["f"]),
    "a.sol": ("contract A { function m(uint a) public { } }\n", ["A", "A.m"]),
    "a.zig": ("pub fn f(a: i32) i32 { return 1; }\n", ["f"]),
    "a.dart": (
        "class A { int m(int a) { return 1; } }\nint f() { return 1; }\n",
        ["A", "A.m", "f"],
    ),
    "a.hs": ("module A where\nf x = x\n", ["f"]),
}


@pytest.mark.parametrize("path", SOURCES)
def test_symbols_are_named_with_what_they_stand_in(path: str) -> None:
    text, names = SOURCES[path]
    assert [symbol.qualified for symbol in symbols_in(path, text)] == names


def test_a_symbol_knows_its_decorators_its_signature_and_its_end() -> None:
    stats, mean, load = symbols_in("stats.py", PYTHON)
    assert (stats.start, stats.head, stats.body, stats.end) == (5, 6, 6, 15)
    assert (mean.start, mean.head, mean.body, mean.end) == (9, 10, 13, 15)
    assert mean.signature == "def mean( self, xs: list[int], ) -> float:"
    assert load.signature == "async def load():"
    assert boundaries("stats.py", PYTHON) == (5, 9, 18)


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("a.py", "import os.path, sys as system\n", {"os", "path", "sys", "system"}),
        (
            "a.py",
            "from shapes.flat import (  # noqa: E1\n    Box as Square,\n)\n",
            {"Box", "Square"},
        ),
        ("a.js", "import Vue, { ref as r } from 'vue/dist'\n", {"Vue", "ref", "r"}),
        ("a.js", "import 'side/effect'\n", {"side", "effect"}),
        ("a.go", 'package a\nimport "net/http"\n', {"http"}),
        ("a.rs", "use std::io::{Read, Write as W};\n", {"Read", "Write", "W"}),
        ("A.java", "import static a.b.C;\nclass A {}\n", {"C"}),
        ("a.php", "<?php\nuse A\\B\\C;\n", {"C"}),
        ("a.kt", "import a.b.C\n", {"C"}),
    ],
)
def test_an_import_tells_the_names_that_it_binds(path: str, text: str, names: set[str]) -> None:
    [found] = outline(path, text).imports
    assert set(found.names) == names


def test_an_import_knows_its_lines() -> None:
    assert [(one.start, one.end) for one in outline("stats.py", PYTHON).imports] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("language", _GRAMMARS)
def test_every_kind_of_the_table_is_known_to_its_grammar(language: str) -> None:
    # A kind that a grammar does not know raises.
    ending = next(ending for ending, named in _LANGUAGES.items() if named == language)
    outline(f"file.{ending}", "x = 1\n")


def test_every_ending_has_a_grammar() -> None:
    assert set(_LANGUAGES.values()) == set(_GRAMMARS)


@pytest.mark.parametrize("path", ["Makefile", "a.unknown", "x.sql", "noending", ".py/x", ""])
def test_a_file_of_no_known_language_has_no_symbols(path: str) -> None:
    assert outline(path, "def f(): pass\n").symbols == ()
    assert occurrences(path, "f", "f") is None
    assert parses(path, "f") is None


def test_a_name_is_found_as_code_and_not_in_comments_or_strings() -> None:
    assert occurrences("stats.py", PYTHON, "mean") == (10,)
    assert occurrences("stats.py", PYTHON, "os") == (1, 15)
    assert occurrences("stats.py", PYTHON, "median") == ()
    assert occurrences("stats.py", PYTHON, "x y") == ()
    assert has_symbol("stats.py", PYTHON, "Square")
    assert not has_symbol("stats.py", PYTHON, "Numbers")
    assert has_symbol("query.sql", "select mean from t", "mean")
    assert not has_symbol("query.sql", "select means from t", "mean")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "def f(:\n  pass\n"),
        ("a.py", "def f()\n  pass\n"),
        ("a.py", "x = (1\n"),
        ("a.js", "function f( { }"),
        ("a.ts", "let x: = 1"),
        ("a.go", "package a\nfunc f() { x := 1 \n"),
        ("a.rs", "fn f() { let x = 1 }"),
        ("A.java", "class A { void f() { int x = 1 } }"),
        ("a.json", '{"a": 1,}'),
        ("a.toml", "a = \n"),
        ("a.toml", "a = " + "[" * 5_000),
    ],
)
def test_a_broken_file_does_not_parse(path: str, text: str) -> None:
    assert parses(path, text) is False


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", PYTHON),
        ("a.py", ""),
        ("a.py", 'x = "\\d"\n'),
        ("a.json", '{"a": [1]}'),
        ("a.toml", "a = 1\n"),
        ("a.js", "x => { return 1 }\n"),
        ("a.go", "package a\n"),
        (__file__, Path(__file__).read_text()),
    ],
)
def test_a_sound_file_parses(path: str, text: str) -> None:
    assert parses(path, text) is True


@pytest.mark.parametrize(
    ("path", "text"),
    [("a.c", "MACRO(x) {"), ("a.kt", "class A("), ("a.py", "print 'of another Python'\n")],
)
def test_what_a_grammar_can_not_tell_for_sure_it_does_not_tell(path: str, text: str) -> None:
    assert parses(path, text) is None


def test_the_places_to_cut_a_hunk_are_where_its_symbols_begin() -> None:
    texts = ["import os", "def f():", "    pass", "@dec", "class A:", "    x = 1"]
    lines = [Line("+", text, None, number) for number, text in enumerate(texts, 1)]
    gone = Line("-", "def old(): pass", 1, None)
    hunk = Hunk(1, 1, 1, 6, (lines[0], gone, *lines[1:]))
    assert hunk_boundaries("a.py", hunk) == (2, 4)
    deleted = tuple(Line("-", text, number, None) for number, text in enumerate(texts, 1))
    assert hunk_boundaries("a.py", Hunk(1, 6, 0, 0, deleted)) == (1, 3)


def test_a_file_that_would_take_long_is_not_parsed() -> None:
    large = "def f(): pass\n" * (MAX_SOURCE // 10)
    assert symbols_in("a.py", large) == ()
    assert occurrences("a.py", large, "f") is None
    assert parses("a.py", large) is None


@pytest.mark.parametrize("path", ["a.py", "a.js", "a.cpp", "a.json", "a.rb"])
@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "{" * 50_000,
        "a<b<" * 2_000,
        "\0" * 100,
        "\ud800def",
        "\r\r\r",
        "\ufeff",
        "'",
    ],
)
def test_odd_source_never_raises(path: str, text: str) -> None:
    for symbol in symbols_in(path, text):
        assert 1 <= symbol.start <= symbol.head <= symbol.body <= symbol.end
    occurrences(path, text, "a")
    parses(path, text)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["a.py", "a.ts", "a.go", "a.c", "a.kt", "a.hs", "a.sol"]),
    st.lists(
        st.sampled_from(["def f(", "class A", "{", "}", "(", ")", ":", "\n", " ", "fn", "=", "x,"]),
        max_size=40,
    ),
)
def test_any_heap_of_words_has_symbols_within_its_lines(path: str, words: list[str]) -> None:
    text = "".join(words)
    for symbol in symbols_in(path, text):
        assert 1 <= symbol.start <= symbol.head <= symbol.body <= symbol.end
        assert symbol.end <= text.count("\n") + 1
