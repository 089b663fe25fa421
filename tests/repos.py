"""Real git repositories in temporary directories, and random changes to commit to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

Tree = Mapping[bytes, bytes]
"""Paths and contents of one commit."""

_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
}


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository with a working tree."""

    path: Path

    def git(self, *args: str, stdin: bytes = b"") -> bytes:
        """Run git in the working tree; raises CalledProcessError when it fails."""
        return subprocess.run(
            ["git", *args],
            cwd=self.path,
            env=_ENVIRONMENT,
            input=stdin,
            check=True,
            capture_output=True,
        ).stdout

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write files into the working tree; None deletes one. Paths may hold odd bytes."""
        for name, data in files.items():
            path = self.path / name
            if data is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def commit(self, files: Mapping[str, bytes | None], message: str = "change") -> str:
        """Write files, commit everything in the working tree and return the commit's id."""
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head()

    def import_trees(self, *trees: Tree) -> tuple[str, ...]:
        """Commit whole trees one after the other in a single process; return the commits' ids."""
        stream = b"".join(_export(number, tree) for number, tree in enumerate(trees))
        self.git("fast-import", "--quiet", "--force", stdin=stream)
        names = [f"refs/heads/import-{number}" for number in range(len(trees))]
        return tuple(self.git("rev-parse", *names).decode().split())

    def head(self) -> str:
        """Return the id of the commit that is checked out."""
        return self.git("rev-parse", "HEAD").decode().strip()


def make_repo(path: Path) -> Repo:
    """Make an empty repository with the branch ``main`` in a directory of its own."""
    path.mkdir(parents=True, exist_ok=True)
    repo = Repo(path)
    repo.git("init", "--quiet", "--initial-branch=main")
    # Bytes go in as they are, whatever the machine's defaults say.
    repo.git("config", "core.autocrlf", "false")
    repo.git("config", "core.safecrlf", "false")
    return repo


def _export(number: int, tree: Tree) -> bytes:
    """Write one commit in the language of git fast-import."""
    parts = [b"commit refs/heads/import-%d\n" % number]
    parts.append(b"committer Ada <ada@example.com> 1700000000 +0000\ndata 0\n")
    if number:
        parts.append(b"from refs/heads/import-%d\n" % (number - 1))
    parts.append(b"deleteall\n")
    for path, data in tree.items():
        quoted = b"".join(b"\\%03o" % byte for byte in path)
        parts.append(b'M 100644 inline "%s"\ndata %d\n%s\n' % (quoted, len(data), data))
    return b"".join(parts)


def split_lines(data: bytes) -> list[bytes]:
    """Split a file as git does: at newlines and nowhere else."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


_PATHS = [
    b"a.py",
    b"b.py",
    b"x b/y.py",
    b"a/x b/b/y.py",
    b"caf\xc3\xa9/\xe2\x80\xae.txt",
    b"latin-\xe9.txt",
    b'quote"tab\tback\\slash\nnewline.c',
    b"-leading.sh",
    b"::/@<img src=x>",
    b"A.PY",
    b"e\xcc\x81.txt",
    b"\xc3\xa9.txt",
    b" space ",
    b"diff --git a/x b",
]
_TEXTS = [
    b"",
    b"x = 1",
    b"def f(a):",
    b"    return a",
    b"-- a/x",
    b"++ b/x",
    b"@@ -1 +1 @@",
    b"diff --git a/x b/x",
    b"\\ No newline at end of file",
    b"form\x0cfeed and \xe2\x80\xa8 separator \xc2\x85",
    b"lone\rreturn",
    b"windows\r",
    b"-- ",
    b"caf\xe9",
    "π".encode() * 60,
    b" ",
    b"\t",
]
_LINES = st.lists(st.sampled_from(_TEXTS), max_size=24)
_ENDS = st.sampled_from([b"\n", b"", b"\r\n"])


@st.composite
def _contents(draw: st.DrawFn) -> bytes:
    return b"\n".join(draw(_LINES)) + draw(_ENDS)


@st.composite
def _edited(draw: st.DrawFn, data: bytes) -> bytes:
    """Change a few lines of a file, so that a diff has several hunks and some context."""
    lines = data.split(b"\n")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines)))
        until = min(len(lines), at + draw(st.integers(0, 3)))
        lines[at:until] = draw(st.lists(st.sampled_from(_TEXTS), max_size=3))
    return b"\n".join(lines)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """Draw a tree and what became of it: files added, removed, renamed, edited, binary."""
    old = draw(st.dictionaries(st.sampled_from(_PATHS), _contents(), max_size=5))
    new: dict[bytes, bytes] = {}
    for path, data in old.items():
        fate = draw(st.sampled_from(["edit", "edit", "edit", "keep", "remove", "rename", "binary"]))
        if fate == "rename":
            new[path + b".new"] = draw(_edited(data))
        elif fate == "binary":
            new[path] = data + b"\0"
        elif fate != "remove":
            new[path] = draw(_edited(data)) if fate == "edit" else data
    new |= draw(st.dictionaries(st.sampled_from(_PATHS), _contents(), max_size=2))
    return old, new
