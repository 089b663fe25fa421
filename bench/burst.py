"""A thousand signed deliveries at once: how fast they are accepted, and what becomes of them."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.town import Town, memory_mib, open_town, say, wait_for_reviews
from sandbox.github import Pull, Repository, shapes
from tests.postgres import make_database, running_postgres

DELIVERIES, PULLS, OWNERS, CONNECTIONS, BUSY = 1_000, 40, 10, 50, 20
"""Postil writes once a second for one installation, so that there are several."""
AIM_P99_S, AIM_MOST_S = 0.5, 2.0
Letter = tuple[bytes, dict[str, str]]
Answered = tuple[int, float]
"""A status and how many seconds it took."""


def run() -> None:
    """Measure on SQLite with one server and on PostgreSQL with two, idle and busy."""
    say(f"{DELIVERIES} signed deliveries for {PULLS} pull requests over {CONNECTIONS} connections")
    say(f"(aim: p99 under {AIM_P99_S} s, none above {AIM_MOST_S:.0f} s)")
    for busy in (False, True):
        measure("SQLite, one server", 1, busy=busy)
    with running_postgres() as address:
        for busy in (False, True):
            measure("PostgreSQL, two servers", 2, make_database(address), busy=busy)


def measure(where: str, servers: int, database: str | None = None, *, busy: bool) -> None:
    """Send the burst, wait for every review, and print what it took."""
    with ExitStack() as stack:
        town = stack.enter_context(open_town(delay_s=1.0 if busy else 0.0))
        environ = {"POSTIL_DATABASE_URL": database} if database else {}
        running = stack.enter_context(town.serving(servers, **environ))
        shops = [town.create_repository(f"owner-{number}") for number in range(OWNERS)]
        pulls = [open_one(town, shops[number % OWNERS], number) for number in range(PULLS)]
        more = range(PULLS, PULLS + (BUSY if busy else 0))
        others = [open_one(town, shops[number % OWNERS], number) for number in more]
        letters = [letter(town, pulls[number % PULLS]) for number in range(DELIVERIES)]
        addresses = [server.address for server in running]
        if others:
            send([letter(town, pull) for pull in others], addresses, 1)
            while not town.model.seen:
                time.sleep(0.05)
        answered, seconds = in_a_process(letters, addresses)
        peak = [f"{memory_mib(server)[1]:.0f}" for server in running]
        drained = wait_for_reviews([*pulls, *others])
        check([*pulls, *others], answered)
    times = sorted(spent for _, spent in answered)
    p99 = statistics.quantiles(times, n=100)[98]
    say(
        f"  {where}, {f'while {BUSY} reviews run' if busy else 'idle'}: all 202, "
        f"p50 {statistics.median(times):.3f} s, p99 {p99:.3f} s, most {times[-1]:.3f} s, "
        f"{len(times) / seconds:.0f} a second, {' and '.join(peak)} MiB; "
        f"each of {len(pulls) + len(others)} pull requests reviewed once, {drained:.0f} s later"
    )


def open_one(town: Town, repository: Repository, number: int) -> Pull:
    """Open a pull request with a planted bug."""
    text = f"def mean_{number}(xs):\n    return sum(xs) / len(xs)\n"
    return town.open_pull(repository, f"work-{number}", {f"mean_{number}.py": text.encode()})


def letter(town: Town, pull: Pull) -> Letter:
    """Write a signed delivery with a GUID of its own."""
    (installation,) = town.github.installations_on(pull.repository)
    told = {
        "action": "opened",
        "number": pull.number,
        "pull_request": shapes.pull(town.github, pull),
    }
    payload = town.github.addressed(told, installation, pull.repository, pull.author)
    delivery = town.github.postman.prepare(town.app, "pull_request", payload)
    delivery.status, delivery.status_code = "OK", 202  # else it is asked for again as a lost one
    return delivery.body, dict(delivery.headers)


def in_a_process(
    letters: Sequence[Letter], addresses: Sequence[str]
) -> tuple[list[Answered], float]:
    """Send from a process of its own, so that the sandbox does not slow the sender down."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(send, (letters, addresses, CONNECTIONS))


def send(
    letters: Sequence[Letter], addresses: Sequence[str], connections: int
) -> tuple[list[Answered], float]:
    """Send letters over some connections; return what was answered and the seconds in all."""
    began = time.monotonic()
    parts = [letters[number::connections] for number in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        jobs = [
            pool.submit(_send_some, part, addresses[number % len(addresses)])
            for number, part in enumerate(parts)
        ]
        answered = [one for job in jobs for one in job.result()]
    return answered, time.monotonic() - began


def _send_some(letters: Sequence[Letter], address: str) -> list[Answered]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    answered: list[Answered] = []
    for body, headers in letters:
        began = time.monotonic()
        connection.request("POST", "/webhook", body, headers)
        reply = connection.getresponse()
        reply.read()
        answered.append((reply.status, time.monotonic() - began))
    connection.close()
    return answered


def check(pulls: Sequence[Pull], answered: Sequence[Answered]) -> None:
    """Check that nothing was lost and nothing was reviewed twice."""
    if Counter(status for status, _ in answered) != {202: DELIVERIES}:
        raise RuntimeError(f"not all were accepted: {Counter(status for status, _ in answered)}")
    for pull in pulls:
        runs = [r for r in pull.repository.check_runs if r.suite.head_sha == pull.head_sha]
        if len(pull.reviews) != 1 or len(runs) != 1 or len(pull.review_comments) != 1:
            raise RuntimeError(
                f"pull {pull.number} has {len(pull.reviews)} reviews, {len(runs)} check runs and "
                f"{len(pull.review_comments)} comments"
            )
