"""Replacement lines by filling in the middle, where a service has a model that was made for it.

Every other prompt, and every one that could not be filled in, goes to the chat model.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace

import openai
from openai.types import Completion

from app.adapters.models import exchange
from app.adapters.models.chat import ChatService, open_client, read_counts
from app.adapters.models.exchange import Heard, OddAnswer
from app.adapters.models.faults import ODD_ANSWER, fault_of_exception
from app.adapters.models.target import Target
from app.core.prompts import Answer, FaultKind, Prompt, Reply

MARKS = PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
"""The marks of Model Studio's completions API."""


class FillService:
    """Fills in what stands between ``prompt.fill``; asks the chat service everything else."""

    def __init__(
        self,
        target: Target,
        path: str,
        chat: ChatService,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._path = path
        self._chat = chat
        self._wall = wall

    async def ask(self, prompt: Prompt) -> Reply:
        """Fill in a prompt once; ask it instead when it can't be filled in, or that failed."""
        if prompt.fill is None or not self._may_fill(prompt, prompt.fill):
            return await self._chat.ask(prompt)
        filled = await self._fill(prompt, prompt.fill)
        if isinstance(filled, Answer) or (prompt.budget_usd is not None and filled.usage.uncounted):
            return filled
        asked = await self._chat.ask(prompt)
        return replace(asked, usage=filled.usage + asked.usage)

    def _may_fill(self, prompt: Prompt, around: tuple[str, str]) -> bool:
        """Tell whether the code around holds no mark, and a cap can be kept."""
        priced = prompt.budget_usd is None or bool(self._target.main.rates.tiers)
        return priced and not any(mark in text for mark in MARKS for text in around)

    async def _fill(self, prompt: Prompt, around: tuple[str, str]) -> Reply:
        target, (before, after) = self._target, around
        asked = target.asked(prompt.role)
        body = {"model": asked.model, "prompt": f"{PREFIX}{before}{SUFFIX}{after}{MIDDLE}"}
        try:
            async with asyncio.timeout(target.provider.call_seconds), open_client(target) as client:
                completion = await client.post(self._path, cast_to=Completion, body=body)
                heard = _hear(prompt, completion)
        except TimeoutError:
            return asked.fault(FaultKind.TIMEOUT, prompt)
        except (openai.OpenAIError, *ODD_ANSWER) as error:
            return fault_of_exception(asked, prompt, error, self._wall())
        return exchange.judge(asked, prompt, "plain", heard)


def _hear(prompt: Prompt, completion: object) -> Heard:
    """Read a completion as an answer to the task. Raises OddAnswer when it is none."""
    if not isinstance(completion, Completion) or not completion.choices:
        raise OddAnswer("not a completion")
    choice = completion.choices[0]
    if not isinstance(choice.text, str):
        raise OddAnswer("a choice without text")
    return Heard(
        text=json.dumps({"nonce": prompt.nonce, "replacement": choice.text}),
        finish=choice.finish_reason,
        model=completion.model or "",
        usage=read_counts(completion.usage),
    )
