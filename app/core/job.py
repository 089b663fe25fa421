"""A job is a queued request: what becomes of it when it is asked for again, or for a newer head."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.core.events import AUTO, ReviewRequest

MAX_ATTEMPTS = 5
"""A job that failed so often, by an error or by taking its worker down, is dead."""

PUSH = "synchronize"
"""GitHub's word for a push to a pull request."""


class Halted(BaseException):
    """The server stops; what runs goes on from its last step at the next start, here or elsewhere.

    Not an Exception, so that nothing takes it for a failure of its own.
    """


class Postponed(BaseException):
    """What runs is to be tried again from its start after ``retry_after`` seconds: no failure.

    Not an Exception, for the same reason.
    """

    def __init__(self, retry_after: float, why: str) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.why = why


class JobKind(StrEnum):
    """What a job does."""

    REVIEW = "review"
    COMMAND = "command"
    CLOSE = "close"
    REPAIR = "repair"


class JobState(StrEnum):
    """Where a job stands. QUEUED and RUNNING are active; the others are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def active(self) -> bool:
        """Tell whether it will still run by itself."""
        return self in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it is kept.

    ``generation`` counts how often it was asked for anew, ``tries`` the workflows scheduled in all,
    ``attempts`` the failures of this generation and the run under way. ``payload`` is the request
    as JSON, ``cause`` what asked for it. Times are seconds since the epoch; ``due_at`` is when it
    may start.
    """

    key: str
    kind: JobKind
    payload: str
    repository_id: int
    number: int
    installation_id: int | None
    head_sha: str = ""
    state: JobState = JobState.QUEUED
    generation: int = 1
    tries: int = 1
    attempts: int = 0
    note: str = ""
    cause: str = ""
    queued_at: float = 0.0
    due_at: float = 0.0

    @property
    def run_id(self) -> str:
        """Name what all tries of one generation share: model calls finished in one serve all."""
        return f"{self.key}.{self.generation}"

    @property
    def workflow_id(self) -> str:
        """Name the durable workflow of the current try."""
        return f"{self.run_id}.{self.tries}"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of one run.

    ``head_sha`` is the pull's true head when the state is SUPERSEDED.
    """

    state: JobState
    note: str = ""
    head_sha: str | None = None


@dataclass(frozen=True, slots=True)
class PullState:
    """What is kept of one pull request between jobs; ``pushed_at`` began the running burst."""

    repository_id: int
    number: int
    paused: bool = False
    current: str = ""
    pushed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Closing:
    """A run that somebody else ended, and why, in a sentence for the pull request.

    ``writable`` is false when nothing can be written any more, so that it is only to be stopped.
    """

    request: ReviewRequest
    state: JobState
    reason: str
    workflow_id: str = ""
    writable: bool = True


class Verdict(StrEnum):
    """What to do with a wish to review."""

    ARM = "arm"
    RUNNING = "under way"
    DONE = "reviewed before"
    PAUSED = "paused"


def judge(
    request: ReviewRequest, known: Job | None, current: Job | None, *, paused: bool
) -> Verdict:
    """Decide on a wish: ``known`` is the job of its key, ``current`` the pull's newest job.

    A dead, skipped, superseded or cancelled job is armed again; a finished one only when forced by
    something that did not ask before.
    """
    if paused and not request.forced and not request.cause:
        return Verdict.PAUSED
    if known is not None and known.state.active:
        return Verdict.RUNNING
    same_head = current is not None and current.head_sha == request.head_sha
    if same_head and request.kind == AUTO and current is not None and current.state.active:
        return Verdict.RUNNING
    asked_anew = request.forced and known is not None and known.cause != request.cause
    if known is not None and known.state is JobState.DONE and not asked_anew:
        return Verdict.DONE
    return Verdict.ARM


def may_leave_open(job: Job, ended: JobState) -> bool:
    """Tell whether a run that ended by itself may have left its check run open.

    A review completes its check. One that was superseded may have been so before it came to that,
    and one that was skipped may have begun in an earlier try.
    """
    again = job.attempts > 1 or job.tries > 1
    return ended is JobState.SUPERSEDED or (ended is JobState.SKIPPED and again)


def quiet_until(
    request: ReviewRequest,
    pull: PullState,
    current: Job | None,
    now: float,
    *,
    quiet: float,
    most: float,
) -> tuple[float, float]:
    """Return (when the job may start, when its burst of pushes began)."""
    if request.reason != PUSH:
        return now, 0.0
    waiting = current is not None and current.state is JobState.QUEUED and pull.pushed_at > 0
    began = pull.pushed_at if waiting else now
    return max(now, min(now + quiet, began + most)), began
