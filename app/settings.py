"""The operator's choices and secrets, read once from the environment into one frozen value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from app.core.address import check_address
from app.errors import SettingsError

PROVIDER_KEYS = (
    ("novita", "NOVITA_API_KEY"),
    ("modelstudio", "DASHSCOPE_API_KEY"),
    ("segmind", "SEGMIND_API_KEY"),
    ("aimlapi", "AIMLAPI_API_KEY"),
    ("openai", "OPENAI_API_KEY"),
)
"""Which provider a key stands for, in the order in which the first one set is chosen."""

MIN_WEBHOOK_SECRET = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator may choose; nothing below bootstrap reads the environment."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    provider_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_cost_usd: Decimal | None = None
    rpm: int | None = None
    concurrency: int | None = None
    providers_file: Path | None = None
    dashscope_workspace: str | None = None
    dashscope_region: str | None = None
    github_api_url: str = "https://api.github.com"
    github_app_id: int | None = None
    github_private_key: str | None = field(default=None, repr=False)
    github_token: str | None = field(default=None, repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    data_dir: Path = Path("postil-data")
    database_url: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8000
    worker_id: str | None = None
    allow_insecure: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the usual variables say of proxies, under "http", "https" and "no"."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be shown, for the redactor."""
        own = (self.api_key, self.github_private_key, self.github_token, self.database_url)
        proxies = (proxy for proxy in self.proxies.values() if "@" in proxy)
        values = (*own, *self.provider_keys.values(), *self.webhook_secrets, *proxies)
        return tuple(value for value in values if value)

    @staticmethod
    def read(environ: Mapping[str, str]) -> Settings:
        """Read the settings. Raises SettingsError naming the variable, never its value."""
        env = {name: value.strip() for name, value in environ.items() if value.strip()}
        insecure = _flag(env, "POSTIL_ALLOW_INSECURE")
        base_url = env.get("POSTIL_BASE_URL")
        api_url = env.get("POSTIL_GITHUB_API_URL", "https://api.github.com")
        return Settings(
            provider=env.get("POSTIL_PROVIDER"),
            model=env.get("POSTIL_MODEL"),
            base_url=base_url
            and check_address("POSTIL_BASE_URL", base_url, allow_insecure=insecure),
            api_key=_header_safe(env, "POSTIL_API_KEY"),
            provider_keys={
                name: key for _, name in PROVIDER_KEYS if (key := _header_safe(env, name))
            },
            max_cost_usd=read_usd("POSTIL_MAX_COST_USD", env.get("POSTIL_MAX_COST_USD")),
            rpm=_whole(env, "POSTIL_RPM", 1, 100_000),
            concurrency=_whole(env, "POSTIL_CONCURRENCY", 1, 1000),
            providers_file=_existing_file(env, "POSTIL_PROVIDERS_FILE"),
            dashscope_workspace=_label(env, "POSTIL_DASHSCOPE_WORKSPACE"),
            dashscope_region=_label(env, "POSTIL_DASHSCOPE_REGION"),
            github_api_url=check_address("POSTIL_GITHUB_API_URL", api_url, allow_insecure=insecure),
            github_app_id=_whole(env, "POSTIL_GITHUB_APP_ID", 1, 10**12),
            github_private_key=_private_key(env),
            github_token=_header_safe(env, "POSTIL_GITHUB_TOKEN"),
            webhook_secrets=_webhook_secrets(env),
            data_dir=Path(env.get("POSTIL_DATA_DIR", "postil-data")),
            database_url=_database_url(env),
            host=env.get("POSTIL_HOST", "127.0.0.1"),
            port=_whole(env, "POSTIL_PORT", 1, 65535) or 8000,
            worker_id=_label(env, "POSTIL_WORKER_ID"),
            allow_insecure=insecure,
            proxies=_proxies(env),
        )


def read_usd(name: str, text: str | None) -> Decimal | None:
    """Read an amount in US dollars; ``name`` is the variable or option to blame."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise SettingsError(f"{name} must be an amount in US dollars such as 0.50") from None
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"{name} must be zero or more US dollars")
    return amount


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name)
    if value not in {None, "0", "1"}:
        raise SettingsError(f"{name} must be 0 or 1")
    return value == "1"


def _whole(env: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    value = env.get(name)
    if value is None:
        return None
    digits = math.ceil(math.log10(high)) + 1
    if not re.fullmatch(rf"[0-9]{{1,{digits}}}", value) or not low <= int(value) <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}")
    return int(value)


def _label(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        raise SettingsError(f"{name} may hold letters, digits, dots and hyphens only")
    return value


def _header_safe(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if value is not None and not all("!" <= character <= "~" for character in value):
        raise SettingsError(f"{name} holds a character that no key has: was it pasted whole?")
    return value


def _existing_file(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    if value is None:
        return None
    path = Path(value)
    if not path.is_file():
        raise SettingsError(f"{name} names no file: {value}")
    return path


def _private_key(env: Mapping[str, str]) -> str | None:
    value = env.get("POSTIL_GITHUB_PRIVATE_KEY")
    path = _existing_file(env, "POSTIL_GITHUB_PRIVATE_KEY_FILE")
    if value and path:
        raise SettingsError(
            "set POSTIL_GITHUB_PRIVATE_KEY or POSTIL_GITHUB_PRIVATE_KEY_FILE, not both"
        )
    if path is None:
        return value
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError("POSTIL_GITHUB_PRIVATE_KEY_FILE can't be read as text") from None


def _webhook_secrets(env: Mapping[str, str]) -> tuple[str, ...]:
    secrets = tuple(
        part.strip() for part in env.get("POSTIL_WEBHOOK_SECRET", "").split(",") if part.strip()
    )
    if any(len(secret) < MIN_WEBHOOK_SECRET for secret in secrets):
        raise SettingsError(
            f"POSTIL_WEBHOOK_SECRET must have at least {MIN_WEBHOOK_SECRET} characters"
        )
    return secrets


def _proxies(env: Mapping[str, str]) -> dict[str, str]:
    names = {name: f"{name}_proxy" for name in ("http", "https", "no")}
    found = {name: env.get(own, env.get(own.upper())) for name, own in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _database_url(env: Mapping[str, str]) -> str | None:
    value = env.get("POSTIL_DATABASE_URL")
    if value is not None and not re.match(r"(postgresql(\+psycopg)?|sqlite)://", value):
        raise SettingsError("POSTIL_DATABASE_URL must begin with postgresql:// or sqlite://")
    return value
