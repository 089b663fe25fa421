"""What webhooks did not bring is found again."""

from __future__ import annotations

import pytest

from app.adapters.github import shapes
from app.adapters.github.repair import GitHubRepair
from app.core.repair import ChangedPull
from app.errors import HostLimited, HostUnavailable
from sandbox.github import Installation, Pull
from tests.adapters.github.conftest import NEW, Scene

DAY = 24 * 3600


def _repair(scene: Scene) -> GitHubRepair:
    return GitHubRepair(scene.access())


def _settled(scene: Scene, status: str) -> None:
    for one in scene.github.deliveries:
        one.status = status


def test_failed_deliveries_are_listed_oldest_first(scene: Scene) -> None:
    _settled(scene, "OK")
    since = scene.time.now
    first = scene.github.postman.prepare(scene.app, "pull_request", {"action": "opened"})
    second = scene.github.postman.prepare(scene.app, "ping", {})
    found = _repair(scene).failed_deliveries(since)
    assert [(one.id, one.guid, one.event) for one in found] == [
        (first.id, first.guid, "pull_request"),
        (second.id, second.guid, "ping"),
    ]


def test_a_delivery_that_arrived_on_a_later_attempt_did_not_fail(scene: Scene) -> None:
    _settled(scene, "OK")
    failed = scene.github.postman.prepare(scene.app, "ping", {})
    failed.status = "timed out"
    scene.app.webhook_url = "http://127.0.0.1:9/webhook"
    _repair(scene).redeliver(failed.id)
    scene.github.settle()
    (again,) = [one for one in scene.github.deliveries if one.redelivery]
    assert again.guid == failed.guid
    assert [one.id for one in _repair(scene).failed_deliveries(0)] == [again.id]
    again.status = "OK"
    assert _repair(scene).failed_deliveries(0) == ()


def test_what_can_no_longer_be_sent_is_not_listed(scene: Scene) -> None:
    _settled(scene, "timed out")
    scene.time.now += 3 * DAY + 1
    assert _repair(scene).failed_deliveries(0) == ()


def test_many_deliveries_are_read_to_the_last(scene: Scene) -> None:
    _settled(scene, "OK")
    for _ in range(230):
        scene.github.postman.prepare(scene.app, "ping", {})
    assert len(_repair(scene).failed_deliveries(0)) == 230


def _found(repair: GitHubRepair, since: float = 0) -> dict[str, ChangedPull]:
    """Walk all installations; what is found by the name of its repository."""
    return {
        one.pull.ref.repository: one
        for home in repair.installations()
        for one in repair.changed_pulls(home, since)
    }


def _elsewhere(scene: Scene) -> tuple[Installation, Pull]:
    other = scene.github.create_repository("other/place", {"a": "1\n"})
    home = scene.github.install(scene.app, other.owner)
    other.commit({"a": "2\n"}, branch="x")
    return home, other.open_pull("x", "Elsewhere", author=scene.alice)


def test_open_pulls_that_changed_are_found_in_every_installation(scene: Scene) -> None:
    home, pull = _elsewhere(scene)
    found = _found(_repair(scene))
    assert found.keys() == {"acme/shop", "other/place"}
    assert found["other/place"].pull.ref.installation_id == home.id
    assert found["other/place"].pull.head_sha == pull.head_sha
    assert found["other/place"].opened_at == int(pull.created_at)
    assert found["acme/shop"].pull.ref == scene.ref


def test_what_did_not_change_is_not_told_again_unless_it_is_forgotten(scene: Scene) -> None:
    repair = _repair(scene)
    assert len(_found(repair)) == 1
    assert _found(repair) == {}
    scene.pull.push({"cart.py": NEW + "more\n"})
    assert _found(repair)["acme/shop"].pull.head_sha == scene.pull.head_sha
    repair.forget(scene.installation.id)
    assert len(_found(repair)) == 1


def test_old_changes_and_closed_pulls_are_left_out(scene: Scene) -> None:
    assert _found(_repair(scene), scene.time.now + 1) == {}
    scene.pull.close()
    assert _found(_repair(scene)) == {}


def test_an_archived_repository_is_passed_over(scene: Scene) -> None:
    row = {"id": scene.repository.id, "full_name": "acme/shop", "archived": True}
    scene.inject("GET", "/installation/repositories", body={"repositories": [row]})
    assert _found(_repair(scene)) == {}
    assert scene.github.called("GET", "/pulls") == []


def test_a_repository_that_does_not_let_us_is_left_out(scene: Scene) -> None:
    scene.inject("GET", "/repos/acme/shop/pulls", status=403, times=None)
    assert _found(_repair(scene)) == {}


def test_a_repository_that_cannot_be_read_now_hides_no_other_and_is_told(scene: Scene) -> None:
    second = scene.github.create_repository("acme/second", {"a": "1\n"})
    second.commit({"a": "2\n"}, branch="x")
    second.open_pull("x", "Beside", author=scene.alice)
    scene.inject("GET", "/repos/acme/shop/pulls", status=502, times=None)
    walk = _repair(scene).changed_pulls(scene.installation.id, 0)
    assert next(iter(walk)).pull.ref.repository == "acme/second"
    with pytest.raises(HostUnavailable):
        next(iter(walk))


def test_a_suspended_installation_is_passed_over(scene: Scene) -> None:
    scene.github.suspend(scene.installation)
    assert _repair(scene).installations() == ()


def test_repair_leaves_the_last_tenth_of_the_hourly_limit_alone(scene: Scene) -> None:
    access = scene.access()
    client = access.client(scene.ref)
    home = "/repos/acme/shop"
    client.read(shapes.Repository, home)
    scene.github.tokens[access.token(scene.ref)].used = 4600
    client.read(shapes.Repository, home)
    with pytest.raises(HostLimited):
        client.read(shapes.Repository, home, spare=True)
    with pytest.raises(HostLimited):
        list(GitHubRepair(access).changed_pulls(scene.installation.id, 0))
