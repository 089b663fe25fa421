"""What GitHub says of the App itself, and where that is not as it should be, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from app.adapters.github.access import GitHubApp, web_url
from app.adapters.github.client import USER_AGENT, Site
from app.adapters.github.manifest import APP_EVENTS, APP_PERMISSIONS
from app.adapters.github.shapes import Account
from app.adapters.github.transport import Exchange, Redirected
from app.core.address import is_loopback
from app.core.note import Note
from app.errors import HostUnavailable

LEVELS = ("none", "read", "write", "admin")
SKEW_S = 30
"""Seconds a clock may be off; GitHub refuses what is signed a minute ahead of its own."""
PLACEHOLDERS = ("your-host", "example.com", "example.org", "example.net", "example", "invalid")
"""Hosts that stand in documentation and nowhere else: https://www.rfc-editor.org/rfc/rfc2606"""
HOOK_PATH = "/webhook"


class Registration(BaseModel):
    """The App as it is registered."""

    id: int
    slug: str
    owner: Account
    html_url: str = ""
    permissions: dict[str, str] = {}
    events: list[str] = []


class Hook(BaseModel):
    """Where the App's webhooks go."""

    url: str = ""
    content_type: str = "form"
    insecure_ssl: str | int = "0"
    secret: str = Field(default="", repr=False)


class Installed(BaseModel):
    """Where the App is installed, and what was granted there."""

    account: Account
    permissions: dict[str, str] = {}
    suspended_at: datetime | None = None


class Attempt(BaseModel):
    """One attempt to deliver a webhook."""

    guid: str
    event: str
    status: str


def check_app(app: GitHubApp) -> Iterator[Note]:
    """Look at the App on GitHub from all sides. Raises HostError."""
    yield check_clock(_ask_time(app.site), app.site.clock())
    client = app.as_app
    mine = client.read(Registration, "/app")
    pages = _pages(app.site.api_url, mine)
    yield Note("GitHub App", well=True, text=f"{mine.slug}, number {mine.id}")
    yield check_permissions(mine.permissions, f"{pages}/permissions")
    yield check_events(mine.events, f"{pages}/permissions")
    hook = client.read(Hook, "/app/hook/config")
    yield check_hook(hook, pages)
    rows = next(iter(client.rows(Attempt, "/app/hook/deliveries")), ())
    yield check_deliveries(rows, hook.url)
    homes = [home for page in client.rows(Installed, "/app/installations") for home in page]
    yield check_installations(homes, mine)


def check_clock(headers: Mapping[str, str], now: float) -> Note:
    """Compare our clock with the Date of GitHub's answer. Raises HostUnavailable."""
    try:
        ahead = round(now - parsedate_to_datetime(headers["date"]).timestamp())
    except (KeyError, ValueError):
        raise HostUnavailable("GitHub's answer names no date") from None
    if abs(ahead) <= SKEW_S:
        return Note("clock", well=True, text="as GitHub's")
    word = "ahead of" if ahead > 0 else "behind"
    told = f"{abs(ahead)} seconds {word} GitHub's: let the machine set it by NTP"
    return Note("clock", well=False, text=told)


def check_permissions(have: Mapping[str, str], page: str) -> Note:
    """Name what the App may not and must, and what it may and needs not."""
    missing = _missing(have)
    spare = [
        f"{name}: {level}"
        for name, level in have.items()
        if _grade(level) > _grade(APP_PERMISSIONS.get(name, "none"))
    ]
    return _compare("permissions", _shown(APP_PERMISSIONS), missing, spare, page)


def check_events(have: Sequence[str], page: str) -> Note:
    """Name the events that the App is not told of, and those it does nothing with."""
    missing = [name for name in APP_EVENTS if name not in have]
    spare = [name for name in have if name not in APP_EVENTS]
    return _compare("events", ", ".join(APP_EVENTS), missing, spare, page)


def check_hook(hook: Hook, page: str) -> Note:
    """Judge the webhook's address and settings."""
    wrong = [*_wrong_address(hook.url)]
    if hook.content_type != "json":
        wrong.append("its content type is not application/json")
    if str(hook.insecure_ssl) != "0":
        wrong.append("certificates are not verified")
    if not hook.secret:
        wrong.append("it has no secret: set the one of POSTIL_WEBHOOK_SECRET")
    if not wrong:
        return Note("webhook", well=True, text=hook.url)
    return Note("webhook", well=False, text=f"{'; '.join(wrong)}: change it at {page}")


def check_deliveries(rows: Sequence[Attempt], url: str) -> Note:
    """Tell whether deliveries arrived; one that did at a later attempt is well."""
    arrived = {row.guid for row in rows if row.status == "OK"}
    failed = [row for row in rows if row.guid not in arrived]
    count = len({row.guid for row in rows})
    if not failed:
        return Note("deliveries", well=True, text=f"the last {count} arrived" if count else "none")
    newest = failed[0]
    told = (
        f"{len({row.guid for row in failed})} of the last {count} did not arrive, the newest "
        f'({newest.event}) with "{newest.status}": make {url or "the webhook"} answer; the server '
        "then fetches what it missed"
    )
    return Note("deliveries", well=False, text=told)


def check_installations(homes: Sequence[Installed], mine: Registration) -> Note:
    """Tell where the App may work, and where it was not granted what it asks for."""
    if not homes:
        told = f"nowhere: install the App at {mine.html_url}/installations/new"
        return Note("installations", well=False, text=told)
    wrong = [
        f"{home.account.login} has suspended the App"
        for home in homes
        if home.suspended_at is not None
    ]
    wrong += [
        f"{home.account.login} has not accepted {', '.join(missing)}"
        for home in homes
        if (missing := _missing(home.permissions))
    ]
    if wrong:
        told = f"{'; '.join(wrong)}: an owner does that in the account's settings"
        return Note("installations", well=False, text=told)
    names = ", ".join(home.account.login for home in homes)
    return Note("installations", well=True, text=names)


def _compare(
    subject: str, wanted: str, missing: Sequence[str], spare: Sequence[str], page: str
) -> Note:
    wrong = [f"missing: {', '.join(missing)}"] if missing else []
    wrong += [f"not needed: {', '.join(spare)}"] if spare else []
    if not wrong:
        return Note(subject, well=True, text=wanted)
    return Note(subject, well=False, text=f"{'; '.join(wrong)}: change it at {page}")


def _wrong_address(url: str) -> Iterator[str]:
    if not url:
        yield f"it has no address: set https://your server{HOOK_PATH}"
        return
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        yield f"{url} is not https"
    if any(host == name or host.endswith(f".{name}") for name in PLACEHOLDERS):
        yield f"{url} is an example's address"
    if is_loopback(host):
        yield f"GitHub can't reach {url} from outside"
    if parts.path.rstrip("/").rpartition("/")[2] != HOOK_PATH.removeprefix("/"):
        yield f"{url} does not end with {HOOK_PATH}"


def _missing(have: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {level}"
        for name, level in APP_PERMISSIONS.items()
        if _grade(have.get(name, "none")) < _grade(level)
    ]


def _grade(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 0


def _shown(permissions: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {level}" for name, level in permissions.items())


def _ask_time(site: Site) -> Mapping[str, str]:
    """Ask for anything without a key: every answer carries GitHub's date, a refusal too."""
    exchange = Exchange(site.session, site.origin, site.timeouts)
    exchange.request("GET", f"{site.prefix}/rate_limit", None, {"User-Agent": USER_AGENT})
    try:
        return exchange.getresponse().headers
    except Redirected:
        raise HostUnavailable("GitHub pointed at another address") from None


def _pages(api_url: str, mine: Registration) -> str:
    """Return the address of the App's settings."""
    owned = mine.owner.type == "Organization"
    whose = f"/organizations/{mine.owner.login}" if owned else ""
    return f"{web_url(api_url)}{whose}/settings/apps/{mine.slug}"
