"""The table of model services: read from data, overridden by the operator, chosen from.

Fenced here: the form of ``providers.toml`` and the rules of choice. Nothing is sent from here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from app.core.address import check_address
from app.core.money import PriceTier
from app.errors import SettingsError

OVERRIDE = "POSTIL_PROVIDERS_FILE"
ASSUMED_CONTEXT = 32_768
"""The context of a model whose service does not state one."""
ASSUMED_OUTPUT = 8_192
"""The longest answer of a model whose service does not state one."""

Mode = Literal["json_schema", "tool", "json_object", "partial", "plain"]
FIGURES = ("context_tokens", "output_tokens", "rpm", "tpm", "prices")
FACTS = ("functions",)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a service states of one model; ``sources`` says where, figure by figure."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    context_tokens: int | None = None
    output_tokens: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    prices: tuple[PriceTier, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Routing:
    """Which model takes which part of a review."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    fast: str
    main: str
    verify: str


@dataclass(frozen=True, slots=True)
class Completions:
    """A model that fills in the middle, through the completions API of one region.

    It is used when the operator names that region.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str
    path: str
    region: str


@dataclass(frozen=True, slots=True)
class Provider:
    """One model service, as ``providers.toml`` describes it; its head explains every field.

    ``sources`` says where ``functions`` is stated.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    title: str
    dialect: Literal["chat", "dashscope"]
    address: str
    fields: tuple[str, ...]
    modes: tuple[Mode, ...]
    path: str = "/chat/completions"
    regions: tuple[str, ...] = ()
    key: str | None = None
    auth: str = "bearer"
    try_modes: bool = False
    functions: bool = False
    stream: bool = False
    partial: bool = False
    concurrency: int = 4
    quota_seconds: float = 60.0
    call_seconds: float = 120.0
    token_factor: float = 1.0
    chunk_tokens: int = 6000
    min_rung: str = "E0"
    answer_items: int | None = None
    answer_chars: Mapping[str, int] = field(default_factory=dict)
    credits_header: str | None = None
    low_credits: float | None = None
    completions: Completions | None = None
    models: Routing | None = None
    figures: Mapping[str, Figures] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def figures_of(self, model: str) -> Figures:
        """Return what is stated of a model; nothing is, of one that is not listed."""
        return self.figures.get(model, Figures())


_ROWS = TypeAdapter(dict[str, Provider])


def load_providers(override: str | None = None) -> Mapping[str, Provider]:
    """Load the table, with the operator's TOML text merged over it. Raises SettingsError."""
    rows = _built_in()
    if override is None:
        return _validated(rows)
    try:
        wished = tomllib.loads(override)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{OVERRIDE} is not valid TOML: {error}") from None
    return _validated(_merged(rows, _with_own_sources(wished)))


def choose_provider(
    providers: Mapping[str, Provider],
    *,
    wish: str | None,
    keys: Mapping[str, str],
    has_local: bool,
) -> Provider | None:
    """Choose the service: the one wished for, else the first whose key is set, else the embedded.

    ``keys`` are the services' own key variables that are set. None when there is nothing to ask.
    Raises SettingsError when the wish is not in the table.
    """
    if wish is not None:
        if wish not in providers:
            raise SettingsError(
                f"POSTIL_PROVIDER (or --provider) must be one of: {', '.join(providers)}"
            )
        return providers[wish]
    for provider in providers.values():
        if provider.key is not None and keys.get(provider.key):
            return provider
    return providers["local"] if has_local else None


def build_address(
    provider: Provider,
    *,
    base_url: str | None = None,
    workspace: str | None = None,
    region: str | None = None,
    allow_insecure: bool = False,
) -> str:
    """Build the address that requests go below. Raises SettingsError naming what to set."""
    if base_url:
        return check_address("POSTIL_BASE_URL", base_url, allow_insecure=allow_insecure)
    address = provider.address
    if not address:
        raise SettingsError(f"set POSTIL_BASE_URL (or --base-url): {provider.id} has no address")
    if "{workspace}" in address:
        address = address.replace("{workspace}", _workspace(provider, workspace))
    if "{region}" in address:
        address = address.replace("{region}", _region(provider, region))
    return check_address(OVERRIDE, address, allow_insecure=allow_insecure)


def _workspace(provider: Provider, workspace: str | None) -> str:
    if not workspace:
        raise SettingsError(
            f"set POSTIL_DASHSCOPE_WORKSPACE: the address of {provider.id} holds the workspace's id"
        )
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", workspace):
        raise SettingsError("POSTIL_DASHSCOPE_WORKSPACE may hold letters, digits and hyphens only")
    return workspace


def _region(provider: Provider, region: str | None) -> str:
    chosen = region or provider.regions[0]
    if chosen not in provider.regions:
        raise SettingsError(
            f"POSTIL_DASHSCOPE_REGION must be one of: {', '.join(provider.regions)}"
        )
    return chosen


def table(providers: Mapping[str, Provider]) -> Sequence[Mapping[str, str]]:
    """Compose the rows of ``postil providers``; a figure that is not stated is an empty text."""
    return tuple(_row(provider) for provider in providers.values())


def _row(provider: Provider) -> Mapping[str, str]:
    model = provider.models.main if provider.models else ""
    figures = provider.figures_of(model)
    price = figures.prices[0] if figures.prices else None
    return {
        "provider": provider.id,
        "model": model,
        "key": provider.key or "",
        "structured output": provider.modes[0],
        "context": _count(figures.context_tokens),
        "output": _count(figures.output_tokens),
        "USD per 1M in": str(price.input) if price else "",
        "USD per 1M out": str(price.output) if price else "",
        "RPM": _count(figures.rpm),
        "TPM": _count(figures.tpm),
    }


def _count(figure: int | None) -> str:
    return "" if figure is None else f"{figure:,}"


@cache
def _built_in() -> Mapping[str, Any]:
    text = resources.files("app.adapters.models").joinpath("providers.toml").read_text("utf-8")
    return tomllib.loads(text)


def _validated(rows: Mapping[str, Any]) -> Mapping[str, Provider]:
    try:
        providers = _ROWS.validate_python(
            {
                name: {**row, "id": name} if isinstance(row, dict) else row
                for name, row in rows.items()
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{OVERRIDE}: {where}: {first['msg']}") from None
    for provider in providers.values():
        _check(provider)
    return providers


def _check(provider: Provider) -> None:
    """Raise SettingsError for what types can't say."""
    if not provider.modes:
        raise SettingsError(f"{OVERRIDE}: {provider.id}.modes must name at least one mode")
    if "{region}" in provider.address and not provider.regions:
        raise SettingsError(f"{OVERRIDE}: {provider.id}.regions must name at least one region")
    if provider.functions and "tools" not in provider.fields:
        raise SettingsError(f"{OVERRIDE}: {provider.id}.functions needs `tools` in its fields")
    _check_sources(provider, FACTS, provider.id)
    for model, figures in provider.figures.items():
        _check_sources(figures, FIGURES, f"{provider.id}.figures.{model}")


def _check_sources(stated: Provider | Figures, names: Sequence[str], where: str) -> None:
    missing = [name for name in names if getattr(stated, name) and name not in stated.sources]
    if missing:
        raise SettingsError(
            f"{OVERRIDE}: {where}.sources does not say where {min(missing)} is stated"
        )


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _with_own_sources(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Name the operator's file as the source of each fact and figure that it sets."""
    return {name: _sourced_row(row) for name, row in rows.items()}


def _sourced_row(row: object) -> object:
    sourced = _sourced(row, FACTS)
    figures = sourced.get("figures") if isinstance(sourced, dict) else None
    if not isinstance(sourced, dict) or not isinstance(figures, Mapping):
        return sourced
    named = {model: _sourced(stated, FIGURES) for model, stated in figures.items()}
    return {**sourced, "figures": named}


def _sourced(stated: object, names: Sequence[str]) -> object:
    own = [name for name in names if name in stated] if isinstance(stated, Mapping) else []
    if not isinstance(stated, Mapping) or not own:
        return stated
    given = stated.get("sources", {})
    return {**stated, "sources": dict.fromkeys(own, OVERRIDE) | dict(given)}
