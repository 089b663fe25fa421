"""What a route is given and gives back, and GitHub's way to refuse."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from sandbox.github.state import App, Author, Pull, Repository, Token
    from sandbox.github.world import World

Json = dict[str, Any]
DOCUMENTATION = "https://docs.github.com/rest"
NUMBERS = frozenset({"number", "review", "comment", "reaction", "run", "suite"})


class Refusal(Exception):
    """An answer that is an error, in the form GitHub gives it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: list[Any] | None = None,
        documentation: str = DOCUMENTATION,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.data: Json = {"message": message}
        if errors is not None:
            self.data["errors"] = errors
        self.data |= {"documentation_url": documentation, "status": str(status)}


def validation_failed(resource: str, name: str, code: str, message: str | None = None) -> Refusal:
    """Return GitHub's 422 about one field."""
    error = {"resource": resource, "code": code, "field": name}
    if message:
        error["message"] = message
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Validation Failed", errors=[error])


@dataclass(slots=True)
class Reply:
    """An answer: `data` is sent as JSON unless there is a `body`."""

    data: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def encoded(self) -> bytes:
        """Return the bytes to send."""
        if self.body is not None:
            return self.body
        if self.data is None:
            return b""
        return json.dumps(self.data).encode()


@dataclass(slots=True)
class Request:
    """One call, read. `path` is without the API's prefix and still percent-encoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    query_string: str = ""
    params: dict[str, str] = field(default_factory=dict)
    route: "Route | None" = None
    app: "App | None" = None
    token: "Token | None" = None
    found: "Repository | None" = None

    def json(self) -> Json:
        """Return the body's object."""
        try:
            data = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "Problems parsing JSON") from error
        if not isinstance(data, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "Body should be a JSON object")
        return data

    @property
    def accept(self) -> str:
        """Return the media type that was asked for."""
        return self.headers.get("accept", "")

    @property
    def repository(self) -> "Repository":
        """Return the repository the path names; dispatch has found it."""
        if self.found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
        return self.found

    @property
    def pull(self) -> "Pull":
        """Return the pull request the path names."""
        pull = self.repository.pulls.get(self.number("number"))
        if pull is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
        return pull

    @property
    def author(self) -> "Author":
        """Return who this call acts as."""
        if self.token is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Requires authentication")
        return self.token.author

    def number(self, name: str) -> int:
        """Return a number of the path."""
        return int(self.params[name])


Handler = Callable[["World", Request], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `needs` are permissions of which one is enough; `by` is who may call."""

    method: str
    template: str
    pattern: re.Pattern[str]
    handler: Handler
    needs: tuple[tuple[str, str], ...]
    by: str


class Routes:
    """Endpoints in the order in which they are tried."""

    def __init__(self) -> None:
        self.all: list[Route] = []

    def on(
        self, method: str, template: str, needs: str = "", by: str = "token"
    ) -> Callable[[Handler], Handler]:
        """Register a handler; `needs` reads like `pull_requests=write|issues=write`."""
        names = re.split(r"(\{\w+\+?\})", template)
        pattern = "".join(_pattern(part) for part in names)
        wanted = tuple(
            (name, level) for name, _, level in (one.partition("=") for one in needs.split("|"))
        )

        def register(handler: Handler) -> Handler:
            route = Route(
                method, template, re.compile(pattern), handler, wanted if needs else (), by
            )
            self.all.append(route)
            return handler

        return register

    def find(self, request: Request) -> Route | None:
        """Return the endpoint for a request and put the path's parts into it."""
        for route in self.all:
            if route.method == request.method and (match := route.pattern.fullmatch(request.path)):
                parts = match.groupdict().items()
                request.params = {name: unquote(value) for name, value in parts}
                return route
        return None


def _pattern(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part.strip("{}+")
    shape = r"\d{1,18}" if name in NUMBERS else ".+" if part.endswith("+}") else "[^/]+"
    return f"(?P<{name}>{shape})"
