"""A bare git repository on disk: commits are made and read through git itself."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sandbox.github.diff import FileChange, read_changes

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = "100644", "100755", "120000", "160000"

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}


class GitFailedError(Exception):
    """Git refused; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What a path holds in a commit: `data` is a link's target or a submodule's commit id too."""

    data: bytes
    mode: str = REGULAR


Change = bytes | str | Blob | None
Changes = Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Person:
    """Who git says made a commit, and when (seconds since 1970)."""

    name: str
    email: str
    at: int


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """One commit as `git log` shows it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree; `size` is None for what is not a blob."""

    mode: str
    kind: str
    sha: str
    size: int | None
    path: str


class GitRepository:
    """A bare repository that serves any commit by id, the way GitHub's do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.mkdir(parents=True)
            self.run("init", "--quiet", "--bare", "--initial-branch=main", ".")
            for key in ("allowAnySHA1InWant", "allowFilter"):
                self.run("config", f"uploadpack.{key}", "true")
        self.changes = lru_cache(maxsize=64)(self._changes)
        self.merge_base = lru_cache(maxsize=256)(self._merge_base)
        self.commit_info = lru_cache(maxsize=1024)(self._commit_info)

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git here and return what it printed, or raise GitFailedError."""
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments],
            cwd=self.path,
            input=stdin,
            capture_output=True,
            env=ENVIRONMENT,
            check=False,
        )
        if done.returncode:
            raise GitFailedError(f"git {arguments[0]}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def commit(
        self,
        changes: Changes,
        *,
        branch: str,
        message: str,
        author: Person,
        parents: tuple[str, ...] = (),
    ) -> str:
        """Write a commit that applies `changes` to its first parent and move `branch` to it."""
        person = f"{author.name} <{author.email}> {author.at} +0000".encode()
        text = message.encode()
        lines = [
            b"commit refs/heads/%s" % branch.encode(),
            b"mark :1",
            b"author %s" % person,
            b"committer %s" % person,
            b"data %d\n%s" % (len(text), text),
        ]
        lines += [
            (b"from " if first else b"merge ") + sha.encode()
            for sha, first in zip(parents, [True] + [False] * len(parents), strict=False)
        ]
        lines += [_change_line(path, change) for path, change in changes.items()]
        lines += [b"", b"get-mark :1", b"done", b""]
        made = self.run("fast-import", "--quiet", "--force", "--done", stdin=b"\n".join(lines))
        return made.decode().strip()

    def fetch(self, other: "GitRepository", sha: str) -> None:
        """Copy a commit and everything it needs from another repository."""
        self.run("fetch", "--quiet", "--no-write-fetch-head", str(other.path), sha)

    def set_ref(self, ref: str, sha: str) -> None:
        """Point a full ref name at a commit."""
        self.run("update-ref", ref, sha)

    def delete_ref(self, ref: str) -> None:
        """Forget a ref; its commits stay readable by id."""
        self.run("update-ref", "-d", ref)

    def resolve(self, name: str) -> str | None:
        """Return the commit that a branch, a tag or a commit id names."""
        candidates = (f"refs/heads/{name}", f"refs/tags/{name}", name)
        for candidate in candidates:
            if candidate.startswith("-") or not candidate:
                continue
            try:
                found = self.run("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}")
            except GitFailedError:
                continue
            return found.decode().strip()
        return None

    def branches(self) -> dict[str, str]:
        """Return the tips of all branches by name."""
        listing = self.run(
            "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"
        )
        pairs = (line.split(" ", 1) for line in listing.decode().splitlines())
        return {name: sha for sha, name in pairs}

    def history(self, base: str, head: str) -> tuple[str, ...]:
        """Return the commits that are in `head` and not in `base`, oldest first."""
        listing = self.run("rev-list", "--reverse", "--topo-order", f"{base}..{head}")
        return tuple(listing.decode().split())

    def tree(self, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]:
        """List what a directory holds at a commit or tree; an unknown path lists nothing."""
        flags = ["-r", "-t"] if recursive else []
        treeish = f"{commit}:{path}" if path else commit
        try:
            listing = self.run("ls-tree", "-z", "-l", *flags, treeish)
        except GitFailedError:
            return []
        return [_tree_entry(record) for record in listing.split(b"\0") if record]

    def entry(self, commit: str, path: str) -> TreeEntry | None:
        """Return the entry at exactly this path, or None."""
        parent, _, name = path.rpartition("/")
        return next((entry for entry in self.tree(commit, parent) if entry.path == name), None)

    def blob(self, sha: str) -> bytes:
        """Return a blob's bytes."""
        return self.run("cat-file", "blob", sha)

    def diff_text(self, base: str, head: str) -> bytes:
        """Return the unified diff that git prints between two commits."""
        return self.run("diff", *_DIFF_FLAGS, "-U3", base, head)

    def patch_text(self, base: str, head: str) -> bytes:
        """Return the commits after `base` as mailbox patches."""
        return self.run("format-patch", "--stdout", "--no-signature", f"{base}..{head}")

    def map_line(self, old: str, new: str, path: str, line: int) -> int | None:
        """Return where a line of `path` at `old` stands at `new`; None when it was changed."""
        moved = 0
        text = self.run("diff", "--no-color", "--no-ext-diff", "-U0", old, new, "--", path)
        for match in re.finditer(rb"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@", text, re.MULTILINE):
            start = int(match[1])
            removed, added = (1 if size is None else int(size) for size in (match[2], match[3]))
            first = start if removed else start + 1
            if line < first:
                break
            if line < first + removed:
                return None
            moved += added - removed
        return line + moved

    def _changes(self, base: str, head: str) -> tuple[FileChange, ...]:
        raw = self.run("diff", *_DIFF_FLAGS, "--raw", "--numstat", "-z", "--abbrev=40", base, head)
        return read_changes(raw, self.diff_text(base, head))

    def _merge_base(self, one: str, other: str) -> str | None:
        try:
            return self.run("merge-base", one, other).decode().split()[0]
        except GitFailedError:
            return None

    def _commit_info(self, sha: str) -> CommitInfo:
        shape = "%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B"
        shown = self.run("show", "--no-patch", f"--format={shape}", sha).decode(errors="replace")
        made, tree, parents, *people, message = shown.split("\0", 9)
        author, committer = (
            Person(name, email, int(at)) for name, email, at in (people[:3], people[3:])
        )
        return CommitInfo(made, tree, tuple(parents.split()), author, committer, message.strip())


_DIFF_FLAGS = ("--no-color", "--no-ext-diff", "--no-textconv", "-M")


def _change_line(path: str, change: Change) -> bytes:
    quoted = path.encode("utf-8", "surrogateescape")
    for raw, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n")):
        quoted = quoted.replace(raw, escaped)
    if change is None:
        return b'D "%s"' % quoted
    blob = change if isinstance(change, Blob) else Blob(_bytes(change))
    if blob.mode == SUBMODULE:
        return b'M %s %s "%s"' % (blob.mode.encode(), blob.data, quoted)
    return b'M %s inline "%s"\ndata %d\n%s' % (
        blob.mode.encode(),
        quoted,
        len(blob.data),
        blob.data,
    )


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _tree_entry(record: bytes) -> TreeEntry:
    facts, _, path = record.partition(b"\t")
    mode, kind, sha, size = facts.decode().split()
    return TreeEntry(
        mode,
        kind,
        sha,
        int(size) if size.isdecimal() else None,
        path.decode("utf-8", "surrogateescape"),
    )
