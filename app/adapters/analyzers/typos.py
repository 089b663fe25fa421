"""typos: words that are known to be misspelled, in prose and in comments.

It knows slips, not vocabularies, and so is quiet by nature; what remained noisy on real packages is
left out here: short words, parts of names, words in code outside comments and texts, translations,
people, files in another language, and a word used so often that the project means it.
``--isolated`` hides every configuration; no comment can silence it by default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from app.adapters.analyzers.tool import Copy, Remark, Tool
from app.core.findings import Category, Severity

_PROSE = (".md", ".markdown", ".mdx", ".rst", ".adoc", ".txt")
_CODE = (
    *(".py", ".pyi", ".rb", ".pl", ".php", ".lua", ".ex", ".exs", ".sh", ".bash", ".sql", ".tf"),
    *(".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".vue", ".svelte", ".proto"),
    *(".go", ".rs", ".java", ".kt", ".kts", ".scala", ".swift", ".cs"),
    *(".c", ".h", ".cc", ".cpp", ".cxx", ".hpp"),
)
_LISTS = re.compile(
    r"(?:requirements|constraints|cmakelists|robots|words|wordlist)[^/]*\.txt", re.IGNORECASE
)
_ELSEWHERE = {
    *("locale", "locales", "i18n", "l10n", "lang", "langs", "translations"),
    *("vendor", "_vendor", "third_party", "node_modules", "dist", "fixtures", "testdata"),
}

MIN_LETTERS = 5
MAX_SAME = 5
"""A word found more often than this is taken for vocabulary."""
MIN_FOREIGN = 8
MAX_SHARE = 0.02
"""From so many findings, and so many in a file's words, the file is not in English."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_COMMENT = re.compile(r"(?:^|\s)(?:#|//|/?\*|--|;|<!--)|\"\"\"|'''")
_NO_PROSE = re.compile(
    r"(?:authors?|contributors?|copying|credits|licen[cs]e|maintainers|notice|thanks)\b",
    re.IGNORECASE,
)
_PERSON = re.compile(r"copyright|\(c\)|©|@\w|\bby\b", re.IGNORECASE)
_BOUND = frozenset("_-/\\@`$%&=<>{}[]()'\"")
_KNOWN = {"certifi", "facter", "writeable"}
"""Names of software, and a spelling that dictionaries have."""


class _Line(BaseModel):
    type: str


class _Typo(BaseModel):
    type: Literal["typo"]
    path: str
    line_num: int
    byte_offset: int
    typo: str
    corrections: list[str]


_LINE = TypeAdapter(_Line)
_TYPO = TypeAdapter(_Typo)


def _suffix(path: str, text: str) -> str | None:
    del text
    *folders, name = path.split("/")
    if not _ELSEWHERE.isdisjoint(folder.lower() for folder in folders):
        return None
    if _LISTS.fullmatch(name) or _NO_PROSE.match(name):
        return None
    lowered = name.lower()
    return next((end for end in (*_PROSE, *_CODE) if lowered.endswith(end)), None)


def _read(output: bytes, copies: Mapping[str, Copy]) -> Iterator[Remark]:
    found = [
        _TYPO.validate_json(line)
        for line in output.splitlines()
        if _LINE.validate_json(line).type == "typo"
    ]
    if any(typo.path not in copies for typo in found):
        raise ValueError("a file that was not asked about")
    files = Counter(typo.path for typo in found)
    foreign = {path for path, count in files.items() if _is_foreign(count, copies[path].text)}
    kept = [t for t in found if t.path not in foreign and _is_word(t, copies[t.path])]
    often = Counter(typo.typo.lower() for typo in kept)
    for typo in kept:
        if often[typo.typo.lower()] <= MAX_SAME:
            yield _remark(typo)


def _is_foreign(count: int, text: str) -> bool:
    return count >= MIN_FOREIGN and count > MAX_SHARE * len(_WORD.findall(text))


def _is_word(typo: _Typo, copy: Copy) -> bool:
    """Tell whether it stands alone, in a place where people write sentences."""
    if len(typo.typo) < MIN_LETTERS or typo.typo.lower() in _KNOWN:
        return False
    text = copy.line(typo.line_num)
    line = text.encode()
    before = line[: typo.byte_offset].decode(errors="replace")
    after = line[typo.byte_offset + len(typo.typo.encode()) :].decode(errors="replace")
    if _touches(before[-1:]) or _touches(after[:1]) or re.match(r"\.\w", after):
        return False
    if typo.typo.istitle() and (_PERSON.search(text) or re.search(r"\w,? $", before)):
        return False
    return copy.name.endswith(_PROSE) or _COMMENT.search(before) is not None


def _touches(neighbour: str) -> bool:
    return neighbour.isalnum() or neighbour in _BOUND


def _remark(typo: _Typo) -> Remark:
    wanted = " or ".join(f"`{word}`" for word in typo.corrections[:3])
    return Remark(
        name=typo.path,
        first=typo.line_num,
        last=typo.line_num,
        rule="typo",
        severity=Severity.INFO,
        category=Category.DOCS,
        title=f"Misspelled: {typo.typo}",
        why=f"Probably meant: {wanted}.",
    )


TYPOS = Tool(
    name="typos",
    suffix=_suffix,
    arguments=("--isolated", "--format=json", "--color=never"),
    read=_read,
    codes=frozenset({0, 2}),
)
