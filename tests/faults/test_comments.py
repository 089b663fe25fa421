"""What is said: words that GitHub does not take, or whose taking it does not tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from app.adapters.github.limits import BODY
from app.adapters.github.posting import CLOSED, MOVED
from app.core.markdown import CUT
from app.core.review import DISPLACED
from sandbox.github import Pull, User
from sandbox.github.reviews import create_review, reply
from sandbox.github.state import Author, Reaction
from tests.e2e.conftest import check, comments, replies, spots, told
from tests.faults.calls import (
    BEGIN,
    CLOSE,
    COMMAND,
    EYES,
    LAST_WORDS,
    NONE,
    ON_FILE,
    PLAIN,
    PULL,
    REVIEW,
    SUMMARY,
    TALK,
    TOKEN,
    Calls,
    calls,
    check_calls,
    often,
)
from tests.faults.pulls import (
    DEFECTS,
    MANY,
    MANY_AT_ONCE,
    Facts,
    review,
    review_many,
)
from tests.faults.world import World, fault

LOST: dict[str, Facts] = {"a 502": {"status": 502}, "silence": {"hang": True}}
AT_ONCE = 10
"""Comments of one review, in stories of more than one."""
LONGEST = 6_000
"""Characters that this GitHub takes, so that a model can say more in one answer."""
LINE = "Nothing stops their sum from being zero. \N{SLIGHTLY SMILING FACE}"
LONG = "\n".join(("Because:", "", LINE, "", "```python", *["xs = [-1, 1]"] * 9, "```"))
SUPERSEDED = "is no longer the head; the newest commit is reviewed instead"


def texts(pull: Pull) -> list[str]:
    """Return what our App said in threads."""
    return [one.body for one in pull.review_comments if one.author.app is not None]


def speak_in_conversation(world: World, pull: Pull, who: User) -> list[Reaction]:
    del world
    return pull.comment(who, "/postil help").reactions


def speak_in_thread(world: World, pull: Pull, who: User) -> list[Reaction]:
    (first,) = pull.review_comments
    return reply(world.github, first, Author(who), {"body": "/postil help"}).reactions


PLACES: dict[str, tuple[Callable[[World, Pull, User], list[Reaction]], Calls]] = {
    "conversation": (speak_in_conversation, COMMAND + EYES + TALK),
    "thread": (
        speak_in_thread,
        COMMAND
        - EYES
        - SUMMARY
        + TALK
        + calls("""
        POST pulls/comments/{comment}/reactions x2
        POST pulls/{number}/comments/{comment}/replies
        """),
    ),
}


# an answer to a word is lost


@fault(
    "A line is refused, and the answers to the comment on its file and to the summary are lost",
    "each is said once",
)
@pytest.mark.parametrize("how", LOST)
def test_comments_on_files_and_summaries_whose_answers_are_lost(house: World, how: str) -> None:
    name = f"filed-{len(how)}"
    house.inject("POST", "/pulls/1/reviews$", times=None, status=422)
    house.inject("POST", "/pulls/1/comments$", apply=1, **LOST[how])
    house.inject("POST", "/issues/1/comments$", apply=1, **LOST[how])
    pull = review(house, name)
    assert [(path, line) for path, line, _ in comments(pull)] == [(f"{name}.py", 0)]
    assert len(replies(pull)) == 1
    check_calls(house, pull.repository, PLAIN + ON_FILE + SUMMARY + often(TALK, 2))


@fault(
    "The answers to the eyes under a command and to what it is answered are lost",
    "one pair of eyes, one answer",
)
@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("place", PLACES)
def test_answers_to_commands_that_are_lost(house: World, how: str, place: str) -> None:
    pull = review(house, f"asked-{len(how)}-{place}")
    wilma = house.stage.user("wilma")
    pull.repository.grant(wilma, "write")
    for pattern in (r"/comments/\d+/reactions$", r"/issues/1/comments$|/\d+/replies$"):
        house.inject("POST", pattern, apply=1, **LOST[how])
    speak, answered = PLACES[place]
    reactions = speak(house, pull, wilma)
    house.wait_until_done()
    answers = [body for body in (*replies(pull), *texts(pull)) if "/postil help" in body]
    assert len(answers) == 1
    assert [(one.user, one.content) for one in reactions] == [(house.stage.app.bot, "eyes")]
    check_calls(house, pull.repository, PLAIN + TOKEN + answered)


@fault(
    "A pending review of ours is in the way, and the answer to its removal is lost",
    "it is removed and the review posted, and a person's pending one is left alone",
)
@pytest.mark.parametrize("how", LOST)
def test_a_pending_review_in_the_way(house: World, how: str) -> None:
    name = f"pending-{len(how)}"
    repository = house.create_repository(f"acme/{name}")
    with house.github.quietly():
        pull = house.stage.open_pull(repository)
    ours, robin = house.stage.app.bot, house.stage.user("robin")
    for author in (Author(ours, house.stage.app), Author(robin)):
        create_review(house.github, pull, author, {"body": "draft"})
    house.inject("DELETE", r"/pulls/1/reviews/\d+$", apply=1, **LOST[how])
    house.github.deliver("pull_request", house.stage.payload(pull, "opened"))
    house.wait_until_done()
    assert spots(pull) == [(f"{name}.py", 2)]
    assert [(one.author.user, one.state) for one in pull.reviews] == [
        (robin, "PENDING"),
        (ours, "COMMENTED"),
    ]
    remove = calls("DELETE pulls/{number}/reviews/{review} x2\nGET pulls/{number}/reviews")
    check_calls(house, repository, PLAIN + REVIEW + remove)


# comments that GitHub does not take


@fault(
    "GitHub takes 29 of 30 comments",
    "29 stand on their lines; the bad one, found by halves, on its file or, with why, in a comment",
)
@pytest.mark.parametrize("on_file", [True, False], ids=["file", "nowhere"])
def test_one_bad_comment_of_thirty(house: World, *, on_file: bool) -> None:
    name = f"bisected-{on_file}".lower()
    why = "line must be part of the diff"
    bad = {"status": 422, "body": {"message": "Unprocessable Entity", "errors": [why]}}
    house.inject("POST", "/pulls/1/reviews$", holds='"line": 31,', times=None, **bad)
    if not on_file:
        house.inject("POST", "/pulls/1/comments$", times=None, status=422)
    pull = review_many(house, name)
    lines = sorted(line for _, line in spots(pull))
    good = {*range(1, 3 * MANY, 3)} - {31}
    assert lines == sorted({0, *good} if on_file else good)
    posts = house.github.called("POST", f"/{name}/pulls/1/reviews$")
    assert len(posts) <= 2 * math.log2(MANY) + 2
    # before each but the first the head is looked at
    more = often(PULL + REVIEW, len(posts) - 1) + ON_FILE
    if not on_file:
        (summary,) = replies(pull)
        assert f"`{name}.py:31`" in summary
        assert why in summary
        more += SUMMARY
    check_calls(house, pull.repository, PLAIN + more)


@fault(
    "GitHub takes no comment at all",
    "all of them stand in one summary, the check run is neutral, and it is not tried on",
)
def test_comments_that_are_all_refused(house: World) -> None:
    house.inject("POST", "/pulls/1/(reviews|comments)$", times=None, status=422)
    pull = review_many(house, "refused")
    assert spots(pull) == []
    (summary,) = replies(pull)
    assert summary.count("`refused.py:") == MANY
    assert check(pull).conclusion == "neutral"
    assert DISPLACED in told(check(pull))
    posts = house.github.called("POST", "/refused/pulls/1/(reviews|comments)$")
    assert len(posts) < MANY
    check_calls(house, pull.repository, PLAIN + often(PULL + REVIEW, len(posts) - 1) + SUMMARY)


@fault(
    "What is to be said in one comment is longer than GitHub takes",
    "it is cut between lines, with no code block left open; the check run names what is not there",
)
def test_words_that_are_too_long(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.github.limits.body_characters > BODY
    narrow = replace(house.github.limits, body_characters=LONGEST)
    monkeypatch.setattr(house.github, "limits", narrow)
    monkeypatch.setattr("app.adapters.github.posting.BODY", LONGEST - 200)
    house.plant(r"/ sum\(", title="Divides by a sum", why=LONG)
    house.inject("POST", "/pulls/1/(reviews|comments)$", times=None, status=422)
    repository = house.create_repository("acme/wordy", {".postil.toml": MANY_AT_ONCE})
    defects = DEFECTS.replace("/ len(", "/ sum(")
    pull = house.stage.open_pull(repository, {"wordy.py": defects.encode()})
    house.wait_until_done()
    (summary,) = replies(pull)
    assert len(summary.encode("utf-16-le")) // 2 < LONGEST
    assert CUT in summary
    assert summary.count("```") % 2 == 0
    words = [line for line in summary.splitlines() if line.startswith(LINE[:6])]
    assert words
    assert set(words) == {LINE}
    # every one is named where there is room for names
    places = re.findall(r"`wordy\.py:(\d+)`", told(check(pull)))
    assert sorted(map(int, places)) == [*range(1, 3 * MANY, 3)]
    assert summary.count("`wordy.py:") < MANY
    posts = house.github.called("POST", "/wordy/pulls/1/(reviews|comments)$")
    check_calls(house, repository, PLAIN + often(PULL + REVIEW, len(posts) - 1) + SUMMARY)


# a push amid the comments


@fault(
    "A push between two parts of a long review, and we are told or not",
    "what stands is kept, the old check run says that the newer commit has the rest; no repetition",
)
@pytest.mark.parametrize("told_of", [True, False], ids=["heard", "unheard"])
def test_a_push_between_two_parts_of_a_review(
    house: World, monkeypatch: pytest.MonkeyPatch, *, told_of: bool
) -> None:
    monkeypatch.setattr("app.adapters.github.posting.COMMENTS_PER_REVIEW", AT_ONCE)
    name = f"pushed-{told_of}".lower()
    changed = {f"{name}.py": f"# Means.\n{DEFECTS}".encode()}
    repository = house.create_repository(f"acme/{name}", {".postil.toml": MANY_AT_ONCE})

    def push() -> None:
        with ExitStack() as stack:
            if not told_of:
                stack.enter_context(house.github.quietly())
            repository.pulls[1].push(changed)

    house.inject("POST", "/pulls/1/reviews$", then=push)
    pull = house.stage.open_pull(repository, {f"{name}.py": DEFECTS.encode()})
    first = pull.head_sha
    house.wait_until_done()
    if not told_of:
        assert [one.commit_id for one in pull.reviews] == [first]
        assert len(comments(pull)) == AT_ONCE
        house.github.deliver("pull_request", house.stage.payload(pull, "synchronize"))
        house.wait_until_done()
    heads = [one.commit_id for one in pull.reviews]
    assert heads == [first, pull.head_sha, pull.head_sha]
    said = [(one.review.commit_id, one.thread.original.line or 0) for one in pull.review_comments]
    assert sum(sha == first for sha, _ in said) == AT_ONCE
    # the push put a line before all the others
    assert sorted(line + (sha == first) for sha, line in said) == [*range(2, 3 * MANY + 1, 3)]
    old = check(pull, first)
    assert (old.status, old.conclusion) == ("completed", "neutral")
    assert SUPERSEDED in told(old) or MOVED in told(old)
    assert told_of or MOVED in told(old)
    assert check(pull).conclusion == "success"
    # who hears of the push may complete the old check run at once, or both do
    more = TOKEN + BEGIN + TALK + often(REVIEW, 2) + often(PULL, 2)
    ends, may = (LAST_WORDS, CLOSE) if told_of else (CLOSE, NONE)
    check_calls(house, repository, PLAIN + more + ends, may=may)


@fault(
    "The pull request is closed or merged between two parts of a long review",
    "what stands is kept and no more is said; the check run says so, neutral",
)
@pytest.mark.parametrize("end", ["close", "merge"])
def test_an_end_between_two_parts_of_a_review(
    house: World, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("app.adapters.github.posting.COMMENTS_PER_REVIEW", AT_ONCE)
    repository = house.create_repository(f"acme/{end}d", {".postil.toml": MANY_AT_ONCE})

    def finish() -> None:
        with house.github.quietly():
            getattr(repository.pulls[1], end)()

    house.inject("POST", "/pulls/1/reviews$", then=finish)
    pull = house.stage.open_pull(repository, {f"{end}d.py": DEFECTS.encode()})
    house.wait_until_done()
    assert (len(comments(pull)), replies(pull)) == (AT_ONCE, [])
    assert check(pull).conclusion == "neutral"
    assert CLOSED in told(check(pull))
    check_calls(house, repository, PLAIN + PULL)
