"""Files by the contents API, and everything by git itself."""

import base64
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.github import SYMLINK, Blob
from tests.sandbox.conftest import NUMBERED, Client, Scene

ROOT = "/repos/acme/shop"


def test_a_file_comes_in_base64_or_as_it_is(client: Client) -> None:
    shown = client.get(f"{ROOT}/contents/cart.py?ref=one").data
    assert b"line twenty" in base64.b64decode(shown["content"])
    raw = client.get(f"{ROOT}/contents/cart.py", Accept="application/vnd.github.raw+json")
    assert raw.body == NUMBERED.encode()
    assert client.get(f"{ROOT}/contents/none.py").status == 404
    missing = client.get(f"{ROOT}/contents/cart.py?ref=nowhere")
    assert missing.data["message"] == "No commit found for the ref nowhere"


def test_a_link_inside_is_followed_and_one_outside_is_shown(scene: Scene) -> None:
    links = {"in": "cart.py", "out": "/etc/passwd", "up": "../../x", "sub/in": "../cart.py"}
    changes = {path: Blob(target.encode(), SYMLINK) for path, target in links.items()}
    scene.repository.commit(changes, branch="main")
    kinds = {path: scene.client.get(f"{ROOT}/contents/{path}").data["type"] for path in links}
    assert kinds == {"in": "file", "out": "symlink", "up": "symlink", "sub/in": "file"}
    listed = {one["path"]: one["type"] for one in scene.client.get(f"{ROOT}/contents").data}
    assert listed["in"] == "symlink"
    assert listed["sub"] == "dir"


def test_size_decides_what_is_sent(scene: Scene) -> None:
    scene.github.limits = replace(scene.github.limits, content_bytes=100, blob_bytes=200)
    scene.repository.commit({"medium": "x" * 150, "large": "x" * 250}, branch="main")
    medium = scene.client.get(f"{ROOT}/contents/medium").data
    assert (medium["content"], medium["encoding"], medium["size"]) == ("", "none", 150)
    raw = scene.client.get(f"{ROOT}/contents/medium", Accept="application/vnd.github.raw")
    assert len(raw.body) == 150
    large = scene.client.get(f"{ROOT}/contents/large")
    assert large.status == 403
    assert large.data["errors"][0]["code"] == "too_large"


def git(folder: Path, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    secret = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader"} if token else {}
    header = {"GIT_CONFIG_VALUE_0": f"Authorization: Basic {secret}"} if token else {}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    environment = {"PATH": os.environ["PATH"], **quiet, **settings, **header}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", ".")
    return tmp_path


@pytest.fixture
def remote(scene: Scene) -> str:
    return f"{scene.github.address.origin}/acme/shop.git"


def test_any_commit_is_fetched_by_its_id(scene: Scene, store: Path, remote: str) -> None:
    head = scene.pull.head_sha
    start = scene.pull.base_sha
    scene.repository.commit({"cart.py": "rewritten\n"}, branch="one", parent=start)
    token = scene.github.mint(scene.installation).value
    done = git(store, "fetch", "--depth=1", remote, head, token=token)
    assert done.returncode == 0, done.stderr
    assert git(store, "show", f"{head}:new.py").stdout == "x = 1\n"


def test_a_partial_fetch_brings_no_blobs(scene: Scene, store: Path, remote: str) -> None:
    token = scene.github.mint(scene.installation).value
    head = scene.pull.head_sha
    done = git(store, "fetch", "--filter=blob:none", remote, head, token=token)
    assert done.returncode == 0, done.stderr
    held = git(store, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").stdout
    assert set(held.split()) == {"commit", "tree"}


def test_the_pull_s_ref_leads_to_its_head(scene: Scene, store: Path, remote: str) -> None:
    token = scene.github.mint(scene.installation).value
    listed = git(store, "ls-remote", remote, "refs/pull/1/head", token=token).stdout
    assert listed.split()[0] == scene.pull.head_sha


@pytest.mark.parametrize("token", ["", "ghs_wrong"])
def test_git_needs_a_token(store: Path, remote: str, token: str) -> None:
    done = git(store, "fetch", remote, "main", token=token)
    assert done.returncode == 128
    assert "Authentication failed" in done.stderr or "could not read Username" in done.stderr


def test_git_needs_to_read_contents_and_never_writes(
    scene: Scene, store: Path, remote: str
) -> None:
    blind = scene.github.mint(scene.installation, {"metadata": "read"}).value
    assert "403" in git(store, "fetch", remote, "main", token=blind).stderr
    token = scene.github.mint(scene.installation).value
    git(store, "fetch", remote, "main", token=token)
    pushed = git(store, "push", remote, "FETCH_HEAD:refs/heads/mine", token=token)
    assert "403" in pushed.stderr
