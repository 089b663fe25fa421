"""Comment text as GitHub shows it: Markdown and harmless tags, nothing that loads or runs."""

from collections.abc import Sequence
from functools import cache
from html import escape
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

VOID = frozenset({"br", "hr"})
TAGS = VOID | {
    *("a", "b", "code", "del", "em", "i", "ins", "kbd", "q", "s", "samp", "span", "strong"),
    *("sub", "sup", "var"),
    *("blockquote", "details", "div", "p", "pre", "summary"),
    *("h1", "h2", "h3", "h4", "h5", "h6"),
    *("dd", "dl", "dt", "li", "ol", "ul"),
    *("table", "tbody", "td", "th", "thead", "tr"),
}
CLASSES = frozenset({"suggestion", "caption", "add", "del"})
ALIGNMENTS = frozenset(f"text-align:{side}" for side in ("left", "right", "center"))
SAFE_LINKS = ("https://", "http://", "mailto:", "#", "/")


def render(text: str, replaced: Sequence[str] | None = None) -> Markup:
    """Turn Markdown into HTML that stays inside its own box.

    `replaced` are the lines that a suggestion in the text would replace.
    """
    cleaner = _Cleaner()
    cleaner.feed(_markdown().render(text, {"replaced": replaced}))
    return Markup(cleaner.finished())  # noqa: S704 - every part of it was escaped or is in the lists


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("image", _image)
    return parser


def _fence(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    _options: object,
    env: dict[str, Sequence[str] | None],
) -> str:
    del renderer
    token = tokens[index]
    language = (token.info.split() or [""])[0]
    if language != "suggestion":
        marks = {"+": "add", "-": "del"} if language == "diff" else {}
        lines = token.content.split("\n")
        body = "\n".join(_line(marks.get(line[:1], ""), line) for line in lines)
        return f"<pre><code>{body}</code></pre>\n"
    old = [_line("del", f"- {line}") for line in env.get("replaced") or ()]
    new = [_line("add", f"+ {line}") for line in token.content.removesuffix("\n").split("\n")]
    caption = '<div class="caption">Suggested change</div>'
    body = "\n".join(old + (new if token.content else []))
    return f'<div class="suggestion">{caption}<pre><code>{body}</code></pre></div>\n'


def _line(kind: str, text: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text)


def _image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    _options: object,
    _env: object,
) -> str:
    # Nothing on the page is loaded from elsewhere: an image is its own description.
    del renderer
    return f"<em>[image: {escape(tokens[index].content)}]</em>"


class _Cleaner(HTMLParser):
    """Keeps harmless tags and closes them; comments vanish, everything else becomes text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []

    def finished(self) -> str:
        """Return the HTML with every tag closed."""
        self.close()
        self._out += [f"</{tag}>" for tag in reversed(self._open)]
        return "".join(self._out)

    def set_cdata_mode(self, *_: object, **__: object) -> None:
        """Read what stands in a script or a style like everything else."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a harmless tag with its harmless attributes."""
        if tag not in TAGS:
            self._out.append(escape(self.get_starttag_text() or ""))
            return
        kept = "".join(
            f' {name}="{escape(value or "")}"' for name, value in attrs if _harmless(name, value)
        )
        self._out.append(f"<{tag}{kept}>")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close a tag that is open, and the ones that were left open inside it."""
        if tag not in TAGS:
            self._out.append(escape(f"</{tag}>"))
        if tag not in self._open:
            return
        while (last := self._open.pop()) != tag:
            self._out.append(f"</{last}>")
        self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Escape text."""
        self._out.append(escape(data))


def _harmless(name: str, value: str | None) -> bool:
    match name:
        case "href":
            return (value or "").startswith(SAFE_LINKS)
        case "class":
            return value in CLASSES
        case "open":
            return True
        case "style":
            return value in ALIGNMENTS
    return False
