"""Webhooks arrive signed, are kept, and come again under the same GUID."""

import hashlib
import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import jwt
import pytest

from sandbox.github import Fault, GitHub
from sandbox.github.hooks import sign
from tests.sandbox.conftest import Client, Scene

Received = list[tuple[dict[str, str], bytes]]


class Receiver(BaseHTTPRequestHandler):
    """Keeps what arrives and answers what the test wants."""

    received: ClassVar[Received] = []
    status: ClassVar[int] = 202

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((dict(self.headers.items()), body))
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(scene: Scene) -> Iterator[type[Receiver]]:
    Receiver.received, Receiver.status = [], 202
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        scene.app.webhook_url = f"http://127.0.0.1:{server.server_address[1]}/webhook"
        yield Receiver
        scene.github.settle()
        server.shutdown()
        thread.join()


def test_the_signature_is_the_documented_one() -> None:
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign("It's a Secret to Everybody", b"Hello, World!") == expected


def test_a_push_is_told_with_a_signature(scene: Scene, receiver: type[Receiver]) -> None:
    before = scene.pull.head_sha
    scene.pull.push({"new.py": "x = 2\n"})
    scene.github.settle()
    ((headers, body),) = receiver.received
    digest = hmac.new(scene.app.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={digest}"
    assert headers["X-GitHub-Event"] == "pull_request"
    delivery = scene.github.deliveries[-1]
    assert headers["X-GitHub-Delivery"] == delivery.guid
    assert (delivery.status, delivery.status_code, delivery.response_body) == ("OK", 202, "ok")
    payload = delivery.payload
    assert (payload["action"], payload["before"]) == ("synchronize", before)
    assert payload["installation"]["id"] == scene.installation.id
    assert payload["sender"]["login"] == "acme"


def test_state_changes_without_a_webhook(scene: Scene) -> None:
    count = len(scene.github.deliveries)
    with scene.github.quietly():
        head = scene.pull.push({"new.py": "x = 2\n"})
    assert scene.pull.head_sha == head
    assert len(scene.github.deliveries) == count


def test_a_failed_delivery_is_listed_and_sent_again(scene: Scene, receiver: type[Receiver]) -> None:
    now = int(scene.github.now())
    claims = {"iat": now - 60, "exp": now + 540, "iss": str(scene.app.id)}
    client = Client(scene.github, jwt.encode(claims, scene.app.private_key, "RS256"))
    receiver.status = 503
    scene.pull.close()
    scene.github.settle()
    failed = client.get("/app/hook/deliveries").data[0]
    assert (failed["status"], failed["status_code"]) == ("Invalid HTTP Response: 503", 503)
    receiver.status = 202
    again = client.post(f"/app/hook/deliveries/{failed['id']}/attempts", None)
    assert again.status == 202
    scene.github.settle()
    listed = client.get("/app/hook/deliveries?per_page=1")
    assert (listed.data[0]["guid"], listed.data[0]["status"]) == (failed["guid"], "OK")
    assert listed.data[0]["redelivery"] is True
    assert "cursor=" in listed.headers["Link"]
    first, second = receiver.received
    assert first[1] == second[1]
    assert first[0]["X-GitHub-Delivery"] == second[0]["X-GitHub-Delivery"]


def test_a_refused_connection_is_a_failure(scene: Scene) -> None:
    scene.app.webhook_url = "http://127.0.0.1:1/webhook"
    scene.pull.close()
    scene.github.settle()
    assert scene.github.deliveries[-1].status == "failed to connect to host"


def test_anything_can_be_delivered(scene: Scene, receiver: type[Receiver]) -> None:
    sent = scene.github.deliver("pull_request", b"not json", guid="one-guid")
    assert sent.status_code == 202
    headers, body = receiver.received[0]
    assert (headers["X-GitHub-Delivery"], body) == ("one-guid", b"not json")


def test_only_subscribed_and_installed_apps_are_told(scene: Scene, github: GitHub) -> None:
    github.create_app("elsewhere")
    deaf = github.create_app("deaf", events=())
    github.install(deaf, scene.repository.owner)
    scene.pull.comment(scene.alice, "hello")
    told = [one.app.slug for one in github.deliveries if one.event == "issue_comment"]
    assert told == ["postil"]


def test_the_apps_own_words_are_told_too(scene: Scene, github: GitHub) -> None:
    scene.client.post("/repos/acme/shop/issues/1/comments", {"body": "mine"})
    payload = github.deliveries[-1].payload
    assert payload["sender"]["type"] == "Bot"
    assert payload["comment"]["performed_via_github_app"]["slug"] == "postil"


def test_a_fault_of_the_api_does_not_stop_the_event(scene: Scene, github: GitHub) -> None:
    github.inject(Fault("POST", "/comments$", status=502, apply=1))
    answer = scene.client.post("/repos/acme/shop/issues/1/comments", {"body": "mine"})
    assert answer.status == 502
    assert github.deliveries[-1].event == "issue_comment"
