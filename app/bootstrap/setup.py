"""What the set-up pages are wired to: GitHub's manifest flow, and the file that keeps its fruit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.adapters.github.access import web_url
from app.adapters.github.manifest import (
    APP_EVENTS,
    APP_PERMISSIONS,
    CODE,
    ORGANISATION,
    compose_manifest,
    exchange_code,
    registration_url,
)
from app.bootstrap.appfile import StoredApp, write_app
from app.core.address import check_address
from app.errors import UserError
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Registration:
    """What a person is about to register; ``manifest`` goes to ``target`` by their browser."""

    target: str
    manifest: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Registrar:
    """Makes this server a GitHub App of its own."""

    settings: Settings

    @property
    def github(self) -> str:
        """The web address of the one GitHub this server speaks with."""
        return web_url(self.settings.github_api_url)

    @property
    def permissions(self) -> Mapping[str, str]:
        """What the App asks for."""
        return APP_PERMISSIONS

    @property
    def events(self) -> tuple[str, ...]:
        """What the App is told of."""
        return APP_EVENTS

    def prepare(self, address: str, organisation: str, back: str, state: str) -> Registration:
        """Prepare a registration. Raises UserError naming what a person should mend."""
        checked = check_address(
            "the server's address", address, allow_insecure=self.settings.allow_insecure
        )
        if organisation and not ORGANISATION.fullmatch(organisation):
            raise UserError("the organization is not a name that GitHub gives: is it whole?")
        return Registration(
            registration_url(self.settings.github_api_url, organisation, state),
            compose_manifest(checked, back, organisation),
        )

    def finish(self, code: str) -> StoredApp:
        """Exchange the code and store the App.

        Raises UserError when it is no code, HostError when GitHub does not take it, and
        SettingsError when the App was made and can't be kept.
        """
        if not CODE.fullmatch(code):
            raise UserError("What GitHub sent back is not a code")
        api_url = self.settings.github_api_url
        made = exchange_code(code, api_url)
        app = StoredApp(
            api_url=api_url,
            id=made.id,
            slug=made.slug,
            page=made.page if made.page.startswith(f"{self.github}/") else "",
            private_key=made.private_key,
            webhook_secret=made.webhook_secret,
        )
        write_app(self.settings.data_dir, app)
        return app
