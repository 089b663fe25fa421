"""What we may: a lock, a missing permission, a token, an App that is removed."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sandbox.github import Call, Pull
from sandbox.serving import until
from tests.e2e.conftest import BUG, check, checks, replies, spots, told
from tests.faults.calls import (
    CLOSE,
    LOOK,
    NONE,
    ON_FILE,
    PLAIN,
    PULL,
    REVIEW,
    SUMMARY,
    TALK,
    TOKEN,
    check_calls,
    often,
)
from tests.faults.pulls import (
    Facts,
    check_given_up,
    check_reviewed,
    logged,
    refuse,
    review,
    state,
)
from tests.faults.world import LIMIT_S, World, fault

HALF_AN_HOUR = 1800


@fault("The conversation is locked", "the check run carries everything; the log says it once")
def test_a_locked_conversation(house: World) -> None:
    repository = house.create_repository("acme/locked")

    def lock() -> None:
        repository.pulls[1].locked = True

    house.inject("GET", "/pulls/1/files$", then=lock)
    pull = house.stage.open_pull(repository)
    house.wait_until_done()
    assert (spots(pull), replies(pull), pull.reviews) == ([], [], [])
    assert check(pull).conclusion == "neutral"
    assert BUG in told(check(pull))
    assert "conversation is locked" in told(check(pull))
    assert len(logged(house, "acme/locked", "locked:")) == 1
    check_calls(house, repository, PLAIN)


# permissions


def named(permission: str) -> Facts:
    header = {"X-Accepted-GitHub-Permissions": permission}
    return refuse("Resource not accessible by integration", header)


def on_pulls(world: World, pattern: str, **facts: object) -> None:
    world.inject("POST", f"rights-[a-z]+/pulls/1/{pattern}$", times=None, **facts)


@fault(
    "The permission to write reviews is taken away during one",
    "what was found stands in a comment of the conversation; the log names the permission",
)
def test_no_permission_for_reviews(house: World) -> None:
    on_pulls(house, "(reviews|comments)", **named("pull_requests=write"))
    pull = review(house, "rights-reviews")
    assert (spots(pull), pull.reviews) == ([], [])
    (summary,) = replies(pull)
    assert BUG in summary
    assert check(pull).conclusion == "neutral"
    assert "pull_requests=write" in told(check(pull))
    assert len(logged(house, "acme/rights-reviews", "pull_requests=write")) == 1
    check_calls(house, pull.repository, PLAIN + SUMMARY)


@fault(
    "The permission to write in the conversation is missing, and GitHub takes no comment on a line",
    "what was found stands in the check run; the log names the permission",
)
def test_no_permission_for_the_conversation(house: World) -> None:
    on_pulls(house, "(reviews|comments)", status=422)
    house.inject("POST", "rights-talk/issues/1/comments$", times=None, **named("issues=write"))
    pull = review(house, "rights-talk")
    assert (spots(pull), replies(pull), pull.reviews) == ([], [], [])
    assert check(pull).conclusion == "neutral"
    assert BUG in told(check(pull))
    assert "they stand in one comment" not in told(check(pull))
    assert len(logged(house, "acme/rights-talk", "issues=write")) == 1
    check_calls(house, pull.repository, PLAIN + ON_FILE + SUMMARY)


@fault(
    "The permission to write check runs is taken away during a review",
    "the comments stand on their lines; the log names the permission",
)
def test_no_permission_for_checks(house: World) -> None:
    pull = without(house, "no-checks", checks="read")
    assert spots(pull) == [("no-checks.py", 2)]
    assert checks(pull) == []
    assert state(house, pull) == {"done"}
    assert len(logged(house, "no-checks/no-checks", "checks=write")) == 1
    check_calls(house, pull.repository, PLAIN - CLOSE)


@fault(
    "Every permission to write is taken away during a review",
    "what was found stands in its record; the log names each permission, and nothing is repeated",
)
def test_no_permission_to_write_at_all(house: World) -> None:
    pull = without(house, "no-words", checks="read", pull_requests="read")
    assert (spots(pull), replies(pull), checks(pull)) == ([], [], [])
    assert state(house, pull) == {"done"}
    (key,) = (key for key in house.stage.jobs() if key.startswith(f"review:{pull.repository.id}:"))
    (record,) = house.records(key)
    assert [one["title"] for one in record["findings"]] == [BUG]
    for permission in ("=checks=write", "for pull_requests=write", "issues=write"):
        assert len(logged(house, "no-words/no-words", permission)) == 1
    check_calls(house, pull.repository, PLAIN - CLOSE + SUMMARY)


def without(world: World, name: str, **levels: str) -> Pull:
    """Let a review begin, take permissions away from the App, and wait for its end."""
    repository = world.create_repository(f"{name}/{name}")
    (installation,) = world.github.installations_on(repository)
    take = installation.permissions.update
    world.inject("GET", f"{name}/pulls/1/files$", then=lambda: take(levels))
    pull = world.stage.open_pull(repository)
    world.wait_until_done()
    return pull


# tokens


@fault("The token expires in the middle", "another is made once, and the call repeated")
def test_a_token_that_expires(house: World) -> None:
    house.inject("POST", "/check-runs$", then=house.github.expire_tokens)
    pull = review(house, "expired")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + TOKEN + TALK)


@fault(
    "GitHub refuses every token", "the job ends after one more token; the check and the log say so"
)
def test_tokens_that_are_refused(house: World) -> None:
    house.inject("POST", "/pulls/1/reviews$", times=None, status=401)
    pull = review(house, "unauthorised")
    check_given_up(pull, "401")
    assert state(house, pull) == {"dead"}
    assert (
        len(logged(house, "ERROR", "a job is dead", f" job=review:{pull.repository.id}:", "401"))
        == 1
    )
    check_calls(house, pull.repository, PLAIN + often(TOKEN, 2) + REVIEW + LOOK)


# installations


@fault(
    "The App is uninstalled or suspended while jobs of its wait, and we are told or not",
    "all are cancelled, without a call or after one each; other installations' jobs go on",
)
@pytest.mark.parametrize("told_of", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("end", ["uninstall", "suspend"])
def test_jobs_that_wait_when_the_app_is_removed(house: World, end: str, *, told_of: bool) -> None:
    owner = f"{end}-{told_of}".lower()
    names = [f"{owner}/one-{owner}", f"{owner}/two-{owner}", f"initech/left-{owner}"]
    ends = int(house.time()) + HALF_AN_HOUR
    spent = {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Reset": str(ends),
    }
    house.inject("GET", f"{owner}/pulls/1$", times=3, **refuse("API rate limit", spent))
    one, two, left = (house.stage.open_pull(house.create_repository(name)) for name in names)
    waiting = "waits for GitHub's rate limit"

    def wait() -> bool:
        notes = {job.repository_id: job.note for job in house.jobs()}
        return all(notes.get(pull.repository.id) == waiting for pull in (one, two, left))

    until(wait, LIMIT_S, lambda: "they do not wait", 0.02)
    house.calm()
    since = len(house.github.calls)
    (installation,) = house.github.installations_on(one.repository)
    with ExitStack() as stack:
        if not told_of:
            stack.enter_context(house.github.quietly())
        getattr(house.github, end)(installation)
    house.wait_until_done()
    check_reviewed(left)
    check_calls(house, left.repository, PLAIN + TOKEN + PULL)
    after: list[Call] = []
    for pull in (one, two):
        assert state(house, pull) == {"cancelled"}
        assert checks(pull) == []
        after += house.about(pull.repository, since)
        # whose try is refused a token first ends the other's, which may be under way
        check_calls(house, pull.repository, NONE, may=often(TOKEN, 2) + PULL)
    assert {call.status for call in after} <= {403, 404}
    assert len(after) in ({0} if told_of else {1, 2})
