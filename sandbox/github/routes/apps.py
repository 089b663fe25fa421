"""Apps, installations, tokens, webhook deliveries, accounts and rate limits."""

from http import HTTPStatus

from sandbox.github import shapes
from sandbox.github.auth import GRADES, HOUR_S, living, rate_headers
from sandbox.github.http import Refusal, Reply, Request, Routes
from sandbox.github.lists import DEFAULT_PAGE, LARGEST_PAGE, paged, positive
from sandbox.github.state import Delivery, Installation, Permissions
from sandbox.github.world import World

LARGEST_SELECTION = 500
routes = Routes()


@routes.on("GET", "/app", by="app")
def read_app(world: World, request: Request) -> Reply:
    """Show the App itself."""
    if request.app is None:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Requires authentication")
    count = sum(one.app is request.app and not one.deleted for one in world.installations.values())
    return Reply(shapes.app(world, request.app) | {"installations_count": count})


@routes.on("GET", "/app/installations", by="app")
def list_installations(world: World, request: Request) -> Reply:
    """List where the App is installed."""
    every = [
        one for one in world.installations.values() if one.app is request.app and not one.deleted
    ]
    return paged(world, request, every, lambda one: shapes.installation(world, one))


@routes.on("GET", "/app/installations/{number}", by="app")
def read_installation(world: World, request: Request) -> Reply:
    """Show one installation."""
    return Reply(shapes.installation(world, _installation(world, request)))


@routes.on("GET", "/repos/{owner}/{repo}/installation", by="app")
def find_installation(world: World, request: Request) -> Reply:
    """Show the installation that covers a repository."""
    for one in world.installations_on(request.repository):
        if one.app is request.app:
            return Reply(shapes.installation(world, one))
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


@routes.on("POST", "/app/installations/{number}/access_tokens", by="app")
def mint_token(world: World, request: Request) -> Reply:
    """Make a token, narrowed to fewer repositories and permissions when asked."""
    home = _installation(world, request)
    if home.suspended_at:
        raise Refusal(HTTPStatus.FORBIDDEN, "This installation has been suspended")
    wanted = request.json()
    visible = world.visible(home)
    ids, names = wanted.get("repository_ids"), wanted.get("repositories")
    chosen = None
    if ids is not None or names is not None:
        chosen = [one for one in visible if one.id in (ids or ()) or one.name in (names or ())]
        asked = len(set(ids or ()) | set(names or ()))
        if len(chosen) < asked or asked > LARGEST_SELECTION:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "There is at least one repository that does not exist or is not accessible to the "
                "parent installation.",
            )
    permissions = _narrowed(home, wanted.get("permissions"))
    allowed = None if chosen is None else frozenset(one.id for one in chosen)
    minted = world.mint(home, permissions, allowed)
    return Reply(shapes.installation_token(world, minted, chosen), HTTPStatus.CREATED)


@routes.on("DELETE", "/installation/token")
def revoke_token(world: World, request: Request) -> Reply:
    """End the life of the token that asks."""
    if request.token:
        request.token.expires_at = world.now()
    return Reply(status=HTTPStatus.NO_CONTENT)


@routes.on("GET", "/installation/repositories")
def list_repositories(world: World, request: Request) -> Reply:
    """List what the token may see."""
    token = request.token
    if token is None or token.installation is None:
        raise Refusal(
            HTTPStatus.FORBIDDEN, "You must authenticate with an installation access token"
        )
    every = [
        one
        for one in world.visible(token.installation)
        if token.repositories is None or one.id in token.repositories
    ]
    return paged(world, request, every, lambda one: shapes.repository(world, one), "repositories")


@routes.on("GET", "/app/hook/config", by="app")
def read_hook_config(_world: World, request: Request) -> Reply:
    """Show where the App's webhooks go."""
    if request.app is None:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Requires authentication")
    return Reply(shapes.hook_config(request.app))


@routes.on("GET", "/app/hook/deliveries", by="app")
def list_deliveries(world: World, request: Request) -> Reply:
    """List the App's deliveries, newest first, with a cursor in the Link header."""
    mine = [one for one in reversed(world.deliveries) if one.app is request.app]
    if request.query.get("status") == "failure":
        mine = [one for one in mine if one.status != "OK"]
    size = min(positive(request, "per_page", DEFAULT_PAGE), LARGEST_PAGE)
    cursor = request.query.get("cursor", "")
    if cursor.isdecimal():
        mine = [one for one in mine if one.id < int(cursor)]
    reply = Reply([shapes.delivery(one) for one in mine[:size]])
    if len(mine) > size:
        after = f"per_page={size}&cursor={mine[size - 1].id}"
        link = f"{world.address.api}/app/hook/deliveries?{after}"
        reply.headers["Link"] = f'<{link}>; rel="next"'
    return reply


@routes.on("GET", "/app/hook/deliveries/{number}", by="app")
def read_delivery(world: World, request: Request) -> Reply:
    """Show one delivery with its request and its response."""
    return Reply(shapes.delivery(_delivery(world, request), full=True))


@routes.on("POST", "/app/hook/deliveries/{number}/attempts", by="app")
def redeliver(world: World, request: Request) -> Reply:
    """Send a delivery again under the same GUID."""
    world.redeliver(_delivery(world, request))
    return Reply({}, HTTPStatus.ACCEPTED)


@routes.on("GET", "/rate_limit", by="anyone")
def read_rate_limit(world: World, request: Request) -> Reply:
    """Show the hourly limit; asking does not count."""
    limit = world.limits.requests_per_hour
    core = {"limit": limit, "remaining": limit, "used": 0, "reset": int(world.now()) + HOUR_S}
    if request.token and request.token.window_ends_at:
        headers = rate_headers(world, request.token)
        core = {name: int(headers[f"X-RateLimit-{name.title()}"]) for name in core}
    every = dict.fromkeys(("core", "search", "graphql"), core)
    return Reply({"resources": every, "rate": core})


@routes.on("GET", "/user")
def read_self(world: World, request: Request) -> Reply:
    """Show who a personal token belongs to; an installation is nobody."""
    if request.author.app:
        raise Refusal(HTTPStatus.FORBIDDEN, "Resource not accessible by integration")
    return Reply(shapes.user(world, request.author.user))


@routes.on("GET", "/users/{login}", by="anyone")
def read_user(world: World, request: Request) -> Reply:
    """Show an account."""
    found = world.users.get(request.params["login"].casefold())
    if found is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    return Reply(shapes.user(world, found))


def _installation(world: World, request: Request) -> Installation:
    if request.app is None:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Requires authentication")
    return living(world, request.number("number"), request.app)


def _delivery(world: World, request: Request) -> Delivery:
    number = request.number("number")
    for one in world.deliveries:
        if one.id == number and one.app is request.app:
            return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _narrowed(home: Installation, wanted: Permissions | None) -> Permissions:
    if not wanted:
        return dict(home.permissions)
    for name, level in wanted.items():
        granted = home.permissions.get(name, "none")
        if level not in GRADES or GRADES.index(level) > GRADES.index(granted):
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "The permissions requested are not granted to this installation.",
            )
    # Every installation may read metadata, asked for or not.
    return {"metadata": "read", **wanted}
