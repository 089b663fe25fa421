"""From the first read to the last write, as a review does it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.adapters.github.client import READ_PAUSES
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.adapters.github.reading import PAGE_SIZES, GitHubPulls, JustRead
from app.adapters.github.together import MOMENT_S
from app.bootstrap.hosts import build_host
from app.core.diff import ChangeKind
from app.core.review import Review
from app.errors import HostUnavailable
from app.pipeline import Host
from sandbox.github.http import Reply, Request
from tests.adapters.github.conftest import JOB, Scene, name, report
from tests.adapters.github.one_review import KEY


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


def _review(scene: Scene, host: Host, review: Review) -> None:
    """Make the calls of a review in its order."""
    pull = host.pulls.fetch_pull(scene.ref)
    host.open_code(pull)
    check = host.reviews.open_check(pull, JOB)
    host.pulls.fetch_diff(pull)
    host.reviews.fetch_said(pull)
    assert host.pulls.fetch_pull(scene.ref) == pull
    host.reviews.post(pull, review)
    host.reviews.close_check(pull, check, report())


def _api_calls(scene: Scene, start: int) -> list[tuple[str, str]]:
    return [
        (one.method, one.path.rpartition("/shop")[2] or one.path)
        for one in scene.github.calls[start:]
        if ".git/" not in one.path
    ]


def test_a_small_pull_takes_eight_calls_with_its_token(scene: Scene, tmp_path: Path) -> None:
    review = scene.review(1)
    access = scene.access()
    start = len(scene.github.calls)
    _review(scene, build_host(access, Marks(KEY), tmp_path / "1", posts=True), review)
    token, first, *rest = _api_calls(scene, start)
    assert token[1].endswith("/access_tokens")
    assert first == ("GET", "/pulls/1")
    assert sorted(rest[:2]) == [
        ("GET", f"/commits/{review.head_sha}/check-runs"),
        ("GET", "/pulls/1/files"),
    ]
    (run,) = scene.repository.check_runs
    assert rest[2:] == [
        ("POST", "/check-runs"),
        ("POST", "/graphql"),
        ("POST", "/pulls/1/reviews"),
        ("PATCH", f"/check-runs/{run.id}"),
    ]
    assert len([token, first, *rest]) == len(range(8))


def test_the_next_job_reads_everything_anew(scene: Scene, tmp_path: Path) -> None:
    access, review = scene.access(), scene.review(1)
    _review(scene, build_host(access, Marks(KEY), tmp_path / "1", posts=True), review)
    start = len(scene.github.calls)
    _review(scene, build_host(access, Marks(KEY), tmp_path / "2", posts=True), review)
    reads = [path for method, path in _api_calls(scene, start) if method == "GET"]
    assert reads[0] == "/pulls/1"
    assert len(reads) == len(["the pull", "its files", "its check runs"])


def test_what_is_read_ahead_is_read_beside_git(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = scene.access()
    pull = scene.fetch()
    together = threading.Barrier(3)
    respond = scene.github._server.respond

    def respond_together(request: Request) -> Reply:
        if request.path.endswith(("/info/refs", "/files", "/check-runs")):
            together.wait(10)
        return respond(request)

    monkeypatch.setattr(scene.github._server, "respond", respond_together)
    build_host(access, Marks(KEY), tmp_path, posts=True).open_code(pull)


def test_what_could_not_be_read_ahead_is_read_in_its_turn(scene: Scene, tmp_path: Path) -> None:
    scene.inject("GET", "/files$", status=403)
    scene.inject("GET", "/check-runs$", status=403)
    _review(scene, build_host(scene.access(), Marks(KEY), tmp_path, posts=True), scene.review(1))
    assert scene.lines_said() == [1]
    assert len(scene.repository.check_runs) == 1


def test_what_is_down_is_not_tried_twice_as_often(scene: Scene, tmp_path: Path) -> None:
    down = scene.inject("GET", "/files$", times=None, status=502)
    with pytest.raises(HostUnavailable):
        _review(
            scene, build_host(scene.access(), Marks(KEY), tmp_path, posts=True), scene.review(1)
        )
    assert down.hits == len(PAGE_SIZES) * (1 + len(READ_PAUSES))


def test_a_head_that_moved_or_a_look_long_ago_is_asked_for_anew(scene: Scene) -> None:
    access = scene.access()
    just = JustRead.nothing(scene.time)
    pulls, reviews = GitHubPulls(access, just=just), GitHubReviews(access, Marks(KEY), just)
    pull = pulls.fetch_pull(scene.ref)
    reviews.fetch_said(pull)
    scene.time.now += MOMENT_S + 1
    scene.pull.close()
    assert not pulls.fetch_pull(scene.ref).open
    reviews.fetch_said(pull)
    assert not pulls.fetch_pull(scene.ref).open, "as GitHub told beside what was said"
    scene.pull.reopen()
    scene.pull.push({"cart.py": "moved\n"})
    reviews.fetch_said(pull)
    assert pulls.fetch_pull(scene.ref).head_sha == scene.pull.head_sha != pull.head_sha


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
