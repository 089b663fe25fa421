"""When to ask: requests and tokens a minute, how many at once, and what is asked again.

All waiting for a model service is decided here, none of it is inside a call. A ``Round`` says what
may be asked now and takes what came back; who asks, a task here or a durable workflow, is not its
matter.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from app.adapters.models.exchange import BYTES_PER_TOKEN
from app.adapters.models.pace import Book, Memory, Pace, Quota
from app.core.money import Rates, Usage, most_tokens, worst_cost
from app.core.prompts import Answer, Fault, FaultKind, Message, Prompt, Reply
from app.ports import ModelInfo, OnReply

MAX_WAIT = 60.0
CONTINUATIONS = 2
TRIES: Mapping[FaultKind, int] = {
    FaultKind.UNAVAILABLE: 3,
    FaultKind.TIMEOUT: 2,
    FaultKind.UNPARSED: 2,
    FaultKind.LIMITED: 8,
}
"""How often a prompt is asked until such a fault stands; once, when it is not listed."""
NO_TIME = (
    "the model service's rate limit leaves no time for it in this run: set POSTIL_RPM if your"
    " account is allowed more"
)


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
class Attempt:
    """How far a prompt has come: what is asked now, what its tries used, how many there were."""

    prompt: Prompt
    usage: Usage = field(default_factory=Usage)
    tries: int = 1
    continuations: int = 0
    wait: float = 0.0

    @property
    def number(self) -> int:
        """Return which request for this prompt it is, from 1."""
        return self.tries + self.continuations


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


@dataclass(frozen=True, slots=True)
class Taken:
    """An attempt to make now, and the name it was claimed by."""

    index: int
    name: str
    attempt: Attempt
    time: float


class Round:
    """One call of ``ask_all``: which prompts wait (until when), and what came back."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        calls: Sequence[str],
        on_reply: OnReply,
        *,
        claim: Callable[[str, str, int], float | Fault],
        info: ModelInfo,
        clock: Callable[[], float],
        end: float,
        asked: AbstractSet[str] = frozenset(),
    ) -> None:
        """Begin; ``calls`` name the prompts for ``claim``, ``asked`` need no place again."""
        now = clock()
        self.end = end
        self._waiting = [(now, index, Attempt(prompt)) for index, prompt in enumerate(prompts)]
        self._calls = calls
        self._on_reply = on_reply
        self._claim_place = claim
        self._info = info
        self._clock = clock
        self._asked = asked
        self._replies: dict[int, Reply] = {}

    @property
    def waits(self) -> bool:
        """Tell whether any prompt waits to be asked."""
        return bool(self._waiting)

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Return what came back, in the prompts' order."""
        return tuple(self._replies[index] for index in range(len(self._calls)))

    def take(self) -> Taken | float | None:
        """Take what may be asked now, or the seconds until something may; None: nothing waits.

        What the quota leaves no time for, or the service refuses already, is given that fault,
        unasked.
        """
        while self._waiting:
            now = self._clock()
            not_before, index, attempt = self._waiting[0]
            if not_before > now:
                return not_before - now
            name = f"{self._calls[index]}:{attempt.number}"
            wait = 0.0 if name in self._asked else self._claim(name, attempt.prompt)
            if not isinstance(wait, Fault) and now + wait > self.end:
                wait = Fault(FaultKind.LIMITED, NO_TIME, retry_after=wait)
            if not isinstance(wait, Fault) and wait > 0:
                return wait
            heapq.heappop(self._waiting)
            if not isinstance(wait, Fault):
                return Taken(index, name, attempt, now)
            self.put(index, replace(wait, usage=attempt.usage))
        return None

    def put(self, index: int, step: Attempt | Reply, since: float | None = None) -> None:
        """Let a reply stand, or let its prompt wait for another attempt, ``since`` then or now."""
        if isinstance(step, Attempt):
            start = self._clock() if since is None else since
            heapq.heappush(self._waiting, (start + step.wait, index, step))
        else:
            self._replies[index] = step
            self._on_reply(index, step)

    def _claim(self, name: str, prompt: Prompt) -> float | Fault:
        info = self._info.of(prompt.role)
        tokens = most_tokens(prompt, info.rates) + prompt.max_tokens
        return self._claim_place(name, info.name, tokens)


class PacedModel:
    """A model service within its quota: the port ``Model``."""

    def __init__(
        self,
        service: Service,
        info: ModelInfo,
        quota: Quota,
        *,
        account: str = "",
        can_continue: bool = False,
        deadline: float = 3600.0,
        timing: Timing | None = None,
    ) -> None:
        """Wire it; ``account`` tells the quota's owner from others, and nothing of its key."""
        self._service = service
        self._info = info
        self._quota = quota
        self._account = account
        self._can_continue = can_continue
        self._deadline = deadline
        self._timing = timing or Timing()
        self._pace = Pace(quota, Memory(self._timing.clock).open)
        self._serial = itertools.count()

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model before it is asked."""
        return self._info

    @property
    def quota(self) -> Quota:
        """Return what the service allows."""
        return self._quota

    def share_pace(self, open_book: Callable[[str], AbstractContextManager[Book]]) -> Pace:
        """Return the pace of everybody who writes in the book of this account."""
        return Pace(self._quota, partial(open_book, self._account))

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
        round_ = Round(
            prompts,
            [str(next(self._serial)) for _ in prompts],
            on_reply,
            claim=self._pace.claim,
            info=self._info,
            clock=self._timing.clock,
            end=self._timing.clock() + self._deadline,
        )
        running: dict[asyncio.Task[Reply], Taken] = {}
        while round_.waits or running:
            while isinstance(next_one := round_.take(), Taken):
                running[asyncio.create_task(self._service.ask(next_one.attempt.prompt))] = next_one
            if running:
                done, _ = await asyncio.wait(
                    running, timeout=next_one, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    self._finish(round_, running.pop(task), task.result())
            elif next_one is not None:
                await self._timing.sleep(next_one)
        return round_.replies

    def _finish(self, round_: Round, taken: Taken, reply: Reply) -> None:
        """Settle a request, and decide what follows."""
        now = self._timing.clock()
        step = self.next_step(taken.attempt, reply, round_.end - now)
        prompt = taken.attempt.prompt
        settle(self._pace, self._info, taken.name, prompt, reply, step, now - taken.time)
        round_.put(taken.index, step)


def settle(
    pace: Pace,
    info: ModelInfo,
    name: str,
    prompt: Prompt,
    reply: Reply,
    step: Attempt | Reply,
    took: float,
) -> None:
    """Settle a request that took so many seconds, and whose reply led to a step."""
    wait = step.wait if isinstance(step, Attempt) else None
    pace.settle(name, info.of(prompt.role).name, reply, wait, took)


def _ignore(_index: int, _reply: Reply) -> None:
    """OnReply nothing."""
