"""What a review does with GitHub from first to last: a program that a test may kill."""

from __future__ import annotations

import pickle
import sys

from app.adapters import crash
from app.adapters.github.access import GitHubApp
from app.adapters.github.marks import Marks
from app.adapters.github.posting import GitHubReviews
from app.adapters.github.reading import GitHubPulls
from app.core.pull import PullRef
from app.core.review import Review

KEY = b"a key for markers"
NOW = 1_790_000_000.0

Job = tuple[int, str, str, PullRef, Review]


def run(job: Job) -> None:
    """Review a pull request without waiting for anything."""
    app_id, private_key, url, ref, review = job
    access = GitHubApp(app_id, private_key, url, clock=lambda: NOW, sleep=lambda _: None)
    pulls, reviews = GitHubPulls(access), GitHubReviews(access, Marks(KEY))
    pull = pulls.fetch_pull(ref)
    check = reviews.open_check(pull, review.key)
    pulls.fetch_diff(pull)
    reviews.post(pull, review)
    reviews.close_check(pull, check, review.check)


if __name__ == "__main__":
    crash.arm(sys.argv[1], int(sys.argv[2]))
    run(pickle.load(sys.stdin.buffer))  # noqa: S301 - our own test's words
