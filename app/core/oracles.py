"""Oracles: what can be settled about a claim without asking anybody.

Each takes the words of a claim and the code it is about, and rules only when it is sure: what a
parser, the bindings of a Python file, or a lock file says. Nothing is run or imported.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from app.core.findings import Finding
from app.core.symbols import MAX_SOURCE, occurrences, parses

MAX_MANIFEST: Final = 10_000_000
"""Characters of a lock file that is read for a claim's sake."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an oracle says; ``agrees`` is None when it can't settle a claim of its kind."""

    agrees: bool | None
    note: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a manifest says of a package: exactly ``version``, or that and anything newer."""

    path: str
    version: tuple[int, ...]
    exact: bool


Packages = Mapping[str, tuple[Listed, ...]]
"""By ecosystem and name: ``pypi:requests``."""


@dataclass(frozen=True, slots=True)
class Case:
    """A claim and what is known about the place it is made of.

    ``text`` is the whole file on the claim's side, None when unknown; ``lines`` are the anchored
    numbers.
    """

    finding: Finding
    path: str
    text: str | None
    lines: range
    packages: Packages


# Syntax.

_SYNTAX: Final = re.compile(
    r"\b(?:syntax ?error|invalid syntax|unbalanced (?:paren|brac|quot)"
    r"|unterminated (?:string|literal|comment)|missing (?:closing|opening) (?:paren|brac|quot)"
    r"|(?:file|module|code|this) (?:does not|doesn't|won't|will not|cannot|can't|fails to)"
    r" (?:parse|compile))",
    re.IGNORECASE,
)
_OTHER_SYNTAX: Final = re.compile(
    r"\b(?:sql|quer\w+|regex\w*|regular|pattern|json|yaml|toml|xml|html|css|markdown|template\w*"
    r"|shell|command|format|url|input\w*|argument\w*|value\w*|user|runtime|generated|output|emits?"
    r"|produces?|for|on|with)\b",
    re.IGNORECASE,
)
"""Words of a claim about the syntax of something that the file only holds, makes or reads."""


def rule_on_syntax(case: Case) -> Ruling | None:
    """Check a claim of a syntax error by parsing the file."""
    title, text = case.finding.title, _source(case)
    if text is None or not _SYNTAX.search(title):
        return None
    if _OTHER_SYNTAX.search(title) or _PERHAPS.search(title):
        return None
    parsed = parses(case.path, text)
    if parsed is None:
        return None
    if parsed:
        return Ruling(agrees=False, note=f"{case.path} parses without an error")
    return Ruling(agrees=True, note=f"the parser rejects {case.path} as well")


_ESCAPE: Final = re.compile(r"<U\+[0-9A-F]{4,6}>")


def _source(case: Case) -> str | None:
    """Return the file as it was written, or None where an escaped character hides that."""
    if case.text is None:
        return None
    text = case.text.replace("<U+000D>\n", "\n")
    return None if _ESCAPE.search(text) else text


# Names in Python.

_UNDEFINED: Final = re.compile(
    r"\b(?:undefined|not (?:been )?(?:defined|imported|declared)|never (?:defined|imported)"
    r"|missing import|NameError)\b|\bisn't (?:defined|imported)\b",
    re.IGNORECASE,
)
_UNUSED: Final = re.compile(r"\b(?:unused|(?:never|not) used|isn't used)\b", re.IGNORECASE)
_PERHAPS: Final = re.compile(
    r"\b(?:may|might|could|can(?!'t)|possibly|potentially|before|when|if|unless)\b", re.IGNORECASE
)
_NAME: Final = re.compile(r"[`'\"]([A-Za-z_]\w*)(?:\(\))?[`'\"]")

_Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


def rule_on_undefined(case: Case) -> Ruling | None:
    """Check a claim that a name is undefined against the bindings of the Python file."""
    name = _claimed_name(case, _UNDEFINED)
    tree = _python(case)
    if name is None or tree is None:
        return None
    if hasattr(builtins, name):
        return Ruling(agrees=False, note=f"`{name}` is built into Python")
    if not any(line in case.lines for line in _loads(tree, name)) or _deleted(tree, name):
        return None
    bound = list(_bindings(tree, name))
    for statement in tree.body:
        if statement.lineno < case.lines.start and name in _bound_by(statement):
            line = statement.lineno
            return Ruling(agrees=False, note=f"`{name}` is bound on line {line} of {case.path}")
    if bound or _binds_anything(tree):
        return None
    return Ruling(agrees=True, note=f"`{name}` is bound nowhere in {case.path}")


def rule_on_unused(case: Case) -> Ruling | None:
    """Check a claim that a name is never used against its uses in the file."""
    name = _claimed_name(case, _UNUSED)
    if name is None:
        return None
    tree = _python(case)
    return _unused_import(case, name) if tree is None else _unused_in_python(case, name, tree)


def _unused_import(case: Case, name: str) -> Ruling | None:
    """Rule on an import in any language that a grammar knows, by where else its name stands."""
    text = _source(case)
    if text is None or "import" not in case.finding.title.lower():
        return None
    places = occurrences(case.path, text, name) or ()
    others = [line for line in places if line not in case.lines]
    if len(others) == len(places):
        return None
    if others:
        return Ruling(agrees=False, note=f"`{name}` is used on line {others[0]} of {case.path}")
    return Ruling(agrees=True, note=f"`{name}` stands nowhere else in {case.path}")


def _unused_in_python(case: Case, name: str, tree: ast.Module) -> Ruling | None:
    bound = [node for node in _bindings(tree, name) if node.lineno in case.lines]
    if len(bound) != 1 or case.path.endswith("__init__.py"):
        return None
    imported = isinstance(bound[0], ast.alias)
    defined = isinstance(bound[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    scope = tree if imported or defined else _scope_of(tree, case.lines.start)
    used = sorted(_loads(scope, name))
    alone = len(list(_bindings(scope, name))) == 1
    if used and (imported or alone):
        return Ruling(agrees=False, note=f"`{name}` is used on line {used[0]} of {case.path}")
    if used or _named_in_text(tree, name) or _binds_anything(tree):
        return None
    if imported or isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
        return Ruling(agrees=True, note=f"`{name}` is used nowhere in {case.path}")
    return None


def _claimed_name(case: Case, kind: re.Pattern[str]) -> str | None:
    """Return the one name that a plain claim of a kind is about."""
    title = case.finding.title
    if not kind.search(title) or _PERHAPS.search(title):
        return None
    names = {match[1] for match in _NAME.finditer(title)}
    return names.pop() if len(names) == 1 else None


def _python(case: Case) -> ast.Module | None:
    text = _source(case)
    if text is None or len(text) > MAX_SOURCE or not case.path.endswith((".py", ".pyi")):
        return None
    return _parse_python(text)


def _parse_python(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # A program's odd escapes are not ours to warn of.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _loads(tree: ast.AST, name: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store):
            yield node.lineno


def _deleted(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Del)
        for node in ast.walk(tree)
    )


_Binding = (
    ast.Name
    | ast.arg
    | ast.alias
    | ast.FunctionDef
    | ast.AsyncFunctionDef
    | ast.ClassDef
    | ast.ExceptHandler
    | ast.MatchAs
    | ast.MatchStar
    | ast.MatchMapping
)


def _bindings(tree: ast.AST, name: str) -> Iterator[_Binding]:
    for node in ast.walk(tree):
        if isinstance(node, _Binding) and _name_bound(node) == name:
            yield node


def _name_bound(node: _Binding) -> str | None:
    match node:
        case ast.Name():
            return node.id if isinstance(node.ctx, ast.Store) else None
        case ast.arg():
            return node.arg
        case ast.alias():
            return node.asname or node.name.partition(".")[0]
        case ast.MatchMapping():
            return node.rest
        case _:
            return node.name


def _bound_by(statement: ast.stmt) -> set[str | None]:
    """Return the names that a statement of a module binds whatever happens."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {_name_bound(alias) for alias in statement.names}
    if isinstance(statement, ast.Assign):
        return {_name_bound(target) for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _binds_anything(tree: ast.Module) -> bool:
    """Whether the file may bind or use names in a way that its scopes do not show."""
    return any(
        isinstance(node, ast.Global | ast.Nonlocal)
        or (isinstance(node, ast.alias) and node.name == "*")
        or (isinstance(node, ast.Name) and node.id in {"exec", "eval", "globals", "locals"})
        for node in ast.walk(tree)
    )


def _named_in_text(tree: ast.Module, name: str) -> bool:
    """Whether a string names it: ``__all__``, an annotation, a template."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and word.search(node.value)
        for node in ast.walk(tree)
    )


def _scope_of(tree: ast.Module, line: int) -> _Scope:
    """Return the innermost scope that holds a line."""
    scope: _Scope = tree
    for node in ast.walk(tree):
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and node.lineno <= line <= (node.end_lineno or node.lineno):
            scope = node  # ast.walk goes from the outside in
    return scope


# Versions of packages.


_PACKAGE: Final = r"(?P<name>@?[a-z][\w./-]*\w)"
_VERSION: Final = r"(?:version |v)?(?P<version>\d+(?:\.\d+){0,3})\b"
_NEEDS: Final = re.compile(
    r"\b(?:requires?|needs?|(?:only )?(?:added|introduced|new|available|works|exists) "
    rf"(?:only )?(?:in|since|from|with)) {_PACKAGE} {_VERSION}",
    re.IGNORECASE,
)
_GONE: Final = re.compile(
    r"\b(?:deprecated|removed|dropped|gone|unsupported) (?:in|since|as of|from|with|by) "
    rf"{_PACKAGE} {_VERSION}",
    re.IGNORECASE,
)
_UNREAL: Final = re.compile(
    rf"\b{_PACKAGE} {_VERSION} (?:does not exist|doesn't exist|was never released)", re.IGNORECASE
)
_MISSING: Final = re.compile(
    rf"\b(?:(?:package|dependency|library|crate|gem) {_PACKAGE} (?:does not|doesn't) exist"
    r"|(?P<other>@?[a-z][\w./-]*\w) is not (?:installed|listed|declared|a dependency))\b",
    re.IGNORECASE,
)


def rule_on_versions(case: Case) -> Ruling | None:
    """Check a claim about a package or its version against lock files and manifests."""
    words = _plain_words(f"{case.finding.title}. {case.finding.why}")
    if match := _MISSING.search(words):
        name = match["name"] or match["other"]
        listed = _listed(case, name)
        return Ruling(agrees=False, note=f"{listed[0].path} lists {name}") if listed else None
    for pattern, rule in ((_NEEDS, _rule_needs), (_GONE, _rule_gone), (_UNREAL, _rule_unreal)):
        if match := pattern.search(words):
            listed = _listed(case, match["name"])
            if not listed and not _names_package(case.finding, match):
                continue
            if not listed:
                note = f"no lock file or manifest says which version of {match['name']} is used"
                return Ruling(agrees=None, note=note)
            wanted = _read_version(match["version"])
            places = f"{match['name']} {_show(listed[0])} by {listed[0].path}"
            return Ruling(agrees=rule(listed, wanted), note=places)
    return None


def _names_package(finding: Finding, match: re.Match[str]) -> bool:
    """Whether words like "requires X 2" are about a package: "requires exactly 2" is not."""
    marked = re.compile(
        rf"[`'\"]{re.escape(match['name'])}(?:[`'\"]|\s*[<>=~^@])|\bversion \d", re.IGNORECASE
    )
    return marked.search(f"{finding.title}. {finding.why}") is not None


def _rule_needs(listed: tuple[Listed, ...], wanted: tuple[int, ...]) -> bool | None:
    if all(entry.version >= wanted for entry in listed):
        return False
    return True if all(entry.version < wanted for entry in listed) else None


def _rule_gone(listed: tuple[Listed, ...], wanted: tuple[int, ...]) -> bool | None:
    if all(entry.exact and entry.version < wanted for entry in listed):
        return False
    return True if all(entry.version >= wanted for entry in listed) else None


def _rule_unreal(listed: tuple[Listed, ...], wanted: tuple[int, ...]) -> bool | None:
    return False if any(entry.exact and entry.version == wanted for entry in listed) else None


def read_manifests(texts: Mapping[str, str]) -> Packages:
    """Read which packages the lock files and manifests list; what can't be read is left out.

    Where a lock file names a package, what manifests ask for does not count.
    """
    found: dict[str, list[Listed]] = {}
    for path, text in texts.items():
        reader = _reader(path)
        if reader is None or len(text) > MAX_MANIFEST:
            continue
        ecosystem, read = reader
        try:
            entries = list(read(text))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            continue
        for name, version, exact in entries:
            if numbers := _read_version(version):
                key = f"{ecosystem}:{_plain_name(name)}"
                found.setdefault(key, []).append(Listed(path, numbers, exact))
    return {
        key: tuple(entry for entry in entries if entry.exact) or tuple(entries)
        for key, entries in found.items()
    }


_ECOSYSTEMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("py", "pyi"), "pypi"),
    **dict.fromkeys(("js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts", "vue", "svelte"), "npm"),
    "rs": "cargo",
    "go": "go",
    "rb": "gem",
    "php": "composer",
}


def _listed(case: Case, name: str) -> tuple[Listed, ...]:
    ecosystem = _ECOSYSTEMS.get(case.path.rpartition(".")[2])
    return case.packages.get(f"{ecosystem}:{_plain_name(name)}", ()) if ecosystem else ()


def _plain_words(text: str) -> str:
    """Write ``needs `pydantic>=2.0` `` as ``needs pydantic 2.0``."""
    text = re.sub(r"[`'\"]", "", text)
    return " ".join(re.sub(r"\s*(?:[<>=~^!]=?|@)\s*(?=v?\d)", " ", text).split())


def _plain_name(name: str) -> str:
    name = re.sub(r"[-_.]+", "-", name.lower())
    return {"node-js": "node", "nodejs": "node", "golang": "go", "rustc": "rust"}.get(name, name)


def _read_version(text: object) -> tuple[int, ...]:
    """Read the numbers of a version; 1.2 and 1.2.0 are the same."""
    match = re.search(r"\d{1,9}(?:\.\d{1,9}){0,3}", str(text))
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _show(listed: Listed) -> str:
    version = ".".join(map(str, listed.version))
    return f"is at {version}" if listed.exact else f"may be {version}"


_Entries = Iterator[tuple[str, object, bool]]
_Reader = tuple[str, Callable[[str], _Entries]]


def _reader(path: str) -> _Reader | None:
    name = path.rpartition("/")[2]
    if re.fullmatch(r"(?:.*[-_.])?requirements(?:[-_.].*)?\.(?:txt|in|lock)", name):
        return "pypi", _read_requirements
    return _READERS.get(name)


def _read_requirements(text: str) -> _Entries:
    for line in text.split("\n"):
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(==|>=|~=)\s*([\w.]+)", line)
        if match:
            yield match[1], match[3], match[2] == "=="


def _read_pyproject(text: str) -> _Entries:
    project = tomllib.loads(text).get("project", {})
    if ">=" in (python := project.get("requires-python", "")):
        yield "python", python.partition(">=")[2], False
    yield from _read_requirements("\n".join(project.get("dependencies", [])))


def _read_toml_lock(text: str) -> _Entries:
    lock = tomllib.loads(text)
    for package in lock.get("package") or lock.get("packages") or []:
        yield package["name"], package.get("version", ""), True


def _read_package_json(text: str) -> _Entries:
    manifest = json.loads(text)
    for name, wanted in (manifest.get("engines") or {}).items():
        yield name, wanted, False
    for key in ("dependencies", "devDependencies", "peerDependencies", "optionalDependencies"):
        for name, wanted in (manifest.get(key) or {}).items():
            yield name, wanted, False


def _read_package_lock(text: str) -> _Entries:
    lock = json.loads(text)
    for place, package in (lock.get("packages") or {}).items():
        if place:
            yield place.rpartition("node_modules/")[2], package.get("version", ""), True
    for name, package in (lock.get("dependencies") or {}).items():
        yield name, package.get("version", ""), True


def _read_yarn_lock(text: str) -> _Entries:
    for match in re.finditer(
        r'^"?(@?[^@\s"]+)@[^\n]*:\n +version:? "?([^"\n]+)', text, re.MULTILINE
    ):
        yield match[1], match[2], True


def _read_pnpm_lock(text: str) -> _Entries:
    for match in re.finditer(r"^ +['\"]?/?(@?[^@\s'\"]+)@(\d[\w.]*)[^\n]*:$", text, re.MULTILINE):
        yield match[1], match[2], True


def _read_go_mod(text: str) -> _Entries:
    for match in re.finditer(
        r"^go (\d[\d.]*)|^(?:require)?\s+(\S+/\S+) v(\S+)", text, re.MULTILINE
    ):
        yield (match[2] or "go"), (match[3] or match[1]), match[2] is not None


def _read_gemfile_lock(text: str) -> _Entries:
    for match in re.finditer(r"^    (\S+) \((\d[\w.]*)\)$", text, re.MULTILINE):
        yield match[1], match[2], True


def _read_cargo_toml(text: str) -> _Entries:
    manifest = tomllib.loads(text)
    if rust := (manifest.get("package") or {}).get("rust-version"):
        yield "rust", rust, False
    for name, wanted in (manifest.get("dependencies") or {}).items():
        yield name, wanted if isinstance(wanted, str) else wanted.get("version", ""), False


def _read_composer_lock(text: str) -> _Entries:
    lock = json.loads(text)
    for package in (*lock.get("packages", []), *lock.get("packages-dev", [])):
        yield package["name"], package.get("version", ""), True


_READERS: Final[Mapping[str, _Reader]] = {
    "pyproject.toml": ("pypi", _read_pyproject),
    "poetry.lock": ("pypi", _read_toml_lock),
    "uv.lock": ("pypi", _read_toml_lock),
    "pdm.lock": ("pypi", _read_toml_lock),
    "pylock.toml": ("pypi", _read_toml_lock),
    "package.json": ("npm", _read_package_json),
    "package-lock.json": ("npm", _read_package_lock),
    "yarn.lock": ("npm", _read_yarn_lock),
    "pnpm-lock.yaml": ("npm", _read_pnpm_lock),
    "go.mod": ("go", _read_go_mod),
    "Gemfile.lock": ("gem", _read_gemfile_lock),
    "Cargo.lock": ("cargo", _read_toml_lock),
    "Cargo.toml": ("cargo", _read_cargo_toml),
    "composer.lock": ("composer", _read_composer_lock),
}


def is_manifest(path: str) -> bool:
    """Whether a file is a lock file or manifest that ``read_manifests`` can read."""
    return _reader(path) is not None
