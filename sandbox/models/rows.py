"""What each service's page documents, written down once more: the client's table is not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Tier:
    """US dollars per million tokens of a request whose prompt has at most ``up_to`` tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One service: where it listens, how it knows a key, and the fields that it takes.

    ``tools`` is how many a request may have at most, where the page limits them.
    """

    id: str
    base: str
    path: str = "/chat/completions"
    dialect: str = "chat"
    auth: str = "authorization"
    models: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset({"model", "messages"})
    required: frozenset[str] = frozenset({"model", "messages"})
    roles: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})
    formats: frozenset[str] = frozenset()
    tools: int | None = None
    partial: bool = False
    cached: bool = False
    reasoning: bool = False
    credits: bool = False
    context: int | None = None
    output: int | None = None
    tiers: tuple[Tier, ...] = ()
    fills: frozenset[str] = frozenset()


_QWEN = frozenset({"qwen3-coder-next", "qwen3-coder-plus", "qwen3-coder-flash"})

ROWS: Mapping[str, Row] = {
    row.id: row
    for row in (
        Row(
            id="novita",
            base="/openai/v1",
            models=frozenset({"qwen/qwen3-coder-next"}),
            fields=frozenset(
                {"model", "messages", "temperature", "max_tokens", "response_format", "tools"}
            ),
            formats=frozenset({"json_object", "json_schema"}),
            context=262_144,
            output=65_536,
            tiers=(Tier(Decimal("0.20"), Decimal("1.50")),),
        ),
        Row(
            id="modelstudio",
            base="/compatible-mode/v1",
            models=_QWEN,
            fields=frozenset({"model", "messages", "tools", "stream", "stop", "temperature"}),
            tools=20,
            partial=True,
            cached=True,
            fills=frozenset({"qwen-coder-turbo"}),
        ),
        Row(
            id="dashscope",
            base="/api/v1",
            path="/services/aigc/text-generation/generation",
            dialect="dashscope",
            models=_QWEN,
            fields=frozenset({"result_format", "tools"}),
            required=frozenset({"result_format"}),
            tools=20,
            partial=True,
            cached=True,
        ),
        Row(
            id="segmind",
            base="/v1",
            path="/{model}",
            auth="x-api-key",
            models=frozenset({"qwen3-coder-plus", "qwen3-coder-flash"}),
            fields=frozenset({"messages"}),
            required=frozenset({"messages"}),
            roles=frozenset({"system", "user", "assistant"}),
            credits=True,
            context=1_000_000,
            output=65_536,
        ),
        Row(
            id="aimlapi",
            base="/v1",
            models=frozenset({"alibaba/qwen3-next-80b-a3b-thinking"}),
            fields=frozenset({"model", "messages", "enable_thinking"}),
            reasoning=True,
        ),
        Row(
            id="openai",
            base="/v1",
            fields=frozenset(
                {
                    "model",
                    "messages",
                    "max_completion_tokens",
                    "response_format",
                    "tools",
                    "tool_choice",
                    "parallel_tool_calls",
                    "stream",
                    "stream_options",
                }
            ),
            formats=frozenset({"json_object", "json_schema"}),
            cached=True,
        ),
        Row(
            id="openai-compatible",
            base="/v1",
            fields=frozenset(
                {"model", "messages", "temperature", "max_tokens", "response_format", "stream"}
            ),
            formats=frozenset({"json_object", "json_schema"}),
        ),
    )
}
