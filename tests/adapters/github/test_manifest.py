"""A manifest that GitHub takes, and the one exchange of its code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from app.adapters.github.access import PERMISSIONS, GitHubApp, web_url
from app.adapters.github.manifest import (
    APP_EVENTS,
    APP_PERMISSIONS,
    CODE,
    NAME_LENGTH,
    ORGANISATION,
    compose_manifest,
    exchange_code,
    registration_url,
)
from app.adapters.github.transport import Timeouts
from app.core import events
from app.errors import HostMissing, HostRefused, HostUnavailable, SettingsError
from sandbox.github import Fault, GitHub
from sandbox.github.state import Kind, User

ADDRESS = "https://postil.example.com"
BACK = "http://localhost:8000/setup/done"
LIFECYCLE = {"installation", "installation_repositories"}


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as github:
        yield github


def register(github: GitHub, manifest: dict[str, object], state: str = "s") -> httpx2.Response:
    """Confirm a manifest on GitHub's page; returns the redirect with the code."""
    target = registration_url(github.url, "", state)
    asked = httpx2.post(target, data={"manifest": json.dumps(manifest)})
    assert asked.status_code == 200, asked.text
    form = {"manifest": json.dumps(manifest), "owner": "octocat", "name": str(manifest["name"])}
    return httpx2.post(f"{github.address.origin}/settings/apps", params={"state": state}, data=form)


def code_of(answer: httpx2.Response) -> str:
    (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    return code


def fresh_code(github: GitHub) -> str:
    return code_of(register(github, compose_manifest(ADDRESS, BACK, "")))


def test_the_app_is_told_of_exactly_what_the_server_acts_on() -> None:
    assert set(APP_EVENTS) == {event for event, _ in events._READERS} - LIFECYCLE


def test_the_app_asks_for_what_a_job_s_token_holds_and_for_reading_what_is_sent() -> None:
    assert APP_PERMISSIONS == {**PERMISSIONS, "issues": "read", "metadata": "read"}


def test_a_person_is_sent_back_with_a_code_and_the_state(github: GitHub) -> None:
    answer = register(github, compose_manifest(ADDRESS, BACK, ""), state="a&b")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{BACK}?code=")
    assert parse_qs(urlsplit(answer.headers["location"]).query)["state"] == ["a&b"]


def test_a_code_becomes_an_app_whose_key_works(github: GitHub) -> None:
    new = exchange_code(fresh_code(github), github.url)
    (app,) = github.apps.values()
    assert (new.id, new.slug) == (app.id, "postil")
    assert new.page == f"{github.address.origin}/apps/postil"
    assert new.webhook_secret == app.webhook_secret
    assert app.webhook_url == f"{ADDRESS}/webhook"
    assert (app.permissions, app.events) == (dict(APP_PERMISSIONS), APP_EVENTS)
    assert GitHubApp(new.id, new.private_key, github.url).check_key() == "postil"
    assert new.webhook_secret not in repr(new)
    assert "PRIVATE" not in repr(new)
    (call,) = github.called("POST", "/app-manifests/")
    assert "authorization" not in call.headers


def test_a_code_is_good_once_and_for_an_hour(github: GitHub) -> None:
    code = fresh_code(github)
    exchange_code(code, github.url)
    with pytest.raises(HostMissing):
        exchange_code(code, github.url)
    late = register(github, compose_manifest(ADDRESS, BACK, "late"))
    github.clock = lambda: 10**10
    with pytest.raises(HostMissing):
        exchange_code(code_of(late), github.url)


def made(**changes: object) -> bytes:
    whole = {"id": 1, "slug": "a", "pem": "x", "webhook_secret": "w" * 40}
    return json.dumps(whole | changes).encode()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 502, "body": b"bad gateway"}, HostUnavailable),
        ({"reset": True}, HostUnavailable),
        ({"status": 201, "body": b"<html>log in</html>"}, HostUnavailable),
        ({"status": 201, "body": made(webhook_secret=None)}, HostUnavailable),
        ({"status": 201, "body": made(webhook_secret="short")}, HostUnavailable),
        ({"status": 201, "body": made(id=0)}, HostUnavailable),
        ({"status": 201, "body": made()}, SettingsError),
        ({"location": "http://127.0.0.1:9/x"}, HostRefused),
    ],
)
def test_an_odd_answer_is_an_error_and_the_code_is_not_tried_twice(
    github: GitHub, fault: dict[str, Any], error: type[Exception]
) -> None:
    code = fresh_code(github)
    github.inject(Fault("POST", "/conversions", **fault))
    with pytest.raises(error) as caught:
        exchange_code(code, github.url, timeouts=Timeouts(silence=5, whole=10))
    assert "wwww" not in str(caught.value)
    assert len(github.called("POST", "/app-manifests/")) == 1


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://github.example.com/api/v3", "https://github.example.com"),
        ("https://api.octo.ghe.com", "https://octo.ghe.com"),
        ("http://127.0.0.1:81", "http://127.0.0.1:81"),
    ],
)
def test_people_see_each_github_at_its_web_address(api: str, web: str) -> None:
    assert web_url(api) == web
    assert registration_url(api, "", "s") == f"{web}/settings/apps/new?state=s"
    organised = f"{web}/organizations/acme/settings/apps/new?state=s%2F%26"
    assert registration_url(api, "acme", "s/&") == organised


def test_an_enterprise_server_exchanges_codes_too() -> None:
    with GitHub(prefix="/api/v3") as github:
        assert exchange_code(fresh_code(github), github.url).slug == "postil"


def test_an_organisation_gets_an_app_of_its_own(github: GitHub) -> None:
    acme: User = github.create_user("acme", Kind.ORGANIZATION)
    target = registration_url(github.url, "acme", "s")
    manifest = json.dumps(compose_manifest(ADDRESS, BACK, "acme"))
    asked = httpx2.post(target, data={"manifest": manifest})
    assert "Create GitHub App for <b>acme</b>" in asked.text
    assert "Postil for acme" in asked.text
    form = {"manifest": manifest, "owner": acme.login, "name": "Ours"}
    httpx2.post(f"{github.address.origin}/settings/apps", data=form)
    (app,) = github.apps.values()
    assert (app.owner, app.slug) == (acme, "ours")


def test_a_name_is_never_longer_than_github_takes() -> None:
    assert len(str(compose_manifest(ADDRESS, BACK, "o" * 100)["name"])) == NAME_LENGTH


@pytest.mark.parametrize("code", ["", "short", "a b c d e f g h", "../../app", "a" * 129, "é" * 20])
def test_what_is_no_code_is_never_sent(code: str) -> None:
    assert CODE.fullmatch(code) is None


@pytest.mark.parametrize("name", ["-acme", "acme-", "a/b", "a b", "..", "a" * 101, "acmé"])
def test_what_is_no_organisation_is_never_sent(name: str) -> None:
    assert ORGANISATION.fullmatch(name) is None
