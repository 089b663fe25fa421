"""Keys to GitHub: an App's, from which short-lived tokens are made, or one token as it is."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Mapping
from copy import copy
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import quote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from github.Auth import AppAuth, Token

from app.adapters.github.client import Client, RenewableAuth, Site
from app.adapters.github.quota import Clock, Pace, Quota, Sleep, Watch
from app.adapters.github.shapes import App, Installation, MintedToken, Repository
from app.adapters.github.transport import Timeouts
from app.core.pull import PullRef
from app.errors import HostInvalid, HostMissing, HostRefused, SettingsError

if TYPE_CHECKING:
    from github.Auth import PrivateKeyGenerator

PERMISSIONS: Mapping[str, str] = {
    "contents": "read",
    "pull_requests": "write",
    "checks": "write",
}
"""All that a review needs. Comments on a pull's conversation and reactions to them are covered by
``pull_requests``: https://docs.github.com/en/rest/issues/comments#create-an-issue-comment"""

LISTING: Mapping[str, str] = {"pull_requests": "read"}
"""All that a look at every repository of an installation needs."""

RENEW_BEFORE_S = 300
"""A token lives an hour; it is not used in its last minutes."""
JWT_BACKDATED_S, JWT_LIFE_S = 120, 420
"""GitHub takes no token from the future and none that ends in more than ten minutes: this one
bears a clock that is two minutes off either way.
https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app"""
NOT_INSTALLED = "the App is not installed on this repository"
REMOVED = "the App was removed or suspended"
KEY_NAME = "POSTIL_GITHUB_PRIVATE_KEY"


class Access(Protocol):
    """Opens GitHub for one repository."""

    site: Site

    @property
    def app_id(self) -> int | None:
        """The App whose check runs are ours; None for a token."""
        ...

    def client(self, ref: PullRef) -> Client:
        """Return a client whose key fits this repository."""
        ...

    def token(self, ref: PullRef) -> str:
        """Return the key for git over https; the user name is ``x-access-token``."""
        ...

    def code_url(self, ref: PullRef) -> str:
        """Return the address git fetches this repository from; it holds no key."""
        ...


class GitHubApp:
    """A GitHub App: tokens are narrowed to one repository, and serve one job.

    Raises SettingsError for a key that can't be used; its text never holds the key.
    """

    def __init__(
        self,
        app_id: int,
        private_key: str,
        api_url: str,
        *,
        clock: Clock = time.time,
        sleep: Sleep = time.sleep,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        pace: Pace = Pace(),  # noqa: B008 - frozen
        watch: Watch = Watch(),  # noqa: B008 - frozen
    ) -> None:
        self._app_id = app_id
        self._pace = pace
        self.site = Site.open(api_url, clock, sleep, timeouts, watch)
        # parsed here once: each time it would take a hundred times as long as signing
        key = load_pem_private_key(read_private_key(private_key).encode(), password=None)
        sign = AppAuth.create_jwt_sign(cast("PrivateKeyGenerator", lambda: key), "RS256")

        def sign_by_our_clock(claims: dict[str, object]) -> str | bytes:
            now = int(clock())
            return sign({**claims, "iat": now - JWT_BACKDATED_S, "exp": now + JWT_LIFE_S})

        self.as_app = Client(
            self.site, AppAuth(app_id, sign_func=sign_by_our_clock), Quota(clock, sleep)
        )
        self._lock = threading.Lock()
        self._quotas: dict[int, Quota] = {}
        self._auths: dict[tuple[int, int | None], InstallationAuth] = {}
        self._clients: dict[tuple[int, int | None], Client] = {}

    @property
    def app_id(self) -> int:
        """The App's number."""
        return self._app_id

    def for_one_job(self) -> GitHubApp:
        """Return the same App with no token yet: what is made for a job goes with it."""
        mine = copy(self)
        mine._auths, mine._clients = {}, {}  # noqa: SLF001 - its own
        return mine

    def client(self, ref: PullRef) -> Client:
        """Return a client whose token sees this repository alone."""
        return self._client(_installation(ref), ref.repository_id)

    def whole_installation(self, installation_id: int) -> Client:
        """Return a client that sees all repositories of an installation, and only reads.

        Its token serves until it is old: what GitHub remembers of a list, it remembers for a token.
        """
        return self._client(installation_id, None)

    def token(self, ref: PullRef) -> str:
        """Return a token for git over https; the user name is ``x-access-token``."""
        self.client(ref)
        return self._auths[_installation(ref), ref.repository_id].token

    def code_url(self, ref: PullRef) -> str:
        """Return the address git fetches this repository from; it holds no key."""
        return code_url(self.site.api_url, ref.repository)

    def check_key(self) -> str:
        """Ask GitHub who this App is and return its slug. Raises HostError."""
        return self.as_app.read(App, "/app").slug

    def _client(self, installation_id: int, repository_id: int | None) -> Client:
        with self._lock:
            at = (installation_id, repository_id)
            if at not in self._clients:
                quota = self._quotas.setdefault(installation_id, self._quota(installation_id))
                self._auths[at] = InstallationAuth(self.as_app, installation_id, repository_id)
                self._clients[at] = Client(self.site, self._auths[at], quota)
            return self._clients[at]

    def _quota(self, installation_id: int) -> Quota:
        told = partial(self.site.watch.remaining, installation_id)
        shared = self._pace.turns
        turns = partial(shared, installation_id) if shared else None
        return Quota(self.site.clock, self.site.sleep, self._pace, told, turns)


class GitHubToken:
    """One token as it is: a person's on the command line, the job's in an Action."""

    def __init__(
        self,
        token: str,
        api_url: str,
        *,
        clock: Clock = time.time,
        sleep: Sleep = time.sleep,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self.site = Site.open(api_url, clock, sleep, timeouts)
        self._token = token
        self._client = Client(self.site, Token(token), Quota(clock, sleep))

    @property
    def app_id(self) -> None:
        """No App of our own: GitHub decides whose check runs these are."""
        return

    def client(self, ref: PullRef) -> Client:
        """Return the one client there is."""
        del ref
        return self._client

    def token(self, ref: PullRef) -> str:
        """Return the token for git over https; the user name is ``x-access-token``."""
        del ref
        return self._token

    def code_url(self, ref: PullRef) -> str:
        """Return the address git fetches this repository from; it holds no key."""
        return code_url(self.site.api_url, ref.repository)

    def find_pull(self, repository: str, number: int) -> PullRef:
        """Bind a pull request that a person named to its repository's number. Raises HostError."""
        found = self._client.read(Repository, f"/repos/{quote(repository)}")
        return PullRef(found.id, found.full_name, number)


class InstallationAuth(RenewableAuth):
    """An installation's token, made when needed and again when it is old or refused."""

    def __init__(self, as_app: Client, installation_id: int, repository_id: int | None) -> None:
        self._as_app = as_app
        self._installation_id = installation_id
        self._repository_id = repository_id
        self._lock = threading.Lock()
        self._minted: MintedToken | None = None

    @property
    def token_type(self) -> str:
        """The scheme of the Authorization header."""
        return "Bearer"

    @property
    def token(self) -> str:
        """The token as it is good now. Raises HostError when none can be made."""
        with self._lock:
            ends = self._minted.expires_at.timestamp() if self._minted else 0.0
            if self._minted is None or ends - RENEW_BEFORE_S <= self._as_app.site.clock():
                self._minted = self._mint()
            return self._minted.token

    def renew(self, refused: str) -> bool:
        """Forget the token that was refused, so that the next call makes another."""
        with self._lock:
            if self._minted and self._minted.token == refused:
                self._minted = None
        return True

    def _mint(self) -> MintedToken:
        """Make a token for this repository with what a review needs, or for a look at all.

        An installation that has not granted all of it gets a token for the rest: each call then
        says by itself what it misses.
        """
        home = f"/app/installations/{self._installation_id}"
        wanted = LISTING if self._repository_id is None else PERMISSIONS
        body: dict[str, object] = {"permissions": dict(wanted)}
        if self._repository_id is not None:
            body["repository_ids"] = [self._repository_id]
        try:
            return self._ask(home, body)
        except HostInvalid:
            granted = self._as_app.read(Installation, home).permissions
            body["permissions"] = _both(wanted, granted)
        try:
            return self._ask(home, body)
        except HostInvalid as error:
            raise HostMissing(NOT_INSTALLED, final=True) from error

    def _ask(self, home: str, body: Mapping[str, object]) -> MintedToken:
        try:
            return self._as_app.ask(MintedToken, "POST", f"{home}/access_tokens", body)
        except HostRefused as refused:
            if refused.status != HTTPStatus.FORBIDDEN:
                raise
            raise HostMissing(REMOVED, final=True, removed=True) from refused
        except HostMissing as missing:
            raise HostMissing(REMOVED, final=True, removed=True) from missing


def code_url(api_url: str, repository: str) -> str:
    """Return where git finds a repository of the GitHub whose API is at ``api_url``."""
    return f"{web_url(api_url)}/{quote(repository)}.git"


def web_url(api_url: str) -> str:
    """Return where people see the GitHub whose API is at ``api_url``.

    ``api.`` stands before the host of github.com and of GitHub Enterprise Cloud with data
    residency; an Enterprise Server has ``/api/v3`` behind it:
    https://docs.github.com/en/enterprise-server/rest/using-the-rest-api/getting-started-with-the-rest-api
    """
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc.removeprefix('api.')}"


def read_private_key(text: str) -> str:
    r"""Return an App's key as PEM, from the forms in which people keep one in a variable.

    Real line ends of any kind, the two characters ``\n``, or the whole file in base64. Raises
    SettingsError naming what is wrong, never the key.
    """
    pem = text.strip().replace("\\r", "").replace("\\n", "\n").replace("\r\n", "\n")
    pem = pem.replace("\r", "\n")
    if "-----BEGIN" not in pem:
        pem = _from_base64(pem)
    if "BEGIN OPENSSH" in pem:
        raise SettingsError(f"{KEY_NAME} is an OpenSSH key: use the .pem file GitHub gave the App")
    if "PUBLIC KEY" in pem:
        raise SettingsError(f"{KEY_NAME} is a public key: use the .pem file GitHub gave the App")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise SettingsError(f"{KEY_NAME} is locked with a passphrase: store it without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{KEY_NAME} is cut or damaged: it is not a whole PEM key") from None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(f"{KEY_NAME} is not an RSA key, and GitHub's are")
    return pem


def _from_base64(text: str) -> str:
    try:
        pem = base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        pem = ""
    if "-----BEGIN" not in pem:
        raise SettingsError(f"{KEY_NAME} is neither a PEM key nor one in base64")
    return pem.replace("\r\n", "\n")


def _both(wanted: Mapping[str, str], granted: Mapping[str, str]) -> dict[str, str]:
    """Return of what is wanted the part that is granted."""
    return {
        name: "read" if granted[name] == "read" else level
        for name, level in wanted.items()
        if name in granted
    }


def _installation(ref: PullRef) -> int:
    if ref.installation_id is None:
        raise HostMissing(NOT_INSTALLED, final=True)
    return ref.installation_id
