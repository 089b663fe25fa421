"""What must hold is no empty word: whoever breaks it by hand is told so, by name."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from typing import Any

import pytest
import requests

from app.adapters.github.marks import SUMMARY, Marks
from app.bootstrap.parts import derive_key
from app.core.pull import PullRef
from sandbox.github import CheckRun, Pull
from sandbox.models import Act
from sandbox.serving import until
from tests.faults.invariants import LINE_OF_KEY, MOST_ASKED, MOST_TIMES, check_invariants
from tests.faults.pulls import check_reviewed, review
from tests.faults.world import LIMIT_S, World, open_world

Break = Callable[[World], object]
SOON = 5.0


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which a review has come to its end, and no server lives any more."""
    with open_world(tmp_path_factory.mktemp("reviewed")) as world:
        world.restart()
        check_reviewed(review(world, "broken"))
        world.life.close()
        yield world


def pull_of(world: World) -> Pull:
    (home,) = world.github.repositories.values()
    return home.pulls[1]


def run_of(world: World) -> CheckRun:
    return pull_of(world).repository.check_runs[0]


def values(one: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass of the sandbox
    found = {field.name: getattr(one, field.name) for field in fields(one)}
    kinds = (list, dict)
    return {name: type(it)(it) if isinstance(it, kinds) else it for name, it in found.items()}


@contextmanager
def restored(world: World) -> Iterator[None]:
    """Let anything be done; afterwards all is as it was."""
    pull, log = pull_of(world), world.stage.folder / "server.log"
    things = (pull, pull.repository, *pull.threads, *pull.repository.check_runs)
    before = [(thing, values(thing)) for thing in things]
    lists: list[list[Any]] = [world.github.calls, world.stage.model.seen]
    lengths = [len(one) for one in lists]
    words, hits = log.read_bytes(), world.canary.hits
    with closing(sqlite3.connect(":memory:")) as saved:
        with closing(sqlite3.connect(world.database)) as database:
            database.backup(saved)
        yield
        with closing(sqlite3.connect(world.database)) as database:
            saved.backup(database)
    for thing, known in before:
        for name, value in known.items():
            setattr(thing, name, value)
    for one, length in zip(lists, lengths, strict=True):
        del one[length:]
    log.write_bytes(words)
    world.canary.hits = hits
    world.calm()


def say(world: World, method: str, where: str, **body: Any) -> requests.Response:  # noqa: ANN401 - JSON
    """Call GitHub as the App."""
    home = pull_of(world).repository
    (installation,) = world.github.installations_on(home)
    return requests.request(
        method,
        f"{world.github.url}/repos/{home.full_name}/{where}",
        json=body,
        headers={"Authorization": f"Bearer {world.github.mint(installation).value}"},
        timeout=LIMIT_S,
    )


def change(query: str) -> Break:
    """Change what servers keep."""

    def it(world: World) -> None:
        with closing(sqlite3.connect(world.database)) as database, database:
            assert database.execute(query).rowcount

    return it


def comment(world: World, body: str) -> None:
    assert say(world, "POST", "issues/1/comments", body=body).ok


def complete(world: World, **facts: object) -> None:
    assert say(world, "PATCH", f"check-runs/{run_of(world).id}", **facts).ok


def say_again(world: World) -> None:
    (known,) = pull_of(world).review_comments
    about = {"path": "broken.py", "line": 1, "side": "RIGHT", "commit_id": pull_of(world).head_sha}
    assert say(world, "POST", "pulls/1/comments", body=known.body, **about).ok


def lose(world: World) -> None:
    (known,) = pull_of(world).review_comments
    assert say(world, "DELETE", f"pulls/comments/{known.id}").ok
    complete(world, output={"title": "Done", "summary": "All: 0 reviewed, 0 not reviewed"})


def sum_up_again(world: World) -> None:
    pull = pull_of(world)
    marks = Marks(derive_key("marks", world.stage.app.private_key.strip()))
    ref = PullRef(pull.repository.id, pull.repository.full_name, pull.number)
    for _ in range(2):
        comment(world, marks.sign(ref, SUMMARY, "job", pull.head_sha))


def leave_open(world: World) -> None:
    complete(world, status="in_progress")


def pass_over(world: World) -> None:
    complete(world, output={"title": "Done", "summary": "2 changed lines: 1 not reviewed"})


def check_twice(world: World) -> None:
    known = run_of(world)
    facts = {"name": known.name, "external_id": known.external_id, "conclusion": "neutral"}
    head = pull_of(world).head_sha
    assert say(world, "POST", "check-runs", head_sha=head, status="completed", **facts).ok


def speak_late(world: World) -> None:
    with world.github.quietly():
        pull_of(world).close()
    comment(world, "One more thing.")


def speak_of_the_past(world: World) -> None:
    old = pull_of(world).head_sha
    with world.github.quietly():
        pull_of(world).push({"broken.py": b"pass\n"})
    assert say(world, "POST", "pulls/1/reviews", body="Oh", event="COMMENT", commit_id=old).ok


def ask(world: World, more: str = "") -> None:
    """Ask the model what it was asked already, and something more."""
    model = world.stage.model
    known = model.seen[0]
    first, *others = known.messages
    more_said = {**first, "content": first["content"] + more}
    requests.post(
        f"{model.address}{known.path}",
        json={**known.body, "messages": [more_said, *others]},
        headers={"Authorization": f"Bearer {model.key}"},
        timeout=LIMIT_S,
    )


def ask_in_vain(world: World) -> None:
    for _ in range(MOST_ASKED):
        world.stage.acts["broken.py"] = Act(answer="")
        ask(world)


def hurry(world: World) -> None:
    world.inject("GET", "/pulls/1$", status=429, headers={"Retry-After": "60"})
    for _ in range(2):
        say(world, "GET", "pulls/1")
        world.time.jump(SOON)


def insist(world: World) -> None:
    for _ in range(MOST_TIMES + 1):
        say(world, "GET", "pulls/99")


def go_elsewhere(world: World) -> None:
    hits, port = world.canary.hits, int(world.canary.address.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    until(lambda: world.canary.hits > hits, LIMIT_S, lambda: "nobody listens", 0.005)


def tell_the_key(world: World) -> None:
    comment(world, world.stage.app.private_key.splitlines()[LINE_OF_KEY])


def log_a_token(world: World) -> None:
    with (world.stage.folder / "server.log").open("a") as log:
        log.write(f"token={next(iter(world.github.tokens))};")


def keep_a_secret(world: World) -> None:
    with closing(sqlite3.connect(world.database)) as database, database:
        database.execute("UPDATE postil_jobs SET note = ?", [world.stage.app.webhook_secret])


BROKEN: Mapping[str, tuple[Break, str]] = {
    "a delivery is lost": (change("DELETE FROM postil_deliveries"), "was lost"),
    "a delivery has no job": (
        change("UPDATE postil_deliveries SET job_key = 'no' WHERE job_key IS NOT NULL"),
        "has no job",
    ),
    "a job has no end": (
        change("UPDATE postil_jobs SET state = 'running' WHERE kind = 'review'"),
        "a job has no end",
    ),
    "a finding is said twice": (say_again, "said more than once"),
    "a finding is lost": (lose, "lost: "),
    "a pull is summed up twice": (sum_up_again, "summed up 2 times"),
    "a review has no record": (change("DELETE FROM postil_runs"), "left no record"),
    "a check run is left open": (leave_open, "is in_progress"),
    "a line is passed over": (pass_over, "a success though not all was read"),
    "a unit is passed over": (
        change("""UPDATE postil_runs SET record = replace(record, '"reviewed"', '"failed"')"""),
        "a success with units that are",
    ),
    "a job has two check runs": (check_twice, "several check runs of one job"),
    "something is said on a closed pull": (speak_late, "written after the end"),
    "something is said of an old head": (speak_of_the_past, "said about another commit"),
    "an answer is paid twice": (ask, "paid twice"),
    "the model is asked without end": (ask_in_vain, f"asked {MOST_ASKED + 1} times"),
    "somebody is called too early": (hurry, "too early"),
    "somebody is called without end": (insist, "without end"),
    "another host is called": (go_elsewhere, "somebody called another host"),
    "a comment holds the webhook's secret": (
        lambda world: comment(world, f"<!--{world.stage.app.webhook_secret}-->"),
        "POST .*/comments holds a secret",
    ),
    "a comment holds the App's key": (tell_the_key, "POST .*/comments holds a secret"),
    "a prompt holds a token": (
        lambda world: ask(world, next(iter(world.github.tokens))),
        "a prompt holds a secret",
    ),
    "the log holds a token": (log_a_token, "server.log holds a secret"),
    "the database holds the webhook's secret": (keep_a_secret, "postil.db.* holds a secret"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_hold_is_named(reviewed: World, what: str) -> None:
    break_it, name = BROKEN[what]
    with restored(reviewed):
        break_it(reviewed)
        with pytest.raises(AssertionError, match=name):
            check_invariants(reviewed, restarts=0)
    check_invariants(reviewed, restarts=0)


def leave_a_push_unheard(world: World) -> None:
    with world.github.quietly():
        pull_of(world).push({"broken.py": b"pass\n"})


def leave_a_delivery_unheard(world: World) -> None:
    world.github.deliver("ping", {"zen": json.dumps("Keep it logically awesome.")})


@pytest.mark.parametrize("leave", [leave_a_delivery_unheard, leave_a_push_unheard])
def test_what_is_left_for_a_start_is_named(reviewed: World, leave: Break) -> None:
    leave(reviewed)
    check_invariants(reviewed, restarts=0)
    with pytest.raises(AssertionError, match="a restart is not at rest"):
        check_invariants(reviewed, restarts=1)
    check_invariants(reviewed, restarts=1)
    reviewed.life.close()
