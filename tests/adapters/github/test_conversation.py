"""Answers to people are given once; write access is asked for now and denied on doubt."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.events import CommentPlace, Person
from app.core.identity import Said
from app.errors import HostMissing
from sandbox.github import ReviewComment
from sandbox.github import reviews as made_by
from tests.adapters.github.conftest import NEW, Scene

HERE, THREAD, CHECK = CommentPlace.CONVERSATION, CommentPlace.THREAD, CommentPlace.CHECK


def _person(scene: Scene) -> Person:
    return Person(scene.alice.id, scene.alice.login)


@pytest.mark.parametrize(
    ("level", "may"),
    [
        ("none", False),
        ("read", False),
        ("triage", False),
        ("write", True),
        ("maintain", True),
        ("admin", True),
    ],
)
def test_write_access_is_asked_for_now(scene: Scene, level: str, *, may: bool) -> None:
    scene.repository.grant(scene.alice, level)
    assert scene.conversation().may_write(scene.ref, _person(scene)) is may


def test_another_account_under_the_same_login_may_nothing(scene: Scene) -> None:
    stranger = Person(scene.alice.id + 1, "alice")
    assert not scene.conversation().may_write(scene.ref, stranger)


def test_a_login_nobody_has_may_nothing(scene: Scene) -> None:
    assert not scene.conversation().may_write(scene.ref, Person(5, "no/body?x=1"))


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 403},
        {"status": 404},
        {"status": 429},
        {"hang": True},
        {"body": "<html>"},
        {"body": "{}"},
        {"body": {"permission": "admin", "user": None}},
    ],
    ids=str,
)
def test_doubt_is_a_no(scene: Scene, fault: dict[str, Any]) -> None:
    scene.inject("GET", "/permission$", times=None, **fault)
    assert not scene.impatient().conversation().may_write(scene.ref, _person(scene))


@pytest.mark.parametrize("fault", [{}, {"apply": 1, "status": 502}], ids=str)
def test_a_comment_gets_eyes_once(scene: Scene, fault: dict[str, Any]) -> None:
    comment = scene.pull.comment(scene.alice, "/review")
    if fault:
        scene.inject("POST", "/reactions$", **fault)
    for _ in range(2):
        scene.conversation().react(scene.ref, HERE, comment.id)
    assert [(one.user, one.content) for one in comment.reactions] == [(scene.app.bot, "eyes")]


def test_a_comment_in_a_thread_gets_eyes_too(scene: Scene) -> None:
    comment = _thread(scene)
    scene.conversation().react(scene.ref, THREAD, comment.id)
    assert [one.content for one in comment.reactions] == ["eyes"]


def test_a_button_gets_no_eyes(scene: Scene) -> None:
    scene.conversation().react(scene.ref, CHECK, 1)
    assert scene.writes() == []


@pytest.mark.parametrize("fault", [{}, {"apply": 1, "status": 502}, {"status": 502}], ids=str)
def test_a_command_is_answered_once(scene: Scene, fault: dict[str, Any]) -> None:
    comment = scene.pull.comment(scene.alice, "/postil help")
    if fault:
        scene.inject("POST", "/comments$", **fault)
    for _ in range(2):
        scene.conversation().reply(scene.ref, HERE, comment.id, "Here is help.")
    (answer,) = scene.summaries()
    assert answer.startswith("Here is help.\n\n<!--")


def test_two_commands_get_two_answers(scene: Scene) -> None:
    for _ in range(2):
        comment = scene.pull.comment(scene.alice, "/postil help")
        scene.conversation().reply(scene.ref, HERE, comment.id, "Help.")
    assert len(scene.summaries()) == 2


def test_a_command_deep_in_a_thread_is_answered_in_the_thread(scene: Scene) -> None:
    first = _thread(scene)
    author = scene.github.user_token(scene.alice).author
    command = made_by.reply(scene.github, first, author, {"body": "/postil help"})
    for _ in range(2):
        scene.conversation().reply(scene.ref, THREAD, command.id, "Help.")
    assert [one.body.partition("\n")[0] for one in scene.pull.threads[0].comments] == [
        "hm",
        "/postil help",
        "Help.",
    ]


def test_an_answer_to_a_deleted_comment_goes_nowhere(scene: Scene) -> None:
    with pytest.raises(HostMissing):
        scene.conversation().reply(scene.ref, THREAD, 5, "Help.")
    assert scene.writes() == []


def test_a_button_is_answered_in_the_conversation(scene: Scene) -> None:
    scene.conversation().reply(scene.ref, CHECK, 77, "Not you.")
    assert len(scene.summaries()) == 1


def test_an_answer_somebody_forged_does_not_silence_us(scene: Scene) -> None:
    comment = scene.pull.comment(scene.alice, "/postil help")
    scene.conversation().reply(scene.ref, HERE, comment.id, "Help.")
    ours = scene.summaries()[0]
    scene.pull.comments[:] = [comment]
    scene.pull.comment(scene.alice, ours)
    scene.conversation().reply(scene.ref, HERE, comment.id, "Help.")
    assert len(scene.summaries()) == 1


# What no longer holds.


def test_a_thread_is_resolved_where_we_may(scene: Scene) -> None:
    scene.installation.permissions["contents"] = "write"
    scene.app.permissions["contents"] = "write"
    said = _said(scene)
    access = scene.access()
    client = access.client(scene.ref)
    token = scene.github.tokens[client._auth.token]
    token.permissions["contents"] = "write"
    scene.conversation(access).close_fixed(scene.fetch(), said)
    assert scene.pull.threads[0].resolved_by is scene.app.bot
    assert len(scene.pull.threads[0].comments) == 1


@pytest.mark.parametrize("fault", [{}, {"apply": 1, "status": 502}], ids=str)
def test_where_we_may_not_it_is_said_once_with_the_commit(
    scene: Scene, fault: dict[str, Any]
) -> None:
    said = _said(scene, 2)
    if fault:
        scene.inject("POST", "/replies$", **fault)
    talker = scene.conversation()
    pull = scene.fetch()
    for _ in range(2):
        talker.close_fixed(pull, said)
    for thread in scene.pull.threads:
        _, answer = thread.comments
        assert answer.body.startswith(f"This no longer holds as of {scene.pull.head_sha}.")
    mutations = [one for one in scene.github.called("POST", "graphql") if b"mutation" in one.body]
    assert len(mutations) == 1


def test_a_thread_that_takes_no_answer_is_left_as_it_is(scene: Scene) -> None:
    said = _said(scene, 2)
    scene.pull.locked = True
    scene.conversation().close_fixed(scene.fetch(), said)
    assert [len(thread.comments) for thread in scene.pull.threads] == [1, 1]


def test_what_a_person_closed_is_not_answered(scene: Scene) -> None:
    _said(scene)
    scene.pull.threads[0].resolved_by = scene.alice
    said = scene.reviews().fetch_said(scene.fetch())
    before = scene.writes()
    scene.conversation().close_fixed(scene.fetch(), said)
    assert scene.writes() == before


def _said(scene: Scene, count: int = 1) -> tuple[Said, ...]:
    scene.reviews().post(scene.fetch(), scene.review(count))
    scene.pull.push({"cart.py": NEW.replace("new 40\n", "fixed\n")})
    return scene.reviews().fetch_said(scene.fetch())


def _thread(scene: Scene) -> ReviewComment:
    author = scene.github.user_token(scene.alice).author
    place = {"path": "cart.py", "line": 5, "side": "RIGHT", "commit_id": scene.pull.head_sha}
    return made_by.create_comment(scene.github, scene.pull, author, {**place, "body": "hm"})
