"""Pull requests are read whole, at one head, in one repository, or not at all."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.git import fetch_commits
from app.adapters.github.access import GitHubToken
from app.adapters.github.reading import GitHubPulls
from app.core.diff import ChangeKind, RawFile
from app.core.pull import PullRequest
from app.errors import HostMissing, HostRefused, HostUnavailable
from app.ports import RawDiff
from sandbox.github import GitHub
from sandbox.github.http import Reply, Request
from tests.adapters.github.conftest import NEW, Scene


def _pulls(scene: Scene, store: Path | None = None) -> GitHubPulls:
    access = scene.access()

    def fill(pull: PullRequest, base_sha: str) -> RawDiff:
        assert store is not None
        url, token = access.code_url(pull.ref), access.token(pull.ref)
        objects = fetch_commits(store, url, (base_sha, pull.head_sha), token)
        return objects.diff_raw(base_sha, pull.head_sha)

    return GitHubPulls(access, fill if store else None)


def _diff(scene: Scene, store: Path | None = None) -> RawDiff:
    pulls = _pulls(scene, store)
    return pulls.fetch_diff(pulls.fetch_pull(scene.ref))


def _paths(diff: RawDiff) -> list[str]:
    return sorted(file.path for file in diff.files)


def test_everything_known_of_a_pull_is_read(scene: Scene) -> None:
    pull = scene.fetch()
    assert (pull.title, pull.body, pull.author, pull.open) == ("Rewrite it", "", "alice", True)
    assert (pull.author_id, pull.author_is_bot) == (scene.alice.id, False)
    assert (pull.base_branch, pull.head_branch) == ("main", "one")
    assert (pull.base_sha, pull.head_sha) == (scene.pull.base_sha, scene.pull.head_sha)
    assert (pull.changed_files, pull.additions, pull.deletions) == (1, 60, 60)
    assert pull.head_repository_id == scene.repository.id
    assert pull.ref == scene.ref
    assert pull.url.endswith("/acme/shop/pull/1")


def test_a_fork_that_was_deleted_leaves_a_pull_without_a_head_repository(scene: Scene) -> None:
    fork = scene.repository.fork(scene.alice)
    fork.commit({"cart.py": "x\n"}, branch="two")
    pull = scene.repository.open_pull("two", "From a fork", author=scene.alice, fork=fork)
    scene.github.delete_repository(fork)
    ref = replace(scene.ref, number=pull.number)
    assert GitHubPulls(scene.access()).fetch_pull(ref).head_repository_id is None


def test_a_pull_that_is_not_there_yet_is_waited_for_and_then_gone(scene: Scene) -> None:
    scene.inject("GET", "/pulls/1$", status=404, times=2)
    assert scene.fetch().title == "Rewrite it"
    with pytest.raises(HostMissing):
        GitHubPulls(scene.access()).fetch_pull(replace(scene.ref, number=99))
    assert 5 <= sum(scene.time.slept) <= 10


def test_a_renamed_repository_gives_its_new_name(scene: Scene) -> None:
    ref = scene.ref
    scene.github.rename(scene.repository, "acme/market")
    pull = GitHubPulls(scene.access()).fetch_pull(ref)
    assert pull.ref == replace(ref, repository="acme/market")
    calls = len(scene.github.calls)
    GitHubPulls(scene.access()).fetch_diff(pull)
    assert all(one.status == 200 for one in scene.github.calls[calls + 1 :])


def test_another_repository_under_the_old_name_is_refused_at_once(scene: Scene) -> None:
    token = scene.github.user_token(scene.alice).value
    access = GitHubToken(token, scene.github.url, clock=scene.time, sleep=scene.time.sleep)
    ref = replace(scene.ref, repository_id=scene.repository.id + 1)
    with pytest.raises(HostMissing, match="another repository") as error:
        GitHubPulls(access).fetch_pull(ref)
    assert error.value.data["final"] is True
    assert scene.time.slept == []


def test_a_redirect_to_another_host_ends_the_read(scene: Scene) -> None:
    with GitHub() as canary:
        scene.inject("GET", "/pulls/1", status=301, times=None, location=f"{canary.url}/x")
        with pytest.raises(HostRefused):
            scene.fetch()
        assert canary.calls == []


@pytest.mark.parametrize("status", [410, 451])
def test_a_repository_that_was_taken_down_is_missing(scene: Scene, status: int) -> None:
    scene.inject("GET", "/pulls/1$", status=status, times=None)
    with pytest.raises(HostMissing):
        scene.fetch()


# Files.


def test_many_files_are_read_page_by_page_and_each_once(scene: Scene) -> None:
    scene.pull.push({f"f{number:03}.py": f"{number}\n" for number in range(250)})
    diff = _diff(scene)
    assert len(diff.files) == 251
    assert len(set(_paths(diff))) == 251
    assert len(scene.github.called("GET", "/files$")) == 3
    assert diff.notes == ()


def test_pages_whose_number_is_known_are_read_side_by_side(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.pull.push({f"f{number:03}.py": f"{number}\n" for number in range(250)})
    together = threading.Barrier(3)
    respond = scene.github._server.respond

    def respond_together(request: Request) -> Reply:
        if request.path.endswith("/files"):
            together.wait(10)
        return respond(request)

    monkeypatch.setattr(scene.github._server, "respond", respond_together)
    paths = _paths(_diff(scene))
    assert paths == sorted(paths)
    assert len(paths) == 251


def test_every_kind_of_change_is_told(scene: Scene) -> None:
    scene.pull.push({"notes.md": None, "more/notes.md": "a\n", "b.bin": b"\0\1", "empty": ""})
    found = {file.path: file for file in _diff(scene).files}
    assert found["more/notes.md"].kind is ChangeKind.RENAMED
    assert found["more/notes.md"].old_path == "notes.md"
    assert found["b.bin"].patch is None
    assert found["empty"].patch == ""


def test_an_empty_file_that_comes_or_goes_is_no_binary_one(scene: Scene) -> None:
    main = scene.repository.commit({"old": "", "old.bin": b"\0"}, branch="main")
    changes: tuple[dict[str, bytes | str | None], ...] = (
        {"old": None, "old.bin": None},
        {"new": "", "new.bin": b"\0"},
    )
    for files in changes:
        scene.repository.commit(files, branch="one", parent=main)
        patches = {file.path.partition(".")[2]: file.patch for file in _diff(scene).files}
        assert patches == {"": "", "bin": None}


def test_pages_that_shift_while_they_are_read_name_no_file_twice(scene: Scene) -> None:
    scene.pull.push({f"f{number:03}.py": f"{number}\n" for number in range(120)})
    link = {"Link": f'<{scene.github.url}/repos/acme/shop/pulls/1/files?per_page=100>; rel="next"'}
    scene.inject("GET", "/files$", nth=1, headers=link)
    paths = _paths(_diff(scene))
    assert len(paths) == len(set(paths))


def test_a_page_github_cannot_make_is_asked_for_in_smaller_ones(scene: Scene) -> None:
    scene.inject("GET", "/files$", status=502, times=4)
    assert _paths(_diff(scene)) == ["cart.py"]
    sizes = [one.query["per_page"] for one in scene.github.called("GET", "/files$")]
    assert sizes == ["100"] * 4 + ["50"]


def test_pages_that_never_come_end_the_read(scene: Scene) -> None:
    scene.inject("GET", "/files$", status=502, times=None)
    with pytest.raises(HostUnavailable):
        _diff(scene)


def test_files_of_a_newer_head_are_not_taken_for_this_one(scene: Scene) -> None:
    pulls = _pulls(scene)
    pull = pulls.fetch_pull(scene.ref)
    scene.pull.push({"cart.py": NEW + "more\n"})
    with pytest.raises(HostMissing) as error:
        pulls.fetch_diff(pull)
    assert "head moved" in error.value.message


def test_a_list_that_ends_early_is_said_to(scene: Scene) -> None:
    scene.pull.push({f"f{number:03}.py": f"{number}\n" for number in range(20)})
    scene.github.limits = replace(scene.github.limits, files_listed=10)
    diff = _diff(scene)
    assert len(diff.files) == 10
    assert diff.notes == ("GitHub lists 10 of 21 files",)


def test_what_the_list_leaves_out_comes_from_git(scene: Scene, tmp_path: Path) -> None:
    scene.pull.push({f"f{number:03}.py": f"{number}\n" for number in range(20)})
    scene.github.limits = replace(scene.github.limits, files_listed=10)
    diff = _diff(scene, tmp_path / "store")
    assert len(diff.files) == 21
    assert all(file.patch for file in diff.files)
    assert diff.notes == ()


def test_a_patch_too_large_for_the_list_comes_from_git(scene: Scene, tmp_path: Path) -> None:
    scene.github.limits = replace(scene.github.limits, patch_lines=50)
    scene.pull.push({"small.py": "x\n"})
    assert {file.path: bool(file.patch) for file in _diff(scene).files} == {
        "cart.py": False,
        "small.py": True,
    }
    found = {file.path: file for file in _diff(scene, tmp_path / "store").files}
    assert _text(found["cart.py"]).count("\n+") == 60
    assert found["small.py"].additions == 1


def test_a_patch_that_was_cut_comes_from_git(scene: Scene, tmp_path: Path) -> None:
    row = {
        "filename": "cart.py",
        "status": "modified",
        "additions": 60,
        "deletions": 60,
        "patch": "@@ -1,60 +1,60 @@\n-old 1\n+new 1",
    }
    scene.inject("GET", "/files$", body=[row])
    (file,) = _diff(scene, tmp_path / "store").files
    assert _text(file).count("\n+") == 60


def test_the_diff_begins_where_the_branch_left_its_base(scene: Scene, tmp_path: Path) -> None:
    scene.repository.commit({"other.py": "on main\n"}, branch="main")
    scene.pull.push({"cart.py": NEW + "more\n", "new.py": "x\n"})
    scene.github.limits = replace(scene.github.limits, files_listed=1)
    assert _paths(_diff(scene, tmp_path / "store")) == ["cart.py", "new.py"]


def test_a_path_that_json_cannot_carry_has_its_name_from_git(scene: Scene, tmp_path: Path) -> None:
    scene.pull.push({"caf\udce9.py": "x\n"})
    diff = _diff(scene, tmp_path / "store")
    assert len(diff.files) == 2
    assert all("\N{REPLACEMENT CHARACTER}" not in file.path for file in diff.files)


@pytest.mark.parametrize("body", ["<html>", "{}", '[{"filename": 1}]', "[null]", '"files"'])
def test_an_odd_list_is_not_an_empty_diff(scene: Scene, body: str) -> None:
    scene.inject("GET", "/files$", times=None, body=body)
    with pytest.raises(HostUnavailable):
        _diff(scene)


def _text(file: RawFile) -> str:
    patch = file.patch or ""
    return patch.decode() if isinstance(patch, bytes) else patch
