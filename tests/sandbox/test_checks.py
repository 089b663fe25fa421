"""Check runs have GitHub's limits, and the button that asks for them again."""

from typing import Any

import pytest

from sandbox.github import GitHub, Pull
from sandbox.github.checks import rerequest
from tests.sandbox.conftest import Client, Scene

ROOT = "/repos/acme/shop"
NOTE = {"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}


def create(client: Client, pull: Pull, **fields: object) -> Any:  # noqa: ANN401 - JSON
    run = {"name": "Postil", "head_sha": pull.head_sha, **fields}
    return client.post(f"{ROOT}/check-runs", run)


def output(**fields: object) -> dict[str, object]:
    return {"output": {"title": "t", "summary": "s", **fields}}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (output(summary="x" * 65_536), "Only 65535 characters are allowed; 65536 were supplied."),
        (output(annotations=[NOTE] * 51), "No more than 50 items are allowed; 51 were supplied."),
        (output(annotations=[NOTE | {"title": "x" * 256}]), "Only 255 characters are allowed"),
        (output(annotations=[NOTE | {"message": "é" * 40_000}]), "Only 65536 bytes are allowed"),
        ({"actions": [{"label": "a"}] * 4}, "No more than 3 items are allowed; 4 were supplied."),
        ({"actions": [{"label": "x" * 21}]}, "Only 20 characters are allowed; 21 were supplied."),
        ({"actions": [{"description": "x" * 41}]}, "Only 40 characters are allowed"),
        ({"status": "completed"}, '"conclusion" wasn\'t supplied.'),
        ({"conclusion": "stale"}, "stale is not a member of"),
        ({"head_sha": "0" * 40}, "No commit found for SHA"),
        ({"name": ""}, '"name" wasn\'t supplied.'),
    ],
)
def test_what_is_too_large_or_wrong_is_refused(
    client: Client, pull: Pull, fields: dict[str, object], problem: str
) -> None:
    answer = create(client, pull, **fields)
    assert answer.status == 422
    assert problem in answer.data["message"]


def test_what_just_fits_is_taken(client: Client, pull: Pull) -> None:
    notes = [NOTE | {"title": "x" * 255}] * 50
    fields = output(summary="x" * 65_535, annotations=notes)
    assert create(client, pull, **fields).status == 201


def test_annotations_are_added_by_each_update(client: Client, pull: Pull) -> None:
    run = create(client, pull, **output(annotations=[NOTE] * 50)).data
    url = f"{ROOT}/check-runs/{run['id']}"
    client.patch(url, output(annotations=[NOTE] * 20))
    assert client.get(url).data["output"]["annotations_count"] == 70
    page = client.get(f"{url}/annotations?per_page=100")
    assert len(page.data) == 70


def test_a_run_is_found_by_name_and_app(scene: Scene, client: Client, pull: Pull) -> None:
    other = scene.github.create_app("look-alike")
    home = scene.github.install(other, scene.repository.owner)
    stranger = Client(scene.github, scene.github.mint(home).value)
    create(stranger, pull)
    first, second = create(client, pull).data, create(client, pull).data
    create(client, pull, name="Other")
    url = f"{ROOT}/commits/{pull.head_sha}/check-runs?check_name=Postil"
    assert client.get(url).data["total_count"] == 2
    mine = client.get(f"{url}&app_id={scene.app.id}").data["check_runs"]
    assert [one["id"] for one in mine] == [second["id"]]
    every = client.get(f"{url}&app_id={scene.app.id}&filter=all").data["check_runs"]
    assert [one["id"] for one in every] == [second["id"], first["id"]]
    assert stranger.patch(f"{ROOT}/check-runs/{first['id']}", {"status": "queued"}).status == 403


def test_the_button_tells_the_owner_alone(scene: Scene, github: GitHub, pull: Pull) -> None:
    other = github.create_app("look-alike")
    github.install(other, scene.repository.owner)
    create(scene.client, pull)
    rerequest(github, scene.repository.check_runs[0], scene.alice)
    told = [one for one in github.deliveries if one.payload["action"] == "rerequested"]
    assert [one.app for one in told] == [scene.app]
    assert told[0].payload["sender"]["login"] == "alice"
    assert [one["number"] for one in told[0].payload["check_run"]["pull_requests"]] == [1]


def test_a_fork_s_run_names_no_pull(scene: Scene, github: GitHub) -> None:
    fork = scene.repository.fork(github.create_user("bob"))
    fork.commit({"new.py": "x = 3\n"}, branch="two")
    pull = scene.repository.open_pull("two", "From outside", fork.owner, fork=fork)
    assert create(scene.client, pull).data["pull_requests"] == []
