"""What the server's measurements share: a sandbox GitHub, a stand-in model and real servers."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.github import App, GitHub, Pull, Repository
from sandbox.models import Act, ModelServer, Planted
from sandbox.models.server import Seen
from sandbox.serving import Server, completed_check, free_port, running_server, wait_until_ready

BUG = "Division by zero on an empty list"
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Town:
    """Everything around the servers of one measurement."""

    github: GitHub
    model: ModelServer
    app: App
    folder: Path

    def create_repository(self, owner: str) -> Repository:
        """Create a repository of an owner who has the App installed."""
        made = self.github.create_repository(f"{owner}/shop", {"README.md": b"# Shop\n"})
        self.github.install(self.app, made.owner)
        return made

    def open_pull(self, repository: Repository, branch: str, files: Mapping[str, bytes]) -> Pull:
        """Open a pull request without telling anybody."""
        repository.commit(dict(files), branch=branch, message="Work")
        robin = self.github.users.get("robin") or self.github.create_user("robin")
        with self.github.quietly():
            return repository.open_pull(branch, f"Work on {branch}", author=robin)

    @contextmanager
    def serving(self, count: int = 1, **environ: str) -> Iterator[list[Server]]:
        """Run servers on one database until the block ends."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._server(number, environ)) for number in range(count)]

    @contextmanager
    def _server(self, number: int, environ: Mapping[str, str]) -> Iterator[Server]:
        folder, port = self.folder / str(number), free_port()
        folder.mkdir()
        chosen = {
            "POSTIL_PROVIDER": "openai-compatible",
            "POSTIL_BASE_URL": self.model.base_url,
            "POSTIL_MODEL": "stand-in",
            "POSTIL_API_KEY": self.model.key,
            "POSTIL_PORT": str(port),
            **environ,
        }
        with running_server(self.app, self.github.url, folder, chosen) as started:
            server = replace(started, address=f"http://127.0.0.1:{port}")
            wait_until_ready(server)
            self.app.webhook_url = f"{server.address}/webhook"
            yield server


@contextmanager
def open_town(delay_s: float = 0.0) -> Iterator[Town]:
    """Open a GitHub and a model whose answers take so long."""

    def act(_seen: Seen) -> Act:
        return Act(delay=delay_s)

    brain = Planted({r"/ len\(": BUG})
    with (
        tempfile.TemporaryDirectory(prefix="postil-bench-") as name,
        GitHub() as github,
        ModelServer("openai-compatible", brain=brain, script=act) as model,
    ):
        yield Town(github, model, github.create_app(webhook_url=None), Path(name))


def wait_for_reviews(pulls: list[Pull], limit_s: float = LIMIT_S) -> float:
    """Wait until every pull's check run is completed; return the seconds that took."""
    began = time.monotonic()
    while left := [pull for pull in pulls if completed_check(pull) is None]:
        if time.monotonic() - began > limit_s:
            raise RuntimeError(f"{len(left)} pull requests were not reviewed in {limit_s:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began


def memory_mib(server: Server) -> tuple[float, float]:
    """Return a server's resident memory now and at its highest, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
