"""Code as git objects: a bare store that is read by full object id, and a user's checkout.

Every git process starts in one place, ``_Git.run``: an absolute binary, an argument list, a literal
environment, no configuration but ours, a deadline and a cap on its output. What a repository holds
is data: no hook, filter, textconv, external diff, file-system monitor or submodule command runs.

Nothing is asked of a user's repository but where it is and what its revisions are. Its objects are
then read through a private store that borrows them (``objects/info/alternates``) and shares neither
its configuration nor its attributes; a snapshot of its working tree goes into that store too, so
that neither its index nor its object directory is ever written.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.core.diff import SUBMODULE_MODE, ChangeKind, RawFile
from app.errors import CodeError, UserError
from app.ports import Hit, RawDiff, SourceFile

MAX_FILE_BYTES: Final = 1 << 20
"""A larger file is not read, and not fetched."""
MAX_DIFF_BLOB_BYTES: Final = 32 << 20
"""A larger file is not compared."""
MAX_DIFF_BYTES: Final = 64 << 20
"""More of a diff is not looked at: four times as much memory goes into reading it."""
MAX_READ_BYTES: Final = 256 << 20
MAX_SEARCH_BYTES: Final = 32 << 10
MAX_HITS: Final = 50
MAX_HIT_CHARACTERS: Final = 500
MAX_SEARCH_TEXT: Final = 200
SEARCH_SECONDS: Final = 2.5
COMMAND_SECONDS: Final = 120.0
FETCH_SECONDS: Final = 600.0

MINIMUM_GIT: Final = (2, 32)
"""The first that lets the environment replace the user's configuration."""

_MAX_OUTPUT_BYTES: Final = 512 << 20
_MAX_ERROR_BYTES: Final = 8 << 10
_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SECTION = re.compile(rb"^diff --git ", re.MULTILINE)
_REGULAR_MODES: Final = frozenset({"100644", "100755"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# Settings that could make git start a program, reach out, or change what it prints.
_CONFIG: Final = (
    "safe.bareRepository=explicit",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.untrackedCache=false",
    "core.askPass=",
    "core.sshCommand=false",
    "core.pager=cat",
    "credential.helper=",
    "submodule.recurse=false",
    "diff.suppressBlankEmpty=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
_ENVIRONMENT: Final = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_LFS_SKIP_SMUDGE": "1",
    # Unlike protocol.allow, no repository's own protocol.ext.allow can overrule this.
    "GIT_ALLOW_PROTOCOL": "none",
}
_DIFF_OPTIONS: Final = (
    "-r",
    "-z",
    "--full-index",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--ignore-submodules=none",
    "--submodule=short",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--inter-hunk-context=0",
    "--indent-heuristic",
    "--diff-algorithm=default",
)


@dataclass(frozen=True, slots=True)
class _Output:
    """What a process wrote; ``cut`` tells that it was stopped at a cap or at its deadline."""

    data: bytes
    errors: str
    status: int
    cut: bool


@dataclass(frozen=True, slots=True)
class _Git:
    """Git in one place; ``environment`` adds to the literal one, and None takes away from it."""

    cwd: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        seconds: float = COMMAND_SECONDS,
        limit: int = _MAX_OUTPUT_BYTES,
    ) -> bytes:
        """Run a command and return what it wrote. Raises CodeError when it fails in any way."""
        output = self.try_run(*arguments, stdin=stdin, seconds=seconds, limit=limit)
        if output.cut:
            raise CodeError(f"git {arguments[0]} took too long or wrote too much")
        if output.status:
            raise CodeError(f"git {arguments[0]} failed: {output.errors}")
        return output.data

    def try_run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        seconds: float = COMMAND_SECONDS,
        limit: int = _MAX_OUTPUT_BYTES,
    ) -> _Output:
        """Run a command and return whatever came of it. Raises CodeError when git can't start."""
        argv = [_find_git(), *_flags(_CONFIG), *self.arguments, *arguments]
        environment = {**_ENVIRONMENT, **self.environment}
        # The input waits in a file, so that only one direction has to be watched.
        with tempfile.TemporaryFile() as feed:
            feed.write(stdin)
            feed.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=self.cwd,
                    env={key: value for key, value in environment.items() if value is not None},
                    stdin=feed,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise CodeError(f"git could not be started: {error.strerror}") from error
            with process:
                try:
                    return _read_output(process, time.monotonic() + seconds, limit)
                finally:
                    if process.poll() is None:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(process.pid, signal.SIGKILL)


def _read_output(process: subprocess.Popen[bytes], deadline: float, limit: int) -> _Output:
    """Read both pipes until they end, the deadline comes, or more than ``limit`` bytes came."""
    data: list[bytes] = []
    errors = b""
    size = 0
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready or size > limit:
                return _Output(b"".join(data)[:limit], _first_line(errors), -1, cut=True)
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    data.append(chunk)
                    size += len(chunk)
                else:
                    errors = (errors + chunk)[:_MAX_ERROR_BYTES]
    try:
        status = process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return _Output(b"".join(data), _first_line(errors), -1, cut=True)
    return _Output(b"".join(data)[:limit], _first_line(errors), status, cut=size > limit)


def _first_line(errors: bytes) -> str:
    """Choose the line of git's words that says what went wrong; it is somebody else's text."""
    lines = errors.decode(errors="replace").split("\n")
    line = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])
    printable = "".join(letter if letter.isprintable() else " " for letter in line)
    return printable.removeprefix("fatal:").removeprefix("error:").strip()[:200]


def _flags(settings: Iterable[str]) -> Iterator[str]:
    for setting in settings:
        yield from ("-c", setting)


@functools.cache
def _find_git() -> str:
    found = shutil.which("git")
    if found is None or not Path(found).is_absolute():
        raise UserError("git was not found: install git and make sure that it is on PATH.")
    told = subprocess.run(
        [found, "version"], env=_ENVIRONMENT, capture_output=True, check=False, timeout=10
    ).stdout
    version = re.match(rb"git version ([0-9]+)\.([0-9]+)", told)
    if version is None or (int(version[1]), int(version[2])) < MINIMUM_GIT:
        wanted = ".".join(map(str, MINIMUM_GIT))
        raise UserError(f"{found} can't be used: install git {wanted} or newer.")
    return found


def _full_id(sha: str) -> str:
    """Return the id if it is a full one; anything else (a branch, an option) never reaches git."""
    if not _OBJECT_ID.fullmatch(sha):
        raise CodeError("not a full object id")
    return sha


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of a tree."""

    mode: str
    object_id: str


@dataclass(frozen=True, slots=True)
class _Change:
    """One entry of ``git diff-tree --raw``."""

    status: str
    old: _Entry
    new: _Entry
    old_path: bytes
    path: bytes


class GitObjects:
    """A bare object store on this machine, read by full object id of a commit or a tree.

    It implements the port ``Code``. ``missing`` says why an object may not be there.
    """

    def __init__(
        self, git_dir: Path, *, missing: str = "its content is not in the object store"
    ) -> None:
        self._git_dir = git_dir.resolve()
        self._missing = missing
        self._git = _Git(cwd=self._git_dir, environment={"GIT_DIR": str(self._git_dir)})
        self._trees: dict[str, dict[str, _Entry]] = {}

    @property
    def git_dir(self) -> Path:
        """Where the store is."""
        return self._git_dir

    def has(self, sha: str) -> bool:
        """Tell whether an object is in the store."""
        return None not in self._sizes([_full_id(sha)]).values()

    def list_paths(self, sha: str) -> tuple[str, ...]:
        """List every file of the commit. Raises CodeError."""
        return tuple(self._tree(sha))

    def read_files(self, sha: str, paths: Sequence[str]) -> tuple[SourceFile, ...]:
        """Read regular files, byte-equal paths only.

        Left out is what is not a regular file of this commit, is larger than MAX_FILE_BYTES, or is
        not in the store, and what is beyond MAX_READ_BYTES in all. Raises CodeError.
        """
        tree = self._tree(sha)
        entries = {path: tree[path] for path in paths if path in tree}
        entries = {path: entry for path, entry in entries.items() if entry.mode in _REGULAR_MODES}
        sizes = self._sizes(entry.object_id for entry in entries.values())
        wanted: list[str] = []
        total = 0
        for object_id, size in sizes.items():
            if size is not None and size <= MAX_FILE_BYTES and total + size <= MAX_READ_BYTES:
                wanted.append(object_id)
                total += size
        blobs = self._read_blobs(wanted)
        return tuple(
            SourceFile(path, blobs[entry.object_id], entry.mode)
            for path, entry in entries.items()
            if entry.object_id in blobs
        )

    def search(self, sha: str, text: str, limit: int = MAX_HITS) -> tuple[Hit, ...]:
        """Find lines that hold ``text`` literally, in text files.

        Never more than MAX_HITS or MAX_SEARCH_BYTES. Raises CodeError when the text can't be
        searched for, or when nothing was found before SEARCH_SECONDS were over.
        """
        if not text.strip() or "\n" in text or "\0" in text or len(text) > MAX_SEARCH_TEXT:
            raise CodeError(f"search for one line of 1 to {MAX_SEARCH_TEXT} characters")
        pattern = text.encode(errors="replace").decode()
        output = self._git.try_run(
            "grep",
            "-n",
            "-z",
            "-F",
            "-I",
            "--full-name",
            "--no-color",
            "--no-textconv",
            "--no-recurse-submodules",
            "-e",
            pattern,
            _full_id(sha),
            "--",
            seconds=SEARCH_SECONDS,
            limit=MAX_SEARCH_BYTES,
        )
        hits = tuple(_read_hits(output.data, min(limit, MAX_HITS), complete=not output.cut))
        if not hits and output.cut:
            raise CodeError("the search took too long")
        if not output.cut and output.status not in {0, 1}:
            raise CodeError(f"the search failed: {output.errors}")
        return hits

    def list_generated(self, sha: str, paths: Sequence[str]) -> frozenset[str]:
        """Return those paths that the commit's .gitattributes call linguist-generated."""
        with self._index() as git:
            git.run("read-tree", _full_id(sha))
            listing = git.run(
                "check-attr",
                "-z",
                "--cached",
                "--stdin",
                "linguist-generated",
                stdin=b"".join(path.encode(errors="replace") + b"\0" for path in paths),
            )
        words = listing.decode(errors="replace").split("\0")
        triples = zip(words[0::3], words[2::3], strict=False)
        return frozenset(path for path, value in triples if value in {"set", "true"})

    def diff_raw(self, base_sha: str, head_sha: str) -> RawDiff:
        """Compare two commits or trees: every changed file with its patch. Raises CodeError.

        A file that is too large, or whose content is not in the store, comes without a patch.
        """
        base, head = _full_id(base_sha), _full_id(head_sha)
        listing = self._git.run("diff-tree", *_DIFF_OPTIONS, "--no-renames", "--raw", base, head)
        changes, _ = _read_changes(listing, 0)
        withheld = self._withhold(changes)
        if withheld:
            paths = [change.path for change, _ in withheld]
            base, head = self._without(base, paths), self._without(head, paths)
        output = self._git.try_run(
            "diff-tree",
            *_DIFF_OPTIONS,
            "--find-renames",
            "-l1000",
            "--raw",
            "--numstat",
            "--patch",
            "--unified=3",
            base,
            head,
            limit=MAX_DIFF_BYTES,
        )
        cut = output.cut or (output.status < 0 and bool(output.data))  # killed for want of memory
        if output.status and not cut:
            raise CodeError(f"the commits could not be compared: {output.errors}")
        files = _read_files(output.data, complete=not cut)
        return RawDiff(
            files=(*files, *(_build_raw(change, too_large=why) for change, why in withheld))
        )

    def read_small(self, object_ids: Iterable[str], limit: int = 1024) -> dict[str, bytes]:
        """Read those objects that are in the store and no larger than a limit."""
        sizes = self._sizes(object_ids)
        return self._read_blobs(
            [i for i, size in sizes.items() if size is not None and size <= limit]
        )

    def _tree(self, sha: str) -> dict[str, _Entry]:
        """Read a commit's whole tree; the last few are kept."""
        if sha not in self._trees:
            listing = self._git.run("ls-tree", "-r", "-z", "--full-tree", _full_id(sha))
            tree: dict[str, _Entry] = {}
            for record in listing.split(b"\0")[:-1]:
                facts, _, path = record.partition(b"\t")
                mode, _, object_id = facts.decode("ascii").split(" ")
                tree.setdefault(_show(path), _Entry(mode, object_id))
            while len(self._trees) > 2:  # noqa: PLR2004 - base and head, and one to spare
                self._trees.pop(next(iter(self._trees)))
            self._trees[sha] = tree
        return self._trees[sha]

    def _sizes(self, object_ids: Iterable[str]) -> dict[str, int | None]:
        """Look up sizes in bytes; None for an object that is not in the store."""
        wanted = dict.fromkeys(object_ids)
        answer = self._git.run(
            "cat-file",
            "--batch-check",
            "--buffer",
            stdin="".join(f"{i}\n" for i in wanted).encode(),
        )
        sizes: dict[str, int | None] = {}
        for line in answer.decode("ascii").split("\n")[:-1]:
            object_id, kind, *size = line.split(" ")
            sizes[object_id] = int(size[0]) if size and kind != "missing" else None
        return sizes

    def _read_blobs(self, object_ids: Sequence[str]) -> dict[str, bytes]:
        """Read objects that are known to be in the store."""
        data = self._git.run(
            "cat-file", "--batch", "--buffer", stdin="".join(f"{i}\n" for i in object_ids).encode()
        )
        blobs: dict[str, bytes] = {}
        at = 0
        while at < len(data):
            end = data.index(b"\n", at)
            object_id, _, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            blobs[object_id] = data[end + 1 : at]
            at += 1
        return blobs

    def _withhold(self, changes: Sequence[_Change]) -> tuple[tuple[_Change, str], ...]:
        """Find the changes that can't be compared here, each with the reason."""
        sides = [
            (change, entry.object_id)
            for change in changes
            for entry in (change.old, change.new)
            if entry.mode not in {"000000", SUBMODULE_MODE}
        ]
        sizes = self._sizes(object_id for _, object_id in sides)
        withheld: dict[bytes, tuple[_Change, str]] = {}
        for change, object_id in sides:
            size = sizes.get(object_id)
            if size is None:
                withheld[change.path] = (change, self._missing)
            elif size > MAX_DIFF_BLOB_BYTES:
                withheld[change.path] = (change, f"a file of {size:,} bytes")
        return tuple(withheld.values())

    def _without(self, sha: str, paths: Iterable[bytes]) -> str:
        """Write the tree of a commit without some of its files, and return its id."""
        with self._index() as git:
            git.run("read-tree", sha)
            # Mode 0 takes an entry out; the id is not looked at.
            gone = b"".join(b"0 %s\t%s\0" % (b"0" * len(sha), path) for path in paths)
            git.run("update-index", "-z", "--index-info", stdin=gone)
            return git.run("write-tree", "--missing-ok").decode("ascii").strip()

    @contextlib.contextmanager
    def _index(self) -> Iterator[_Git]:
        """Give a git with an empty index of its own for a while."""
        with tempfile.TemporaryDirectory(dir=self._git_dir) as folder:
            environment = {**self._git.environment, "GIT_INDEX_FILE": str(Path(folder) / "index")}
            yield replace(self._git, environment=environment)


def open_store(git_dir: Path, *, object_format: str = "sha1") -> None:
    """Make an empty bare store with nothing of the machine's templates in it, unless it is there.

    Raises CodeError.
    """
    if (git_dir / "HEAD").exists():
        return
    git_dir.mkdir(parents=True, exist_ok=True)
    _Git(cwd=git_dir).run(
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--initial-branch=none",
        f"--object-format={object_format}",
        str(git_dir.resolve()),
    )


def fetch_commits(
    git_dir: Path,
    url: str,
    shas: Sequence[str],
    token: str | None = None,
    *,
    proxy: str | None = None,
    seconds: float = FETCH_SECONDS,
) -> GitObjects:
    """Fetch commits by id into a private bare store, without their history.

    Files larger than MAX_FILE_BYTES are left out and never fetched later. Only https is spoken, and
    http to this machine. The token stands in the environment of the one process that needs it,
    never in an argument, an address or a file. Raises CodeError.
    """
    wanted = [_full_id(sha) for sha in shas]
    settings, environment = _build_access(url, token, proxy)
    open_store(git_dir)
    objects = GitObjects(git_dir, missing=f"a file of more than {MAX_FILE_BYTES:,} bytes")
    absent = [sha for sha in wanted if not objects.has(sha)]
    if not absent:
        return objects
    config = git_dir / "config"
    pristine = config.read_bytes()
    git = _Git(
        cwd=objects.git_dir,
        arguments=tuple(_flags(settings)),
        environment={"GIT_DIR": str(objects.git_dir), **environment},
    )
    try:
        git.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--no-write-fetch-head",
            "--depth=1",
            f"--filter=blob:limit={MAX_FILE_BYTES}",
            "--end-of-options",
            url,
            # A name for each lets a later fetch ask for what is missing only.
            *(f"{sha}:refs/pinned/{sha}" for sha in absent),
            seconds=seconds,
        )
    finally:
        # A fetch with a filter names its server as the place to get the rest from when a missing
        # file is read. Nothing may be fetched behind our back: missing stays missing.
        config.write_bytes(pristine)
    lost = [sha for sha in absent if not objects.has(sha)]
    if lost:
        raise CodeError(f"the server did not send the commit {lost[0]}")
    return objects


def _build_access(
    url: str, token: str | None, proxy: str | None
) -> tuple[list[str], dict[str, str]]:
    """Check an address, and build the settings and the environment that a fetch from it needs."""
    parts = urlsplit(url)
    local = parts.hostname in _LOOPBACK
    if parts.username is not None or parts.password is not None or not parts.hostname:
        raise CodeError("the repository's address must be https://HOST/PATH, without a user")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise CodeError("repositories are fetched over https only")
    settings = [
        "http.followRedirects=false",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=60",
    ]
    environment = {"GIT_ALLOW_PROTOCOL": parts.scheme}
    if proxy is not None:
        environment[f"{parts.scheme}_proxy"] = proxy
    if token is not None:
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode("ascii")
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
    return settings, environment


def _show(path: bytes) -> str:
    """Decode a path; bytes that are not UTF-8 are written out, so that it can be shown anywhere."""
    return path.decode(errors="backslashreplace")


def _read_hits(data: bytes, limit: int, *, complete: bool) -> Iterator[Hit]:
    """Read ``SHA:PATH NUL LINE NUL TEXT`` lines; the last of an incomplete output is left out."""
    lines = data.split(b"\n")
    # A path may hold a newline itself, the rest of a record can't hold a NUL.
    record = b""
    for line in lines[:-1] if not complete or not lines[-1] else lines:
        record += line
        fields = record.split(b"\0", 2)
        if len(fields) < 3:  # noqa: PLR2004 - path, line, text
            record += b"\n"
            continue
        record = b""
        if limit <= 0:
            return
        limit -= 1
        text = fields[2].decode(errors="replace").removesuffix("\r")[:MAX_HIT_CHARACTERS]
        yield Hit(_show(fields[0].partition(b":")[2]), int(fields[1]), text)


def _read_changes(data: bytes, at: int) -> tuple[list[_Change], int]:
    """Read the raw records that start at an offset; return them and the offset behind them."""
    changes: list[_Change] = []
    while data.startswith(b":", at):
        facts, at = _read_field(data, at + 1)
        old_mode, new_mode, old_id, new_id, status = facts.decode("ascii").split(" ")
        old_path, at = _read_field(data, at)
        path, at = _read_field(data, at) if status[0] in "RC" else (old_path, at)
        change = _Change(
            status[0], _Entry(old_mode, old_id), _Entry(new_mode, new_id), old_path, path
        )
        changes.append(change)
    return changes, at


def _read_field(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise CodeError("the list of changed files is too long")
    return data[at:end], end + 1


def _read_files(data: bytes, *, complete: bool) -> tuple[RawFile, ...]:
    """Read what one ``diff-tree --raw --numstat --patch -z`` wrote; paths are from its raw part."""
    changes, at = _read_changes(data, 0)
    counts: list[tuple[bytes, bytes]] = []
    for _ in changes:
        numbers, at = _read_field(data, at)
        added, removed, path = numbers.split(b"\t", 2)
        if not path:  # a rename: both paths follow
            _, at = _read_field(data, at)
            _, at = _read_field(data, at)
        counts.append((added, removed))
    sections = _split_sections(data[at + 1 :])
    if not complete:
        sections = sections[:-1]
    files: list[RawFile] = []
    taken = 0
    for change, (added, removed) in zip(changes, counts, strict=True):
        halves = 2 if _is_type_change(change) else 1
        mine = sections[taken : taken + halves]
        taken += halves
        files.append(_read_patched(change, added, removed, mine if len(mine) == halves else None))
    if complete and taken != len(sections):
        raise CodeError("git's list of changed files and its patches do not agree")
    return tuple(files)


def _split_sections(patches: bytes) -> list[bytes]:
    """Cut patches into one text a file: every line of content has a mark, and names are quoted."""
    starts = [match.start() for match in _SECTION.finditer(patches)]
    return [patches[start:end] for start, end in pairwise([*starts, len(patches)])]


def _is_type_change(change: _Change) -> bool:
    """Tell a change that git shows as a removal and an addition: a file became a link."""
    return change.status == "T" and change.old.mode[:3] != change.new.mode[:3]


def _read_patched(
    change: _Change, added: bytes, removed: bytes, sections: Sequence[bytes] | None
) -> RawFile:
    if added == b"-":
        return _build_raw(change, patch=b"", binary=True)
    counted = replace(_build_raw(change), additions=int(added), deletions=int(removed))
    if sections is None:
        return replace(counted, too_large="more than could be compared at once")
    index = b"index %s..%s" % (change.old.object_id.encode(), change.new.object_id.encode())
    if len(sections) == 1 and b"\nindex " in sections[0] and index not in sections[0]:
        raise CodeError("git's list of changed files and its patches do not agree")
    return replace(counted, patch=b"".join(map(_find_hunks, sections)))


def _find_hunks(section: bytes) -> bytes:
    """Return a file's patch from its first hunk on."""
    at = section.find(b"\n@@ ")
    return section[at + 1 :] if at >= 0 else b""


_KINDS: Final = {
    "A": ChangeKind.ADDED,
    "D": ChangeKind.REMOVED,
    "R": ChangeKind.RENAMED,
    "C": ChangeKind.COPIED,
}


def _build_raw(
    change: _Change,
    *,
    patch: bytes | None = None,
    binary: bool = False,
    too_large: str | None = None,
) -> RawFile:
    same = change.old.object_id == change.new.object_id or change.status == "T"
    return RawFile(
        path=_show(change.path),
        kind=_KINDS.get(change.status, ChangeKind.CHANGED if same else ChangeKind.MODIFIED),
        patch=patch,
        old_path=_show(change.old_path) if change.status in "RC" else None,
        old_mode=None if change.status == "A" else change.old.mode,
        new_mode=None if change.status == "D" else change.new.mode,
        binary=binary,
        too_large=too_large,
    )


# A checkout on the user's own machine.


@dataclass(frozen=True, slots=True)
class PinnedDiff:
    """A change between two pinned objects; the head of a working tree is a tree, not a commit."""

    raw: RawDiff
    base_sha: str
    head_sha: str


@dataclass(frozen=True, slots=True)
class _WorkingFile:
    """One changed file of the working tree as it stands on disk."""

    path: bytes
    size: int
    tracked: bool


class LocalCheckout:
    """A user's checkout: what changed in it, and the code beside that.

    ``scratch`` is a directory of the caller's own that outlives this object; the private store is
    made there. ``home`` is the user's home directory, whose git configuration says which checkouts
    are safe to read and how line ends are kept. Raises UserError when there is no checkout here.
    """

    def __init__(self, directory: Path, scratch: Path, *, home: Path | None = None) -> None:
        home = home or Path.home()
        self._user = _Git(
            cwd=directory,
            environment={
                "HOME": str(home),
                "XDG_CONFIG_HOME": str(home / ".config"),
                "GIT_CONFIG_NOSYSTEM": None,
                "GIT_CONFIG_GLOBAL": None,
            },
        )
        self._home = home
        if not directory.is_dir():
            raise UserError(f"{directory} is not a directory: name a checkout with --repo.")
        self.root = Path(self._find("--show-toplevel"))
        self._user = replace(self._user, cwd=self.root)
        store = scratch / "store.git"
        open_store(store, object_format=self._find("--show-object-format"))
        borrowed = self._find_path("objects")
        (store / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (store / "objects" / "info" / "alternates").write_bytes(_quote(os.fsencode(borrowed)))
        self.objects = GitObjects(
            store, missing="its content is not in this partial clone: fetch it with git first"
        )

    @functools.cached_property
    def head_sha(self) -> str | None:
        """The commit that is checked out; None before the first one."""
        return self._look_up("HEAD")

    def resolve(self, revision: str) -> str:
        """Find the commit that a revision names. Raises UserError."""
        sha = self._look_up(revision)
        if sha is None:
            raise UserError(
                f"{_show_word(revision)} is not a revision of this repository:"
                " check its name with git log, or fetch it first."
            )
        return sha

    def default_base(self) -> str | None:
        """Find the branch that changes are made against; None when there is no commit yet."""
        branch = self._user.try_run("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
        candidates = [branch.data.decode(errors="replace").strip(), *_DEFAULT_BRANCHES, "HEAD"]
        return next((name for name in candidates if name and self._look_up(name)), None)

    def merge_base(self, one: str, other: str) -> str:
        """Find the last commit that two revisions share. Raises UserError."""
        output = self._user.try_run("merge-base", self.resolve(one), self.resolve(other))
        if output.status or output.cut:
            raise UserError(
                f"{_show_word(one)} and {_show_word(other)} share no commit here: name another"
                " base with --base, or get the whole history with git fetch --unshallow."
            )
        return output.data.decode("ascii").split("\n")[0]

    def diff_working(self, base: str | None = None, *, staged: bool = False) -> PinnedDiff:
        """Compare the working tree, or only the index, with the merge base of HEAD and ``base``.

        ``base`` is the default branch unless one is named; for the index alone it is HEAD.
        Committed, staged, unstaged and untracked changes count; the user's index stays as it is.
        Raises UserError, CodeError.
        """
        if base is None and staged and self.head_sha is not None:
            base = "HEAD"
        told: tuple[str, ...] = ()
        if base is None:
            base = self.default_base()
            told = (_NO_DEFAULT,) if base == "HEAD" else ()
        if base is None:
            base_sha = self._snapshot_git().run("mktree").decode("ascii").strip()
        elif self.head_sha is None:
            base_sha = self.resolve(base)
        else:
            base_sha = self.merge_base(base, "HEAD")
        head_sha, withheld, notes = self._snapshot(staged=staged)
        raw = self.objects.diff_raw(base_sha, head_sha)
        left_out = {file.path for file in withheld}
        kept = tuple(file for file in raw.files if file.path not in left_out)
        return PinnedDiff(
            RawDiff((*kept, *withheld), (*raw.notes, *told, *notes)), base_sha, head_sha
        )

    def diff_range(self, text: str) -> PinnedDiff:
        """Compare two commits: ``A..B`` as they are, ``A...B`` from their merge base.

        Raises UserError, CodeError.
        """
        dots = "..." if "..." in text else ".."
        old, found, new = text.partition(dots)
        if not found:
            raise UserError(f"{_show_word(text)} is not a range: write it as A..B.")
        old, new = old or "HEAD", new or "HEAD"
        base_sha = self.merge_base(old, new) if dots == "..." else self.resolve(old)
        head_sha = self.resolve(new)
        return PinnedDiff(self.objects.diff_raw(base_sha, head_sha), base_sha, head_sha)

    def _find(self, question: str, *arguments: str) -> str:
        """Ask rev-parse one question about the checkout."""
        output = self._user.try_run("rev-parse", question, *arguments)
        if output.status or output.cut:
            raise UserError(_explain_no_checkout(self._user.cwd, output.errors))
        return os.fsdecode(output.data.removesuffix(b"\n"))

    def _find_path(self, name: str) -> Path:
        """Find where the repository keeps one of its own files; a worktree shares most of them."""
        return (self.root / self._find("--git-path", name)).resolve()

    def _look_up(self, revision: str) -> str | None:
        if revision.startswith("-") or not revision.isprintable():
            return None
        output = self._user.try_run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )
        found = output.data.decode(errors="replace").strip()
        return found if not output.status and _OBJECT_ID.fullmatch(found) else None

    # The snapshot. A private index, seeded with the user's own for the sake of its file times,
    # takes in what differs on disk; objects are written to the private store. `git add` would ask
    # git for the state of submodules, whose own configuration is not ours to trust; the plumbing
    # does not. Filters (filter.*.clean, as git-lfs has) are programs that a configuration names,
    # and the private store's names none: files are taken as they are on disk. Where that matters,
    # for a file under a filter, it is compared by hand (LFS) or named in a note.

    def _snapshot(self, *, staged: bool) -> tuple[str, tuple[RawFile, ...], tuple[str, ...]]:
        """Write the index or the working tree as a tree object.

        Returns its id, the files that are too large to be in it, and notes.
        """
        git = self._snapshot_git()
        self._copy_index()
        withheld: tuple[RawFile, ...] = ()
        notes: list[str] = []
        if not staged:
            self._copy_excludes()
            changed, nested = self._list_working(git)
            changed, filtered = self._drop_unchanged_lfs(git, changed)
            notes += [
                f"{_show(path)} is a repository of its own and was not looked at" for path in nested
            ]
            notes += [
                f"{_show(path)} is taken as it is on disk: its filter is not run"
                for path in filtered
            ]
            large = [file for file in changed if file.size > MAX_DIFF_BLOB_BYTES]
            withheld = tuple(map(_build_withheld, large))
            self._take_in(git, [file.path for file in changed if file not in large])
        output = git.try_run("write-tree", "--missing-ok")
        if output.status or output.cut:
            raise UserError(
                "The index can't be read as a tree: resolve the conflicts that git status names."
            )
        return output.data.decode("ascii").strip(), withheld, tuple(notes)

    def _snapshot_git(self) -> _Git:
        store = self.objects.git_dir
        return _Git(
            cwd=store,
            arguments=tuple(_flags(self._keeping_settings)),
            environment={
                "GIT_DIR": str(store),
                "GIT_WORK_TREE": str(self.root),
                "GIT_INDEX_FILE": str(store / "snapshot-index"),
            },
        )

    @functools.cached_property
    def _keeping_settings(self) -> tuple[str, ...]:
        """The user's own settings that say how file contents, modes and names are kept."""
        output = self._user.try_run(
            "config", "--null", "--get-regexp", rf"^core\.({'|'.join(_KEEPING)})$"
        )
        found = dict(
            setting.partition("\n")[::2] for setting in os.fsdecode(output.data).split("\0")[:-1]
        )
        settings = [
            f"{key}={value}" for key, value in found.items() if value.lower() in _KEEPING_VALUES
        ]
        excludes = self._user.try_run("config", "--type=path", "--get", "core.excludesFile")
        path = os.fsdecode(excludes.data.removesuffix(b"\n"))
        path = path or str(self._home / ".config" / "git" / "ignore")
        return (*settings, "core.safecrlf=false", f"core.excludesFile={path}")

    def _copy_index(self) -> None:
        """Copy the index with its time: git trusts a file's time only if it is older than that."""
        index = self._find_path("index")
        target = self.objects.git_dir / "snapshot-index"
        target.unlink(missing_ok=True)
        if index.exists():
            shutil.copy2(index, target)
        for shared in index.parent.glob("sharedindex.*"):
            shutil.copy2(shared, self.objects.git_dir / shared.name)

    def _copy_excludes(self) -> None:
        excludes = self._find_path("info/exclude")
        if excludes.is_file():
            target = self.objects.git_dir / "info" / "exclude"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(excludes, target)

    def _list_working(self, git: _Git) -> tuple[list[_WorkingFile], list[bytes]]:
        """List the files that differ from the index, and the nested repositories among them."""
        modified = git.run("diff-files", "-z", "--name-only", "--ignore-submodules=dirty")
        others = git.run("ls-files", "-z", "--others", "--exclude-standard")
        tracked = dict.fromkeys(modified.split(b"\0")[:-1])
        untracked = others.split(b"\0")[:-1]
        nested = [path for path in untracked if path.endswith(b"/")]
        files = [
            _WorkingFile(path, self._size_on_disk(path), tracked=path in tracked)
            for path in (*tracked, *untracked)
            if not path.endswith(b"/")
        ]
        return files, nested

    def _size_on_disk(self, path: bytes) -> int:
        """Look up a file's size; a link, a folder and what is gone count for nothing."""
        try:
            status = os.lstat(os.path.join(os.fsencode(self.root), path))  # noqa: PTH118 - bytes
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _drop_unchanged_lfs(
        self, git: _Git, files: Sequence[_WorkingFile]
    ) -> tuple[list[_WorkingFile], list[bytes]]:
        """Drop files whose index entry is the LFS pointer to what is on disk.

        Returns the rest, and the paths among them that stand under a filter.
        """
        tracked = [file.path for file in files if file.tracked]
        listing = git.run(
            "check-attr", "-z", "--stdin", "filter", stdin=b"".join(p + b"\0" for p in tracked)
        ).split(b"\0")
        filtered = {
            path
            for path, value in zip(listing[0::3], listing[2::3], strict=False)
            if value not in _NO_FILTER
        }
        if not filtered:
            return list(files), []
        pointers = self._read_pointers(git, filtered)
        same = {
            file.path
            for file in files
            if file.path in pointers and self._matches_pointer(file, pointers[file.path])
        }
        return [file for file in files if file.path not in same], sorted(filtered - same)

    def _read_pointers(self, git: _Git, paths: AbstractSet[bytes]) -> dict[bytes, bytes]:
        """Read the small blobs that the index has for paths."""
        ids: dict[bytes, str] = {}
        for record in git.run("ls-files", "-z", "--stage").split(b"\0")[:-1]:
            facts, _, path = record.partition(b"\t")
            if path in paths:
                ids[path] = facts.split(b" ")[1].decode("ascii")
        blobs = self.objects.read_small(ids.values())
        return {path: blobs[object_id] for path, object_id in ids.items() if object_id in blobs}

    def _matches_pointer(self, file: _WorkingFile, pointer: bytes) -> bool:
        match = _LFS_POINTER.fullmatch(pointer)
        if match is None or int(match["size"]) != file.size:
            return False
        path = os.path.join(os.fsencode(self.root), file.path)  # noqa: PTH118 - bytes
        with open(path, "rb") as content:  # noqa: PTH123 - bytes
            return hashlib.file_digest(content, "sha256").hexdigest().encode() == match["oid"]

    def _take_in(self, git: _Git, paths: Sequence[bytes]) -> None:
        """Bring the private index up to what is on disk."""
        output = git.try_run(
            "update-index",
            "-z",
            "--add",
            "--remove",
            "--replace",
            "--stdin",
            stdin=b"".join(path + b"\0" for path in paths),
        )
        if output.status or output.cut:
            raise UserError(
                f"The working tree could not be read ({output.errors}):"
                " mend that, or commit what is to be reviewed and name a range."
            )


_DEFAULT_BRANCHES: Final = (
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)
_NO_DEFAULT: Final = (
    "no default branch was found (origin/HEAD, main or master), so only what is not committed is"
    " compared: name another base with --base"
)
_KEEPING: Final = (
    "autocrlf",
    "eol",
    "filemode",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
)
_KEEPING_VALUES: Final = frozenset(
    {"true", "false", "yes", "no", "on", "off", "1", "0", "input", "lf", "crlf", "native"}
)
_NO_FILTER: Final = frozenset({b"unspecified", b"unset", b""})
_LFS_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:[a-z0-9.-]+ .*\n)*?"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>[0-9]{1,18})\n"
)


def _build_withheld(file: _WorkingFile) -> RawFile:
    return RawFile(
        path=_show(file.path),
        kind=ChangeKind.MODIFIED if file.tracked else ChangeKind.ADDED,
        patch=None,
        too_large=f"a file of {file.size:,} bytes",
    )


def _explain_no_checkout(directory: Path, errors: str) -> str:
    """Turn git's words on a directory into a sentence that names the mend."""
    if "dubious ownership" in errors:
        return (
            f"{directory} belongs to another user: if you trust it, run"
            f" git config --global --add safe.directory {directory}."
        )
    if "work tree" in errors or "bare repository" in errors:
        return f"{directory} is a bare repository: name a checkout with --repo."
    if "not a git repository" in errors:
        return f"{directory} is not in a git repository: run this in one, or name one with --repo."
    return f"{directory} can't be read as a git repository: {errors}."


def _show_word(word: str) -> str:
    """Quote what a user typed, so that it can stand in a sentence."""
    return repr(word[:100])


def _quote(path: bytes) -> bytes:
    """Quote a path for git's list of alternates, in C's way."""
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"\n'
