"""How bytes leave and come back: bounded in time and size, to one host, with named headers only.

A client's own timeout bounds each read, not the call: a service that drips a byte now and then
holds it for ever. So nothing has a timeout here, and whoever calls cancels by the clock on the wall
(``asyncio.timeout``), which closes the connection.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import cache

import httpx2

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Far above the longest answer of any service, far below what would hurt."""
KEPT_HEADERS = ("host", "content-type", "content-length", "accept", "connection")
"""What the client's request keeps of its headers; the environment may add others to them."""


def build_client(wire: Wire) -> httpx2.AsyncClient:
    """Build a client that follows no redirect, obeys no proxy variable and has no timeout."""
    return httpx2.AsyncClient(
        transport=wire, follow_redirects=False, trust_env=False, timeout=httpx2.Timeout(None)
    )


class Wire(httpx2.AsyncBaseTransport):
    """Sends requests with the headers that are meant, and reads answers up to a size."""

    def __init__(self, headers: Mapping[str, str], proxy: str | None = None) -> None:
        self.answered: Mapping[str, str] = {}
        """The headers of the last answer."""
        self._headers = headers
        self._inner = httpx2.AsyncHTTPTransport(
            verify=_ssl_context(), trust_env=False, proxy=proxy, retries=0
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises httpx2.TransportError."""
        kept = {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers}
        request.headers = httpx2.Headers(
            {**kept, "accept-encoding": "identity", "user-agent": "postil", **self._headers}
        )
        response = await self._inner.handle_async_request(request)
        self.answered = response.headers
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.RemoteProtocolError("the answer is compressed, though that was not asked")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Capped(response.stream)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for part in self._stream:
            total += len(part)
            if total > MAX_ANSWER_BYTES:
                raise httpx2.ReadError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)
