"""The model's service goes wrong while a server reviews."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import until
from tests.e2e.conftest import check, spots
from tests.faults.calls import AGAIN, PLAIN, check_calls
from tests.faults.world import LIMIT_S, World, fault

MINUTE = 60
LONG = "".join(f"count_{number} = {number}\n" for number in range(600))
"""So long that each file is asked about alone."""
TRIES = "SELECT tries FROM postil_jobs WHERE head_sha = ?"


def tries(world: World, pull: Pull) -> int:
    """Return how often the review of a pull request was scheduled."""
    with closing(sqlite3.connect(world.database)) as connection:
        return max((row[0] for row in connection.execute(TRIES, [pull.head_sha])), default=0)


@fault(
    "The model's service asks everybody to wait for a minute",
    "no worker waits: the job is scheduled for then, and what was answered is not asked again",
)
def test_a_service_that_wants_a_minute(house: World) -> None:
    stage = house.stage
    stage.acts["mean_1 "] = Act(status=429, headers={"Retry-After": str(MINUTE)})
    parts = {f"part_{n}.py": f"xs = []\nmean_{n} = {n} / len(xs)\n{LONG}" for n in range(2)}
    began = house.time()
    pull = stage.open_pull(
        house.create_repository("acme/patient"),
        {path: text.encode() for path, text in parts.items()},
    )
    until(lambda: tries(house, pull) == 2, LIMIT_S, lambda: "it was not scheduled anew", 0.01)
    stage.acts.clear()
    house.wait_until_done()
    assert spots(pull) == [("part_0.py", 2), ("part_1.py", 2), ("patient.py", 2)]
    assert check(pull).conclusion == "success"
    assert (check(pull).completed_at or 0) - began >= MINUTE
    asked = Counter(seen.prompt for seen in stage.model.seen)
    assert [("mean_1 " in prompt) for prompt, times in asked.items() if times > 1] == [True]
    check_calls(house, pull.repository, PLAIN + AGAIN)
