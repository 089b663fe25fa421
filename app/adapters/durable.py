"""Any port as the same port, each call a recorded step: a crash repeats no call that finished.

Outside of a job the calls go straight through. A step's arguments are not recorded, its result is,
as plain JSON text; an error of ours is recorded like a result and comes back as itself.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, Protocol, TypeVar, cast, get_args, get_type_hints

from dbos import DBOS, DBOSClient, SetEnqueueOptions, SetWorkflowID, WorkflowStatus

from app import errors
from app.adapters import crash
from app.adapters.models.scheduler import NO_TIME, Attempt
from app.core.job import Halted
from app.core.money import Usage
from app.core.prompts import Fault, FaultKind, Prompt, Reply
from app.ports import Model, ModelInfo, OnReply

Port = TypeVar("Port")

ASK_WORKFLOW: Final = "postil_ask"
POLL: Final = 0.05


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


# the model: one workflow a prompt


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
    """Asks every prompt in a workflow of its own, on a queue with the provider's limits.

    A call that finished is never made again, by whichever worker continues the review. A wait is a
    delayed workflow. To be made before the engine starts, on every worker.
    """

    def __init__(
        self,
        model: PatientModel,
        client: Callable[[], DBOSClient],
        *,
        queue: str,
        patience: float = 600.0,
        halted: Callable[[], bool] = _never,
        heard: Callable[[Usage], None] = lambda _usage: None,
    ) -> None:
        """Name the queue; ``patience`` is how many seconds all asking of one job may take.

        ``heard`` is told what each single request used.
        """
        self._model = model
        self._client = client
        self._queue = queue
        self._patience = patience
        self._halted = halted
        self._heard = heard
        self._local = threading.local()

        @DBOS.workflow(name=ASK_WORKFLOW, max_recovery_attempts=None)
        def ask(text: str, call: str, number: int, until: float) -> str:
            return self._ask(text, call, number, until)

        self._workflow = ask

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model before it is asked."""
        return self._model.info

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        """Ask every prompt; in a job, each in its own workflow."""
        job = DBOS.workflow_id
        if job is None:
            return self._model.ask_all(prompts, on_reply)
        until = self._until(job)
        run_id = job.rpartition(".")[0]
        waiting: dict[str, int] = {}
        for index, prompt in enumerate(prompts):
            call = f"{run_id}:{prompt.key}:{prompt.nonce}"
            waiting[self._enqueue(_to_json(Attempt(prompt)), call, 1, until, 0.0)] = index
        replies: dict[int, Reply] = {}
        for index, reply in self._collect(waiting):
            replies[index] = reply
            if on_reply is not None:
                on_reply(index, reply)
        return tuple(replies[index] for index in range(len(prompts)))

    def _until(self, job: str) -> float:
        """Return when asking must end: counted from the job's first question on this thread."""
        if getattr(self._local, "job", None) != job:
            self._local.job, self._local.until = job, time.time() + self._patience
        until: float = self._local.until
        return until

    def _enqueue(self, text: str, call: str, number: int, until: float, delay: float) -> str:
        workflow_id = f"{call}:{number}"
        with SetWorkflowID(workflow_id), SetEnqueueOptions(delay_seconds=delay or None):
            DBOS.enqueue_workflow(self._queue, self._workflow, text, call, number, until)
        return workflow_id

    def _collect(self, waiting: dict[str, int]) -> Iterator[tuple[int, Reply]]:
        """Yield the replies as they come; each is recorded in the workflow that asked."""
        while waiting:
            if self._halted():
                raise Halted
            ended = self._client().list_workflows(
                workflow_ids=list(waiting), status=_ENDED, load_input=False
            )
            for workflow in ended:
                index = waiting.pop(workflow.workflow_id)
                outcome = _read_outcome(workflow)
                if isinstance(outcome, str):
                    waiting[outcome] = index
                else:
                    yield index, outcome
            if not ended:
                time.sleep(POLL)

    def _ask(self, text: str, call: str, number: int, until: float) -> str:
        """Make one attempt; what follows is the next workflow of this call, after its wait."""
        attempt: Attempt = _from_json(text)
        left = until - time.time()
        if self._halted():
            raise Halted
        reply = _from_json(DBOS.run_step({"name": "model.ask_once"}, self._attempt, attempt, left))
        if not isinstance(reply, Attempt):
            return _to_json(reply)
        following = self._enqueue(_to_json(reply), call, number + 1, until, reply.wait)
        return json.dumps({"next": following})

    def _attempt(self, attempt: Attempt, left: float) -> str:
        if left <= 0:
            return _to_json(Fault(FaultKind.LIMITED, NO_TIME, attempt.usage))
        reply = self._model.ask_once(attempt.prompt)
        self._heard(reply.usage)
        crash.at("after_model_answer")
        return _to_json(self._model.next_step(attempt, reply, left))


_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


def _to_json(value: Attempt | Reply) -> str:
    return json.dumps(encode(value))


def _from_json(text: str) -> Any:  # noqa: ANN401 - an Attempt or a Reply
    return decode(json.loads(text), _known_types(Attempt | Reply))


def _read_outcome(workflow: WorkflowStatus) -> Reply | str:
    """Return the reply of an ended workflow, or the id of the one that goes on with its call."""
    if workflow.status != "SUCCESS" or not isinstance(workflow.output, str):
        return Fault(FaultKind.UNAVAILABLE, "the request to the model was given up")
    outcome = json.loads(workflow.output)
    if "next" in outcome:
        return str(outcome["next"])
    reply: Reply = _from_json(workflow.output)
    return reply
