"""The one seam every call to GitHub passes: PyGithub's requester outside, our errors inside.

PyGithub authenticates, encodes and names the API version. It retries nothing, sleeps nowhere and
follows no redirect here: those are decisions, and they are made in this module.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
from github import Github
from github.Auth import Auth
from pydantic import BaseModel, TypeAdapter, ValidationError
from requests.utils import parse_header_links

from app.adapters.github.faults import odd_answer, read_fault, read_graphql_fault
from app.adapters.github.limits import API_VERSION, PAGE, PAGES
from app.adapters.github.quota import Clock, Quota, Sleep, Watch
from app.adapters.github.transport import Exchange, Redirected, Timeouts, open_session
from app.errors import HostError, HostLimited, HostRefused, HostUnavailable

if TYPE_CHECKING:
    from github.Requester import HTTPSRequestsConnectionClass

USER_AGENT = "postil"
READ_PAUSES = (0.2, 0.6, 1.2)
"""Seconds between the four tries of a read; what stays broken longer waits in the scheduler."""

M = TypeVar("M", bound=BaseModel)
Params = Mapping[str, str | int]
Json = Mapping[str, Any]


class RenewableAuth(Auth):
    """A key that can be replaced when GitHub no longer takes it."""

    @abstractmethod
    def renew(self, refused: str) -> bool:
        """Replace the key unless ``refused`` is not the current one; False when it is fixed."""


@dataclass(frozen=True, slots=True)
class Site:
    """Which GitHub, and how to reach it."""

    api_url: str
    clock: Clock
    sleep: Sleep
    timeouts: Timeouts
    session: requests.Session
    watch: Watch = Watch()  # noqa: RUF009 - frozen

    @classmethod
    def open(
        cls,
        api_url: str,
        clock: Clock,
        sleep: Sleep,
        timeouts: Timeouts,
        watch: Watch = Watch(),  # noqa: B008 - frozen
    ) -> Site:
        """Open a pool of connections to one GitHub."""
        return cls(api_url.rstrip("/"), clock, sleep, timeouts, open_session(), watch)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.api_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def prefix(self) -> str:
        """The path of the API's root: empty, or ``/api/v3`` on an Enterprise Server."""
        return urlsplit(self.api_url).path


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: object


class Client:
    """Calls one GitHub with one key. Every method raises HostError and nothing else."""

    def __init__(self, site: Site, auth: Auth, quota: Quota) -> None:
        self.site = site
        self.quota = quota
        self._auth = auth
        self._etags: dict[str, str] = {}
        # One for each call: PyGithub's requester walks a dict that others' calls write to.
        self._open = partial(
            Github,
            auth=auth,
            base_url=site.api_url,
            user_agent=USER_AGENT,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            api_version=API_VERSION,
        )
        self._graphql_url = self._open().requester.graphql_url

    def read(
        self, shape: type[M], path: str, params: Params | None = None, *, spare: bool = False
    ) -> M:
        """Read one thing."""
        return parse(shape, self._retry("GET", path, params=params, spare=spare).data)

    def rows(
        self,
        shape: type[M],
        path: str,
        params: Params | None = None,
        *,
        key: str | None = None,
        spare: bool = False,
        remember: bool = False,
    ) -> Iterator[tuple[M, ...]]:
        """Read a list page by page, at most 100 pages, each address once.

        ``key`` names the list inside an object. ``remember`` gives nothing when the first page is
        as it was the last time, which does not count against the rate limit:
        https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
        """
        many = TypeAdapter(tuple[shape, ...])  # type: ignore[valid-type]  # a type made at run time
        seen: set[str] = set()
        following: str | None = path
        while following and following not in seen and len(seen) < PAGES:
            seen.add(following)
            first = following == path
            answer = self._retry(
                "GET",
                following,
                params={"per_page": PAGE, **(params or {})} if first else None,
                spare=spare,
                remember=remember and first,
            )
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return
            data = answer.data
            if key is not None:
                data = data.get(key) if isinstance(data, dict) else None
            yield _validated(many, data)
            following = self._next(answer.headers.get("link", ""))

    def page(self, shape: type[M], path: str, params: Params, *, spare: bool) -> tuple[M, ...]:
        """Read one page of a list whose length is known."""
        many = TypeAdapter(tuple[shape, ...])  # type: ignore[valid-type]  # a type made at run time
        return _validated(many, self._retry("GET", path, params=params, spare=spare).data)

    def forget(self) -> None:
        """Read every remembered list again the next time."""
        self._etags.clear()

    def write(self, shape: type[M], verb: str, path: str, body: Json | None = None) -> M:
        """Write once, in our turn. After HostUnavailable it is unknown whether it happened."""
        self.quota.take_write()
        answer = self._once(verb, path, body=body)
        self.quota.praise()
        return parse(shape, answer.data)

    def ask(self, shape: type[M], verb: str, path: str, body: Json | None = None) -> M:
        """Make a call that creates nothing others see: it may be repeated like a read."""
        return parse(shape, self._retry(verb, path, body=body).data)

    def graphql(self, shape: type[M], query: str, variables: Json, *, write: bool = False) -> M:
        """Query or change by GraphQL; ``errors`` in a good answer are errors."""
        body = {"query": query, "variables": dict(variables)}
        url = self._graphql_url
        if write:
            self.quota.take_write()
        call = self._once if write else self._retry
        answer = call("POST", url, body=body)
        data = answer.data
        if not isinstance(data, dict):
            raise odd_answer("not an object")
        if data.get("errors"):
            fault = read_graphql_fault(data["errors"], answer.headers, self.site.clock())
            raise self.quota.punish(fault) if isinstance(fault, HostLimited) else fault
        return parse(shape, data.get("data"))

    def _retry(
        self,
        verb: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        spare: bool = False,
        remember: bool = False,
    ) -> Answer:
        for pause in READ_PAUSES:
            try:
                return self._once(
                    verb, path, params=params, body=body, spare=spare, remember=remember
                )
            except HostUnavailable:
                self.site.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
        return self._once(verb, path, params=params, body=body, spare=spare, remember=remember)

    def _once(
        self,
        verb: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        spare: bool = False,
        remember: bool = False,
    ) -> Answer:
        """Make one request; a refused key is renewed once, a redirect here is followed once."""
        self.quota.check(spare=spare)
        known = self._etags.get(path) if remember else None
        headers = {"If-None-Match": known} if known else {}
        key = self._auth.token
        try:
            answer = self._send(verb, path, params, body, headers)
        except HostRefused as refused:
            renewable = refused.status == HTTPStatus.UNAUTHORIZED
            if not (renewable and isinstance(self._auth, RenewableAuth) and self._auth.renew(key)):
                raise
            answer = self._send(verb, path, params, body, headers)
        if remember and "etag" in answer.headers:
            self._etags[path] = answer.headers["etag"]
        return answer

    def _send(
        self, verb: str, path: str, params: Params | None, body: Json | None, headers: Json
    ) -> Answer:
        try:
            return self._watched(verb, path, params, body, headers)
        except Redirected as redirected:
            there = self._here(redirected.location)
        try:
            return self._watched(verb, there, None, body, headers)
        except Redirected:
            raise HostUnavailable("GitHub redirected more than once") from None

    def _watched(
        self, verb: str, path: str, params: Params | None, body: Json | None, headers: Json
    ) -> Answer:
        """Make one exchange and tell whoever watches what became of it."""
        told = self.site.watch.called
        try:
            answer = self._exchange(verb, path, params, body, headers)
        except (HostError, Redirected) as fault:
            told(verb, type(fault).__name__.removeprefix("Host").lower())
            raise
        told(verb, "unchanged" if answer.status == HTTPStatus.NOT_MODIFIED else "ok")
        return answer

    def _exchange(
        self, verb: str, path: str, params: Params | None, body: Json | None, headers: Json
    ) -> Answer:
        connection = Exchange(self.site.session, self.site.origin, self.site.timeouts)
        try:
            status, said, text = self._open().requester.requestJson(
                verb,
                path,
                parameters=dict(params or {}),
                headers=dict(headers),
                input=body,
                # PyGithub names its own classes but uses three methods of them, all of them here.
                cnx=cast("HTTPSRequestsConnectionClass", connection),
            )
        except ValueError:
            raise odd_answer("PyGithub can't read its rate-limit headers") from None
        self.quota.learn(said)
        data = _decoded(text)
        if status >= HTTPStatus.BAD_REQUEST:
            fault = read_fault(status, said, data, self.site.clock())
            raise self.quota.punish(fault) if isinstance(fault, HostLimited) else fault
        return Answer(status, said, data)

    def _next(self, link: str) -> str | None:
        """Return the next page of a Link header.

        https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
        """
        links = parse_header_links(link)
        following = next((one["url"] for one in links if one.get("rel") == "next"), None)
        return following and self._here(following)

    def _here(self, address: str) -> str:
        """Return the path of an address of this API, and refuse every other host."""
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}" != self.site.origin:
            wrong = HTTPStatus.MISDIRECTED_REQUEST
            raise HostRefused("GitHub pointed at another host", status=wrong)
        path = parts.path.removeprefix(self.site.prefix)
        return f"{path}?{parts.query}" if parts.query else path


def _decoded(text: str) -> object:
    """Read JSON: nothing at all is an empty object, and what is no JSON fits no shape."""
    if not text:
        return {}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def parse(shape: type[M], data: object) -> M:
    """Read an answer into the shape it must have. Raises HostUnavailable."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        raise odd_answer(_where(error)) from None


def _validated(many: TypeAdapter[Any], data: object) -> tuple[Any, ...]:
    try:
        return cast("tuple[Any, ...]", many.validate_python(data))
    except ValidationError as error:
        raise odd_answer(_where(error)) from None


def _where(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
