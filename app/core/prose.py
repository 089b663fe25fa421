"""Prose that others wrote, as a model may read it: no more of it than a person sees.

A pull request's description and a project's guidelines are Markdown, in which text can hide from
every reader but a program: in HTML comments and attributes, link titles, image texts, reference
definitions. What is not seen on the page is left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from app.core.policy import matches, pattern_fault

MAX_MARKDOWN = 65_536
"""Characters of a text that are read: GitHub's own limit of a description."""
MAX_GUIDELINES = 8_000
"""Characters of all guidelines together."""
MAX_GUIDELINE_FILES = 40


def visible_text(markdown: str) -> str:
    """Return what a person reads when a Markdown text is rendered on GitHub, roughly.

    Code spans and blocks stay as they are; entities are decoded once.
    """
    text = markdown[:MAX_MARKDOWN].replace("\0", "\ufffd").replace("\r\n", "\n")
    scan = _Scan()
    text = scan.read(text)
    text = _DEFINITION.sub("", text)
    text = _IMAGE.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = html.unescape(text)
    text = _CODE_MARK.sub(lambda mark: scan.code[int(mark[1])], text)
    return re.sub(r"\n[ \t]*(?:\n[ \t]*)+\n", "\n\n", text).strip()


# What Markdown hides.

_TEXT = r"(?:[^\[\]]|\[[^\[\]]*\]){0,2000}"
_TARGET = (
    r"\(\s*(?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*){0,9})"
    r"(?:\s+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)))?\s*\)"
)
_IMAGE = re.compile(rf"!\[{_TEXT}\](?:{_TARGET}|\[[^\[\]]*\])?", re.DOTALL)
_LINK = re.compile(rf"\[({_TEXT})\](?:{_TARGET}|\[[^\[\]]*\])", re.DOTALL)
_DEFINITION = re.compile(
    r"^[ \t>*+-]{0,20}\[(?!\^)(?=[^\]]*[^\]\s])(?:[^\[\]\\]|\\.){1,1000}\]:[ \t]*\n?[^\n]*"
    r"(?:\n[ \t]*(?:\"[^\"]{0,2000}\"|'[^']{0,2000}'|\([^()]{0,2000}\))[ \t]*$)?",
    re.MULTILINE,
)
_CODE_MARK = re.compile("\0([0-9]+)\0")


# HTML.

_HIDDEN_ELEMENTS = frozenset(
    {
        "audio",
        "canvas",
        "head",
        "iframe",
        "math",
        "noembed",
        "noframes",
        "noscript",
        "object",
        "picture",
        "plaintext",
        "script",
        "select",
        "style",
        "svg",
        "template",
        "textarea",
        "title",
        "video",
        "xmp",
    }
)
_VOID_ELEMENTS = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    }
)
_HIDING = re.compile(
    r"(?:^|[\s/\"'])hidden(?:[\s=/]|$)|aria-hidden\s*=\s*[\"']?true|display\s*:\s*none"
    r"|visibility\s*:\s*hidden",
    re.IGNORECASE,
)
_HTML = (
    r"(?P<comment><!--(?:-?>|.*?(?:-->|\Z))|<!\[CDATA\[.*?(?:\]\]>|\Z)|<[!?][A-Za-z][^>]*(?:>|\Z))"
    r"|(?P<blank>\n[ \t]*(?=\n(?P<block> {0,3}<)?))"
    r"|(?<!\]\()(?<!\]\( )<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)"
    r"(?P<facts>(?:[\s/](?:\"[^\"]*\"|'[^']*'|[^\"'<>])*)?)>"
)
_CODE = (
    r"|(?P<fence>^ {0,3}(?P<ticks>`{3,}|~{3,})[ \t]*(?P<language>[\w+#-]*)[^\n`]*"
    r"(?P<inside>\n.*?)??(?P<end>\n {0,3}(?P=ticks)[`~]*[ \t]*$|\Z))"
    r"|(?P<span>(?<![`\\])(?P<tick>`+)(?!`)[^\n]*?(?<!`)(?P=tick)(?!`))"
)
_IN_HTML = re.compile(_HTML, re.DOTALL)
_IN_TEXT = re.compile(_HTML + _CODE, re.DOTALL | re.MULTILINE)


class _Scan:
    """Leaves out comments, tags and hidden elements; puts code aside, by number in ``code``.

    Within an HTML block backquotes mean nothing, so no code is looked for there.
    """

    def __init__(self) -> None:
        self.code: list[str] = []
        self._hiding = ""
        self._depth = 0

    def read(self, text: str) -> str:
        """Return the visible text with ``NUL number NUL`` for each piece of code."""
        seen: list[str] = []
        at, in_html = 0, text.lstrip(" ").startswith("<")
        while token := (_IN_HTML if in_html or self._hiding else _IN_TEXT).search(text, at):
            if not self._hiding:
                seen.append(text[at : token.start()])
            at = token.end()
            if token["blank"] is not None:
                in_html = token["block"] is not None
                seen.append("" if self._hiding else "\n")
            elif token["name"]:
                seen.append(self._read_tag(token))
            elif not token["comment"]:
                seen.append(self._put_aside(token))
        return "".join([*seen, "" if self._hiding else text[at:]])

    def _read_tag(self, tag: re.Match[str]) -> str:
        name, facts = tag["name"].lower(), tag["facts"]
        if name in _VOID_ELEMENTS:
            return "\n" if name == "br" and not self._hiding else ""
        if self._hiding:
            if name == self._hiding:
                self._depth += -1 if tag["close"] else 1
            if self._depth == 0:
                self._hiding = ""
            return ""
        if not tag["close"] and (name in _HIDDEN_ELEMENTS or _HIDING.search(facts)):
            self._hiding, self._depth = name, 1
        elif name == "details" and not tag["close"]:
            return "[folded] "
        return ""

    def _put_aside(self, code: re.Match[str]) -> str:
        shown = code[0]
        if code["fence"] is not None:
            # GitHub shows the language at most, never the rest of the line.
            shown = f"{code['ticks']}{code['language']}{code['inside'] or ''}{code['end']}"
        self.code.append(shown)
        return f"\0{len(self.code) - 1}\0"


# Guidelines.


def guideline_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Choose the files among a commit's paths that may say how its code should be."""
    ranked = [(rank, path) for path in paths if (rank := _rank(path)) is not None]
    return tuple(path for _, path in sorted(ranked))[:MAX_GUIDELINE_FILES]


def read_guidelines(files: Mapping[str, str], changed_paths: Sequence[str]) -> str:
    """Read the guidelines that concern the changed files, the weightiest first, capped.

    Scoped files (``applyTo``, ``globs``, a folder's own AGENTS.md) count only where they apply.
    """
    parts: list[str] = []
    known: set[str] = set()
    for path in guideline_paths(tuple(files)):
        facts, body = _front_matter(files[path])
        if not _concerns(path, facts, changed_paths):
            continue
        text = visible_text(_code_part(body) if _name(path) == "contributing.md" else body)
        if text and text not in known and not re.fullmatch(r"@?\S+\.md", text):
            known.add(text)
            parts.append(f"{path}:\n{text}")
    whole = "\n\n".join(parts)
    return whole if len(whole) <= MAX_GUIDELINES else f"{whole[: MAX_GUIDELINES - 3]}..."


def _name(path: str) -> str:
    return path.rpartition("/")[2].lower()


def _rank(path: str) -> tuple[int, int] | None:
    """Rank a guideline file: by kind, then by how deep it stands; None when it is none."""
    folder, _, name = path.lower().rpartition("/")
    depth = path.count("/")
    if name in {"agents.md", "claude.md"}:
        return (0 if name == "agents.md" else 1), depth
    if path.lower() == ".github/copilot-instructions.md":
        return 2, depth
    if folder.startswith(".github/instructions") and name.endswith(".md"):
        return 3, depth
    if folder.startswith(".cursor/rules") and name.endswith((".mdc", ".md")):
        return 4, depth
    if name == "contributing.md" and folder in {"", ".github", "docs"}:
        return 5, depth
    return None


_FRONT = re.compile(r"\ufeff?---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_FACT = re.compile(r"^([A-Za-z]+)[ \t]*:[ \t]*(.*(?:\n[ \t]+.*|\n- .*)*)$", re.MULTILINE)


def _front_matter(text: str) -> tuple[Mapping[str, str], str]:
    """Split a file into the keys at its head and its body; what is odd is no head."""
    text = text[:MAX_MARKDOWN].replace("\r\n", "\n")
    head = _FRONT.match(text)
    if head is None:
        return {}, text
    return {fact[1].lower(): fact[2] for fact in _FACT.finditer(head[1])}, text[head.end() :]


def _concerns(path: str, facts: Mapping[str, str], changed_paths: Sequence[str]) -> bool:
    if facts.get("alwaysapply", "").strip().lower() == "true":
        return True
    scope = facts.get("applyto") or facts.get("globs")
    if scope is not None:
        patterns = [part.strip("\"' \t") for part in re.split(r"[,\n\[\]]|- ", scope)]
        return any(
            _applies(pattern, changed)
            for pattern in patterns
            if pattern
            for changed in changed_paths
        )
    folder = path.rpartition("/")[0]
    if not folder or path.startswith((".github/", ".cursor/", "docs/")):
        return not path.startswith(".cursor/")
    return any(changed.startswith(f"{folder}/") for changed in changed_paths)


def _applies(pattern: str, path: str) -> bool:
    return pattern_fault(pattern) is None and matches(pattern, path)


_HEADING = re.compile(r"^#{1,6}[ \t]+(.*)$", re.MULTILINE)
_ABOUT_CODE = re.compile(
    r"\b(?:cod(?:e|ing)|styles?|conventions?|guidelines?|standards?|tests?|testing|lint|format|api"
    r"|errors?|typ(?:es|ing)|naming|architecture)\b",
    re.IGNORECASE,
)


def _code_part(text: str) -> str:
    """Keep the sections of a contributor's guide that are about the code itself."""
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    return "\n".join(
        text[heading.start() : end]
        for heading, end in zip(headings, ends, strict=True)
        if _ABOUT_CODE.search(heading[1]) and "conduct" not in heading[1].lower()
    )
