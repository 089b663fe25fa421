"""``postil serve``: the web application over the wired server, until a signal."""

from __future__ import annotations

import sys
from socket import socket
from threading import enumerate as all_threads
from threading import main_thread

from app import __version__
from app.adapters.log import configure_logging
from app.bootstrap.appfile import complete
from app.bootstrap.server import Office, check_server_settings
from app.settings import Settings
from app.web.app import Doors, build_app
from app.web.server import leave, listen
from app.web.server import serve as serve_http

SWITCH_SECONDS = 0.0005
"""How soon a thread that computes lets another one go on, ten times as soon as usual: a delivery
that arrives amid reviews takes some ten turns (``python -m bench burst``)."""


def serve(settings: Settings, role: str) -> int:
    """Run the server until a signal. Raises SettingsError before anything starts.

    Without an App it first offers the set-up pages. The socket stays open in between: what arrives
    meanwhile waits its turn. Returns the exit code, or leaves at once when a thread of a stopped
    job still waits for its answer.
    """
    chosen = complete(settings)
    unset = chosen.unset and role != "worker"
    if not unset:
        check_server_settings(chosen.settings)
    with listen(settings.host, settings.port) as listener:
        if unset:
            from app.web.setup import set_up  # noqa: PLC0415 - only a server without an App needs it

            if not set_up(settings, listener):
                return 0
            chosen = complete(settings)
        return _serve(chosen.settings, role, listener)


def _serve(settings: Settings, role: str, listener: socket) -> int:
    configure_logging(settings.secrets)
    sys.setswitchinterval(SWITCH_SECONDS)
    works = role != "web"
    office = Office(settings)
    with office.running(works=works) as jobs:
        metrics = office.metrics
        metrics.watch_queue(jobs.desk.count_jobs, jobs.desk.oldest_due)
        doors = Doors(
            accept=jobs.desk.accept,
            secrets=[secret.encode() for secret in settings.webhook_secrets],
            version=__version__,
            troubles=lambda: office.troubles(works=works),
            metrics=metrics.render,
            count=lambda event, outcome: metrics.deliveries.labels(event, outcome).inc(),
            app_id=settings.github_app_id,
        )
        started = serve_http(build_app(doors), listener)
    code = 0 if started else 1
    if any(not thread.daemon for thread in all_threads() if thread is not main_thread()):
        leave(code)
    return code
