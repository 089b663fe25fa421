"""The HTTP side: a delivery is verified, recorded and acknowledged. It never waits for a review."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.adapters import crash
from app.core.events import MAX_BODY, Delivery, Ping, read_event
from app.errors import WebhookRejected

log = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

READ_SECONDS: Final = 10.0
"""GitHub itself gives up after so long
(docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks)."""


class Recorded(Protocol):
    """What became of a delivery."""

    @property
    def status(self) -> str:
        """Return accepted, duplicate, ignored or unavailable."""
        ...

    @property
    def note(self) -> str:
        """Return why, in words."""
        ...

    @property
    def job(self) -> str | None:
        """Return the key of its job."""
        ...


@dataclass(frozen=True, slots=True)
class Doors:
    """What the web side needs of the rest, handed in by bootstrap.

    ``accept`` records a delivery durably. ``troubles`` names what is not ready, nothing when all
    is. ``metrics`` renders the metrics; ``count`` counts a delivery by event and outcome. ``alive``
    is entered when the server starts and left when it stops.
    """

    accept: Callable[[Delivery], Recorded]
    secrets: Sequence[bytes]
    version: str
    troubles: Callable[[], Sequence[str]] = tuple
    metrics: Callable[[], bytes] = bytes
    count: Callable[[str, str], None] = lambda _event, _outcome: None
    alive: Callable[[], AbstractContextManager[object]] = ExitStack
    app_id: int | None = None
    max_body: int = MAX_BODY
    read_seconds: float = READ_SECONDS


def build_app(doors: Doors) -> FastAPI:
    """Build the web application. Raises ValueError without a webhook secret."""
    if not doors.secrets:
        raise ValueError("a webhook secret is required")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with doors.alive():
            yield

    app = bare_app(doors.version, lifespan)

    @app.post("/webhook")
    async def webhook(request: Request) -> Response:
        try:
            body = await read_body(request, doors.max_body, doors.read_seconds)
            return await run_in_threadpool(_receive, doors, request.headers.raw, body)
        except WebhookRejected as error:
            doors.count("unknown", "rejected")
            log.warning("refused a delivery", extra={"status": error.status, "why": error.message})
            return JSONResponse({"status": "rejected", "reason": error.message}, error.status)

    @app.get("/readyz")
    def readyz() -> Response:
        troubles = list(doors.troubles())
        if troubles:
            return JSONResponse({"status": "not ready", "troubles": troubles}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(doors.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def bare_app(version: str, lifespan: Lifespan | None = None) -> FastAPI:
    """Build an application with no page of its own that says nothing of what goes wrong inside."""
    app = FastAPI(
        title="Postil",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.get("/healthz")
    def healthz() -> Response:
        return JSONResponse({"status": "ok", "version": version})

    app.add_exception_handler(HTTPException, _say_status)
    app.add_exception_handler(Exception, _say_nothing)
    return app


async def read_body(request: Request, limit: int, seconds: float = READ_SECONDS) -> bytes:
    """Read at most ``limit`` bytes, within the time GitHub would give us.

    Raises WebhookRejected.
    """
    if request.headers.getlist("content-encoding") not in ([], ["identity"]):
        raise WebhookRejected("a compressed body is not accepted", status=415)
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise WebhookRejected("the body is too large", status=413)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise WebhookRejected("the body is too large", status=413)
    except TimeoutError:
        raise WebhookRejected("the body came too slowly", status=408) from None
    except ClientDisconnect:
        raise WebhookRejected("the body ended too early", status=400) from None
    return bytes(body)


def _receive(doors: Doors, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Response:
    """Verify, parse, record. Runs in a thread: none of it may hold up another delivery."""
    delivery = read_event(headers, body, doors.secrets, app_id=doors.app_id)
    if isinstance(delivery.request, Ping):
        doors.count("ping", "pong")
        return JSONResponse({"status": "pong", "version": doors.version})
    crash.at("after_verify")
    recorded = doors.accept(delivery)
    crash.at("after_insert")
    doors.count(delivery.event, recorded.status)
    facts = {"event": delivery.event, "action": delivery.action, "delivery": delivery.guid}
    log.info("delivery", extra={**facts, "outcome": recorded.status, "note": recorded.note})
    if recorded.status == "unavailable":
        return JSONResponse({"status": "unavailable"}, 503, headers={"Retry-After": "60"})
    answer = {"status": recorded.status, "reason": recorded.note, "job": recorded.job}
    told = {key: value for key, value in answer.items() if value}
    return JSONResponse(told, 202, background=BackgroundTask(_be_done))


async def _be_done() -> None:
    """Mark the moment at which GitHub has its answer."""
    crash.at("after_ack")


async def _say_status(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"status": "rejected"}, status)


async def _say_nothing(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"status": "failed"}, 500)
