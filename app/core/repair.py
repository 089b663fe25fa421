"""What webhooks did not bring: which deliveries to send again, and which heads were missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.core.events import Person, ReviewRequest
from app.core.pull import PullRequest

FIRST_PULLS = 3600.0
"""Seconds the first repair looks back: older pull requests wait for their next event."""
FIRST_DELIVERIES = 24 * FIRST_PULLS
MAX_RESENT = 3
"""How often one delivery is asked for again: what fails then fails for another reason."""


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A webhook that never arrived; ``id`` names its last attempt, ``at`` is in epoch seconds."""

    id: int
    guid: str
    event: str
    at: float


@dataclass(frozen=True, slots=True)
class Resent:
    """How often a delivery was asked for again, and of which attempt last."""

    attempt: int
    times: int
    at: float


@dataclass(frozen=True, slots=True)
class RepairNotes:
    """What the repair remembers. Each time is when a part of it last began that came to its end.

    Before the first one did it is how far the first one looks back. ``installed`` is for the list
    of installations, ``pulls`` has one for each of them, ``resent`` what was asked for again by its
    GUID.
    """

    deliveries: float = 0.0
    closings: float = 0.0
    installed: float = 0.0
    pulls: Mapping[int, float] = field(default_factory=dict)
    resent: Mapping[str, Resent] = field(default_factory=dict)

    @classmethod
    def first(cls, now: float) -> RepairNotes:
        """Say how far the first repair looks back, whenever it comes to its end."""
        pulls = now - FIRST_PULLS
        return cls(deliveries=now - FIRST_DELIVERIES, closings=pulls, installed=pulls)


@dataclass(frozen=True, slots=True)
class ChangedPull:
    """An open pull request as a list tells of it; ``opened_at`` is in epoch seconds."""

    pull: PullRequest
    opened_at: float


@dataclass(frozen=True, slots=True)
class OurCheck:
    """A check run of ours on a head; ``key`` names its job."""

    key: str
    completed: bool


class Heard(StrEnum):
    """What our own records say of a head."""

    HEAD = "this head was asked for"
    PAUSED = "the pull request is paused"
    PULL = "only earlier heads were asked for"
    NOTHING = "nothing was ever asked for"


def choose_resent(
    failed: Sequence[FailedDelivery], resent: Mapping[str, Resent]
) -> tuple[FailedDelivery, ...]:
    """Choose what to ask for again: each failed attempt once, and no delivery for ever."""
    return tuple(
        one
        for one in failed
        if (known := resent.get(one.guid)) is None
        or (known.attempt != one.id and known.times < MAX_RESENT)
    )


def note_resent(one: FailedDelivery, resent: Mapping[str, Resent], now: float) -> dict[str, Resent]:
    """Remember that a delivery was asked for again."""
    known = resent.get(one.guid)
    return {**resent, one.guid: Resent(one.id, known.times + 1 if known else 1, now)}


def was_missed(
    changed: ChangedPull, heard: Heard, checks: Sequence[OurCheck], since: float
) -> bool:
    """Tell whether a head should have been reviewed and nobody told us.

    ``checks`` are ours on that head. They speak where our own records were lost: what is completed
    was reviewed, what is open was begun. A pull request that was opened before ``since`` and never
    heard of waits for its next event: somebody only spoke on it.
    """
    if heard in {Heard.HEAD, Heard.PAUSED}:
        return False
    if checks:
        return not any(check.completed for check in checks)
    return heard is Heard.PULL or changed.opened_at >= since


def ask_for(pull: PullRequest) -> ReviewRequest:
    """Ask for the review that a webhook would have asked for."""
    return ReviewRequest(
        ref=pull.ref,
        head_sha=pull.head_sha,
        base_sha=pull.base_sha,
        reason="missed",
        sender=Person(pull.author_id, pull.author, pull.author_is_bot),
        title=pull.title,
    )


def is_about(key: str, pull: PullRequest) -> bool:
    """Tell whether a job's key is about this head of this pull request, whatever its kind."""
    ref = pull.ref
    return key.startswith(f"review:{ref.repository_id}:{ref.number}:{pull.head_sha}:")
