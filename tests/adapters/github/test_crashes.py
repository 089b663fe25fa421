"""Killed at any point between the first read and the last write, a review is still posted once."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import app.adapters.github as adapter
from app.core.review import Annotation, Review
from tests.adapters.github.conftest import JOB, Scene, report
from tests.adapters.github.one_review import Job, run
from tests.adapters.test_crash import crash_points

ROOT = Path(__file__).parents[3]
OFTEN = {"before_write": 3, "after_write_before_record": 3}
"""How often a review passes the points that it passes more than once."""
POINTS = [
    (point, nth)
    for point in crash_points(Path(adapter.__file__).parent)
    for nth in range(1, OFTEN.get(point, 1) + 1)
]


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_a_review_survives_a_kill(scene: Scene, point: str, nth: int) -> None:
    review = scene.bad_line(scene.review(4), 1)
    scene.inject("POST", "/pulls/1/comments$", times=None, status=422)
    note = Annotation("cart.py", 1, 1, "notice", "title", "why")
    check = report(annotations=(note,))
    review = Review(review.key, review.head_sha, review.body, review.comments, check)
    job: Job = (scene.app.id, scene.app.private_key, scene.github.url, scene.ref, review)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.adapters.github.one_review", point, str(nth)],
        cwd=ROOT,
        input=pickle.dumps(job),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    run(job)
    assert scene.lines_said() == [1, 3, 4]
    assert sum(bool(one.body) for one in scene.pull.reviews) == 1
    (summary,) = scene.summaries()
    assert "About line 2" in summary
    (check_run,) = scene.repository.check_runs
    assert (check_run.external_id, check_run.conclusion) == (JOB, "neutral")
    assert len(check_run.annotations) == 1

    pull, reviews, before = scene.fetch(), scene.reviews(), scene.writes()
    reviews.post(pull, review)
    assert scene.writes() == before
