"""What a parser says of a source file: its symbols, imports, names, and whether it parses.

The grammars are ast-grep's. It panics when it is asked for a language that it does not know, so
only the languages of the table below are asked for. Positions are git's: 1-based lines that end at
a line feed. Nothing here raises on odd source: a file that no grammar knows has no symbols.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ast_grep_py import SgNode, SgRoot

from app.core.diff import Hunk

MAX_SOURCE = 300_000
"""Characters of a file that is parsed; a larger one has no symbols.

The C++ grammar reads 25 KB a second of the worst there is, and nothing can interrupt it.
"""
MAX_SIGNATURE_LINES = 12


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function, method, class or the like.

    ``start`` is its first line, decorators included, ``head`` the first without them, ``body`` the
    one where its signature ends, ``end`` its last. ``signature`` is the text from head to body.
    """

    path: str
    name: str
    start: int
    head: int
    body: int
    end: int
    signature: str
    container: str = ""

    @property
    def qualified(self) -> str:
        """The name with those of the symbols around it: ``Stats.mean``."""
        return f"{self.container}.{self.name}" if self.container else self.name


@dataclass(frozen=True, slots=True)
class Import:
    """An import statement and the names that it binds, as far as its text tells."""

    start: int
    end: int
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Outline:
    """The symbols and imports of a file, by line."""

    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Import, ...] = ()

    def around(self, line: int) -> tuple[Symbol, ...]:
        """Return the symbols that a line is part of, outermost first."""
        return tuple(symbol for symbol in self.symbols if symbol.start <= line <= symbol.end)


def outline(path: str, text: str) -> Outline:
    """Read a file's symbols and imports; empty when its language is not known."""
    grammar = _grammar(path)
    root = _parse(grammar, text)
    if root is None or grammar is None:
        return Outline()
    return Outline(tuple(_nest(_symbols(root, grammar, path))), tuple(_imports(root, grammar)))


def symbols_in(path: str, text: str) -> tuple[Symbol, ...]:
    """List the symbols of a file in its order."""
    return outline(path, text).symbols


def boundaries(path: str, text: str) -> tuple[int, ...]:
    """List the lines on which a symbol begins."""
    return tuple(sorted({symbol.start for symbol in symbols_in(path, text)}))


def hunk_boundaries(path: str, hunk: Hunk) -> tuple[int, ...]:
    """List the indexes of a hunk's lines before which a symbol begins, as far as it shows."""
    mark = "+" if any(line.mark == "+" for line in hunk.lines) else "-"
    indexes = [at for at, line in enumerate(hunk.lines) if line.mark in {mark, " "}]
    text = "\n".join(hunk.lines[at].text for at in indexes)
    return tuple(indexes[line - 1] for line in boundaries(path, text))


def occurrences(path: str, text: str, name: str) -> tuple[int, ...] | None:
    """List the lines where a name stands as code, not in a comment or string.

    None when the file's language is not known.
    """
    root = _parse(_grammar(path), text)
    if root is None:
        return None
    if not _WORD.fullmatch(name):
        return ()
    leaves = root.find_all(regex=f"^{re.escape(name)}$")
    return tuple(sorted({_line(leaf) for leaf in leaves if _is_code(leaf)}))


def has_symbol(path: str, text: str, name: str) -> bool:
    """Tell whether a name stands in a file: as code, or as a word when no grammar knows it."""
    lines = occurrences(path, text, name)
    if lines is None:
        return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
    return bool(lines)


def parses(path: str, text: str) -> bool | None:
    """Tell whether a file parses; None when that can't be told for sure.

    A Python file parses when Python itself says so; when only the grammar accepts it, it may be of
    another version.
    """
    if len(text) > MAX_SOURCE:
        return None
    if path.endswith(".toml"):
        return _loads(tomllib.loads, text)
    if path.endswith(".json") and _loads(json.loads, text):
        return True
    grammar = _grammar(path)
    root = _parse(grammar, text)
    if root is None or grammar is None or not grammar.dependable:
        return None
    sound = root.find(kind="ERROR") is None and not any(_is_missing(leaf) for leaf in _empty(root))
    if grammar.language == "python" and _loads(_parse_python, text) != sound:
        return True if not sound else None
    return sound


# Languages.


@dataclass(frozen=True, slots=True)
class _Grammar:
    """The kinds of nodes that matter in a language.

    ``dependable`` is whether an error in the tree means one in the file: some grammars do not know
    all of their language, and C's macros are no syntax of any grammar.
    """

    language: str
    symbols: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    dependable: bool = False


_JAVASCRIPT = (
    "function_declaration",
    "generator_function_declaration",
    "class_declaration",
    "method_definition",
    "variable_declarator",
)
_TYPESCRIPT = (
    *_JAVASCRIPT,
    "abstract_class_declaration",
    "interface_declaration",
    "type_alias_declaration",
    "enum_declaration",
    "internal_module",
    "public_field_definition",
)
_C_LIKE = ("function_definition", "struct_specifier", "enum_specifier", "union_specifier")

_GRAMMARS = {
    grammar.language: grammar
    for grammar in (
        _Grammar(
            "python",
            ("function_definition", "class_definition"),
            ("import_statement", "import_from_statement"),
            dependable=True,
        ),
        _Grammar(
            "javascript", (*_JAVASCRIPT, "field_definition"), ("import_statement",), dependable=True
        ),
        _Grammar("typescript", _TYPESCRIPT, ("import_statement",), dependable=True),
        _Grammar("tsx", _TYPESCRIPT, ("import_statement",), dependable=True),
        _Grammar(
            "go",
            ("function_declaration", "method_declaration", "type_spec"),
            ("import_spec",),
            dependable=True,
        ),
        _Grammar(
            "rust",
            (
                "function_item",
                "struct_item",
                "enum_item",
                "trait_item",
                "impl_item",
                "mod_item",
                "macro_definition",
            ),
            ("use_declaration",),
            dependable=True,
        ),
        _Grammar(
            "java",
            (
                "class_declaration",
                "interface_declaration",
                "enum_declaration",
                "record_declaration",
                "method_declaration",
                "constructor_declaration",
            ),
            ("import_declaration",),
            dependable=True,
        ),
        _Grammar("c", _C_LIKE),
        _Grammar("cpp", (*_C_LIKE, "class_specifier", "namespace_definition")),
        _Grammar(
            "csharp",
            (
                "class_declaration",
                "interface_declaration",
                "struct_declaration",
                "record_declaration",
                "enum_declaration",
                "method_declaration",
                "constructor_declaration",
            ),
            ("using_directive",),
        ),
        _Grammar("ruby", ("module", "class", "method", "singleton_method")),
        _Grammar(
            "php",
            (
                "class_declaration",
                "interface_declaration",
                "trait_declaration",
                "function_definition",
                "method_declaration",
            ),
            ("namespace_use_declaration",),
        ),
        _Grammar(
            "kotlin",
            ("class_declaration", "object_declaration", "function_declaration"),
            ("import_header",),
        ),
        _Grammar(
            "swift",
            (
                "class_declaration",
                "protocol_declaration",
                "function_declaration",
                "init_declaration",
            ),
            ("import_declaration",),
        ),
        _Grammar(
            "scala",
            ("class_definition", "object_definition", "trait_definition", "function_definition"),
            ("import_declaration",),
        ),
        _Grammar("lua", ("function_declaration",)),
        _Grammar("bash", ("function_definition",)),
        _Grammar(
            "solidity",
            (
                "contract_declaration",
                "library_declaration",
                "interface_declaration",
                "function_definition",
                "modifier_definition",
                "struct_declaration",
            ),
            ("import_directive",),
        ),
        _Grammar("zig", ("function_declaration",)),
        _Grammar("dart", ("class_declaration", "method_declaration", "function_declaration")),
        _Grammar("elixir"),
        _Grammar("haskell", ("function",), ("import",)),
        _Grammar("hcl"),
        _Grammar("css"),
        _Grammar("json", dependable=True),
        _Grammar("yaml"),
    )
}

_LANGUAGES = {
    **dict.fromkeys(("py", "pyi"), "python"),
    **dict.fromkeys(("js", "mjs", "cjs", "jsx"), "javascript"),
    **dict.fromkeys(("ts", "mts", "cts"), "typescript"),
    "tsx": "tsx",
    "go": "go",
    "rs": "rust",
    "java": "java",
    **dict.fromkeys(("c", "h"), "c"),
    **dict.fromkeys(("cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu"), "cpp"),
    "cs": "csharp",
    **dict.fromkeys(("rb", "rake", "gemspec"), "ruby"),
    "php": "php",
    **dict.fromkeys(("kt", "kts"), "kotlin"),
    "swift": "swift",
    **dict.fromkeys(("scala", "sc"), "scala"),
    "lua": "lua",
    **dict.fromkeys(("sh", "bash"), "bash"),
    "sol": "solidity",
    "zig": "zig",
    "dart": "dart",
    **dict.fromkeys(("ex", "exs"), "elixir"),
    "hs": "haskell",
    **dict.fromkeys(("tf", "hcl"), "hcl"),
    "css": "css",
    "json": "json",
    **dict.fromkeys(("yml", "yaml"), "yaml"),
}


def _grammar(path: str) -> _Grammar | None:
    ending = path.rpartition("/")[2].rpartition(".")[2].lower()
    return _GRAMMARS.get(_LANGUAGES.get(ending, ""))


def _parse(grammar: _Grammar | None, text: str) -> SgNode | None:
    if grammar is None or len(text) > MAX_SOURCE:
        return None
    # Undecodable bytes came in as lone surrogates, which can't be handed on as UTF-8.
    return SgRoot(re.sub("[\ud800-\udfff]", "?", text), grammar.language).root()


# Symbols and imports.

_FUNCTION_VALUES = {"arrow_function", "function_expression", "generator_function"}
_VALUE_HOLDERS = {"variable_declarator", "public_field_definition", "field_definition"}
_WRAPPERS = {
    "decorated_definition",
    "export_statement",
    "lexical_declaration",
    "variable_declaration",
    "template_declaration",
    "type_declaration",
}
_BODIES = ("body", "class_body", "function_body", "block", "enum_class_body", "declaration_list")
_WORD = re.compile(r"[^\W\d][\w$]*|\$[\w$]+")
_LAST_OF_PATH = re.compile(r"\b[^\W\d]\w*\b(?!\s*(?:\.|::|\\|/))")
_COMMENT = re.compile(r"(?:#|//).*")
_KEYWORDS = frozenset(
    {
        "as",
        "const",
        "crate",
        "from",
        "import",
        "package",
        "pub",
        "require",
        "self",
        "static",
        "super",
        "type",
        "use",
        "using",
    }
)


def _find(root: SgNode, kinds: tuple[str, ...]) -> list[SgNode]:
    if not kinds:
        return []
    config: Any = {"rule": {"any": [{"kind": kind} for kind in kinds]}}
    return root.find_all(config)


def _symbols(root: SgNode, grammar: _Grammar, path: str) -> Iterator[tuple[SgNode, Symbol]]:
    for node in _find(root, grammar.symbols):
        value = node.field("value") if node.kind() in _VALUE_HOLDERS else node
        if value is None or (value is not node and value.kind() not in _FUNCTION_VALUES):
            continue
        name = _name(node)
        body = _body(value)
        if not name or (body is None and node.kind().endswith("_specifier")):
            continue
        outer = node.parent()
        first = outer if outer is not None and outer.kind() in _WRAPPERS else node
        text = node.text()
        signature = (
            text.partition("\n")[0] if body is None else text[: _head_length(node, value, body)]
        )
        ends = _line(node) + signature.rstrip().count("\n")
        symbol = Symbol(
            path=path,
            name=name,
            start=_line(first),
            head=_line(node),
            body=ends,
            end=max(node.range().end.line + 1, ends),
            signature=" ".join(signature.split()),
        )
        yield node, symbol


def _name(node: SgNode) -> str:
    """Read a symbol's name: from a field, through C's declarators, or from a leaf near by."""
    declarator = node
    while (inner := declarator.field("declarator")) is not None:
        declarator = inner
    named = declarator if declarator is not node else node.field("name") or node.field("type")
    if named is not None:
        return _last_word(named.text())
    leaves = (child.text() for child in _near(node) if child.kind().endswith("identifier"))
    return next(leaves, "")


def _near(node: SgNode) -> Iterator[SgNode]:
    """Walk the children and their names: where a name stands when no field tells."""
    for child in node.children():
        yield from (inner for part in (child, *child.children()) if (inner := part.field("name")))
        yield child


def _last_word(text: str) -> str:
    words = _WORD.findall(text.partition("(")[0])
    return words[-1] if words else ""


def _head_length(node: SgNode, value: SgNode, body: SgNode) -> int:
    """Count a symbol's characters before its body, without a comment that stands between."""
    start = body.range().start.index
    ends = [
        child.range().end.index
        for child in value.children()
        if child.range().start.index < start and "comment" not in child.kind()
    ]
    return max(ends, default=start) - node.range().start.index


def _body(node: SgNode) -> SgNode | None:
    body = node.field("body")
    if body is not None:
        return body
    return next((child for child in node.children() if child.kind() in _BODIES), None)


def _nest(found: Iterable[tuple[SgNode, Symbol]]) -> Iterator[Symbol]:
    """Give each symbol the name of the one around it."""
    around: list[tuple[int, str]] = []
    for node, symbol in sorted(found, key=_by_extent):
        while around and around[-1][0] <= node.range().start.index:
            around.pop()
        nested = replace(symbol, container=around[-1][1] if around else "")
        around.append((node.range().end.index, nested.qualified))
        yield nested


def _by_extent(found: tuple[SgNode, Symbol]) -> tuple[int, int]:
    extent = found[0].range()
    return extent.start.index, -extent.end.index


def _imports(root: SgNode, grammar: _Grammar) -> Iterator[Import]:
    for node in _find(root, grammar.imports):
        yield Import(_line(node), node.range().end.line + 1, _bound_names(node))


def _bound_names(node: SgNode) -> frozenset[str]:
    """Read the names that an import binds: what follows `import`, or stands before `from`."""
    text = _COMMENT.sub("", node.text())
    if node.kind() == "import_from_statement":
        text = text.partition("import")[2]
    elif node.field("source") is not None:
        text = text.partition(" from ")[0]
    # The last part of a path is bound, but Python's `import a.b` binds the first.
    pattern = _WORD if node.kind() == "import_statement" else _LAST_OF_PATH
    return frozenset(pattern.findall(text)) - _KEYWORDS


# Leaves.


def _line(node: SgNode) -> int:
    return node.range().start.line + 1


def _is_code(leaf: SgNode) -> bool:
    kind = leaf.kind()
    return leaf.is_named_leaf() and not any(word in kind for word in _NOT_CODE)


_NOT_CODE = ("string", "comment", "content", "fragment", "template_chars", "text")


def _empty(root: SgNode) -> list[SgNode]:
    """Find the nodes without text: what a parser put in where something is missing."""
    return root.find_all(regex="^$")


def _is_missing(leaf: SgNode) -> bool:
    return not leaf.is_named() or leaf.kind() == "identifier"


def _loads(parser: Any, text: str) -> bool:  # noqa: ANN401  any function that raises on bad text
    try:
        parser(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _parse_python(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another program's odd escapes
        return ast.parse(text)
