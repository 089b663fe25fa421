"""Model words as Markdown that can do nothing: no link, image, mention, command or HTML.

What is written here is meant to be read by GitHub's renderer (https://github.github.com/gfm/) and
by its later filters, which link mentions, issues, commits and emoji in the rendered text:
https://docs.github.com/en/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls.
The tool is a zero-width space (U+200B) after the character that would begin something. Code spans
and code blocks are left alone, but only where every parser must agree that they are code: a span
opens and closes on one line, a block is written anew in its plainest form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.core import hidden

BREAK: Final = "\u200b"
"""Breaks a construct without being seen."""

LANGUAGES: Final = frozenset(
    (
        *("bash", "c", "c#", "c++", "clojure", "console", "cpp", "cs", "csharp", "css", "cuda"),
        *("dart", "diff", "docker", "dockerfile", "elixir", "erlang", "go", "graphql", "groovy"),
        *("haskell", "hcl", "html", "http", "ini", "java", "javascript", "js", "json", "jsonc"),
        *("jsx", "julia", "kotlin", "less", "lua", "makefile", "markdown", "md", "nix", "ocaml"),
        *("perl", "php", "powershell", "protobuf", "python", "py", "r", "rb", "rs", "ruby", "rust"),
        *("sass", "scala", "scss", "sh", "shell", "sql", "svelte", "swift", "terraform", "text"),
        *("toml", "ts", "tsx", "typescript", "vue", "xml", "yaml", "yml", "zig", "zsh"),
    )
)
"""Info strings that only colour code; GitHub draws others (mermaid, math, geojson, stl)."""


# Hidden characters.

_EMOJI: Final = (
    "[\u00a9\u00ae\u2190-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_LOOK: Final = "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]"
_JOINING: Final = "[\u0600-\u06ff\u0750-\u077f\u0900-\u0dff\u0f00-\u109f\u1780-\u17b3]"
_ORDINARY: Final = re.compile(
    f"{_EMOJI}{_LOOK}?(?:\u200d{_EMOJI}{_LOOK}?){{0,9}}"
    "|[0-9#*]\ufe0f\u20e3"
    f"|(?<={_JOINING})[\u200c\u200d](?={_JOINING})"
)
"""Where a hidden character is ordinary: inside an emoji, between letters of scripts that join."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A character that is not seen, or changes how others are seen; ``index`` is its place."""

    index: int
    character: str

    @property
    def code_point(self) -> str:
        """The character as ``U+202E``."""
        return f"U+{ord(self.character):04X}"


def hidden_characters(text: str) -> tuple[Hidden, ...]:
    """Find hidden characters but for those of ordinary emoji and scripts."""
    found = []
    for start, piece, ordinary in _pieces(text):
        if not ordinary:
            place = 0
            for character in hidden.find_hidden(piece):
                place = piece.index(character, place)
                found.append(Hidden(start + place, character))
                place += 1
    return tuple(found)


def escape_hidden(text: str) -> str:
    """Show every hidden character as ``<U+202E>``; ordinary emoji and scripts stay."""
    return "".join(
        piece if ordinary else hidden.escape_hidden(piece) for _, piece, ordinary in _pieces(text)
    )


def _pieces(text: str) -> Iterator[tuple[int, str, bool]]:
    """Cut a text where a hidden character is ordinary: (start, piece, ordinary)."""
    end = 0
    for match in _ORDINARY.finditer(text):
        yield end, text[end : match.start()], False
        yield match.start(), match[0], True
        end = match.end()
    yield end, text[end:], False


# Words.

_FENCE: Final = re.compile(r"\s*(`{3,})([^`]*)")


def neutralise(text: str) -> str:
    """Write a model's words so that they render as words and code, and do nothing.

    Paragraphs, lists, emphasis, code spans and code blocks stay. The text less U+200B is the one
    given, but for unpaired backticks (escaped), dollar signs (in a span, as GitHub asks for where
    no formula is meant), hidden characters and the fences of code blocks.
    """
    lines = escape_hidden(text.replace(BREAK, "").replace("\r\n", "\n")).split("\n")
    out: list[str] = []
    at = 0
    while at < len(lines):
        opening = _FENCE.fullmatch(lines[at])
        if opening is None or at == len(lines) - 1:
            out.append(_line(lines[at]))
            at += 1
            continue
        end = _closing(lines, at, opening[1])
        indent = len(lines[at]) - len(lines[at].lstrip())
        body = "\n".join(_dedent(line, indent) for line in lines[at + 1 : end])
        if not out:
            out.append("")  # a fence must not follow what the caller writes before it
        info = opening[2].split() or [""]
        out.append(code_block(body, info[0]))
        if end >= len(lines) - 1:
            out.append("")  # nor may what the caller writes follow a fence
        at = end + 1
    return "\n".join(out)


def _closing(lines: Sequence[str], at: int, fence: str) -> int:
    """Return the index of the line that closes a block, or one past the end."""
    for index in range(at + 1, len(lines)):
        line = lines[index].strip()
        if line.startswith(fence) and not line.strip("`"):
            return index
    return len(lines)


def _dedent(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip())) :]


_LEAD: Final = re.compile(r"(\s*)((?:[-*+]|\d{1,9}[.)])\s+)?")
_UNDERLINE: Final = re.compile(r"\s*(?:=+|-+)\s*")
_BLOCK: Final = re.compile(
    r"[#>=|/!@]|~{3}|:?-+:?(?:\s|$)|[-*+](?:\s|$)|\d{1,9}[.)](?:\s|$)|(?:[-*_]\s*){3,}$"
)
"""What begins a block, a command or a mention; a list's own marker is taken off before."""

_BOTS: Final = (
    r"(?:azp|bors|cc|jenkins|lgtm|mergify|ok to test|r[+?]|rebase|recheck|rerun|retest|rultor"
    r"|ship ?it|test this|try)(?!\w)"
)
_BOT_WORD: Final = re.compile(_BOTS, re.IGNORECASE)


def _line(line: str) -> str:
    """Neutralise one line of prose."""
    if _UNDERLINE.fullmatch(line):
        return BREAK + line
    lead = _LEAD.match(line)
    start = lead.end() if lead else 0
    rest = line[start:]
    guard = BREAK if _BLOCK.match(rest) or _BOT_WORD.match(rest) else ""
    end = BREAK if rest.endswith("\\") else ""  # it must not escape what the caller writes next
    return line[:start] + guard + _inline(rest) + end


_TICKS: Final = re.compile(r"\\[!-/:-@\[-`{-~]|`+")


def _inline(text: str) -> str:
    """Neutralise what stands outside code spans; escape backticks that open none."""
    out: list[str] = []
    prose = ""
    done = at = 0
    while match := _TICKS.search(text, at):
        at = match.end()
        if match[0].startswith("\\"):
            continue
        prose += text[done : match.start()]
        close = _closing_ticks(text, at, match[0])
        if close is None:
            prose += "\\`" * len(match[0])
        else:
            out += (_prose(prose), text[match.start() : close])
            prose, at = "", close
        done = at
    out.append(_prose(prose + text[done:]))
    return "".join(out)


def _closing_ticks(text: str, at: int, ticks: str) -> int | None:
    """Return where the code span ends that ``ticks`` opened before ``at``."""
    for run in re.finditer(r"`+", text[at:]):
        if run[0] == ticks:
            return at + run.end()
    return None


_SIGNS: Final = re.compile(
    r"(?P<dollar><span>\$</span>|\$)"
    r"|(?P<word>(?<![0-9A-Za-z])[0-9a-fA-F]{7,64}(?![0-9A-Za-z]))"
    r"|(?P<sign><|@|&(?=[#A-Za-z])|\](?=[(\[:])|\[(?=[\^ xX])|!(?=\[)|:(?=\S)|#(?=\w)"
    r"|www(?=\.)|GHSA-|(?<=[A-Za-z])-(?=\d)|[|:](?=[ \t]*[-:|])|-(?=[ \t]*[|:]))",
    re.IGNORECASE,
)
"""What would begin a link, image, mention, reference, emoji, formula, footnote, table or tag."""


def _prose(text: str) -> str:
    return _SIGNS.sub(_broken, text)


def _broken(match: re.Match[str]) -> str:
    if match["dollar"]:
        escaped = match.start() > 0 and match.string[match.start() - 1] == "\\"
        return f"{BREAK if escaped else ''}<span>$</span>"
    if match["word"]:
        return BREAK.join(re.findall(r".{1,6}", match["word"]))
    return match[0] + BREAK


# Code.

_COMMAND: Final = re.compile(
    rf"^[^\S\n]*(?=/[a-z][\w-]*(?:\s|$)|![a-z]|@[\w-]+ +[a-z]|{_BOTS})",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that another bot may obey, even inside a code block."""


def code_block(text: str, info: str = "") -> str:
    """Write a code block; its fence is longer than any inside, its info only colours it."""
    body = escape_hidden(text.replace("\r\n", "\n").replace(BREAK, ""))
    body = _COMMAND.sub(rf"\g<0>{BREAK}", body)
    return _fenced(body, info if info.lower() in LANGUAGES else "")


def could_be_command(text: str) -> bool:
    """Whether a line of code is one that another bot may obey."""
    return _COMMAND.search(text) is not None


def suggestion_block(text: str) -> str:
    """Write a suggestion that GitHub offers to commit: the text is not changed."""
    return _fenced(text.removesuffix("\n"), "suggestion")


def code_span(text: str) -> str:
    """Write a code span on one line, whatever the text holds."""
    text = escape_hidden(text.replace("\r\n", "\n")).replace("\n", " ")
    if not text.strip(" "):
        return f"`{text or ' '}`"
    ticks = "`" * (_longest_run(text) + 1 if "`" in text else 1)
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _fenced(body: str, info: str) -> str:
    fence = "`" * max(3, _longest_run(body) + 1)
    return f"{fence}{info}\n{body}\n{fence}" if body else f"{fence}{info}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


# Length.

CUT: Final = "… (cut here: too long)"
_MARKER: Final = re.compile(r"\n{0,2}<!-- postil:[^\n>]{1,600} -->")
_ANY_FENCE: Final = re.compile(r"\s*(`{3,}|~{3,})(.*)")


def clip(markdown: str, limit: int) -> str:
    """Cut to ``limit`` characters and UTF-8 bytes, at the end of a line where there is one.

    Code blocks and details that the cut leaves open are closed, and our own markers are kept.
    """
    if _size(markdown) <= limit:
        return markdown
    markers = "".join(_MARKER.findall(markdown))
    if _size(markers) > limit // 2:
        markers = ""
    lines = _MARKER.sub("", markdown).split("\n")
    room = limit - _size(markers)
    open_blocks, used, kept, tail = _Open(), 0, 0, ""
    for line in lines:
        used += _size(line) + 1
        open_blocks = open_blocks.after(line)
        if used + _size(open_blocks.closing) > room:
            break
        kept, tail = kept + 1, open_blocks.closing
    if kept < len(lines) and not any(line.strip() for line in lines[:kept]):
        return f"{_cut_line(lines[kept], room - _size('…'))}…{markers}"
    return "\n".join(lines[:kept]) + tail + markers


@dataclass(frozen=True, slots=True)
class _Open:
    """What a text has opened and not closed."""

    fence: str = ""
    details: int = 0

    def after(self, line: str) -> _Open:
        """Return what is open after one more line."""
        match = _ANY_FENCE.fullmatch(line)
        if self.fence:
            closed = match and match[1].startswith(self.fence) and not match[2].strip()
            return _Open("", self.details) if closed else self
        if match and ("`" not in match[2] or match[1][0] == "~"):
            return _Open(match[1], self.details)
        opened = line.count("<details") - line.count("</details>")
        return _Open("", max(0, self.details + opened))

    @property
    def closing(self) -> str:
        """What must follow a text that ends here, notice included."""
        fence = f"\n{self.fence}" if self.fence else ""
        return f"{fence}\n\n{CUT}" + "\n\n</details>" * self.details


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _cut_line(line: str, limit: int) -> str:
    """Cut within a line, before a code span that would lose its end."""
    kept = line.encode("utf-8", "surrogatepass")[: max(0, limit)].decode("utf-8", "ignore")
    at = 0
    while match := _TICKS.search(kept, at):
        at = match.end()
        if not match[0].startswith("\\"):
            close = _closing_ticks(kept, at, match[0])
            if close is None:
                return kept[: match.start()]
            at = close
    return kept.rstrip("\\")
