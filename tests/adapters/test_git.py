from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket

import pytest
from hypothesis import given

from app.adapters import git as adapter
from app.adapters.git import GitObjects, LocalCheckout, fetch_commits, open_store
from app.core.diff import ChangeKind, Side, commentable, parse_diff
from app.errors import CodeError, UserError
from app.ports import Code
from tests.repos import Repo, Tree, changes, make_repo, split_lines


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return make_repo(tmp_path / "repo")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return make_repo(tmp_path_factory.mktemp("shared"))


def objects_of(repo: Repo) -> GitObjects:
    return GitObjects(repo.path / ".git")


# Reading commits.


def test_it_is_the_port_code(repo: Repo) -> None:
    code: Code = objects_of(repo)
    sha = repo.commit({"a.py": b"x = 1\n"})
    assert code.list_paths(sha) == ("a.py",)


def test_files_are_read_by_byte_equal_path_only(repo: Repo) -> None:
    sha = repo.commit({"a.py": b"x\r\n\x00", "dir/b.py": b"y", "é.py": b"z", "x\ny.py": b"n"})
    code = objects_of(repo)
    wrong = [
        "/etc/passwd", "../../x", "..\\x", "a/../a.py", "./a.py", "", ".", "~", "a\0b", "dir",
        "file:///x", "C:\\x", ".git/config", ".GIT/config", "A.PY", "e\u0301.py", "dir/", "x",
    ]  # fmt: skip
    files = code.read_files(sha, [*wrong, "dir/b.py", "a.py", "é.py", "x\ny.py", "a.py"])
    assert [(file.path, file.data) for file in files] == [
        ("dir/b.py", b"y"),
        ("a.py", b"x\r\n\x00"),
        ("é.py", b"z"),
        ("x\ny.py", b"n"),
    ]


def test_links_submodules_and_folders_are_left_out(repo: Repo) -> None:
    repo.write({"dir/a.py": b"a"})
    for target in ("/etc/passwd", "/", "../..", "loop"):
        name = f"link{hashlib.sha256(target.encode()).hexdigest()[:4]}"
        (repo.path / name).symlink_to(target)
    (repo.path / "loop").symlink_to("loop")
    repo.git("add", "--all")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    repo.git("commit", "-qm", "links")
    sha = repo.head()
    code = objects_of(repo)
    paths = code.list_paths(sha)
    assert {"sub", "loop", "dir/a.py"} <= set(paths)
    assert [file.path for file in code.read_files(sha, [*paths, "dir", "sub"])] == ["dir/a.py"]


def test_large_and_missing_files_are_left_out(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = repo.commit({"a": b"1234", "b": b"12345", "c": b"1"})
    monkeypatch.setattr(adapter, "MAX_FILE_BYTES", 4)
    files = objects_of(repo).read_files(sha, ["a", "b", "c"])
    assert [file.path for file in files] == ["a", "c"]
    monkeypatch.setattr(adapter, "MAX_READ_BYTES", 4)
    assert [file.path for file in objects_of(repo).read_files(sha, ["a", "c"])] == ["a"]
    lost = repo.git("rev-parse", "HEAD:c").decode().strip()
    (repo.path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    assert objects_of(repo).read_files(sha, ["c"]) == ()


@pytest.mark.parametrize(
    "ref",
    [
        "HEAD",
        "main",
        "--output=pwned",
        "-h",
        "HEAD:a.py",
        "@{u}",
        "",
        "1234567",
        "A" * 40,
        "1" * 41,
    ],
)
def test_only_full_object_ids_reach_git(repo: Repo, ref: str) -> None:
    sha = repo.commit({"a.py": b"x\n"})
    code = objects_of(repo)
    for call in (
        lambda: code.list_paths(ref),
        lambda: code.read_files(ref, ["a.py"]),
        lambda: code.search(ref, "x"),
        lambda: code.diff_raw(ref, sha),
        lambda: code.diff_raw(sha, ref),
        lambda: code.list_generated(ref, ["a.py"]),
        lambda: code.has(ref),
    ):
        with pytest.raises(CodeError, match="not a full object id"):
            call()
    assert not (repo.path / "pwned").exists()


def test_a_commit_that_is_not_there_is_an_error(repo: Repo) -> None:
    code = objects_of(repo)
    assert not code.has("1" * 40)
    for call in (
        code.list_paths,
        lambda sha: code.diff_raw(sha, sha),
        lambda s: code.search(s, "x"),
    ):
        with pytest.raises(CodeError):
            call("1" * 40)


# Searching.


def test_a_search_finds_literal_lines(repo: Repo) -> None:
    sha = repo.commit({"a.py": b"one\n(a+)+$ x\n", "d/b.py": b"(a+)+$\r\n", "n\nl": b"(a+)+$"})
    hits = objects_of(repo).search(sha, "(a+)+$")
    assert [(hit.path, hit.line, hit.text) for hit in hits] == [
        ("a.py", 2, "(a+)+$ x"),
        ("d/b.py", 1, "(a+)+$"),
        ("n\nl", 1, "(a+)+$"),
    ]
    assert objects_of(repo).search(sha, "nowhere") == ()


@pytest.mark.parametrize(
    "text", ["-Otouch pwned", "--open-files-in-pager=touch pwned", "--pre=touch pwned",
             "-f/etc/passwd", "-r..", "--no-index", "--textconv", ":(exclude)x", "-e"],
)  # fmt: skip
def test_a_hostile_search_text_is_searched_for_literally(repo: Repo, text: str) -> None:
    sha = repo.commit({"a.py": f"x {text} y\n".encode()})
    (hit,) = objects_of(repo).search(sha, text)
    assert hit.line == 1
    assert not list(repo.path.rglob("pwned"))


@pytest.mark.parametrize("text", ["", " ", "\n", "a\nb", "a\0b", "x" * 201])
def test_what_is_not_one_short_line_is_not_searched_for(repo: Repo, text: str) -> None:
    sha = repo.commit({"a.py": b"x\n"})
    with pytest.raises(CodeError, match="one line"):
        objects_of(repo).search(sha, text)


def test_a_search_stops_at_its_limits(repo: Repo) -> None:
    sha = repo.commit(
        {"a.py": b"x\n" * 100_000, "b.py": b"x" * 10_000_000, "c.bin": b"\0xyz\n", "z": b"xyz"}
    )
    assert len(objects_of(repo).search(sha, "x")) == 50
    assert [hit.path for hit in objects_of(repo).search(sha, "xyz")] == ["z"]
    assert len(objects_of(repo).search(sha, "x", limit=3)) == 3
    for hit in objects_of(repo).search(sha, "x"):
        assert len(hit.text) <= 500


def test_a_search_that_takes_too_long_is_an_error_and_no_empty_answer(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = repo.commit({"a.py": b"y\n"})
    monkeypatch.setattr(adapter, "SEARCH_SECONDS", 0.0)
    with pytest.raises(CodeError, match="too long"):
        objects_of(repo).search(sha, "x")


# Comparing.


@given(changes())
def test_every_changed_file_and_line_is_in_the_diff(
    shared: Repo, change: tuple[Tree, Tree]
) -> None:
    before, after = shared.import_trees(*change)
    diff = parse_diff(objects_of(shared).diff_raw(before, after).files)
    old, new = (
        {path.decode(errors="backslashreplace"): data for path, data in tree.items()}
        for tree in change
    )
    touched = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    assert {file.path for file in diff.files} | {file.old_path for file in diff.files} == {
        *touched,
        *([None] if diff.files and any(file.old_path is None for file in diff.files) else []),
    }
    for file in diff.files:
        assert file.fault is None
        assert file.unsupported in {None, "binary"}
        sides = {
            Side.LEFT: split_lines(old.get(file.old_path or file.path, b"")),
            Side.RIGHT: split_lines(new.get(file.path, b"")),
        }
        for (side, number), (_, line) in commentable(file).items():
            given_line = sides[side][number - 1]
            assert line.text in {given_line.decode(errors="replace"), given_line.decode("latin-1")}


def test_kinds_modes_and_counts_are_gits(repo: Repo) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(20))
    before = repo.commit(
        {
            "m.py": b"a\n",
            "r.py": lines,
            "d.py": b"d\n",
            "x.sh": b"x\n",
            "t": b"t\n",
            "p.png": b"\0a",
        }
    )
    (repo.path / "moved b").mkdir()
    repo.git("mv", "r.py", "moved b/r.py")
    (repo.path / "x.sh").chmod(0o755)
    (repo.path / "t").unlink()
    (repo.path / "t").symlink_to("m.py")
    after = repo.commit(
        {"m.py": b"b\n", "moved b/r.py": lines + b"more\n", "d.py": None, "p.png": b"\0b", "e": b""}
    )
    files = {file.path: file for file in objects_of(repo).diff_raw(before, after).files}
    assert {path: (f.kind, f.additions, f.deletions) for path, f in files.items()} == {
        "m.py": (ChangeKind.MODIFIED, 1, 1),
        "moved b/r.py": (ChangeKind.RENAMED, 1, 0),
        "d.py": (ChangeKind.REMOVED, 0, 1),
        "x.sh": (ChangeKind.CHANGED, 0, 0),
        "t": (ChangeKind.CHANGED, 1, 1),
        "p.png": (ChangeKind.MODIFIED, None, None),
        "e": (ChangeKind.ADDED, 0, 0),
    }
    assert files["moved b/r.py"].old_path == "r.py"
    assert (files["x.sh"].old_mode, files["x.sh"].new_mode) == ("100644", "100755")
    assert files["p.png"].binary
    parsed = {file.path: file for file in parse_diff(files.values()).files}
    assert parsed["t"].unsupported == "symlink"
    assert [file.fault for file in parsed.values()] == [None] * 7


def test_a_path_cannot_pretend_to_be_another_files_patch(repo: Repo) -> None:
    before = repo.commit({"a.py": b"a\n"})
    name = "z\ndiff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a\n+evil\n"
    after = repo.commit({name: b"z\n", "a.py": b"b\n"})
    diff = parse_diff(objects_of(repo).diff_raw(before, after).files)
    assert {file.path: file.changed_lines for file in diff.files} == {"a.py": 2, name: 1}
    assert {file.fault for file in diff.files} == {None}


def test_attributes_in_the_change_hide_nothing(repo: Repo) -> None:
    before = repo.commit({"a.py": b"a\n"})
    after = repo.commit({"a.py": b"b\n", ".gitattributes": b"*.py -diff binary diff=none\n"})
    files = parse_diff(objects_of(repo).diff_raw(before, after).files).files
    assert {file.path: file.changed_lines for file in files} == {"a.py": 2, ".gitattributes": 1}


def test_a_submodule_is_a_changed_commit_id(repo: Repo) -> None:
    shas = []
    for digit in "12":
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{digit * 40},sub")
        repo.git("commit", "-qm", digit)
        shas.append(repo.head())
    (file,) = parse_diff(objects_of(repo).diff_raw(*shas).files).files
    assert (file.unsupported, file.changed_lines) == ("submodule", 2)


def test_a_file_that_cannot_be_compared_is_named_and_the_rest_goes_on(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repo.commit({"a.py": b"a\n", "b.py": b"b\n", "huge.txt": b"1\n", "gone.py": b"lost\n"})
    after = repo.commit(
        {"a.py": b"aa\n", "b.py": b"bb\n", "huge.txt": b"x\n" * 9, "gone.py": b"new\n"}
    )
    lost = repo.git("rev-parse", f"{before}:gone.py").decode().strip()
    (repo.path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    monkeypatch.setattr(adapter, "MAX_DIFF_BLOB_BYTES", 10)
    files = {file.path: file for file in objects_of(repo).diff_raw(before, after).files}
    assert files["huge.txt"].too_large == "a file of 18 bytes"
    assert files["gone.py"].too_large == "its content is not in the object store"
    assert files["gone.py"].kind is ChangeKind.MODIFIED
    assert files["a.py"].patch == b"@@ -1 +1 @@\n-a\n+aa\n"
    assert len(files) == 4


def test_a_diff_beyond_the_cap_keeps_what_fits_and_names_the_rest(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repo.commit({"a.py": b"a\n", "b.py": b"b\n" * 9, "c.py": b"c\n"})
    after = repo.commit({"a.py": b"x\n", "b.py": b"y\n" * 9, "c.py": b"z\n"})
    whole = len(repo.git("diff", "--full-index", before, after))
    monkeypatch.setattr(adapter, "MAX_DIFF_BYTES", whole + 250)
    files = objects_of(repo).diff_raw(before, after).files
    assert files[0].patch is not None
    assert [file.too_large is None for file in files] == [True, True, False]
    assert [file.additions for file in files] == [1, 9, 1]


def test_generated_paths_are_those_of_the_commits_attributes(repo: Repo) -> None:
    sha = repo.commit(
        {
            ".gitattributes": b"*.gen.py linguist-generated\nodd\\ name linguist-generated=true\n",
            "api/.gitattributes": b"no.gen.py -linguist-generated\n",
        }
    )
    later = repo.commit({".gitattributes": b"* linguist-generated\n"})
    paths = ["x.gen.py", "api/no.gen.py", "api/é.gen.py", "main.py", "x\ny.gen.py"]
    code = objects_of(repo)
    assert code.list_generated(sha, paths) == {"x.gen.py", "api/é.gen.py", "x\ny.gen.py"}
    assert "main.py" in code.list_generated(later, paths)
    assert code.list_generated(sha, []) == frozenset()


# The runner.


def test_a_command_that_takes_too_long_is_stopped(repo: Repo) -> None:
    runner = adapter._Git(cwd=repo.path, arguments=("-c", "alias.wait=!sleep 30"))
    began = time.monotonic()
    with pytest.raises(CodeError, match="took too long"):
        runner.run("wait", seconds=0.2)
    assert time.monotonic() - began < 10


def test_a_command_that_writes_too_much_is_stopped(repo: Repo) -> None:
    runner = adapter._Git(cwd=repo.path, arguments=("-c", "alias.flood=!yes"))
    with pytest.raises(CodeError, match="wrote too much"):
        runner.run("flood", limit=100_000, seconds=20)


def test_a_store_that_is_gone_is_an_error(repo: Repo) -> None:
    sha = repo.commit({"a.py": b"a\n"})
    code = objects_of(repo)
    shutil.rmtree(repo.path / ".git")
    with pytest.raises(CodeError, match="could not be started"):
        code.list_paths(sha)


def test_an_error_is_one_printable_line(repo: Repo) -> None:
    runner = adapter._Git(
        cwd=repo.path,
        arguments=("-c", "alias.fail=!printf 'x\\nfatal: a\\033[31mb\\n' >&2; exit 3 #"),
    )
    with pytest.raises(CodeError) as failed:
        runner.run("fail")
    assert failed.value.message == "git fail failed: a [31mb"


def test_git_sees_a_literal_environment(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "touch pwned")
    monkeypatch.setenv("POSTIL_API_KEY", "canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    runner = adapter._Git(cwd=repo.path, arguments=("-c", "alias.env=!env"))
    seen = runner.run("env").decode()
    assert "canary" not in seen
    assert "PROXY" not in seen
    assert "pwned" not in seen
    for setting in (
        "TERMINAL_PROMPT=0",
        "LITERAL_PATHSPECS=1",
        "NO_LAZY_FETCH=1",
        "ATTR_NOSYSTEM=1",
    ):
        assert f"GIT_{setting}\n" in seen


def test_git_reads_no_configuration_of_the_machine(repo: Repo, home: Path) -> None:
    (home / ".gitconfig").write_text("[evil]\n\tkey = 1\n")
    runner = adapter._Git(cwd=repo.path, environment={"HOME": str(home)})
    assert b"core.bare" in runner.run("config", "--list")
    assert b"evil" not in runner.run("config", "--list")


def test_drivers_of_a_stores_own_configuration_are_not_run(repo: Repo, tmp_path: Path) -> None:
    before, after = repo.commit({"a.py": b"a\n"}), repo.commit({"a.py": b"b\n"})
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/attributes").write_text("* diff=evil\n")
    config = (repo.path / ".git/config").read_text()
    for driver in ("command", "textconv"):
        payload = f'[diff "evil"]\n\t{driver} = "touch {tmp_path}/pwned; cat"\n'
        (repo.path / ".git/config").write_text(config + payload)
        (file,) = objects_of(repo).diff_raw(before, after).files
        assert file.patch == b"@@ -1 +1 @@\n-a\n+b\n"
        assert objects_of(repo).search(after, "b")
    assert not (tmp_path / "pwned").exists()


def test_a_missing_or_old_git_is_named_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter._find_git.cache_clear()
    try:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(UserError, match="install git"):
            adapter._find_git()
        old = tmp_path / "git"
        old.write_text("#!/bin/sh\necho git version 2.9.5\n")
        old.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match=r"install git 2\.32 or newer"):
            adapter._find_git()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", ".")
        with pytest.raises(UserError, match="install git"):
            adapter._find_git()
    finally:
        adapter._find_git.cache_clear()


# Fetching.


@dataclass
class GitServer:
    """Git's own HTTP program behind a server on loopback; it keeps what it was asked with."""

    root: Path
    token: str | None = None
    redirect: bool = False
    authorizations: list[str | None] = field(default_factory=list)
    arguments: set[str] = field(default_factory=set)
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}/.git"


def answer(server: GitServer, request: BaseHTTPRequestHandler, body: bytes) -> None:
    sent = request.headers.get("Authorization")
    server.authorizations.append(sent)
    # Every command line on this machine, while a fetch is under way.
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            server.arguments.add(process.read_text(errors="replace"))
    expected = base64.b64encode(f"x-access-token:{server.token}".encode()).decode()
    if server.redirect and "localhost" not in request.headers["Host"]:
        request.send_response(302)
        request.send_header("Location", f"http://localhost:{server.port}{request.path}")
        request.end_headers()
        return
    if server.token is not None and sent != f"Basic {expected}":
        request.send_response(401)
        request.send_header("WWW-Authenticate", "Basic")
        request.end_headers()
        return
    path, _, query = request.path.partition("?")
    done = subprocess.run(
        ["git", "http-backend"],
        env={
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "uploadpack.allowFilter",
            "GIT_CONFIG_VALUE_1": "true",
            "GIT_CONFIG_KEY_2": "safe.directory",
            "GIT_CONFIG_VALUE_2": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        },
        input=body,
        capture_output=True,
        check=True,
    ).stdout
    head, _, content = done.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    request.send_response(int(headers.pop("Status", "200").split()[0]))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    state = GitServer(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(state, self, b"")

        def do_POST(self) -> None:
            answer(state, self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        state.port = listener.server_port
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            listener.shutdown()
            thread.join()


def canaries(folder: Path, secret: str) -> list[Path]:
    forms = (secret.encode(), base64.b64encode(f"x-access-token:{secret}".encode()))
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def test_commits_are_fetched_by_id_without_history_and_compared(
    repo: Repo, scratch: Path, server: GitServer
) -> None:
    server.token = "canary-token"
    large = b"large\n" * 400_000
    oldest = repo.commit({"old.py": b"old\n"})
    before = repo.commit({"a.py": b"a\n", "large.txt": large, "same.txt": large + b"2"})
    after = repo.commit({"a.py": b"b\n", "large.txt": large + b"x\n", "old.py": None})
    code = fetch_commits(scratch / "store.git", server.url("repo"), [before, after], "canary-token")
    assert code.list_paths(after) == ("a.py", "large.txt", "same.txt")
    assert [file.data for file in code.read_files(after, ["a.py", "large.txt"])] == [b"b\n"]
    assert code.search(after, "b")[0].path == "a.py"
    assert not code.has(oldest)
    files = {file.path: file for file in code.diff_raw(before, after).files}
    assert files["a.py"].patch == b"@@ -1 +1 @@\n-a\n+b\n"
    assert files["large.txt"].too_large == "a file of more than 1,048,576 bytes"
    assert set(files) == {"a.py", "large.txt", "old.py"}
    asked = len(server.authorizations)
    again = fetch_commits(
        scratch / "store.git", server.url("repo"), [after, before], "canary-token"
    )
    assert again.has(before)
    assert len(server.authorizations) == asked


def test_a_second_fetch_adds_to_the_store(repo: Repo, scratch: Path, server: GitServer) -> None:
    one = repo.commit({"a.py": b"a\n", "b.py": b"b\n"})
    two = repo.commit({"a.py": b"aa\n"})
    three = repo.commit({"a.py": b"aaa\n"})
    store = scratch / "store.git"
    fetch_commits(store, server.url("repo"), [two, three])
    code = fetch_commits(store, server.url("repo"), [one, three])
    assert [file.path for file in code.diff_raw(one, three).files] == ["a.py"]
    assert [file.data for file in code.read_files(one, ["b.py"])] == [b"b\n"]


def test_the_token_is_in_no_file_and_no_argument(
    repo: Repo, scratch: Path, server: GitServer
) -> None:
    server.token = "canary-token"
    sha = repo.commit({"a.py": b"a\n"})
    fetch_commits(scratch / "store.git", server.url("repo"), [sha], "canary-token")
    assert all(sent is not None for sent in server.authorizations)
    assert canaries(scratch, "canary-token") == []
    encoded = base64.b64encode(b"x-access-token:canary-token").decode()
    assert any("fetch" in line for line in server.arguments)
    assert not [line for line in server.arguments if encoded in line or "canary-token" in line]


def test_a_missing_file_is_never_fetched_later(
    repo: Repo, scratch: Path, server: GitServer
) -> None:
    sha = repo.commit({"large.txt": b"x" * 2_000_000})
    code = fetch_commits(scratch / "store.git", server.url("repo"), [sha])
    asked = len(server.authorizations)
    assert code.read_files(sha, ["large.txt"]) == ()
    assert len(server.authorizations) == asked
    assert b"promisor" not in (scratch / "store.git" / "config").read_bytes()


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_refused_token_is_an_error_that_does_not_hold_it(
    repo: Repo, scratch: Path, server: GitServer, token: str | None
) -> None:
    server.token = "canary-token"
    sha = repo.commit({"a.py": b"a\n"})
    with pytest.raises(CodeError) as refused:
        fetch_commits(scratch / "store.git", server.url("repo"), [sha], token)
    assert "wrong" not in refused.value.message


def test_a_commit_the_server_does_not_have_is_an_error(
    repo: Repo, scratch: Path, server: GitServer
) -> None:
    repo.commit({"a.py": b"a\n"})
    with pytest.raises(CodeError):
        fetch_commits(scratch / "store.git", server.url("repo"), ["1" * 40])


def test_git_takes_the_way_it_is_told_and_no_other(
    repo: Repo, scratch: Path, server: GitServer
) -> None:
    sha = repo.commit({"a.py": b"a\n"})
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(CodeError):
        fetch_commits(scratch / "store.git", server.url("repo"), [sha], proxy=nobody)
    assert server.authorizations == []
    assert fetch_commits(scratch / "store.git", server.url("repo"), [sha]).has(sha)


def test_a_redirect_is_not_followed(repo: Repo, scratch: Path, server: GitServer) -> None:
    sha = repo.commit({"a.py": b"a\n"})
    server.redirect = True
    with pytest.raises(CodeError):
        fetch_commits(scratch / "store.git", server.url("repo"), [sha], "canary-token")
    assert len(server.authorizations) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.git", "https://user:secret@example.com/a.git", "file:///etc",
        "ext::sh -c 'touch pwned'", "ssh://git@example.com/a", "git@example.com:a/b", "/etc",
        "--upload-pack=touch pwned", "", "https://", "git://example.com/a",
    ],
)  # fmt: skip
def test_only_plain_https_addresses_are_fetched_from(scratch: Path, url: str) -> None:
    with pytest.raises(CodeError):
        fetch_commits(scratch / "store.git", url, ["1" * 40], "canary-token")
    assert list(scratch.iterdir()) == []


# The user's checkout.


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def open_checkout(repo: Repo, scratch: Path, home: Path, folder: str = "") -> LocalCheckout:
    return LocalCheckout(repo.path / folder, scratch, home=home)


def changed(checkout: LocalCheckout, base: str | None = None, *, staged: bool = False) -> set[str]:
    raw = checkout.diff_working(base, staged=staged).raw
    return {f"{file.kind.value[0]} {file.path}" for file in raw.files}


def state_of(repo: Repo) -> Mapping[Path, tuple[bytes, int]]:
    """Everything in a repository and its own directory: contents and times."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in repo.path.rglob("*")
        if path.is_file() and not path.is_symlink() and "objects" not in path.parts
    }


def test_everything_that_differs_from_the_merge_base_counts(
    repo: Repo, scratch: Path, home: Path
) -> None:
    base = repo.commit({"a.py": b"a\n", "b.py": b"b\n", "c.py": b"c\n", "d.py": b"d\n"})
    repo.git("switch", "-qc", "topic")
    repo.commit({"a.py": b"committed\n"})
    repo.git("switch", "-q", "main")
    repo.commit({"main.py": b"not ours\n"})
    repo.git("switch", "-q", "topic")
    repo.write({"b.py": b"staged\n", "new/s.py": b"staged\n"})
    repo.git("add", "--all")
    repo.write({"b.py": b"unstaged\n", "c.py": b"unstaged\n", "d.py": None, "u/n.py": b"new\n"})
    repo.write({".gitignore": b"*.log\n", "x.log": b"ignored\n"})
    before = state_of(repo)
    checkout = open_checkout(repo, scratch, home, "new")
    pinned = checkout.diff_working()
    assert pinned.base_sha == base
    assert changed(checkout) == {
        "a .gitignore", "m a.py", "m b.py", "m c.py", "r d.py", "a new/s.py", "a u/n.py",
    }  # fmt: skip
    (read,) = checkout.objects.read_files(pinned.head_sha, ["b.py"])
    assert read.data == b"unstaged\n"
    assert changed(checkout, staged=True) == {"m b.py", "a new/s.py"}
    assert changed(checkout, "main", staged=True) == {"m a.py", "m b.py", "a new/s.py"}
    assert state_of(repo) == before


def test_a_change_in_the_second_of_the_last_commit_is_not_missed(
    repo: Repo, scratch: Path, home: Path
) -> None:
    path, index = repo.path / "a.py", repo.path / ".git/index"
    repo.write({"a.py": b"a\n"})
    os.utime(path, (10**9, 10**9))
    repo.git("add", "a.py")
    repo.git("commit", "-qm", "a")
    repo.write({"a.py": b"b\n"})
    for file in (path, index):
        os.utime(file, (10**9, 10**9))
    assert changed(open_checkout(repo, scratch, home)) == {"m a.py"}


def test_a_file_that_became_a_folder_and_back_is_taken_in(
    repo: Repo, scratch: Path, home: Path
) -> None:
    repo.commit({"a": b"a\n", "d/x": b"x\n"})
    (repo.path / "a").unlink()
    shutil.rmtree(repo.path / "d")
    repo.write({"a/y": b"y\n", "d": b"d\n"})
    assert changed(open_checkout(repo, scratch, home)) == {"r a", "a a/y", "a d", "r d/x"}


def test_before_the_first_commit_all_is_new(repo: Repo, scratch: Path, home: Path) -> None:
    repo.write({"a.py": b"a\n"})
    checkout = open_checkout(repo, scratch, home)
    assert checkout.head_sha is None
    assert changed(checkout) == {"a a.py"}
    assert changed(checkout, staged=True) == set()


def test_nothing_changed_is_an_empty_diff(repo: Repo, scratch: Path, home: Path) -> None:
    repo.commit({"a.py": b"a\n"})
    assert changed(open_checkout(repo, scratch, home)) == set()


def test_the_default_base_is_the_remotes_head(repo: Repo, scratch: Path, home: Path) -> None:
    first = repo.commit({"a.py": b"a\n"})
    repo.git("update-ref", "refs/remotes/origin/trunk", first)
    repo.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    repo.commit({"a.py": b"b\n"})
    checkout = open_checkout(repo, scratch, home)
    assert checkout.default_base() == "refs/remotes/origin/trunk"
    assert checkout.diff_working().base_sha == first


def test_without_a_default_branch_a_note_says_what_is_compared(
    repo: Repo, scratch: Path, home: Path
) -> None:
    repo.git("switch", "-q", "--orphan", "trunk")
    repo.commit({"a.py": b"a\n"})
    repo.write({"a.py": b"b\n"})
    (note,) = open_checkout(repo, scratch, home).diff_working().raw.notes
    assert "--base" in note
    assert open_checkout(repo, scratch, home).diff_working("HEAD").raw.notes == ()


def test_ranges_are_read_as_git_reads_them(repo: Repo, scratch: Path, home: Path) -> None:
    base = repo.commit({"a.py": b"a\n"})
    repo.git("switch", "-qc", "topic")
    topic = repo.commit({"t.py": b"t\n"})
    repo.git("switch", "-q", "main")
    main = repo.commit({"m.py": b"m\n"})
    checkout = open_checkout(repo, scratch, home)
    two = checkout.diff_range("main..topic")
    assert (two.base_sha, two.head_sha) == (main, topic)
    assert {file.path for file in two.raw.files} == {"m.py", "t.py"}
    three = checkout.diff_range("main...topic")
    assert (three.base_sha, three.head_sha) == (base, topic)
    assert checkout.diff_range("HEAD~1..").head_sha == main
    assert checkout.diff_range("..topic").base_sha == main


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("main", "write it as A..B"),
        ("nope..main", "'nope' is not a revision"),
        ("--output=pwned..main", "'--output=pwned' is not a revision"),
        ("main..a\nb", "is not a revision"),
        ("main..a\0b", "is not a revision"),
        ("main...orphan", "share no commit"),
        ("main..HEAD:a.py", "is not a revision"),
    ],
)
def test_a_users_mistake_is_one_sentence_that_names_the_mend(
    repo: Repo, scratch: Path, home: Path, text: str, words: str
) -> None:
    repo.commit({"a.py": b"a\n"})
    repo.git("switch", "-q", "--orphan", "orphan")
    repo.commit({"b.py": b"b\n"})
    with pytest.raises(UserError, match=words) as refused:
        open_checkout(repo, scratch, home).diff_range(text)
    assert refused.value.message.endswith(".")
    assert not (repo.path / "pwned").exists()


def test_what_is_no_checkout_is_named(tmp_path: Path, scratch: Path, home: Path) -> None:
    (tmp_path / "plain").mkdir()
    open_store(tmp_path / "bare.git")
    for folder, words in (("plain", "not in a git"), ("none", "not a dir"), ("bare.git", "bare")):
        with pytest.raises(UserError, match=words):
            LocalCheckout(tmp_path / folder, scratch, home=home)


@pytest.mark.parametrize(
    ("errors", "mend"),
    [
        ("detected dubious ownership in repository at '/x'", "safe.directory /x"),
        ("this operation must be run in a work tree", "--repo"),
        ("not a git repository (or any of the parent directories): .git", "--repo"),
        ("bad config line 1 in file .git/config", "bad config line 1"),
    ],
)
def test_gits_words_on_a_directory_become_a_mend(errors: str, mend: str) -> None:
    assert mend in adapter._explain_no_checkout(Path("/x"), errors)


def test_conflicts_are_reviewed_as_they_stand_and_named_when_staged(
    repo: Repo, scratch: Path, home: Path
) -> None:
    repo.commit({"a.py": b"a\n"})
    repo.git("switch", "-qc", "topic")
    repo.commit({"a.py": b"b\n"})
    repo.git("switch", "-q", "main")
    repo.commit({"a.py": b"c\n"})
    with pytest.raises(subprocess.CalledProcessError):
        repo.git("merge", "-q", "topic")
    checkout = open_checkout(repo, scratch, home)
    assert changed(checkout) == {"m a.py"}
    with pytest.raises(UserError, match="conflicts"):
        checkout.diff_working(staged=True)


def test_a_linked_worktree_and_a_sha256_repository_are_read(
    repo: Repo, tmp_path: Path, scratch: Path, home: Path
) -> None:
    repo.commit({"a.py": b"a\n"})
    repo.git("worktree", "add", "-q", "-b", "topic", str(tmp_path / 'work"tree'))
    linked = Repo(tmp_path / 'work"tree')
    linked.write({"a.py": b"b\n"})
    assert changed(open_checkout(linked, scratch, home)) == {"m a.py"}
    modern = Repo(tmp_path / "modern")
    modern.path.mkdir()
    modern.git("init", "-q", "--object-format=sha256", "--initial-branch=main")
    modern.commit({"a.py": b"a\n"})
    modern.write({"a.py": b"b\n"})
    (scratch / "two").mkdir()
    assert changed(open_checkout(modern, scratch / "two", home)) == {"m a.py"}


def test_line_ends_are_compared_as_the_user_keeps_them(
    repo: Repo, scratch: Path, home: Path
) -> None:
    repo.commit({"a.py": b"a\n", "b.py": b"b\n"})
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n\tfileMode = false\n")
    repo.git("config", "--unset", "core.autocrlf")
    repo.git("config", "--unset", "core.fileMode")
    repo.write({"a.py": b"a\r\n", "b.py": b"changed\r\n"})
    (repo.path / "a.py").chmod(0o755)
    checkout = open_checkout(repo, scratch, home)
    (file,) = checkout.diff_working().raw.files
    assert file.patch == b"@@ -1 +1 @@\n-b\n+changed\n"


def test_ignored_files_are_those_the_user_ignores(repo: Repo, scratch: Path, home: Path) -> None:
    repo.commit({"a.py": b"a\n"})
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/ignore").write_text("*.swp\n")
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/exclude").write_text("mine.txt\n")
    repo.write({"x.swp": b"x\n", "mine.txt": b"x\n", "new.py": b"x\n"})
    assert changed(open_checkout(repo, scratch, home)) == {"a new.py"}


def test_a_huge_file_in_the_working_tree_is_named_and_not_read(
    repo: Repo, scratch: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit({"a.py": b"a\n", "t.bin": b"t"})
    repo.write({"a.py": b"b\n", "new.bin": b"x" * 99, "t.bin": b"y" * 99})
    monkeypatch.setattr(adapter, "MAX_DIFF_BLOB_BYTES", 50)
    files = open_checkout(repo, scratch, home).diff_working().raw.files
    assert {file.path: file.too_large for file in files} == {
        "a.py": None,
        "new.bin": "a file of 99 bytes",
        "t.bin": "a file of 99 bytes",
    }


def test_a_repository_inside_is_noted_and_not_entered(
    repo: Repo, scratch: Path, home: Path
) -> None:
    repo.commit({"a.py": b"a\n"})
    make_repo(repo.path / "inner").commit({"x.py": b"x\n"})
    pinned = open_checkout(repo, scratch, home).diff_working()
    assert pinned.raw.files == ()
    assert pinned.raw.notes == ("inner/ is a repository of its own and was not looked at",)


def lfs_pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"
    ).encode()


def test_files_under_a_filter_are_unchanged_when_they_match_their_pointer(
    repo: Repo, scratch: Path, home: Path
) -> None:
    content = {"same.bin": b"\x00same", "other.bin": b"\x00other"}
    attributes = {".gitattributes": b"*.bin filter=lfs -text\n"}
    repo.commit({**attributes, **{name: lfs_pointer(data) for name, data in content.items()}})
    repo.write(content | {"other.bin": b"\x00changed"})
    pinned = open_checkout(repo, scratch, home).diff_working()
    assert [file.path for file in pinned.raw.files] == ["other.bin"]
    assert pinned.raw.notes == ("other.bin is taken as it is on disk: its filter is not run",)


# A hostile repository: every payload would leave a mark, and none may.


PAYLOADS = {
    "core.fsmonitor": "touch {}",
    "core.pager": "touch {}",
    "core.sshCommand": "touch {}",
    "core.gitProxy": "touch {}",
    "core.askPass": "touch {}",
    "core.editor": "touch {}",
    "credential.helper": "!touch {}",
    "diff.external": "touch {}",
    "diff.evil.textconv": "touch {}; cat",
    "diff.evil.command": "touch {}",
    "filter.evil.clean": "touch {}; cat",
    "filter.evil.smudge": "touch {}; cat",
    "filter.process.process": "touch {}",
    "merge.evil.driver": "touch {}",
    "uploadpack.packObjectsHook": "touch {}",
    "gpg.program": "touch {}",
    "alias.diff-tree": "!touch {}",
    "remote.origin.uploadpack": "touch {}",
    "protocol.ext.allow": "always",
    "submodule.sub.update": "!touch {}",
    "interactive.diffFilter": "touch {}",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    repo: Repo
    marks: Path
    base: str
    head: str

    def left(self) -> list[str]:
        return sorted(path.name for path in self.marks.iterdir())

    def forget(self) -> None:
        for path in self.marks.iterdir():
            path.unlink()


def poison(folder: Path, marks: Path, prefix: str) -> None:
    """Write every payload into a repository's own configuration and hooks."""
    lines = []
    for number, (key, command) in enumerate(PAYLOADS.items()):
        section, _, name = key.rpartition(".")
        top, _, sub = section.partition(".")
        header = f'[{top} "{sub}"]' if sub else f"[{top}]"
        value = command.format(marks / f"{prefix}{number}-{key}")
        lines.append(f'{header}\n\t{name} = "{value}"\n')
    lines.append(f'[remote "origin"]\n\turl = "ext::sh -c touch% {marks}/{prefix}ext"\n')
    with (folder / "config").open("a") as config:
        config.write("".join(lines))
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "pre-commit", "reference-transaction", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marks}/{prefix}hook-{name}\n")
        (hooks / name).chmod(0o755)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    marks = tmp_path / "marks"
    marks.mkdir()
    repo = make_repo(tmp_path / "hostile")
    base = repo.commit({"a.py": b"def needle(): pass\n", "sub/keep": b"k\n"})
    # A bare repository as ordinary files, in a folder that a tool may be started in.
    emb = repo.path / "sub/emb"
    open_store(emb)
    (emb / "refs/keep").write_bytes(b"")
    poison(emb, marks, "embedded-")
    # A real submodule whose own configuration nobody looked at.
    module = make_repo(repo.path / "module")
    module.commit({"m.py": b"m\n", ".gitattributes": b"* diff=evil filter=evil\n"})
    poison(module.path / ".git", marks, "module-")
    repo.write(
        {
            ".gitattributes": b"* diff=evil filter=evil merge=evil\n*.p filter=process\n",
            ".gitmodules": b'[submodule "module"]\n\tpath = module\n\turl = ext::sh -c "touch x"\n',
            ".lfsconfig": b"[lfs]\n\turl = http://127.0.0.1:9/\n",
        }
    )
    repo.git("-c", "advice.addEmbeddedRepo=false", "add", "--all")
    repo.git("commit", "-qm", "hostile")
    head = repo.head()
    poison(repo.path / ".git", marks, "user-")
    (module.path / "m.py").write_bytes(b"changed\n")
    repo.write({"a.py": b"def needle(): return 1\n", "x.p": b"new\n"})
    result = Hostile(repo, marks, base, head)
    result.forget()
    return result


def test_the_hostile_repository_bites_an_unguarded_git(hostile: Hostile) -> None:
    for command in (["status"], ["diff"], ["add", "x.p", "a.py"]):
        subprocess.run(
            ["git", *command], cwd=hostile.repo.path, capture_output=True, check=False, timeout=20
        )
    left = " ".join(hostile.left())
    for payload in (
        "user-0-core.fsmonitor",
        "diff.evil.command",
        "filter.evil.clean",
        "filter.process",
    ):
        assert payload in left


def test_gits_own_settings_hold_in_a_hostile_repository(hostile: Hostile) -> None:
    adapter._Git(cwd=hostile.repo.path).try_run("status")
    adapter._Git(cwd=hostile.repo.path).try_run("update-index", "--refresh")
    adapter._Git(cwd=hostile.repo.path).try_run("fetch", "origin")
    left = " ".join(hostile.left())
    assert "fsmonitor" not in left
    assert "hook" not in left
    assert "ext" not in left.replace("textconv", "")
    inside = adapter._Git(cwd=hostile.repo.path / "sub/emb").try_run("rev-parse", "--git-dir")
    assert "cannot use bare repository" in inside.errors


@pytest.mark.parametrize("folder", ["", "sub", "module"])
def test_a_hostile_repository_runs_nothing(
    hostile: Hostile, scratch: Path, home: Path, folder: str
) -> None:
    checkout = open_checkout(hostile.repo, scratch, home, folder)
    for staged in (False, True):
        pinned = checkout.diff_working(staged=staged)
        checkout.objects.list_generated(pinned.base_sha, ["a.py"])
    pinned = checkout.diff_range("HEAD..HEAD")
    code = checkout.objects
    paths = code.list_paths(pinned.head_sha)
    assert code.read_files(pinned.head_sha, paths)
    code.search(pinned.head_sha, "-Otouch pwned")
    if folder != "module":
        assert code.search(pinned.head_sha, "needle")[0].path == "a.py"
        raw = checkout.diff_range(f"{hostile.base}..{hostile.head}").raw
        kinds = {file.path: parse_diff([file]).files[0].unsupported for file in raw.files}
        assert kinds["module"] == "submodule"
        assert kinds[".gitmodules"] is None
    assert hostile.left() == []


def test_a_list_of_submodules_that_git_itself_dies_of_is_ordinary_text(
    hostile: Hostile, scratch: Path, home: Path
) -> None:
    evil = b'[submodule "module"]\n\tpath = module\r\n\turl = ../../x\n\tupdate = !touch pwned\n'
    hostile.repo.write({".gitmodules": evil})
    with pytest.raises(subprocess.CalledProcessError):
        hostile.repo.git("-c", "core.fsmonitor=false", "status")
    hostile.forget()
    assert "m .gitmodules" in changed(open_checkout(hostile.repo, scratch, home), "HEAD")
    assert not list(hostile.repo.path.rglob("pwned"))
    assert hostile.left() == []


def test_an_embedded_bare_repository_is_not_opened(
    hostile: Hostile, scratch: Path, home: Path
) -> None:
    with pytest.raises(UserError, match="bare repository"):
        open_checkout(hostile.repo, scratch, home, "sub/emb")
    assert hostile.left() == []


def test_a_missing_object_of_a_hostile_partial_clone_is_not_asked_for(
    hostile: Hostile, scratch: Path, home: Path
) -> None:
    hostile.repo.git("config", "remote.origin.promisor", "true")
    hostile.repo.git("config", "extensions.partialClone", "origin")
    lost = hostile.repo.git("rev-parse", f"{hostile.base}:a.py").decode().strip()
    (hostile.repo.path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    hostile.forget()
    checkout = open_checkout(hostile.repo, scratch, home)
    raw = checkout.diff_working(hostile.base).raw
    (file,) = (file for file in raw.files if file.path == "a.py")
    assert file.too_large is not None
    assert "partial clone" in file.too_large
    (hostile.repo.path / ".git/objects" / hostile.base[:2] / hostile.base[2:]).unlink()
    with pytest.raises(UserError):
        checkout.merge_base(hostile.base, hostile.head)
    assert hostile.left() == []
