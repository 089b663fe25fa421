"""``/setup``: the pages on which this server becomes a GitHub App of its own.

They are there only while no App is set up, and only for the browser that brought the token printed
at the start: a proxy on the same machine makes every visitor look local, so that an address proves
nothing. Nothing here shows a key, and nothing is verified yet, so deliveries are turned away.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from socket import socket
from typing import Final
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from app import __version__
from app.adapters.log import configure_logging
from app.bootstrap.appfile import StoredApp, check_writable
from app.bootstrap.setup import Registrar
from app.errors import HostError, HostMissing, SettingsError, UserError, WebhookRejected
from app.settings import Settings
from app.web.app import bare_app, read_body
from app.web.server import build_server

NOT_SET_UP: Final = "no GitHub App is set up: open /setup at the address the server printed"
COOKIE: Final = "postil_setup"
MAX_FORM: Final = 8 * 1024
HOUR_S: Final = 3600
"""GitHub gives a person so long to make the App."""
ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]{1,260}")
TEMPLATES: Final = Path(__file__).parent / "templates"
STRANGER: Final = (
    "This page is for the person who started the server: open the whole address that it printed, "
    "with its token. The token opens one browser; start the server again for another."
)


class Visit:
    """The one browser that may set the App up, and what it must bring back from GitHub, once."""

    def __init__(self, token: str) -> None:
        self._lock = threading.Lock()
        self._token = token
        self._cookie = secrets.token_urlsafe(32)
        self._state = ""
        self.ticket = secrets.token_urlsafe(32)
        """Stands in our own form, so that no other page can fill it in."""

    def admit(self, token: str) -> str | None:
        """Take the token, once, and return the cookie it buys."""
        with self._lock:
            if not _same(token, self._token):
                return None
            self._token = secrets.token_urlsafe(32)
            return self._cookie

    def knows(self, cookie: str | None) -> bool:
        """Tell whether a request comes from the browser that brought the token."""
        return _same(cookie or "", self._cookie)

    def expect(self) -> str:
        """Return the state that GitHub must send back; an earlier one no longer counts."""
        with self._lock:
            self._state = secrets.token_urlsafe(32)
            return self._state

    def spend(self, state: str) -> bool:
        """Tell whether it is the expected state, and expect it no more."""
        with self._lock:
            if not self._state or not _same(state, self._state):
                return False
            self._state = ""
            return True


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages need; ``done`` is called once, with the App that was stored."""

    registrar: Registrar
    visit: Visit
    version: str
    done: Callable[[StoredApp], None]


def set_up(settings: Settings, listener: socket) -> bool:
    """Serve the set-up pages until an App is stored; False when a signal came first.

    Raises SettingsError when no App could be stored.
    """
    check_writable(settings.data_dir)
    token = secrets.token_urlsafe(32)
    configure_logging((token, *settings.secrets))
    made: list[StoredApp] = []

    def done(app: StoredApp) -> None:
        made.append(app)
        server.should_exit = True

    desk = Desk(Registrar(settings), Visit(token), __version__, done)
    server = build_server(build_setup(desk), settings.host, settings.port)
    sys.stderr.write(announce(settings.host, settings.port, token))
    sys.stderr.flush()
    server.run(sockets=[listener.dup()])
    return bool(made)


def announce(host: str, port: int, token: str) -> str:
    """Say where the pages are; the token is shown here and nowhere else."""
    name = f"[{host}]" if ":" in host else host
    return (
        "postil: no GitHub App is set up, so deliveries are turned away. To set one up, open\n"
        f"postil: http://{name}:{port}/setup?token={token}\n"
        "postil: or the same page at the address that your proxy gives this server. The token "
        "opens one browser.\n"
    )


def build_setup(desk: Desk) -> FastAPI:
    """Build the application that runs until an App is set up."""
    app = bare_app(desk.version)
    _turn_away(app)

    @app.get("/setup")
    def ask(request: Request, token: str = "") -> Response:
        if token:
            return _enter(desk, token, request.headers.get("x-forwarded-proto", ""))
        if not desk.visit.knows(request.cookies.get(COOKIE)):
            return _refuse(STRANGER, HTTPStatus.FORBIDDEN)
        return _ask(desk)

    @app.post("/setup")
    async def prepare(request: Request) -> Response:
        if not desk.visit.knows(request.cookies.get(COOKIE)):
            return _refuse(STRANGER, HTTPStatus.FORBIDDEN)
        try:
            form = _read_form(await read_body(request, MAX_FORM))
            return _prepare(desk, form, request.headers.get("origin", ""))
        except WebhookRejected as error:
            return _refuse(f"The form was refused: {error.message}.", HTTPStatus(error.status))

    @app.get("/setup/done")
    async def finish(request: Request, code: str = "", state: str = "") -> Response:
        if not desk.visit.knows(request.cookies.get(COOKIE)):
            return _refuse(STRANGER, HTTPStatus.FORBIDDEN)
        if not desk.visit.spend(state):
            return _refuse(
                "GitHub sent back another visit's mark, or one that was used: begin again.",
                HTTPStatus.BAD_REQUEST,
                again=True,
            )
        return await run_in_threadpool(_finish, desk, code)

    return app


def _turn_away(app: FastAPI) -> None:
    """Answer what needs an App while there is none."""

    @app.post("/webhook")
    def webhook() -> Response:
        answer = {"status": "unavailable", "reason": NOT_SET_UP}
        return JSONResponse(answer, HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "60"})

    @app.get("/readyz")
    def readyz() -> Response:
        answer = {"status": "not ready", "troubles": [NOT_SET_UP]}
        return JSONResponse(answer, HTTPStatus.SERVICE_UNAVAILABLE)


def _enter(desk: Desk, token: str, scheme: str) -> Response:
    """Let the browser with the token in, and take the token out of its address."""
    cookie = desk.visit.admit(token)
    if cookie is None:
        return _refuse(STRANGER, HTTPStatus.FORBIDDEN)
    answer = RedirectResponse("/setup", HTTPStatus.SEE_OTHER, headers=_headers("'none'"))
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=HOUR_S,
        path="/setup",
        secure=scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _ask(desk: Desk, wrong: str = "", given: Mapping[str, str] | None = None) -> Response:
    return _page(
        "ask.html.j2",
        HTTPStatus.BAD_REQUEST if wrong else HTTPStatus.OK,
        form_action="'self'",
        github=desk.registrar.github,
        ticket=desk.visit.ticket,
        given=given or {},
        wrong=wrong,
    )


def _prepare(desk: Desk, form: Mapping[str, str], origin: str) -> Response:
    """Show what is to be registered, with the button that sends it to GitHub."""
    if not _same(form.get("ticket", ""), desk.visit.ticket):
        return _ask(desk, "This form was not filled in on this page: send it again.")
    if not ORIGIN.fullmatch(origin):
        return _ask(desk, "The browser did not say which address it has this page from.", form)
    address, organisation = form.get("address", "").strip(), form.get("organisation", "").strip()
    try:
        registration = desk.registrar.prepare(
            address, organisation, f"{origin}/setup/done", desk.visit.expect()
        )
    except UserError as error:
        return _ask(desk, f"{error.message[0].upper()}{error.message[1:]}.", form)
    return _page(
        "create.html.j2",
        form_action=desk.registrar.github,
        github=desk.registrar.github,
        registration=registration,
        permissions=desk.registrar.permissions,
        events=desk.registrar.events,
    )


def _finish(desk: Desk, code: str) -> Response:
    try:
        app = desk.registrar.finish(code)
    except HostMissing:
        why = "GitHub does not know this code: it is used, or older than an hour."
        return _refuse(why, HTTPStatus.BAD_GATEWAY, again=True)
    except HostError as error:
        why = f"{error.message}. If GitHub shows the new App already, delete it there first."
        return _refuse(why, HTTPStatus.BAD_GATEWAY, again=True)
    except SettingsError as error:
        why = f"The App was made, and its key is lost: {error.message}. Delete the App on GitHub."
        return _refuse(why, HTTPStatus.INTERNAL_SERVER_ERROR, again=True)
    except UserError as error:
        return _refuse(f"{error.message}.", HTTPStatus.BAD_REQUEST, again=True)
    desk.done(app)
    return _page("done.html.j2", app=app)


def _refuse(why: str, status: HTTPStatus, *, again: bool = False) -> Response:
    return _page("refused.html.j2", status, why=why, again=again)


def _page(
    template: str,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    form_action: str = "'none'",
    **facts: object,
) -> Response:
    text = _templates().get_template(template).render(**facts)
    return HTMLResponse(text, status, headers=_headers(form_action))


def _headers(form_action: str) -> dict[str, str]:
    """Forbid everything but our own style, and forms to anywhere but one place."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src '{_style()[1]}'; form-action {form_action}; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _read_form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=8))
    except ValueError:
        raise WebhookRejected("it is not a form", status=HTTPStatus.BAD_REQUEST) from None


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


@cache
def _style() -> tuple[Markup, str]:
    """Return the style and the word that allows it in the page's policy."""
    text = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"  # noqa: S704 - our own file


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["style"] = _style()[0]
    return templates
