"""What was missed, and what is asked for again: decided without asking anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.pull import PullRef, PullRequest
from app.core.repair import (
    MAX_RESENT,
    ChangedPull,
    FailedDelivery,
    Heard,
    OurCheck,
    Resent,
    ask_for,
    choose_resent,
    is_about,
    note_resent,
    was_missed,
)

HEAD = "b" * 40
PULL = PullRequest(PullRef(11, "o/r", 5, 99), "Title", "", 7, "ann", "a" * 40, HEAD)
CHANGED = ChangedPull(PULL, opened_at=1000.0)
BEFORE, AFTER = 900.0, 1100.0
OPEN, COMPLETED = (OurCheck(ask_for(PULL).key, completed) for completed in (False, True))
FAILED = FailedDelivery(41, "g", "pull_request", 1000.0)


def test_a_head_that_was_asked_for_is_not_missed_whatever_became_of_it() -> None:
    assert not was_missed(CHANGED, Heard.HEAD, (), BEFORE)
    assert not was_missed(CHANGED, Heard.HEAD, (OPEN,), BEFORE)


def test_a_paused_pull_is_left_alone() -> None:
    assert not was_missed(CHANGED, Heard.PAUSED, (), BEFORE)


def test_a_new_head_of_a_pull_we_know_was_missed_however_old_the_pull_is() -> None:
    assert was_missed(CHANGED, Heard.PULL, (), AFTER)


def test_a_pull_we_never_heard_of_was_missed_only_if_it_was_opened_since() -> None:
    assert was_missed(CHANGED, Heard.NOTHING, (), BEFORE)
    assert not was_missed(CHANGED, Heard.NOTHING, (), AFTER)


@pytest.mark.parametrize("heard", [Heard.PULL, Heard.NOTHING])
@pytest.mark.parametrize("since", [BEFORE, AFTER])
def test_where_records_were_lost_our_check_on_the_head_speaks(heard: Heard, since: float) -> None:
    assert not was_missed(CHANGED, heard, (COMPLETED,), since)
    assert not was_missed(CHANGED, heard, (OPEN, COMPLETED), since)
    assert was_missed(CHANGED, heard, (OPEN,), since)


def test_the_request_is_an_automatic_one_by_the_author() -> None:
    request = ask_for(PULL)
    assert (request.head_sha, request.sender.id, request.forced, request.cause) == (
        HEAD,
        7,
        False,
        "",
    )


def test_a_check_is_about_a_head_of_one_pull() -> None:
    assert is_about(ask_for(PULL).key, PULL)
    assert is_about(f"review:11:5:{HEAD}:full", PULL)
    for ref in (replace(PULL.ref, number=55), replace(PULL.ref, repository_id=1)):
        assert not is_about(ask_for(PULL).key, replace(PULL, ref=ref))
    assert not is_about(ask_for(PULL).key, replace(PULL, head_sha="c" * 40))


def test_each_failed_attempt_is_asked_for_again_once() -> None:
    resent: dict[str, Resent] = {}
    assert choose_resent([FAILED], resent) == (FAILED,)
    resent = note_resent(FAILED, resent, 2000.0)
    assert choose_resent([FAILED], resent) == ()
    again = replace(FAILED, id=42)
    assert choose_resent([again], resent) == (again,)
    assert note_resent(again, resent, 3000.0) == {"g": Resent(42, 2, 3000.0)}


def test_no_delivery_is_asked_for_for_ever() -> None:
    resent: dict[str, Resent] = {}
    asked = 0
    for attempt in range(10):
        for one in choose_resent([replace(FAILED, id=attempt)], resent):
            resent = note_resent(one, resent, 2000.0)
            asked += 1
    assert asked == MAX_RESENT
