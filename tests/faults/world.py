"""A world in which things go wrong: a GitHub, a model service, and servers in this process.

A server here is made of the same parts as ``postil serve``, with other patience: where it would
sleep the clock is put forward, and when all that is left to do waits for its time, time passes.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import requests
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from dbos import DBOS, DBOSConfig
from fastapi import FastAPI
from requests.adapters import HTTPAdapter

from app import jobs
from app.adapters.books import Books
from app.adapters.durable import DurableModel
from app.adapters.github import access
from app.adapters.github.access import GitHubApp
from app.adapters.github.transport import open_session
from app.adapters.log import RedactingFormatter
from app.adapters.turns import SharedTurns
from app.bootstrap import server as parts
from app.bootstrap.server import Office
from app.jobs import Jobs, Pace
from app.ports import Analyzers, AnalyzersReport, SourceFile
from app.repairs import Repairs
from app.settings import Settings
from app.web.app import Doors, build_app
from app.web.server import build_server
from sandbox.github import Call, Fault, GitHub, Repository
from sandbox.models import Act, Planted
from sandbox.models.server import Seen
from sandbox.serving import environment, until
from tests.e2e.conftest import OLD, Stage, open_stage

LIMIT_S = 30.0
NEVER = 1e12
"""The pace of a server that repairs once, when it has started."""
TOKENS = "/app/installations/{number}/access_tokens"
LIST = "/repos/{owner}/{repo}/pulls"
read_key = cache(load_pem_private_key)
"""Reads a key once: it takes as long as all else of a start."""
BACKOFF_S = 0.05
"""So long is waited for a model service that does not say how long to wait."""
SILENCE_S = 0.2
"""So long is listened to somebody who has been told to say nothing."""
WAITING = """
SELECT name, status, delay_until_epoch_ms FROM workflow_status
WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')
"""
ACTIVE = "SELECT key FROM postil_jobs WHERE state IN ('queued', 'running')"
JOBS = "SELECT key, kind, state, repository_id, number, head_sha, note FROM postil_jobs"
RUNS = "SELECT run_id, record FROM postil_runs ORDER BY kept_at"
SOONER = """
UPDATE workflow_status SET delay_until_epoch_ms = delay_until_epoch_ms - ?
WHERE status = 'DELAYED'
"""


@dataclass(slots=True)
class Time:
    """Everybody's clock: it goes as clocks do, and a sleep puts it forward at once."""

    ahead: float = 0.0
    slept: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.jump(seconds)

    def jump(self, seconds: float) -> None:
        with self.lock:
            self.ahead += seconds


class NoTools:
    """No analyzers: what they run is no part of these stories, and takes most of the time."""

    def run(self, files: Sequence[SourceFile]) -> AnalyzersReport:
        del files
        return AnalyzersReport(())


@dataclass(slots=True)
class Detour:
    """Sends calls that match to another address, so many times."""

    method: str
    pattern: str
    origin: str
    times: int = 1

    def redirect(self, request: requests.PreparedRequest) -> None:
        """Change the address of a call that matches."""
        parts = urlsplit(request.url or "")
        if self.times and request.method == self.method and re.search(self.pattern, parts.path):
            self.times -= 1
            request.url = f"{self.origin}{parts.path}?{parts.query}"


class Listener(HTTPAdapter):
    """Waits as long as others do, save where GitHub has taken a call and will never answer it.

    Some calls it sends elsewhere: to no host at all, or to one that does not speak as it should.
    """

    def __init__(self, github: GitHub, detours: Sequence[Detour]) -> None:
        super().__init__(max_retries=0)
        self._github = github
        self._detours = detours

    def send(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401 - whatever there is
        **facts: Any,  # noqa: ANN401
    ) -> requests.Response:
        for detour in self._detours:
            detour.redirect(request)
        call = (request.method or "", str(urlsplit(request.url or "").path))
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        if not self._github.script.will_hang(*call, body):
            return super().send(request, *args, **facts)
        known = len(self._taken(*call))
        try:
            return super().send(request, *args, **{**facts, "timeout": SILENCE_S})
        except requests.ReadTimeout:
            taken = partial(self._taken, *call)
            until(lambda: len(taken()) > known, LIMIT_S, lambda: f"not taken: {call}", 0.01)
            raise

    def _taken(self, method: str, path: str) -> list[Call]:
        return [one for one in self._github.calls if (one.method, one.path) == (method, path)]


class Canary:
    """A port that nobody has a reason to call."""

    def __init__(self) -> None:
        self.hits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.hits += 1
            caller.close()


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that a server keeps."""

    key: str
    kind: str
    state: str
    repository_id: int
    number: int
    head_sha: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """Everything around the servers, and its time."""

    stage: Stage
    time: Time
    canary: Canary
    checked: set[int] = field(default_factory=set)
    """The calls that a story has said it expects, by their ``id``: they are kept for ever."""
    moods: list[Callable[[Seen], Act | None]] = field(default_factory=list)
    """What else the model does: the first that says something about a prompt decides."""
    useless: set[int] = field(default_factory=set)
    """The questions whose answers were not as they should be, by their ``id``."""
    detours: list[Detour] = field(default_factory=list)
    """Calls that do not come to GitHub."""
    life: ExitStack = field(default_factory=ExitStack)
    """The server that lives from one story to the next."""

    @property
    def github(self) -> GitHub:
        return self.stage.github

    @property
    def database(self) -> Path:
        return self.stage.folder / "data" / "postil.db"

    def create_repository(
        self, full_name: str, files: Mapping[str, bytes] | None = None
    ) -> Repository:
        """Create a repository whose owner has the App on all of theirs."""
        repository = self.github.create_repository(
            full_name, {f"{full_name.partition('/')[2]}.py": OLD, **(files or {})}
        )
        if not self.github.installations_on(repository):
            self.github.install(self.stage.app, repository.owner)
        return repository

    def inject(self, method: str, pattern: str, **facts: Any) -> Fault:  # noqa: ANN401 - Fault's own fields
        return self.github.inject(Fault(method, pattern, **facts))

    def plant(self, pattern: str, **finding: str) -> None:
        """Let the model find this wherever an added line matches."""
        brain = cast("Planted", self.stage.model._brain)
        cast("dict[str, object]", brain.bugs)[pattern] = finding

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.github.script.faults.clear()
        self.detours.clear()
        self.github.script.weather = lambda _method, _path: None
        self.github.lag(0)
        self.stage.acts.clear()
        self.moods.clear()

    def act(self, seen: Seen) -> Act | None:
        """Say what the model does to a question, if it is anything but to answer it."""
        moods = [*self.moods, self._by_text]
        act = next((act for mood in moods if (act := mood(seen)) is not None), None)
        if act is not None and replace(act, delay=0.0) != Act():
            self.useless.add(id(seen))
        return act

    def _by_text(self, seen: Seen) -> Act | None:
        acts = list(self.stage.acts.items())
        return next((act for text, act in acts if text in seen.prompt), None)

    def afflict(self, text: str, *acts: Act) -> list[Act]:
        """Let the model do these, one after the other, to prompts that hold a text.

        What is left of them is returned: an empty list when all were done.
        """
        left = list(acts)

        def mood(seen: Seen) -> Act | None:
            return left.pop(0) if left and text in seen.prompt else None

        self.moods.append(mood)
        return left

    # what servers keep

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(text).fetchall()

    def jobs(self) -> list[Kept]:
        return [Kept(*row) for row in self.query(JOBS)]

    def deliveries(self) -> dict[str, str | None]:
        """Return the deliveries that are known, and their jobs."""
        return self.stage.deliveries()

    def records(self, key: str) -> list[dict[str, Any]]:
        """Return the records of a job's finished runs, oldest first."""
        rows = self.query(RUNS)
        return [json.loads(record) for run_id, record in rows if run_id.rpartition(".")[0] == key]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Read what servers leave on the disk: the log and the database."""
        folder = self.stage.folder
        for path in (*folder.rglob("*.log"), *folder.rglob("postil.db*")):
            yield path.name, path.read_bytes()

    @contextmanager
    def living(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        analyzers: type[Analyzers] = NoTools,
        **pace: float,
    ) -> Iterator[Office]:
        """Let a server live in this process until the block ends."""
        stage = self.stage
        data = stage.folder / "data"
        chosen = environment(stage.app, stage.github.url, data) | stage.choice_of_model()
        settings = Settings.read({**chosen, **(environ or {})})
        with ExitStack() as stack:
            stack.enter_context(_logging(stage.folder / "server.log", settings))
            patch = stack.enter_context(hurried(self.time, self.github, self.detours, **pace))
            patch.setattr(parts, "AnalyzerSuite", analyzers)
            office = Office(settings)
            stack.callback(_forget, office)
            doors = Doors(
                accept=office._jobs.desk.accept,
                secrets=[secret.encode() for secret in settings.webhook_secrets],
                version="0",
                troubles=lambda: office.troubles(works=True),
                app_id=settings.github_app_id,
            )
            web = Web(build_app(doors), urlsplit(stage.app.webhook_url or "").port or 0)
            stack.callback(web.wait)
            stack.enter_context(office.running(works=True))
            web.open()
            stack.callback(web.close)
            yield office

    def restart(
        self, environ: Mapping[str, str] | None = None, *, analyzers: type[Analyzers] = NoTools
    ) -> list[Call]:
        """End the server that lives here, if one does; start one, and let it go on and repair.

        It lives until the next restart. Returns the calls that it made.
        """
        self.life.close()
        since = len(self.github.calls)
        living = self.living(environ, analyzers=analyzers, repair=NEVER)
        office = self.life.enter_context(living)
        office._jobs.tend()
        self.wait_until_done()
        made = self.github.calls[since:]
        for home in self.github.repositories.values():
            listed = any(call.template == LIST for call in made if self._home(call) == home.id)
            assert listed == self.may_be_read(home), f"not looked at: {home.full_name}"
        self.checked.update(map(id, made))
        return made

    def may_be_read(self, home: Repository) -> bool:
        installed = self.github.installations_on(home)
        return any(one.suspended_at is None for one in installed)

    def wait_until_done(self) -> None:
        """Wait until every job has ended, letting time pass whenever nothing else is left to do."""
        self.github.settle(LIMIT_S)
        until(self._is_done, LIMIT_S, lambda: f"not done: {self.stage.jobs()}", 0.02)

    def _is_done(self) -> bool:
        with closing(sqlite3.connect(self.database)) as connection:
            if not connection.execute(ACTIVE).fetchall():
                return True
        self.pass_time()
        return False

    def pass_time(self) -> None:
        """Put the clock to when something is due next, unless something is under way now."""
        with closing(sqlite3.connect(self.database)) as connection:
            early = self._early(connection)
            if early > 0:
                with connection:
                    connection.execute(SOONER, [early])
                self.time.jump(early / 1000)

    def _early(self, connection: sqlite3.Connection) -> int:
        """Return the milliseconds until something is due; 0 when something is under way."""
        rows = connection.execute(WAITING).fetchall()
        waiting = [row for row in rows if row[0] == "postil_ask"] or rows
        if not waiting or any(row[1] != "DELAYED" for row in waiting):
            return 0
        return int(min(row[2] for row in waiting) - time.time() * 1000)

    def about(self, repository: Repository, since: int = 0) -> list[Call]:
        """Return the calls about a repository, oldest first, by whatever name it had."""
        return [call for call in self.github.calls[since:] if self._home(call) == repository.id]

    def _home(self, call: Call) -> int | None:
        """Return which repository a call is about: its path says it, or what it sends."""
        if call.repository_id is not None or call.template not in {"/graphql", TOKENS}:
            return call.repository_id
        sent = json.loads(call.body)
        if call.template == TOKENS:
            wanted = sent.get("repository_ids")
            return int(wanted[0]) if wanted else None
        names = sent.get("variables", {})
        found = self.github.find_repository(f"{names.get('owner')}/{names.get('name')}")
        return found.id if found else None


@contextmanager
def open_world(folder: Path, service: str = "openai-compatible") -> Iterator[World]:
    """Open a world without servers; ``service`` is which model service stands in it."""
    time_, canary = Time(), Canary()
    try:
        with open_stage(folder, row=service) as stage:
            stage.github.clock = time_
            opened = World(stage, time_, canary)
            stage.model._script = opened.act
            with opened.life:
                yield opened
    finally:
        canary.close()


@contextmanager
def hurried(
    clock: Time, github: GitHub | None = None, detours: Sequence[Detour] = (), **pace: float
) -> Iterator[pytest.MonkeyPatch]:
    """Let servers that are built meanwhile go by this clock and look for work all the time."""

    def session() -> requests.Session:
        opened = open_session()
        if github is not None:
            opened.mount(github.url, Listener(github, detours))
        return opened

    def quick(**facts: Any) -> Pace:  # noqa: ANN401 - the pace's own fields
        return Pace(**{"poll": 0.03, "tend": 0.2, "grace": 0.0, **pace, **facts})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.adapters.github.client.open_session", session)
        patch.setattr(access, "load_pem_private_key", read_key)
        patch.setattr("app.adapters.models.scheduler.MAX_WAIT", BACKOFF_S)
        patch.setattr(parts, "GitHubApp", partial(GitHubApp, clock=clock, sleep=clock.sleep))
        patch.setattr(parts, "AnalyzerSuite", NoTools)
        patch.setattr(parts, "Jobs", partial(Jobs, clock=clock))
        patch.setattr(parts, "Pace", quick)
        patch.setattr(parts, "DurableModel", partial(DurableModel, clock=clock))
        patch.setattr(
            parts, "Repairs", lambda hub, runs, _clock, halted: Repairs(hub, runs, clock, halted)
        )
        for books in (SharedTurns, Books):
            patch.setattr(parts, books.__name__, partial(books, clock=lambda _: clock()))
        listening = partial(DBOSConfig, notification_listener_polling_interval_sec=0.2)
        patch.setattr(jobs, "DBOSConfig", listening)
        yield patch


@contextmanager
def _logging(path: Path, settings: Settings) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(RedactingFormatter(settings.secrets))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


class Web:
    """A server's doors; to close them takes a while, in which others may end too."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self._server = build_server(app, "127.0.0.1", port)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def open(self) -> None:
        self._thread.start()
        until(lambda: self._server.started, LIMIT_S, lambda: "the server does not start", 0.005)

    def close(self) -> None:
        self._server.should_exit = True

    def wait(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()


def _forget(office: Office) -> None:
    DBOS.destroy(destroy_registry=True)
    engine = office._store.engine
    # a thread of the engine's that still reads closes its connection itself
    sa.event.listen(engine, "checkin", lambda _connection, record: record.invalidate())
    engine.dispose()


def fault(words: str, outcome: str) -> pytest.MarkDecorator:
    """Name what goes wrong in a test and what comes of it: a row of docs/faults.md."""
    return pytest.mark.fault(words, outcome)
