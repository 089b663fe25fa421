"""``postil serve``: the web application over the wired server, until a signal."""

from __future__ import annotations

from importlib.metadata import version

from app.adapters.log import configure_logging
from app.adapters.metrics import Metrics
from app.bootstrap.server import Office, check_server_settings
from app.settings import Settings
from app.web.app import Doors, build_app
from app.web.server import serve as serve_http


def serve(settings: Settings, role: str) -> int:
    """Run the server until a signal; the exit code. Raises SettingsError before anything starts."""
    check_server_settings(settings)
    configure_logging(settings.secrets)
    works = role != "web"
    office = Office(settings)
    with office.running(works=works) as jobs:
        metrics = Metrics()
        doors = Doors(
            accept=jobs.desk.accept,
            secrets=[secret.encode() for secret in settings.webhook_secrets],
            version=version("postil"),
            troubles=lambda: office.troubles(works=works),
            metrics=metrics.render,
            count=lambda event, outcome: metrics.deliveries.labels(event, outcome).inc(),
            app_id=settings.github_app_id,
        )
        return 0 if serve_http(build_app(doors), settings.host, settings.port) else 1
