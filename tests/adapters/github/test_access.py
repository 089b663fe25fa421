"""Keys: read in every form people keep them in, tokens narrowed, cached and renewed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.adapters.github.access import GitHubToken, code_url, read_private_key
from app.adapters.github.reading import GitHubPulls
from app.adapters.github.repair import GitHubRepair
from app.adapters.github.talk import fetch_talk
from app.errors import HostMissing, HostRefused, SettingsError
from tests.adapters.github.conftest import Scene

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
).decode()


def _private(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kind: str) -> str:
    locked = serialization.BestAvailableEncryption(b"secret")
    forms = {"openssh": serialization.PrivateFormat.OpenSSH}
    return key.private_bytes(
        serialization.Encoding.PEM,
        forms.get(kind, serialization.PrivateFormat.PKCS8),
        locked if kind == "locked" else serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize(
    "form",
    [
        PEM,
        PEM.strip(),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "\\r\\n"),
        PEM.replace("\n", "\r"),
        PEM.replace("\n", " "),
        base64.b64encode(PEM.encode()).decode(),
        base64.encodebytes(PEM.replace("\n", "\r\n").encode()).decode(),
        _private(KEY, "pkcs8"),
    ],
)
def test_a_key_is_read_in_every_form_people_keep_it_in(form: str) -> None:
    again = serialization.load_pem_private_key(read_private_key(form).encode(), None)
    assert isinstance(again, rsa.RSAPrivateKey)
    assert again.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("", "neither a PEM key nor"),
        ("hunter2 hunter2", "neither a PEM key nor"),
        (base64.b64encode(b"hunter2").decode(), "neither a PEM key nor"),
        (PEM[:400], "cut or damaged"),
        (PEM.replace("A", "!"), "cut or damaged"),
        (_private(KEY, "openssh"), "OpenSSH"),
        (_private(KEY, "locked"), "passphrase"),
        (_private(ec.generate_private_key(ec.SECP256R1()), "pkcs8"), "not an RSA key"),
        (
            KEY.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
            "public key",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_named_and_never_shown(form: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as error:
        read_private_key(form)
    assert error.value.message.startswith("POSTIL_GITHUB_PRIVATE_KEY ")
    words = {word for word in form.split() if len(word) > 12 and "-" not in word}
    assert not any(word in str(error.value) for word in words)


def test_a_token_is_for_one_repository_and_three_permissions(scene: Scene) -> None:
    scene.fetch()
    (minted,) = scene.github.called("POST", "access_tokens")
    assert json.loads(minted.body) == {
        "permissions": {"contents": "read", "pull_requests": "write", "checks": "write"},
        "repository_ids": [scene.repository.id],
    }


def test_a_token_is_kept_until_five_minutes_before_its_end(scene: Scene) -> None:
    access = scene.access()
    first = access.token(scene.ref)
    scene.time.now += 3600 - 301
    assert access.token(scene.ref) == first
    scene.time.now += 2
    assert access.token(scene.ref) != first
    assert len(scene.github.called("POST", "access_tokens")) == 2


def test_many_threads_share_one_token(scene: Scene) -> None:
    access = scene.access()
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: access.token(scene.ref), range(8)))
    assert len(tokens) == 1
    assert len(scene.github.called("POST", "access_tokens")) == 1


def test_a_refused_token_is_renewed_once_and_the_call_repeated(scene: Scene) -> None:
    pulls = GitHubPulls(scene.access())
    pulls.fetch_pull(scene.ref)
    scene.github.expire_tokens()
    assert pulls.fetch_pull(scene.ref).head_sha == scene.pull.head_sha
    assert len(scene.github.called("POST", "access_tokens")) == 2


def test_a_write_refused_for_its_token_is_made_once(scene: Scene) -> None:
    access = scene.access()
    reviews, pull, review = scene.reviews(access), scene.fetch(), scene.review(2)
    reviews.fetch_said(pull)
    scene.inject("POST", "/reviews$", status=401, body={"message": "Bad credentials"})
    reviews.post(pull, review)
    assert scene.lines_said() == [1, 2]


def test_a_second_refusal_ends_the_call(scene: Scene) -> None:
    scene.inject("GET", "/pulls/1$", status=401, times=None, body={"message": "Bad credentials"})
    with pytest.raises(HostRefused) as error:
        scene.fetch()
    assert error.value.status == 401
    assert len(scene.github.called("GET", "/pulls/1$")) == 2


def test_an_installation_that_grants_less_gets_a_token_for_the_rest(scene: Scene) -> None:
    scene.installation.permissions.pop("checks")
    scene.installation.permissions["pull_requests"] = "read"
    assert scene.fetch().title == "Rewrite it"
    asked = json.loads(scene.github.called("POST", "access_tokens")[-1].body)
    assert asked["permissions"] == {"contents": "read", "pull_requests": "read"}


def test_a_repository_outside_of_the_installation_is_missing(scene: Scene) -> None:
    other = scene.github.create_repository("other/place", {"a": "b"})
    ref = replace(scene.ref, repository_id=other.id, repository="other/place")
    with pytest.raises(HostMissing, match="not installed"):
        GitHubPulls(scene.access()).fetch_pull(ref)


@pytest.mark.parametrize("end", ["suspend", "uninstall"])
def test_an_installation_that_is_gone_is_not_asked_again_and_again(scene: Scene, end: str) -> None:
    getattr(scene.github, end)(scene.installation)
    with pytest.raises((HostMissing, HostRefused)):
        scene.access().token(scene.ref)
    assert len(scene.github.called("POST", "access_tokens")) == 1


@pytest.mark.parametrize("seconds", [-90, 90])
def test_a_clock_that_is_off_by_a_minute_and_a_half_does_no_harm(
    scene: Scene, seconds: float
) -> None:
    access = scene.access(clock=lambda: scene.time.now + seconds)
    assert access.check_key() == "postil"


def test_a_jwt_is_good_for_a_clock_up_to_two_minutes_off(scene: Scene) -> None:
    claims = jwt.decode(scene.access().as_app._auth.token, options={"verify_signature": False})
    now = scene.time.now
    assert claims["iat"] <= now - 120
    assert now + 120 < claims["exp"] <= now + 600 - 120


@pytest.mark.parametrize(("seconds", "side"), [(86_400, "ahead of"), (-86_400, "behind")])
def test_a_clock_that_is_off_by_a_day_is_said_to_be(
    scene: Scene, seconds: float, side: str
) -> None:
    access = scene.access(clock=lambda: scene.time.now + seconds)
    with pytest.raises(HostRefused, match=f"clock is 86400 s {side} GitHub's"):
        access.check_key()


def test_a_wrong_key_is_refused_in_one_call(scene: Scene) -> None:
    access = scene.access()
    wrong = type(access)(scene.app.id, PEM, scene.github.url, clock=scene.time)
    with pytest.raises(HostRefused) as error:
        wrong.check_key()
    assert error.value.status == 401
    assert len(scene.github.calls) == 1


def test_what_is_said_comes_with_who_we_are(scene: Scene) -> None:
    assert fetch_talk(scene.access().client(scene.ref), scene.ref).us == scene.app.bot.id


def test_a_token_serves_one_job_and_the_installation_s_pace_all_of_them(scene: Scene) -> None:
    access = scene.access()
    jobs = [access.for_one_job() for _ in range(2)]
    for _ in range(2):
        for job in jobs:
            GitHubPulls(job).fetch_pull(scene.ref)
    assert len(scene.github.called("POST", "/access_tokens$")) == 2
    assert jobs[0].token(scene.ref) != jobs[1].token(scene.ref)
    assert len({id(job.client(scene.ref).quota) for job in jobs}) == 1


def test_a_token_for_all_repositories_only_reads(scene: Scene) -> None:
    changed = GitHubRepair(scene.access()).changed_pulls(scene.installation.id, 0)
    assert [one.pull.ref for one in changed] == [scene.ref]
    (minted,) = scene.github.called("POST", "/access_tokens$")
    assert json.loads(minted.body) == {"permissions": {"pull_requests": "read"}}


def _token(scene: Scene, value: str) -> GitHubToken:
    return GitHubToken(value, scene.github.url, clock=scene.time, sleep=scene.time.sleep)


def test_a_person_s_token_finds_a_pull_by_name_and_knows_whose_it_is(scene: Scene) -> None:
    access = _token(scene, scene.github.user_token(scene.alice).value)
    ref = access.find_pull("acme/shop", 1)
    assert ref.repository_id == scene.repository.id
    assert fetch_talk(access.client(ref), ref).us == scene.alice.id
    assert GitHubPulls(access).fetch_pull(ref).title == "Rewrite it"


def test_a_job_s_token_is_the_app_s(scene: Scene) -> None:
    access = _token(scene, scene.github.mint(scene.installation).value)
    assert fetch_talk(access.client(scene.ref), scene.ref).us == scene.app.bot.id


@pytest.mark.parametrize(
    ("api_url", "address"),
    [
        ("https://api.github.com", "https://github.com/o/r.git"),
        ("https://code.example.org/api/v3", "https://code.example.org/o/r.git"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com/o/r.git"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/o/r.git"),
    ],
)
def test_git_fetches_from_beside_the_api(api_url: str, address: str) -> None:
    assert code_url(api_url, "o/r") == address


def test_an_enterprise_server_is_reached_under_its_prefix(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(prefix="/api/v3")
    assert scene.reviews().post(scene.fetch(), scene.review(1)).comments == 1
