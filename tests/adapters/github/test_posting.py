"""Each thing is said once, at the right place, whatever GitHub does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.adapters.github import talk
from app.adapters.github.marks import FINDING, REPLY, Marks
from app.adapters.github.posting import sign_review
from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.review import Comment, Review
from app.errors import HostLimited, HostRefused, HostUnavailable
from app.ports import Posted
from sandbox.github import reviews as made_by
from sandbox.github.state import Author
from tests.adapters.github.conftest import JOB, NEW, Scene, name, report
from tests.adapters.github.one_review import KEY


def _post(scene: Scene, review: Review) -> Posted:
    return scene.reviews().post(scene.fetch(), review)


def _posts(scene: Scene, pattern: str = "/reviews$") -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in scene.github.called("POST", pattern)]


# Where and how.


def test_a_comment_names_line_and_side_and_never_a_position(scene: Scene) -> None:
    review = scene.review(1)
    comments = (
        Comment(Anchor("cart.py", Side.LEFT, 3, 3), "one", name(1)),
        Comment(Anchor("cart.py", Side.RIGHT, 4, 9), "two", name(2)),
    )
    _post(scene, Review(JOB, review.head_sha, review.body, comments, report()))
    (sent,) = _posts(scene)
    assert (sent["event"], sent["commit_id"]) == ("COMMENT", scene.pull.head_sha)
    said = [one.pop("body") for one in sent["comments"]]
    assert [body.partition("\n\n<!-- postil:1 finding")[0] for body in said] == ["one", "two"]
    assert sent["comments"] == [
        {"path": "cart.py", "side": "LEFT", "line": 3},
        {"path": "cart.py", "side": "RIGHT", "line": 9, "start_line": 4, "start_side": "RIGHT"},
    ]


def test_comments_go_in_batches_of_thirty_and_the_body_once(scene: Scene) -> None:
    posted = _post(scene, scene.review(60))
    assert posted.comments == 60
    assert [len(sent["comments"]) for sent in _posts(scene)] == [30, 30]
    assert [bool(sent["body"]) for sent in _posts(scene)] == [True, False]
    assert scene.lines_said() == list(range(1, 61))


def test_nothing_to_say_writes_nothing(scene: Scene) -> None:
    posted = _post(scene, scene.review(0, body=""))
    assert (posted.review_id, posted.comments, scene.writes()) == (None, 0, [])


def test_a_body_too_long_is_cut_and_keeps_its_marker(scene: Scene) -> None:
    review = scene.review(1)
    long = "".join(f"- line {number} 🙂\n" for number in range(9000))
    comment = Comment(review.comments[0].anchor, long, name(1))
    _post(scene, Review(JOB, review.head_sha, review.body, (comment,), report()))
    (said,) = scene.pull.review_comments
    assert len(said.body.encode()) <= 60_000
    assert [one.fingerprint for one in scene.reviews().fetch_said(scene.fetch())] == [name(1)]


# An answer is lost.


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 502},
        {"status": 500},
        {"hang": True},
        {"reset": True},
        {"cut_after_bytes": 30},
        {"body": "<html>"},
        {"body": "{}"},
        {"body": '{"id": "x"}'},
    ],
    ids=str,
)
def test_a_review_whose_answer_was_lost_is_not_posted_again(
    scene: Scene, fault: dict[str, Any]
) -> None:
    review = scene.review(3)
    scene.inject("POST", "/reviews$", apply=1, **fault)
    posted = _post(scene.impatient(), review)
    assert scene.lines_said() == [1, 2, 3]
    assert len(scene.pull.reviews) == 1
    assert posted.review_id == scene.pull.reviews[0].id
    assert posted.comments == 3


def test_a_review_that_was_lost_on_the_way_is_posted_again(scene: Scene) -> None:
    review = scene.review(2)
    scene.inject("POST", "/reviews$", status=502)
    _post(scene, review)
    assert scene.lines_said() == [1, 2]


def test_a_list_that_lags_is_waited_for(scene: Scene) -> None:
    review = scene.review(2)
    scene.inject("POST", "/reviews$", apply=1, status=502)
    scene.github.lag(3)
    _post(scene, review)
    assert scene.lines_said() == [1, 2]
    assert len(scene.github.called("POST", "/reviews$")) == 1


def test_an_outcome_that_stays_unknown_is_left_to_the_next_attempt(scene: Scene) -> None:
    review = scene.review(2)
    fault = scene.inject("POST", "/reviews$", status=502, times=None)
    with pytest.raises(HostUnavailable):
        _post(scene, review)
    assert len(scene.github.called("POST", "/reviews$")) == 2
    scene.github.script.faults.remove(fault)
    _post(scene, review)
    assert scene.lines_said() == [1, 2]


def test_a_review_stored_twice_by_github_is_still_known(scene: Scene) -> None:
    review = scene.review(1)
    scene.inject("POST", "/reviews$", apply=2, status=502)
    assert _post(scene, review).comments == 1


def test_a_limit_in_the_middle_is_the_scheduler_s_and_nothing_is_repeated(scene: Scene) -> None:
    review = scene.review(60)
    scene.inject("POST", "/reviews$", nth=2, status=429, headers={"Retry-After": "120"})
    with pytest.raises(HostLimited) as error:
        _post(scene, review)
    assert error.value.retry_after == 120
    scene.time.now += 121
    _post(scene, review)
    assert scene.lines_said() == list(range(1, 61))


# A line is refused.


def test_one_bad_comment_of_thirty_is_found_and_said_on_the_file(scene: Scene) -> None:
    review = scene.bad_line(scene.review(30), 17)
    posted = _post(scene, review)
    on_lines = [number for number in range(1, 31) if number != 18]
    assert [one for one in scene.lines_said() if one] == on_lines
    assert len(_posts(scene)) <= 2 * math.log2(30) + 2
    (on_file,) = [one for one in scene.pull.review_comments if one.thread.subject == "file"]
    assert "About line 900" in on_file.body
    assert posted.comments == 30
    assert scene.summaries() == []
    assert sum(bool(one.body) for one in scene.pull.reviews) == 1


def test_what_the_file_refuses_too_is_said_in_the_summary(scene: Scene) -> None:
    review = scene.bad_line(scene.review(4), 2)
    scene.inject("POST", "/pulls/1/comments$", status=422, body={"message": "no"})
    posted = _post(scene, review)
    assert [one for one in scene.lines_said() if one] == [1, 2, 4]
    (summary,) = scene.summaries()
    assert "`cart.py:900`" in summary
    assert "Line could not be resolved" in summary
    assert "About line 3" in summary
    assert posted.comments == 4
    before = scene.writes()
    assert _post(scene, review).comments == 4
    assert scene.writes() == before


def test_when_all_are_refused_all_are_in_the_summary(scene: Scene) -> None:
    review = scene.bad_line(scene.review(30), *range(30))
    posted = _post(scene, review)
    assert len(_posts(scene)) <= 2 * math.log2(30) + 2
    assert scene.pull.reviews == []
    (summary,) = scene.summaries()
    assert all(f"About line {number}\n" in summary for number in range(1, 31))
    assert summary.startswith("Found something")
    assert posted.review_id is None
    assert posted.displaced
    assert _post(scene, review).displaced, "nor is it forgotten by who posts again"


@pytest.mark.parametrize("bad", [(0,), (29,), (0, 29), (3, 4, 5), tuple(range(0, 30, 5))])
def test_the_good_ones_are_posted_wherever_the_bad_ones_stand(
    scene: Scene, bad: tuple[int, ...]
) -> None:
    assert not _post(scene, scene.bad_line(scene.review(30), *bad)).displaced
    good = [number for number in range(1, 31) if number - 1 not in bad]
    assert [one for one in scene.lines_said() if one] == good
    assert len([one for one in scene.lines_said() if not one]) == len(bad)


def test_our_own_pending_review_is_removed_and_a_person_s_is_not(scene: Scene) -> None:
    review = scene.review(1)
    client = scene.access().client(scene.ref)
    path = f"/repos/acme/shop/pulls/{scene.pull.number}/reviews"
    comment = {"path": "cart.py", "line": 5, "side": "RIGHT", "body": "draft"}
    client._once("POST", path, body={"comments": [comment]})
    alice = scene.github.user_token(scene.alice)
    made_by.create_review(scene.github, scene.pull, alice.author, {"comments": [comment]})
    _post(scene, review)
    assert scene.lines_said() == [1]
    assert [(one.author.user, one.state) for one in scene.pull.reviews] == [
        (scene.alice, "PENDING"),
        (scene.app.bot, "COMMENTED"),
    ]


# The pull request changes meanwhile.


def test_nothing_is_posted_on_a_head_that_is_no_longer_the_newest(scene: Scene) -> None:
    pull, review = scene.fetch(), scene.review(2)
    scene.pull.push({"cart.py": NEW + "more\n"})
    posted = scene.reviews().post(pull, review)
    assert scene.writes() == []
    assert "head moved" in posted.notes[0]


def test_a_push_between_two_batches_stops_the_second(scene: Scene) -> None:
    pull, review = scene.fetch(), scene.review(60)
    push = scene.pull.push
    scene.after("POST", "/reviews$", lambda: push({"cart.py": NEW + "more\n"}))
    posted = scene.reviews().post(pull, review)
    assert len(scene.lines_said()) == 30
    assert posted.comments == 30
    assert "head moved" in posted.notes[0]
    assert scene.summaries() == []


@pytest.mark.parametrize("end", ["close", "merge"])
def test_a_closed_pull_gets_no_more_comments(scene: Scene, end: str) -> None:
    pull, review = scene.fetch(), scene.review(60)
    scene.after("POST", "/reviews$", getattr(scene.pull, end))
    posted = scene.reviews().post(pull, review)
    assert len(scene.lines_said()) == 30
    assert "closed" in posted.notes[0]
    again = scene.reviews().post(pull, review)
    assert len(scene.lines_said()) == 30
    assert again.comments == 30


def test_a_head_that_was_forced_away_ends_the_posting(scene: Scene) -> None:
    review = scene.review(2)
    words = ["The commitOID is not part of the pull request"]
    scene.inject("POST", "/reviews$", status=422, body={"message": "no", "errors": words})
    posted = _post(scene, review)
    assert scene.writes() == [("POST", "/pulls/1/reviews")]
    assert "head moved" in posted.notes[0]


def test_a_locked_conversation_is_left_alone(scene: Scene) -> None:
    review = scene.review(2)
    scene.pull.locked = True
    posted = _post(scene, review)
    assert scene.pull.reviews == []
    assert scene.summaries() == []
    assert "locked" in posted.notes[0]
    assert len(scene.writes()) == 1


# Permissions.


def test_without_the_permission_to_review_all_goes_to_the_conversation(scene: Scene) -> None:
    review = scene.review(2)
    words = {"message": "Resource not accessible by integration"}
    needs = {"X-Accepted-GitHub-Permissions": "pull_requests=write"}
    scene.inject("POST", "/reviews$", status=403, body=words, headers=needs)
    posted = _post(scene, review)
    (summary,) = scene.summaries()
    assert "Found something" in summary
    assert "About line 1" in summary
    assert "About line 2" in summary
    assert "pull_requests=write" in posted.notes[0]


def test_without_any_permission_the_operator_is_told_which_is_missing(scene: Scene) -> None:
    review = scene.review(2)
    scene.installation.permissions["pull_requests"] = "read"
    posted = _post(scene, review)
    assert scene.pull.reviews == []
    assert scene.summaries() == []
    assert any("pull_requests=write" in note for note in posted.notes)
    assert len(scene.writes()) == 2


def test_a_key_refused_in_the_middle_ends_the_job(scene: Scene) -> None:
    review = scene.review(2)
    scene.inject("POST", "/reviews$", status=401, times=None)
    with pytest.raises(HostRefused):
        _post(scene, review)


# The summary.


def test_a_body_without_comments_is_one_comment_kept_up_to_date(scene: Scene) -> None:
    _post(scene, scene.review(0, body="First"))
    _post(scene, scene.review(0, body="Second", key="review:1:1:next"))
    (summary,) = scene.summaries()
    assert summary.startswith("Second")
    assert scene.pull.reviews == []
    before = scene.writes()
    _post(scene, scene.review(0, body="Second", key="review:1:1:next"))
    assert scene.writes() == before


def test_an_old_summary_does_not_go_on_claiming_what_is_over(scene: Scene) -> None:
    _post(scene, scene.review(0, body="First"))
    _post(scene, scene.review(0, body="", key="review:1:1:next"))
    (summary,) = scene.summaries()
    assert summary.startswith("**Postil** · Done")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_summary_whose_answer_was_lost_is_not_said_twice(scene: Scene, method: str) -> None:
    if method == "PATCH":
        _post(scene, scene.review(0, body="First"))
    scene.inject(method, "/comments", apply=1, status=502)
    _post(scene, scene.review(0, body="Second", key="review:1:1:next"))
    (summary,) = scene.summaries()
    assert summary.startswith("Second")


def test_a_look_just_taken_serves_as_the_first_one_and_only_once(scene: Scene) -> None:
    reviews, pull, review = scene.reviews(), scene.fetch(), scene.review(2)
    reviews.fetch_said(pull)
    before = len(scene.github.called("POST", "graphql"))
    reviews.post(pull, review)
    assert len(scene.github.called("POST", "graphql")) == before
    reviews.post(pull, review)
    assert len(scene.github.called("POST", "graphql")) == before + 1
    assert scene.lines_said() == [1, 2]


def test_a_talk_too_long_for_one_answer_is_read_in_parts(scene: Scene) -> None:
    _post(scene, scene.review(60))
    scene.inject("POST", "graphql", status=502, times=4)
    assert len(scene.reviews().fetch_said(scene.fetch())) == 60


# Whose words they are.


def _forge(scene: Scene, text: str) -> None:
    scene.pull.comment(scene.alice, text)
    token = scene.github.user_token(scene.alice)
    place = {"path": "cart.py", "line": 30, "side": "RIGHT", "commit_id": scene.pull.head_sha}
    made_by.create_comment(scene.github, scene.pull, token.author, {**place, "body": text})
    wanted = {"event": "COMMENT", "body": text}
    made_by.create_review(scene.github, scene.pull, token.author, wanted)


def test_markers_copied_by_somebody_else_hide_nothing(scene: Scene) -> None:
    review = scene.review(2)
    signed = sign_review(review, Marks(KEY).signer(scene.fetch()))
    texts = [signed.body, *(one.body for one in signed.comments), "<!-- postil:1" * 5000]
    for text in texts:
        _forge(scene, text)
    assert scene.reviews().fetch_said(scene.fetch()) == ()
    assert _post(scene, review).comments == 2
    assert scene.lines_said() == [1, 2]
    assert len([one for one in scene.pull.comments if one.author.user is scene.alice]) == 4


def test_markers_of_another_pull_key_or_kind_hide_nothing(scene: Scene) -> None:
    pull = scene.fetch()
    other = replace(pull.ref, number=2)
    marks = [
        Marks(b"another key").sign(pull.ref, FINDING, name(1), pull.head_sha),
        Marks(KEY).sign(other, FINDING, name(1), pull.head_sha),
        Marks(KEY).signer(pull)(FINDING, name(1))[:-8],
        Marks(KEY).signer(pull)(REPLY, name(1)),
    ]
    comment = Comment(Anchor("cart.py", Side.RIGHT, 1, 1), "\n".join(marks), name(2))
    scene.reviews().post(pull, Review("review:0", pull.head_sha, "", (comment,), report()))
    assert [one.fingerprint for one in scene.reviews().fetch_said(pull)] == [name(2)]


def test_a_comment_of_ours_that_somebody_edited_is_not_ours_any_more(scene: Scene) -> None:
    _post(scene, scene.review(1))
    (said,) = scene.pull.review_comments
    said.body = said.body.replace(name(1), name(9))
    assert scene.reviews().fetch_said(scene.fetch()) == ()


def _resolve(scene: Scene) -> None:
    scene.pull.threads[0].resolved_by = scene.alice


def _thumb_down(scene: Scene) -> None:
    scene.github.react(scene.pull.review_comments[0].reactions, scene.alice, "-1")


def _answer(scene: Scene) -> None:
    _reply(scene, scene.github.user_token(scene.alice).author)


def _answer_as_bot(scene: Scene) -> None:
    _reply(scene, scene.github.mint(scene.installation).author)


def _reply(scene: Scene, author: Author) -> None:
    made_by.reply(scene.github, scene.pull.review_comments[0], author, {"body": "No."})


@pytest.mark.parametrize(
    ("change", "closed"),
    [(_resolve, True), (_thumb_down, True), (_answer, True), (_answer_as_bot, False)],
)
def test_what_a_person_closed_is_closed(
    scene: Scene, change: Callable[[Scene], None], *, closed: bool
) -> None:
    _post(scene, scene.review(1))
    change(scene)
    (said,) = scene.reviews().fetch_said(scene.fetch())
    assert said.closed is closed
    assert said.thread_id is not None


def test_what_stands_on_changed_lines_is_outdated(scene: Scene) -> None:
    _post(scene, scene.review(2))
    scene.pull.push({"cart.py": NEW.replace("new 1\n", "other\n")})
    said = {one.fingerprint: one for one in scene.reviews().fetch_said(scene.fetch())}
    assert said[name(1)].outdated
    assert (said[name(2)].outdated, said[name(2)].line) == (False, 2)


def test_many_threads_are_read_to_the_last(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in range(3):
        first = 1 + 20 * batch
        _post(scene, scene.review(20, first=first, key=f"review:{batch}"))
    monkeypatch.setattr(talk, "SIZES", (7, 7))
    said = scene.reviews().fetch_said(scene.fetch())
    assert {one.fingerprint for one in said} == {name(number) for number in range(1, 61)}
