"""When a request may be made, and when none may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.models.pace import (
    CROWDED,
    HELD_AT_MOST,
    PATIENT,
    STOPPED_SECONDS,
    Memory,
    Pace,
    Quota,
)
from app.core.money import Usage
from app.core.prompts import Answer, Fault, FaultKind, Reply
from tests.adapters.models.kit import VirtualTime

DONE = Answer("{}", Usage())


def make_pace(time: VirtualTime, quota: Quota) -> Pace:
    return Pace(quota, Memory(time.clock).open)


def used(tokens: int) -> Reply:
    return Answer("{}", Usage(requests=1, prompt_tokens=tokens))


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 500), st.floats(0, 90)), max_size=60))
def test_no_minute_ever_holds_more_than_the_quota(
    claims: list[tuple[float, int, float]],
) -> None:
    time = VirtualTime(0.0)
    pace = make_pace(time, Quota(rpm=5, tpm=1000, concurrency=100))
    starts: list[tuple[float, int]] = []
    for number, (pause, tokens, took) in enumerate(claims):
        time.now += pause
        while wait := pace.claim(str(number), "m", tokens):
            assert isinstance(wait, float)
            time.now += wait
        starts.append((time.now, tokens))
        if took < 40:  # a long one does not end before the next begins
            pace.settle(str(number), "m", used(tokens), None, 0.0)
    for start, _ in starts:
        window = [tokens for at, tokens in starts if start <= at <= start + 60]
        assert len(window) <= 5
        assert sum(window) <= 1000


def test_a_request_that_used_less_than_it_claimed_leaves_room() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(tpm=1000))
    assert pace.claim("one", "m", 900) == 0.0
    assert pace.claim("two", "m", 900) == 61.0
    pace.settle("one", "m", used(100), None, 0.0)
    assert pace.claim("two", "m", 900) == 0.0


def test_a_request_beyond_the_whole_quota_waits_until_it_is_alone() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(tpm=1000))
    assert pace.claim("one", "m", 10) == 0.0
    time.now += 1
    assert pace.claim("huge", "m", 5000) == 60.0
    time.now += 60
    assert pace.claim("huge", "m", 5000) == 0.0


def test_a_request_counts_from_when_it_was_sent_and_not_from_its_claim() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(rpm=1))
    pace.claim("one", "m", 1)
    time.now += 10
    pace.settle("one", "m", DONE, None, took=4.0)
    assert pace.claim("two", "m", 1) == 57.0


def test_as_many_run_at_once_as_may_and_one_whose_process_died_gives_way() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(concurrency=2, call_seconds=100.0))
    assert [pace.claim(name, "m", 1) for name in "abc"] == [0.0, 0.0, CROWDED]
    pace.settle("a", "m", DONE, None, 0.0)
    assert [pace.claim(name, "m", 1) for name in "cd"] == [0.0, CROWDED]
    time.now += 161.0  # as long as a call may take, and a window
    assert [pace.claim(name, "m", 1) for name in "def"] == [0.0, 0.0, CROWDED]


def test_a_place_that_comes_free_is_for_whoever_waited_longest() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(concurrency=1))

    def claim(name: str) -> float | Fault:
        time.now += 0.1
        return pace.claim(name, "m", 1, owner=name[0])

    assert [claim(name) for name in ("a1", "a2", "b1", "c1")] == [0.0, CROWDED, CROWDED, CROWDED]
    got: list[str] = []
    running = "a1"
    for names in (["c1", "b1", "a2"], ["a3", "c1", "b1"], ["b2", "a3", "c1"], ["c2", "a3", "b2"]):
        pace.settle(running, "m", DONE, None, 0.0)
        taken = [name for name in names if claim(name) == 0.0]
        got += taken
        running = taken[0]
    assert got == ["a2", "b1", "c1", "a3"], "each in turn, whoever asks first"


def test_who_waits_and_looks_no_more_keeps_nobody_from_a_place() -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota(concurrency=1))
    assert [pace.claim(name, "m", 1, owner=name) for name in "ab"] == [0.0, CROWDED]
    pace.settle("a", "m", DONE, None, 0.0)
    time.now += 0.9 * PATIENT
    assert pace.claim("c", "m", 1, owner="c") == CROWDED
    time.now += 0.2 * PATIENT
    assert pace.claim("c", "m", 1, owner="c") == 0.0


def test_claiming_again_under_the_same_name_takes_no_second_place() -> None:
    pace = make_pace(VirtualTime(), Quota(rpm=2, concurrency=2))
    assert [pace.claim(name, "m", 1) for name in "aab"] == [0.0, 0.0, 0.0]
    assert pace.claim("c", "m", 1) == 61.0


def test_a_request_that_was_given_up_runs_no_more_and_still_counts() -> None:
    pace = make_pace(VirtualTime(), Quota(rpm=3, concurrency=1))
    assert pace.claim("a", "m", 1) == 0.0
    pace.release(["a", "never claimed"])
    assert pace.claim("b", "m", 1) == 0.0
    pace.release(["b"])
    assert pace.claim("c", "m", 1) == 0.0
    pace.release(["c"])
    assert pace.claim("d", "m", 1) == 61.0


def test_what_no_longer_counts_is_forgotten() -> None:
    time = VirtualTime()
    book = Memory(time.clock)
    pace = Pace(Quota(rpm=3, call_seconds=9.0), book.open)
    for number in range(50):
        time.now += 61.0
        pace.claim(str(number), "m", 1)
        refusal = Fault(FaultKind.MODEL, "who?")
        pace.settle(str(number), f"model {number}", refusal, None, 0.0)
    assert len(book.tickets()) <= 3
    assert len(book.pauses()) <= 3


@pytest.mark.parametrize(
    ("asked", "wait", "expected"),
    [
        (70.0, 70.0, 70.0),
        (None, 2.0, 2.0),
        (30.0, None, 30.0),  # it is not asked again itself, and the service wants it all the same
        (None, None, 0.0),
        (1e9, None, HELD_AT_MOST),
    ],
)
def test_a_limit_holds_everybody_for_as_long_as_the_service_asks(
    asked: float | None, wait: float | None, expected: float
) -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota())
    pace.claim("one", "m", 1)
    pace.settle("one", "m", Fault(FaultKind.LIMITED, "", retry_after=asked), wait, 0.0)
    assert pace.claim("two", "other", 1) == expected
    time.now += expected
    assert pace.claim("two", "other", 1) == 0.0


def test_a_shorter_wait_ends_no_longer_one() -> None:
    pace = make_pace(VirtualTime(), Quota())
    for seconds in (70.0, 1.0):
        pace.settle("x", "m", Fault(FaultKind.LIMITED, "", retry_after=seconds), None, 0.0)
    assert pace.claim("two", "m", 1) == 70.0


@pytest.mark.parametrize("kind", [FaultKind.KEY, FaultKind.CREDITS, FaultKind.MODEL])
def test_a_refusal_is_everybodys_answer_for_a_while(kind: FaultKind) -> None:
    time = VirtualTime()
    pace = make_pace(time, Quota())
    refusal = Fault(kind, "no", Usage(requests=1), retry_after=5.0)
    pace.settle("one", "m", refusal, None, 0.0)
    assert pace.claim("two", "m", 1) == Fault(kind, "no"), "and nobody pays for it twice"
    time.now += STOPPED_SECONDS
    assert pace.claim("two", "m", 1) == 0.0


def test_a_model_that_is_not_known_keeps_no_other_from_being_asked() -> None:
    pace = make_pace(VirtualTime(), Quota())
    pace.settle("one", "typo", Fault(FaultKind.MODEL, "who?"), None, 0.0)
    assert isinstance(pace.claim("two", "typo", 1), Fault)
    assert pace.claim("three", "main", 1) == 0.0


def test_an_outage_pauses_nothing() -> None:
    pace = make_pace(VirtualTime(), Quota())
    pace.settle("one", "m", Fault(FaultKind.UNAVAILABLE, "", retry_after=9.0), 9.0, 0.0)
    assert pace.claim("two", "m", 1) == 0.0
