"""The repair over a real database and a GitHub on loopback: what was missed comes, and once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.adapters.github.access import GitHubApp
from app.adapters.github.checks import GitHubChecks, open_check
from app.adapters.github.repair import GitHubRepair
from app.adapters.store import Store, open_engine
from app.core.events import ReviewRequest
from app.core.job import Halted, Job, JobState, RunResult, Verdict
from app.core.repair import RepairNotes, ask_for
from app.jobs import Desk, Pace
from app.repairs import DAY, LOST, OVERLAP, Repairs
from sandbox.github import CheckRun, checks
from sandbox.github.hooks import CONNECT_FAILED
from tests.adapters.github.conftest import NEW, Scene, scene

__all__ = ["scene"]
PACE = Pace(quiet=0.0)
TEN_MINUTES, HOUR = 600.0, 3600.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """One server's desk and repair; no worker runs, so that jobs stay as they are put."""

    scene: Scene
    desk: Desk
    store: Store
    access: GitHubApp
    repairs: Repairs

    def repair(self, after: float = TEN_MINUTES) -> None:
        """Repair so long after the last time; what was told of meanwhile arrived."""
        self.later(after)
        for one in self.scene.github.deliveries:
            one.status = "OK" if one.status == "not sent" else one.status
        self.desk.order_repair()
        job = self.desk.begin("repair", self.tries("repair"))
        assert job is not None
        self.repairs.run(self.desk)
        self.desk.settle(job, RunResult(JobState.DONE))

    def tries(self, key: str) -> int:
        return self.job(key).tries

    def job(self, key: str) -> Job:
        found = self.find(key)
        assert found is not None, key
        return found

    def find(self, key: str) -> Job | None:
        with self.store.begin() as connection:
            return self.store.find_job(connection, key)

    def request(self) -> ReviewRequest:
        return replace(ask_for(self.scene.fetch()), reason="opened")

    def begin(self, request: ReviewRequest) -> Job:
        """Start a review as a worker would, up to its check run."""
        self.desk.arm(request)
        job = self.desk.begin(request.key, self.tries(request.key))
        assert job is not None
        self.open_check(request)
        return job

    def open_check(self, request: ReviewRequest) -> CheckRun:
        client = self.access.client(request.ref)
        number = open_check(client, self.access.app_id, request.ref, request.head_sha, request.key)
        (run,) = [one for one in self.scene.repository.check_runs if one.id == number]
        return run

    def later(self, seconds: float) -> None:
        self.scene.time.now += seconds


@pytest.fixture
def workshop(scene: Scene, tmp_path: Path) -> Iterator[Workshop]:
    engine = open_engine(tmp_path)
    store = Store(engine).prepare()
    desk = Desk(store, PACE, scene.time)
    desk.open()
    access = scene.access()
    repairs = Repairs(GitHubRepair(access), GitHubChecks(access), scene.time)
    yield Workshop(scene, desk, store, access, repairs)
    desk.close()
    engine.dispose()


# heads that nobody told us of


def test_a_pull_that_was_opened_unheard_is_reviewed(workshop: Workshop) -> None:
    workshop.repair()
    job = workshop.job(workshop.request().key)
    assert (job.state, job.head_sha) == (JobState.QUEUED, workshop.scene.pull.head_sha)


def test_what_was_found_is_not_found_again(workshop: Workshop) -> None:
    for _ in range(3):
        workshop.repair()
        workshop.scene.pull.comment(workshop.scene.alice, "changed again")
    job = workshop.job(workshop.request().key)
    assert (job.generation, job.tries) == (1, 1)


@pytest.mark.parametrize(
    "state",
    [
        JobState.DONE,
        JobState.SKIPPED,
        JobState.SUPERSEDED,
        JobState.CANCELLED,
        JobState.DEAD,
    ],
)
def test_a_head_whose_job_ended_is_not_asked_for_again(workshop: Workshop, state: JobState) -> None:
    request = workshop.request()
    workshop.desk.arm(request)
    job = workshop.desk.begin(request.key, 1)
    assert job is not None
    workshop.desk.settle(job, RunResult(state))
    for _ in range(2):
        workshop.scene.pull.comment(workshop.scene.alice, "still here")
        workshop.repair()
    assert workshop.job(request.key).state is state


def test_a_push_that_nobody_told_of_is_reviewed_however_old_the_pull_is(
    workshop: Workshop,
) -> None:
    first = workshop.request()
    workshop.desk.arm(first)
    workshop.later(2 * DAY)
    workshop.scene.pull.push({"cart.py": NEW + "more\n"})
    workshop.repair()
    assert workshop.job(workshop.request().key).state is JobState.QUEUED
    assert workshop.job(first.key).state is JobState.SUPERSEDED


def test_an_old_pull_on_which_somebody_only_speaks_is_left_alone(workshop: Workshop) -> None:
    workshop.later(DAY)
    workshop.scene.pull.comment(workshop.scene.alice, "ping")
    workshop.repair()
    assert workshop.find(workshop.request().key) is None


def test_a_paused_pull_is_not_reviewed_after_all_when_it_is_resumed(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.desk.pause(request.ref, paused=True)
    workshop.repair()
    assert workshop.find(request.key) is None
    assert workshop.desk.arm(request) is Verdict.PAUSED
    workshop.desk.pause(request.ref, paused=False)
    workshop.scene.pull.comment(workshop.scene.alice, "resumed")
    workshop.repair()
    assert workshop.job(request.key).state is JobState.SKIPPED
    assert workshop.desk.arm(request) is Verdict.ARM


def test_a_webhook_that_comes_while_the_repair_looks_is_one_review(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.desk.arm(request)
    assert not workshop.desk.arm_missed(replace(request, reason="missed"))
    workshop.desk.cancel(request.ref)
    assert not workshop.desk.arm_missed(replace(request, reason="missed"))
    assert workshop.job(request.key).generation == 1


# a database that was lost


def test_what_was_reviewed_before_the_database_was_lost_is_not_reviewed_again(
    workshop: Workshop,
) -> None:
    request = workshop.request()
    run = workshop.open_check(request)
    run.status, run.conclusion = "completed", "success"
    workshop.repair()
    assert workshop.find(request.key) is None


def test_what_was_begun_before_the_database_was_lost_is_finished(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.open_check(request)
    full = workshop.open_check(replace(request, kind="full"))
    workshop.later(DAY)
    workshop.scene.pull.comment(workshop.scene.alice, "where is it?")
    workshop.repair()
    assert workshop.job(request.key).state is JobState.QUEUED
    assert (full.status, full.conclusion) == ("completed", "neutral")
    assert LOST in str(full.output["title"])


def test_a_check_of_another_app_or_pull_says_nothing(workshop: Workshop) -> None:
    request = workshop.request()
    scene = workshop.scene
    other = scene.github.create_app("other")
    wanted = {"name": "Postil", "head_sha": request.head_sha, "external_id": request.key}
    checks.create(scene.github, scene.repository, other, {**wanted, "status": "in_progress"})
    twin = workshop.open_check(replace(request, ref=replace(request.ref, number=77)))
    twin.status = "completed"
    workshop.repair()
    assert workshop.job(request.key).state is JobState.QUEUED


# checks that were left open


def open_runs(workshop: Workshop) -> list[CheckRun]:
    return [run for run in workshop.scene.repository.check_runs if run.status != "completed"]


def test_a_check_that_opened_after_its_run_was_cancelled_is_closed(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    assert open_runs(workshop)
    workshop.repair()
    assert open_runs(workshop), "its run may still be under way"
    workshop.repair()
    assert open_runs(workshop) == []
    (run,) = workshop.scene.repository.check_runs
    assert run.conclusion == "neutral"
    assert "somebody cancelled it" in str(run.output["title"])


def test_the_check_of_a_review_that_was_asked_for_again_is_not_closed(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    workshop.begin(request)
    for _ in range(3):
        workshop.repair()
    assert len(open_runs(workshop)) == 1


def test_a_completed_check_is_left_as_it_is(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    (run,) = workshop.scene.repository.check_runs
    run.status, run.conclusion = "completed", "success"
    before = workshop.scene.writes()
    for _ in range(3):
        workshop.repair()
    assert run.conclusion == "success"
    assert workshop.scene.writes() == before


def test_a_check_that_an_outage_kept_open_is_closed_when_it_is_over(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    fault = workshop.scene.inject("PATCH", "/check-runs/", status=503, times=None)
    for _ in range(3):
        workshop.repair(HOUR)
    assert open_runs(workshop)
    fault.times = 0
    workshop.repair()
    assert open_runs(workshop) == []


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_check_that_nothing_can_close_is_not_asked_about_for_ever(
    workshop: Workshop, status: int
) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    workshop.scene.inject("PATCH", "/check-runs/", status=status, times=None)
    for _ in range(4):
        workshop.repair()
    tried = len(workshop.scene.github.called("PATCH", "/check-runs/"))
    for _ in range(3):
        workshop.repair()
    assert len(workshop.scene.github.called("PATCH", "/check-runs/")) == tried > 0


def test_a_run_that_ended_before_the_window_is_not_looked_at_for_ever(workshop: Workshop) -> None:
    request = workshop.request()
    workshop.begin(request)
    workshop.desk.cancel(request.ref)
    for _ in range(4):
        workshop.repair()
    looked = len(workshop.scene.github.called("GET", "/check-runs"))
    for _ in range(3):
        workshop.repair()
    assert len(workshop.scene.github.called("GET", "/check-runs")) == looked


# deliveries


def lose(workshop: Workshop) -> str:
    """Let a delivery fail, and every later attempt of it."""
    scene = workshop.scene
    scene.app.webhook_url = "http://127.0.0.1:9/webhook"
    delivery = scene.github.postman.prepare(scene.app, "pull_request", {"action": "opened"})
    delivery.status, delivery.status_code = "failed to connect to host", CONNECT_FAILED
    return delivery.guid


def attempts(workshop: Workshop, guid: str) -> int:
    workshop.scene.github.settle()
    return sum(one.guid == guid for one in workshop.scene.github.deliveries)


def test_a_failed_delivery_is_asked_for_again_three_times_and_no_more(workshop: Workshop) -> None:
    guid = lose(workshop)
    counts = []
    for _ in range(6):
        workshop.repair()
        counts.append(attempts(workshop, guid))
    assert counts == [2, 3, 4, 4, 4, 4]


def test_an_attempt_that_is_not_listed_yet_is_not_asked_for_twice(workshop: Workshop) -> None:
    guid = lose(workshop)
    workshop.scene.inject("POST", "/attempts", status=202, body=b"{}", times=None)
    for _ in range(3):
        workshop.repair()
    assert len(workshop.scene.github.called("POST", "/attempts")) == 1
    assert attempts(workshop, guid) == 1


def test_a_delivery_that_can_no_longer_be_sent_keeps_nothing_up(workshop: Workshop) -> None:
    lose(workshop)
    second = lose(workshop)
    workshop.scene.inject("POST", "/attempts", status=422)
    workshop.repair()
    assert attempts(workshop, second) == 2
    assert workshop.desk.recall_repair().deliveries == workshop.scene.time.now


# outages


@pytest.mark.parametrize(
    ("pattern", "remembers"),
    [
        ("/app/hook/deliveries", lambda notes: notes.deliveries),
        ("/app/installations$", lambda notes: notes.pulls),
        ("/installation/repositories", lambda notes: notes.pulls),
        ("/repos/acme/shop/pulls", lambda notes: notes.pulls),
        ("/check-runs", lambda notes: notes.pulls),
    ],
)
def test_what_an_outage_hid_is_found_by_the_next_repair_however_late(
    workshop: Workshop,
    caplog: pytest.LogCaptureFixture,
    pattern: str,
    remembers: Callable[[object], object],
) -> None:
    workshop.repair()
    workshop.scene.pull.push({"cart.py": NEW + "more\n"})
    workshop.scene.github.settle()
    fault = workshop.scene.inject("GET", pattern, status=503, times=None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            before = remembers(workshop.desk.recall_repair())
            workshop.repair(HOUR)
            assert remembers(workshop.desk.recall_repair()) == before
    assert "the next one covers it" in caplog.text
    fault.times = 0
    workshop.repair()
    assert workshop.job(workshop.request().key).state is JobState.QUEUED
    assert remembers(workshop.desk.recall_repair()) != before


@pytest.mark.parametrize("pattern", ["/app/installations$", "/repos/acme/shop/pulls"])
def test_a_first_repair_in_an_outage_loses_nothing_that_came_before(
    workshop: Workshop, pattern: str
) -> None:
    fault = workshop.scene.inject("GET", pattern, status=503, times=None)
    for _ in range(3):
        workshop.repair(HOUR)
    fault.times = 0
    workshop.repair(HOUR)
    assert workshop.job(workshop.request().key).state is JobState.QUEUED


def test_an_installation_that_is_away_for_a_while_is_covered_when_it_is_back(
    workshop: Workshop,
) -> None:
    workshop.repair()
    workshop.scene.installation.suspended_at = workshop.scene.time.now
    workshop.scene.pull.push({"cart.py": NEW + "more\n"})
    for _ in range(3):
        workshop.repair(HOUR)
    workshop.scene.installation.suspended_at = None
    workshop.repair()
    assert workshop.job(workshop.request().key).state is JobState.QUEUED


def test_one_installation_that_cannot_be_read_does_not_hold_up_another(workshop: Workshop) -> None:
    scene = workshop.scene
    other = scene.github.create_repository("other/place", {"a": "1\n"})
    home = scene.github.install(scene.app, other.owner)
    other.commit({"a": "2\n"}, branch="x")
    other.open_pull("x", "Elsewhere", author=scene.alice)
    scene.inject("GET", "/repos/acme/shop/pulls", status=503, times=None)
    workshop.repair()
    pulls = workshop.desk.recall_repair().pulls
    assert pulls[home.id] == scene.time.now > pulls[scene.installation.id]
    assert workshop.store.count_jobs() == {"queued": 1, "done": 1}


def test_a_repair_that_is_stopped_remembers_nothing_it_did_not_see(workshop: Workshop) -> None:
    stopped = replace(workshop.repairs, halted=lambda: True)
    workshop.desk.order_repair()
    with pytest.raises(Halted):
        stopped.run(workshop.desk)
    assert workshop.desk.recall_repair() == RepairNotes.first(workshop.scene.time.now)
    workshop.repair()
    assert workshop.job(workshop.request().key).state is JobState.QUEUED


def test_the_borders_of_two_repairs_overlap(workshop: Workshop) -> None:
    workshop.repair()
    workshop.scene.pull.push({"cart.py": NEW + "more\n"})
    workshop.scene.pull.updated_at -= OVERLAP - 1
    workshop.repair()
    assert workshop.job(workshop.request().key).state is JobState.QUEUED


# when


def test_a_start_repairs_soon_but_a_worker_that_starts_over_and_over_does_not_each_time(
    workshop: Workshop,
) -> None:
    desk, time = workshop.desk, workshop.scene.time
    assert desk.order_repair(time.now)
    job = desk.begin("repair", 1)
    assert job is not None
    desk.settle(job, RunResult(JobState.DONE))
    workshop.later(59)
    assert not desk.order_repair(time.now)
    workshop.later(2)
    assert not desk.order_repair(time.now - 100)
    assert desk.order_repair(time.now)
