"""An App made with one click: what it asks of GitHub, and the exchange of a code for its keys.

https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from github.Auth import Auth
from pydantic import BaseModel, Field

from app.adapters.github.access import PERMISSIONS, read_private_key, web_url
from app.adapters.github.client import Client, Site
from app.adapters.github.quota import Clock, Quota, Sleep
from app.adapters.github.transport import Timeouts

APP_PERMISSIONS: Mapping[str, str] = {**PERMISSIONS, "issues": "read", "metadata": "read"}
"""What the App asks for: what a review needs, and two more. GitHub sends comments on pull requests
as ``issue_comment``, and only to Apps that may read issues; metadata every App may read.
https://docs.github.com/en/webhooks/webhook-events-and-payloads#issue_comment"""

APP_EVENTS = (
    "pull_request",
    "issue_comment",
    "pull_request_review_comment",
    "check_run",
    "check_suite",
    "repository",
)
"""What the App is told of; GitHub tells every App of its installations, asked or not."""

NAME_LENGTH = 34
"""Characters an App's name may have:
https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/registering-a-github-app"""

SECRET_LENGTH = 16
"""Characters a webhook secret has at least; GitHub's own have forty."""

CODE = re.compile(r"[A-Za-z0-9_-]{8,128}")
ORGANISATION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class NewApp:
    """An App as GitHub has just made it; ``page`` is its address on GitHub."""

    id: int
    slug: str
    page: str
    private_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)


def registration_url(api_url: str, organisation: str, state: str) -> str:
    """Return where the manifest is posted to; without an organisation the App is a person's."""
    whose = f"/organizations/{quote(organisation, safe='')}" if organisation else ""
    return f"{web_url(api_url)}{whose}/settings/apps/new?state={quote(state, safe='')}"


def compose_manifest(address: str, back: str, organisation: str) -> dict[str, object]:
    """Write the manifest of an App whose server GitHub reaches at ``address``.

    The person who made the App is sent to ``back`` with a code.
    """
    name = f"Postil for {organisation}" if organisation else "Postil"
    return {
        "name": name[:NAME_LENGTH].rstrip(),
        "url": address,
        "description": "Reviews pull requests on our own server.",
        "hook_attributes": {"url": f"{address}/webhook", "active": True},
        "redirect_url": back,
        "public": False,
        "default_permissions": dict(APP_PERMISSIONS),
        "default_events": list(APP_EVENTS),
    }


def exchange_code(
    code: str,
    api_url: str,
    *,
    clock: Clock = time.time,
    sleep: Sleep = time.sleep,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
) -> NewApp:
    """Exchange the code for the App and its keys, once: it is good for one hour and one use.

    Raises HostError, and SettingsError when the key can't be used.
    """
    client = Client(Site.open(api_url, clock, sleep, timeouts), _Nobody(), Quota(clock, sleep))
    made = client.write(_Conversion, "POST", f"/app-manifests/{quote(code, safe='')}/conversions")
    key = read_private_key(made.pem)
    return NewApp(made.id, made.slug, made.html_url, key, made.webhook_secret)


class _Conversion(BaseModel):
    id: int = Field(gt=0)
    slug: str
    html_url: str = ""
    pem: str = Field(repr=False)
    webhook_secret: str = Field(repr=False, min_length=SECRET_LENGTH)


class _Nobody(Auth):
    """No key: the code itself is the proof."""

    @property
    def token_type(self) -> str:
        """The scheme, which is never sent."""
        return ""

    @property
    def token(self) -> str:
        """The token, which is never sent."""
        return ""

    def authentication(self, headers: dict[str, str]) -> None:
        """Leave the Authorization header out."""
