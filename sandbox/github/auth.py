"""Who is calling: an App by its JWT, an installation or a person by a token.

docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

import base64
import binascii

import jwt
from jwt.types import Options

from sandbox.github.http import Refusal, Request, Route
from sandbox.github.state import App, Installation, Permissions, Repository, Token
from sandbox.github.world import World

LONGEST_JWT_S = 600
CLOCK_DRIFT_S = 60
HOUR_S = 3600
GRADES = ("none", "read", "write", "admin")
# The times are checked against this GitHub's clock, not against the machine's.
UNTIMED = Options(
    verify_exp=False, verify_iat=False, verify_nbf=False, verify_iss=False, verify_aud=False
)
UNDECODABLE = "A JSON web token could not be decoded"
BAD_CREDENTIALS = "Bad credentials"


def authenticate(world: World, request: Request, route: Route) -> None:
    """Find the caller, or refuse with GitHub's 401."""
    if route.by == "everybody":
        return
    _, secret = credentials(request)
    if route.by == "app":
        request.app = _app(world, secret)
    elif secret:
        request.token = token(world, secret)
    elif route.by == "token" and not (request.method == "GET" and "repo" in request.params):
        raise Refusal(401, "Requires authentication")


def credentials(request: Request) -> tuple[str, str]:
    """Return the scheme and the secret of the Authorization header."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Refusal(401, BAD_CREDENTIALS) from error
    return scheme.lower(), secret.strip()


def token(world: World, secret: str) -> Token:
    """Return a living token and count its use."""
    found = world.tokens.get(secret)
    if found is None or found.expires_at <= world.now() or found.calls_left == 0:
        raise Refusal(401, BAD_CREDENTIALS)
    home = found.installation
    if home and home.deleted:
        raise Refusal(401, BAD_CREDENTIALS)
    if home and home.suspended_at:
        raise Refusal(403, "This installation has been suspended")
    if found.calls_left is not None:
        found.calls_left -= 1
    return found


def living(world: World, number: int, app: App) -> Installation:
    """Return an installation of the App, or refuse as GitHub does when it is gone."""
    found = world.installations.get(number)
    if found is None or found.deleted or found.app is not app:
        raise Refusal(404, "Not Found")
    return found


def count(world: World, request: Request) -> dict[str, str]:
    """Count the call against its hourly limit and return the headers that tell."""
    one = request.token
    if one is None:
        return {}
    if one.window_ends_at <= world.now():
        one.used, one.window_ends_at = 0, world.now() + HOUR_S
    limit = world.limits.requests_per_hour
    exhausted = one.used >= limit
    one.used = min(one.used + 1, limit)
    headers = rate_headers(world, one)
    if exhausted:
        who = f"installation ID {one.installation.id}" if one.installation else "user"
        raise Refusal(
            403,
            f"API rate limit exceeded for {who}.",
            documentation="https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
            headers=headers,
        )
    return headers


def rate_headers(world: World, one: Token) -> dict[str, str]:
    """Return how much of the hour's calls is left."""
    limit = world.limits.requests_per_hour
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(limit - one.used),
        "X-RateLimit-Used": str(one.used),
        "X-RateLimit-Reset": str(int(one.window_ends_at)),
        "X-RateLimit-Resource": "core",
    }


def can_see(world: World, who: Token | None, repository: Repository) -> bool:
    """Tell whether a repository exists as far as the caller knows."""
    if not repository.private:
        return True
    if who is None:
        return False
    if who.installation:
        chosen = who.repositories is None or repository.id in who.repositories
        return chosen and repository in world.visible(who.installation)
    return world.level(repository, who.user) != "none"


def permit(world: World, request: Request, route: Route) -> None:
    """Check what the endpoint needs, or refuse with the header that names it."""
    who = request.token
    if not route.needs or (request.found is None and who and who.installation is None):
        return
    if who is None:
        if request.found and request.method == "GET" and not request.found.private:
            return
        raise Refusal(401, "Requires authentication")
    if any(has(world, who, request.found, name, level) for name, level in route.needs):
        return
    raise inaccessible(who, route.needs)


def has(world: World, who: Token, repository: Repository | None, name: str, level: str) -> bool:
    """Tell whether a token has a permission at a level or above."""
    if who.installation:
        granted = _both(who.permissions, who.installation.permissions)
        mine = repository is None or repository in world.visible(who.installation)
        # A public repository of somebody else can be read by everyone.
        return _grade(granted, name) >= GRADES.index(level) if mine else level == "read"
    if name == "checks" and level == "write":
        return False
    if repository is None or level == "read":
        return True
    writes = {"write", "maintain", "admin"}
    commenting = name in {"issues", "pull_requests"}
    return commenting or world.level(repository, who.user) in writes


def inaccessible(who: Token, needs: tuple[tuple[str, str], ...]) -> Refusal:
    """Return GitHub's 403 for a missing permission."""
    kind = "integration" if who.installation else "personal access token"
    accepted = "; ".join(f"{name}={level}" for name, level in needs)
    return Refusal(
        403,
        f"Resource not accessible by {kind}",
        headers={"X-Accepted-GitHub-Permissions": accepted},
    )


def _grade(permissions: Permissions, name: str) -> int:
    if name == "metadata":
        return GRADES.index("read")
    return GRADES.index(permissions.get(name, "none"))


def _both(one: Permissions, other: Permissions) -> Permissions:
    return {
        name: min(level, other.get(name, "none"), key=GRADES.index) for name, level in one.items()
    }


def _app(world: World, secret: str) -> App:
    try:
        issuer = jwt.decode(secret, options={"verify_signature": False}).get("iss")
        app = next((one for one in world.apps.values() if str(one.id) == str(issuer)), None)
        if app is None:
            raise Refusal(401, "Integration not found" if issuer else UNDECODABLE)
        claims = jwt.decode(
            secret,
            app.key.public_key(),
            algorithms=["RS256"],
            options=UNTIMED,
        )
    except jwt.PyJWTError as error:
        raise Refusal(401, UNDECODABLE) from error
    _check_times(claims.get("iat"), claims.get("exp"), world.now())
    return app


def _check_times(issued: object, expires: object, now: float) -> None:
    if not isinstance(expires, int) or expires <= now:
        raise Refusal(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time "
            "at which the assertion expires",
        )
    if not isinstance(issued, int) or issued > now + CLOCK_DRIFT_S:
        raise Refusal(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion "
            "was issued",
        )
    if expires - now > LONGEST_JWT_S + CLOCK_DRIFT_S or expires - issued > LONGEST_JWT_S + (
        CLOCK_DRIFT_S
    ):
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
