"""Words that look like ours: of another App, copied, cut, endless. None of them is ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.adapters.github.marks import FINDING, SUMMARY, Marks
from app.adapters.github.posting import sign_review
from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.review import Comment
from sandbox.github import User, reviews
from sandbox.github.state import Author
from tests.adapters.github.conftest import Scene, name
from tests.adapters.github.one_review import KEY

MILLION = 1_000_000


@pytest.fixture
def mallory(scene: Scene) -> User:
    return scene.github.create_user("mallory")


def say(scene: Scene, author: Author, text: str) -> None:
    """Say it in the conversation, on a line and in a review, however long it is."""
    scene.github.comment(scene.pull, author, text)
    place = {"path": "cart.py", "line": 1, "side": "RIGHT", "body": "short"}
    reviews.create_comment(
        scene.github, scene.pull, author, {**place, "commit_id": scene.pull.head_sha}
    )
    scene.pull.threads[-1].comments[0].body = text
    reviews.create_review(scene.github, scene.pull, author, {"event": "COMMENT", "body": "short"})
    scene.pull.reviews[-1].body = text


def forgeries(scene: Scene) -> Iterator[str]:
    """Yield what a marker of ours may be made into, by somebody who has seen one."""
    pull = scene.fetch()
    signed = sign_review(scene.review(1), Marks(KEY).signer(pull))
    summary = Marks(KEY).sign(pull.ref, SUMMARY, "review:1:1:auto", pull.head_sha)
    (ours,) = signed.comments
    yield from (ours.body, signed.body, summary)
    yield ours.body[:-20]
    yield ours.body + "x" * MILLION
    yield "x" * MILLION + ours.body
    yield "<!-- postil:1 " * (MILLION // 14)
    yield Marks(b"another key").sign(pull.ref, FINDING, name(1), pull.head_sha) * 3_000


def test_a_stranger_s_markers_hide_nothing_and_are_left_as_they_are(
    scene: Scene, mallory: User
) -> None:
    texts = list(forgeries(scene))
    for text in texts:
        say(scene, Author(mallory), text)
    ours = scene.reviews()
    assert ours.fetch_said(scene.fetch()) == ()
    assert ours.post(scene.fetch(), scene.review(2)).comments == 2
    assert scene.lines_said() == [1, 2]
    theirs = [one.body for one in scene.pull.comments if one.author.user is mallory]
    assert theirs == texts
    assert len([one for one in scene.pull.reviews if one.author.user is mallory]) == 2 * len(texts)


def test_what_another_workflow_of_the_same_account_says_is_ours_only_with_our_signature(
    scene: Scene,
) -> None:
    """Every workflow writes as one account, so that only the signature is left."""
    pull = scene.fetch()
    bot = scene.github.mint(scene.installation).author
    for number, text in (
        (1, Marks(b"another key").sign(pull.ref, FINDING, name(1), pull.head_sha)),
        (2, Marks(KEY).sign(replace(pull.ref, number=9), FINDING, name(2), pull.head_sha)),
        (3, Marks(KEY).sign(replace(pull.ref, repository_id=9), FINDING, name(3), pull.head_sha)),
        (4, Marks(KEY).sign(pull.ref, FINDING, name(4), pull.head_sha).replace(name(4), name(5))),
        (5, Marks(KEY).sign(pull.ref, FINDING, name(5), pull.head_sha)[:-5]),
    ):
        say(scene, bot, f"About line {number}\n\n{text}")
    assert scene.reviews().fetch_said(pull) == ()
    scene.reviews().post(pull, scene.review(5))
    assert [line for line in scene.lines_said() if line > 1] == [2, 3, 4, 5]


def test_two_apps_on_one_pull_own_their_words_alone(scene: Scene) -> None:
    app = scene.github.create_app("postil-of-another-team")
    installation = scene.github.install(app, scene.repository.owner)
    other = replace(scene, app=app, installation=installation)
    key = b"the key of another team"
    theirs = type(other.reviews())(other.access(), Marks(key))
    listed = Comment(Anchor("cart.py", Side.RIGHT, 900, 900), "Nowhere", name(9))
    review = scene.review(2)
    review = replace(review, comments=(*review.comments, listed))
    for one, who in ((scene.reviews(), scene), (theirs, other)):
        assert one.post(who.fetch(), review).comments == 3
        assert one.post(who.fetch(), review).comments == 3
    assert scene.lines_said().count(1) == other.lines_said().count(1) == 1
    assert len(scene.pull.review_comments) == 6
    for one, who in ((scene.reviews(), scene), (theirs, other)):
        said = one.fetch_said(who.fetch())
        assert {entry.fingerprint for entry in said} == {name(1), name(2), name(9)}
        by = {comment.id: comment.author.user for comment in who.pull.review_comments}
        assert {by[entry.comment_id] for entry in said} == {who.app.bot}
