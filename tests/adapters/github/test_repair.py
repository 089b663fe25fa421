"""What webhooks did not bring is found again."""

from __future__ import annotations

import pytest

from app.adapters.github import shapes
from app.adapters.github.repair import GitHubRepair
from app.errors import HostLimited
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


def test_open_pulls_that_changed_are_found_in_every_installation(scene: Scene) -> None:
    other = scene.github.create_repository("other/place", {"a": "1\n"})
    home = scene.github.install(scene.app, other.owner)
    other.commit({"a": "2\n"}, branch="x")
    pull = other.open_pull("x", "Elsewhere", author=scene.alice)
    found = {one.ref.repository: one for one in _repair(scene).changed_pulls(0)}
    assert found.keys() == {"acme/shop", "other/place"}
    assert found["other/place"].ref.installation_id == home.id
    assert found["other/place"].head_sha == pull.head_sha
    assert found["acme/shop"].ref == scene.ref


def test_what_did_not_change_is_not_told_again(scene: Scene) -> None:
    repair = _repair(scene)
    assert len(list(repair.changed_pulls(0))) == 1
    assert list(repair.changed_pulls(0)) == []
    scene.pull.push({"cart.py": NEW + "more\n"})
    (found,) = repair.changed_pulls(0)
    assert found.head_sha == scene.pull.head_sha


def test_old_changes_and_closed_pulls_are_left_out(scene: Scene) -> None:
    assert list(_repair(scene).changed_pulls(scene.time.now + 1)) == []
    scene.pull.close()
    assert list(_repair(scene).changed_pulls(0)) == []


def test_an_installation_that_cannot_be_read_does_not_hide_the_others(scene: Scene) -> None:
    other = scene.github.create_repository("other/place", {"a": "1\n"})
    scene.github.install(scene.app, other.owner)
    other.commit({"a": "2\n"}, branch="x")
    other.open_pull("x", "Elsewhere", author=scene.alice)
    scene.inject("POST", f"/{scene.installation.id}/access_tokens", status=404, times=None)
    assert [one.ref.repository for one in _repair(scene).changed_pulls(0)] == ["other/place"]


def test_a_suspended_installation_is_passed_over(scene: Scene) -> None:
    scene.github.suspend(scene.installation)
    assert list(_repair(scene).changed_pulls(0)) == []
    assert scene.github.called("POST", "access_tokens") == []


def test_repair_leaves_the_last_tenth_of_the_hourly_limit_alone(scene: Scene) -> None:
    access = scene.access()
    client = access.client(scene.ref)
    home = "/repos/acme/shop"
    client.read(shapes.Repository, home)
    scene.github.tokens[access.token(scene.ref)].used = 4600
    client.read(shapes.Repository, home)
    with pytest.raises(HostLimited):
        client.read(shapes.Repository, home, spare=True)
    assert list(GitHubRepair(access).changed_pulls(0)) == []
