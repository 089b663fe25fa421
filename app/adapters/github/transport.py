"""The wire below PyGithub: one request at a time, bounded in time and size, never redirected.

PyGithub asks for a connection object and uses three methods of it. This one shares one pool, so
that calls may run side by side; PyGithub's own keeps the request on the connection, where two
threads overwrite each other's.
"""

from __future__ import annotations

import time
from collections.abc import ItemsView
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy

import requests
from github.Requester import Requester
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from app.adapters.github.limits import ANSWER_BYTES
from app.errors import HostUnavailable

CONNECT_S = 10.0
POOL = 32
CHUNK = 64 * 1024


class Redirected(Exception):
    """GitHub named another address; nothing was followed."""

    def __init__(self, location: str) -> None:
        super().__init__("redirected")
        self.location = location


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: GitHub itself cuts a request after ten.

    https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
    """

    silence: float = 20.0
    whole: float = 60.0


class Received:
    """An answer in the form PyGithub reads."""

    def __init__(self, status: int, headers: CaseInsensitiveDict[str], text: str) -> None:
        self.status = status
        self.headers = headers
        self._text = text

    def getheaders(self) -> ItemsView[str, str]:
        """Return the headers."""
        return self.headers.items()

    def read(self) -> str:
        """Return the whole body."""
        return self._text


class Exchange:
    """One request and its answer, in the form of PyGithub's connection."""

    def __init__(self, session: requests.Session, origin: str, timeouts: Timeouts) -> None:
        self._session = session
        self._origin = origin
        self._timeouts = timeouts
        self._verb = ""
        self._url = ""
        self._body: str | None = None
        self._headers: dict[str, str] = {}

    def request(
        self,
        verb: str,
        url: str,
        body: str | None,
        headers: dict[str, str],
        stream: bool = False,  # noqa: FBT001, FBT002 - PyGithub's signature
    ) -> None:
        """Remember what to send; ``stream`` is not asked for by any call of ours."""
        del stream
        self._verb, self._url, self._body, self._headers = verb, url, body, headers

    def getresponse(self) -> Received:
        """Send, and read the answer. Raises HostUnavailable, Redirected."""
        try:
            return self._send()
        except (requests.RequestException, HTTPError) as error:
            kind = type(error).__name__
            raise HostUnavailable(f"GitHub could not be reached: {kind}") from error

    def close(self) -> None:
        """Leave the pool as it is; it is shared."""

    def _send(self) -> Received:
        ends = time.monotonic() + self._timeouts.whole
        with self._session.request(
            self._verb,
            self._origin + self._url,
            data=self._body,
            headers=self._headers,
            timeout=(min(CONNECT_S, self._timeouts.silence), self._timeouts.silence),
            allow_redirects=False,
            stream=True,
        ) as response:
            status = response.status_code
            if status != HTTPStatus.NOT_MODIFIED and 300 <= status < 400:  # noqa: PLR2004 - all redirects
                raise Redirected(response.headers.get("location", ""))
            if status == HTTPStatus.ACCEPTED and self._verb == "GET":
                raise HostUnavailable("GitHub is still working on the answer")
            return Received(status, response.headers, _read(response, ends))


def open_session() -> requests.Session:
    """Open the pool all calls share: no retries, no cookies, no .netrc."""
    session = requests.Session()
    session.auth = Requester.noopAuth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=POOL, pool_maxsize=POOL, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _read(response: requests.Response, ends: float) -> str:
    """Read a body as it arrives: a server that drips can't hold us past the deadline."""
    parts: list[bytes] = []
    size = 0
    while part := response.raw.read1(CHUNK, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise HostUnavailable("GitHub's answer is too large")
        if time.monotonic() > ends:
            raise HostUnavailable("GitHub's answer took too long")
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise HostUnavailable("GitHub's answer is not UTF-8") from None
