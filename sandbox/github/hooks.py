"""Webhooks on their way out: signed, sent one after another in the background, and kept.

docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

import hashlib
import hmac
import http.client
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from sandbox.github.state import App, Delivery, Json

ANSWER_WITHIN_S = 10.0
CONNECT_FAILED, TIMED_OUT = 502, 504


class Postman:
    """The delivery log and the thread that sends what is in it."""

    def __init__(self, now: Callable[[], float], new_id: Callable[[], int]) -> None:
        self.deliveries: list[Delivery] = []
        self.answer_within_s = ANSWER_WITHIN_S
        self._now = now
        self._new_id = new_id
        self._queue: queue.Queue[Delivery | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def prepare(
        self, app: App, event: str, payload: Json | bytes, *, guid: str | None = None
    ) -> Delivery:
        """Sign a payload and put it in the log, unsent."""
        raw = isinstance(payload, bytes)
        body = payload if isinstance(payload, bytes) else _compact(payload)
        delivery = Delivery(
            id=self._new_id(),
            guid=guid or str(uuid.uuid4()),
            app=app,
            event=event,
            payload={} if raw or isinstance(payload, bytes) else payload,
            body=body,
            headers={},
            redelivery=False,
            delivered_at=self._now(),
        )
        delivery.headers.update(_headers(delivery))
        self.deliveries.append(delivery)
        return delivery

    def post(self, app: App, event: str, payload: Json) -> Delivery:
        """Send an event in the background; without an address it only stays in the log."""
        delivery = self.prepare(app, event, payload)
        if app.webhook_url:
            self._enqueue(delivery)
        return delivery

    def repeat(self, delivery: Delivery) -> Delivery:
        """Send a delivery again in the background, with the same GUID and a new id."""
        again = replace(
            delivery,
            id=self._new_id(),
            headers=_headers(delivery),
            redelivery=True,
            delivered_at=self._now(),
            status="not sent",
            status_code=0,
            response_headers={},
            response_body="",
        )
        self.deliveries.append(again)
        self._enqueue(again)
        return again

    def send(self, delivery: Delivery) -> Delivery:
        """Send now, in this thread, and note the answer."""
        if not delivery.app.webhook_url:
            raise LookupError(f"the App {delivery.app.slug} has no webhook_url")
        url = urlsplit(delivery.app.webhook_url)
        connection = http.client.HTTPConnection(url.netloc, timeout=self.answer_within_s)
        started = time.monotonic()
        try:
            connection.request("POST", url.path or "/", delivery.body, delivery.headers)
            answer = connection.getresponse()
            delivery.response_body = answer.read().decode(errors="replace")
            delivery.response_headers = dict(answer.getheaders())
            delivery.status_code = answer.status
            good = answer.status < http.HTTPStatus.BAD_REQUEST
            delivery.status = "OK" if good else f"Invalid HTTP Response: {answer.status}"
        except TimeoutError:
            delivery.status, delivery.status_code = "timed out", TIMED_OUT
        except (OSError, http.client.HTTPException):
            delivery.status, delivery.status_code = "failed to connect to host", CONNECT_FAILED
        finally:
            connection.close()
            delivery.duration_s = time.monotonic() - started
        return delivery

    def settle(self, timeout_s: float) -> None:
        """Wait until the queue is empty and the last answer is in."""
        deadline = time.monotonic() + timeout_s
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{self._queue.unfinished_tasks} webhooks are still unsent")
                self._queue.all_tasks_done.wait(left)

    def close(self) -> None:
        """Let the thread finish what it is sending and end it."""
        with self._lock:
            if self._thread:
                self._queue.put(None)
                self._thread.join()
                self._thread = None

    def _enqueue(self, delivery: Delivery) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
                self._thread.start()
        self._queue.put(delivery)

    def _work(self) -> None:
        while delivery := self._queue.get():
            self.send(delivery)
            self._queue.task_done()
        self._queue.task_done()


def sign(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    """Return the value of the signature header."""
    return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"


def _compact(payload: Json) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def _headers(delivery: Delivery) -> dict[str, str]:
    app = delivery.app
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": f"GitHub-Hookshot/{hashlib.sha1(app.slug.encode()).hexdigest()[:7]}",  # noqa: S324 - a name
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(app.id + 1),
        "X-GitHub-Hook-Installation-Target-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
        "X-Hub-Signature": sign(app.webhook_secret, delivery.body, "sha1"),
        "X-Hub-Signature-256": sign(app.webhook_secret, delivery.body),
    }
