from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.markdown import (
    BREAK,
    CUT,
    clip,
    code_block,
    code_span,
    escape_hidden,
    hidden_characters,
    neutralise,
    suggestion_block,
)

ALLOWED = {"p", "ul", "ol", "li", "em", "strong", "del", "code", "pre", "br", "span"}
OPTIONS = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
EXTENSIONS = ["table", "autolink", "strikethrough", "tasklist"]

# What GitHub's later filters link in text outside code.
LIVE = re.compile(
    r"(?<!\w)@\w|#\d|\b(?:GH|JIRA)-\d|(?<![0-9a-z])[0-9a-f]{7,40}(?![0-9a-z])|:[a-z0-9_+-]+:"
    r"|https?://|www\.\w|\w@\w",
    re.IGNORECASE,
)


class Rendered(HTMLParser):
    """Tags, and the text outside code, of what GFM makes of Markdown."""

    def __init__(self, markdown: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.text = ""
        self._inside: list[str] = []
        html = cmarkgfm.cmark.markdown_to_html_with_extensions(
            markdown, options=OPTIONS, extensions=EXTENSIONS
        )
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.words += "\0"  # the filters look at one text node at a time
        self.attributes |= {
            name for name, value in attrs if not (value or "").startswith("language-")
        }
        if tag in {"code", "pre", "span"}:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.words += "\0"
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        self.words += "\0" if self._inside else data

    def handle_comment(self, data: str) -> None:
        self.tags.add(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.tags.add(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.tags.add(f"instruction {data}")

    def unknown_decl(self, data: str) -> None:
        self.tags.add(f"declaration {data}")


def assert_inert(markdown: str) -> Rendered:
    rendered = Rendered(markdown)
    assert rendered.tags <= ALLOWED, rendered.tags - ALLOWED
    assert rendered.attributes <= {"lang", "start"}, rendered.attributes
    assert not LIVE.search(rendered.words), LIVE.search(rendered.words)
    assert "$" not in rendered.words
    for line in re.sub(r"(?m)^(`{3,})[^`\n]*\n(?:.*\n)*?\1$", "", markdown).split("\n"):
        assert not re.match(r"\s*[/!@]", line), line
    assert not re.search(r"(?im)^\s*(bors\b|/approve\b|!canary|@dependabot merge)", markdown)
    return rendered


HOSTILE = [
    "![a](http://127.0.0.1:9/?d=1)",
    "![a][r]\n\n[r]: http://x.example/",
    "[r]\n\n[r]:\nhttp://x.example/",
    "<img src=//x>",
    "<picture><source srcset=//x></picture>",
    "<a href='//x'>x</a>",
    "[x](http://x.example)",
    "[x](//x.example 'title')",
    "[x]( <b> )",
    "<http://x.example>",
    "<a@b.example>",
    "http://x.example and https://x.example/?q=1",
    "HTTP://X.EXAMPLE ftp://x.example",
    "www.x.example WWW.x.example",
    "mailto:a@b.example xmpp:a@b.example/c a.b+c@d-e.example",
    "a[^1]\n\n[^1]: note",
    "```mermaid\ngraph TD\n```",
    "```math\nx\n```",
    "$$\\includegraphics{x}$$ and $x$ and \\$y\\$ and $`z`$",
    "&#x21;[a](//x) &lt;img src=x&gt; &#64;user &#35;1",
    "!\\[a](//x)",
    "!\u200b[a](//x)",
    "!\u200b[\u200ba\u200b]\u200b(//x)",
    "@org/everyone-team and `x` @user",
    "#123 owner/repo#1 GH-1 JIRA-77 GHSA-abcd-efgh-1234",
    "fixes #1, closes owner/repo#2, resolves https://github.com/o/r/issues/3",
    "0123456789abcdef0123456789abcdef01234567 and defaced and DEADBEEF",
    "owner/repo@0123456",
    "/approve\n@dependabot merge\nbors r+\n!canary\n/merge\nFixes #1",
    " /approve\n\u00a0/approve\n- /approve\n> /approve\n1. @user\n* !x",
    ":octocat: :+1: :shipit:",
    "# Postil\n## Ledger\nAll reviewed\n===\nLGTM\n---\n***",
    "x\n-",
    "x\n-  ",
    "x\n  ==  ",
    "> [!NOTE]\n> quoted",
    ">" * 1_000 + " deep",
    "- " * 1_000 + "deep",
    "| a | b |\n|---|---|\n| `x | @user` | y |",
    "`a | @user`\n:-- | --:\n`b | @user`",
    "a\n:-\n`b | @user`",
    "a | b\n- | -\n`c | @user`",
    "- [ ] task\n- [x] done\n- [X] done",
    "</details></summary></td>",
    "<!-- unclosed",
    "<!-- a --> <!--> <![CDATA[x]]> <?php ?> <!DOCTYPE x>",
    "<script>alert(1)</script>",
    "<details open><summary>x</summary>",
    "` @user\n@user `",
    "`` @user `",
    "\\`@user`",
    "`a`` @user `b",
    "``` @user ```",
    "~~~\n@user\n~~~\n@user",
    "~~~ `x`\n@user",
    "```\n@user\n",
    "```\n```suggestion\n@user\n```\n```",
    "````\n```\n@user\n````\n@user",
    "```python title=`x`\n@user\n```",
    "    ```\n    @user\n    ```\n@user",
    "- item\n  ```python\n  @user\n\n  x\n  ```\n  @user",
    "    @user in indented code\n\t@user",
    "a\r\n@user\r@user\x0b@user\x0c@user\x85@user\u2028@user",
    "\x00\x1b[31mred\x1b[0m \u202eevil\u202c \U000e0041\ufeff\u3164",
    "\ud800",
    "a\\\n@user\\",
    "[x]\n(http://x.example)",
    "[`]`](//x)",
    "[a`b](//x)`",
    "<`@user`>",
    "*@user* **#1** ~~@user~~ _@user_",
    "[foo]: /url 'title'\n\n[foo]",
    "\\\\$x$ \\<img src=x> \\\\<img src=x> \\&#64; \\\\&#64;",
    "<span>$</span> <span>@user</span>",
    "&commat;user &lt;b&gt; &Tab;",
    "$a$\n\n$$\nb\n$$",
    "lgtm\nLGTM!\nretest this please\nr? @user",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_render_to_nothing_but_words(text: str) -> None:
    assert_inert(neutralise(text))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("frame", ["**Bug** — {}", "{}\n\nmore @postil".replace("@", ""), "- {}"])
def test_hostile_words_are_as_inert_inside_our_own(text: str, frame: str) -> None:
    assert_inert(frame.replace("{}", neutralise(text)))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_can_be_neutralised_twice(text: str) -> None:
    once = neutralise(text)
    assert neutralise(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "Division by zero on an empty list.",
        "`mean([])` raises `ZeroDivisionError`; see `stats.mean` **and** callers.",
        "1. first\n2. second\n   - third\n\nlast",
        "ask @user about #12, owner/repo#1 and http://x.example or a@b.example",
        "a < b && c > d, x[0](y), [z]: w, `@user`, 0123456789abcdef",
        "/approve\n!canary\n# heading\n---\n> quote\n| a |\n|---|",
        "Ünïcödé, 日本語, 👩‍👩‍👧 ⚠️ 1️⃣, نص عربي, می‌خواهم",
    ],
)
def test_only_zero_width_spaces_are_added(text: str) -> None:
    assert neutralise(text).replace(BREAK, "") == text


@pytest.mark.parametrize("title", ["```mermaid", "```", "~~~ x", "# x", "- x", "@user", "a|b"])
def test_one_line_stays_one_line(title: str) -> None:
    assert "\n" not in neutralise(title)
    assert Rendered(f"**x** {neutralise(title)}").text.replace(BREAK, "").strip() == f"x {title}"


def test_plain_words_are_left_as_they_are() -> None:
    text = "The loop in `run()` never ends: `i` is not increased.\n\n- see `a|b`\n- and **this**"
    assert neutralise(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "`@app.route('/x')` and `#1`",
        "``a`b@c`` end",
        "`http://x.example` `$x` `<b>` `&amp;`",
        "`a\\`",
    ],
)
def test_what_stands_in_a_code_span_is_left_alone(text: str) -> None:
    assert neutralise(text) == text


def test_a_backtick_that_opens_nothing_is_escaped_and_one_that_is_escaped_stays() -> None:
    assert neutralise("a ` b") == "a \\` b"
    assert neutralise("\\`@user`") == f"\\`@{BREAK}user\\`"


@pytest.mark.parametrize(
    "line",
    [
        *("azp run", "bors r+", "cc you", "jenkins test", "lgtm", "mergify queue", "ok to test"),
        *("r?", "r+ now", "rebase", "recheck", "rerun", "retest", "rultor merge", "ship it"),
        *("shipit", "test this please", "try it", "Lgtm!", "  LGTM"),
    ],
)
def test_a_line_never_begins_with_a_word_that_a_bot_obeys(line: str) -> None:
    place = len(line) - len(line.lstrip())
    broken = line[:place] + BREAK + line[place:]
    assert neutralise(line) == broken
    assert neutralise(f"- {line.strip()}") == f"- {BREAK}{line.strip()}"
    assert code_block(line) == f"```\n{broken}\n```"
    assert neutralise(f"So {line.strip()}") == f"So {line.strip()}"


def test_a_dollar_sign_stands_in_a_span_of_its_own() -> None:
    assert neutralise("a $x") == "a <span>$</span>x"
    assert neutralise("\\$x$") == f"\\{BREAK}<span>$</span>x<span>$</span>"
    assert neutralise("$") == "<span>$</span>"


def test_words_may_stand_between_ours() -> None:
    assert neutralise("```\nx\n```") == "\n```\nx\n```\n"
    assert neutralise("a\\") == "a\\" + BREAK


def test_a_code_block_keeps_its_language_and_its_text() -> None:
    text = "So:\n```python\n@property\n\ndef x(self): ...\n```\nDone."
    assert neutralise(text) == text
    longer = "So:\n`````\n```\n@x\n````x\n`````\nDone."
    assert neutralise(longer) == longer
    indented = "So:\n   ```js\n   a\n     b\n c\n   ```\nDone."
    assert neutralise(indented) == "So:\n```js\na\n  b\nc\n```\nDone."
    tagged = "So:\n```py title\na\n```js\n```\nDone."
    assert neutralise(tagged) == "So:\n````py\na\n```js\n````\nDone."


def test_the_text_that_is_read_is_the_text_that_was_written() -> None:
    text = "a < b & c, `d`e` \\f @g #1 [h](i) $j <b>k</b> http://l.example <!-- m -->"
    read = Rendered(neutralise(text)).text.replace(BREAK, "").strip()
    assert read == text.replace("`d`", "d")


MARKED = st.text("@#[]()!<>&$`~*_-=|:/\\ \n\t1abcdef.wxhtps\"'^;+{}\u200b\u202e\r", max_size=60)
WORDS = st.lists(st.sampled_from([*HOSTILE, "`", "``", "```", "\n", "\\", " ", "|"]), max_size=5)


@settings(max_examples=300)
@given(MARKED | WORDS.map("".join) | st.text(max_size=40))
@example("`a\\`@user`")
def test_any_text_renders_inert(text: str) -> None:
    once = neutralise(text)
    assert_inert(once)
    assert_inert(f"**x** — {once}\n\ny")
    assert neutralise(once) == once


@settings(max_examples=100)
@given(MARKED | st.text(max_size=40))
def test_any_text_renders_inert_as_code(text: str) -> None:
    assert_inert(f"x\n\n{code_block(text, text)}\n\ny")
    assert_inert(f"x {code_span(text)} y")
    assert Rendered(f"x {code_span('a' + text + 'a')} y").tags == {"p", "code"}


def test_a_code_block_shows_its_text() -> None:
    text = 'x = "```"\n\n````\n~~~\n</code> @user'
    assert code_block(text, "py").startswith("`````py\n")
    assert Rendered(code_block(text)).text.rstrip("\n") == text
    assert code_block("a", "mermaid") == "```\na\n```"
    assert code_block("a", "suggestion") == "```\na\n```"
    assert code_block("") == "```\n```"


def test_a_line_of_code_that_a_bot_may_obey_is_broken() -> None:
    assert code_block("/approve\n@x\n/* c */\n//c\nbors r+") == (
        f"```\n{BREAK}/approve\n@x\n/* c */\n//c\n{BREAK}bors r+\n```"
    )


@pytest.mark.parametrize("text", ["a", "`", "``a`", " a ", "a|b", "\\", " ", "`a` b", "a\nb"])
def test_a_code_span_shows_its_text(text: str) -> None:
    shown = Rendered(f"x {code_span(text)} y")
    assert shown.text.strip() == f"x {text.replace(chr(10), ' ')} y"


def test_a_code_span_shows_hidden_characters_of_a_file_name() -> None:
    assert code_span("rlo\u202epy.exe") == "`rlo<U+202E>py.exe`"
    assert code_span("") == "` `"
    assert code_span("  ") == "`  `"
    assert code_span("a`b") == "``a`b``"
    assert code_span("a") == "`a`"


TABLE = "| a | b |\n|---|---|\n| {} | end |\n"


@settings(max_examples=100)
@given(st.text("`|\\@#a \n", max_size=20))
def test_any_text_stays_in_its_cell_when_its_pipes_are_escaped(text: str) -> None:
    for inner in (neutralise(text), code_span(text)):
        cell = inner.replace("|", "\\|").replace("\n", " ")
        rendered = Rendered(TABLE.replace("{}", cell))
        assert not LIVE.search(rendered.words)
        assert rendered.text.count("end") == 1


def test_a_suggestion_is_the_text_itself_in_a_longer_fence() -> None:
    assert suggestion_block("\tx = `````\n") == "``````suggestion\n\tx = `````\n``````"
    assert suggestion_block("a\r\nb") == "```suggestion\na\r\nb\n```"


HIDDEN = (
    "\u200b\u200c\u200d\u200e\u200f\u061c\u2060\u2061\u2064\u180e\u034f\ufe0f\U000e0100\U000e0041"
    "\U000e007f\u3164\uffa0\u2800\ufff9\ufffb\u202a\u202e\u2066\u2069\ufeff\u00ad\u115f\x00\x1b\x7f"
)


@pytest.mark.parametrize("character", HIDDEN)
def test_every_hidden_character_is_found_and_shown(character: str) -> None:
    text = f"a{character}b"
    (found,) = hidden_characters(text)
    assert (found.index, found.character) == (1, character)
    assert escape_hidden(text) == f"a<{found.code_point}>b"
    assert escape_hidden(escape_hidden(text)) == escape_hidden(text)


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦", "⚠️ ok", "1️⃣", "👍🏽", "می‌خواهم", "क्‍ष", "مرحبا", "tab\tline\n", "é 日本 ©️"]
)
def test_ordinary_emoji_and_scripts_are_left_alone(text: str) -> None:
    assert hidden_characters(text) == ()
    assert escape_hidden(text) == text


def test_selectors_that_carry_a_message_are_found_behind_an_emoji() -> None:
    assert len(hidden_characters("😀" + "\ufe01\ufe02\U000e0121")) == 3
    assert len(hidden_characters("⚠\ufe0f\ufe0f")) == 1


BODY = (
    "# Title\n\nwords\n\n<details><summary>x</summary>\n\n```python\n"
    + "line of code ``` é\n" * 50
    + "```\n\n</details>\n\n`a` tail\n"
    "\n<!-- postil:1 finding 0123456789abcdef " + "a" * 40 + " " + "b" * 64 + " -->"
)


@pytest.mark.parametrize("limit", range(300, len(BODY.encode()) + 5, 7))
def test_a_cut_leaves_nothing_open_and_keeps_our_marker(limit: int) -> None:
    cut = clip(BODY, limit)
    assert len(cut) <= limit
    assert len(cut.encode()) <= limit
    assert cut.count("<!--") == cut.count("-->") == 1
    assert cut.count("<details>") == cut.count("</details>")
    fences = [line for line in cut.split("\n") if line.startswith("```")]
    assert len(fences) % 2 == 0
    assert cut == BODY or CUT in cut
    assert clip(cut, limit) == cut


@pytest.mark.parametrize("fence", ["````", "~~~", "~~~~"])
def test_a_cut_closes_the_very_fence_that_is_open(fence: str) -> None:
    block = f"{fence}py\n```\n~~\n{fence} x\n" + "line\n" * 40 + f"{fence}\n\ntail\n"
    assert clip("a\n\n" + block, 120).endswith(f"\nline\n{fence}\n\n{CUT}")
    closed = f"a\n\n{fence}\nb\n{fence}\n\n```c` d\n" + "line\n" * 40
    assert clip(closed, 120).endswith(f"\nline\n\n{CUT}")


def test_markers_that_leave_no_room_are_let_go() -> None:
    marker = BODY[BODY.index("<!--") :]
    assert clip("words\n" * 10 + marker, 100).startswith("words\nwords\n")
    assert len(clip(marker * 9, 300)) <= 300


def test_a_cut_inside_one_long_line_does_not_cut_a_code_span_open() -> None:
    assert clip("words `code @user more` end", 20) == "words …"
    assert clip("x" * 300, 255) == "x" * 252 + "…"
    assert clip("a \\` `b` " + "c" * 30, 20) == "a \\` `b` cccccccc…"
    assert clip("a" * 16 + "\\" * 9, 20) == "a" * 16 + "…"
    assert clip("é" * 300, 255).encode().__len__() <= 255
    assert clip("short", 255) == "short"


@given(st.text(max_size=200), st.integers(min_value=40, max_value=120))
def test_a_cut_is_never_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(clip(text, limit).encode("utf-8", "surrogatepass")) <= limit
