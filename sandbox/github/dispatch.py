"""From a request to an answer: find the endpoint, the caller and the repository, then ask it."""

import contextlib
import hashlib
import uuid
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

from sandbox.github import auth
from sandbox.github.http import Refusal, Reply, Request, Route, Routes
from sandbox.github.routes import ENDPOINTS, GRAPHQL, SITE
from sandbox.github.state import Token
from sandbox.github.world import World

MINUTE_S = 60
WRITES = frozenset({"POST", "PUT", "PATCH"})
RETRY_AFTER = {"Retry-After": "60"}
SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)


class Dispatcher:
    """Every endpoint there is, and the rules that hold for all of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.contents_per_minute: int | None = None
        self._api, self._graphql, self._site = (_routes(one) for one in (ENDPOINTS, GRAPHQL, SITE))
        self._writes: list[float] = []

    def respond(self, request: Request) -> Reply:
        """Answer a request; a refusal is an answer too."""
        world = self.world
        headers: dict[str, str] = {}
        try:
            with world.lock:
                route = self._find(request)
                self._find_repository(request)
                auth.authenticate(world, request, route)
                if route.template != "/rate_limit":
                    headers |= auth.count(world, request)
                self._check_access(request, route)
                self._slow_writers(request)
                reply = route.handler(world, request)
        except Refusal as refusal:
            reply = Reply(refusal.data, refusal.status, refusal.headers)
        return self._finish(request, reply, headers)

    def place(self, request: Request) -> None:
        """Find what a request is about without asking it: a fault answers instead."""
        with contextlib.suppress(Refusal):
            self._find(request)
            self._find_repository(request)

    def _find(self, request: Request) -> Route:
        prefix = self.world.address.prefix
        path = request.path
        if path == self.world.address.graphql_path:
            request.route = self._graphql.find(request)
        if request.route is None and path.startswith(f"{prefix}/"):
            request.path = self._by_name(path.removeprefix(prefix)).rstrip("/")
            request.route = self._api.find(request)
        if request.route is None:
            request.path = path
            request.route = self._site.find(request)
        if request.route is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
        return request.route

    def _by_name(self, path: str) -> str:
        # Links and redirects name repositories by number; endpoints are written by name.
        parts = path.split("/", 3)
        if parts[1:2] != ["repositories"] or not parts[2:3] or not parts[2].isdecimal():
            return path
        repository = self.world.repositories.get(int(parts[2]))
        name = repository.full_name if repository else "-/-"
        return "/".join(["/repos", name, *parts[3:]])

    def _find_repository(self, request: Request) -> None:
        if not {"owner", "repo"} <= request.params.keys():
            return
        name = f"{request.params['owner']}/{request.params['repo']}"
        request.found = self.world.find_repository(name)

    def _check_access(self, request: Request, route: Route) -> None:
        repository = request.found
        if "repo" in request.params and route.by != "everybody":
            hidden = (
                route.by != "app"
                and repository is not None
                and not auth.can_see(self.world, request.token, repository)
            )
            if repository is None or hidden:
                raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
            self._redirect_old_name(request)
        auth.permit(self.world, request, route)

    def _redirect_old_name(self, request: Request) -> None:
        repository = request.repository
        asked = f"{request.params['owner']}/{request.params['repo']}"
        if asked.casefold() == repository.full_name.casefold():
            return
        rest = request.path.split("/", 4)[4:]
        location = "/".join([f"{self.world.address.api}/repositories/{repository.id}", *rest])
        if request.query_string:
            location += f"?{request.query_string}"
        refusal = Refusal(
            HTTPStatus.MOVED_PERMANENTLY
            if request.method == "GET"
            else HTTPStatus.TEMPORARY_REDIRECT,
            "Moved Permanently",
            headers={"Location": location},
        )
        refusal.data["url"] = location
        raise refusal

    def _slow_writers(self, request: Request) -> None:
        most = self.contents_per_minute
        if most is None or request.token is None or request.method not in WRITES:
            return
        now = self.world.now()
        self._writes = [at for at in self._writes if at > now - MINUTE_S]
        if len(self._writes) >= most:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                SECONDARY,
                documentation="https://docs.github.com/free-pro-team@latest/rest/overview/"
                "rate-limits-for-the-rest-api#about-secondary-rate-limits",
                headers=RETRY_AFTER,
            )
        self._writes.append(now)

    def _finish(self, request: Request, reply: Reply, headers: dict[str, str]) -> Reply:
        if reply.body is None and reply.data is not None:
            reply.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        common = {
            "Server": "GitHub.com",
            "Date": formatdate(self.world.now(), usegmt=True),
            "X-GitHub-Request-Id": str(uuid.uuid4()).upper(),
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Api-Version-Selected": request.headers.get(
                "x-github-api-version", "2022-11-28"
            ),
        }
        reply.headers = {**common, **headers, **reply.headers}
        if request.method == "GET" and reply.status == HTTPStatus.OK:
            self._not_modified(request, reply, request.token)
        return reply

    def _not_modified(self, request: Request, reply: Reply, token: Token | None) -> None:
        tag = f'W/"{hashlib.sha256(reply.encoded()).hexdigest()}"'
        reply.headers["ETag"] = tag
        reply.headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
        if request.headers.get("if-none-match") == tag:
            reply.status, reply.data, reply.body = HTTPStatus.NOT_MODIFIED, None, b""
            if token:
                token.used -= 1


def _routes(every: Sequence[Route]) -> Routes:
    routes = Routes()
    routes.all.extend(every)
    return routes
