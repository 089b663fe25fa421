"""Commands in comments: rights first, then one answer, once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from app.answers import FOCUSED, Answers
from app.core.commands import HELP, parse_command
from app.core.events import AUTO, FULL, CommandRequest, CommentPlace, Person, ReviewRequest
from app.core.job import Verdict
from app.core.pull import PullRequest
from tests.fakes import BASE, HEAD, REF, FakeCode, FakeConversation, FakeDesk, FakePulls

WRITER, AUTHOR, STRANGER = Person(1, "wilma"), Person(5, "robin"), Person(9, "mallory")
BOT = Person(1, "wilma", is_bot=True)
COMMENT = 77
PULL = PullRequest(REF, "Simplify", "", AUTHOR.id, AUTHOR.login, BASE, HEAD)
PRIVATE = "`{}` needs write access to this repository."


@dataclass
class Thread:
    """One pull request's conversation."""

    pull: PullRequest = PULL
    desk: FakeDesk = field(default_factory=FakeDesk)
    said: FakeConversation = field(
        default_factory=lambda: FakeConversation(writers=frozenset({WRITER.id}))
    )

    def comment(self, text: str, sender: Person = WRITER) -> None:
        request = CommandRequest(
            REF, parse_command(text), CommentPlace.CONVERSATION, COMMENT, sender
        )
        pulls = FakePulls(self.pull, FakeCode({}))
        Answers(pulls, self.said, lambda _: "At most $0.10.").answer(request, self.desk)

    @property
    def reply(self) -> str | None:
        """The one answer."""
        assert len(self.said.replies) <= 1
        return self.said.replies[0][1] if self.said.replies else None


def test_a_writers_wish_is_seen_and_granted() -> None:
    thread = Thread()
    thread.comment("/review empty lists, please")
    (asked,) = thread.desk.armed
    assert asked == ReviewRequest(
        REF,
        HEAD,
        BASE,
        "command",
        WRITER,
        kind=AUTO,
        title="Simplify",
        focus="empty lists, please",
        forced=True,
        cause=f"command:{REF.repository_id}:conversation:{COMMENT}",
    )
    assert thread.said.eyes == [COMMENT]
    assert thread.reply is None


def test_review_full_is_a_review_of_everything() -> None:
    thread = Thread()
    thread.comment("/review full")
    assert [asked.kind for asked in thread.desk.armed] == [FULL]


def test_the_author_may_ask_for_a_review_and_for_nothing_else() -> None:
    thread = Thread()
    thread.comment("/review", AUTHOR)
    assert len(thread.desk.armed) == 1
    thread.comment("/postil pause", AUTHOR)
    assert thread.reply == PRIVATE.format("pause")


def test_an_author_without_rights_has_no_wishes() -> None:
    thread = Thread()
    thread.comment("/review look at the queries", AUTHOR)
    assert thread.reply == FOCUSED
    assert thread.desk.armed == []
    assert thread.desk.paused == []


@pytest.mark.parametrize("sender", [STRANGER, BOT, replace(AUTHOR, is_bot=True)])
@pytest.mark.parametrize("text", ["/review", "/postil help", "/postil cancel", "/postil nonsense"])
def test_a_stranger_or_a_bot_gets_nothing_at_all(sender: Person, text: str) -> None:
    thread = Thread()
    thread.comment(text, sender)
    assert (thread.desk.armed, thread.said.eyes, thread.said.replies) == ([], [], [])


def test_a_closed_pull_is_not_reviewed() -> None:
    thread = Thread(pull=replace(PULL, open=False))
    thread.comment("/review")
    assert thread.desk.armed == []
    assert thread.reply == "This pull request is closed; nothing is reviewed."


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.ARM, None),
        (Verdict.RUNNING, "under way"),
        (Verdict.DONE, "reviewed already"),
        (Verdict.PAUSED, "paused"),
    ],
)
def test_a_wish_that_changes_nothing_is_answered_in_a_line(
    verdict: Verdict, words: str | None
) -> None:
    thread = Thread(desk=FakeDesk(verdict))
    thread.comment("/review")
    assert (thread.reply is None) == (words is None)
    assert (words or "") in (thread.reply or "")


def test_pause_and_resume_are_kept_and_confirmed() -> None:
    thread = Thread()
    thread.comment("/postil pause\n\n/postil resume")
    assert thread.desk.paused == [True, False]
    assert thread.reply is not None
    assert thread.reply.startswith("Paused")
    assert "Resumed" in thread.reply


@pytest.mark.parametrize(
    ("running", "reply"), [(True, "Cancelled."), (False, "No review is waiting or running.")]
)
def test_cancel_says_whether_there_was_something_to_cancel(*, running: bool, reply: str) -> None:
    thread = Thread(desk=FakeDesk(running=running))
    thread.comment("/postil cancel")
    assert thread.reply == reply


@pytest.mark.parametrize(
    ("text", "reply"), [("/postil help", HELP), ("/postil estimate", "At most $0.10.")]
)
def test_a_question_gets_its_answer(text: str, reply: str) -> None:
    thread = Thread()
    thread.comment(text)
    assert thread.reply == reply
    assert thread.said.eyes == [COMMENT]


def test_what_is_meant_as_a_command_and_is_none_is_answered_too() -> None:
    thread = Thread()
    thread.comment("/postil dance")
    assert thread.reply is not None
    assert "dance" in thread.reply
    assert thread.desk.armed == []


def test_several_commands_of_one_comment_get_one_answer() -> None:
    thread = Thread()
    thread.comment("/postil help\n\n/postil estimate")
    assert thread.reply == f"{HELP}\n\nAt most $0.10."
