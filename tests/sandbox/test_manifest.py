"""The pages on which an App is made from a manifest, and the exchange of its code."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest

from sandbox.github import App, GitHub
from tests.sandbox.conftest import Client, Scene
from tests.sandbox.test_schema import read

GOOD: dict[str, Any] = {
    "name": "Reviewer",
    "url": "https://reviewer.example",
    "hook_attributes": {"url": "http://127.0.0.1:9/webhook"},
    "redirect_url": "http://127.0.0.1:9/back?x=1",
    "default_permissions": {"pull_requests": "write", "issues": "read"},
    "default_events": ["pull_request", "issue_comment", "repository"],
}


def ask(github: GitHub, manifest: object) -> httpx2.Response:
    url = f"{github.address.origin}/settings/apps/new?state=s"
    return httpx2.post(url, data={"manifest": json.dumps(manifest)})


def confirm(github: GitHub, name: str = "Reviewer") -> httpx2.Response:
    ask(github, GOOD)
    form = {"manifest": json.dumps(GOOD), "owner": "octocat", "name": name}
    return httpx2.post(f"{github.address.origin}/settings/apps?state=s", data=form)


def client_of(github: GitHub, app: App) -> Client:
    now = int(github.now())
    claims = {"iat": now - 60, "exp": now + 540, "iss": str(app.id)}
    return Client(github, jwt.encode(claims, app.private_key, "RS256"))


def test_the_page_shows_what_the_app_asks_for(github: GitHub) -> None:
    page = ask(github, GOOD)
    assert page.status_code == 200
    assert "<li>issues: <b>read</b></li>" in page.text
    assert '<input id="name" name="name" required maxlength="34" value="Reviewer">' in page.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"default_permissions": {"pull_requests": "write"}},
            "Default events are not supported by permissions: issue_comment",
        ),
        ({"default_events": ["installation"]}, "not supported by permissions: installation"),
        ({"default_permissions": {"issues": "all"}}, "Default permissions are not valid"),
        ({"url": "reviewer"}, "must be web addresses"),
        ({"redirect_url": None}, "must be web addresses"),
        ({"name": "n" * 35}, "Name is too long"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    github: GitHub, change: dict[str, Any], why: str
) -> None:
    answer = ask(github, GOOD | change)
    assert answer.status_code == 422
    assert why in answer.json()["message"]


def test_what_is_no_manifest_is_refused(github: GitHub) -> None:
    assert ask(github, ["x"]).status_code == 422


def test_the_code_is_exchanged_once_for_everything_that_is_told_once(github: GitHub) -> None:
    answer = confirm(github)
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (query["x"], query["state"]) == (["1"], ["s"])
    url = f"/app-manifests/{query['code'][0]}/conversions"
    told = Client(github).post(url, {})
    assert told.status == 201
    read("AppManifestsCodeConversionsPostResponse201", told.data)
    assert len(told.data["webhook_secret"]) == 40
    (app,) = github.apps.values()
    assert told.data["pem"] == app.private_key
    assert Client(github).post(url, {}).status == 404


def test_a_name_that_is_taken_makes_no_second_app(github: GitHub) -> None:
    confirm(github)
    assert confirm(github, "reviewer").status_code == 422
    assert len(github.apps) == 1


def test_an_app_is_installed_from_its_page(scene: Scene) -> None:
    github = scene.github
    confirm(github)
    app = next(one for one in github.apps.values() if one.slug == "reviewer")
    page = httpx2.get(f"{github.address.origin}/apps/reviewer/installations/new")
    assert "Install on acme" in page.text
    url = f"{github.address.origin}/apps/reviewer/installations"
    assert httpx2.post(url, data={"account": "acme"}).status_code == 200
    assert [one.account.login for one in github.installations.values() if one.app is app] == [
        "acme"
    ]


def test_an_app_sees_where_its_webhooks_go(scene: Scene) -> None:
    scene.app.webhook_url = "https://reviewer.example/webhook"
    told = client_of(scene.github, scene.app).get("/app/hook/config").data
    read("WebhookConfig", told)
    assert told == {
        "content_type": "json",
        "insecure_ssl": "0",
        "secret": "********",
        "url": "https://reviewer.example/webhook",
    }
