"""What a review may cost, does cost and did cost. All amounts are US dollars, as Decimal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from app.core.prompts import Prompt, Reply, Role

MILLION = 1_000_000
NANO = Decimal("1e-9")
FRAME_TOKENS = 8
"""What a chat template adds to a message, or to an answer that is begun, at most."""
MAX_ATTEMPTS = 3
"""How often one prompt may be paid for: asked, asked again, continued."""


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices per million tokens for a request whose prompt has at most ``up_to`` tokens.

    A request that falls in a tier pays that tier for all its tokens. ``up_to`` None is the last.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more requests used, as the service counts it.

    ``completion_tokens`` includes ``reasoning_tokens``, ``prompt_tokens`` includes
    ``cached_tokens``. ``uncounted`` of the requests were not counted by the service (no usage, no
    answer, a cut connection): for them our own count stands here, at its worst. ``credits_left``
    is what the account had left after them, where the service tells, and ``credits_low`` whether
    that is little.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    uncounted: int = 0
    credits_left: float | None = None
    credits_low: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Add two usages; a cost that is unknown on a side that asked leaves the sum unknown."""
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_usd=_sum_cost(self, other),
            uncounted=self.uncounted + other.uncounted,
            credits_left=_least(self.credits_left, other.credits_left),
            credits_low=self.credits_low or other.credits_low,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a review may need at most; ``max_cost_usd`` None when no price is known."""

    requests: int
    prompt_tokens: int
    max_completion_tokens: int
    max_cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Rates:
    """What a model's tokens cost, and how far our own counts of them may be off.

    ``token_factor`` is how many of its tokens one of ours may be; ``least_output`` is how long any
    answer may be whatever limit was asked for (services that take none). ``added_tokens`` are what
    the form of the answer adds to each prompt, as the service counts it.
    """

    tiers: tuple[PriceTier, ...] = ()
    token_factor: float = 1.0
    least_output: int = 0
    added_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Purse:
    """What may still be spent: reserve before each call, settle after it.

    ``cap`` None means no limit. With a cap and no known price nothing can be promised: see
    ``enforceable``. ``others`` are the rates of the roles that another model takes.
    """

    rates: Rates = field(default_factory=Rates)
    cap: Decimal | None = None
    settled: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    others: Mapping[Role, Rates] = field(default_factory=dict)

    @property
    def enforceable(self) -> bool:
        """Tell whether the cap can be kept: there is none, or prices are known."""
        return self.cap is None or self._priced

    @property
    def left(self) -> Decimal | None:
        """Return what is neither spent nor reserved; None without a limit that can be kept."""
        if self.cap is None or not self._priced:
            return None
        return max(self.cap - self.settled - self.reserved, Decimal(0))

    @property
    def _priced(self) -> bool:
        return all(rates.tiers for rates in (self.rates, *self.others.values()))

    def affordable(
        self, prompts: Sequence[Prompt]
    ) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
        """Split prompts into those that can be asked and those that can't, in their order.

        Each that can carries its ``budget_usd``: one full-length attempt, and an equal part of
        what is left over for attempts that must be repeated.
        """
        left = self.left
        if left is None:
            return tuple(prompts), ()
        can: list[tuple[Prompt, Decimal]] = []
        cannot: list[Prompt] = []
        for prompt in prompts:
            worst = worst_cost(prompt, self.others.get(prompt.role, self.rates))
            if worst <= left:
                can.append((prompt, worst))
                left -= worst
            else:
                cannot.append(prompt)
        spare = (left / len(can)).quantize(NANO, ROUND_DOWN) if can else Decimal(0)
        funded = tuple(
            replace(prompt, budget_usd=min(worst * MAX_ATTEMPTS, worst + spare))
            for prompt, worst in can
        )
        return funded, tuple(cannot)

    def reserve(self, prompts: Iterable[Prompt]) -> Purse:
        """Set aside what affordable prompts may cost."""
        budgets = (prompt.budget_usd for prompt in prompts)
        return replace(self, reserved=self.reserved + sum((b for b in budgets if b), Decimal(0)))

    def settle(self, prompts: Iterable[Prompt], replies: Iterable[Reply]) -> Purse:
        """Give back what was reserved for prompts, and record what their replies did cost."""
        budgets = sum((prompt.budget_usd for prompt in prompts if prompt.budget_usd), Decimal(0))
        spent = sum((reply.usage.cost_usd or Decimal(0) for reply in replies), Decimal(0))
        return replace(
            self,
            reserved=max(self.reserved - budgets, Decimal(0)),
            settled=self.settled + spent,
        )


def price(usage: Usage, tiers: Sequence[PriceTier]) -> Decimal | None:
    """Price one request by the tier that its prompt fell in; None when no price is known."""
    tier = tier_of(usage.prompt_tokens, tiers)
    if tier is None:
        return None
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    cached_price = tier.input if tier.cached_input is None else tier.cached_input
    total = (
        (usage.prompt_tokens - cached) * tier.input
        + cached * cached_price
        + usage.completion_tokens * tier.output
    )
    return total / MILLION


def tier_of(prompt_tokens: int, tiers: Sequence[PriceTier]) -> PriceTier | None:
    """Return the tier of a prompt's length; past the last one's end, the last."""
    for tier in tiers:
        if tier.up_to is None or prompt_tokens <= tier.up_to:
            return tier
    return tiers[-1] if tiers else None


def most_tokens(prompt: Prompt, rates: Rates) -> int:
    """Return how many tokens a prompt may have by the service's count."""
    frames = FRAME_TOKENS * (len(prompt.messages) + 1)
    tokens = prompt.prompt_tokens + rates.added_tokens
    return math.ceil(tokens * rates.token_factor) + frames


def worst_usage(prompt: Prompt, rates: Rates) -> Usage:
    """Return the most that one attempt of a prompt may use."""
    usage = Usage(
        requests=1,
        prompt_tokens=most_tokens(prompt, rates),
        completion_tokens=max(prompt.max_tokens, rates.least_output),
        uncounted=1,
    )
    return replace(usage, cost_usd=price(usage, rates.tiers))


def worst_cost(prompt: Prompt, rates: Rates) -> Decimal:
    """Return the most that one attempt of a prompt may cost; zero when no price is known.

    Taken at the dearest of the tiers up to the prompt's length, should a longer one be cheaper.
    """
    worst = worst_usage(prompt, rates)
    ends = (tier.up_to for tier in rates.tiers if tier.up_to is not None)
    lengths = (worst.prompt_tokens, *(min(end, worst.prompt_tokens) for end in ends))
    costs = (price(replace(worst, prompt_tokens=length), rates.tiers) for length in lengths)
    return max((cost for cost in costs if cost is not None), default=Decimal(0))


def worst_case(prompts: Sequence[Prompt], rates: Rates) -> Estimate:
    """Estimate what asking every prompt once may need at most."""
    usages = tuple(worst_usage(prompt, rates) for prompt in prompts)
    return Estimate(
        requests=len(prompts),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        max_completion_tokens=sum(usage.completion_tokens for usage in usages),
        max_cost_usd=sum((worst_cost(prompt, rates) for prompt in prompts), Decimal(0))
        if rates.tiers
        else None,
    )


def compose_notes(usage: Usage) -> tuple[str, ...]:
    """Say what a receipt adds to its numbers: what was not counted, what credits are left."""
    notes: list[str] = []
    if usage.uncounted:
        notes.append(f"{usage.uncounted} not counted by the service, so taken at our own count")
    if usage.credits_left is not None:
        low = ", which is little: top the account up" if usage.credits_low else ""
        notes.append(f"{usage.credits_left:,g} credits left{low}")
    return tuple(notes)


def _sum_cost(one: Usage, other: Usage) -> Decimal | None:
    costs = [usage.cost_usd for usage in (one, other) if usage.requests]
    if not costs or any(cost is None for cost in costs):
        return None
    return sum((cost for cost in costs if cost is not None), Decimal(0))


def _least(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)
