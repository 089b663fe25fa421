"""The one seam: what GitHub does wrong becomes one of our errors, and nothing is sent twice."""

from __future__ import annotations

import gzip
import inspect
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

import pytest
import requests
import urllib3
from pydantic import BaseModel

from app.adapters.github import shapes
from app.adapters.github.client import Client
from app.adapters.github.limits import API_VERSION
from app.adapters.github.quota import Watch
from app.adapters.github.transport import Exchange, Timeouts
from app.errors import (
    HostError,
    HostInvalid,
    HostLimited,
    HostMissing,
    HostRefused,
    HostUnavailable,
)
from sandbox.github import GitHub
from tests.adapters.github.conftest import Fact, Scene

PULL = "/repos/acme/shop/pulls/1"


class Anything(BaseModel):
    """Any object at all."""


@pytest.fixture
def client(scene: Scene) -> Client:
    client = scene.access().client(scene.ref)
    client.read(Anything, "/rate_limit")
    return client


def _gets(scene: Scene) -> int:
    return len(scene.github.called("GET", "/pulls/1$"))


def _read(client: Client) -> shapes.Pull:
    return client.read(shapes.Pull, PULL)


def _write(client: Client) -> shapes.Made:
    return client.write(shapes.Made, "POST", "/repos/acme/shop/issues/1/comments", {"body": "x"})


def test_the_version_of_the_api_is_named_on_purpose(scene: Scene, client: Client) -> None:
    _read(client)
    call = scene.github.calls[-1]
    assert call.headers["x-github-api-version"] == API_VERSION
    assert call.headers["user-agent"] == "postil"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_read_is_tried_four_times_within_seconds(
    scene: Scene, client: Client, status: int
) -> None:
    scene.inject("GET", "/pulls/1$", status=status, times=3)
    assert _read(client).title == "Rewrite it"
    assert _gets(scene) == 4
    assert sum(scene.time.slept) < 3


def test_a_read_that_stays_broken_is_unavailable(scene: Scene, client: Client) -> None:
    scene.inject("GET", "/pulls/1$", status=502, times=None)
    with pytest.raises(HostUnavailable):
        _read(client)
    assert _gets(scene) == 4


BROKEN: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 502},
    {"reset": True},
    {"hang": True},
    {"cut_after_bytes": 20},
    {"cut_after_bytes": -30},
    {"drip_s": 0.05},
    {"body": "<html>Sign in</html>"},
    {"body": ""},
    {"body": "[]"},
    {"body": "null"},
    {"body": '"x"'},
    {"body": "{}"},
    {"body": '{"id": "no number"}'},
    {"body": "[" * 100_000},
    {"body": b"\xff\xfe"},
    {"headers": {"X-RateLimit-Remaining": "many"}},
    {"headers": {"Content-Length": "999999"}},
    {"headers": {"Content-Encoding": "gzip"}},
]


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: str(fault)[:50])
def test_a_write_with_a_broken_answer_is_sent_once_and_its_outcome_unknown(
    scene: Scene, client: Client, fault: dict[str, Any]
) -> None:
    scene.inject("POST", "/comments$", apply=1, **fault)
    fast = Client(
        type(client.site)(
            client.site.api_url,
            client.site.clock,
            client.site.sleep,
            Timeouts(silence=0.3, whole=0.3),
            client.site.session,
        ),
        client._auth,
        client.quota,
    )
    with pytest.raises(HostUnavailable):
        _write(fast)
    assert len(scene.pull.comments) == 1
    assert len(scene.github.called("POST", "/comments$")) == 1


@pytest.mark.parametrize("body", ["<html>", "{", "{}}", "NaN,"])
def test_what_is_no_json_fits_no_shape(scene: Scene, client: Client, body: str) -> None:
    scene.inject("GET", "/pulls/1$", times=None, body=body)
    with pytest.raises(HostUnavailable):
        client.read(Anything, PULL)


def test_an_answer_that_swells_is_given_up_at_the_cap(
    scene: Scene, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.github.transport.ANSWER_BYTES", 1_000_000)
    bomb = gzip.compress(b"[" * 8_000_000, 9)
    scene.inject("GET", "/pulls/1$", times=None, body=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(HostUnavailable, match="too large"):
        client._once("GET", PULL)


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        (401, {"message": "Bad credentials"}, {}, HostRefused),
        (403, {"message": "Resource not accessible by integration"}, {}, HostRefused),
        (403, {"message": "Forbidden"}, {"X-RateLimit-Remaining": "0"}, HostLimited),
        (403, {"message": "Forbidden"}, {"Retry-After": "5"}, HostLimited),
        (403, {"message": "You have exceeded a secondary rate limit."}, {}, HostLimited),
        (429, None, {}, HostLimited),
        (404, {"message": "Not Found"}, {}, HostMissing),
        (410, {"message": "Issues are disabled"}, {}, HostMissing),
        (451, {"message": "Repository access blocked"}, {}, HostMissing),
        (400, {"message": "Problems parsing JSON"}, {}, HostInvalid),
        (409, {"message": "Git Repository is empty."}, {}, HostInvalid),
        (422, {"message": "Validation Failed", "errors": [{"code": "custom"}]}, {}, HostInvalid),
        (408, None, {}, HostUnavailable),
        (500, "<html>", {}, HostUnavailable),
    ],
)
def test_a_status_is_one_error(
    scene: Scene,
    client: Client,
    status: int,
    body: Fact,
    headers: dict[str, str],
    error: type[HostError],
) -> None:
    scene.inject("GET", "/pulls/1$", status=status, times=None, body=body, headers=headers)
    with pytest.raises(HostError) as raised:
        _read(client)
    assert type(raised.value) is error
    assert "\n" not in raised.value.message


def test_a_missing_permission_is_named(scene: Scene, client: Client) -> None:
    scene.installation.permissions["pull_requests"] = "none"
    with pytest.raises(HostRefused) as error:
        _write(client)
    assert error.value.missing is not None
    assert "pull_requests=write" in error.value.missing


def test_what_github_says_is_repeated_short_and_plain(scene: Scene, client: Client) -> None:
    scene.inject("GET", "/pulls/1$", status=422, body={"message": "a\nb\x1b[31m" + "x" * 5000})
    with pytest.raises(HostInvalid) as error:
        _read(client)
    assert len(error.value.message) < 400
    assert error.value.message.isprintable()


def test_an_answer_that_repeats_our_key_does_not_bring_it_along(
    scene: Scene, client: Client
) -> None:
    token = client._auth.token
    for echo in (f"Authorization: Bearer {token}", "eyJhbGciOi.eyJpc3Mi.c2lnbmF0dXJl"):
        scene.inject("GET", "/pulls/1$", status=422, body={"message": echo})
        with pytest.raises(HostInvalid, match="key") as error:
            _read(client)
        assert echo.rpartition(" ")[2] not in str(error.value)


def test_every_error_of_the_libraries_below_is_translated() -> None:
    roots = (requests.RequestException, urllib3.exceptions.HTTPError)
    modules = (requests.exceptions, urllib3.exceptions)
    found = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and not issubclass(kind, Warning)
    }
    assert len(found) > 40
    strangers = {kind.__name__ for kind in found if not issubclass(kind, roots)}
    # Raised for a proxy's address, as the ValueError that the client translates.
    assert strangers == {"ProxySchemeUnsupported"}
    for kind in (one for one in found if issubclass(one, roots)):
        error = kind.__new__(kind)

        class Failing(requests.Session):
            def request(self, *_: Fact, error: Exception = error, **__: Fact) -> NoReturn:
                raise error

        exchange = Exchange(Failing(), "http://127.0.0.1:1", Timeouts())
        exchange.request("GET", "/", None, {})
        with pytest.raises(HostUnavailable):
            exchange.getresponse()


def test_calls_side_by_side_each_get_their_own_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_ready = threading.Barrier(2)
    request = Exchange.request

    def request_together(*args: Fact, **kwargs: Fact) -> None:
        request(*args, **kwargs)
        both_are_ready.wait(10)

    monkeypatch.setattr(Exchange, "request", request_together)
    with ThreadPoolExecutor(2) as pool:
        pull = pool.submit(client.read, shapes.Pull, PULL)
        home = pool.submit(client.read, shapes.Repository, "/repos/acme/shop")
        assert (pull.result().number, home.result().full_name) == (1, "acme/shop")


def test_no_log_holds_a_body_or_a_key(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        access = scene.access()
        access.client(scene.ref).read(Anything, PULL)
        _write(access.client(scene.ref))
    assert "Rewrite it" not in caplog.text
    assert access.token(scene.ref) not in caplog.text


# Redirects and pages.


def test_a_redirect_to_another_host_is_refused(scene: Scene, client: Client) -> None:
    with GitHub() as canary:
        for status in (301, 302, 307, 308):
            scene.inject("GET", "/pulls/1$", status=status, location=f"{canary.url}/x")
            with pytest.raises(HostRefused, match="another host"):
                _read(client)
        scene.inject("POST", "/comments$", status=307, location=f"{canary.url}/x")
        with pytest.raises(HostRefused, match="another host"):
            _write(client)
        assert canary.calls == []


@pytest.mark.parametrize(
    "location", ["", "//127.0.0.1:9/x", "http://user@{host}/x", "ftp://{host}/", "http:///x"]
)
def test_an_odd_redirect_is_refused(scene: Scene, client: Client, location: str) -> None:
    host = scene.github.url.removeprefix("http://")
    scene.inject("GET", "/pulls/1$", status=302, headers={"Location": location.format(host=host)})
    with pytest.raises(HostRefused):
        _read(client)


def test_a_renamed_repository_is_followed_for_reads_and_writes(
    scene: Scene, client: Client
) -> None:
    scene.github.rename(scene.repository, "acme/market")
    assert _read(client).base.repo is not None
    _write(client)
    assert len(scene.pull.comments) == 1


def test_a_redirect_that_goes_round_is_left(scene: Scene, client: Client) -> None:
    here = f"{scene.github.url}{PULL}"
    scene.inject("GET", "/pulls/1$", status=301, times=None, location=here)
    with pytest.raises(HostUnavailable, match="more than once"):
        client._once("GET", PULL)


def test_pages_on_another_host_are_refused(scene: Scene, client: Client) -> None:
    with GitHub() as canary:
        link = {"Link": f'<{canary.url}/next>; rel="next"'}
        scene.inject("GET", "/files$", times=None, headers=link)
        with pytest.raises(HostRefused, match="another host"):
            list(client.rows(Anything, f"{PULL}/files"))
        assert canary.calls == []


def test_pages_that_point_at_themselves_end(scene: Scene, client: Client) -> None:
    link = {"Link": f'<{scene.github.url}{PULL}/files?page=2>; rel="next"'}
    scene.inject("GET", "/files$", times=None, headers=link)
    assert len(list(client.rows(Anything, f"{PULL}/files"))) == 2


def test_pages_without_end_end_at_a_hundred(
    scene: Scene, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.github.client.PAGES", 3)
    for page in range(2, 7):
        link = {"Link": f'<{scene.github.url}{PULL}/files?page={page}>; rel="next"'}
        scene.inject("GET", "/files$", nth=page - 1, headers=link)
    assert len(list(client.rows(Anything, f"{PULL}/files"))) == 3


def test_an_unchanged_list_costs_nothing_and_gives_nothing(scene: Scene, client: Client) -> None:
    path = "/repos/acme/shop/pulls"
    assert len(list(client.rows(shapes.Pull, path, remember=True))) == 1
    used = next(iter(scene.github.tokens.values())).used
    assert list(client.rows(shapes.Pull, path, remember=True)) == []
    assert next(iter(scene.github.tokens.values())).used == used
    scene.github.label(scene.pull, None, "later")
    assert len(list(client.rows(shapes.Pull, path, remember=True))) == 1


# GraphQL.


@pytest.mark.parametrize(
    ("errors", "error"),
    [
        ([{"type": "NOT_FOUND", "message": "no"}], HostMissing),
        ([{"type": "FORBIDDEN", "message": "no"}], HostRefused),
        ([{"type": "INSUFFICIENT_SCOPES", "message": "no"}], HostRefused),
        ([{"type": "UNPROCESSABLE", "message": "no"}], HostInvalid),
        ([{"type": "RATE_LIMITED", "message": "no"}], HostLimited),
        ([{"message": "Something went wrong while executing your query."}], HostUnavailable),
        ("odd", HostUnavailable),
    ],
)
def test_errors_in_a_good_graphql_answer_are_errors(
    scene: Scene, client: Client, errors: Fact, error: type[HostError]
) -> None:
    scene.inject("POST", "graphql", times=None, body={"data": None, "errors": errors})
    with pytest.raises(error):
        client.graphql(Anything, "query { viewer { login } }", {})


# Limits.


def test_a_primary_limit_waits_for_its_reset_without_asking(scene: Scene, client: Client) -> None:
    headers = {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Reset": str(int(scene.time.now) + 3600),
    }
    scene.inject("GET", "/pulls/1$", status=403, headers=headers)
    with pytest.raises(HostLimited) as error:
        _read(client)
    assert error.value.retry_after == pytest.approx(3600)
    before = len(scene.github.calls)
    scene.time.now += 3000
    with pytest.raises(HostLimited) as error:
        _read(client)
    assert error.value.retry_after == pytest.approx(600)
    assert len(scene.github.calls) == before
    scene.time.now += 601
    assert _read(client).number == 1


def test_secondary_limits_in_a_row_double_the_wait(scene: Scene, client: Client) -> None:
    words = {"message": "You have exceeded a secondary rate limit."}
    scene.inject("POST", "/comments$", status=403, times=3, body=words)
    waits = []
    for _ in range(3):
        with pytest.raises(HostLimited) as error:
            _write(client)
        waits.append(error.value.retry_after)
        scene.time.now += error.value.retry_after + 1
        _read(client)
    assert waits == [60, 120, 240]
    _write(client)
    assert len(scene.pull.comments) == 1


@pytest.mark.parametrize(("told", "waits"), [("5", 5), ("90", 90), ("junk", 60), ("-4", 60)])
def test_the_wait_github_asks_for_is_kept(
    scene: Scene, client: Client, told: str, waits: float
) -> None:
    scene.inject("GET", "/pulls/1$", status=429, headers={"Retry-After": told})
    with pytest.raises(HostLimited) as error:
        _read(client)
    assert error.value.retry_after == waits


def test_one_installation_s_limit_does_not_hold_another(scene: Scene) -> None:
    other = scene.github.create_repository("other/place", {"a": "1\n"})
    home = scene.github.install(scene.app, other.owner)
    access = scene.access()
    scene.inject("GET", "/pulls/1$", status=429)
    with pytest.raises(HostLimited):
        _read(access.client(scene.ref))
    ref = type(scene.ref)(other.id, "other/place", 1, home.id)
    assert access.client(ref).read(shapes.Repository, "/repos/other/place").id == other.id


def test_whoever_watches_hears_of_every_call_and_of_what_is_left(scene: Scene) -> None:
    calls: list[tuple[str, str]] = []
    left: list[tuple[int, float]] = []
    watch = Watch(
        lambda method, outcome: calls.append((method, outcome)),
        lambda installation, remaining: left.append((installation, remaining)),
    )
    client = scene.access(watch=watch).client(scene.ref)
    _read(client)
    assert calls == [("POST", "ok"), ("GET", "ok")]
    assert left == [(scene.installation.id, 4999.0)]
    for _ in range(2):
        list(client.rows(shapes.Pull, "/repos/acme/shop/pulls", remember=True))
    scene.inject("GET", "/pulls/1$", location=scene.github.url + "/repositories/1/pulls/1")
    scene.inject("POST", "/comments$", status=429)
    with suppress(HostError):
        _read(client)
    with pytest.raises(HostLimited):
        _write(client)
    assert calls[2:] == [
        ("GET", "ok"),
        ("GET", "unchanged"),
        ("GET", "redirected"),
        ("GET", "missing"),
        ("POST", "limited"),
    ]
