"""Whatever a service does, no more is spent than the cap, by the service's own count."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from app.adapters.models.registry import Figures, Provider
from app.core.money import PriceTier as Price
from app.core.money import Purse, Usage, most_tokens
from app.core.prompts import Answer
from sandbox.models import Act, ModelServer, Planted, Seen, Tier
from tests.adapters.models.kit import answer_of, build, make_prompt
from tests.adapters.models.test_scheduler import quota
from tests.core.test_prompts import review

TIERS = (
    Tier(Decimal(1), Decimal(5), up_to=400),
    Tier(Decimal(3), Decimal(9), cached=Decimal("0.5")),
)
PRICES = (
    Price(Decimal(1), Decimal(5), up_to=400),
    Price(Decimal(3), Decimal(9), cached_input=Decimal("0.5")),
)
FAULTS = (
    Act(),
    Act(),
    Act(),
    Act(500),
    Act(429, headers={"retry-after": "1"}),
    Act(cut=30),
    Act(finish=None),
    Act(finish="length"),
    Act(answer=None),
    Act(usage=None),
    Act(body=b"<html>", content_type="text/html"),
    Act(400, error="maximum context length"),
)


@pytest.mark.parametrize("seed", range(200))
def test_no_run_with_faults_spends_more_than_its_cap(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a reproducible test
    cap = Decimal(dice.randrange(0, 60)) / 1000
    row = dice.choice(["novita", "dashscope"])
    prompts = [
        make_prompt("R1 +| " + "x" * dice.randrange(3000), max_tokens=dice.randrange(50, 900))
        for _ in range(dice.randrange(1, 9))
    ]

    def misbehave(_seen: Seen) -> Act:
        return dice.choice(FAULTS)

    brain = Planted({"x" * 50: "y" * dice.randrange(1500)})
    with ModelServer(row, tiers=TIERS, output=900, script=misbehave, brain=brain) as server:
        model = build(server, change=quota(prices=PRICES, output_tokens=900), concurrency=3)
        purse = Purse(model.info.rates, cap=cap)
        usage = Usage()
        for _ in range(3):
            can, _ = purse.affordable(prompts)
            replies = model.ask_all(can)
            purse = purse.reserve(can).settle(can, replies)
            usage = sum((reply.usage for reply in replies), usage)

    assert server.bill.cost_usd <= cap
    assert purse.settled <= cap
    assert usage.cost_usd is None or server.bill.cost_usd <= usage.cost_usd


def test_the_receipt_equals_the_services_own_count_with_tiers_cache_and_retries() -> None:
    dice = random.Random(7)  # noqa: S311 - a reproducible test
    brain = Planted({"long": "y" * 300})
    acts = [Act(500), Act(), Act(429), Act(), Act(503)]
    with ModelServer("dashscope", tiers=TIERS, script=acts, brain=brain) as server:
        model = build(server, change=quota(prices=PRICES))
        prompts = [make_prompt("R1 +| long" + "x" * dice.randrange(4000)) for _ in range(20)]
        replies = model.ask_all(prompts)
        usage = sum((reply.usage for reply in replies), Usage())

    assert all(isinstance(reply, Answer) for reply in replies)
    assert usage.requests == server.bill.requests + 3
    assert usage.prompt_tokens == server.bill.prompt_tokens
    assert usage.completion_tokens == server.bill.completion_tokens
    assert usage.cached_tokens == server.bill.cached_tokens > 0
    assert usage.cost_usd == server.bill.cost_usd


def test_a_service_that_takes_no_limit_is_reserved_for_at_its_longest_answer() -> None:
    def figured(provider: Provider) -> Provider:
        changed: Provider = quota(prices=PRICES, output_tokens=60_000)(provider)
        return changed

    with ModelServer("segmind") as server:
        model = build(server, change=figured)
    assert model.info.least_output == model.info.rates.least_output == 60_000
    assert Purse(model.info.rates, cap=Decimal("0.1")).affordable([make_prompt()])[0] == ()
    assert Figures().output_tokens is None


def test_the_definition_of_a_forced_tool_is_counted_before_it_is_billed() -> None:
    def forced(provider: Provider) -> Provider:
        return replace(provider, modes=("tool",))

    asked = replace(make_prompt(), schema=review().schema)
    with ModelServer("novita") as server:
        rates = build(server, change=forced).info.rates
        answer_of(build(server, change=forced).ask_once(asked))
        plain = build(server).info.rates
    template = 494 - 12 - 106  # what Model Studio's page adds to an example's own tokens
    assert server.bill.prompt_tokens + template <= most_tokens(asked, rates)
    assert server.bill.prompt_tokens > most_tokens(asked, plain)
