"""The web side over a real socket: what GitHub, and anybody else, gets for an answer."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import pytest
import uvicorn

from app.core.events import Delivery, Ignored, ReviewRequest, sign
from app.web.app import Doors, build_app
from app.web.server import build_server

SECRET = b"a secret of the webhook"
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
PERSON = {"id": 7, "login": "ann", "type": "User"}
OPENED = json.dumps(
    {
        "action": "opened",
        "number": 5,
        "pull_request": {
            "title": "t",
            "user": PERSON,
            "head": {"sha": "a" * 40},
            "base": {"sha": "b" * 40},
        },
        "repository": {"id": 11, "full_name": "o/r"},
        "installation": {"id": 99},
        "sender": PERSON,
    }
).encode()


@dataclass(frozen=True)
class Recorded:
    status: str = "accepted"
    note: str = ""
    job: str | None = None


@dataclass
class Site:
    """A server on loopback and what it handed over."""

    url: str = ""
    port: int = 0
    accepted: list[Delivery] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    outcome: Recorded = field(default_factory=Recorded)

    def accept(self, delivery: Delivery) -> Recorded:
        self.accepted.append(delivery)
        if isinstance(delivery.request, Ignored) and "explode" in delivery.event:
            raise ValueError("a secret detail")
        return self.outcome

    def post(
        self, body: bytes = OPENED, event: str = "pull_request", **changes: str
    ) -> httpx2.Response:
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": GUID,
            "X-Hub-Signature-256": sign(body, SECRET),
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        return httpx2.post(f"{self.url}/webhook", content=body, headers=headers, timeout=20)

    def send(self, raw: bytes, *, close: bool = False) -> bytes:
        """Send bytes as they are; return everything that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(raw)
            if close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(65536):
                received += part
                if b"\r\n\r\n" in received and not received.startswith(b"HTTP/1.1 100"):
                    break
            return received


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    doors = Doors(
        accept=site.accept,
        secrets=[SECRET],
        version="9.9",
        troubles=lambda: site.troubles,
        metrics=lambda: b"postil_jobs 1\n",
        count=lambda event, outcome: site.counted.append((event, outcome)),
        app_id=4242,
        max_body=100_000,
        read_seconds=0.5,
    )
    server = build_server(build_app(doors), "127.0.0.1", 0)
    thread = threading.Thread(target=_run, args=[server], daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    site.port = server.servers[0].sockets[0].getsockname()[1]
    site.url = f"http://127.0.0.1:{site.port}"
    yield site
    server.should_exit = True
    thread.join()


def _run(server: uvicorn.Server) -> None:
    server.run()


def test_a_signed_delivery_is_recorded_and_answered_202(site: Site) -> None:
    site.outcome = Recorded("accepted", "", "review:11:5")
    answer = site.post()
    assert (answer.status_code, answer.json()) == (
        202,
        {"status": "accepted", "job": "review:11:5"},
    )
    (delivery,) = site.accepted
    assert isinstance(delivery.request, ReviewRequest)
    assert site.counted == [("pull_request", "accepted")]


@pytest.mark.parametrize("status", ["duplicate", "ignored"])
def test_what_changes_nothing_is_202_too(site: Site, status: str) -> None:
    site.outcome = Recorded(status, "seen before")
    answer = site.post()
    assert (answer.status_code, answer.json()) == (202, {"status": status, "reason": "seen before"})


def test_what_could_not_be_recorded_is_503(site: Site) -> None:
    site.outcome = Recorded("unavailable")
    answer = site.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_a_ping_is_200_with_the_version_and_no_job(site: Site) -> None:
    answer = site.post(b'{"zen": "x"}', "ping")
    assert (answer.status_code, answer.json()) == (200, {"status": "pong", "version": "9.9"})
    assert site.accepted == []


def test_an_unknown_event_is_202(site: Site) -> None:
    site.outcome = Recorded("ignored", "nothing to do")
    assert site.post(b'{"action": "sparkled"}', "unicorn").status_code == 202


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"X_Hub_Signature_256": "sha256=" + "0" * 64}, 401),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"X_GitHub_Delivery": "x"}, 400),
    ],
)
def test_a_refusal_says_why_in_one_sentence_and_records_nothing(
    site: Site, changes: dict[str, str], status: int
) -> None:
    answer = site.post(OPENED, **changes)
    assert answer.status_code == status
    assert answer.json()["status"] == "rejected"
    assert "\n" not in answer.json()["reason"]
    assert site.accepted == []


def test_a_signature_that_is_not_ascii_is_401(site: Site) -> None:
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {len(OPENED)}\r\n"
        "Content-Type: application/json\r\nX-GitHub-Event: ping\r\n"
        f"X-GitHub-Delivery: {GUID}\r\nX-Hub-Signature-256: sha256="
    )
    answer = site.send(head.encode() + b"\xff\xfe\r\n\r\n" + OPENED)
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_compressed_body_is_415(site: Site) -> None:
    body = gzip.compress(OPENED)
    answer = site.post(body, Content_Encoding="gzip", X_Hub_Signature_256=sign(body, SECRET))
    assert answer.status_code == 415


def test_a_body_over_the_cap_is_413_by_its_declared_length_or_while_it_comes(site: Site) -> None:
    declared = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n"
    assert site.send(declared).startswith(b"HTTP/1.1 413")
    chunk = b"%x\r\n" % 40_000 + b"a" * 40_000 + b"\r\n"
    endless = b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3
    assert site.send(endless).startswith(b"HTTP/1.1 413")


def test_a_body_that_drips_is_408(site: Site) -> None:
    slow = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
    assert site.send(slow).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "length",
    [b"-1", b"x", b"10\r\nContent-Length: 20", b"\xb2", b"1" * 40],
)
def test_a_length_that_lies_is_refused(site: Site, length: bytes) -> None:
    raw = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\nabc"
    answer = site.send(raw, close=True)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    assert site.accepted == []


def test_a_body_shorter_than_its_length_is_no_delivery(site: Site) -> None:
    site.send(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc", close=True)
    assert site.accepted == []
    assert httpx2.get(f"{site.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhook", 405),
        ("PUT", "/webhook", 405),
        ("HEAD", "/webhook", 405),
        ("POST", "/webhook/../x", 404),
        ("POST", "/x", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/healthz", 405),
    ],
)
def test_other_methods_and_addresses_are_refused_without_words(
    site: Site, method: str, path: str, status: int
) -> None:
    raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    assert site.send(raw).startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize(
    "raw", [b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100 + b"\r\n\r\n"]
)
def test_what_is_not_http_is_400(site: Site, raw: bytes) -> None:
    assert site.send(raw, close=True)[:12] in {b"HTTP/1.1 400", b""}
    assert httpx2.get(f"{site.url}/healthz").status_code == 200


def test_headers_without_end_are_refused(site: Site) -> None:
    raw = b"GET /healthz HTTP/1.1\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n"
    assert site.send(raw).startswith(b"HTTP/1.1 400")


def test_an_unexpected_failure_shows_nothing_of_itself(site: Site) -> None:
    answer = site.post(b'{"action": "x"}', "explode")
    assert (answer.status_code, answer.text) == (500, '{"status":"failed"}')
    assert "server" not in answer.headers


def test_health_readiness_and_metrics(site: Site) -> None:
    health = httpx2.get(f"{site.url}/healthz")
    assert (health.status_code, health.json()["version"]) == (200, "9.9")
    assert httpx2.get(f"{site.url}/readyz").json() == {"status": "ready"}
    site.troubles.append("the database does not answer")
    ready = httpx2.get(f"{site.url}/readyz")
    assert (ready.status_code, ready.json()["troubles"]) == (503, ["the database does not answer"])
    metrics = httpx2.get(f"{site.url}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert metrics.text == "postil_jobs 1\n"


def test_no_secret_no_start() -> None:
    with pytest.raises(ValueError, match="secret"):
        build_app(Doors(accept=Site().accept, secrets=[], version="1"))
