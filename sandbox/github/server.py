"""The socket side: HTTP/1.1 on loopback, spoken slowly, in part, or not at all when asked."""

import contextlib
import gzip
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from sandbox.github.faults import Fault, Script
from sandbox.github.http import Reply, Request

Respond = Callable[[Request], Reply]
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
ENTITY_FREE = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class Server(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 until it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, respond: Respond, script: Script, record: Callable[[Request, Reply], None]
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.script = script
        self.record = record
        self.closing = threading.Event()
        self.errors: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._serving: set[threading.Thread] = set()
        self._loop = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="github", daemon=True
        )

    @property
    def origin(self) -> str:
        """Return the address to call."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Answer in the background."""
        self._loop.start()

    def stop(self) -> None:
        """Close every connection and wait for the threads to end."""
        self.closing.set()
        if self._loop.is_alive():
            self.shutdown()
            self._loop.join()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._serving):
            thread.join(5)
        self.server_close()
        for error in self.errors:
            raise error

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve one connection in its own thread and forget it afterwards."""
        connection = cast("socket.socket", request)
        self._open.add(connection)
        self._serving.add(threading.current_thread())
        try:
            super().process_request_thread(connection, client_address)
        finally:
            self._open.discard(connection)
            self._serving.discard(threading.current_thread())

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep a mistake of ours, so that closing raises it."""
        del request, client_address
        error = sys.exception()
        if error:
            self.errors.append(error)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def handle_one_request(self) -> None:
        """Read one request, ask for its answer and send it."""
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self._answer(self._read())
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _read(self) -> Request:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(headers.get("content-length", 0)))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return Request(self.command, url.path, query, headers, body, url.query)

    def _chunks(self) -> list[bytes]:
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def _answer(self, request: Request) -> None:
        server = cast("Server", self.server)
        fault = server.script.hit(request.method, request.path, request.body)
        if fault is None:
            reply = server.respond(request)
            server.record(request, reply)
            self._send(request, reply)
            return
        server.closing.wait(fault.delay_s)
        reply = self._changed(server, request, fault)
        server.record(request, reply)
        fault.then()
        if fault.hang:
            server.closing.wait()
        if fault.hang or fault.reset:
            self._reset()
            return
        self._send(request, reply, fault)

    def _changed(self, server: Server, request: Request, fault: Fault) -> Reply:
        reply = Reply(status=0)
        for _ in range(max(fault.apply, 0 if fault.replaces else 1)):
            reply = server.respond(request)
        if fault.replaces:
            status = fault.status or (HTTPStatus.FOUND if fault.location else 0)
            reply = _failure(status)
        if fault.location:
            reply.headers["Location"] = fault.location
        if fault.body is not None:
            reply.body = _bytes(fault.body)
        reply.headers.update(fault.headers)
        return reply

    def _send(self, request: Request, reply: Reply, fault: Fault | None = None) -> None:
        body = reply.encoded()
        headers = {"Content-Type": "text/plain; charset=utf-8", **reply.headers}
        if reply.status not in ENTITY_FREE:
            headers.setdefault("Content-Length", str(len(body)))
        reason = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else ""
        head = f"HTTP/1.1 {int(reply.status)} {reason}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        payload = head.encode("latin-1") + (b"" if request.method == "HEAD" else body)
        if fault and fault.cut_after_bytes is not None:
            self.connection.sendall(payload[: len(head) + fault.cut_after_bytes])
            self.close_connection = True
        elif fault and fault.drip_s is not None:
            self._drip(payload[len(head) :], payload[: len(head)], fault.drip_s)
        else:
            self.connection.sendall(payload)

    def _drip(self, body: bytes, head: bytes, pause_s: float) -> None:
        closing = cast("Server", self.server).closing
        self.connection.sendall(head)
        for at in range(len(body)):
            if closing.wait(pause_s):
                return
            self.connection.sendall(body[at : at + 1])

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.connection.close()
        self.close_connection = True


def _failure(status: int) -> Reply:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    headers = {
        "Server": "GitHub.com",
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/json; charset=utf-8",
    }
    return Reply({"message": phrase, "status": str(status)}, status, headers)


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
