"""The set-up pages over a real socket, against a GitHub on loopback: who may, and what leaks."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from app.adapters.github.manifest import APP_EVENTS, APP_PERMISSIONS
from app.bootstrap.appfile import FILE, StoredApp, read_app
from app.bootstrap.setup import Registrar
from app.settings import Settings
from app.web.server import build_server
from app.web.setup import MAX_FORM, Desk, Visit, announce, build_setup
from sandbox.github import Fault, GitHub
from sandbox.github.state import Kind

TOKEN = "CANARY-token-of-the-start"
ADDRESS = "https://postil.example.com"
ORIGIN = "https://admin.example.com"


@dataclass
class Site:
    """A server in set-up mode, and a browser with cookies."""

    github: GitHub
    data: Path
    url: str = ""
    done: list[StoredApp] = field(default_factory=list)
    browser: httpx2.Client = field(default_factory=httpx2.Client)

    def get(self, path: str) -> httpx2.Response:
        return self.browser.get(f"{self.url}{path}")

    def enter(self) -> httpx2.Response:
        return self.get(f"/setup?token={TOKEN}")

    def ticket(self) -> str:
        (found,) = re.findall(r'name="ticket" value="([^"]+)"', self.get("/setup").text)
        return str(found)

    def send(
        self,
        address: str = ADDRESS,
        organisation: str = "",
        origin: str | None = ORIGIN,
        ticket: str | None = None,
    ) -> httpx2.Response:
        form = {
            "ticket": self.ticket() if ticket is None else ticket,
            "address": address,
            "organisation": organisation,
        }
        headers = {} if origin is None else {"Origin": origin}
        return self.browser.post(f"{self.url}/setup", data=form, headers=headers)

    def register(self) -> str:
        """Fill the form in and confirm on GitHub; returns the path GitHub sends back to."""
        target, manifest = form_of(self.send())
        form = {"manifest": manifest, "owner": "octocat", "name": "Postil"}
        httpx2.post(target, data={"manifest": manifest})
        made = httpx2.post(target.replace("/apps/new", "/apps"), data=form)
        back = urlsplit(made.headers["location"])
        assert f"{back.scheme}://{back.netloc}" == ORIGIN
        return f"{back.path}?{back.query}"


def form_of(page: httpx2.Response) -> tuple[str, str]:
    """Return where the page's form goes, and the manifest in it."""
    assert page.status_code == 200, page.text
    (target,) = re.findall(r'<form method="post" action="([^"]+)"', page.text)
    (manifest,) = re.findall(r'name="manifest" value="([^"]+)"', page.text)
    return html.unescape(target), html.unescape(manifest)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with GitHub() as github:
        site = Site(github, tmp_path / "data")
        settings = Settings(github_api_url=github.url, data_dir=site.data)
        desk = Desk(Registrar(settings), Visit(TOKEN), "9.9", site.done.append)
        server = build_server(build_setup(desk), "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        site.url = f"http://127.0.0.1:{port}"
        with site.browser:
            yield site
        server.should_exit = True
        thread.join()


def test_what_needs_an_app_is_turned_away_with_a_sentence(site: Site) -> None:
    answer = httpx2.post(f"{site.url}/webhook", content=b"{}")
    assert answer.status_code == 503
    assert answer.json()["reason"].startswith("no GitHub App is set up")
    ready = site.get("/readyz")
    assert (ready.status_code, len(ready.json()["troubles"])) == (503, 1)
    assert site.get("/healthz").json() == {"status": "ok", "version": "9.9"}


@pytest.mark.parametrize("path", ["/setup", "/setup?token=", "/setup?token=x", "/setup?token=é"])
def test_without_the_token_there_is_nothing_to_see(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 403
    assert "<form" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_visitor_through_a_proxy_on_this_machine_needs_the_token_too(site: Site) -> None:
    headers = {"Host": "localhost:8000", "X-Forwarded-For": "127.0.0.1"}
    assert httpx2.get(f"{site.url}/setup", headers=headers).status_code == 403


def test_the_token_opens_one_browser_and_leaves_the_address(site: Site) -> None:
    entered = site.enter()
    assert (entered.status_code, entered.headers["location"]) == (303, "/setup")
    cookie = entered.headers["set-cookie"]
    assert {"HttpOnly", "Path=/setup", "SameSite=lax"} <= set(cookie.split("; "))
    assert site.get("/setup").status_code == 200
    assert httpx2.get(f"{site.url}/setup?token={TOKEN}").status_code == 403
    assert site.get("/setup").status_code == 200


def test_behind_https_the_cookie_stays_there(site: Site) -> None:
    url = f"{site.url}/setup?token={TOKEN}"
    answer = httpx2.get(url, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("path", ["/setup/done", "/setup/done?code=aaaaaaaaaa&state=x"])
def test_a_stranger_can_neither_send_the_form_nor_bring_a_code(site: Site, path: str) -> None:
    site.enter()
    form = {"ticket": site.ticket(), "address": ADDRESS}
    sent = httpx2.post(f"{site.url}/setup", data=form, headers={"Origin": ORIGIN})
    assert sent.status_code == 403
    assert httpx2.get(f"{site.url}{path}").status_code == 403
    assert site.github.called("POST") == []


def test_every_page_allows_its_style_and_its_form_and_nothing_else(site: Site) -> None:
    pages = [site.get("/setup"), site.enter(), site.get("/setup"), site.send()]
    github = site.github.address.origin
    for page, target in zip(pages, ["'none'", "'none'", "'self'", github], strict=True):
        policy = dict(
            one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";")
        )
        assert policy.keys() == {
            "default-src",
            "style-src",
            "form-action",
            "base-uri",
            "frame-ancestors",
        }
        assert policy["form-action"] == target
        assert {policy[name] for name in ("default-src", "base-uri", "frame-ancestors")} == {
            "'none'"
        }
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["x-content-type-options"] == "nosniff"
        for style in re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert policy["style-src"] == f"'sha256-{digest}'"


def test_the_manifest_asks_for_exactly_what_the_server_needs(site: Site) -> None:
    site.enter()
    target, text = form_of(site.send())
    parts = urlsplit(target)
    assert f"{parts.scheme}://{parts.netloc}" == site.github.address.origin
    assert parts.path == "/settings/apps/new"
    manifest = json.loads(text)
    assert manifest["default_permissions"] == dict(APP_PERMISSIONS)
    assert manifest["default_events"] == list(APP_EVENTS)
    assert manifest["hook_attributes"] == {"url": f"{ADDRESS}/webhook", "active": True}
    assert manifest["redirect_url"] == f"{ORIGIN}/setup/done"
    assert manifest["public"] is False


def test_an_organization_registers_on_its_own_page(site: Site) -> None:
    site.github.create_user("acme", Kind.ORGANIZATION)
    site.enter()
    target, _ = form_of(site.send(organisation="acme"))
    assert urlsplit(target).path == "/organizations/acme/settings/apps/new"


@pytest.mark.parametrize(
    ("address", "organisation", "why"),
    [
        ("", "", "must be a web address"),
        ("postil.example.com", "", "must be a web address"),
        ("http://postil.example.com", "", "plain http beyond this machine"),
        ("https://ann:pw@postil.example.com", "", "user name or password"),
        ("https://postil.example.com/?a=1", "", "query or fragment"),
        ("javascript:alert(1)", "", "must be a web address"),
        (ADDRESS, "../evil", "organization"),
        (ADDRESS, 'a"><script>', "organization"),
    ],
)
def test_what_can_t_be_registered_is_said_and_may_be_mended(
    site: Site, address: str, organisation: str, why: str
) -> None:
    site.enter()
    page = site.send(address, organisation)
    assert page.status_code == 400
    assert why in page.text
    assert "<script>" not in page.text
    assert f'value="{html.escape(address)}"' in page.text


def test_a_form_of_another_page_is_refused(site: Site) -> None:
    site.enter()
    for sent in (site.send(ticket="other"), site.send(ticket=""), site.send(origin=None)):
        assert sent.status_code == 400
        assert site.github.address.origin not in sent.headers["content-security-policy"]
    for origin in ("null", "https://a.example/path", "file://x", "https://a b", "javascript:x"):
        assert site.send(origin=origin).status_code == 400


def test_a_form_that_is_too_large_or_no_form_is_refused(site: Site) -> None:
    site.enter()
    large = site.browser.post(f"{site.url}/setup", content=b"a" * (MAX_FORM + 1))
    assert large.status_code == 413
    assert site.browser.post(f"{site.url}/setup", content=b"\xff=\xff").status_code == 400
    many = "&".join(f"a{number}=1" for number in range(20)).encode()
    assert site.browser.post(f"{site.url}/setup", content=many).status_code == 400


def test_the_app_is_stored_for_this_server_and_no_secret_is_shown(site: Site) -> None:
    site.enter()
    page = site.get(site.register())
    assert page.status_code == 200
    (app,) = site.github.apps.values()
    stored = read_app(site.data)
    assert stored is not None
    assert (stored.id, stored.webhook_secret) == (app.id, app.webhook_secret)
    assert stored.private_key == app.private_key.strip()
    assert site.done == [stored]
    assert f'href="{site.github.address.origin}/apps/postil/installations/new"' in page.text
    for secret in (app.webhook_secret, "PRIVATE KEY", TOKEN):
        assert secret not in page.text


def test_the_state_is_good_once_and_only_the_newest(site: Site) -> None:
    site.enter()
    first = site.register()
    query = parse_qs(urlsplit(first).query)
    site.send()
    assert site.get(first).status_code == 400
    assert site.get(f"/setup/done?code={query['code'][0]}").status_code == 400
    assert site.get(f"/setup/done?code={query['code'][0]}&state=").status_code == 400
    assert site.github.called("POST", "/conversions") == []
    site.github.apps.clear()
    second = site.register()
    assert site.get(second).status_code == 200
    assert site.get(second).status_code == 400
    assert len(site.done) == 1


@pytest.mark.parametrize("query", ["", "&state="])
def test_nothing_is_expected_before_the_form_was_sent(site: Site, query: str) -> None:
    site.enter()
    assert site.get(f"/setup/done?code={'a' * 40}{query}").status_code == 400
    assert site.github.called("POST") == []


def test_only_an_address_on_our_github_is_linked(site: Site) -> None:
    site.enter()
    back = site.register()
    (app,) = site.github.apps.values()
    told = {
        "id": app.id,
        "slug": "postil",
        "html_url": f"{site.github.address.origin}.evil.example/apps/postil",
        "pem": app.private_key,
        "webhook_secret": app.webhook_secret,
    }
    site.github.inject(Fault("POST", "/conversions", status=201, body=told))
    page = site.get(back)
    assert page.status_code == 200
    assert "href" not in page.text


@pytest.mark.parametrize("code", ["", "short", "..%2F..%2Fapp", "a%20b%20c%20d%20e", "a" * 200])
def test_what_is_no_code_never_reaches_github(site: Site, code: str) -> None:
    site.enter()
    target, _ = form_of(site.send())
    (state,) = parse_qs(urlsplit(target).query)["state"]
    answer = site.get(f"/setup/done?code={code}&state={state}")
    assert answer.status_code == 400
    assert site.github.called("POST") == []
    assert site.done == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault("POST", "/conversions", status=404), "does not know this code"),
        (Fault("POST", "/conversions", status=502), "delete it there first"),
        (Fault("POST", "/conversions", location="http://127.0.0.1:9/"), "another host"),
    ],
)
def test_when_github_does_not_take_the_code_one_may_begin_again(
    site: Site, fault: Fault, why: str
) -> None:
    site.enter()
    back = site.register()
    site.github.inject(fault)
    page = site.get(back)
    assert page.status_code == 502
    assert why in page.text
    assert 'href="/setup"' in page.text
    assert (site.done, read_app(site.data)) == ([], None)
    site.github.apps.clear()
    assert site.get(site.register()).status_code == 200


def test_an_app_whose_key_can_t_be_kept_is_said_to_be_lost(site: Site) -> None:
    site.enter()
    back = site.register()
    (site.data / FILE).mkdir(parents=True)
    page = site.get(back)
    assert page.status_code == 500
    assert "Delete the App on GitHub" in page.text
    assert site.done == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/setup", 405), ("POST", "/setup/done", 405), ("GET", "/docs", 404)],
)
def test_other_methods_and_addresses_are_refused(
    site: Site, method: str, path: str, status: int
) -> None:
    assert httpx2.request(method, f"{site.url}{path}").status_code == status


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "http://127.0.0.1:8000"), ("::", "http://[::]:8000")]
)
def test_the_start_says_where_the_pages_are(host: str, address: str) -> None:
    told = announce(host, 8000, TOKEN)
    assert f"{address}/setup?token={TOKEN}\n" in told
    assert all(line.startswith("postil: ") for line in told.splitlines())
