"""The repair: what webhooks did not bring is fetched, what was left open is closed.

Each part stands for itself. Where GitHub can't be read the others go on, and the next repair begins
where the last one that came to its end began.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Protocol

from app.core.events import ReviewRequest
from app.core.job import Closing, Halted, JobState
from app.core.pull import PullRef, PullRequest
from app.core.repair import (
    FIRST_PULLS,
    ChangedPull,
    FailedDelivery,
    Heard,
    OurCheck,
    RepairNotes,
    ask_for,
    choose_resent,
    is_about,
    note_resent,
    was_missed,
)
from app.errors import HostError, HostInvalid, HostMissing, HostRefused

log = logging.getLogger(__name__)

DAY: Final = 24 * 3600.0
OVERLAP: Final = 300.0
"""Read twice at the border of two repairs: lists lag behind, and clocks differ."""
LONGEST: Final = 3 * DAY
"""How far any repair looks back; GitHub can't send older deliveries again
(docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks)."""
LOST: Final = "the record of this review was lost"


class Missed(Protocol):
    """Tells what GitHub knows and we may not. Every method raises HostError."""

    def failed_deliveries(self, since: float) -> Sequence[FailedDelivery]:
        """List deliveries since then of which no attempt succeeded, oldest first."""
        ...

    def redeliver(self, delivery_id: int) -> None:
        """Ask for a delivery again."""
        ...

    def installations(self) -> Sequence[int]:
        """List where the App is installed and not suspended."""
        ...

    def changed_pulls(self, installation_id: int, since: float) -> Iterable[ChangedPull]:
        """Walk the open pulls that changed since then; a list that stayed as it was is left out."""
        ...

    def forget(self, installation_id: int) -> None:
        """Read every list of an installation again the next time."""
        ...


class Checks(Protocol):
    """Our check runs. Every method raises HostError."""

    def on_head(self, ref: PullRef, head_sha: str) -> Sequence[OurCheck]:
        """List our check runs on a commit."""
        ...

    def close(self, closing: Closing) -> bool:
        """Complete what an ended run left open; False when nothing was."""
        ...


class Desk(Protocol):
    """Where jobs are asked for; each method is one transaction."""

    def recall_repair(self) -> RepairNotes:
        """Return what the last repairs left to remember."""
        ...

    def note_repair(self, notes: RepairNotes) -> None:
        """Remember it for the next."""
        ...

    def hear(self, ref: PullRef, head_sha: str) -> Heard:
        """Say what we know of a head."""
        ...

    def arm_missed(self, request: ReviewRequest) -> bool:
        """Ask for a review unless that head was asked for meanwhile."""
        ...

    def ended_runs(self, since: float) -> Sequence[Closing]:
        """List the runs that ended since then without completing their check themselves."""
        ...


@dataclass(frozen=True, slots=True)
class Repairs:
    """Repairs once whenever it is asked to; ``halted`` tells whether to stop and go on later."""

    missed: Missed
    checks: Checks
    clock: Callable[[], float]
    halted: Callable[[], bool] = lambda: False

    def run(self, desk: Desk) -> None:
        """Repair what can be reached, and remember how far it came."""
        if desk.recall_repair() == RepairNotes():
            desk.note_repair(RepairNotes.first(self.clock()))
        self._redeliver(desk)
        self._close_left_open(desk)
        self._catch_up(desk)

    def _redeliver(self, desk: Desk) -> None:
        began, notes = self.clock(), desk.recall_repair()
        since = _window(notes.deliveries, began)
        resent = {guid: one for guid, one in notes.resent.items() if one.at > began - LONGEST}
        try:
            for one in choose_resent(self.missed.failed_deliveries(since), resent):
                self._go_on()
                try:
                    self.missed.redeliver(one.id)
                except (HostInvalid, HostMissing) as error:
                    log.warning("not sent again", extra={"guid": one.guid, "why": error.message})
                resent = note_resent(one, resent, self.clock())
                desk.note_repair(replace(notes, resent=resent))
                log.info("asked for again", extra={"guid": one.guid, "event": one.event})
        except HostError as error:
            _put_off("deliveries", error)
            return
        desk.note_repair(replace(notes, resent=resent, deliveries=began))

    def _close_left_open(self, desk: Desk) -> None:
        began, notes = self.clock(), desk.recall_repair()
        complete = True
        for closing in desk.ended_runs(_window(notes.closings, began)):
            self._go_on()
            try:
                if self.checks.close(closing):
                    log.info(
                        "closed a check that was left open", extra={"job": closing.request.key}
                    )
            except HostError as error:
                if not _is_final(error):
                    _put_off(closing.request.key, error)
                    complete = False
        if complete:
            desk.note_repair(replace(notes, closings=began))

    def _catch_up(self, desk: Desk) -> None:
        began, notes = self.clock(), desk.recall_repair()
        try:
            installations = self.missed.installations()
        except HostError as error:
            _put_off("installations", error)
            return
        new = min(notes.installed, began - FIRST_PULLS)
        known = {one: notes.pulls.get(one, new) for one in installations}
        away = {one: at for one, at in notes.pulls.items() if at > began - LONGEST}
        notes = replace(notes, installed=began, pulls={**away, **known})
        desk.note_repair(notes)
        for installation_id in installations:
            began = self.clock()
            if self._walk(desk, installation_id, _window(notes.pulls[installation_id], began)):
                notes = replace(notes, pulls={**notes.pulls, installation_id: began})
                desk.note_repair(notes)

    def _walk(self, desk: Desk, installation_id: int, since: float) -> bool:
        """Look at every changed pull of an installation; False when something could not be read."""
        complete = False
        try:
            for changed in self.missed.changed_pulls(installation_id, since):
                self._go_on()
                self._look(desk, changed, since)
            complete = True
        except HostError as error:
            _put_off(f"installation {installation_id}", error)
        finally:
            if not complete:
                self.missed.forget(installation_id)
        return complete

    def _look(self, desk: Desk, changed: ChangedPull, since: float) -> None:
        pull = changed.pull
        heard = desk.hear(pull.ref, pull.head_sha)
        if heard in {Heard.HEAD, Heard.PAUSED}:
            return
        checks = self._checks_on(pull)
        request = ask_for(pull)
        for one in checks:
            if not one.completed and one.key != request.key:
                kind = one.key.rpartition(":")[2]
                lost = Closing(replace(request, kind=kind), JobState.CANCELLED, LOST)
                self.checks.close(lost)
        if was_missed(changed, heard, checks, since) and desk.arm_missed(request):
            log.info("found a head nobody told of", extra={"job": request.key})

    def _checks_on(self, pull: PullRequest) -> tuple[OurCheck, ...]:
        """List our check runs for a pull's head; none where GitHub does not show us any."""
        try:
            found = self.checks.on_head(pull.ref, pull.head_sha)
        except (HostInvalid, HostMissing, HostRefused):
            return ()
        return tuple(one for one in found if is_about(one.key, pull))

    def _go_on(self) -> None:
        if self.halted():
            raise Halted


def _window(last: float, now: float) -> float:
    """Return since when to look: from the last success on, but not for ever."""
    return max(last - OVERLAP, now - LONGEST)


def _is_final(error: HostError) -> bool:
    """Tell whether asking again changes nothing: the commit is gone, or we may not write to it."""
    forbidden = isinstance(error, HostRefused) and error.status == HTTPStatus.FORBIDDEN
    return forbidden or isinstance(error, HostInvalid | HostMissing)


def _put_off(what: str, error: HostError) -> None:
    facts = {"part": what, "why": error.message}
    log.warning("GitHub could not be read for the repair: the next one covers it", extra=facts)
