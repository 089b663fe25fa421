"""Comment text to commands: a closed grammar. Nothing a comment says reaches a setting.

A command stands alone on its line, at the line's very start, outside of code, quotes, lists,
tables, HTML and link texts. There are no options: what looks like one is a Misuse with an answer
in one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_COMMANDS = 3
"""How many distinct commands of one comment are run."""
MAX_FOCUS = 200
MAX_SHOWN = 40
"""How many characters of a comment an answer repeats."""


class Verb(StrEnum):
    """What a person may ask for."""

    REVIEW = "review"
    FULL = "review full"
    HELP = "help"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Command:
    """One well-formed command; only ``review`` has a focus."""

    verb: Verb
    focus: str = ""


@dataclass(frozen=True, slots=True)
class Misuse:
    """Something meant as a command that is none; ``answer`` is one line, safe to post."""

    answer: str


HELP = (
    "`/review` reviews what changed since the last review, `/review full` everything, "
    "`/review TEXT` with a focus; `/postil help`, `pause`, `resume`, `cancel`, `estimate`."
)


def parse_command(text: str) -> tuple[Command | Misuse, ...]:
    """Return the distinct commands of a comment, at most three, in their order."""
    found = list(dict.fromkeys(_parse_line(line) for line in _command_lines(text)))
    if len(found) > MAX_COMMANDS:
        note = Misuse(f"Only the first {MAX_COMMANDS} commands of a comment are run.")
        return (*found[:MAX_COMMANDS], note)
    return tuple(found)


def escape(text: str) -> str:
    """Return at most 40 characters of foreign text as an inert code span."""
    shown = text[:MAX_SHOWN]
    safe = "".join(c if " " <= c <= "~" and c not in "`|" else _code_point(c) for c in shown)
    return f"`{safe}{'…' if len(text) > MAX_SHOWN else ''}`"


_COMMAND = re.compile(r"/(review|postil)(?:[ \t]+(.*))?[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_CONTAINER = re.compile(r"\s*(>|[-*+][ \t]|\d{1,9}[.)][ \t]|\||<)")
"""A paragraph that begins so is a quote, a list, a table or HTML to its end."""
_COMMENT_END = re.compile("-->")
_RAW_HTML = re.compile(r" {0,3}<(?:pre|script|style|textarea)\b", re.IGNORECASE)
"""HTML that a blank line does not end (spec.commonmark.org, HTML blocks)."""
_RAW_HTML_END = re.compile(r"</(?:pre|script|style|textarea)>", re.IGNORECASE)
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*|[ \t|:-]*-[ \t|:-]*")
"""Under a line of text, this makes a heading or a table of it."""
_OPTION = re.compile(r"[\"'`]*(?:[^\w\s\"'`]*[-\u2010-\u2015\u2212\uff0d]|[^\s=\uff1d]*[=\uff1d])")
_REVISION = re.compile(r"[0-9a-f]{7,64}|\S*(?:\.\.|[~^@]\{?\d*|@\{)\S*")
_PRINTABLE = frozenset("LMNPZ")


def _code_point(character: str) -> str:
    return f"<U+{ord(character):04X}>"


def _parse_line(line: str) -> Command | Misuse:
    matched = _COMMAND.fullmatch(line)
    if matched is None:
        raise AssertionError("only lines that match are handed in")
    name, arguments = matched[1], (matched[2] or "").strip()
    return _parse_review(arguments) if name == "review" else _parse_postil(arguments)


def _parse_review(arguments: str) -> Command | Misuse:
    if not arguments:
        return Command(Verb.REVIEW)
    if arguments == "full":
        return Command(Verb.FULL)
    if len(arguments) > MAX_FOCUS:
        return Misuse(
            f"A focus may have {MAX_FOCUS} characters; this one begins {escape(arguments)}."
        )
    words = arguments.split()
    for word in words:
        if _OPTION.match(word) or (len(words) == 1 and _REVISION.fullmatch(word)):
            return Misuse(f"Unknown option {escape(word)}: `/review` takes words only.")
    if not _plain(arguments):
        return Misuse(f"A focus is plain text in one line; this one reads {escape(arguments)}.")
    return Command(Verb.REVIEW, arguments)


def _plain(text: str) -> bool:
    printable = all(unicodedata.category(c)[0] in _PRINTABLE or c in "$+<>|^" for c in text)
    hidden = any(unicodedata.category(c) in {"Zl", "Zp"} for c in text)
    return printable and not hidden and text.count('"') % 2 == 0 and not text.endswith("\\")


def _parse_postil(arguments: str) -> Command | Misuse:
    words = arguments.split(maxsplit=1)
    verb = words[0] if words else Verb.HELP.value
    if verb == Verb.HELP.value:
        return Command(Verb.HELP)
    if verb not in {Verb.PAUSE.value, Verb.RESUME.value, Verb.CANCEL.value, Verb.ESTIMATE.value}:
        return Misuse(f"Unknown command {escape(verb)}. {HELP}")
    if len(words) > 1:
        return Misuse(f"Unknown option {escape(words[1])}: `/postil {verb}` takes none.")
    return Command(Verb(verb))


def _command_lines(text: str) -> Iterator[str]:
    """Yield the lines that could be commands, each in a paragraph of plain text."""
    for paragraph in _paragraphs(re.split(r"\r\n|\r|\n", text)):
        before = ""
        for line, after in zip(paragraph, (*paragraph[1:], ""), strict=True):
            if _COMMAND.fullmatch(line) and not _inside(before) and not _UNDERLINE.fullmatch(after):
                yield line
            before += line + "\n"


def _inside(before: str) -> bool:
    """Tell whether a code span or a link text is still open after these lines."""
    return before.count("`") % 2 == 1 or before.count("[") > before.count("]")


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Yield the paragraphs outside of fences, comments, quotes, lists, tables and HTML."""
    paragraph: list[str] = []
    end: re.Pattern[str] | None = None
    for line in (*lines, ""):
        if end is not None:
            end = None if end.search(line) else end
            continue
        end = _opened(line)
        if end is None and "<!--" not in line and line.strip():
            paragraph.append(line)
        else:
            yield from _plain_paragraph(paragraph)
            paragraph = []


def _opened(line: str) -> re.Pattern[str] | None:
    """Return what ends the block of code or hidden text that a line opens and does not end."""
    fence = _FENCE.fullmatch(line)
    if fence and not (fence[1][0] == "`" and "`" in fence[2]):
        return re.compile(rf"^ {{0,3}}{re.escape(fence[1])}{re.escape(fence[1][0])}*[ \t]*$")
    if "<!--" in line and "-->" not in line.rpartition("<!--")[2]:
        return _COMMENT_END
    raw = _RAW_HTML.match(line)
    return _RAW_HTML_END if raw and not _RAW_HTML_END.search(line, raw.end()) else None


def _plain_paragraph(paragraph: list[str]) -> Iterator[list[str]]:
    """Yield the part before the first line that opens a container: its rest belongs to it."""
    plain = []
    for line in paragraph:
        if _CONTAINER.match(line):
            break
        plain.append(line)
    if plain:
        yield plain
