"""The page shows the pull request, and nothing written on it leaves its box."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.github import Pull
from sandbox.github.markdown import TAGS, VOID, render
from tests.sandbox.conftest import Client, Scene

PAGE = "/acme/shop/pull/1"
HOSTILE = st.text(
    st.sampled_from("<>/!-\"'=`*_[](){}#&; \nabdipt") | st.characters(codec="utf-8"), max_size=60
)
PIECES = st.lists(
    st.sampled_from(
        ["<details>", "</div>", "<script>", "</script>", "<!--", "-->", "```", "<b", "onclick=",
         "<a href='javascript:x'>", "<img src=x>", "</table>", "<style>", "![a](http://h/x)", "\n"]
    )
    | HOSTILE,
    max_size=8,
)  # fmt: skip


class Balance(HTMLParser):
    """Reads HTML and remembers every tag, failing on one that closes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)
        if tag not in VOID | {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(PIECES.map("".join))
def test_comments_stay_inside_their_box(text: str) -> None:
    read = Balance()
    read.feed(str(render(text)))
    assert read.open == []
    assert read.tags <= TAGS
    assert {name for name, _ in read.attributes} <= {"href", "class", "open", "style"}
    links = [value or "" for name, value in read.attributes if name == "href"]
    assert not any(link.lower().lstrip().startswith(("javascript:", "data:")) for link in links)


def test_markdown_is_rendered() -> None:
    html = str(render("**a** `b` <!-- hidden -->\n\n| c |\n|--:|\n| d |\n\n- e\n"))
    for part in ("<strong>a</strong>", "<code>b</code>", "<td", "d</td>", "<li>e</li>"):
        assert part in html
    assert "hidden" not in html


def test_a_suggestion_is_shown_as_a_diff() -> None:
    html = str(render("```suggestion\nnew <b>\n```", ["old"]))
    assert '<span class="del">- old</span>' in html
    assert '<span class="add">+ new &lt;b&gt;</span>' in html


@pytest.fixture
def busy(scene: Scene) -> Scene:
    body = "**major** division\n```suggestion\nline 21\n```"
    comments = [
        {"path": "cart.py", "line": 20, "start_line": 19, "body": body},
        {"path": "cart.py", "line": 20, "side": "LEFT", "body": "left <script>alert(1)</script>"},
    ]
    review = {"event": "COMMENT", "body": "Two *findings*", "comments": comments}
    scene.client.post("/repos/acme/shop/pulls/1/reviews", review)
    output = {"title": "2 findings", "summary": "All **read**"}
    run = {"name": "Postil", "head_sha": scene.pull.head_sha, "conclusion": "neutral"}
    scene.client.post("/repos/acme/shop/check-runs", run | {"output": output})
    scene.pull.comment(scene.alice, "Thanks")
    return scene


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}/files"])
def test_the_page_is_whole_and_loads_nothing(busy: Scene, path: str) -> None:
    answer = Client(busy.github).get(path)
    assert answer.status == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    read = Balance()
    read.feed(answer.body.decode())
    assert read.open == []
    assert "script" not in read.tags
    assert not {name for name, _ in read.attributes} & {"src", "srcset", "onclick"}


def test_the_page_shows_what_was_said_and_decided(busy: Scene) -> None:
    text = Client(busy.github).get(PAGE).body.decode()
    for part in (
        "Twenty and a half",
        "Two <em>findings</em>",
        "<strong>major</strong>",
        "Comment on lines +19 to +20",
        "Comment on line -20",
        "&lt;script&gt;",
        "2 findings",
        "All <strong>read</strong>",
        "neutral",
        "Thanks",
        '<span class="del">- line twenty</span>',
    ):
        assert part in text, part


def test_comments_stand_under_their_lines(busy: Scene) -> None:
    text = Client(busy.github).get(f"{PAGE}/files").body.decode()
    line = text.index("<mark>twenty</mark>") if "<mark>" in text else text.index("line twenty")
    assert line < text.index("Comment on lines +19 to +20") < text.rindex("and a half")


def test_an_outdated_comment_is_kept_in_the_conversation(busy: Scene, pull: Pull) -> None:
    pull.push({"cart.py": "nothing left\n"})
    client = Client(busy.github)
    assert "Outdated" in client.get(PAGE).body.decode()
    assert "Comment on lines" not in client.get(f"{PAGE}/files").body.decode()
