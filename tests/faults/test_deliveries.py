"""Deliveries come twice, at once, too late, or are signed anew: each wish is granted once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest

from app.core.diff import Diff, RawFile, parse_diff
from app.core.job import MAX_ATTEMPTS
from sandbox.github import CheckRun, Delivery, Pull, shapes
from sandbox.github.checks import suite_of
from sandbox.models import Act
from sandbox.models.server import Seen
from sandbox.serving import until
from tests.e2e.conftest import NEW, check, checks, replies, spots, told
from tests.faults.calls import (
    AGAIN,
    CLOSE,
    LAST_WORDS,
    LIST,
    NONE,
    OPEN,
    PERMISSION,
    PLAIN,
    PULL,
    TALK,
    TOKEN,
    check_calls,
    often,
)
from tests.faults.invariants import check_invariants, reviews
from tests.faults.nursery import Nursery
from tests.faults.world import LIMIT_S, NEVER, World, fault

GUID = "5a1e7c1e-0000-4000-8000-{:012d}"
TWENTY, THOUSAND = 20, 1000
AT_ONCE = 16
MEMORY = 200 * 2**20
ONCE = Counter({(202, "accepted"): 1})


def silent_pull(world: World, name: str) -> Pull:
    """Open a pull request whose webhook is left to the story."""
    repository = world.create_repository(f"acme/{name}")
    with world.github.quietly():
        return world.stage.open_pull(repository)


def answers(deliveries: Sequence[Delivery]) -> Counter[tuple[int, str]]:
    return Counter((one.status_code, json.loads(one.response_body)["status"]) for one in deliveries)


def at_once(calls: Sequence[Callable[[], Delivery]]) -> list[Delivery]:
    barrier = threading.Barrier(len(calls))

    def send(call: Callable[[], Delivery]) -> Delivery:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(send, calls))


def check_reviewed(pull: Pull, line: int = 2) -> None:
    """Check that the one defect was said, once and on its line."""
    assert spots(pull) == [(f"{pull.repository.name}.py", line)]
    assert [one.commit_id for one in pull.reviews] == [pull.head_sha]
    assert check(pull).conclusion == "success"


def states(world: World, pull: Pull) -> list[tuple[str, str]]:
    """Return kind and state of every job about a pull request."""
    mine = (pull.repository.id, pull.number)
    found = [one for one in world.jobs() if (one.repository_id, one.number) == mine]
    return sorted((one.kind, one.state) for one in found)


@fault(
    "The webhook's secret is rotated",
    "both are accepted meanwhile, and reviewed; what is signed with a third is refused",
)
def test_a_secret_that_is_rotated(world: World) -> None:
    app = world.stage.app
    old, new, foreign = app.webhook_secret, "n" * 32, "f" * 32
    with world.living({"POSTIL_WEBHOOK_SECRET": f"{new},{old}"}, repair=NEVER) as office:
        office._jobs.tend()
        world.wait_until_done()
        pulls = [silent_pull(world, name) for name in ("old", "new", "foreign")]
        for pull, secret in zip(pulls, (old, new, foreign), strict=True):
            app.webhook_secret = secret
            payload = world.stage.payload(pull, "opened")
            sent = world.github.deliver("pull_request", payload)
            expected = (401, "rejected") if secret is foreign else (202, "accepted")
            assert answers([sent]) == {expected: 1}
            assert (sent.guid in world.stage.deliveries()) is (secret is not foreign)
        world.wait_until_done()
        refused = pulls[-1]
        assert world.about(refused.repository) == []
        app.webhook_secret = new
        world.github.redeliver(sent)
        world.wait_until_done()
    for pull in pulls:
        check_reviewed(pull)
        check_calls(world, pull.repository, PLAIN)
    check_invariants(world)


@fault(
    "A thousand webhooks at once about two heads of five pull requests",
    "all are accepted, in little memory; every newest head is reviewed once",
)
def test_a_burst_of_webhooks(world: World, nursery: Nursery) -> None:
    pulls = [silent_pull(world, f"burst-{number}") for number in range(5)]
    opened = [world.stage.payload(pull, "opened") for pull in pulls]
    heads = [pull.head_sha for pull in pulls]
    with world.github.quietly():
        for pull in pulls:
            pull.push({f"{pull.repository.name}.py": b"# Means.\n" + NEW})
    pushed = [world.stage.payload(pull, "synchronize") for pull in pulls]
    with nursery.child(world) as child, ThreadPoolExecutor(AT_ONCE) as pool:
        child.wait_until_ready()
        first = world.stage.open_pull(world.create_repository("acme/first"))
        world.wait_until_done()  # with it all is loaded that reviews need
        before = child.memory("VmRSS")
        send = partial(world.github.deliver, "pull_request")
        sent = list(pool.map(send, [*opened * 100, *pushed * 100]))
        world.wait_until_done()
        grown = child.memory("VmHWM") - before
    assert Counter(one.status_code for one in sent) == {202: THOUSAND}
    assert grown < MEMORY
    check_calls(world, first.repository, PLAIN, may=LIST)
    for pull, old in zip(pulls, heads, strict=True):
        check_reviewed(pull, line=3)
        ends = {one.head_sha: one.state for one in reviews(world, pull)}
        assert ends == {old: "superseded", pull.head_sha: "done"}
        # an old head that is heard of again after the newer one is begun and ended again
        again = often(AGAIN + TALK + OPEN + LAST_WORDS, AT_ONCE)
        check_calls(world, pull.repository, PLAIN, may=again + LIST)
    check_invariants(world)


# one server lives in a process at a time: from here on it is the one that these tests share


@fault("The same delivery comes twice", "it is a duplicate, accepted, and nothing is done for it")
def test_a_delivery_that_comes_twice(house: World) -> None:
    pull = silent_pull(house, "twice")
    payload = house.stage.payload(pull, "opened")
    send = partial(house.github.deliver, "pull_request", payload, guid=GUID.format(1))
    assert answers([send(), send()]) == ONCE + Counter({(202, "duplicate"): 1})
    house.wait_until_done()
    before = len(house.github.calls), len(house.stage.model.seen)
    assert answers([send()]) == {(202, "duplicate"): 1}
    house.wait_until_done()
    assert (len(house.github.calls), len(house.stage.model.seen)) == before
    check_reviewed(pull)
    assert states(house, pull) == [("review", "done")]
    check_calls(house, pull.repository, PLAIN)


@fault("The same delivery comes twenty times at once", "all are accepted, and it is one job")
def test_a_delivery_that_comes_twenty_times_at_once(house: World) -> None:
    pull = silent_pull(house, "twenty")
    payload = house.stage.payload(pull, "opened")
    send = partial(house.github.deliver, "pull_request", payload, guid=GUID.format(2))
    found = answers(at_once([send] * TWENTY))
    assert found == ONCE + Counter({(202, "duplicate"): TWENTY - 1})
    house.wait_until_done()
    check_reviewed(pull)
    assert states(house, pull) == [("review", "done")]
    check_calls(house, pull.repository, PLAIN)


@fault("Several events tell of one head at once", "one review")
def test_several_events_of_one_head(house: World) -> None:
    pull = silent_pull(house, "events")
    github, stage = house.github, house.stage
    writer = stage.user("wilma")
    pull.repository.grant(writer, "write")
    suite = suite_of(github, pull.repository, stage.app, pull.head_sha)
    (installation,) = github.installations_on(pull.repository)
    rerun = {"action": "rerequested", "check_suite": shapes.check_suite(github, suite)}
    told = [("pull_request", stage.payload(pull, action)) for action in ("opened", "synchronize")]
    told.append(("check_suite", github.addressed(rerun, installation, pull.repository, writer)))
    sent = at_once([partial(github.deliver, event, payload) for event, payload in told])
    *pushes, button = sent
    assert answers(pushes) == ONCE + Counter({(202, "duplicate"): 1})
    assert answers([button]) == ONCE
    house.wait_until_done()
    # whoever comes first: a review that a person asks for anew takes the place of the other
    assert {run.status for run in checks(pull)} == {"completed"}
    assert len(pull.reviews) == 1
    assert spots(pull) == [("events.py", 2)]
    assert check_of(pull, "full").conclusion == "success"
    asked = TOKEN + PERMISSION + PULL
    may = AGAIN + OPEN + TALK + LAST_WORDS + CLOSE
    check_calls(house, pull.repository, PLAIN + asked, may=may)


def check_of(pull: Pull, kind: str) -> CheckRun:
    (run,) = (one for one in checks(pull) if one.external_id.endswith(f":{kind}"))
    return run


@contextmanager
def held(world: World, text: str) -> Iterator[threading.Event]:
    """Let the model answer no prompt that holds a text until somebody says so."""
    model, go_on = world.stage.model, threading.Event()
    usual = model._script

    def wait(seen: Seen) -> Act | None:
        if text in seen.prompt:
            assert go_on.wait(LIMIT_S)
        return usual(seen) if usual else None

    model._script = wait
    try:
        yield go_on
    finally:
        go_on.set()
        model._script = usual


@fault(
    "A push while the model thinks, before anything was said",
    "the old review is superseded without a word, its check run closed; the new head is reviewed",
)
@pytest.mark.parametrize("told_of", [True, False], ids=["heard", "unheard"])
def test_a_push_while_the_model_thinks(house: World, *, told_of: bool) -> None:
    repository = house.create_repository(f"acme/thinking-{told_of}".lower())
    path = f"{repository.name}.py"
    with held(house, path) as go_on:
        pull = house.stage.open_pull(repository)
        until(lambda: bool(house.stage.asked(path)), LIMIT_S, lambda: "it was never asked", 0.005)
        old = pull.head_sha
        with nullcontext() if told_of else house.github.quietly():
            pull.push({path: b"# Means.\n" + NEW})
        if told_of:  # what hears of it ends the review that waits
            until(lambda: check(pull, old).status == "completed", LIMIT_S, lambda: "it goes on")
        go_on.set()
        house.wait_until_done()
    assert pull.head_sha != old
    assert spots(pull) == [(path, 3)]
    check_reviewed(pull, line=3)
    run = check(pull, old)
    assert (run.status, run.conclusion) == ("completed", "neutral")
    assert "superseded" in told(run).lower()
    ends = {one.head_sha: one.state for one in reviews(house, pull)}
    assert ends == {old: "superseded", pull.head_sha: "done"}
    unheard = NONE if told_of else PULL + TALK
    check_calls(house, repository, PLAIN + AGAIN + OPEN + LAST_WORDS + unheard)


@fault(
    "A review fails by a bug of ours each time it is tried",
    "after five tries it is given up, the check run says so, and others go on",
)
def test_a_review_that_always_fails(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def fail(files: Sequence[RawFile], notes: Sequence[str] = ()) -> Diff:
        if files[0].path == "poisoned.py":
            tried.append(files)
            raise ZeroDivisionError("sk-secret")
        return parse_diff(files, notes)

    monkeypatch.setattr("app.pipeline.parse_diff", fail)
    poisoned = house.stage.open_pull(house.create_repository("acme/poisoned"))
    until(lambda: bool(tried), LIMIT_S, lambda: "it was never tried", 0.005)
    healthy = house.stage.open_pull(house.create_repository("acme/healthy"))
    house.wait_until_done()
    check_reviewed(healthy)
    assert len(tried) == MAX_ATTEMPTS
    assert states(house, poisoned) == [("close", "done"), ("review", "dead")]
    assert (spots(poisoned), replies(poisoned)) == ([], [])
    run = check(poisoned)
    assert run.conclusion == "neutral"
    assert "ZeroDivisionError" in told(run)
    check_calls(house, healthy.repository, PLAIN)
    check_calls(house, poisoned.repository, often(AGAIN, MAX_ATTEMPTS) + OPEN + LAST_WORDS)
