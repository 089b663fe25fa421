"""Limits and clocks: nobody calls too early, too fast, or over and over in vain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from sandbox.github import Call
from sandbox.serving import until
from tests.e2e.conftest import check, spots, told
from tests.faults.calls import (
    AGAIN,
    CLOSE,
    FETCH,
    FILES,
    LAST_WORDS,
    LIST,
    LOOK,
    NEVER_BEGAN,
    ON_FILE,
    PLAIN,
    PULL,
    REVIEW,
    TALK,
    TOKEN,
    check_calls,
    often,
)
from tests.faults.invariants import check_invariants
from tests.faults.pulls import (
    Facts,
    check_given_up,
    check_reviewed,
    inject_row,
    logged,
    open_many,
    refuse,
    review,
    state,
    waits,
)
from tests.faults.world import LIMIT_S, World, fault

DAY_S = 86_400
HOUR_S = 3600.0
PACE_S = 2.0
"""Seconds between two writes after a secondary limit: twice as many as usual."""
LATE = 1.0, 60.0
"""Seconds that a job may wait beyond the time it was told."""
TWO_CALLS = 2
"""For the job and for its last words."""
REPAIRED = 1600.0
"""After so long the repair has come round, and what failed is no longer under way."""
DUE = "SELECT due_at FROM postil_jobs"
SLOW = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


# clocks


@contextmanager
def clock_off(world: World, seconds: float) -> Iterator[None]:
    """Let this machine's clock be so many seconds ahead of GitHub's."""
    world.github.clock = lambda: world.time() - seconds
    try:
        yield
    finally:
        world.github.clock = world.time


def check_says(words: str, side: str) -> None:
    """Check that a text says by how much the clock is off."""
    found = re.search(rf"this machine's clock is (\d+) s {side} GitHub's", words)
    assert found is not None, words
    assert abs(int(found[1]) - DAY_S) < LIMIT_S


@fault(
    "The clock is off by a day, either way",
    "two calls and no more; the log says by how many seconds, and, when it is right, the check run",
)
def test_a_clock_that_is_off_by_a_day(world: World) -> None:
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
        pulls = {}
        for side, seconds in (("ahead of", DAY_S), ("behind", -DAY_S)):
            name = f"day-{side.partition(' ')[0]}"
            with clock_off(world, seconds):
                pulls[side] = review(world, f"{name}/{name}")
            (line,) = logged(world, "a job is dead", f" job=review:{pulls[side].repository.id}:")
            check_says(line, side)
            assert len(world.about(pulls[side].repository)) == TWO_CALLS
        world.time.jump(REPAIRED)
        office._jobs.tend()
        world.wait_until_done()
        after = review(world, "after")
    for side, pull in pulls.items():
        assert state(world, pull) == {"dead"}
        assert spots(pull) == []
        check_says(told(check(pull)), side)
        assert check(pull).conclusion == "neutral"
        check_calls(world, pull.repository, often(TOKEN, TWO_CALLS) + NEVER_BEGAN, may=LIST)
    check_reviewed(after)
    check_calls(world, after.repository, PLAIN)
    check_invariants(world)


# one server lives in a process at a time: from here on it is the one that these tests share


@fault("The clock is off by a minute and a half, either way", "nothing")
@pytest.mark.parametrize("seconds", [90, -90], ids=["ahead", "behind"])
def test_a_clock_that_is_off_a_little(house: World, seconds: int) -> None:
    with clock_off(house, seconds):
        pull = review(house, f"off-{seconds}/off{seconds}")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN)


# limits


def limited(status: int, headers: Mapping[str, str] | None = None) -> Facts:
    return refuse(SLOW, headers, status=status)


SECONDARY = (
    limited(403, {"Retry-After": "70"}),
    limited(429),
    limited(403),
    limited(429, {"Retry-After": "500"}),
    limited(403, {"X-RateLimit-Remaining": "4711"}),
    limited(429),
)
"""Every form in which GitHub says it, one after the other."""
LEAST = (70, 120, 240, 500, 960, 1920)
"""A minute, doubled each time, or what was told where that is longer."""


@fault(
    "Secondary limits, six in a row, as 403 and 429, with and without a time to wait",
    "a minute is waited, then twice as long each time; the review is posted once, not lost",
)
def test_secondary_limits(house: World) -> None:
    inject_row(house, "POST", "/pulls/1/reviews$", SECONDARY)
    pull = review(house, "slowed/slowed")
    check_reviewed(pull)
    assert state(house, pull) == {"done"}
    found = waits(house, pull, "/reviews")
    assert all(wait >= low for wait, low in zip(found, LEAST, strict=True)), found
    check_calls(house, pull.repository, PLAIN + often(AGAIN + TALK + REVIEW, len(SECONDARY)))


@fault("A secondary limit that lasts for a day", "it is given up, and the check run says so")
def test_a_limit_without_end(house: World) -> None:
    halfway = {"Retry-After": str(DAY_S // 2 + 60)}
    house.inject("POST", "/pulls/1/reviews$", times=None, **limited(403, halfway))
    pull = review(house, "stopped/stopped")
    check_given_up(pull, "rate limit")
    assert state(house, pull) == {"dead"}
    tries = often(AGAIN + TALK + REVIEW, 2)
    check_calls(house, pull.repository, PLAIN - CLOSE + tries + LAST_WORDS)


def writes(world: World, owner: str, since: int) -> list[Call]:
    """Return the writes that count for an installation's pace."""
    start = f"/repos/{owner}/"
    found = (call for call in world.github.calls[since:] if call.path.startswith(start))
    return [call for call in found if call.method != "GET"]


@fault("A secondary limit", "for an hour there are two seconds between two writes, then one again")
def test_the_pace_after_a_secondary_limit(house: World) -> None:
    house.inject("POST", "/first/pulls/1/reviews$", **limited(403))
    house.inject("POST", "/second/pulls/1/reviews$", holds='"line": 31,', times=None, status=422)
    first = review(house, "paced/first")
    check_reviewed(first)
    check_calls(house, first.repository, PLAIN + AGAIN + TALK + REVIEW)
    since = len(house.github.calls)
    many = open_many(house, "paced/second")
    house.wait_until_done()
    slow = writes(house, "paced", since)
    assert slow[-1].at - slow[0].at > PACE_S * (len(slow) - 2)
    posts = [call for call in slow if call.path.endswith("/reviews")]
    more = often(PULL + REVIEW, len(posts) - 1) + ON_FILE
    check_calls(house, many.repository, PLAIN + more)
    house.time.jump(HOUR_S)
    slept = len(house.time.slept)
    last = review(house, "paced/last")
    check_reviewed(last)
    assert max(house.time.slept[slept:], default=0) <= PACE_S / 2
    check_calls(house, last.repository, PLAIN)


@fault("The hourly limit is used up", "the job waits for its end, and other installations' go on")
def test_the_hourly_limit(house: World) -> None:
    other = house.create_repository("initech/unlimited")
    ends = int(house.time()) + 1800
    spent = {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Reset": str(ends),
    }
    limit = house.inject("GET", "acme/limited/pulls/1/files$", **refuse("API rate limit", spent))
    pull = house.stage.open_pull(house.create_repository("acme/limited"))
    until(lambda: limit.hits == 1, LIMIT_S, lambda: "it was never reached", 0.01)
    free = house.stage.open_pull(other)
    house.wait_until_done()
    check_reviewed(free)
    check_reviewed(pull)
    assert (check(free).completed_at or 0) < ends
    ((due,),) = house.query(f"{DUE} WHERE repository_id = {pull.repository.id}")
    assert ends + LATE[0] <= due <= ends + LATE[1]
    check_calls(house, other, PLAIN)
    # the look runs beside the list that is refused, and is not begun after that
    check_calls(house, pull.repository, PLAIN + TOKEN + PULL + FETCH + FILES, may=LOOK)
