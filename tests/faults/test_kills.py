"""Servers are killed at every place that matters, or stopped there: what was begun is done once."""

from __future__ import annotations

import ast
import inspect
import signal
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path

import pytest

import app
from app import ports
from app.bootstrap import server
from app.core.job import MAX_ATTEMPTS
from app.jobs import DAY, REPAIR_KEY
from sandbox.github import Delivery, Pull, Repository
from sandbox.models import Act
from sandbox.serving import STOP_LIMIT_S, free_port, until
from tests.adapters.test_crash import crash_points
from tests.e2e.conftest import NEW, OLD, check, comments, replies, spots, told
from tests.faults.calls import (
    AGAIN,
    AHEAD,
    BEGIN,
    CLOSE,
    COMMAND,
    EYES,
    FILES,
    LIST,
    LOOK,
    NEVER_BEGAN,
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
from tests.faults.invariants import check_invariants, reviews
from tests.faults.nursery import Nursery
from tests.faults.world import LIMIT_S, World, fault

Death = tuple[str, int]


HEARING: Sequence[Death] = (("after_verify", 1), ("after_insert", 1), ("after_ack", 1))
ACCEPTING: Sequence[Death] = (
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
"""Up to four lives each, in the order of a story. A sixth attempt is one too many for any job."""
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
LATER = 100.0
"""After so long a server that is started again repairs again."""
GUID = "57095709-0000-4000-8000-000000000001"
WAIVING = b"[review]\nignore = ['data/**']\n"
WORKERS = """
SELECT executor_id FROM workflow_status WHERE workflow_uuid LIKE 'review:%' AND status != 'ENQUEUED'
AND name = 'postil_job'
"""
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


def stop(
    world: World, nursery: Nursery, stops: Sequence[Death], begin: Callable[[], object]
) -> None:
    """Live once for each stop; the first life begins the story."""
    for number, (point, nth) in enumerate(stops):
        with nursery.child(world, point, nth, signal.SIGTERM) as child:
            if number == 0:
                child.wait_until_ready()
                begin()
            assert child.wait(STOP_LIMIT_S) == 0, (point, nth)
        world.github.settle(LIMIT_S)


def go_on(world: World) -> None:
    with world.living():
        world.wait_until_done()


def name_of(deaths: Sequence[Death]) -> str:
    return "-".join(point.partition(":")[0] for point, _ in deaths)


def go_before(world: World, *names: str) -> list[Repository]:
    """Let a server live before the story that hears of all there is, so that no repair is due."""
    with world.living() as office:
        found = [world.create_repository(f"acme/{name}") for name in names]
        world.github.settle(LIMIT_S)
        office._jobs.tend()
        world.wait_until_done()
    return found


def attempts(world: World) -> list[int]:
    """Return how often each review was tried."""
    rows = world.query("SELECT attempts FROM postil_jobs WHERE kind = 'review'")
    return [count for (count,) in rows]


def announced(world: World) -> list[Delivery]:
    """Return the deliveries that told of a pull request, each attempt."""
    return [one for one in world.github.deliveries if one.event == "pull_request"]


def check_reviewed(pull: Pull, line: int = 2) -> None:
    assert spots(pull) == [(f"{pull.repository.name}.py", line)]
    assert [one.commit_id for one in pull.reviews] == [pull.head_sha]
    assert check(pull).conclusion == "success"


@fault(
    "Killed before a delivery is recorded, and when it is but not acknowledged",
    "GitHub shows it as failed and is asked to send it again; nothing is half-written; one review",
)
def test_a_delivery_outlives_the_deaths_before_its_answer(world: World, nursery: Nursery) -> None:
    (repository,) = go_before(world, "heard")
    verified, inserted, _ = HEARING
    die(world, nursery, [verified], lambda: world.stage.open_pull(repository))
    (first,) = announced(world)
    assert first.status_code == HTTPStatus.BAD_GATEWAY
    assert first.guid not in world.stage.deliveries()
    assert world.stage.jobs() == {}
    world.time.jump(LATER)
    die(world, nursery, [inserted], lambda: None)
    _, again = announced(world)
    assert (again.guid, again.status_code) == (first.guid, HTTPStatus.BAD_GATEWAY)
    ((key, state),) = world.stage.jobs().items()
    assert world.stage.deliveries()[first.guid] == key
    assert state in {"queued", "running"}
    with world.living():
        world.github.redeliver(again)
        world.wait_until_done()
    last = announced(world)[-1]
    assert (last.guid, last.status_code) == (first.guid, HTTPStatus.ACCEPTED)
    assert world.stage.deliveries()[first.guid] == key
    assert world.stage.jobs() == {key: "done"}
    (pull,) = repository.pulls.values()
    check_reviewed(pull)
    check_calls(world, repository, PLAIN, may=often(READ_BY_A_LIFE, 3))
    check_invariants(world)


@fault(
    "Killed when a delivery is acknowledged",
    "the next start reviews it, once and without another webhook",
)
def test_a_delivery_outlives_the_death_after_its_answer(world: World, nursery: Nursery) -> None:
    (repository,) = go_before(world, "answered")
    *_, acknowledged = HEARING
    die(world, nursery, [acknowledged], lambda: world.stage.open_pull(repository))
    go_on(world)
    (heard,) = announced(world)
    assert heard.status_code == HTTPStatus.ACCEPTED
    (pull,) = repository.pulls.values()
    check_reviewed(pull)
    check_calls(world, repository, PLAIN, may=often(READ_BY_A_LIFE, 2))
    check_invariants(world)


@fault(
    "Killed between two pages of the list of files",
    "they are read again, of the same commit; the model was not asked yet",
)
def test_a_kill_amid_the_pages_of_files(world: World, nursery: Nursery) -> None:
    repository = world.create_repository("acme/paged", {".postil.toml": WAIVING})
    files = {f"data/{number}.txt": b"x\n" for number in range(100)}
    deaths = [("after_files_page", 2)]
    die(world, nursery, deaths, lambda: world.stage.open_pull(repository, files))
    assert world.stage.model.seen == []
    go_on(world)
    (pull,) = repository.pulls.values()
    check_reviewed(pull)
    # two pages in each life
    expected = PLAIN + often(FILES, 3)
    check_calls(world, repository, expected, may=often(READ_BY_A_LIFE - FILES, 2))
    check_invariants(world)


@fault(
    "A job takes its worker down each time it is tried",
    "after five tries it is given up, the check run says so, and others go on",
)
def test_a_job_that_takes_its_worker_down(world: World, nursery: Nursery) -> None:
    poison, other = go_before(world, "poison", "other")
    deaths = [("after_claim", 1)] * MAX_ATTEMPTS
    die(world, nursery, deaths, lambda: world.stage.open_pull(poison))
    assert attempts(world) == [MAX_ATTEMPTS]
    assert {call.path for call in world.about(poison)} <= {"/repos/acme/poison/pulls"}
    with world.living():
        healthy = world.stage.open_pull(other)
        world.wait_until_done()
    check_reviewed(healthy)
    (pull,) = poison.pulls.values()
    (job,) = reviews(world, pull)
    assert (job.state, job.note) == ("dead", "it took its worker down too often")
    assert (spots(pull), replies(pull)) == ([], [])
    run = check(pull)
    assert run.conclusion == "neutral"
    assert job.note in told(run)
    assert not world.stage.asked("poison.py")
    check_calls(world, other, PLAIN, may=often(LIST, 2))
    check_calls(world, poison, NEVER_BEGAN, may=often(LIST, 2))
    check_invariants(world)


def is_done(world: World, pull: Pull) -> bool:
    return [one.state for one in reviews(world, pull)] == ["done"]


@fault(
    "Killed with a review under way while another server lives",
    "that one takes it over: a second attempt, one review",
)
def test_a_review_that_another_server_takes_over(world: World, nursery: Nursery) -> None:
    repository = world.create_repository("acme/taken")
    with nursery.child(world, POSTIL_CONCURRENCY="4") as child:
        child.wait_until_ready()
        world.stage.acts["taken.py"] = Act(delay=LIMIT_S)
        pull = world.stage.open_pull(repository)
        until(lambda: bool(world.stage.asked("taken.py")), LIMIT_S, lambda: "it was never asked")
        world.github.settle(LIMIT_S)
        world.stage.app.webhook_url = f"http://127.0.0.1:{free_port()}/webhook"
        with world.living() as office:
            office._jobs.tend()
            other = world.stage.open_pull(world.create_repository("acme/meanwhile"))
            world.github.settle(LIMIT_S)
            until(lambda: is_done(world, other), LIMIT_S, lambda: "the other is not reviewed")
            assert attempts(world) == [1, 1], "its worker still lives"
            child.end(signal.SIGKILL)
            world.calm()
            world.wait_until_done()
    check_reviewed(pull)
    check_reviewed(other)
    assert attempts(world) == [2, 1]
    assert "took over" in (world.stage.folder / "server.log").read_text()
    check_calls(world, repository, PLAIN, may=often(READ_BY_A_LIFE, 2))
    check_calls(world, other.repository, PLAIN, may=LIST)
    check_invariants(world, asked_again=1)


@fault(
    "Killed at each of the places named in the source, up to four times during one review",
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
    check_invariants(world, asked_again=lost)


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
    check_invariants(world)


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
    killed = {point for deaths in (HEARING, *REVIEWS, *COMMANDS) for point, _ in deaths}
    stopped = {point for deaths in (HEARING, *STOPPED, STOPPED_COMMAND) for point, _ in deaths}
    every = {*crash_points(folder), *(f"{step}:unrecorded" for step in recorded_steps())}
    assert killed == every
    assert stopped == every


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
    check_invariants(world, asked_again=1)


STOPPED: Sequence[Sequence[Death]] = (
    (
        ("after_claim", 1),
        ("before_write", 1),
        ("traces.load_answers:unrecorded", 1),
        ("reviews.post:unrecorded", 1),
        ("after_check_before_record", 1),
        ("before_settle", 1),
    ),
    (
        ("pulls.fetch_pull:unrecorded", 1),
        ("after_files_page", 1),
        ("analyzers.run:unrecorded", 1),
        ("reviews.fetch_said:unrecorded", 1),
        ("after_write_before_record", 1),
        ("before_check", 1),
        ("traces.save_run:unrecorded", 1),
    ),
    (
        ("reviews.open_check:unrecorded", 1),
        ("after_model_answer", 1),
        ("traces.save_answers:unrecorded", 1),
        ("conversation.close_fixed:unrecorded", 1),
        ("reviews.close_check:unrecorded", 1),
        ("after_done", 1),
    ),
)
"""Lives that are asked to stop: each ends the step that it is about, and no other is begun."""
STOPPED_COMMAND: Sequence[Death] = (
    ("conversation.may_write:unrecorded", 1),
    ("conversation.react:unrecorded", 1),
    ("conversation.reply:unrecorded", 1),
)


@fault(
    "Asked to stop at each of the places named in the source, up to seven times during one review",
    "it ends its step, and soon, with code 0; the next start goes on, and it was no failure",
)
@pytest.mark.parametrize("stops", STOPPED, ids=name_of)
def test_a_review_outlives_every_stop(
    world: World, nursery: Nursery, stops: Sequence[Death]
) -> None:
    go_before(world)
    stop(world, nursery, stops, lambda: open_pull(world, "stopped"))
    go_on(world)
    (pull,) = next(iter(world.github.repositories.values())).pulls.values()
    assert [(path, line) for path, line, _ in comments(pull)] == [("stopped.py", 1)]
    (summary,) = replies(pull)
    assert "`stopped.py:4`" in summary
    assert check(pull).conclusion == "success"
    assert attempts(world) == [1]
    check_calls(world, pull.repository, HARD, may=often(READ_BY_A_LIFE, len(stops) + 1))
    check_invariants(world)


@fault(
    "Asked to stop while a command is obeyed",
    "it ends soon with code 0; one pair of eyes, one answer",
)
def test_a_command_outlives_every_stop(world: World, nursery: Nursery) -> None:
    repository = world.create_repository("acme/stopped")
    with world.github.quietly():
        pull = world.stage.open_pull(repository)
    world.time.jump(DAY)  # so long ago that no repair takes it for missed
    go_before(world)
    writer = world.stage.user("wilma")
    repository.grant(writer, "write")
    stop(world, nursery, STOPPED_COMMAND, lambda: pull.comment(writer, "/postil help"))
    go_on(world)
    ((words,), asked) = replies(pull), pull.comments[0]
    assert "/review" in words
    assert [one.content for one in asked.reactions] == ["eyes"]
    may = often(TOKEN + LIST + LOOK, len(STOPPED_COMMAND) + 2)
    check_calls(world, repository, TOKEN + COMMAND, may=may)
    check_invariants(world)


@fault(
    "Asked to stop while a delivery is answered",
    "it is answered, and it ends soon with code 0; the next start reviews it once",
)
def test_a_delivery_outlives_every_stop(world: World, nursery: Nursery) -> None:
    (repository,) = go_before(world, "answering")
    with world.github.quietly():
        pull = world.stage.open_pull(repository)
        pull.push({"answering.py": b"# Means.\n" + NEW})
    # a push is not reviewed at once: whoever hears of it may stop before that
    payload = world.stage.payload(pull, "synchronize")
    sent: list[Delivery] = []
    for number, place in enumerate(HEARING):
        stop(
            world,
            nursery,
            [place],
            lambda: sent.append(world.github.deliver("pull_request", payload, guid=GUID)),
        )
        assert sent[number].status_code == HTTPStatus.ACCEPTED
    go_on(world)
    check_reviewed(pull, line=3)
    assert attempts(world) == [1]
    check_calls(world, repository, PLAIN, may=often(READ_BY_A_LIFE, len(HEARING) + 1))
    check_invariants(world)


@fault(
    "Ten pull requests at two servers on one database, of which one may be killed",
    "both work; each pull request is reviewed once, and nothing is written twice",
)
@pytest.mark.parametrize("dies", [False, True], ids=["both live", "one dies"])
def test_two_servers_on_one_database(world: World, nursery: Nursery, *, dies: bool) -> None:
    with nursery.child(world, POSTIL_PORT=str(free_port())) as child:
        child.wait_until_ready()
        world.stage.acts["/ len("] = Act(delay=0.2)
        with world.living():
            pulls = [
                world.stage.open_pull(world.create_repository(f"acme/shared-{n}"))
                for n in range(10)
            ]
            until(lambda: len(workers(world)) == 2, LIMIT_S, lambda: "one does nothing", 0.01)
            if dies:
                child.end(signal.SIGKILL)
            world.wait_until_done()
        assert child.end(signal.SIGTERM) == (-signal.SIGKILL if dies else 0)
    assert set(attempts(world)) <= ({1, 2} if dies else {1})
    again = often(READ_BY_A_LIFE, 2) + CLOSE if dies else LIST
    for pull in pulls:
        check_reviewed(pull)
        check_calls(world, pull.repository, PLAIN, may=again)
    check_invariants(world, asked_again=2 if dies else 0)


def workers(world: World) -> set[str]:
    """Name who has begun a review."""
    return {worker for (worker,) in world.query(WORKERS)}
