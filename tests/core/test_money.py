"""What a review costs: tiers, caps that hold, and a receipt in words."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import (
    FRAME_TOKENS,
    MAX_ATTEMPTS,
    PriceTier,
    Purse,
    Rates,
    Usage,
    compose_notes,
    price,
    tier_of,
    worst_case,
    worst_cost,
)
from app.core.prompts import Answer, Message, Prompt, Task

FLAT = (PriceTier(Decimal("0.20"), Decimal("1.50")),)
TIERED = (
    PriceTier(Decimal(1), Decimal(5), up_to=32_000),
    PriceTier(Decimal(2), Decimal(10), up_to=128_000),
    PriceTier(Decimal(4), Decimal(20)),
)


def prompt(tokens: int = 1000, answer: int = 500) -> Prompt:
    return Prompt(Task.REVIEW, (Message("user", "?"),), "0" * 16, "{}", answer, "k", tokens)


def test_a_request_is_priced_by_its_tokens() -> None:
    usage = Usage(requests=1, prompt_tokens=1_000_000, completion_tokens=100_000)
    assert price(usage, FLAT) == Decimal("0.35")


def test_without_a_price_there_is_no_cost() -> None:
    assert price(Usage(prompt_tokens=10), ()) is None
    assert worst_case([prompt()], Rates()).max_cost_usd is None


@pytest.mark.parametrize(
    ("tokens", "rate"), [(0, 1), (32_000, 1), (32_001, 2), (128_000, 2), (128_001, 4)]
)
def test_all_tokens_are_paid_at_the_tier_that_the_prompt_reached(tokens: int, rate: int) -> None:
    tier = tier_of(tokens, TIERED)
    assert tier is not None
    assert tier.input == rate
    usage = Usage(prompt_tokens=tokens, completion_tokens=1_000_000)
    assert price(usage, TIERED) == Decimal(tokens * rate) / 1_000_000 + rate * 5


def test_past_the_last_tiers_end_the_last_one_holds() -> None:
    assert tier_of(10**9, TIERED[:2]) == TIERED[1]


def test_cached_tokens_are_paid_at_their_own_price_where_there_is_one() -> None:
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000)
    discounted = (replace(FLAT[0], cached_input=Decimal("0.05")),)
    assert price(usage, discounted) == Decimal("0.14")
    assert price(usage, FLAT) == Decimal("0.20")


def test_usages_add_up_and_an_unknown_cost_stays_unknown() -> None:
    known = Usage(requests=1, prompt_tokens=5, cost_usd=Decimal(1), credits_left=9.0)
    assert (Usage() + known).cost_usd == 1
    assert (known + known).cost_usd == 2
    assert (known + Usage(requests=1)).cost_usd is None
    assert (known + replace(known, credits_left=7.0)).credits_left == 7.0


def test_an_estimate_takes_every_prompt_at_its_worst() -> None:
    rates = Rates(FLAT, token_factor=1.5, least_output=8000)
    estimate = worst_case([prompt(), prompt()], rates)
    assert (estimate.requests, estimate.prompt_tokens) == (2, 2 * (1500 + 2 * FRAME_TOKENS))
    assert estimate.max_completion_tokens == 16_000
    added = worst_case([prompt()], replace(rates, added_tokens=100))
    assert added.prompt_tokens == estimate.prompt_tokens // 2 + 150
    assert estimate.max_cost_usd == (estimate.prompt_tokens * Decimal("0.2") + 24_000) / 1_000_000


def test_a_prompt_that_may_reach_a_dearer_tier_is_taken_at_it() -> None:
    near = prompt(30_000 - 2 * FRAME_TOKENS, 0)
    assert worst_cost(near, Rates(TIERED)) == Decimal("0.03")
    assert worst_cost(near, Rates(TIERED, token_factor=1.2)) > Decimal("0.07")


def test_without_a_cap_everything_is_affordable() -> None:
    prompts = [prompt()] * 3
    assert Purse(Rates(FLAT)).affordable(prompts) == (tuple(prompts), ())


def test_a_cap_that_no_price_can_keep_is_told() -> None:
    assert not Purse(Rates(), cap=Decimal(1)).enforceable
    assert Purse(Rates(FLAT), cap=Decimal(1)).enforceable
    assert Purse(Rates()).enforceable


def test_what_does_not_fit_is_named_and_smaller_prompts_still_go() -> None:
    big, small = prompt(1_000_000, 0), prompt(1000, 0)
    can, cannot = Purse(Rates(FLAT), cap=Decimal("0.001")).affordable([big, small])
    assert [each.prompt_tokens for each in can] == [1000]
    assert cannot == (big,)


def test_a_cap_of_zero_affords_nothing_that_costs_and_all_that_is_free() -> None:
    free = (PriceTier(Decimal(0), Decimal(0)),)
    assert Purse(Rates(FLAT), cap=Decimal(0)).affordable([prompt()])[0] == ()
    assert len(Purse(Rates(free), cap=Decimal(0)).affordable([prompt()])[0]) == 1


@given(
    cap=st.decimals(0, 1, places=4),
    sizes=st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 5000)), max_size=12),
)
def test_budgets_never_exceed_the_cap_together(cap: Decimal, sizes: list[tuple[int, int]]) -> None:
    purse = Purse(Rates(TIERED, token_factor=1.1), cap=cap)
    can, cannot = purse.affordable([prompt(*size) for size in sizes])

    assert len(can) + len(cannot) == len(sizes)
    reserved = purse.reserve(can)
    assert reserved.reserved <= cap
    for each in can:
        assert each.budget_usd is not None
        worst = worst_cost(each, purse.rates)
        assert worst <= each.budget_usd <= worst * MAX_ATTEMPTS
    assert reserved.settle(can, ()).reserved == 0


def test_settling_gives_back_what_was_not_spent() -> None:
    purse = Purse(Rates(FLAT), cap=Decimal(1))
    can, _ = purse.affordable([prompt()])
    usage = Usage(requests=1, cost_usd=Decimal("0.25"))
    settled = purse.reserve(can).settle(can, [Answer("{}", usage)])
    assert (settled.settled, settled.reserved, settled.left) == (
        Decimal("0.25"),
        Decimal(0),
        Decimal("0.75"),
    )


def test_a_receipt_adds_what_was_not_counted_and_what_credits_are_left() -> None:
    usage = Usage(requests=2, uncounted=1, credits_left=3.5, credits_low=True)
    assert compose_notes(usage) == (
        "1 not counted by the service, so taken at our own count",
        "3.5 credits left, which is little: top the account up",
    )
    assert compose_notes(Usage(credits_left=9000.0)) == ("9,000 credits left",)
    assert compose_notes(Usage(requests=1)) == ()
