"""When to ask: requests and tokens a minute, how many at once, and what is asked again.

All waiting for a model service stands here, none of it inside a call. ``ask_once`` never waits: a
durable queue may take the place of ``ask_all`` by waking up when ``next_step`` says so.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.adapters.models.exchange import BYTES_PER_TOKEN
from app.core.money import Rates, Usage, most_tokens, worst_cost
from app.core.prompts import Answer, Fault, FaultKind, Message, Prompt, Reply
from app.ports import ModelInfo, OnReply

WINDOW = 61.0
"""A minute by the service's clock, and a second for the way there."""
MAX_WAIT = 60.0
CONTINUATIONS = 2
TRIES: Mapping[FaultKind, int] = {
    FaultKind.UNAVAILABLE: 3,
    FaultKind.TIMEOUT: 2,
    FaultKind.UNPARSED: 2,
    FaultKind.LIMITED: 8,
}
"""How often a prompt is asked until such a fault stands; once, when it is not listed."""
STOPPING = frozenset({FaultKind.KEY, FaultKind.CREDITS, FaultKind.MODEL})
"""Faults of the account or the settings: every further prompt would meet them too."""
STOPPED_SECONDS = 60.0
"""How long such a fault is taken to last."""
NO_TIME = "the model service's rate limit leaves no time for it in this run: raise POSTIL_RPM"


@dataclass(frozen=True, slots=True)
class Timing:
    """Where time and chance come from."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class Service(Protocol):
    """Asks one model service, once, without waiting."""

    async def ask(self, prompt: Prompt) -> Reply:
        """Ask one prompt; whatever goes wrong is a Fault."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """What a service allows a key: requests and tokens a minute, and requests at once."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """How far a prompt has come: what is asked now, what its tries used, how many there were."""

    prompt: Prompt
    usage: Usage = field(default_factory=Usage)
    tries: int = 1
    continuations: int = 0
    wait: float = 0.0


def next_step(
    attempt: Attempt,
    reply: Reply,
    *,
    rates: Rates,
    can_continue: bool,
    seconds_left: float = math.inf,
    jitter: float = 0.5,
) -> Attempt | Reply:
    """Decide what follows a reply: another attempt after its ``wait``, or the reply to keep.

    A kept reply's usage is that of all attempts. ``jitter`` is a random number from 0 to 1.
    """
    usage = attempt.usage + reply.usage
    kept = replace(reply, usage=usage)
    if isinstance(reply, Answer):
        return kept
    following = _following(attempt, reply, can_continue=can_continue, jitter=jitter)
    if following is None or following.wait > seconds_left:
        return kept
    return replace(following, usage=usage) if _fits(following.prompt, usage, rates) else kept


def _fits(prompt: Prompt, spent: Usage, rates: Rates) -> bool:
    """Tell whether another attempt stays within what the prompt may cost in all."""
    if prompt.budget_usd is None or spent.cost_usd is None:
        return True
    return spent.cost_usd + worst_cost(prompt, rates) <= prompt.budget_usd


def _following(
    attempt: Attempt, fault: Fault, *, can_continue: bool, jitter: float
) -> Attempt | None:
    if fault.kind is FaultKind.CUT:
        wanted = can_continue and fault.partial and attempt.continuations < CONTINUATIONS
        if not wanted:
            return None
        prompt = continue_prompt(attempt.prompt, fault.partial)
        return replace(attempt, prompt=prompt, continuations=attempt.continuations + 1, wait=0.0)
    if attempt.tries >= TRIES.get(fault.kind, 1):
        return None
    backoff = min(2.0 ** (attempt.tries - 1), MAX_WAIT) * (0.5 + jitter)
    wait = backoff if fault.retry_after is None else fault.retry_after
    return replace(attempt, tries=attempt.tries + 1, wait=wait)


def continue_prompt(prompt: Prompt, partial: str) -> Prompt:
    """Return the prompt that goes on with an answer that was cut."""
    asked = prompt.messages
    if asked[-1].role == "assistant":
        asked = asked[:-1]
    longer = math.ceil(len(partial.encode()) / BYTES_PER_TOKEN)
    return replace(
        prompt,
        messages=(*asked, Message("assistant", partial)),
        prompt_tokens=prompt.prompt_tokens + longer,
    )


class Pace:
    """Keeps the requests and tokens of any minute within a quota."""

    def __init__(self, quota: Quota, clock: Callable[[], float]) -> None:
        self._quota = quota
        self._clock = clock
        self._starts: deque[float] = deque()
        self._tokens: list[Ticket] = []
        self._held_until = -math.inf
        self._lock = threading.Lock()

    def claim(self, tokens: int) -> Ticket | float:
        """Take a place for a request now, or return the seconds until there may be one."""
        with self._lock:
            now = self._clock()
            delay = max(
                self._held_until - now, self._requests_delay(now), self._tokens_delay(now, tokens)
            )
            if delay > 0:
                return delay
            ticket = Ticket(now, tokens)
            self._starts.append(now)
            self._tokens.append(ticket)
            return ticket

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """Put what a request really used in place of what was claimed for it."""
        with self._lock:
            ticket.time, ticket.tokens = self._clock(), tokens

    def hold(self, seconds: float) -> None:
        """Start nothing for a while: the service asked for it."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def _requests_delay(self, now: float) -> float:
        while self._starts and self._starts[0] <= now - WINDOW:
            self._starts.popleft()
        if self._quota.rpm is None or len(self._starts) < self._quota.rpm:
            return 0.0
        return self._starts[-self._quota.rpm] + WINDOW - now

    def _tokens_delay(self, now: float, tokens: int) -> float:
        self._tokens = sorted(t for t in self._tokens if t.time > now - WINDOW)
        if self._quota.tpm is None:
            return 0.0
        excess = sum(ticket.tokens for ticket in self._tokens) + tokens - self._quota.tpm
        for ticket in self._tokens:
            if excess <= 0:
                return 0.0
            excess -= ticket.tokens
            end = ticket.time + WINDOW - now
            if excess <= 0:
                return end
        return self._tokens[-1].time + WINDOW - now if self._tokens else 0.0


@dataclass(slots=True, order=True)
class Ticket:
    """One request in the last minute; mutable, since its tokens are known only afterwards."""

    time: float
    tokens: int


@dataclass(slots=True)
class _Queue:
    """One call of ``ask_all``: which prompts wait (until when), which are asked, what came back."""

    end: float
    waiting: list[tuple[float, int, Attempt]]
    on_reply: OnReply
    running: dict[asyncio.Task[Reply], tuple[int, Attempt, Ticket]] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)

    def keep(self, index: int, reply: Reply) -> None:
        """Let a reply stand."""
        self.replies[index] = reply
        self.on_reply(index, reply)


class PacedModel:
    """A model service within its quota: the port ``Model``."""

    def __init__(
        self,
        service: Service,
        info: ModelInfo,
        quota: Quota,
        *,
        can_continue: bool = False,
        deadline: float = 3600.0,
        timing: Timing | None = None,
    ) -> None:
        self._service = service
        self._info = info
        self._quota = quota
        self._can_continue = can_continue
        self._deadline = deadline
        self._timing = timing or Timing()
        self._pace = Pace(quota, self._timing.clock)
        self._stopped: tuple[float, Fault] | None = None

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model before it is asked."""
        return self._info

    @property
    def quota(self) -> Quota:
        """Return what the service allows, for a queue that several workers share."""
        return self._quota

    def ask_once(self, prompt: Prompt) -> Reply:
        """Ask once, at once; a fault's ``retry_after`` is what the service asks to wait."""
        return asyncio.run(self._service.ask(prompt))

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        """Ask every prompt within the quota; one reply a prompt, in their order.

        ``on_reply`` hears of each as soon as it stands, by the prompt's index.
        """
        return asyncio.run(self._ask_all(prompts, on_reply or _ignore))

    def next_step(
        self, attempt: Attempt, reply: Reply, seconds_left: float = math.inf
    ) -> Attempt | Reply:
        """Decide what follows a reply of this model."""
        return next_step(
            attempt,
            reply,
            rates=self._info.of(attempt.prompt.role).rates,
            can_continue=self._can_continue,
            seconds_left=seconds_left,
            jitter=self._timing.jitter(),
        )

    async def _ask_all(self, prompts: Sequence[Prompt], on_reply: OnReply) -> tuple[Reply, ...]:
        now = self._timing.clock()
        waiting = [(now, index, Attempt(prompt)) for index, prompt in enumerate(prompts)]
        queue = _Queue(now + self._deadline, waiting, on_reply)
        while queue.waiting or queue.running:
            delay = self._start(queue)
            if queue.running:
                done, _ = await asyncio.wait(
                    queue.running, timeout=delay, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    self._finish(queue, task)
            elif delay is not None:
                await self._timing.sleep(delay)
        return tuple(queue.replies[index] for index in range(len(prompts)))

    def _start(self, queue: _Queue) -> float | None:
        """Start what may start; return the seconds until more may, None when only an end helps."""
        while queue.waiting and len(queue.running) < self._quota.concurrency:
            now = self._timing.clock()
            if self._stopped is not None and now < self._stopped[0]:
                _give_up(queue, self._stopped[1])
                return None
            not_before, index, attempt = queue.waiting[0]
            if not_before > now:
                return not_before - now
            rates = self._info.of(attempt.prompt.role).rates
            claim = self._pace.claim(_claimed_tokens(attempt.prompt, rates))
            if not isinstance(claim, Ticket):
                if now + claim > queue.end:
                    _give_up(queue, Fault(FaultKind.LIMITED, NO_TIME, retry_after=claim))
                    return None
                return claim
            heapq.heappop(queue.waiting)
            task = asyncio.create_task(self._service.ask(attempt.prompt))
            queue.running[task] = (index, attempt, claim)
        return None

    def _finish(self, queue: _Queue, task: asyncio.Task[Reply]) -> None:
        """Keep a reply, or let its prompt wait for another attempt."""
        index, attempt, ticket = queue.running.pop(task)
        reply, now = task.result(), self._timing.clock()
        self._pace.settle(ticket, reply.usage.prompt_tokens + reply.usage.completion_tokens)
        if isinstance(reply, Fault) and reply.kind in STOPPING:
            self._stopped = (now + STOPPED_SECONDS, replace(reply, usage=Usage()))
        step = self.next_step(attempt, reply, queue.end - now)
        if not isinstance(step, Attempt):
            queue.keep(index, step)
            return
        if isinstance(reply, Fault) and reply.kind is FaultKind.LIMITED:
            self._pace.hold(step.wait)
        heapq.heappush(queue.waiting, (now + step.wait, index, step))


def _give_up(queue: _Queue, fault: Fault) -> None:
    """Give every waiting prompt the same fault, unasked."""
    for _, index, attempt in queue.waiting:
        queue.keep(index, replace(fault, usage=attempt.usage))
    queue.waiting.clear()


def _ignore(_index: int, _reply: Reply) -> None:
    """OnReply nothing."""


def _claimed_tokens(prompt: Prompt, rates: Rates) -> int:
    return most_tokens(prompt, rates) + prompt.max_tokens
