"""What every way of running Postil is wired from: the model, the templates, the reviewer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path

from app.adapters.models.build import Choices, build_model, has_local
from app.adapters.models.registry import Provider, choose_provider, load_providers
from app.adapters.models.scheduler import PacedModel
from app.adapters.tokens import count_tokens
from app.core.prompts import Templates
from app.errors import SettingsError
from app.looks import Progress
from app.pipeline import Reviewer
from app.ports import Analyzers, Model, Traces
from app.settings import Settings

NO_MODEL = (
    "no model is configured: set NOVITA_API_KEY or another service's key (see postil providers)"
)
ANY_SERVICE = "openai-compatible"


@dataclass(frozen=True, slots=True)
class ModelWish:
    """What the command line says about the model; None leaves it to the settings."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None


def read_providers(settings: Settings) -> Mapping[str, Provider]:
    """Read the table of model services with the operator's overrides. Raises SettingsError."""
    if settings.providers_file is None:
        return load_providers()
    try:
        text = settings.providers_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError("POSTIL_PROVIDERS_FILE can't be read as text") from None
    return load_providers(text)


def pick_provider(settings: Settings, wish: ModelWish) -> Provider | None:
    """Choose the model service; an address alone means a service that speaks like OpenAI."""
    providers = read_providers(settings)
    named = wish.provider or settings.provider
    address = wish.base_url or settings.base_url
    chosen = choose_provider(
        providers, wish=named, keys=settings.provider_keys, has_local=has_local()
    )
    if named is None and address and (chosen is None or chosen.id == "local"):
        return providers[ANY_SERVICE]
    return chosen


def build_chosen_model(settings: Settings, wish: ModelWish) -> PacedModel | None:
    """Build the model that the settings and the wish name; None when there is none."""
    provider = pick_provider(settings, wish)
    return None if provider is None else build_model(provider, choose(provider, settings, wish))


def choose(provider: Provider, settings: Settings, wish: ModelWish) -> Choices:
    """Collect what the settings and the wish choose about a service's model."""
    return Choices(
        api_key=settings.api_key or settings.provider_keys.get(provider.key or ""),
        base_url=wish.base_url or settings.base_url,
        model=wish.model or settings.model,
        rpm=settings.rpm,
        concurrency=settings.concurrency,
        workspace=settings.dashscope_workspace,
        region=settings.dashscope_region,
        allow_insecure=settings.allow_insecure,
        proxies=settings.proxies,
    )


def refuse_cap_without_prices(model: Model | None, cap: Decimal | None) -> None:
    """Refuse a cost cap that can't be kept. Raises SettingsError naming the mend."""
    models = (model.info, *model.info.others.values()) if model else ()
    unpriced = next((info for info in models if not info.prices), None)
    if cap is not None and unpriced:
        raise SettingsError(
            f"no price is known for {unpriced.provider}/{unpriced.name}, so no cost "
            "cap can be kept: state its prices in POSTIL_PROVIDERS_FILE"
        )


def build_reviewer(
    model: Model | None,
    traces: Traces,
    analyzers: Analyzers,
    *,
    secret: str,
    leaks: Callable[[str], bool] = lambda _text: False,
    over: Callable[[str], bool] = lambda _run_id: False,
    progress: Progress = lambda _stage, _done, _total: None,
) -> Reviewer:
    """Wire a reviewer; ``secret`` makes its nonces unforeseeable."""
    return Reviewer(
        model=model,
        analyzers=analyzers,
        traces=traces,
        templates=load_templates(),
        count=count_tokens,
        clock=time.monotonic,
        secret=secret,
        missing_model=NO_MODEL,
        leaks=leaks,
        over=over,
        progress=progress,
    )


def load_templates() -> Templates:
    """Load what the model is told: from the wheel, else from the checkout."""
    inside = resources.files("app").joinpath("prompts")
    folder = inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "prompts"
    return Templates(
        {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in folder.iterdir()
            if entry.name.endswith(".j2")
        }
    )


def derive_key(purpose: str, secret: str) -> bytes:
    """Derive a key for one purpose from a secret we already hold."""
    return hashlib.sha256(f"postil {purpose}\0{secret}".encode()).digest()
