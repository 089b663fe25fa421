"""What a review may cost, does cost and did cost. All amounts are US dollars, as Decimal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices per million tokens for a request whose prompt has at most ``up_to`` tokens.

    A request that falls in a tier pays that tier for all its tokens. ``up_to`` None is the last.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more requests used, as the service counts it."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a review may need at most; ``max_cost_usd`` None when no price is known."""

    requests: int
    prompt_tokens: int
    max_completion_tokens: int
    max_cost_usd: Decimal | None
