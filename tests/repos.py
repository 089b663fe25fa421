"""Real git repositories in temporary directories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
