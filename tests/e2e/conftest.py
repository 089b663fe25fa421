"""A GitHub, a model service and a real ``postil serve`` on loopback, and what became of it."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.core.ledger import Conclusion
from sandbox.github import App, Call, CheckRun, GitHub, Pull, Repository, User, shapes
from sandbox.github.state import Json
from sandbox.models import Act, ModelServer, Planted
from sandbox.models.server import Seen
from sandbox.serving import SERVE, Server, free_port, running_server, until, wait_until_ready

LIMIT_S = 60.0
BUG = "Division by zero on an empty list"
OLD = b"def mean(xs):\n    return sum(xs) / max(len(xs), 1)\n"
NEW = b"def mean(xs):\n    return sum(xs) / len(xs)\n"
"""The model finds a bug in line 2, and ruff nothing."""
Files = Mapping[str, bytes | None]
JOBS = "SELECT key, state FROM postil_jobs WHERE kind != 'repair'"
REPAIRS = "SELECT state, payload FROM postil_jobs WHERE kind = 'repair'"
DELIVERIES = "SELECT guid, job_key FROM postil_deliveries"
ACTIVE = {"queued", "running"}
REPAIRING = (
    "import sys; from functools import partial; from app.__main__ import main; "
    "from app.bootstrap import server; "
    "server.Pace = partial(server.Pace, repair=float(sys.argv[1]), tend=0.1, quiet=0.0); "
    "sys.argv[1:] = ['serve']; main()"
)
"""``postil serve`` that repairs at once, and then every so many seconds."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything around one server; ``acts`` is what the model does to prompts that hold a text."""

    github: GitHub
    model: ModelServer
    app: App
    folder: Path
    acts: dict[str, Act] = field(default_factory=dict)

    @contextmanager
    def serving(
        self, environ: Mapping[str, str] | None = None, command: Sequence[str] = SERVE
    ) -> Iterator[Server]:
        """Run a server until the block ends; the next one goes on where it was."""
        chosen = {**self.choice_of_model(), **(environ or {})}
        with running_server(self.app, self.github.url, self.folder, chosen, command) as server:
            wait_until_ready(server, LIMIT_S)
            yield server

    def choice_of_model(self) -> dict[str, str]:
        return {
            "POSTIL_PROVIDER": self.model.row.id,
            "POSTIL_BASE_URL": self.model.base_url,
            "POSTIL_MODEL": "stand-in",
            "POSTIL_API_KEY": self.model.key,
        }

    def create_repository(self, name: str, files: Files | None = None) -> Repository:
        """Create a repository with a module of its name, so that no prompt is another test's."""
        repository = self.github.create_repository(
            f"acme/{name}", {f"{name}.py": OLD, **(files or {})}
        )
        if not self.github.installations:
            self.github.install(self.app, repository.owner)
        return repository

    def open_pull(
        self,
        repository: Repository,
        files: Files | None = None,
        *,
        branch: str = "work",
        draft: bool = False,
    ) -> Pull:
        """Open a pull request that breaks the module, unless ``files`` says otherwise."""
        changes = {f"{repository.name}.py": NEW, **(files or {})}
        repository.commit(changes, branch=branch, message="Work")
        return repository.open_pull(
            branch, "Simplify the mean", author=self.user("robin"), draft=draft
        )

    def payload(self, pull: Pull, action: str) -> Json:
        """Return what GitHub says of a pull request, to be delivered by hand."""
        installation = next(iter(self.github.installations.values()))
        told = {
            "action": action,
            "number": pull.number,
            "pull_request": shapes.pull(self.github, pull),
        }
        return self.github.addressed(told, installation, pull.repository, pull.author)

    def user(self, login: str) -> User:
        return self.github.users.get(login) or self.github.create_user(login)

    def wait_until_done(self, limit_s: float = LIMIT_S) -> None:
        """Wait until every delivery was answered and every job has ended."""
        self.github.settle(limit_s)
        until(lambda: not self.active_jobs(), limit_s, lambda: f"not done: {self.jobs()}")

    def active_jobs(self) -> list[str]:
        return [key for key, state in self.jobs().items() if state in ACTIVE]

    def jobs(self) -> dict[str, str]:
        return dict(self._rows(JOBS))

    def deliveries(self) -> dict[str, str | None]:
        return dict(self._rows(DELIVERIES))

    def repaired(self) -> bool:
        """Tell whether a repair has come to its end."""
        return [state for state, _ in self._rows(REPAIRS)] == ["done"]

    def _rows(self, query: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.folder / "data" / "postil.db")) as connection:
            return connection.execute(query).fetchall()

    def writes(self, repository: Repository) -> list[tuple[str, str]]:
        """Name the calls that changed something in a repository, oldest first."""
        start = f"/repos/{repository.full_name}/"
        return [
            (call.method, call.path.removeprefix(start))
            for call in self.github.calls
            if call.method in {"POST", "PATCH", "PUT", "DELETE"} and call.path.startswith(start)
        ]

    def asked(self, text: str) -> list[Seen]:
        """Return the requests to the model whose prompt holds a text."""
        return [seen for seen in self.model.seen if text in seen.prompt]

    def check_invariants(self, before: Collection[int] = ()) -> None:
        """Check what holds after every story; ``before`` are repositories of earlier ones."""
        assert self.github.unexpected == []
        assert self.model.refusals == ()
        jobs = self.jobs()
        assert not self.active_jobs()
        for guid, key in self.deliveries().items():
            assert key is None or key in jobs, f"the delivery {guid} has no job"
        accepted = {one.guid for one in self.github.deliveries if one.status_code == 202}
        assert accepted <= self.deliveries().keys()
        for repository in self.github.repositories.values():
            if repository.id not in before:
                check_repository(repository)

    def calls(self, method: str, pattern: str) -> list[Call]:
        return self.github.called(method, pattern)


def repairing(every_s: float) -> Sequence[str]:
    """Return how to run a server that repairs every so many seconds."""
    return "-c", REPAIRING, str(every_s)


def checks(pull: Pull, sha: str | None = None) -> list[CheckRun]:
    """Return the check runs on a commit, or on the head."""
    wanted = sha or pull.head_sha
    return [run for run in pull.repository.check_runs if run.suite.head_sha == wanted]


def check(pull: Pull, sha: str | None = None) -> CheckRun:
    (run,) = checks(pull, sha)
    return run


def told(run: CheckRun) -> str:
    """Return all the words of a check run."""
    return f"{run.output['title']}\n{run.output['summary']}"


def comments(pull: Pull) -> list[tuple[str, int, str]]:
    """Return path, line and text of every review comment."""
    return [
        (one.thread.path, one.thread.original.line or 0, one.body) for one in pull.review_comments
    ]


def spots(pull: Pull) -> list[tuple[str, int]]:
    return sorted((path, line) for path, line, _ in comments(pull))


def check_repository(repository: Repository) -> None:
    """Check that nothing hangs, nothing is called clean that is not, and nothing is said twice."""
    for run in repository.check_runs:
        assert run.status == "completed"
        if run.conclusion == Conclusion.SUCCESS:
            assert " 0 not reviewed" in str(run.output["summary"])
    for pull in repository.pulls.values():
        said = [(path, line, body.partition("<!--")[0]) for path, line, body in comments(pull)]
        said += [("", 0, body) for body in replies(pull)]
        assert max(Counter(said).values(), default=0) <= 1, said


def replies(pull: Pull) -> list[str]:
    """Return what our App said in the conversation."""
    return [one.body for one in pull.comments if one.author.app is not None]


@contextmanager
def open_stage(
    folder: Path, clock: Callable[[], float] = time.time, row: str = "openai-compatible"
) -> Iterator[Stage]:
    acts: dict[str, Act] = {}

    def act(seen: Seen) -> Act | None:
        return next((act for text, act in list(acts.items()) if text in seen.prompt), None)

    brain = Planted({r"/ len\(": BUG})
    service = ModelServer(row, brain=brain, script=act, clock=clock)
    with GitHub() as github, service as model:
        github.clock = clock
        app = github.create_app(webhook_url=f"http://127.0.0.1:{free_port()}/webhook")
        yield Stage(github, model, app, folder, acts)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage of its own, with no server yet."""
    with open_stage(tmp_path) as opened:
        yield opened
        opened.check_invariants()


@dataclass(frozen=True, slots=True)
class House:
    """A stage whose server runs."""

    stage: Stage
    server: Server


@pytest.fixture(scope="session")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    # it repairs once, before the first test: what tests keep quiet about is not to be found
    with open_stage(folder) as opened, opened.serving(command=repairing(3600)) as server:
        until(opened.repaired, LIMIT_S, lambda: "no repair came to its end")
        yield House(opened, server)


@pytest.fixture
def house(_house: House) -> Iterator[House]:
    """The one stage and server that tests share, each with a repository of its own."""
    before = set(_house.stage.github.repositories)
    yield _house
    _house.stage.acts.clear()
    _house.stage.check_invariants(before)
