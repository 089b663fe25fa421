"""From the first read to the last write, as a review does it."""

from __future__ import annotations

from app.adapters.github.reading import GitHubPulls
from app.core.diff import ChangeKind
from tests.adapters.github.conftest import JOB, Scene, name, report


def test_a_pull_is_read_reviewed_and_its_check_completed(scene: Scene) -> None:
    access = scene.access()
    pulls, reviews = GitHubPulls(access), scene.reviews(access)
    pull = pulls.fetch_pull(scene.ref)
    check = reviews.open_check(pull, JOB)
    diff = pulls.fetch_diff(pull)
    assert reviews.fetch_said(pull) == ()
    posted = reviews.post(pull, scene.review(2))
    reviews.close_check(pull, check, report())

    assert pull.head_sha == scene.pull.head_sha
    assert [(one.path, one.kind) for one in diff.files] == [("cart.py", ChangeKind.MODIFIED)]
    assert diff.notes == ()
    assert (posted.comments, posted.notes) == (2, ())
    assert scene.lines_said() == [1, 2]
    (review,) = scene.pull.reviews
    assert (posted.review_id, review.state, review.commit_id) == (
        review.id,
        "COMMENTED",
        pull.head_sha,
    )
    assert review.body.startswith("Found something")
    (run,) = scene.repository.check_runs
    assert (run.name, run.status, run.conclusion) == ("Postil", "completed", "neutral")
    assert run.external_id == JOB
    assert scene.github.unexpected == []
    assert scene.time.slept == [] or max(scene.time.slept) <= 1


def test_a_small_pull_takes_eight_calls(scene: Scene) -> None:
    access = scene.access()
    access.identity(scene.ref)  # asked once in the life of a process
    pulls, reviews = GitHubPulls(access), scene.reviews(access)
    review = scene.review(1)
    before = len(scene.github.calls)
    pull = pulls.fetch_pull(scene.ref)
    check = reviews.open_check(pull, JOB)
    pulls.fetch_diff(pull)
    reviews.fetch_said(pull)
    pulls.fetch_pull(scene.ref)
    reviews.post(pull, review)
    reviews.close_check(pull, check, report())
    calls = [(one.method, one.path.rpartition("/shop")[2]) for one in scene.github.calls[before:]]
    assert calls == [
        ("GET", "/pulls/1"),
        ("GET", f"/commits/{pull.head_sha}/check-runs"),
        ("POST", "/check-runs"),
        ("GET", "/pulls/1/files"),
        ("POST", "/graphql"),
        ("GET", "/pulls/1"),
        ("POST", "/pulls/1/reviews"),
        ("PATCH", f"/check-runs/{check}"),
    ]


def test_what_was_said_is_known_again(scene: Scene) -> None:
    scene.reviews().post(scene.fetch(), scene.review(2))
    said = scene.reviews().fetch_said(scene.fetch())
    assert [(one.fingerprint, one.path, one.line) for one in said] == [
        (name(1), "cart.py", 1),
        (name(2), "cart.py", 2),
    ]
    assert not any(one.closed or one.outdated for one in said)


def test_posting_the_same_plan_again_writes_nothing(scene: Scene) -> None:
    review = scene.review(3)
    scene.reviews().post(scene.fetch(), review)
    before = scene.writes()
    posted = scene.reviews().post(scene.fetch(), review)
    assert scene.writes() == before
    assert posted.comments == 3
    assert posted.review_id == scene.pull.reviews[0].id
