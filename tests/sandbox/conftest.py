"""A small GitHub for every test here, and a client that shows answers as they are."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox.github import App, GitHub, Installation, Pull, Repository, User

NUMBERED = "".join(f"line {number}\n" for number in range(1, 41))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `data` is the JSON in it, if it is JSON."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """Calls a GitHub with a token and follows nothing."""

    github: GitHub
    token: str | None = None

    def call(
        self, method: str, path: str, data: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        url = path if path.startswith("http") else self.github.url + path
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        body = None if data is None else json.dumps(data).encode()
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, data: object) -> Answer:
        return self.call("POST", path, data)

    def patch(self, path: str, data: object) -> Answer:
        return self.call("PATCH", path, data)


@dataclass(frozen=True, slots=True)
class Scene:
    """One App on one repository with one pull request of one changed file and one new one."""

    github: GitHub
    app: App
    repository: Repository
    installation: Installation
    alice: User
    pull: Pull
    client: Client


def build_scene(github: GitHub) -> Scene:
    app = github.create_app()
    repository = github.create_repository("acme/shop", {"cart.py": NUMBERED, "notes.md": "a\n"})
    installation = github.install(app, repository.owner)
    alice = github.create_user("alice")
    repository.grant(alice, "write")
    changed = NUMBERED.replace("line 20\n", "line twenty\nand a half\n")
    repository.commit({"cart.py": changed, "new.py": "x = 1\n"}, branch="one", author=alice)
    pull = repository.open_pull("one", "Twenty and a half", alice, body="Why not?")
    client = Client(github, github.mint(installation).value)
    return Scene(github, app, repository, installation, alice, pull, client)


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as github:
        yield github


@pytest.fixture
def scene(github: GitHub) -> Scene:
    return build_scene(github)


@pytest.fixture
def client(scene: Scene) -> Client:
    return scene.client


@pytest.fixture
def pull(scene: Scene) -> Pull:
    return scene.pull


@pytest.fixture
def repository(scene: Scene) -> Repository:
    return scene.repository
