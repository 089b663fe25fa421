"""Our own pace, in virtual time: under GitHub's limits whatever the number of threads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.github.quota import Quota, turns_of_process
from app.errors import HostLimited
from tests.adapters.github.conftest import Time


def _write_times(time: Time, quota: Quota, count: int) -> list[float]:
    """Write as often as allowed; wait outside when told to."""
    times: list[float] = []
    while len(times) < count:
        try:
            quota.take_write()
        except HostLimited as limited:
            time.sleep(limited.retry_after)
        else:
            times.append(time.now)
    return times


def _most_within(times: list[float], span: float) -> int:
    return max(sum(start <= one < start + span for one in times) for start in times)


def test_writes_are_a_second_apart() -> None:
    time = Time()
    times = _write_times(time, Quota(time, time.sleep), 10)
    assert [b - a for a, b in pairwise(times)] == [1.0] * 9


def test_there_are_sixty_a_minute_and_four_hundred_an_hour() -> None:
    time = Time()
    times = _write_times(time, Quota(time, time.sleep), 900)
    assert _most_within(times, 60) == 60
    assert _most_within(times, 3600) == 400


@given(st.lists(st.floats(0, 100), max_size=150))
def test_no_pattern_of_calls_breaks_the_pace(pauses: list[float]) -> None:
    time = Time()
    quota = Quota(time, time.sleep)
    times = []
    for pause in pauses:
        time.now += pause
        times += _write_times(time, quota, 1)
    assert all(b - a >= 0.999 for a, b in pairwise(times))
    assert not times or _most_within(times, 60) <= 61


def test_a_clock_that_is_put_back_holds_no_write_up() -> None:
    time = Time()
    quota = Quota(time, time.sleep)
    _write_times(time, quota, 3)
    time.now -= 3600
    assert _write_times(time, quota, 2) == [time.now - 1, time.now]


def test_no_thread_waits_long_inside_a_call() -> None:
    time = Time()
    quota = Quota(time, lambda _: None)
    for _ in range(21):
        quota.take_write()
    for _ in range(2):  # what is refused takes no turn
        with pytest.raises(HostLimited) as limited:
            quota.take_write()
        assert limited.value.retry_after == 21


def test_a_secondary_limit_halves_the_pace_for_an_hour() -> None:
    time = Time()
    quota = Quota(time, time.sleep)
    quota.punish(HostLimited("slow down", retry_after=60))
    time.now += 61
    times = _write_times(time, quota, 3)
    assert times[1] - times[0] == 2
    time.now += 3600
    times = _write_times(time, quota, 3)
    assert times[1] - times[0] == 1


def test_praise_ends_the_doubling() -> None:
    time = Time()
    quota = Quota(time, time.sleep)
    limited = HostLimited("slow down", retry_after=60)
    assert [quota.punish(limited).retry_after for _ in range(3)] == [60, 120, 240]
    quota.praise()
    assert quota.punish(limited).retry_after == 60


@pytest.mark.parametrize(("remaining", "free"), [(5000, True), (501, True), (500, False)])
def test_new_work_leaves_a_tenth_of_the_hour_alone(remaining: int, *, free: bool) -> None:
    time = Time()
    quota = Quota(time, time.sleep)
    quota.learn(
        {
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-limit": "5000",
            "x-ratelimit-reset": str(time.now + 1800),
        }
    )
    quota.check()
    if free:
        quota.check(spare=True)
    else:
        with pytest.raises(HostLimited) as limited:
            quota.check(spare=True)
        assert limited.value.retry_after == 1800
        time.now += 1801
        quota.check(spare=True)


def test_a_pause_that_github_asked_another_worker_for_holds_our_writes_too() -> None:
    time = Time()
    turns = turns_of_process(time)
    ours, theirs = (Quota(time, time.sleep, turns=turns) for _ in range(2))
    theirs.punish(HostLimited("slow down", retry_after=60))
    with pytest.raises(HostLimited) as limited:
        ours.take_write()
    assert limited.value.retry_after == 60
    time.now += 61
    times = _write_times(time, ours, 3)
    assert times[1] - times[0] == 2
