"""A server is ended at every place where it hurts: what it accepted is done, and done once."""

from __future__ import annotations

import ast
import inspect
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest

import app
from app import ports
from app.bootstrap import server
from app.jobs import DAY, REPAIR_KEY
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import ROOT, environment, free_port, until
from tests.adapters.test_crash import crash_points
from tests.e2e.conftest import OLD, check, comments, replies, spots
from tests.faults.calls import (
    AGAIN,
    AHEAD,
    BEGIN,
    CLOSE,
    COMMAND,
    EYES,
    LIST,
    LOOK,
    NONE,
    ON_FILE,
    PERMISSION,
    PLAIN,
    PULL,
    REVIEW,
    SUMMARY,
    TALK,
    TOKEN,
    Calls,
    check_calls,
    often,
)
from tests.faults.invariants import check_invariants
from tests.faults.world import LIMIT_S, World, fault

Death = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Nursery:
    """Starts servers in processes of their own; ``heard`` is what it says of them, line by line."""

    process: subprocess.Popen[str]
    heard: queue.Queue[str] = field(default_factory=queue.Queue)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.put(line)

    @contextmanager
    def child(
        self,
        world: World,
        point: str = "",
        nth: int = 1,
        number: signal.Signals = signal.SIGKILL,
        **environ: str,
    ) -> Iterator[Child]:
        stage = world.stage
        usual = environment(stage.app, stage.github.url, stage.folder / "data")
        usual |= {**stage.choice_of_model(), "POSTIL_CONCURRENCY": "1", **environ}
        order = {
            "environ": usual,
            "log": str(stage.folder / "server.log"),
            "ahead": world.time.ahead,
            "point": point,
            "nth": nth,
            "number": int(number),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child = Child(int(self.heard.get(timeout=LIMIT_S)), self, usual["POSTIL_PORT"])
        try:
            yield child
        finally:
            child.end(signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """A server; ``code`` is how it ended, once it has."""

    pid: int
    nursery: Nursery
    port: str
    code: int | None = None

    def wait_until_ready(self) -> None:
        address = f"http://127.0.0.1:{self.port}/readyz"
        until(lambda: answers(address), LIMIT_S, lambda: "the server is not ready", 0.01)

    def wait(self) -> int:
        """Wait for its end."""
        if self.code is None:
            try:
                self.code = int(self.nursery.heard.get(timeout=LIMIT_S))
            except queue.Empty:
                pytest.fail("the server did not end")
        return self.code

    def end(self, number: signal.Signals) -> int:
        if self.code is None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.pid, number)
        return self.wait()


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.faults.nursery"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        nursery = Nursery(process)
        listener = threading.Thread(target=nursery.listen, daemon=True)
        listener.start()
        yield nursery
        assert process.stdin is not None
        process.stdin.close()
        listener.join()


ACCEPTING: Sequence[Death] = (
    ("after_verify", 1),
    ("after_insert", 1),
    ("after_claim", 1),
    ("pulls.fetch_pull:unrecorded", 1),
)
BEGINNING: Sequence[Death] = (
    ("before_write", 1),
    ("after_write_before_record", 1),
    ("reviews.open_check:unrecorded", 1),
    ("after_files_page", 1),
)
ASKING: Sequence[Death] = (
    ("analyzers.run:unrecorded", 1),
    ("traces.load_answers:unrecorded", 1),
    ("after_model_answer", 1),
    ("traces.save_answers:unrecorded", 1),
)
SAYING: Sequence[Death] = (
    ("reviews.fetch_said:unrecorded", 1),
    ("before_write", 2),
    ("after_write_before_record", 1),
    ("after_write_before_record", 1),
)
SUMMING_UP: Sequence[Death] = (
    ("before_write", 6),
    ("reviews.post:unrecorded", 1),
    ("conversation.close_fixed:unrecorded", 1),
    ("before_check", 1),
)
ENDING: Sequence[Death] = (
    ("after_check_before_record", 1),
    ("reviews.close_check:unrecorded", 1),
    ("traces.save_run:unrecorded", 1),
    ("before_settle", 1),
)
OBEYING: Sequence[Death] = (
    ("conversation.may_write:unrecorded", 1),
    ("before_write", 1),
    ("after_write_before_record", 1),
    ("conversation.react:unrecorded", 1),
)
ANSWERING: Sequence[Death] = (
    ("before_write", 2),
    ("after_write_before_record", 1),
    ("conversation.reply:unrecorded", 1),
    ("after_done", 1),
)
"""Four lives each, in the order of a story. A sixth attempt is one too many for any job."""
REPEATED: Sequence[tuple[Sequence[Death], Calls]] = (
    (ACCEPTING, NONE),
    (BEGINNING, NONE),
    (ASKING, NONE),
    (SAYING, REVIEW),
    (SUMMING_UP, REVIEW + ON_FILE),
    (ENDING, often(CLOSE, 2)),
)
"""The writes that come again: what GitHub had refused, and a check run completed once more."""
REVIEWS = tuple(deaths for deaths, _ in REPEATED)
COMMANDS = (OBEYING, ANSWERING)
HARD = TOKEN + BEGIN + TALK + often(REVIEW, 3) + often(PULL, 2) + ON_FILE + SUMMARY + CLOSE
"""A review with one comment that GitHub does not take: both, each alone, on the file, at last."""
READ_BY_A_LIFE = TOKEN + AGAIN + TALK + LIST
"""What each server may read anew, its repair with it; what is read beside a death, or is not."""
LONG = "".join(f"count_{number} = {number}\n" for number in range(600))
READ_AGAIN = {"pulls.fetch_diff"}
"""What is not recorded: the files of a pinned commit are the same when they are read again."""


def open_pull(world: World, name: str) -> Pull:
    """Open a pull request with two defects, of which GitHub takes one on its line only."""
    refused = {"holds": '"line": 4,', "times": None, "status": 422}
    world.inject("POST", "/pulls/1/reviews$", **refused)
    world.inject("POST", "/pulls/1/comments$", times=None, status=422)
    repository = world.create_repository(f"acme/{name}", {f"{name}.py": OLD})
    defects = "".join(f"{name}_{n} = {n} / len(xs)\n\n\n" for n in range(2))
    return world.stage.open_pull(repository, {f"{name}.py": defects.encode()})


def die(
    world: World, nursery: Nursery, deaths: Sequence[Death], begin: Callable[[], object]
) -> None:
    """Live once for each death; the first life begins the story, and the next may end at once."""
    for number, (point, nth) in enumerate(deaths):
        with nursery.child(world, point, nth) as child:
            if number == 0:
                child.wait_until_ready()
                begin()
            assert child.wait() == -signal.SIGKILL, (point, nth)
        world.github.settle(LIMIT_S)


def go_on(world: World) -> None:
    with world.living():
        world.wait_until_done()


def name_of(deaths: Sequence[Death]) -> str:
    return "-".join(point.partition(":")[0] for point, _ in deaths)


@fault(
    "Killed at each of the places named in the source, four times during one review",
    "the next start goes on from there, by itself; everything is said once",
)
@pytest.mark.parametrize(("deaths", "repeated"), REPEATED, ids=map(name_of, REVIEWS))
def test_a_review_outlives_every_death(
    world: World, nursery: Nursery, deaths: Sequence[Death], repeated: Calls
) -> None:
    die(world, nursery, deaths, lambda: open_pull(world, "mortal"))
    go_on(world)
    (pull,) = next(iter(world.github.repositories.values())).pulls.values()
    assert [(path, line) for path, line, _ in comments(pull)] == [("mortal.py", 1)]
    (summary,) = replies(pull)
    assert "`mortal.py:4`" in summary
    assert check(pull).conclusion == "success"
    assert len([one for one in pull.reviews if one.body]) == 1
    # an answer that was lost on its way into the database is asked for again, no other is
    lost = sum(point == "after_model_answer" for point, _ in deaths)
    ends = {state for key, state in world.stage.jobs().items() if key != REPAIR_KEY}
    assert ends == {"done"}
    may = often(READ_BY_A_LIFE, len(deaths) + 1)
    check_calls(world, pull.repository, HARD + repeated, may=may)
    check_invariants(world, asked_again=lost, restarts=1)


@fault(
    "Killed at each of the places named in the source while a command is obeyed",
    "one pair of eyes, one answer",
)
@pytest.mark.parametrize("deaths", COMMANDS, ids=name_of)
def test_a_command_outlives_every_death(
    world: World, nursery: Nursery, deaths: Sequence[Death]
) -> None:
    repository = world.create_repository("acme/obeyed")
    with world.github.quietly():
        pull = world.stage.open_pull(repository)
    world.time.jump(DAY)  # so long ago that no repair takes it for missed
    writer = world.stage.user("wilma")
    repository.grant(writer, "write")
    die(world, nursery, deaths, lambda: pull.comment(writer, "/postil help"))
    go_on(world)
    ((words,), asked) = replies(pull), pull.comments[0]
    assert "/review" in words
    assert [one.content for one in asked.reactions] == ["eyes"]
    again = PERMISSION + often(EYES, 2) if deaths is OBEYING else often(TALK, 3)
    may = often(TOKEN + LIST + LOOK, len(deaths) + 1)
    check_calls(world, repository, TOKEN + COMMAND + again, may=may)
    check_invariants(world, restarts=1)


@fault(
    "Killed when GitHub has made the check run, and the database is lost with it",
    "the repair finds the check run, and the review goes on in it",
)
def test_a_check_run_that_no_record_tells_of(world: World, nursery: Nursery) -> None:
    repository = world.create_repository("acme/forgotten")
    deaths = [("after_write_before_record", 1)]
    die(world, nursery, deaths, lambda: world.stage.open_pull(repository))
    for path in world.database.parent.glob("postil.db*"):
        path.unlink()
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
    (pull,) = repository.pulls.values()
    assert spots(pull) == [("forgotten.py", 2)]
    assert check(pull).conclusion == "success"
    check_calls(world, repository, PLAIN + AGAIN, may=often(TOKEN + LIST + LOOK, 2))


def test_every_point_where_it_may_die_was_tried() -> None:
    folder = Path(app.__file__).parent
    tried = {point for deaths in (*REVIEWS, *COMMANDS) for point, _ in deaths}
    assert tried == {*crash_points(folder), *(f"{step}:unrecorded" for step in recorded_steps())}


def recorded_steps() -> set[str]:
    """Name the calls that a server records, as they stand in the source."""
    tree = ast.parse(inspect.getsource(server))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [
        (ast.unparse(call.args[1]), str(word.value.value))
        for call in calls
        if ast.unparse(call.func) == "durable"
        for word in call.keywords
        if word.arg == "name" and isinstance(word.value, ast.Constant)
    ]
    steps = {
        f"{name}.{method}"
        for protocol, name in named
        for method, _ in inspect.getmembers(getattr(ports, protocol), inspect.isfunction)
        if not method.startswith("_")
    }
    assert steps > READ_AGAIN
    return steps - READ_AGAIN


@fault("Killed in the middle of the model calls", "no finished call is made again")
def test_a_kill_amid_the_model_calls(world: World, nursery: Nursery) -> None:
    parts = {f"part_{n}.py": f"xs = []\nmean_{n} = {n} / len(xs)\n{LONG}" for n in range(3)}
    with nursery.child(world) as child:
        child.wait_until_ready()
        world.stage.acts["mean_1 "] = Act(delay=30.0)
        pull = world.stage.open_pull(
            world.create_repository("acme/parted"),
            {path: text.encode() for path, text in parts.items()},
        )
        until(lambda: bool(world.stage.asked("mean_1 ")), LIMIT_S, lambda: "it was never asked")
        child.end(signal.SIGKILL)
    *finished, cut_short = [seen.prompt for seen in world.stage.model.seen]
    assert finished
    world.calm()
    go_on(world)
    prompts = [seen.prompt for seen in world.stage.model.seen]
    assert {one for one in prompts if prompts.count(one) > 1} == {cut_short}
    assert spots(pull) == [*((f"part_{n}.py", 2) for n in range(3)), ("parted.py", 2)]
    check_calls(world, pull.repository, PLAIN + AHEAD, may=often(TOKEN + LIST, 2))
    check_invariants(world, asked_again=1, restarts=1)


STOPS: Sequence[Death] = (("after_model_answer", 1), ("before_write", 2))


@fault("Asked to stop at any stage", "it ends soon with code 0, and the next start goes on")
@pytest.mark.parametrize(("point", "nth"), STOPS)
def test_a_stop_at_any_stage(world: World, nursery: Nursery, point: str, nth: int) -> None:
    with nursery.child(world, point, nth, signal.SIGTERM) as child:
        child.wait_until_ready()
        pull = open_pull(world, "stopped")
        assert child.wait() == 0
    world.github.settle(LIMIT_S)
    go_on(world)
    assert [(path, line) for path, line, _ in comments(pull)] == [("stopped.py", 1)]
    assert check(pull).conclusion == "success"
    # it ends what it is about, unless that takes too long: what was refused is then refused again
    may = often(READ_BY_A_LIFE + REVIEW + ON_FILE, 2)
    check_calls(world, pull.repository, HARD, may=may)
    check_invariants(world, restarts=1)


@fault("Two servers on one database, one of them killed", "each pull request is reviewed once")
def test_two_servers_on_one_database(world: World, nursery: Nursery) -> None:
    with nursery.child(world, POSTIL_PORT=str(free_port())) as child:
        child.wait_until_ready()
        with world.living():
            pulls = [
                world.stage.open_pull(world.create_repository(f"acme/shared-{n}")) for n in range(6)
            ]
            until(
                lambda: any(pull.reviews for pull in pulls), LIMIT_S, lambda: "nothing was reviewed"
            )
            child.end(signal.SIGKILL)
            world.wait_until_done()
    for pull in pulls:
        assert len(pull.reviews) == 1
        assert check(pull).conclusion == "success"
        check_calls(world, pull.repository, PLAIN, may=often(READ_BY_A_LIFE, 2) + CLOSE)
    check_invariants(world, asked_again=2, restarts=1)
