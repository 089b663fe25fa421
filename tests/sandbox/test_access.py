"""Who may do what: App JWTs, installation tokens, people's tokens, names that moved."""

from dataclasses import replace

import jwt
import pytest

from sandbox.github import App, GitHub
from tests.sandbox.conftest import Answer, Client, Scene

ROOT = "/repos/acme/shop"
HOUR = 3600


def as_app(scene: Scene, key: App | None = None, /, **claims: object) -> Client:
    now = int(scene.github.now())
    whole = {"iat": now - 60, "exp": now + 540, "iss": str(scene.app.id)} | claims
    signer = key or scene.app
    return Client(scene.github, jwt.encode(whole, signer.private_key, "RS256"))


def mint(scene: Scene, **wanted: object) -> Answer:
    url = f"/app/installations/{scene.installation.id}/access_tokens"
    return as_app(scene).post(url, wanted)


@pytest.mark.parametrize(
    ("shift", "status"),
    [
        ({"iat": 0, "exp": 540}, 200),
        ({"iat": 59, "exp": 540}, 200),
        ({"iat": 90, "exp": 540}, 401),
        ({"iat": -60, "exp": -1}, 401),
        ({"iat": -60, "exp": 700}, 401),
        ({"iat": -700, "exp": 60}, 401),
    ],
)
def test_a_jwt_lives_ten_minutes_by_githubs_clock(
    scene: Scene, shift: dict[str, int], status: int
) -> None:
    scene.github.clock = lambda: 1_900_000_000.0
    claims = {name: 1_900_000_000 + seconds for name, seconds in shift.items()}
    answer = as_app(scene, **claims).get("/app")
    assert answer.status == status
    assert answer.headers["Date"] == "Sun, 17 Mar 2030 17:46:40 GMT"


def test_a_jwt_of_another_key_is_refused(scene: Scene) -> None:
    stranger = scene.github.create_app("stranger")
    answer = as_app(scene, stranger).get("/app")
    assert (answer.status, answer.data["message"]) == (
        401,
        "A JSON web token could not be decoded",
    )


def test_a_token_lives_an_hour(scene: Scene) -> None:
    start = scene.github.now()
    scene.github.clock = lambda: start
    client = Client(scene.github, mint(scene).data["token"])
    assert client.get(ROOT).status == 200
    scene.github.clock = lambda: start + HOUR - 1
    assert client.get(ROOT).status == 200
    scene.github.clock = lambda: start + HOUR
    answer = client.get(ROOT)
    assert (answer.status, answer.data["message"]) == (401, "Bad credentials")


def test_a_token_can_be_made_to_expire_after_some_calls(scene: Scene) -> None:
    scene.github.token_calls = 2
    client = Client(scene.github, mint(scene).data["token"])
    assert [client.get(ROOT).status for _ in range(3)] == [200, 200, 401]


def test_a_token_is_narrowed_to_permissions(scene: Scene) -> None:
    client = Client(scene.github, mint(scene, permissions={"contents": "read"}).data["token"])
    assert client.get(f"{ROOT}/contents/cart.py").status == 200
    answer = client.get(f"{ROOT}/pulls/1")
    assert (answer.status, answer.data["message"]) == (
        403,
        "Resource not accessible by integration",
    )
    assert answer.headers["X-Accepted-GitHub-Permissions"] == "pull_requests=read"
    assert mint(scene, permissions={"contents": "write"}).status == 422


def test_a_token_is_narrowed_to_repositories(scene: Scene) -> None:
    scene.github.create_repository("acme/other", {"a": "b"})
    whole = Client(scene.github, mint(scene).data["token"])
    assert whole.get("/repos/acme/other").status == 200
    narrow = mint(scene, repository_ids=[scene.repository.id])
    client = Client(scene.github, narrow.data["token"])
    assert client.get("/repos/acme/other").status == 404
    assert client.get("/installation/repositories").data["total_count"] == 1
    assert mint(scene, repository_ids=[7]).status == 422


def test_a_permission_that_was_taken_away_counts_at_once(scene: Scene) -> None:
    del scene.installation.permissions["checks"]
    run = {"name": "Postil", "head_sha": scene.pull.head_sha}
    answer = scene.client.post(f"{ROOT}/check-runs", run)
    assert answer.status == 403
    assert answer.headers["X-Accepted-GitHub-Permissions"] == "checks=write"


def test_a_suspended_installation_is_refused_and_an_uninstalled_one_is_gone(scene: Scene) -> None:
    scene.github.suspend(scene.installation)
    assert mint(scene).status == 403
    assert scene.client.get(ROOT).status == 403
    scene.github.uninstall(scene.installation)
    assert mint(scene).status == 404
    assert scene.client.get(ROOT).status == 401
    assert as_app(scene).get(f"{ROOT}/installation").status == 404


def test_a_person_cannot_write_check_runs(scene: Scene) -> None:
    client = Client(scene.github, scene.github.user_token(scene.alice).value)
    assert client.get(f"{ROOT}/pulls/1").status == 200
    run = {"name": "Postil", "head_sha": scene.pull.head_sha}
    assert client.post(f"{ROOT}/check-runs", run).status == 403


def test_a_stranger_sees_public_repositories_only(scene: Scene) -> None:
    scene.github.create_repository("open/source", {"a": "b"}, private=False)
    stranger = Client(
        scene.github, scene.github.user_token(scene.github.create_user("mallory")).value
    )
    assert stranger.get(ROOT).status == 404
    assert stranger.get("/repos/open/source").status == 200
    assert Client(scene.github).get("/repos/open/source").status == 200
    assert Client(scene.github).get(ROOT).status == 404
    assert Client(scene.github).get("/user").status == 401


@pytest.mark.parametrize(
    ("level", "permission"),
    [
        ("read", "read"),
        ("triage", "read"),
        ("write", "write"),
        ("maintain", "write"),
        ("admin", "admin"),
        ("none", "none"),
    ],
)
def test_a_role_is_shown_coarsely_and_exactly(scene: Scene, level: str, permission: str) -> None:
    scene.repository.grant(scene.alice, level)
    shown = scene.client.get(f"{ROOT}/collaborators/alice/permission").data
    assert (shown["permission"], shown["role_name"]) == (permission, level)
    assert scene.client.get(f"{ROOT}/collaborators/nobody/permission").status == 404


def test_an_old_name_redirects_to_the_number(scene: Scene) -> None:
    scene.github.rename(scene.repository, "acme/store")
    answer = scene.client.get(f"{ROOT}/pulls/1?a=b")
    number = scene.repository.id
    assert answer.status == 301
    assert answer.headers["Location"] == f"{scene.github.url}/repositories/{number}/pulls/1?a=b"
    assert scene.client.get(f"/repositories/{number}/pulls/1").status == 200
    assert scene.client.get(f"/repositories/{number}").data["full_name"] == "acme/store"


def test_calls_are_counted_and_unchanged_answers_are_not(scene: Scene) -> None:
    first = scene.client.get(f"{ROOT}/pulls")
    left = int(first.headers["X-RateLimit-Remaining"])
    again = scene.client.get(f"{ROOT}/pulls", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    third = scene.client.get(f"{ROOT}/pulls")
    assert int(third.headers["X-RateLimit-Remaining"]) == left - 1
    scene.pull.edit(scene.alice, title="Changed")
    assert (
        scene.client.get(f"{ROOT}/pulls", **{"If-None-Match": first.headers["ETag"]}).status == 200
    )


def test_an_exhausted_limit_refuses_until_its_reset(scene: Scene) -> None:
    scene.github.limits = replace(scene.github.limits, requests_per_hour=2)
    answers = [scene.client.get(ROOT) for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 403]
    assert answers[2].headers["X-RateLimit-Remaining"] == "0"
    reset = int(answers[2].headers["X-RateLimit-Reset"])
    scene.github.clock = lambda: reset + 1.0
    fresh = Client(scene.github, scene.github.mint(scene.installation).value)
    assert fresh.get(ROOT).status == 200


def test_writing_too_fast_is_refused_for_a_while(scene: Scene) -> None:
    scene.github.dispatcher.contents_per_minute = 2
    url = f"{ROOT}/issues/1/comments"
    answers = [scene.client.post(url, {"body": "x"}) for _ in range(3)]
    assert [one.status for one in answers] == [201, 201, 403]
    assert "secondary rate limit" in answers[2].data["message"]
    assert answers[2].headers["Retry-After"] == "60"


def test_an_unknown_endpoint_is_remembered(github: GitHub, client: Client) -> None:
    assert client.get(f"{ROOT}/secrets").status == 404
    assert [one.path for one in github.unexpected] == [f"{ROOT}/secrets"]
    assert github.called("GET", "secrets")[0].status == 404
