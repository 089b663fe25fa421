"""Apps made from a manifest: the page that asks, the page that installs, and the code's exchange.

docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

import json
import re
import secrets
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader

from sandbox.github import shapes
from sandbox.github.auth import GRADES
from sandbox.github.http import Json, Refusal, Reply, Request, Routes
from sandbox.github.state import App, Kind, User
from sandbox.github.world import World

CODE_SECONDS = 3600
LONGEST_NAME = 34
NEEDED = {
    "check_run": "checks",
    "check_suite": "checks",
    "issue_comment": "issues",
    "issues": "issues",
    "pull_request": "pull_requests",
    "pull_request_review": "pull_requests",
    "pull_request_review_comment": "pull_requests",
    "pull_request_review_thread": "pull_requests",
    "push": "contents",
    "repository": "metadata",
}
"""The permission behind each event that an App may ask for; GitHub refuses a manifest with an event
whose permission is missing, and with events that every App is told of anyway."""
PERSON = "octocat"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
api, site = Routes(), Routes()


@site.on("POST", "/settings/apps/new", by="everybody")
def ask(world: World, request: Request) -> Reply:
    """Ask a person whether this App is to be theirs."""
    return _ask(world, request, world.users.get(PERSON) or world.create_user(PERSON))


@site.on("POST", "/organizations/{organisation}/settings/apps/new", by="everybody")
def ask_for_organisation(world: World, request: Request) -> Reply:
    """Ask whether this App is to be the organisation's."""
    return _ask(world, request, _organisation(world, request))


@site.on("POST", "/settings/apps", by="everybody")
def create(world: World, request: Request) -> Reply:
    """Make the App and send the person back with the code."""
    form = _form(request)
    owner = world.users.get(form.get("owner", "").casefold())
    manifest = _read_manifest(form)
    name = form.get("name", "").strip()
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if owner is None or not slug or any(one.slug == slug for one in world.apps.values()):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Name is already taken")
    app = world.create_app(
        slug,
        name=name,
        permissions=manifest["default_permissions"],
        events=manifest["default_events"],
        webhook_secret=secrets.token_hex(20),
        webhook_url=manifest["hook_attributes"]["url"],
        owner=owner,
    )
    code = secrets.token_hex(20)
    world.manifest_codes[code] = (app, world.now())
    state = request.query.get("state")
    told = {"code": code} | ({"state": state} if state is not None else {})
    back = manifest["redirect_url"]
    location = f"{back}{'&' if urlsplit(back).query else '?'}{urlencode(told)}"
    return Reply(status=HTTPStatus.FOUND, headers={"Location": location}, body=b"")


@site.on("GET", "/apps/{slug}/installations/new", by="everybody")
def ask_where(world: World, request: Request) -> Reply:
    """Show the accounts that an App can be installed on."""
    app = _app(world, request)
    owners = {one.owner.login: one.owner for one in world.repositories.values()}
    return _page("install.html.j2", app=app, accounts=list(owners.values()))


@site.on("POST", "/apps/{slug}/installations", by="everybody")
def install(world: World, request: Request) -> Reply:
    """Install an App on all repositories of an account."""
    account = world.users.get(_form(request).get("account", "").casefold())
    if account is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    made = world.install(_app(world, request), account)
    return _page("installed.html.j2", app=made.app, account=account)


@api.on("POST", "/app-manifests/{code}/conversions", by="everybody")
def convert(world: World, request: Request) -> Reply:
    """Exchange a code for the App's keys, once and within an hour."""
    app, made_at = world.manifest_codes.pop(request.params["code"], (None, 0.0))
    if app is None or made_at + CODE_SECONDS <= world.now():
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    shape = shapes.converted_app(world, app, secrets.token_hex(20))
    return Reply(shape, HTTPStatus.CREATED)


def _ask(world: World, request: Request, owner: User) -> Reply:
    form = _form(request)
    manifest = _read_manifest(form)
    state = request.query.get("state")
    return _page(
        "app.html.j2",
        owner=owner,
        manifest=manifest,
        text=form["manifest"],
        target="/settings/apps" + (f"?state={quote(state, safe='')}" if state is not None else ""),
        origin=world.address.origin,
    )


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(errors="replace")))


def _read_manifest(form: dict[str, str]) -> Json:
    """Read a manifest, or refuse it as GitHub does."""
    try:
        manifest = json.loads(form.get("manifest", ""))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise _invalid("The manifest is not a JSON object")
    permissions = manifest.get("default_permissions", {})
    events = manifest.get("default_events", [])
    hook = manifest.get("hook_attributes", {})
    addresses = (manifest.get("url"), manifest.get("redirect_url"), hook.get("url"))
    if not all(_is_address(one) for one in addresses):
        raise _invalid("url, redirect_url and the hook's url must be web addresses")
    if not set(permissions.values()) <= set(GRADES):
        raise _invalid("Default permissions are not valid")
    granted = {*permissions, "metadata"}
    if wrong := [one for one in events if NEEDED.get(one) not in granted]:
        names = ", ".join(wrong)
        raise _invalid(f"Default events are not supported by permissions: {names}")
    if len(str(manifest.get("name", ""))) > LONGEST_NAME:
        raise _invalid("Name is too long")
    filled: Json = {"name": "", "default_permissions": permissions, "default_events": events}
    return filled | manifest


def _is_address(text: object) -> bool:
    return isinstance(text, str) and re.match(r"https?://[^/]", text) is not None


def _invalid(why: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"Invalid GitHub App configuration. {why}")


def _organisation(world: World, request: Request) -> User:
    found = world.users.get(request.params["organisation"].casefold())
    if found is None or found.kind is not Kind.ORGANIZATION:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    return found


def _app(world: World, request: Request) -> App:
    for one in world.apps.values():
        if one.slug == request.params["slug"]:
            return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _page(template: str, **facts: object) -> Reply:
    html = _templates().get_template(template).render(**facts)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    return Reply(body=html.encode(), headers=headers)


@cache
def _templates() -> Environment:
    folder = Path(__file__).parent.parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
