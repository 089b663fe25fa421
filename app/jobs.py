"""The durable side: what is accepted is done. Queue, newest head only, recovery. On dbos.

A delivery, its job and the workflow that will run it are written in one transaction, so that an
accepted delivery has a job and a job has a workflow, whatever dies when. A workflow is one try of a
job; whether it is still the current one is decided by the job's row when it starts and when it
ends, so a stale one does nothing. Waiting is always a delayed workflow, never a sleeping worker.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import sqlalchemy as sa
from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    WorkflowStatus,
)
from dbos import error as dbos_error
from pydantic import TypeAdapter
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.core.commands import Command, Verb
from app.core.events import (
    CommandRequest,
    CommentPlace,
    Delivery,
    Ignored,
    InstallationGone,
    Ping,
    PullClosed,
    RepositoryMoved,
    Request,
    RerunRequest,
    ReviewRequest,
)
from app.core.job import (
    MAX_ATTEMPTS,
    Closing,
    Halted,
    Job,
    JobKind,
    JobState,
    Postponed,
    PullState,
    RunResult,
    Verdict,
    judge,
    may_leave_open,
    quiet_until,
)
from app.core.pull import PullRef
from app.core.repair import Heard, RepairNotes
from app.errors import (
    BlockedOutput,
    HostInvalid,
    HostLimited,
    HostMissing,
    HostRefused,
    PostilError,
    SettingsError,
    UserError,
)

log = logging.getLogger(__name__)

APPLICATION: Final = "postil"
WORKFLOWS_VERSION: Final = "3"
"""Goes up when a change of the code could not continue a workflow that an older one began."""

REVIEWS: Final = "reviews"
CHORES: Final = "chores"
JOB_WORKFLOW: Final = "postil_job"

TRIES_TO_RECORD: Final = 3
MAX_TOGETHER: Final = 64
RUSH: Final = 4
"""So many deliveries at one moment are a rush: whoever sent them waits, and no job begins."""
RUSH_LASTS: Final = 0.5
RUSH_MOST: Final = 10.0
"""Seconds: how long it is a rush after the last such moment, and how long a job waits at most."""
DAY: Final = 24 * 3600.0
KEEP_DELIVERIES: Final = 30 * DAY
"""Longer than GitHub can repeat one
(docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks)."""
KEEP_TRACES: Final = 90 * DAY
KEEP_WORKFLOWS: Final = 7 * DAY
REPAIR_KEY: Final = "repair"
CALM: Final = 60.0
"""A worker that starts again and again repairs only so often, in seconds."""
PRUNED_AT_ONCE: Final = 200
KEEPER_STOPS_WITHIN: Final = 5.0
LOST_AFTER: Final = 60.0
"""How long after its time a queued job whose workflow has ended counts as lost."""

FINAL: Final = (HostRefused, HostMissing, HostInvalid, BlockedOutput, UserError)
"""What no repetition mends."""

_REVIEW = TypeAdapter(ReviewRequest)
_COMMAND = TypeAdapter(CommandRequest)
_CLOSING = TypeAdapter(Closing)
_NOTES = TypeAdapter(RepairNotes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery.

    ``status`` is accepted, duplicate, ignored, pong, or unavailable: nothing was recorded.
    """

    status: str
    note: str = ""
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things wait, in seconds, and how many run at once on one worker.

    ``late`` is how much longer than GitHub asked: clocks differ, and not all are to come at once.
    """

    quiet: float = 5.0
    quiet_most: float = 60.0
    deadline: float = 900.0
    retries: tuple[float, ...] = (10.0, 30.0, 90.0, 270.0)
    patience: float = DAY
    late: tuple[float, float] = (1.0, 10.0)
    repair: float = 600.0
    tend: float = 15.0
    grace: float = 15.0
    poll: float = 0.25
    reviews: int = 4
    chores: int = 4


class JobStore(Protocol):
    """What is kept of jobs; every method with a connection is part of its transaction."""

    @property
    def engine(self) -> sa.Engine:
        """The database that the durable engine shares."""
        ...

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """Open one write transaction."""
        ...

    def lock_pull(self, connection: sa.Connection, repository_id: int, number: int) -> None:
        """Let no other transaction decide about this pull."""
        ...

    def find_delivery(self, connection: sa.Connection, guid: str) -> tuple[bool, str | None]:
        """Return (seen before, the key of its job)."""
        ...

    def save_delivery(
        self,
        connection: sa.Connection,
        guid: str,
        event: tuple[str, str],
        outcome: str,
        job_key: str | None,
        received_at: float,
    ) -> None:
        """Record a delivery."""
        ...

    def find_job(self, connection: sa.Connection, key: str) -> Job | None:
        """Return the job of this key."""
        ...

    def save_job(self, connection: sa.Connection, job: Job) -> None:
        """Keep a job as it is now."""
        ...

    def list_jobs(
        self,
        connection: sa.Connection,
        *,
        states: Sequence[JobState] = (),
        installation_id: int | None = None,
        repository_id: int | None = None,
        head_sha: str | None = None,
        kind: JobKind | None = None,
        queued_between: tuple[float, float] | None = None,
    ) -> tuple[Job, ...]:
        """List the jobs that match every given condition, oldest first."""
        ...

    def find_pull(self, connection: sa.Connection, repository_id: int, number: int) -> PullState:
        """Return what is kept of a pull."""
        ...

    def save_pull(self, connection: sa.Connection, pull: PullState) -> None:
        """Keep what is known of a pull."""
        ...

    def drop_deliveries(self, before: float) -> int:
        """Forget old deliveries."""
        ...

    def drop_traces(self, before: float) -> int:
        """Forget old answers and runs."""
        ...

    def try_writing(self) -> None:
        """Make sure that there is room for a row. Raises SettingsError."""
        ...

    def count_jobs(self) -> Mapping[str, int]:
        """Count the jobs by state."""
        ...

    def oldest_due(self, now: float) -> float | None:
        """Return since when the longest-waiting queued job could have run."""
        ...


class Locks(Protocol):
    """Which worker ids are alive."""

    def claim(self, wanted: str | None) -> str:
        """Hold the wanted id, or the first free one."""
        ...

    def take(self, name: str) -> bool:
        """Try to hold an id, or make sure we still do; False when another living process does."""
        ...

    def release(self, name: str) -> None:
        """Let go of an id."""
        ...


class Desk:
    """Where jobs are asked for and ended; each public method is one transaction, and repeatable."""

    def __init__(self, store: JobStore, pace: Pace, clock: Callable[[], float]) -> None:
        self._store = store
        self._pace = pace
        self._clock = clock
        self._client: DBOSClient | None = None
        self._waiting: deque[_Slot] = deque()
        self._rush_until = 0.0
        self._refused = False
        self._turn = threading.Lock()

    def open(self) -> None:
        """Prepare the durable engine's tables and queues; from now on jobs can be asked for."""
        # with a handler of its own set, the engine does not write to stderr by itself
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        DBOS.migrate(self._store.engine.url.render_as_string(hide_password=False))
        client = DBOSClient(
            system_database_engine=self._store.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
        )
        pace = self._pace
        client.register_queue(
            REVIEWS,
            worker_concurrency=pace.reviews,
            # one installation never has every place
            partition_worker_concurrency=max(1, pace.reviews // 2),
            polling_interval_sec=pace.poll,
        )
        client.register_queue(
            CHORES,
            worker_concurrency=pace.chores,
            partition_worker_concurrency=max(1, pace.chores // 2),
            polling_interval_sec=pace.poll,
        )
        self._client = client

    def close(self) -> None:
        """Let go of the engine's client."""
        if self._client is not None:
            self._client.destroy()
            self._client = None

    @property
    def client(self) -> DBOSClient:
        """The engine's client: what it reads is no step of a workflow."""
        if self._client is None:
            raise RuntimeError("the desk is not open")
        return self._client

    # looked at

    @property
    def rushed(self) -> bool:
        """Tell whether deliveries come faster than one after the other."""
        return self._clock() < self._rush_until

    @property
    def records(self) -> bool:
        """Tell whether deliveries can be recorded: tried anew since the last one was not."""
        if self._refused:
            try:
                self._store.try_writing()
            except SettingsError:
                return False
            self._refused = False
        return True

    def count_jobs(self) -> Mapping[str, int]:
        """Count the jobs by state."""
        return self._store.count_jobs()

    def oldest_due(self, now: float) -> float | None:
        """Return since when the longest-waiting queued job could have run."""
        return self._store.oldest_due(now)

    # asked for from outside

    def accept(self, delivery: Delivery) -> Outcome:
        """Record a delivery, its job and its workflow, all or nothing.

        Deliveries that come at the same time share a transaction, so that a burst of them does not
        wait for as many writes to the disk, one after the other.
        """
        if isinstance(delivery.request, Ping):
            return Outcome("pong")
        slot = _Slot(delivery)
        self._waiting.append(slot)
        with self._turn:
            while not slot.tried:
                self._record_together()
        return slot.outcome

    def _record_together(self) -> None:
        """Record what waits, in the order of pulls: so no two servers wait for each other."""
        slots = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
        for slot in slots:
            slot.tried = True
        if len(slots) >= RUSH:
            self._rush_until = self._clock() + RUSH_LASTS
        slots.sort(key=lambda slot: _pull_of(slot.delivery.request))
        for _ in range(TRIES_TO_RECORD):
            try:
                with self._store.begin() as connection:
                    outcomes = [self._receive(connection, slot.delivery) for slot in slots]
            except OperationalError as error:
                self._refused = True
                log.warning("could not record deliveries", extra={"reason": str(error.orig)})
                if not any(word in str(error.orig) for word in ("locked", "deadlock")):
                    return
            else:
                for slot, outcome in zip(slots, outcomes, strict=True):
                    slot.outcome = outcome
                self._refused = False
                return

    def arm(self, request: ReviewRequest) -> Verdict:
        """Ask for a review; asking again for the same cause changes nothing."""
        with self._store.begin() as connection:
            return self._arm(connection, request)

    def cancel(self, ref: PullRef) -> bool:
        """Stop the pull's review; False when none was waiting or running."""
        with self._store.begin() as connection:
            return self._stop_pull(connection, ref, "somebody cancelled it")

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        """Review the pull only when somebody asks, or by itself again."""
        with self._store.begin() as connection:
            self._store.lock_pull(connection, ref.repository_id, ref.number)
            pull = self._store.find_pull(connection, ref.repository_id, ref.number)
            self._store.save_pull(connection, replace(pull, paused=paused))

    # the repair

    def order_repair(self, started_at: float = 0.0) -> bool:
        """Schedule the repair, unless it is under way or was not long ago.

        The first one after a start need not wait: who was away has missed something.
        """
        now = self._clock()
        calm = now - min(CALM, self._pace.repair)
        late = max(now - self._pace.repair, min(started_at, calm))
        with self._store.begin() as connection:
            self._store.lock_pull(connection, 0, 0)
            known = self._store.find_job(connection, REPAIR_KEY)
            if known is not None and (known.state.active or known.queued_at > late):
                return False
            notes = known.payload if known else _dump(_NOTES, RepairNotes())
            job = self._new_job(JobKind.REPAIR, REPAIR_KEY, PullRef(0, "", 0), notes)
            self._schedule(connection, job if known is None else _rearmed(known, job))
        return True

    def recall_repair(self) -> RepairNotes:
        """Return what the last repairs left to remember."""
        with self._store.begin() as connection:
            known = self._store.find_job(connection, REPAIR_KEY)
        return _NOTES.validate_json(known.payload) if known else RepairNotes()

    def note_repair(self, notes: RepairNotes) -> None:
        """Remember it for the next."""
        with self._store.begin() as connection:
            self._store.lock_pull(connection, 0, 0)
            known = self._store.find_job(connection, REPAIR_KEY)
            if known is not None:
                self._store.save_job(connection, replace(known, payload=_dump(_NOTES, notes)))

    def hear(self, ref: PullRef, head_sha: str) -> Heard:
        """Say what we know of a head."""
        with self._store.begin() as connection:
            return self._hear(connection, ref, head_sha)

    def arm_missed(self, request: ReviewRequest) -> bool:
        """Ask for a review unless that head was asked for meanwhile."""
        ref = request.ref
        with self._store.begin() as connection:
            self._store.lock_pull(connection, ref.repository_id, ref.number)
            if self._hear(connection, ref, request.head_sha) is Heard.HEAD:
                return False
            return self._arm(connection, request) is Verdict.ARM

    def ended_runs(self, since: float) -> tuple[Closing, ...]:
        """List the runs that ended since then without completing their check themselves.

        A run has its deadline before it counts: what was under way then has come to its end, too.
        """
        deadline = self._pace.deadline
        with self._store.begin() as connection:
            jobs = self._store.list_jobs(
                connection,
                kind=JobKind.CLOSE,
                queued_between=(since - deadline, self._clock() - deadline),
            )
            closings = [_CLOSING.validate_json(job.payload) for job in jobs]
            return tuple(one for one in closings if one.writable and self._stands(connection, one))

    def stands(self, closing: Closing) -> bool:
        """Tell whether a run is still the last of its job: a later one has the same check."""
        with self._store.begin() as connection:
            return self._stands(connection, closing)

    def _hear(self, connection: sa.Connection, ref: PullRef, head_sha: str) -> Heard:
        pull = self._store.find_pull(connection, ref.repository_id, ref.number)
        jobs = self._store.list_jobs(connection, repository_id=ref.repository_id, head_sha=head_sha)
        if any(job.number == ref.number for job in jobs):
            return Heard.HEAD
        if pull.paused:
            return Heard.PAUSED
        return Heard.PULL if pull.current else Heard.NOTHING

    def _stands(self, connection: sa.Connection, closing: Closing) -> bool:
        job = self._store.find_job(connection, closing.request.key)
        run_id = closing.workflow_id.rpartition(".")[0]
        return job is None or (job.run_id == run_id and not job.state.active)

    def _receive(self, connection: sa.Connection, delivery: Delivery) -> Outcome:
        seen, key = self._store.find_delivery(connection, delivery.guid)
        job = self._store.find_job(connection, key) if key else None
        if seen and (job is None or job.state is not JobState.DEAD):
            return Outcome("duplicate", job=key)
        outcome = self._decide(connection, delivery)
        self._store.save_delivery(
            connection,
            delivery.guid,
            (delivery.event, delivery.action),
            outcome.status,
            outcome.job,
            self._clock(),
        )
        return outcome

    def _decide(self, connection: sa.Connection, delivery: Delivery) -> Outcome:
        match delivery.request:
            case ReviewRequest() as request:
                verdict = self._arm(connection, request)
                return Outcome(_STATUS[verdict], verdict, request.key)
            case CommandRequest() as request:
                return self._accept_command(connection, request)
            case RerunRequest() as request:
                return self._accept_rerun(connection, request, delivery.guid)
            case other:
                return self._accept_notice(connection, other)

    def _accept_command(self, connection: sa.Connection, request: CommandRequest) -> Outcome:
        known = self._store.find_job(connection, request.key)
        if known is not None and known.state is not JobState.DEAD:
            return Outcome("duplicate", job=known.key)
        job = self._new_job(JobKind.COMMAND, request.key, request.ref, _dump(_COMMAND, request))
        self._schedule(connection, job if known is None else _rearmed(known, job))
        return Outcome("accepted", job=request.key)

    def _accept_rerun(self, connection: sa.Connection, request: RerunRequest, guid: str) -> Outcome:
        """Treat a pressed button as the command that does the same, with its permission check."""
        numbers = request.numbers or tuple(
            dict.fromkeys(
                job.number
                for job in self._store.list_jobs(
                    connection, repository_id=request.repository_id, head_sha=request.head_sha
                )
            )
        )
        outcomes = [
            self._accept_command(connection, _pressed(request, number, guid)) for number in numbers
        ]
        return outcomes[0] if outcomes else Outcome("ignored", "no pull is known for this commit")

    def _accept_notice(self, connection: sa.Connection, request: Request) -> Outcome:
        """Accept what starts no job."""
        match request:
            case PullClosed(ref):
                stopped = self._stop_pull(connection, ref, "the pull request was closed")
                return Outcome("accepted", "stopped" if stopped else "nothing was running")
            case InstallationGone() as gone:
                return Outcome("accepted", f"{self._drop(connection, gone)} jobs cancelled")
            case RepositoryMoved() as moved:
                return Outcome("accepted", f"{self._rename(connection, moved)} jobs renamed")
            case Ignored(reason):
                return Outcome("ignored", reason)
            case _:
                return Outcome("ignored", "nothing to do")

    # deciding, inside one transaction

    def _arm(self, connection: sa.Connection, request: ReviewRequest) -> Verdict:
        store, ref = self._store, request.ref
        store.lock_pull(connection, ref.repository_id, ref.number)
        pull = store.find_pull(connection, ref.repository_id, ref.number)
        known = store.find_job(connection, request.key)
        current = store.find_job(connection, pull.current) if pull.current else None
        verdict = judge(request, known, current, paused=pull.paused)
        if verdict is Verdict.PAUSED and known is None:
            store.save_job(connection, self._passed_over(request))
        if verdict is not Verdict.ARM:
            return verdict
        due, pushed = quiet_until(
            request,
            pull,
            current,
            self._clock(),
            quiet=self._pace.quiet,
            most=self._pace.quiet_most,
        )
        job = replace(
            self._new_job(JobKind.REVIEW, request.key, ref, _dump(_REVIEW, request)),
            head_sha=request.head_sha,
            cause=request.cause,
            due_at=due,
        )
        self._schedule(connection, job if known is None else _rearmed(known, job))
        store.save_pull(connection, replace(pull, current=job.key, pushed_at=pushed))
        if current is not None and current.key != job.key and current.state.active:
            self._end(connection, current, JobState.SUPERSEDED, "a newer commit or request came")
        return verdict

    def _passed_over(self, request: ReviewRequest) -> Job:
        """Keep that a head was heard of: nobody told us is something else."""
        job = self._new_job(JobKind.REVIEW, request.key, request.ref, _dump(_REVIEW, request))
        head, note = request.head_sha, "the pull request is paused"
        return replace(job, head_sha=head, state=JobState.SKIPPED, note=note)

    def _new_job(self, kind: JobKind, key: str, ref: PullRef, payload: str) -> Job:
        now = self._clock()
        return Job(
            key=key,
            kind=kind,
            payload=payload,
            repository_id=ref.repository_id,
            number=ref.number,
            installation_id=ref.installation_id,
            queued_at=now,
            due_at=now,
        )

    def _schedule(self, connection: sa.Connection, job: Job) -> None:
        """Keep a job and enqueue the workflow of its current try."""
        self._store.save_job(connection, job)
        options: EnqueueOptions = {
            "workflow_name": JOB_WORKFLOW,
            "queue_name": REVIEWS if job.kind is JobKind.REVIEW else CHORES,
            "queue_partition_key": f"installation-{job.installation_id}",
            "workflow_id": job.workflow_id,
            "app_version": WORKFLOWS_VERSION,
            "workflow_timeout": self._pace.deadline,
        }
        delay = job.due_at - self._clock()
        if delay > 0:
            options["delay_seconds"] = delay
        self.client.enqueue_in_transaction(connection, options, job.key, job.tries)

    def _end(
        self,
        connection: sa.Connection,
        job: Job,
        state: JobState,
        reason: str,
        *,
        writable: bool = True,
    ) -> None:
        """End a job that did not end by itself; a chore stops and closes a run that had begun."""
        self._store.save_job(connection, replace(job, state=state, note=reason))
        key = f"close:{job.run_id}"
        ran = job.kind is JobKind.REVIEW and (job.attempts or job.tries > 1)
        if not ran or self._store.find_job(connection, key) is not None:
            return
        request = _REVIEW.validate_json(job.payload)
        closing = Closing(request, state, reason, job.workflow_id, writable)
        chore = self._new_job(JobKind.CLOSE, key, request.ref, _dump(_CLOSING, closing))
        self._schedule(connection, chore)

    def _stop_pull(self, connection: sa.Connection, ref: PullRef, reason: str) -> bool:
        self._store.lock_pull(connection, ref.repository_id, ref.number)
        pull = self._store.find_pull(connection, ref.repository_id, ref.number)
        current = self._store.find_job(connection, pull.current) if pull.current else None
        if current is None or not current.state.active:
            return False
        self._end(connection, current, JobState.CANCELLED, reason)
        return True

    def _drop(self, connection: sa.Connection, gone: InstallationGone) -> int:
        """Cancel what the App may no longer do; the chores that stop it go on."""
        jobs = [
            job
            for job in self._active(connection, installation_id=gone.installation_id)
            if job.kind is not JobKind.CLOSE
            and (not gone.repository_ids or job.repository_id in gone.repository_ids)
        ]
        for job in jobs:
            reason = "the App was removed or suspended"
            self._end(connection, job, JobState.CANCELLED, reason, writable=False)
        return len(jobs)

    def _rename(self, connection: sa.Connection, moved: RepositoryMoved) -> int:
        jobs = self._active(connection, repository_id=moved.repository_id)
        for job in jobs:
            payload = _renamed(job, moved)
            self._store.save_job(
                connection, replace(job, payload=payload, installation_id=moved.installation_id)
            )
        return len(jobs)

    def _active(
        self,
        connection: sa.Connection,
        *,
        installation_id: int | None = None,
        repository_id: int | None = None,
    ) -> tuple[Job, ...]:
        """List active jobs and lock their pulls, in one order so that none waits for another."""
        found = self._store.list_jobs(
            connection,
            states=(JobState.QUEUED, JobState.RUNNING),
            installation_id=installation_id,
            repository_id=repository_id,
        )
        for repository, number in sorted({(job.repository_id, job.number) for job in found}):
            self._store.lock_pull(connection, repository, number)
        fresh = (self._store.find_job(connection, job.key) for job in found)
        return tuple(job for job in fresh if job is not None and job.state.active)

    # what a run reports

    def begin(self, key: str, tries: int) -> Job | None:
        """Count an attempt; None when this try is no longer wanted."""
        with self._store.begin() as connection:
            job = self._current(connection, key, tries)
            if job is not None:
                job = replace(job, state=JobState.RUNNING, attempts=job.attempts + 1)
                self._store.save_job(connection, job)
            return job

    def settle(self, job: Job, result: RunResult) -> str:
        """End a job as its run says; a pull that has moved is reviewed at its true head."""
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            if fresh is None:
                return STALE
            if may_leave_open(fresh, result.state):
                self._end(connection, fresh, result.state, result.note)
            else:
                settled = replace(fresh, state=result.state, note=result.note)
                self._store.save_job(connection, settled)
            if result.state is JobState.SUPERSEDED and result.head_sha:
                request = _REVIEW.validate_json(fresh.payload)
                self._arm(connection, replace(request, head_sha=result.head_sha, reason="moved"))
        return result.state

    def interrupt(self, job: Job) -> None:
        """Take an attempt back that the server's own stop cut short."""
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            if fresh is not None:
                self._store.save_job(connection, replace(fresh, attempts=fresh.attempts - 1))

    def postpone(self, job: Job, seconds: float, why: str) -> str:
        """Wait for a rate limit: no failure, for as long as anybody would care."""
        now = self._clock()
        if now - job.queued_at > self._pace.patience:
            return self.give_up(job, f"it {why}, which did not clear in time")
        waiting = replace(job, attempts=job.attempts - 1, note=why)
        return self._requeue(waiting, now + seconds)

    def try_again(self, job: Job, reason: str) -> str:
        """Schedule the next try, or end the job when there were enough."""
        if job.attempts >= MAX_ATTEMPTS:
            return self.give_up(job, reason)
        delays = self._pace.retries
        delay = delays[min(max(job.attempts, 1), len(delays)) - 1]
        return self._requeue(replace(job, note=reason), self._clock() + delay)

    def give_up(self, job: Job, reason: str) -> str:
        """End a job as dead, and say so on the pull."""
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            if fresh is None:
                return STALE
            self._end(connection, fresh, JobState.DEAD, reason)
        log.error("a job is dead", extra={"job": job.key, "reason": reason})
        return JobState.DEAD

    def has_moved(self, job: Job) -> bool:
        """Tell whether its repository was renamed or transferred since this try began."""
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            return fresh is not None and fresh.payload != job.payload

    def cancel_all(self, job: Job) -> str:
        """End every job of the installation of this one: the App may do nothing there any more."""
        with self._store.begin() as connection:
            self._drop(connection, InstallationGone(job.installation_id or 0))
        return JobState.CANCELLED

    def renew(self, job: Job) -> None:
        """Begin a job anew whose workflow none of these workers can run."""
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            if fresh is not None:
                again = replace(fresh, state=JobState.QUEUED, attempts=0)
                self._schedule(connection, _rearmed(fresh, again))

    def _requeue(self, job: Job, due_at: float) -> str:
        with self._store.begin() as connection:
            fresh = self._current(connection, job.key, job.tries)
            if fresh is None:
                return STALE
            again = replace(
                fresh,
                state=JobState.QUEUED,
                tries=job.tries + 1,
                attempts=job.attempts,
                note=job.note,
                due_at=due_at,
            )
            self._schedule(connection, again)
        return JobState.QUEUED

    def _current(self, connection: sa.Connection, key: str, tries: int) -> Job | None:
        """Return the job as it is, its pull locked, if this try is still the one that counts."""
        job = self._store.find_job(connection, key)
        if job is None:
            return None
        self._store.lock_pull(connection, job.repository_id, job.number)
        fresh = self._store.find_job(connection, key)
        return fresh if fresh and fresh.tries == tries and fresh.state.active else None


@dataclass(frozen=True, slots=True)
class Work:
    """What jobs do, handed in by bootstrap; the text is the run's id, the same for all its tries.

    ``review`` reviews and posts; its state is SUPERSEDED, with the true head, when the pull has
    moved. ``command`` checks the sender's rights, answers once, and may use the desk. ``close``
    completes the check run that an ended review left open, if there is one. ``repair`` finds what
    never reached us; of all workers one does it, soon after the start and then every ten minutes.
    """

    review: Callable[[ReviewRequest, str], RunResult]
    command: Callable[[CommandRequest, str, Desk], None]
    close: Callable[[Closing, str], None]
    repair: Callable[[Desk], None] | None = None


class Jobs:
    """Runs jobs on this machine, beside any number of other workers on the same database."""

    def __init__(
        self,
        store: JobStore,
        locks: Locks,
        pace: Pace | None = None,
        *,
        worker_id: str | None = None,
        clock: Callable[[], float] = time.time,
        at: Callable[[str], None] = lambda _place: None,
    ) -> None:
        """Wire the jobs; ``at`` hears of the places where a fault test may kill the process."""
        self._store = store
        self._at = at
        self._locks = locks
        self._pace = pace or Pace()
        self._wanted_id = worker_id
        self._clock = clock
        self._worker_id: str | None = None
        self._keeper: threading.Thread | None = None
        self._repairs = False
        self._started_at = clock()
        self._halt = threading.Event()
        self.desk = Desk(store, self._pace, clock)

    # the life of a server

    def open(self) -> None:
        """Begin to accept deliveries: all that a server without a worker needs."""
        self.desk.open()

    def start(self, work: Work) -> None:
        """Begin to work, with what this worker left unfinished first. Raises SettingsError."""
        self._worker_id = self._locks.claim(self._wanted_id)
        DBOS(
            config=DBOSConfig(
                name=APPLICATION,
                system_database_engine=self._store.engine,
                serializer=DBOSPortableJSONSerializer(),
                application_version=WORKFLOWS_VERSION,
                executor_id=self._worker_id,
                log_level="WARNING",
            )
        )

        @DBOS.workflow(name=JOB_WORKFLOW, max_recovery_attempts=None)
        def job(key: str, tries: int) -> str:
            return self._run(work, key, tries)

        DBOS.launch()
        self._repairs = work.repair is not None
        self._keeper = threading.Thread(target=self._tend_for_ever, name="keeper", daemon=True)
        self._keeper.start()

    def stop(self, grace: float | None = None) -> None:
        """Take no more jobs, let running steps end for ``grace`` seconds, and let go."""
        self._halt.set()
        if self._keeper is not None:
            self._keeper.join(KEEPER_STOPS_WITHIN)
        if self._worker_id is not None:
            seconds = self._pace.grace if grace is None else grace
            DBOS.destroy(workflow_completion_timeout_sec=int(seconds))
            self._locks.release(self._worker_id)
            self._worker_id = None
        self.desk.close()

    @property
    def halted(self) -> bool:
        """Tell whether running jobs should stop before their next step."""
        return self._halt.is_set()

    @property
    def alive(self) -> bool:
        """Tell whether the worker that was started still works."""
        return self._keeper is not None and self._keeper.is_alive() and not self.halted

    # running

    def _run(self, work: Work, key: str, tries: int) -> str:
        """Make one try of a job. The one place where any exception at all is caught."""
        self._let_deliveries_pass()
        job = self.desk.begin(key, tries)
        if job is None:
            return STALE
        if job.attempts > MAX_ATTEMPTS:
            return self.desk.give_up(job, "it took its worker down too often")
        self._at("after_claim")
        try:
            result = self._perform(work, job)
        except Halted:
            self.desk.interrupt(job)
            raise
        except (HostLimited, Postponed) as error:
            return self._wait(job, error)
        except FINAL as error:
            return self._end(job, error)
        except Exception as error:
            log.exception("a job failed", extra={"job": key, "attempt": job.attempts})
            reason = error.message if isinstance(error, PostilError) else type(error).__name__
            return self.desk.try_again(job, reason)
        self._at("before_settle")
        settled = self.desk.settle(job, result)
        self._at("after_done")
        return settled

    def _wait(self, job: Job, error: HostLimited | Postponed) -> str:
        if isinstance(error, Postponed):
            return self.desk.postpone(job, error.retry_after, error.why)
        late = random.uniform(*self._pace.late)  # noqa: S311 - spreads retries
        return self.desk.postpone(job, error.retry_after + late, "waits for GitHub's rate limit")

    def _end(self, job: Job, error: PostilError) -> str:
        """End what no repetition mends, unless it was asked of a place that has moved since."""
        if error.data.get("removed") and job.kind is not JobKind.CLOSE:
            return self.desk.cancel_all(job)
        if self.desk.has_moved(job):
            return self.desk.try_again(job, error.message)
        return self.desk.give_up(job, error.message)

    def _let_deliveries_pass(self) -> None:
        """Begin nothing that computes while many wait to be answered, within ten seconds each."""
        began = time.monotonic()
        while self.desk.rushed and time.monotonic() - began < RUSH_MOST:
            if self._halt.wait(RUSH_LASTS / 5):
                raise Halted

    def _perform(self, work: Work, job: Job) -> RunResult:
        match job.kind:
            case JobKind.REVIEW:
                return work.review(_REVIEW.validate_json(job.payload), job.run_id)
            case JobKind.COMMAND:
                work.command(_COMMAND.validate_json(job.payload), job.run_id, self.desk)
            case JobKind.CLOSE:
                closing = _CLOSING.validate_json(job.payload)
                self.desk.client.cancel_workflows([closing.workflow_id], cancel_children=True)
                if closing.writable and self.desk.stands(closing):
                    work.close(closing, job.run_id)
            case JobKind.REPAIR if work.repair is not None:
                work.repair(self.desk)
        return RunResult(JobState.DONE)

    # tending

    def _tend_for_ever(self) -> None:
        while not self._halt.wait(self._pace.tend):
            try:
                self.tend()
            except (dbos_error.DBOSException, SQLAlchemyError) as error:
                log.warning("tending failed", extra={"reason": type(error).__name__})

    def tend(self) -> None:
        """Take over dead workers' workflows, settle lost jobs, forget what is old."""
        if self._worker_id is not None and not self._locks.take(self._worker_id):
            log.error("another worker has this one's id", extra={"worker": self._worker_id})
        self._take_over()
        self._settle_lost()
        self._renew()
        if self._repairs:
            self.desk.order_repair(self._started_at)
        self._forget()

    def _take_over(self) -> None:
        """Resume what workers left whose id nobody holds."""
        left: dict[str, list[WorkflowStatus]] = {}
        for workflow in self.desk.client.list_workflows(
            status="PENDING", load_input=False, load_output=False
        ):
            left.setdefault(workflow.executor_id or "", []).append(workflow)
        left.pop(self._worker_id or "", None)
        for name, workflows in left.items():
            if not name or not self._locks.take(name):
                continue
            for workflow in workflows:
                self.desk.client.resume_workflow(
                    workflow.workflow_id, queue_name=workflow.queue_name
                )
            self._locks.release(name)
            log.warning("took over", extra={"worker": name, "workflows": len(workflows)})

    def _settle_lost(self) -> None:
        """Go on with jobs whose workflow ended without them: past the deadline, or by a fault."""
        with self._store.begin() as connection:
            active = self._store.list_jobs(connection, states=(JobState.QUEUED, JobState.RUNNING))
        late = self._clock() - LOST_AFTER
        jobs = {
            job.workflow_id: job
            for job in active
            if job.state is JobState.RUNNING or job.due_at < late
        }
        if not jobs:
            return
        for workflow in self.desk.client.list_workflows(
            workflow_ids=list(jobs), status=_ENDED, load_input=False, load_output=False
        ):
            job = jobs[workflow.workflow_id]
            if workflow.status == "CANCELLED":
                self.desk.give_up(job, "its time was up")
            else:
                self.desk.try_again(job, "its workflow was lost")

    def _renew(self) -> None:
        """Begin anew what waits for a worker of another version: an upgrade leaves nothing behind.

        Where such a worker still runs it finds nothing to do: the job's row names the new try.
        """
        foreign = {
            workflow.workflow_id
            for workflow in self.desk.client.list_workflows(
                status=["ENQUEUED", "DELAYED"],
                queue_name=[REVIEWS, CHORES],
                load_input=False,
                load_output=False,
            )
            if workflow.app_version != WORKFLOWS_VERSION
        }
        if not foreign:
            return
        with self._store.begin() as connection:
            active = self._store.list_jobs(connection, states=(JobState.QUEUED, JobState.RUNNING))
        for job in active:
            if job.workflow_id in foreign:
                self.desk.renew(job)
        self.desk.client.cancel_workflows(list(foreign))

    def _forget(self) -> None:
        """Delete what no longer serves anybody; recorded steps hold parts of the code."""
        now = self._clock()
        self._store.drop_deliveries(now - KEEP_DELIVERIES)
        self._store.drop_traces(now - KEEP_TRACES)
        old = self.desk.client.list_workflows(
            completed_before=datetime.fromtimestamp(now - KEEP_WORKFLOWS, UTC).isoformat(),
            status=_ENDED,
            limit=PRUNED_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if old:
            self.desk.client.delete_workflows([workflow.workflow_id for workflow in old])


@dataclass(slots=True)
class _Slot:
    """A delivery that waits to be recorded, and what became of it; mutable, for its thread."""

    delivery: Delivery
    outcome: Outcome = Outcome("unavailable")
    tried: bool = False


def _pull_of(request: Request) -> tuple[int, int]:
    """Return which pull a request is about; (0, 0) when it is about none or many."""
    if isinstance(request, ReviewRequest | CommandRequest | PullClosed):
        return request.ref.repository_id, request.ref.number
    return 0, 0


STALE: Final = "stale"
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_STATUS: Final[Mapping[Verdict, str]] = {
    Verdict.ARM: "accepted",
    Verdict.RUNNING: "duplicate",
    Verdict.DONE: "duplicate",
    Verdict.PAUSED: "ignored",
}


def _rearmed(known: Job, job: Job) -> Job:
    """Ask a known job anew: a new run, and a workflow of its own."""
    return replace(job, generation=known.generation + 1, tries=known.tries + 1)


def _pressed(request: RerunRequest, number: int, guid: str) -> CommandRequest:
    return CommandRequest(
        ref=PullRef(request.repository_id, request.repository, number, request.installation_id),
        commands=(Command(Verb.FULL),),
        place=CommentPlace.CHECK,
        comment_id=request.check_run_id or 0,
        sender=request.sender,
        press=guid,
    )


def _renamed(job: Job, moved: RepositoryMoved) -> str:
    """Write the new name into a job's request; the id stays what it was."""
    payload = json.loads(job.payload)
    request = payload["request"] if job.kind is JobKind.CLOSE else payload
    request["ref"] |= {
        "repository": moved.repository,
        "installation_id": moved.installation_id,
    }
    return json.dumps(payload)


def _dump(adapter: TypeAdapter[Any], value: object) -> str:
    return adapter.dump_json(value).decode()
