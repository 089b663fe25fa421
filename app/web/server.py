"""Runs the web application on uvicorn, with limits, until a signal stops it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI

from app.errors import SettingsError

log = logging.getLogger(__name__)

MAX_HEADER_BYTES: Final = 64 * 1024
KEEP_ALIVE_SECONDS: Final = 15
STOP_SECONDS: Final = 10
MAX_CONNECTIONS: Final = 512
BACKLOG: Final = 2048


class StoppableServer(uvicorn.Server):
    """Returns from ``run`` after a signal, where uvicorn would raise it again and die of it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the server and nothing else."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def build_server(app: FastAPI, host: str, port: int) -> StoppableServer:
    """Build the server; its ``run`` returns after SIGTERM or SIGINT, when requests have ended."""
    return StoppableServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to serve at. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or "").partition(" (while")[0]
        raise SettingsError(
            f"POSTIL_HOST and POSTIL_PORT name {host} {port}, which can't be listened at: {reason}"
        ) from None


def serve(app: FastAPI, listener: socket.socket) -> bool:
    """Serve until a signal; False when the server could not start. The socket stays open."""
    host, port = listener.getsockname()[:2]
    server = build_server(app, host, port)
    log.info("listening", extra={"host": host, "port": port})
    server.run(sockets=[listener.dup()])
    return server.started


def leave(code: int) -> NoReturn:
    """End the process now: what a thread still waits for is repeated at the next start."""
    logging.shutdown()
    os._exit(code)
