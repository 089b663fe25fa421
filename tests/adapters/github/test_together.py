"""Calls side by side: in their order, all of them, and the first one's error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from github.Requester import Requester

from app.adapters.github.reading import GitHubPulls
from app.adapters.github.together import MOMENT_S, WIDTH, Kept, both, side_by_side
from tests.adapters.github.conftest import Fact, Scene, Time


def _meet(barrier: threading.Barrier, answer: int) -> int:
    barrier.wait(10)
    return answer


def _fail(word: str) -> int:
    raise ValueError(word)


def test_calls_run_at_once_and_answer_in_their_order() -> None:
    barrier = threading.Barrier(WIDTH)
    answers = side_by_side(partial(_meet, barrier, number) for number in range(2 * WIDTH))
    assert answers == list(range(2 * WIDTH))
    pair = threading.Barrier(2)
    assert both(lambda: _meet(pair, 1), lambda: _meet(pair, 2)) == (1, 2)


@pytest.mark.parametrize(
    ("calls", "first"),
    [
        ([lambda: 1, lambda: _fail("b")], "b"),
        ([lambda: _fail("a"), lambda: 2], "a"),
        ([lambda: _fail("a"), lambda: _fail("b")], "a"),
    ],
)
def test_the_first_error_is_raised(calls: list[Callable[[], int]], first: str) -> None:
    with pytest.raises(ValueError, match=first):
        side_by_side(calls)
    with pytest.raises(ValueError, match=first):
        both(*calls)


def test_what_is_kept_is_given_out_once_and_not_for_long() -> None:
    time = Time()
    kept: Kept[int] = Kept(time)
    assert kept.take("a") is None
    kept.keep("a", 1)
    assert (kept.take("b"), kept.take("a"), kept.take("a")) == (None, 1, None)
    kept.keep("a", 1)
    time.now += MOMENT_S + 1
    assert kept.take("a") is None


def test_no_two_calls_share_a_requester(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Requester] = []
    send = Requester.requestJson

    def remember(self: Requester, *args: Fact, **facts: Fact) -> Fact:
        used.append(self)
        return send(self, *args, **facts)

    monkeypatch.setattr(Requester, "requestJson", remember)
    pulls = GitHubPulls(scene.access())
    for _ in range(3):
        pulls.fetch_pull(scene.ref)
    assert (
        len({id(one) for one in used}) == len(used) == len(["a token", "a pull", "again", "again"])
    )
