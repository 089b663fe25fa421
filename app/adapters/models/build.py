"""A row of the table and the operator's choices become a model to ask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.adapters.models.chat import ChatService
from app.adapters.models.dashscope import DashScopeService
from app.adapters.models.fill import FillService
from app.adapters.models.local import LocalServer, LocalService, find_model
from app.adapters.models.pace import Quota
from app.adapters.models.registry import (
    ASSUMED_CONTEXT,
    ASSUMED_OUTPUT,
    Provider,
    Routing,
    build_address,
)
from app.adapters.models.scheduler import PacedModel, Service, Timing
from app.adapters.models.target import Part, Target
from app.core.address import choose_proxy
from app.core.money import Rates
from app.core.prompts import Role
from app.errors import SettingsError
from app.ports import ModelInfo

TOOL_TOKENS = 1024
"""What the tool of a forced call adds to a prompt, at most: its definition and what frames it."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose about the model; each None leaves it to the table."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    model: str | None = None
    rpm: int | None = None
    concurrency: int | None = None
    workspace: str | None = None
    region: str | None = None
    allow_insecure: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)


def build_model(
    provider: Provider,
    choices: Choices,
    *,
    deadline: float = 3600.0,
    timing: Timing | None = None,
) -> PacedModel:
    """Build the model. Raises SettingsError naming what to set.

    ``deadline`` is in seconds, for one round of asking.
    """
    routing = _routing(provider, choices.model)
    main = _part(provider, routing.main)
    named = {Role.FAST: routing.fast, Role.VERIFY: routing.verify}
    parts = {role: _part(provider, name) for role, name in named.items() if name != routing.main}
    target = Target(
        provider=provider,
        address="",
        main=main,
        parts=parts,
        key=choices.api_key,
    )
    others = {role: _info(provider, part) for role, part in parts.items()}
    info = replace(_info(provider, main), others=others)
    figures = [provider.figures_of(part.model) for part in (main, *parts.values())]
    quota = Quota(
        rpm=choices.rpm or min((one.rpm for one in figures if one.rpm), default=None),
        tpm=min((one.tpm for one in figures if one.tpm), default=None),
        concurrency=choices.concurrency or provider.concurrency,
        period=provider.quota_seconds,
        call_seconds=provider.call_seconds,
    )
    return PacedModel(
        _service(target, choices),
        info,
        quota,
        account=_account(provider, choices),
        can_continue=provider.partial,
        deadline=deadline,
        timing=timing,
    )


def has_local() -> bool:
    """Tell whether the embedded model is installed."""
    return find_model() is not None


def _account(provider: Provider, choices: Choices) -> str:
    """Tell who shares a quota: whoever asks the same service with the same key."""
    address = choices.base_url or provider.address
    parts = (address, choices.workspace or "", choices.region or "", choices.api_key or "")
    return f"{provider.id}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def _service(target: Target, choices: Choices) -> Service:
    provider = target.provider
    if provider.id == "local":
        model = find_model()
        if model is None:
            raise SettingsError("the embedded model is not installed: pip install 'postil[local]'")
        return LocalService(
            LocalServer(model),
            lambda running: replace(target, address=running.address, key=running.key),
        )
    if provider.key is not None and not choices.api_key:
        raise SettingsError(f"set {provider.key} (or POSTIL_API_KEY) to ask {provider.id}")
    address = build_address(
        provider,
        base_url=choices.base_url,
        workspace=choices.workspace,
        region=choices.region,
        allow_insecure=choices.allow_insecure,
    )
    proxy = choose_proxy(choices.proxies, address)
    target = replace(target, address=address, proxy=proxy)
    if provider.dialect == "dashscope":
        return DashScopeService(target)
    chat, filler = ChatService(target), provider.completions
    if filler is None or choices.region != filler.region:
        return chat
    return FillService(
        replace(target, main=_part(provider, filler.model), parts={}), filler.path, chat
    )


def _routing(provider: Provider, model: str | None) -> Routing:
    if model:
        return Routing(fast=model, main=model, verify=model)
    if provider.models is None:
        raise SettingsError(f"set POSTIL_MODEL (or --model): {provider.id} has no model of its own")
    return provider.models


def _part(provider: Provider, model: str) -> Part:
    figures = provider.figures_of(model)
    max_output = figures.output_tokens or ASSUMED_OUTPUT
    limited = {"max_tokens", "max_completion_tokens"} & set(provider.fields)
    least = 0 if limited else max_output
    added = TOOL_TOKENS if "tool" in provider.modes else 0
    return Part(model, Rates(figures.prices, provider.token_factor, least, added), max_output)


def _info(provider: Provider, part: Part) -> ModelInfo:
    figures = provider.figures_of(part.model)
    return ModelInfo(
        provider=provider.id,
        name=part.model,
        context_tokens=figures.context_tokens or ASSUMED_CONTEXT,
        max_output_tokens=part.max_output,
        prices=part.rates.tiers,
        token_factor=part.rates.token_factor,
        min_rung=provider.min_rung,
        chunk_tokens=provider.chunk_tokens,
        least_output=part.rates.least_output,
        added_tokens=part.rates.added_tokens,
        calls=provider.functions,
    )
