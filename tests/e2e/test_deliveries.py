"""Deliveries at a running server: what is refused, and that one wish is granted once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest

from sandbox.github import CheckRun, Delivery, Pull
from sandbox.serving import ROOT, SERVE, environment
from tests.e2e.conftest import House, Stage, check, spots

GUID = "3e1f4c1e-0000-4000-8000-{:012d}"
Headers = dict[str, str]


def sign_otherwise(headers: Headers) -> None:
    headers["X-Hub-Signature-256"] = f"sha256={'0' * 64}"


def do_not_sign(headers: Headers) -> None:
    del headers["X-Hub-Signature-256"]


def sign_in_another_script(headers: Headers) -> None:
    headers["X-Hub-Signature-256"] = f"sha256={'é' * 64}"


def silent_pull(stage: Stage, name: str) -> Pull:
    """Open a pull request whose webhook is left to the test."""
    repository = stage.create_repository(name)
    with stage.github.quietly():
        return stage.open_pull(repository)


def is_about(run: CheckRun, pull: Pull) -> bool:
    """Tell whether a check run is of a pull request's job: two may share a head."""
    return f":{pull.number}:" in run.external_id


def answer(delivery: Delivery) -> tuple[int, str]:
    return delivery.status_code, json.loads(delivery.response_body)["status"]


@pytest.mark.parametrize("spoil", [sign_otherwise, do_not_sign, sign_in_another_script])
def test_a_delivery_that_github_did_not_sign_is_refused(
    house: House, spoil: Callable[[Headers], None]
) -> None:
    stage = house.stage
    pull = silent_pull(stage, f"forged-{spoil.__name__}")
    postman = stage.github.postman
    delivery = postman.prepare(stage.app, "pull_request", stage.payload(pull, "opened"))
    spoil(delivery.headers)
    assert answer(postman.send(delivery)) == (401, "rejected")
    assert delivery.guid not in stage.deliveries()
    stage.wait_until_done()
    assert stage.writes(pull.repository) == []


def test_a_ping_is_answered(house: House) -> None:
    assert answer(house.stage.github.deliver("ping", {"zen": "Speak like a human."})) == (
        200,
        "pong",
    )


def test_the_same_delivery_twice_is_one_review(house: House) -> None:
    stage = house.stage
    pull = silent_pull(stage, "twice")
    payload = stage.payload(pull, "opened")
    for expected in ("accepted", "duplicate"):
        delivery = stage.github.deliver("pull_request", payload, guid=GUID.format(1))
        assert answer(delivery) == (202, expected)
    stage.wait_until_done()
    assert answer(stage.github.deliver("pull_request", payload, guid=GUID.format(1))) == (
        202,
        "duplicate",
    )
    stage.wait_until_done()
    assert spots(pull) == [("twice.py", 2)]
    assert len(pull.reviews) == 1


def test_two_deliveries_about_one_head_are_one_review(house: House) -> None:
    stage = house.stage
    pull = silent_pull(stage, "twins")
    payloads = [stage.payload(pull, action) for action in ("opened", "synchronize")]
    with ThreadPoolExecutor(2) as pool:
        twins = list(
            pool.map(lambda payload: stage.github.deliver("pull_request", payload), payloads)
        )
    assert sorted(map(answer, twins)) == [(202, "accepted"), (202, "duplicate")]
    assert twins[0].guid != twins[1].guid
    stage.wait_until_done()
    assert spots(pull) == [("twins.py", 2)]
    assert len(pull.reviews) == 1
    check(pull)


def test_two_pulls_at_once_are_two_reviews(house: House) -> None:
    stage = house.stage
    repository = stage.create_repository("busy")
    pulls = [stage.open_pull(repository, branch=branch) for branch in ("one", "two")]
    stage.wait_until_done()
    for pull in pulls:
        assert spots(pull) == [("busy.py", 2)]
        assert len(pull.reviews) == 1
        assert len([run for run in repository.check_runs if is_about(run, pull)]) == 1


def test_a_server_without_a_webhook_secret_does_not_start(tmp_path: Path, house: House) -> None:
    stage = house.stage
    chosen = environment(stage.app, stage.github.url, tmp_path) | stage.choice_of_model()
    del chosen["POSTIL_WEBHOOK_SECRET"]
    done = subprocess.run(
        [sys.executable, *SERVE],
        cwd=ROOT,
        env=chosen,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("postil: set POSTIL_WEBHOOK_SECRET")
    assert list(tmp_path.iterdir()) == []


def test_a_server_says_how_it_is(house: House) -> None:
    for path, expected in (("healthz", "ok"), ("readyz", "ready")):
        with urlopen(f"{house.server.address}/{path}", timeout=10) as response:  # noqa: S310 - loopback
            assert json.load(response)["status"] == expected
    with urlopen(f"{house.server.address}/metrics", timeout=10) as response:  # noqa: S310 - loopback
        assert b"postil_" in response.read()
