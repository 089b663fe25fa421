"""A world in which things go wrong: a GitHub, a model service, and servers in this process.

A server here is made of the same parts as ``postil serve``, with other patience: where it would
sleep the clock is put forward, and when all that is left to do waits for its time, time passes.
"""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import sqlalchemy as sa
from dbos import DBOS, DBOSConfig
from fastapi import FastAPI
from requests.adapters import HTTPAdapter

from app import jobs
from app.adapters.books import Books
from app.adapters.durable import DurableModel
from app.adapters.github.access import GitHubApp
from app.adapters.github.transport import open_session
from app.adapters.log import RedactingFormatter
from app.adapters.turns import SharedTurns
from app.bootstrap import server as parts
from app.bootstrap.server import Office
from app.jobs import Jobs, Pace
from app.ports import AnalyzersReport, SourceFile
from app.repairs import Repairs
from app.settings import Settings
from app.web.app import Doors, build_app
from app.web.server import build_server
from sandbox.github import Call, Fault, GitHub, Repository
from sandbox.models import Act
from sandbox.models.server import Seen
from sandbox.serving import environment, until
from tests.e2e.conftest import OLD, Stage, open_stage

LIMIT_S = 30.0
TOKENS = "/app/installations/{number}/access_tokens"
SILENCE_S = 0.2
"""So long is listened to somebody who has been told to say nothing."""
WAITING = """
SELECT name, status, delay_until_epoch_ms FROM workflow_status
WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')
"""
ACTIVE = "SELECT key FROM postil_jobs WHERE state IN ('queued', 'running')"
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


class Listener(HTTPAdapter):
    """Waits as long as others do, save where GitHub has taken a call and will never answer it."""

    def __init__(self, github: GitHub) -> None:
        super().__init__(max_retries=0)
        self._github = github

    def send(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401 - whatever there is
        **facts: Any,  # noqa: ANN401
    ) -> requests.Response:
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
class World:
    """Everything around the servers, and its time."""

    stage: Stage
    time: Time
    canary: Canary
    checked: set[int] = field(default_factory=set)
    """The calls that a story has said it expects, by their ``id``: they are kept for ever."""
    once: dict[str, Act] = field(default_factory=dict)
    """What the model does to the first prompt that holds a text."""
    spoilt: list[str] = field(default_factory=list)
    """Texts of prompts whose answers come and are of no use."""

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

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.github.script.faults.clear()
        self.github.script.weather = lambda _method, _path: None
        self.github.lag(0)
        self.stage.acts.clear()
        self.once.clear()

    @contextmanager
    def living(self, environ: Mapping[str, str] | None = None, **pace: float) -> Iterator[Office]:
        """Let a server live in this process until the block ends."""
        stage = self.stage
        data = stage.folder / "data"
        chosen = environment(stage.app, stage.github.url, data) | stage.choice_of_model()
        settings = Settings.read({**chosen, **(environ or {})})
        with ExitStack() as stack:
            stack.enter_context(_logging(stage.folder / "server.log", settings))
            stack.enter_context(hurried(self.time, self.github, **pace))
            office = Office(settings)
            stack.callback(_forget, office)
            running = stack.enter_context(office.running(works=True))
            doors = Doors(
                accept=running.desk.accept,
                secrets=[secret.encode() for secret in settings.webhook_secrets],
                version="0",
                troubles=lambda: office.troubles(works=True),
                app_id=settings.github_app_id,
            )
            port = urlsplit(stage.app.webhook_url or "").port or 0
            stack.enter_context(_listening(build_app(doors), port))
            yield office

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
def open_world(folder: Path) -> Iterator[World]:
    time_, canary = Time(), Canary()
    try:
        with open_stage(folder) as stage:
            stage.github.clock = time_
            opened = World(stage, time_, canary)
            usual = stage.model._script

            def act(seen: Seen) -> Act | None:
                due = next((text for text in list(opened.once) if text in seen.prompt), "")
                return opened.once.pop(due, None) or (usual(seen) if usual else None)

            stage.model._script = act
            yield opened
    finally:
        canary.close()


@contextmanager
def hurried(clock: Time, github: GitHub | None = None, **pace: float) -> Iterator[None]:
    """Let servers that are built meanwhile go by this clock and look for work all the time."""

    def session() -> requests.Session:
        opened = open_session()
        if github is not None:
            opened.mount(github.url, Listener(github))
        return opened

    def quick(**facts: Any) -> Pace:  # noqa: ANN401 - the pace's own fields
        return Pace(**{"poll": 0.03, "tend": 0.2, "grace": 0.0, **pace, **facts})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.adapters.github.client.open_session", session)
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
        yield


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


@contextmanager
def _listening(app: FastAPI, port: int) -> Iterator[None]:
    server = build_server(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, LIMIT_S, lambda: "the server does not start", 0.005)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _forget(office: Office) -> None:
    DBOS.destroy(destroy_registry=True)
    engine = office._store.engine
    # a thread of the engine's that still reads closes its connection itself
    sa.event.listen(engine, "checkin", lambda _connection, record: record.invalidate())
    engine.dispose()


def fault(words: str, outcome: str) -> pytest.MarkDecorator:
    """Name what goes wrong in a test and what comes of it: a row of docs/faults.md."""
    return pytest.mark.fault(words, outcome)
