"""The model service goes wrong: nothing is called clean that nobody read, and nobody is hurried."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sandbox.github import Pull
from sandbox.models import Act
from tests.e2e.conftest import check, replies, spots, told
from tests.faults.calls import AGAIN, PLAIN, REVIEW, TOKEN, check_calls, often
from tests.faults.world import World, fault

TRIES = 4
SILENT = PLAIN - REVIEW


def open_pull(world: World, name: str) -> Pull:
    """Open a pull request with one defect in a repository of its own."""
    return world.stage.open_pull(world.create_repository(f"acme/{name}"))


def check_unread(pull: Pull, reason: str) -> None:
    """Check that nothing was said but that nothing was read, and why."""
    assert (spots(pull), replies(pull), pull.reviews) == ([], [], [])
    run = check(pull)
    assert run.conclusion == "neutral"
    assert run.output["title"].startswith("Nothing was reviewed")
    assert reason in told(run)


REFUSED: Mapping[str, tuple[Act, str]] = {
    "key": (Act(401), "refused the key"),
    "forbidden": (Act(403), "refused the key"),
    "credits": (Act(402), "no credits left"),
    "units": (Act(406), "no credits left"),
    "model": (Act(404), "check POSTIL_MODEL"),
}


@fault(
    "The model service refuses the key, knows no such model, or the account has no credits",
    "it is asked once, by nobody for a while, and the check run says what to mend",
)
@pytest.mark.parametrize("what", REFUSED)
def test_an_account_that_is_refused(house: World, what: str) -> None:
    act, reason = REFUSED[what]
    house.stage.acts["/ len("] = act
    pull = open_pull(house, f"no-{what}")
    house.wait_until_done()
    check_unread(pull, reason)
    next_one = open_pull(house, f"no-{what}-either")
    house.wait_until_done()
    check_unread(next_one, reason)
    assert len(house.stage.asked(f"no-{what}")) == 1
    for one in (pull, next_one):
        check_calls(house, one.repository, SILENT)


PASSING: Mapping[str, Act] = {
    "500": Act(500),
    "529": Act(529),
    "a limit of a second": Act(429, headers={"retry-after": "1"}),
    "a limit of a minute": Act(429, headers={"retry-after": "70"}),
    "a limit of an hour": Act(429, headers={"retry-after": "3600"}),
    "a limit without a word": Act(429),
    "a limit of nonsense": Act(429, headers={"retry-after": "soon"}),
    "a limit below zero": Act(429, headers={"retry-after": "-5"}),
    "a stream that is cut": Act(cut=10),
    "an answer without an end": Act(finish=None),
    "a page of HTML": Act(body=b"<html>login</html>", content_type="text/html"),
}


LEAST = {"a limit of a second": 1, "a limit of a minute": 70, "a limit of an hour": 3600}


@fault(
    "The model service fails, limits us, breaks off or sends HTML, for a moment",
    "it is asked again when it may be, and the review is whole",
)
@pytest.mark.parametrize("how", PASSING)
def test_a_service_that_fails_for_a_moment(house: World, how: str) -> None:
    name = f"moment-{list(PASSING).index(how)}"
    left = house.afflict(f"{name}.py", PASSING[how])
    pull = open_pull(house, name)
    house.wait_until_done()
    assert left == []
    assert spots(pull) == [(f"{name}.py", 2)]
    assert check(pull).conclusion == "success"
    took = (check(pull).completed_at or 0) - check(pull).started_at
    assert took >= LEAST.get(how, 0)
    # who must wait for long gives its place to others, and begins again
    check_calls(house, pull.repository, PLAIN, may=often(AGAIN + TOKEN, TRIES))


LASTING: Mapping[str, tuple[Act, str]] = {
    "500": (Act(500), "is unavailable"),
    "context": (Act(400, error="maximum context length"), "longer than the model's context"),
    "filter": (Act(finish="content_filter"), "declined"),
    "refusal": (Act(message={"refusal": "no"}), "declined"),
    "nothing": (Act(answer=None), "could not be read"),
    "prose": (Act(answer="LGTM!"), "could not be read"),
    "cut": (Act(answer='{"findings": [{"pa'), "could not be read"),
    "list": (Act(answer="[]"), "could not be read"),
}


@fault(
    "The model service stays broken, declines, finds it too long, or its answer can't be read",
    "it is asked a few times, and the lines are named as not reviewed",
)
@pytest.mark.parametrize("how", LASTING)
def test_a_service_that_stays_broken(house: World, how: str) -> None:
    act, reason = LASTING[how]
    house.stage.acts[f"lasting-{how}.py"] = act
    pull = open_pull(house, f"lasting-{how}")
    house.wait_until_done()
    check_unread(pull, reason)
    check_calls(house, pull.repository, SILENT, may=often(AGAIN, TRIES))
