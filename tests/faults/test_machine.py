"""The machine goes wrong, or what it hears: a full disk, a held database, late webhooks, none."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.bootstrap.server import Office
from app.core.job import Job, JobKind, RunResult
from app.jobs import Desk
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import until
from tests.e2e.conftest import NEW, check, checks, replies, spots
from tests.faults.calls import (
    AGAIN,
    CLOSE,
    COMMAND,
    LIST,
    LOOK,
    NEVER_BEGAN,
    NONE,
    OPEN,
    PLAIN,
    PULL,
    REVIEW,
    TALK,
    TOKEN,
    check_calls,
    often,
)
from tests.faults.invariants import check_invariants, reviews
from tests.faults.nursery import Nursery
from tests.faults.world import LIMIT_S, World, fault

ATTEMPTS = 5
TABLES = ("postil_deliveries", "postil_jobs", "postil_pulls", "workflow_status")
PAGE = "\N{GRINNING FACE}" * 1024
"""A title of four thousand bytes."""
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
"""What another process does until nobody listens to it any more."""
LATER = 700.0
"""After so long the repair comes round again."""


def check_reviewed(pull: Pull) -> None:
    assert spots(pull) == [(f"{pull.repository.name}.py", 2)]
    assert len(pull.reviews) == 1
    assert check(pull).conclusion == "success"


def wait_for_the_log(world: World, words: str) -> None:
    log = world.stage.folder / "server.log"
    until(lambda: words in log.read_text(), LIMIT_S, lambda: "nobody noticed", 0.05)


def wait_for_the_model(world: World, text: str) -> None:
    until(lambda: bool(world.stage.asked(text)), LIMIT_S, lambda: "it was never asked", 0.005)


@dataclass(slots=True)
class Disk:
    """The disk of a server's database; ``pages`` is how many it holds, 0 for any number."""

    world: World
    engine: sa.Engine
    pages: int = 0

    def __post_init__(self) -> None:
        sa.event.listen(self.engine, "checkout", self._limit)

    def fill(self) -> None:
        ((self.pages,),) = self.world.query("PRAGMA page_count")

    def empty(self) -> None:
        self.pages = 0

    def _limit(self, connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={self.pages or 2**30}")


@fault("The disk is full when the model answers", "nothing is said until there is room again")
def test_a_disk_that_is_full_for_a_while(world: World) -> None:
    with world.living() as office:
        disk = Disk(world, office._store.engine)
        world.stage.acts["full.py"] = Act(delay=0.5)
        pull = world.stage.open_pull(world.create_repository("acme/full"))
        wait_for_the_model(world, "full.py")
        disk.fill()
        wait_for_the_log(world, "is full")
        assert pull.reviews == []
        disk.empty()
        world.wait_until_done()
    check_reviewed(pull)
    # how often it is tried depends on whom it hits
    check_calls(world, pull.repository, PLAIN, may=often(AGAIN + TALK + LIST, ATTEMPTS))
    check_invariants(world, asked_again=2)


def status(world: World, path: str) -> int:
    """Return how the server answers at a path."""
    address = (world.stage.app.webhook_url or "").removesuffix("webhook")
    try:
        with urlopen(f"{address}{path}", timeout=LIMIT_S) as answer:  # noqa: S310 - loopback
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@contextmanager
def living(world: World) -> Iterator[Office]:
    """Let a server live whose first repair has come and gone."""
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
        yield office


def counted(world: World) -> dict[str, int]:
    """Count the rows that a delivery leaves."""
    return {table: world.query(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}  # noqa: S608 - names of ours


def untold_pull(world: World, name: str) -> Pull:
    """Open a pull request that GitHub tells nobody of; its title takes a page of the database."""
    repository = world.create_repository(f"acme/{name}")
    with world.github.quietly():
        pull = world.stage.open_pull(repository)
        pull.edit(pull.author, title=PAGE)
    return pull


@fault(
    "The disk is full when a delivery comes",
    "503, nothing half-written, and it is not ready until there is room; then it is reviewed once",
)
def test_a_disk_that_is_full_when_a_delivery_comes(world: World) -> None:
    with living(world) as office:
        pull = untold_pull(world, "unrecorded")
        disk = Disk(world, office._store.engine)
        before = counted(world)
        disk.fill()
        sent = world.github.deliver("pull_request", world.stage.payload(pull, "opened"))
        assert sent.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert sent.response_headers["retry-after"] == "60"
        assert counted(world) == before
        assert status(world, "healthz") == HTTPStatus.OK
        assert {status(world, "readyz") for _ in range(2)} == {HTTPStatus.SERVICE_UNAVAILABLE}
        disk.empty()
        assert status(world, "readyz") == HTTPStatus.OK
        world.github.redeliver(sent)
        world.wait_until_done()
    check_reviewed(pull)
    check_calls(world, pull.repository, PLAIN)
    check_invariants(world)


@fault("The disk of the log is full", "nothing else stops, and the review is as ever")
def test_a_log_whose_disk_is_full(world: World, nursery: Nursery) -> None:
    with nursery.child(world, log="/dev/full") as child:
        child.wait_until_ready()
        pull = world.stage.open_pull(world.create_repository("acme/unlogged"))
        world.wait_until_done()
        assert child.end(signal.SIGTERM) == 0
    check_reviewed(pull)
    check_calls(world, pull.repository, PLAIN, may=LIST)
    check_invariants(world)


@contextmanager
def another_process_writes(world: World) -> Iterator[None]:
    """Let another process hold the database's write lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(world.database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield


@fault(
    "Another process holds the database for longer than one try to record a delivery waits",
    "the delivery is accepted at the next, and reviewed once",
)
def test_a_database_that_is_held_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.store.BUSY_TIMEOUT_MS", 1000)
    with living(world), ThreadPoolExecutor(1) as pool:
        pull = untold_pull(world, "awaited")
        with another_process_writes(world):
            payload = world.stage.payload(pull, "opened")
            sending = pool.submit(world.github.deliver, "pull_request", payload)
            wait_for_the_log(world, "could not record deliveries")
        assert sending.result().status_code == HTTPStatus.ACCEPTED
        world.wait_until_done()
    check_reviewed(pull)
    check_calls(world, pull.repository, PLAIN)
    check_invariants(world)


@fault(
    "Another process holds the database for longer than GitHub waits for an answer",
    "503, nothing half-written; the delivery is sent again and reviewed once",
)
def test_a_database_that_is_held_too_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.store.BUSY_TIMEOUT_MS", 50)
    with living(world):
        pull = untold_pull(world, "refused")
        before = counted(world)
        with another_process_writes(world):
            sent = world.github.deliver("pull_request", world.stage.payload(pull, "opened"))
            assert sent.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert status(world, "readyz") == HTTPStatus.SERVICE_UNAVAILABLE
        assert counted(world) == before
        world.github.redeliver(sent)
        world.wait_until_done()
    check_reviewed(pull)
    check_calls(world, pull.repository, PLAIN)
    check_invariants(world)


@fault(
    "Deliveries are recorded while reviews go on",
    "each transaction has the write lock from its first moment, and none fails",
)
def test_many_that_write_at_once(world: World) -> None:
    begun: list[str] = []

    def listen(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(begun.append)

    sa.event.listen(sa.pool.Pool, "connect", listen)
    try:
        with living(world):
            pulls = [
                world.stage.open_pull(world.create_repository(f"acme/writing-{n}"))
                for n in range(4)
            ]
            payloads = [world.stage.payload(pull, "opened") for pull in pulls]
            with ThreadPoolExecutor(8) as pool:
                sent = list(pool.map(partial(world.github.deliver, "pull_request"), payloads * 10))
            world.wait_until_done()
    finally:
        sa.event.remove(sa.pool.Pool, "connect", listen)
    assert {one.status_code for one in sent} == {HTTPStatus.ACCEPTED}
    assert {text for text in begun if text.startswith("BEGIN")} == {"BEGIN IMMEDIATE"}
    assert "is locked" not in (world.stage.folder / "server.log").read_text()
    for pull in pulls:
        check_reviewed(pull)
        check_calls(world, pull.repository, PLAIN)
    check_invariants(world)


@fault(
    "Another process holds the database for longer than is waited", "the review goes on after it"
)
def test_a_database_that_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.store.BUSY_TIMEOUT_MS", 50)
    with world.living():
        world.stage.acts["held.py"] = Act(delay=0.3)
        pull = world.stage.open_pull(world.create_repository("acme/held"))
        wait_for_the_model(world, "held.py")
        with closing(sqlite3.connect(world.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.6)
            other.execute("ROLLBACK")
        world.wait_until_done()
    check_reviewed(pull)
    # how often it is tried depends on whom it hits
    check_calls(world, pull.repository, PLAIN, may=often(AGAIN + TALK + LIST, ATTEMPTS))
    check_invariants(world, asked_again=2)


@fault(
    "Another process holds the database when a review that is done is to be written down as such",
    "its job is found to be lost and is settled; nothing is done twice",
)
def test_a_job_that_can_not_be_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Desk.settle
    failed: list[str] = []

    def settle_late(desk: Desk, job: Job, result: RunResult) -> str:
        if failed or job.kind is not JobKind.REVIEW:
            return settle(desk, job, result)
        with closing(sqlite3.connect(world.database, 30, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked") as error:
                settle(desk, job, result)
        failed.append(job.key)
        raise error.value

    monkeypatch.setattr(Desk, "settle", settle_late)
    with world.living():
        pull = world.stage.open_pull(world.create_repository("acme/unsettled"))
        world.wait_until_done()
    assert len(failed) == 1
    check_reviewed(pull)
    check_calls(world, pull.repository, PLAIN, may=often(LIST, 2))
    check_invariants(world)


@fault(
    "The delivery of a command fails, and nothing else would tell of it",
    "GitHub is asked to send it again, and the command is obeyed once",
)
def test_a_command_that_did_not_arrive(world: World) -> None:
    repository = world.create_repository("acme/commanded")
    writer = world.stage.user("wilma")
    repository.grant(writer, "write")
    with world.living() as office:
        office._jobs.tend()
        pull = world.stage.open_pull(repository)
        world.wait_until_done()
    pull.comment(writer, "/postil help")
    world.github.settle(LIMIT_S)
    world.time.jump(LATER)
    before = len(world.github.calls)
    with world.living() as office:
        office._jobs.tend()
        until(lambda: bool(replies(pull)), LIMIT_S, lambda: "it was never obeyed", 0.02)
        world.wait_until_done()
    (failed,) = (
        one
        for one in world.github.deliveries
        if one.event == "issue_comment" and one.status_code == HTTPStatus.BAD_GATEWAY
    )
    asked_for = [one.path for one in world.github.calls[before:] if "/attempts" in one.path]
    assert asked_for == [f"/app/hook/deliveries/{failed.id}/attempts"]
    (words,) = replies(pull)
    assert "/review" in words
    check_calls(world, repository, PLAIN + TOKEN + COMMAND, may=often(LIST + LOOK, 2))
    check_invariants(world)


def unheard_push(pull: Pull) -> None:
    pull.push({f"{pull.repository.name}.py": b"# Means.\n" + NEW})


@fault("GitHub never sends the webhook of a new pull request or a push", "the repair finds it")
@pytest.mark.parametrize("change", [None, unheard_push], ids=["opened", "pushed"])
def test_a_webhook_that_was_never_sent(world: World, change: Callable[[Pull], None] | None) -> None:
    repository = world.create_repository("acme/unheard")
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
        if change is None:
            with world.github.quietly():
                pull = world.stage.open_pull(repository)
        else:
            pull = world.stage.open_pull(repository)
            world.wait_until_done()
            with world.github.quietly():
                change(pull)
        world.time.jump(LATER)
        office._jobs.tend()
        world.wait_until_done()
    assert spots(pull) == [("unheard.py", 2)]
    assert check(pull).conclusion == "success"
    found = TOKEN + LOOK + often(LIST, 2)
    pushed = AGAIN + OPEN + TALK + CLOSE if change else NONE
    check_calls(world, repository, PLAIN + found + pushed)
    check_invariants(world)


# one server lives in a process at a time: from here on it is the one that these tests share


@fault("The folder for the code vanishes during a review", "the job is tried again in a new one")
def test_a_folder_that_vanishes(house: World) -> None:
    folder = house.stage.folder / "data" / "code"
    house.inject("POST", "/check-runs$", then=lambda: shutil.rmtree(folder))
    pull = house.stage.open_pull(house.create_repository("acme/vanished"))
    house.wait_until_done()
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + AGAIN)


@fault("The clock is put back by an hour during a review", "it is said once, and nobody waits long")
def test_a_clock_that_is_put_back(house: World) -> None:
    house.inject("POST", "/check-runs$", then=lambda: house.time.jump(-3600))
    house.inject("POST", "/pulls/1/reviews$", status=502)
    pull = house.stage.open_pull(house.create_repository("acme/late"))
    house.wait_until_done()
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + often(TALK, 4) + REVIEW)


@fault(
    "A pull request and an old push are heard of after a newer push",
    "the newest head is reviewed, and no other: that is superseded",
)
def test_webhooks_out_of_order(house: World) -> None:
    repository = house.create_repository("acme/disorder")
    with house.github.quietly():
        pull = house.stage.open_pull(repository)
    first = pull.head_sha
    old = [house.stage.payload(pull, action) for action in ("opened", "synchronize")]
    with house.github.quietly():
        pull.push({"disorder.py": b"# Means.\n" + NEW})
    late = house.stage.payload(pull, "synchronize")
    for payload in (late, *old):
        assert house.github.deliver("pull_request", payload).status_code == 202
        house.wait_until_done()
    assert [one.commit_id for one in pull.reviews] == [pull.head_sha]
    assert checks(pull, first) == []
    assert check(pull).conclusion == "success"
    ends = {one.head_sha: one.state for one in reviews(house, pull)}
    assert ends == {first: "superseded", pull.head_sha: "done"}
    check_calls(house, repository, PLAIN + often(PULL + LOOK + often(TOKEN, 2), 2))


@fault("A delivery whose job has failed is sent again", "its job runs again")
def test_a_redelivery_of_what_failed(house: World) -> None:
    house.inject("GET", "/pulls/1$", times=None, status=404)
    pull = house.stage.open_pull(house.create_repository("acme/failed"))
    house.wait_until_done()
    assert check(pull).conclusion == "neutral"
    house.calm()
    opened = [one for one in house.github.deliveries if one.event == "pull_request"][-1]
    house.github.redeliver(opened)
    house.wait_until_done()
    assert spots(pull) == [("failed.py", 2)]
    assert [run.conclusion for run in checks(pull)] == ["success"]
    failed = TOKEN + often(PULL, 4) + NEVER_BEGAN
    check_calls(house, pull.repository, PLAIN - OPEN + failed + CLOSE)
