"""Pull requests and their files, at GitHub's limits and past them."""

from dataclasses import replace

from sandbox.github import EXECUTABLE, SUBMODULE, Blob, GitHub, Pull, Repository
from tests.sandbox.conftest import NUMBERED, Client, Scene

ROOT = "/repos/acme/shop"


def open_with(scene: Scene, changes: dict[str, bytes | str | Blob | None]) -> Pull:
    scene.repository.commit(changes, branch="many")
    return scene.repository.open_pull("many", "Many", scene.alice)


def test_files_come_in_pages(scene: Scene) -> None:
    pull = open_with(scene, {f"f{number:03}": "x\n" for number in range(65)})
    url = f"{ROOT}/pulls/{pull.number}/files"
    first = scene.client.get(url)
    assert len(first.data) == 30
    page = f"{scene.github.url}/repositories/{scene.repository.id}/pulls/{pull.number}/files"
    assert first.headers["Link"] == f'<{page}?page=2>; rel="next", <{page}?page=3>; rel="last"'
    last = scene.client.get(f"{page}?page=3")
    assert len(last.data) == 5
    assert 'rel="next"' not in last.headers["Link"]
    assert len(scene.client.get(f"{url}?per_page=500").data) == 65
    assert scene.client.get(f"{ROOT}/pulls/{pull.number}").data["changed_files"] == 65


def test_the_list_of_files_ends_somewhere(scene: Scene) -> None:
    scene.github.limits = replace(scene.github.limits, files_listed=3)
    pull = open_with(scene, dict.fromkeys("abcde", "x\n"))
    shown = scene.client.get(f"{ROOT}/pulls/{pull.number}/files").data
    assert [one["filename"] for one in shown] == ["a", "b", "c"]
    assert scene.client.get(f"{ROOT}/pulls/{pull.number}").data["changed_files"] == 5


def test_each_kind_of_change_is_named(scene: Scene) -> None:
    scene.repository.commit(
        {"old.py": NUMBERED, "run.sh": "#!/bin/sh\n", "gone.py": "a\n", "pic": b"\0\1"},
        branch="main",
    )
    pull = open_with(
        scene,
        {
            "old.py": None,
            "moved.py": NUMBERED,
            "run.sh": Blob(b"#!/bin/sh\n", EXECUTABLE),
            "gone.py": None,
            "pic": b"\0\2",
            "empty": "",
            "lib": Blob(b"1" * 40, SUBMODULE),
        },
    )
    files = scene.client.get(f"{ROOT}/pulls/{pull.number}/files").data
    shown = {one["filename"]: (one["status"], "patch" in one) for one in files}
    assert shown == {
        "moved.py": ("renamed", False),
        "run.sh": ("changed", False),
        "gone.py": ("removed", True),
        "pic": ("modified", False),
        "empty": ("added", False),
        "lib": ("added", True),
    }
    moved = next(one for one in files if one["filename"] == "moved.py")
    assert moved["previous_filename"] == "old.py"


def test_odd_paths_arrive_byte_for_byte(scene: Scene) -> None:
    paths = {"x b/y.py", "é.py", 'quo"te\\.py', "tab\tand\nline", "-rf", ":(top)"}
    pull = open_with(scene, dict.fromkeys(paths, "x\n"))
    files = scene.client.get(f"{ROOT}/pulls/{pull.number}/files").data
    assert {one["filename"] for one in files} == paths
    assert all(one["patch"] == "@@ -0,0 +1 @@\n+x" for one in files)


def test_large_patches_are_left_out(scene: Scene) -> None:
    scene.github.limits = replace(scene.github.limits, patch_lines=10, diff_bytes=40)
    pull = open_with(scene, {"a": "x\n", "b": "x\n" * 20, "c": "x\n" * 9, "d": "x\n" * 9})
    files = scene.client.get(f"{ROOT}/pulls/{pull.number}/files").data
    assert [one["filename"] for one in files if "patch" in one] == ["a"]
    assert files[1]["additions"] == 20


def test_a_diff_is_sent_whole_or_refused(scene: Scene) -> None:
    accept = {"Accept": "application/vnd.github.v3.diff"}
    url = f"{ROOT}/pulls/1"
    diff = scene.client.get(url, **accept)
    assert diff.headers["Content-Type"] == "application/vnd.github.diff; charset=utf-8"
    assert diff.body.startswith(b"diff --git a/cart.py b/cart.py\n")
    patch = scene.client.get(url, Accept="application/vnd.github.patch")
    assert b"Subject: [PATCH]" in patch.body
    scene.github.limits = replace(scene.github.limits, diff_files=1)
    refused = scene.client.get(url, **accept)
    assert refused.status == 406
    assert refused.data["message"] == (
        "Sorry, the diff exceeded the maximum number of files (1). Consider using 'List pull "
        "requests files' API or locally cloning the repository instead."
    )
    error = {"resource": "PullRequest", "field": "diff", "code": "too_large"}
    assert refused.data["errors"] == [error]
    scene.github.limits = replace(scene.github.limits, diff_files=300, diff_lines=3)
    assert "lines (3)" in scene.client.get(url, **accept).data["message"]


def test_a_pull_from_a_fork_outlives_the_fork(scene: Scene, github: GitHub) -> None:
    fork = scene.repository.fork(github.create_user("bob"))
    fork.commit({"new.py": "x = 3\n"}, branch="two")
    pull = scene.repository.open_pull("two", "From outside", fork.owner, fork=fork)
    url = f"{ROOT}/pulls/{pull.number}"
    shown = scene.client.get(url).data
    assert shown["head"]["repo"]["full_name"] == "bob/shop"
    assert shown["head"]["label"] == "bob:two"
    github.delete_repository(fork)
    shown = scene.client.get(url).data
    assert shown["head"]["repo"] is None
    assert scene.client.get(f"{url}/files").data[0]["filename"] == "new.py"


def test_pulls_are_listed_by_state_and_time(scene: Scene, github: GitHub) -> None:
    second = open_with(scene, {"a": "x\n"})
    at = github.now()
    github.clock = lambda: at + 60
    scene.pull.edit(scene.alice, body="newest")
    url = f"{ROOT}/pulls?sort=updated&direction=desc"
    assert [one["number"] for one in scene.client.get(url).data] == [1, 2]
    assert [one["number"] for one in scene.client.get(f"{ROOT}/pulls").data] == [2, 1]
    second.close()
    assert [one["number"] for one in scene.client.get(f"{ROOT}/pulls").data] == [1]
    closed = scene.client.get(f"{ROOT}/pulls?state=closed").data
    assert [one["number"] for one in closed] == [2]


def test_a_merge_moves_the_base(scene: Scene, repository: Repository, pull: Pull) -> None:
    merged = pull.merge(scene.alice)
    assert repository.git.branches()["main"] == merged
    assert repository.git.entry(merged, "new.py")
    shown = scene.client.get(f"{ROOT}/pulls/1").data
    assert (shown["state"], shown["merged"]) == ("closed", True)
    pull.push({"new.py": "x = 9\n"})
    assert (
        scene.client.get(f"{ROOT}/pulls/1").data["head"]["sha"] != repository.git.branches()["one"]
    )


def test_a_comparison_starts_at_the_merge_base(client: Client, repository: Repository) -> None:
    repository.commit({"notes.md": "b\n"}, branch="main")
    shown = client.get(f"{ROOT}/compare/main...one").data
    assert (shown["status"], shown["ahead_by"], shown["behind_by"]) == ("diverged", 1, 1)
    assert {one["filename"] for one in shown["files"]} == {"cart.py", "new.py"}
    assert client.get(f"{ROOT}/compare/main...nowhere").status == 404
    assert client.get(f"{ROOT}/commits/{'0' * 40}").status == 422
