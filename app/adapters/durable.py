"""Any port as the same port, each call a recorded step: a crash repeats no call that finished.

Outside of a job the calls go straight through. A step's arguments are not recorded, its result is,
as plain JSON text; an error of ours is recorded like a result and comes back as itself.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar, cast, get_args, get_type_hints

from dbos import DBOS, DBOSClient, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from app import errors
from app.adapters import crash
from app.adapters.models.pace import Pace
from app.adapters.models.scheduler import Attempt, Round, Taken, settle
from app.core.job import Halted, Postponed
from app.core.money import Usage
from app.core.prompts import Fault, FaultKind, Prompt, Reply
from app.ports import Model, ModelInfo, OnReply

log = logging.getLogger(__name__)

Port = TypeVar("Port")

Inbox = SimpleQueue[tuple[str, str]]
"""Where the outcomes of a job's requests arrive: the request's name, and what followed, as JSON."""

ASK_WORKFLOW: Final = "postil_ask"
GLANCE: Final = 0.5
"""Seconds between two looks at whether the job still is to go on."""
LONG: Final = 5.0
"""What must wait for more seconds than these is scheduled anew, and occupies no worker.

A shorter wait is over before another try would have read again what this one knows.
"""
GIVEN_UP: Final = "the request to the model was given up"


def _never() -> bool:
    return False


def durable(
    port: Port, protocol: type[Any], *, name: str, halted: Callable[[], bool] = _never
) -> Port:
    """Return the port with every method of its protocol recorded as the step ``name.method``."""
    return cast("Port", _Recorded(port, protocol, name, halted))


class _Recorded:
    """Stands in for a port; attributes that are no method of the protocol are the port's own."""

    def __init__(
        self, port: object, protocol: type[Any], name: str, halted: Callable[[], bool]
    ) -> None:
        self._port = port
        for method, function in inspect.getmembers(protocol, inspect.isfunction):
            if not method.startswith("_"):
                known = _known_types(get_type_hints(function)["return"])
                step = _step(getattr(port, method), f"{name}.{method}", known, halted)
                setattr(self, method, step)

    def __getattr__(self, name: str) -> object:
        return getattr(self._port, name)


def _step(
    call: Callable[..., Any], name: str, known: Mapping[str, type], halted: Callable[[], bool]
) -> Callable[..., Any]:
    def recorded(*args: object, **kwargs: object) -> object:
        if DBOS.workflow_id is None:
            return call(*args, **kwargs)
        if halted():
            raise Halted

        def attempt() -> str:
            try:
                value = call(*args, **kwargs)
            except errors.PostilError as error:
                return json.dumps({"error": _encode_error(error)})
            crash.at(f"{name}:unrecorded")
            return json.dumps({"value": encode(value)})

        outcome = json.loads(DBOS.run_step({"name": name}, attempt))
        if "error" in outcome:
            raise _decode_error(outcome["error"])
        return decode(outcome["value"], known)

    return recorded


# values as JSON, each with the name of its type, so that no union is ambiguous


def encode(value: object) -> object:
    """Turn a value of the core into plain JSON values. Raises TypeError for any other."""
    match value:
        case Enum():
            return {"$enum": type(value).__name__, "$value": value.value}
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case Decimal():
            return {"$decimal": str(value)}
        case tuple():
            return [encode(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                field.name: encode(getattr(value, field.name))
                for field in dataclasses.fields(value)
            }
            return {"$type": type(value).__name__} | fields
    raise TypeError(f"{type(value).__name__} can't cross a durable step")


def decode(value: object, known: Mapping[str, type]) -> Any:  # noqa: ANN401 - any value of the core
    """Turn JSON values back; ``known`` are the dataclasses and enums that may stand in them."""
    match value:
        case list():
            return tuple(decode(item, known) for item in value)
        case {"$enum": str(name), "$value": member}:
            return known[name](member)
        case {"$bytes": str(text)}:
            return base64.b64decode(text)
        case {"$decimal": str(text)}:
            return Decimal(text)
        case {"$type": str(name), **fields}:
            return known[name](**{str(key): decode(item, known) for key, item in fields.items()})
    return value


@cache
def _known_types(hint: object) -> Mapping[str, type]:
    """Collect every dataclass and enum that a value of this type may hold, by name."""
    found: dict[str, type] = {}
    waiting: list[object] = [hint]
    while waiting:
        hint = waiting.pop()
        waiting.extend(get_args(hint))
        if not isinstance(hint, type) or found.get(hint.__name__) is hint:
            continue
        if issubclass(hint, Enum) or dataclasses.is_dataclass(hint):
            if hint.__name__ in found:
                raise TypeError(f"two types are named {hint.__name__}")
            found[hint.__name__] = hint
        if dataclasses.is_dataclass(hint):
            names = vars(sys.modules[hint.__module__])
            waiting.extend(get_type_hints(hint, names).values())
    return found


def _encode_error(error: errors.PostilError) -> object:
    return {"type": type(error).__name__, "message": error.message, "data": error.data}


def _decode_error(fields: Mapping[str, Any]) -> errors.PostilError:
    """Make the same error again, without its constructor: that differs from class to class."""
    kind = getattr(errors, fields["type"])
    error: errors.PostilError = kind.__new__(kind, fields["message"])
    errors.PostilError.__init__(error, fields["message"], **fields["data"])
    for name, value in fields["data"].items():
        setattr(error, name, value)
    return error


# the model: one workflow a request


class PatientModel(Model, Protocol):
    """A model that can also be asked one attempt at a time, and says what follows a reply."""

    def ask_once(self, prompt: Prompt) -> Reply:
        """Send one request, and never wait."""
        ...

    def next_step(
        self, attempt: Attempt, reply: Reply, seconds_left: float = ...
    ) -> Attempt | Reply:
        """Decide what follows a reply: another attempt after its wait, or the reply to keep."""
        ...


class DurableModel:
    """Makes every request in a workflow of its own, as the pace that all workers share allows.

    A call that finished is never made again, by whichever worker continues the review. A request
    starts at once, in the process that wants it. What must wait for long ends this try of its job,
    which is scheduled anew; nothing is left behind. To be made before the engine starts, on every
    worker.
    """

    def __init__(
        self,
        model: PatientModel,
        client: Callable[[], DBOSClient],
        pace: Pace,
        *,
        patience: float = 600.0,
        clock: Callable[[], float] = time.time,
        halted: Callable[[], bool] = _never,
        heard: Callable[[Usage], None] = lambda _usage: None,
    ) -> None:
        """Wire it.

        ``patience`` is how many seconds all asking of one job may take; ``heard`` is told what each
        single request used.
        """
        self._model = model
        self._client = client
        self._pace = pace
        self._patience = patience
        self._clock = clock
        self._halted = halted
        self._heard = heard
        self._ends: dict[str, float] = {}
        self._inboxes: dict[str, Inbox] = {}

        @DBOS.workflow(name=ASK_WORKFLOW, max_recovery_attempts=None)
        def ask(name: str, text: str, until: float) -> str:
            return self._ask(name, text, until)

        self._workflow = ask

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model before it is asked."""
        return self._model.info

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        """Ask every prompt; in a job, each request in its own workflow.

        Raises Postponed when nothing may be asked for a while: what came back meanwhile is kept.
        """
        job = DBOS.workflow_id
        if job is None or not prompts:
            return self._model.ask_all(prompts, on_reply)
        run_id = job.rpartition(".")[0]
        calls = [f"{run_id}:{prompt.key}:{prompt.nonce}" for prompt in prompts]
        round_ = Round(
            prompts,
            calls,
            on_reply or (lambda _index, _reply: None),
            claim=partial(self._pace.claim, owner=run_id),
            info=self.info,
            clock=self._clock,
            end=self._until(run_id),
            asked=self._asked(run_id, calls),
        )
        self._inboxes[run_id] = SimpleQueue()
        try:
            self._finish(job, round_, self._inboxes[run_id])
        finally:
            del self._inboxes[run_id]
        return round_.replies

    def _finish(self, job: str, round_: Round, inbox: Inbox) -> None:
        """Ask until every prompt has its reply."""
        running: dict[str, int] = {}
        look_at = 0.0
        while round_.waits or running:
            if self._halted():
                raise Halted
            if time.time() >= look_at:
                self._look(job, round_, running)
                look_at = time.time() + GLANCE
            delay = self._start(round_, running)
            if delay is not None and delay > LONG and not running:
                raise Postponed(delay, "waits for the model service")
            self._receive(inbox, round_, running, GLANCE if delay is None else min(delay, GLANCE))

    def _until(self, run_id: str) -> float:
        """Return when asking must end: counted from the job's first question to this worker."""
        now = self._clock()
        for known, end in list(self._ends.items()):
            if end <= now:
                self._ends.pop(known, None)
        return self._ends.setdefault(run_id, now + self._patience)

    def _asked(self, run_id: str, calls: Sequence[str]) -> frozenset[str]:
        """Return what this run asked before it was interrupted."""
        look = partial(self._client().list_workflows, load_input=False, load_output=False)
        if not look(workflow_ids=[f"{call}:1" for call in calls]):
            return frozenset()  # as nearly always: a search by prefix reads the whole table
        return frozenset(found.workflow_id for found in look(workflow_id_prefix=f"{run_id}:"))

    def _start(self, round_: Round, running: dict[str, int]) -> float | None:
        """Ask what may be asked now; return the seconds until more may."""
        while isinstance(taken := round_.take(), Taken):
            running[taken.name] = taken.index
            # in a context of its own: no child of the job's workflow, whose steps stay as they are
            Context().run(self._begin, taken.name, json.dumps(encode(taken.attempt)), round_.end)
        return taken

    def _begin(self, name: str, text: str, until: float) -> None:
        with SetWorkflowID(name):
            DBOS.start_workflow(self._workflow, name, text, until)

    def _receive(
        self, inbox: Inbox, round_: Round, running: dict[str, int], seconds: float
    ) -> None:
        """Take what comes back, waiting so many seconds for the first."""
        while running or round_.waits:
            try:
                name, text = inbox.get(timeout=seconds)
            except Empty:
                return
            seconds = 0.0
            if name in running:
                round_.put(running.pop(name), *_read_outcome(text))

    def _look(self, job: str, round_: Round, running: dict[str, int]) -> None:
        """See whether the job still is to go on, and what came back to others or broke off."""
        ended = self._client().list_workflows(
            workflow_ids=[job, *running], status=_ENDED, load_input=False
        )
        if any(workflow.workflow_id == job for workflow in ended):
            self._client().cancel_workflows(list(running))
            raise dbos_error.DBOSWorkflowCancelledError(
                f"{job} was cancelled while it asked the model"
            )
        for workflow in ended:
            index = running.pop(workflow.workflow_id)
            if workflow.status == "SUCCESS" and isinstance(workflow.output, str):
                round_.put(index, *_read_outcome(workflow.output))
            else:
                self._pace.release([workflow.workflow_id])
                round_.put(index, Fault(FaultKind.UNAVAILABLE, GIVEN_UP))

    def _ask(self, name: str, text: str, until: float) -> str:
        """Make one attempt; what follows is for the job that wants it."""
        if self._halted():
            raise Halted
        attempt = decode(json.loads(text), _known_types(Attempt))
        try:
            step = DBOS.run_step({"name": "model.ask_once"}, self._attempt, name, attempt, until)
        except dbos_error.DBOSWorkflowCancelledError:
            self._pace.release([name])
            raise
        wanted = self._inboxes.get(name.rsplit(":", 3)[0])
        if wanted is not None:
            wanted.put((name, step))
        return step

    def _attempt(self, name: str, attempt: Attempt, until: float) -> str:
        began = time.monotonic()
        reply = self._model.ask_once(attempt.prompt)
        took = time.monotonic() - began
        self._heard(reply.usage)
        crash.at("after_model_answer")
        step = self._model.next_step(attempt, reply, until - self._clock())
        try:
            settle(self._pace, self.info, name, attempt.prompt, reply, step, took)
        except SQLAlchemyError as error:  # its place comes free by itself, the answer would not
            log.warning("a request was not settled", extra={"reason": type(error).__name__})
        return json.dumps({"at": self._clock(), "step": encode(step)})


_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


def _read_outcome(text: str) -> tuple[Attempt | Reply, float]:
    """Return what followed a request, and when that was."""
    outcome = json.loads(text)
    return decode(outcome["step"], _known_types(Attempt | Reply)), outcome["at"]
