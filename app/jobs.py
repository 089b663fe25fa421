"""The durable side: what is accepted is done. Queue, newest head only, recovery. On dbos.

A delivery, its job and the workflow that will run it are written in one transaction, so that an
accepted delivery has a job and a job has a workflow, whatever dies when. A workflow is one try of a
job; whether it is still the current one is decided by the job's row when it starts and when it
ends, so a stale one does nothing. Waiting is always a delayed workflow, never a sleeping worker.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
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
    Job,
    JobKind,
    JobState,
    PullState,
    RunResult,
    Verdict,
    judge,
    quiet_until,
)
from app.core.pull import PullRef
from app.errors import (
    BlockedOutput,
    HostInvalid,
    HostLimited,
    HostMissing,
    HostRefused,
    PostilError,
    UserError,
)

log = logging.getLogger(__name__)

APPLICATION: Final = "postil"
WORKFLOWS_VERSION: Final = "1"
"""Goes up when a change of the code could not continue a workflow that an older one began."""

REVIEWS: Final = "reviews"
CHORES: Final = "chores"
MODEL: Final = "model"

JOB_WORKFLOW: Final = "postil_job"
TRIES_TO_RECORD: Final = 3
DAY: Final = 24 * 3600.0
KEEP_DELIVERIES: Final = 30 * DAY
"""Longer than GitHub can repeat one
(docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks)."""
_FINAL = (HostRefused, HostMissing, HostInvalid, BlockedOutput, UserError)
"""What no repetition mends."""
_REVIEW = TypeAdapter(ReviewRequest)
_COMMAND = TypeAdapter(CommandRequest)


@dataclass(frozen=True, slots=True)
class Closing:
    """A check run of ours that nobody will complete: why, in a sentence for the pull request."""

    request: ReviewRequest
    state: JobState
    reason: str
    workflow_id: str = ""


_CLOSING = TypeAdapter(Closing)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery.

    ``status`` is accepted, duplicate, ignored, pong, or unavailable: nothing was recorded.
    """

    status: str
    note: str = ""
    job: str | None = None


class Desk(Protocol):
    """What a command may do to the jobs of its pull; every call may be repeated."""

    def arm(self, request: ReviewRequest) -> Verdict:
        """Ask for a review."""
        ...

    def cancel(self, ref: PullRef) -> bool:
        """Stop the pull's review; False when none was waiting or running."""
        ...

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        """Review the pull only when somebody asks, or by itself again."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What the jobs do, handed in by bootstrap.

    ``review`` reviews and posts; SUPERSEDED with the true head when the pull has moved. ``command``
    checks the sender's rights, answers once, and may use the desk. ``close`` completes the check
    run of a review that will not end by itself, if one is open. The text is the run's id.
    """

    review: Callable[[ReviewRequest, str], RunResult]
    command: Callable[[CommandRequest, str, Desk], None]
    close: Callable[[Closing, str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things wait, in seconds, and how many run at once."""

    quiet: float = 5.0
    quiet_most: float = 60.0
    deadline: float = 900.0
    retries: tuple[float, ...] = (10.0, 30.0, 90.0, 270.0)
    tend: float = 15.0
    patience: float = DAY
    grace: float = 15.0
    reviews: int = 4
    chores: int = 4
    model: int = 8
    model_rpm: int | None = None
    poll: float = 0.1


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


class Locks(Protocol):
    """Which worker ids are alive."""

    def claim(self, wanted: str | None) -> str:
        """Hold the wanted id, or the first free one."""
        ...

    def take(self, name: str) -> bool:
        """Try to hold an id; False when a living process does."""
        ...

    def release(self, name: str) -> None:
        """Let go of an id."""
        ...


class Jobs:
    """Accepts deliveries, and runs their jobs where a worker was started."""

    def __init__(
        self,
        store: JobStore,
        locks: Locks,
        work: Work,
        pace: Pace | None = None,
        *,
        worker_id: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._locks = locks
        self._work = work
        self._pace = pace or Pace()
        self._wanted_id = worker_id
        self._clock = clock
        self._client: DBOSClient | None = None
        self._worker_id: str | None = None
        self._keeper: threading.Thread | None = None
        self._halt = threading.Event()

    # the life of a server

    def open(self) -> None:
        """Prepare the durable engine's tables and queues: from now on deliveries are accepted."""
        logging.getLogger("dbos").addHandler(logging.NullHandler())  # else it writes by itself
        DBOS.migrate(self._store.engine.url.render_as_string(hide_password=False))
        client = DBOSClient(
            system_database_engine=self._store.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
        )
        self._register_queues(client)
        self._client = client

    def start(self) -> None:
        """Start working: recover what this worker left, then take jobs until ``stop``."""
        self._worker_id = self._locks.claim(self._wanted_id)
        DBOS(config=self._config(self._worker_id))
        self.register()
        DBOS.launch()
        self._keeper = threading.Thread(target=self._tend_for_ever, name="keeper", daemon=True)
        self._keeper.start()

    def register(self) -> None:
        """Make the workflow known under its stable name; the engine must not run yet."""

        @DBOS.workflow(name=JOB_WORKFLOW, max_recovery_attempts=None)
        def job(key: str, tries: int) -> str:
            return self._run(key, tries)

    def stop(self, grace: float | None = None) -> None:
        """Take no more jobs, let running steps end for ``grace`` seconds, and let go.

        What was not finished continues at the next start, here or on another worker.
        """
        self._halt.set()
        if self._worker_id is not None:
            seconds = self._pace.grace if grace is None else grace
            DBOS.destroy(workflow_completion_timeout_sec=int(seconds))
            self._locks.release(self._worker_id)
            self._worker_id = None
        if self._keeper is not None:
            self._keeper.join()
        if self._client is not None:
            self._client.destroy()
            self._client = None

    @property
    def halted(self) -> bool:
        """Tell whether running jobs should stop before their next step."""
        return self._halt.is_set()

    @property
    def alive(self) -> bool:
        """Tell whether the worker that was started still works."""
        return self._keeper is not None and self._keeper.is_alive() and not self.halted

    @property
    def client(self) -> DBOSClient:
        """The engine's client, for reads that are not part of a workflow."""
        if self._client is None:
            raise RuntimeError("Jobs.open was not called")
        return self._client

    def _config(self, worker_id: str) -> DBOSConfig:
        return DBOSConfig(
            name=APPLICATION,
            system_database_engine=self._store.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_version=WORKFLOWS_VERSION,
            executor_id=worker_id,
            log_level="WARNING",
        )

    def _register_queues(self, client: DBOSClient) -> None:
        pace = self._pace
        client.register_queue(
            REVIEWS,
            worker_concurrency=pace.reviews,
            # one installation never has every worker
            partition_worker_concurrency=max(1, pace.reviews // 2),
            polling_interval_sec=pace.poll,
        )
        client.register_queue(
            CHORES, worker_concurrency=pace.chores, polling_interval_sec=pace.poll
        )
        rpm = pace.model_rpm
        client.register_queue(
            MODEL,
            worker_concurrency=pace.model,
            limiter={"limit": rpm, "period": 60.0} if rpm else None,
            polling_interval_sec=pace.poll,
        )

    # accepting

    def accept(self, delivery: Delivery) -> Outcome:
        """Record a delivery, its job and its workflow, all or nothing."""
        if isinstance(delivery.request, Ping):
            return Outcome("pong")
        for _ in range(TRIES_TO_RECORD):
            try:
                with self._transaction() as deal:
                    return self._receive(deal, delivery)
            except OperationalError as error:
                log.warning("could not record a delivery", extra={"reason": str(error.orig)})
                if "locked" not in str(error.orig):
                    break
        return Outcome("unavailable")

    def _receive(self, deal: _Deal, delivery: Delivery) -> Outcome:
        seen, key = self._store.find_delivery(deal.connection, delivery.guid)
        job = self._store.find_job(deal.connection, key) if key else None
        if seen and (job is None or job.state is not JobState.DEAD):
            return Outcome("duplicate", job=key)
        outcome = self._decide(deal, delivery)
        self._store.save_delivery(
            deal.connection,
            delivery.guid,
            (delivery.event, delivery.action),
            outcome.status,
            outcome.job,
            self._clock(),
        )
        return outcome

    def _decide(self, deal: _Deal, delivery: Delivery) -> Outcome:
        match delivery.request:
            case ReviewRequest() as request:
                verdict = self._arm(deal, request)
                return Outcome(_STATUS[verdict], verdict, request.key)
            case CommandRequest() as request:
                return self._accept_command(deal, request)
            case RerunRequest() as request:
                return self._accept_rerun(deal, request, delivery.guid)
            case other:
                return self._accept_notice(deal, other)

    def _accept_notice(self, deal: _Deal, request: Request) -> Outcome:
        """Accept what starts no job."""
        match request:
            case PullClosed(ref):
                stopped = self._stop_pull(deal, ref, "the pull request was closed")
                return Outcome("accepted", "stopped" if stopped else "nothing was running")
            case InstallationGone() as gone:
                return Outcome("accepted", f"{self._drop_installation(deal, gone)} jobs cancelled")
            case RepositoryMoved() as moved:
                return Outcome("accepted", f"{self._rename(deal, moved)} jobs renamed")
            case Ignored(reason):
                return Outcome("ignored", reason)
            case _:
                return Outcome("ignored", "nothing to do")

    def _accept_command(self, deal: _Deal, request: CommandRequest) -> Outcome:
        known = self._store.find_job(deal.connection, request.key)
        if known is not None and known.state is not JobState.DEAD:
            return Outcome("duplicate", job=known.key)
        job = self._new_job(JobKind.COMMAND, request.key, request.ref, _dump(_COMMAND, request))
        self._schedule(deal, job if known is None else _rearmed(known, job))
        return Outcome("accepted", job=request.key)

    def _accept_rerun(self, deal: _Deal, request: RerunRequest, guid: str) -> Outcome:
        """Treat a pressed button as the command that does the same, with its permission check."""
        numbers = request.numbers or tuple(
            dict.fromkeys(
                job.number
                for job in self._store.list_jobs(
                    deal.connection,
                    repository_id=request.repository_id,
                    head_sha=request.head_sha,
                )
            )
        )
        outcomes = [
            self._accept_command(deal, _pressed(request, number, guid)) for number in numbers
        ]
        return outcomes[0] if outcomes else Outcome("ignored", "no pull is known for this commit")

    # the desk of a command

    def arm(self, request: ReviewRequest) -> Verdict:
        """Ask for a review; asking again for the same cause changes nothing."""
        with self._transaction() as deal:
            return self._arm(deal, request)

    def cancel(self, ref: PullRef) -> bool:
        """Stop the pull's review; False when none was waiting or running."""
        with self._transaction() as deal:
            return self._stop_pull(deal, ref, "somebody cancelled it")

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        """Review the pull only when somebody asks, or by itself again."""
        with self._transaction() as deal:
            self._store.lock_pull(deal.connection, ref.repository_id, ref.number)
            pull = self._store.find_pull(deal.connection, ref.repository_id, ref.number)
            self._store.save_pull(deal.connection, replace(pull, paused=paused))

    # deciding, inside one transaction

    @contextmanager
    def _transaction(self) -> Iterator[_Deal]:
        with self._store.begin() as connection:
            deal = _Deal(connection)
            yield deal
        if deal.doomed:
            self._cancel(deal.doomed)

    def _cancel(self, workflow_ids: Sequence[str]) -> None:
        """Stop workflows soon. Their jobs are settled already: a stale one ends by itself."""
        try:
            self.client.cancel_workflows(list(workflow_ids), cancel_children=True)
        except (dbos_error.DBOSException, SQLAlchemyError) as error:
            log.warning("could not cancel workflows", extra={"reason": type(error).__name__})

    def _arm(self, deal: _Deal, request: ReviewRequest) -> Verdict:
        store, connection, ref = self._store, deal.connection, request.ref
        store.lock_pull(connection, ref.repository_id, ref.number)
        pull = store.find_pull(connection, ref.repository_id, ref.number)
        known = store.find_job(connection, request.key)
        current = store.find_job(connection, pull.current) if pull.current else None
        verdict = judge(request, known, current, paused=pull.paused)
        if verdict is not Verdict.ARM:
            return verdict
        now = self._clock()
        due, pushed = quiet_until(
            request, pull, current, now, quiet=self._pace.quiet, most=self._pace.quiet_most
        )
        job = replace(
            self._new_job(JobKind.REVIEW, request.key, ref, _dump(_REVIEW, request)),
            head_sha=request.head_sha,
            cause=request.cause,
            due_at=due,
        )
        self._schedule(deal, job if known is None else _rearmed(known, job))
        store.save_pull(connection, replace(pull, current=job.key, pushed_at=pushed))
        if current is not None and current.state.active:
            self._end(deal, current, JobState.SUPERSEDED, "a newer commit or request came")
        return verdict

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

    def _schedule(self, deal: _Deal, job: Job) -> None:
        """Keep a job and enqueue the workflow of its current try."""
        self._store.save_job(deal.connection, job)
        is_review = job.kind is JobKind.REVIEW
        options: EnqueueOptions = {
            "workflow_name": JOB_WORKFLOW,
            "queue_name": REVIEWS if is_review else CHORES,
            "workflow_id": job.workflow_id,
            "app_version": WORKFLOWS_VERSION,
            "workflow_timeout": self._pace.deadline,
        }
        if is_review:
            options["queue_partition_key"] = f"installation-{job.installation_id}"
        delay = job.due_at - self._clock()
        if delay > 0:
            options["delay_seconds"] = delay
        self.client.enqueue_in_transaction(deal.connection, options, job.key, job.tries)

    def _end(self, deal: _Deal, job: Job, state: JobState, reason: str) -> None:
        """End a job that did not end by itself; a check run it may have opened is closed."""
        self._store.save_job(deal.connection, replace(job, state=state, note=reason))
        deal.cancel(job.workflow_id)
        if job.kind is not JobKind.REVIEW or job.attempts == 0:
            return
        request = _REVIEW.validate_json(job.payload)
        closing = Closing(request, state, reason, job.workflow_id)
        key = f"close:{job.run_id}"
        if self._store.find_job(deal.connection, key) is None:
            payload = _dump(_CLOSING, closing)
            self._schedule(deal, self._new_job(JobKind.CLOSE, key, request.ref, payload))

    def _stop_pull(self, deal: _Deal, ref: PullRef, reason: str) -> bool:
        store, connection = self._store, deal.connection
        store.lock_pull(connection, ref.repository_id, ref.number)
        pull = store.find_pull(connection, ref.repository_id, ref.number)
        current = store.find_job(connection, pull.current) if pull.current else None
        if current is None or not current.state.active:
            return False
        self._end(deal, current, JobState.CANCELLED, reason)
        return True

    def _drop_installation(self, deal: _Deal, gone: InstallationGone) -> int:
        """Cancel what can no longer be done; no check run can be closed without a token either."""
        jobs = [
            job
            for job in self._active(deal, installation_id=gone.installation_id)
            if not gone.repository_ids or job.repository_id in gone.repository_ids
        ]
        for job in jobs:
            ended = replace(job, state=JobState.CANCELLED, note="the App was uninstalled")
            self._store.save_job(deal.connection, ended)
            deal.cancel(job.workflow_id)
        return len(jobs)

    def _rename(self, deal: _Deal, moved: RepositoryMoved) -> int:
        jobs = self._active(deal, repository_id=moved.repository_id)
        for job in jobs:
            renamed = replace(
                job,
                payload=_renamed(job, moved),
                installation_id=moved.installation_id,
            )
            self._store.save_job(deal.connection, renamed)
        return len(jobs)

    def _active(
        self,
        deal: _Deal,
        *,
        installation_id: int | None = None,
        repository_id: int | None = None,
    ) -> tuple[Job, ...]:
        """List active jobs and lock their pulls, in one order so that none waits for another."""
        found = self._store.list_jobs(
            deal.connection,
            states=(JobState.QUEUED, JobState.RUNNING),
            installation_id=installation_id,
            repository_id=repository_id,
        )
        for repository, number in sorted({(job.repository_id, job.number) for job in found}):
            self._store.lock_pull(deal.connection, repository, number)
        fresh = (self._store.find_job(deal.connection, job.key) for job in found)
        return tuple(job for job in fresh if job is not None and job.state.active)

    # running

    def _run(self, key: str, tries: int) -> str:
        """Do one try of a job. The one place where any exception at all is caught."""
        job = self._begin(key, tries)
        if job is None:
            return "stale"
        if job.attempts > MAX_ATTEMPTS:
            return self._give_up(job, "it took its worker down too often")
        try:
            result = self._perform(job)
        except HostLimited as error:
            return self._wait(job, error.retry_after)
        except _FINAL as error:
            return self._give_up(job, error.message)
        except Exception as error:
            log.exception("a job failed", extra={"job": key, "attempt": job.attempts})
            return self._try_again(job, error)
        return self._settle(job, result)

    def _begin(self, key: str, tries: int) -> Job | None:
        """Count the attempt; None when this try is no longer wanted."""
        with self._transaction() as deal:
            job = self._current(deal, key, tries)
            if job is not None:
                job = replace(job, state=JobState.RUNNING, attempts=job.attempts + 1)
                self._store.save_job(deal.connection, job)
            return job

    def _current(self, deal: _Deal, key: str, tries: int) -> Job | None:
        """Return the job as it is, its pull locked, if this try is still the one that counts."""
        job = self._store.find_job(deal.connection, key)
        if job is None:
            return None
        self._store.lock_pull(deal.connection, job.repository_id, job.number)
        fresh = self._store.find_job(deal.connection, key)
        return fresh if fresh and fresh.tries == tries and fresh.state.active else None

    def _perform(self, job: Job) -> RunResult:
        match job.kind:
            case JobKind.REVIEW:
                return self._work.review(_REVIEW.validate_json(job.payload), job.run_id)
            case JobKind.COMMAND:
                request = _COMMAND.validate_json(job.payload)
                self._work.command(request, job.run_id, self)
            case JobKind.CLOSE:
                closing = _CLOSING.validate_json(job.payload)
                self._cancel([closing.workflow_id])
                self._work.close(closing, job.run_id)
        return RunResult(JobState.DONE)

    def _settle(self, job: Job, result: RunResult) -> str:
        """End a job as its run says; a pull that moved is reviewed at its true head."""
        with self._transaction() as deal:
            fresh = self._current(deal, job.key, job.tries)
            if fresh is None:
                return "stale"
            self._store.save_job(
                deal.connection, replace(fresh, state=result.state, note=result.note)
            )
            if result.state is JobState.SUPERSEDED and result.head_sha:
                request = _REVIEW.validate_json(fresh.payload)
                self._arm(deal, replace(request, head_sha=result.head_sha, reason="moved"))
        return result.state

    def _wait(self, job: Job, seconds: float) -> str:
        """Wait for a rate limit: that is no failure, for as long as anybody would care."""
        now = self._clock()
        if now - job.queued_at > self._pace.patience:
            return self._give_up(job, "GitHub's rate limit did not clear in time")
        waiting = replace(job, attempts=job.attempts - 1, note="waits for GitHub's rate limit")
        return self._requeue(waiting, now + seconds)

    def _try_again(self, job: Job, error: Exception) -> str:
        reason = error.message if isinstance(error, PostilError) else type(error).__name__
        if job.attempts >= MAX_ATTEMPTS:
            return self._give_up(job, reason)
        delay = self._pace.retries[min(job.attempts, len(self._pace.retries)) - 1]
        return self._requeue(replace(job, note=reason), self._clock() + delay)

    def _requeue(self, job: Job, due_at: float) -> str:
        with self._transaction() as deal:
            if self._current(deal, job.key, job.tries) is None:
                return "stale"
            again = replace(job, state=JobState.QUEUED, tries=job.tries + 1, due_at=due_at)
            self._schedule(deal, again)
        return again.state

    def _give_up(self, job: Job, reason: str) -> str:
        with self._transaction() as deal:
            fresh = self._current(deal, job.key, job.tries)
            if fresh is None:
                return "stale"
            self._end(deal, fresh, JobState.DEAD, reason)
        log.error("a job is dead", extra={"job": job.key, "reason": reason})
        return JobState.DEAD

    # tending

    def _tend_for_ever(self) -> None:
        while not self._halt.wait(self._pace.tend):
            try:
                self.tend()
            except (dbos_error.DBOSException, SQLAlchemyError) as error:
                log.warning("tending failed", extra={"reason": type(error).__name__})

    def tend(self) -> None:
        """Take over dead workers' workflows, settle lost jobs, forget old deliveries."""
        self._take_over()
        self._settle_lost()
        self._store.drop_deliveries(self._clock() - KEEP_DELIVERIES)

    def _take_over(self) -> None:
        """Resume what workers left whose id nobody holds."""
        left: dict[str, list[WorkflowStatus]] = {}
        for workflow in self.client.list_workflows(
            status="PENDING", load_input=False, load_output=False
        ):
            left.setdefault(workflow.executor_id or "", []).append(workflow)
        for name, workflows in left.items():
            if not name or name == self._worker_id or not self._locks.take(name):
                continue
            for workflow in workflows:
                self.client.resume_workflow(workflow.workflow_id, queue_name=workflow.queue_name)
            self._locks.release(name)
            log.warning("took over", extra={"worker": name, "workflows": len(workflows)})

    def _settle_lost(self) -> None:
        """End jobs whose workflow ended without them: past the deadline, or by a fault of ours."""
        with self._store.begin() as connection:
            running = self._store.list_jobs(connection, states=(JobState.RUNNING,))
        ids = [job.workflow_id for job in running]
        found = (
            self.client.list_workflows(workflow_ids=ids, load_input=False, load_output=False)
            if ids
            else []
        )
        status: Mapping[str, str] = {w.workflow_id: w.status for w in found}
        for job in running:
            match status.get(job.workflow_id):
                case "CANCELLED":
                    self._give_up(job, "the deadline passed")
                case "ERROR" | "SUCCESS" | "MAX_RECOVERY_ATTEMPTS_EXCEEDED" | None:
                    self._try_again(job, RuntimeError("its workflow was lost"))


@dataclass(frozen=True, slots=True)
class _Deal:
    """One transaction, and the workflows to cancel once it is committed."""

    connection: sa.Connection
    doomed: list[str] = field(default_factory=list)

    def cancel(self, workflow_id: str) -> None:
        """Cancel a workflow when what was decided is kept."""
        self.doomed.append(workflow_id)


_STATUS: Final = {
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
