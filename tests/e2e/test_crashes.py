"""A server that is killed at any moment: what it accepted is done, once, after the next start."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import app
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import Server, until
from tests.adapters.test_crash import crash_points
from tests.e2e.conftest import LIMIT_S, Stage, check, spots

DYING = (
    "import sys; from app.adapters import crash; from app.__main__ import main; "
    "crash.arm(sys.argv[1], int(sys.argv[2])); sys.argv[1:] = ['serve']; main()"
)
"""``postil serve`` that kills itself when it comes to a named point for the nth time."""
Death = tuple[str, int]
WHILE_RECEIVING: Sequence[Death] = (("after_verify", 1), ("after_insert", 1))
WHILE_REVIEWING: Sequence[Death] = (
    ("before_write", 1),
    ("after_write_before_record", 1),
    ("after_files_page", 1),
    ("after_model_answer", 1),
)
WHILE_POSTING: Sequence[Death] = (
    ("before_write", 2),
    ("after_write_before_record", 1),
    ("before_check", 1),
    ("after_check_before_record", 1),
)
"""One life each, in the order of a review. A fifth death would be one too many for any job."""
PARTS = 4


def die(point: str, nth: int) -> Sequence[str]:
    return "-c", DYING, point, str(nth)


def wait_until_dead(server: Server) -> None:
    server.process.wait(LIMIT_S)
    assert server.process.returncode == -signal.SIGKILL


def open_long_pull(stage: Stage) -> Pull:
    """Open a pull request of several files, each with a bug and long enough to be asked alone."""
    filler = "".join(f"count_{number} = {number}\n" for number in range(600))
    files = {
        f"part_{part}.py": f"xs = []\nmean_{part} = {part} / len(xs)\n{filler}".encode()
        for part in range(PARTS)
    }
    return stage.open_pull(stage.create_repository("long"), files)


def test_a_kill_in_the_middle_of_the_model_calls_repeats_none_that_finished(stage: Stage) -> None:
    one_at_a_time = {"POSTIL_CONCURRENCY": "1"}
    stage.acts["mean_2"] = Act(delay=60.0)
    with stage.serving(one_at_a_time) as server:
        pull = open_long_pull(stage)
        until(lambda: bool(stage.asked("mean_2")), LIMIT_S, lambda: "it was never asked")
        server.kill()
    *finished, cut_short = [seen.prompt for seen in stage.model.seen]
    assert finished
    assert pull.reviews == []
    assert [run.status for run in pull.repository.check_runs] == ["in_progress"]

    stage.acts.clear()
    with stage.serving(one_at_a_time):
        stage.wait_until_done()
    times = Counter(seen.prompt for seen in stage.model.seen)
    assert times[cut_short] == 2
    assert {prompt for prompt, count in times.items() if count > 1} == {cut_short}
    assert len(pull.reviews) == 1
    assert spots(pull) == [("long.py", 2), *((f"part_{part}.py", 2) for part in range(PARTS))]
    assert check(pull).conclusion == "success"


def test_a_kill_before_the_answer_loses_no_delivery_that_github_repeats(stage: Stage) -> None:
    repository = stage.create_repository("received")
    stage.github.settle()
    pull = None
    for death in WHILE_RECEIVING:
        with stage.serving(command=die(*death)) as server:
            if pull is None:
                pull = stage.open_pull(repository)
            else:
                stage.github.redeliver(stage.github.deliveries[-1])
            wait_until_dead(server)
            stage.github.settle()
        assert stage.github.deliveries[-1].status_code == 502
    assert pull is not None
    with stage.serving():
        stage.github.redeliver(stage.github.deliveries[-1])
        stage.wait_until_done()
    assert spots(pull) == [("received.py", 2)]
    assert len(pull.reviews) == 1

    # whoever starts once more finds nothing left to do
    before = stage.writes(pull.repository)
    with stage.serving():
        other = stage.open_pull(stage.create_repository("other"))
        stage.wait_until_done()
    assert spots(other) == [("other.py", 2)]
    assert stage.writes(pull.repository) == before


@pytest.mark.parametrize("deaths", [WHILE_REVIEWING, WHILE_POSTING], ids=["reviewing", "posting"])
def test_a_review_outlives_every_death_and_says_everything_once(
    stage: Stage, deaths: Sequence[Death]
) -> None:
    pull = None
    for death in deaths:
        with stage.serving(command=die(*death)) as server:
            pull = pull or stage.open_pull(stage.create_repository("mortal"))
            wait_until_dead(server)
    assert pull is not None
    with stage.serving():
        stage.wait_until_done()
    assert spots(pull) == [("mortal.py", 2)]
    assert len(pull.reviews) == 1
    assert check(pull).conclusion == "success"
    # an answer that was lost on its way into the database is asked for again, no other is
    lost = sum(point == "after_model_answer" for point, _ in deaths)
    times = Counter(seen.prompt for seen in stage.model.seen)
    assert sum(times.values()) - len(times) == lost


def test_every_point_where_it_may_die_was_tried() -> None:
    deaths = {point for point, _ in (*WHILE_RECEIVING, *WHILE_REVIEWING, *WHILE_POSTING)}
    assert deaths == set(crash_points(Path(app.__file__).parent))
