"""The stand-in's HTTP side: checks a request against its row, counts, bills and answers."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from sandbox.models.brain import Brain, answer_nothing
from sandbox.models.faults import BRAIN, STOP, Act
from sandbox.models.rows import ROWS, Row, Tier

HOUSEKEEPING = frozenset(
    {
        "host",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    }
)
"""Headers that any HTTP client sends; every other one is part of what a service documents."""
MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id"})
SCHEMA = frozenset({"type", "properties", "required", "additionalProperties"})
FUNCTION = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILL_PATH = "/completions"
PIECE = 40
"""Characters of one event of a stream."""
MINUTE = 60.0
THOUGHT = "The task is clear. I look at each line, and then write the answer down."

Script = Iterable[Act | int] | Callable[["Seen"], Act | None]


@dataclass(slots=True)
class Seen:
    """One request as it came in, and what became of it."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    time: float
    status: int = 0
    refused: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """Return the messages, of either dialect."""
        inner = self.body.get("input", self.body)
        found = inner.get("messages") if isinstance(inner, Mapping) else None
        return found if isinstance(found, list) else ()

    @property
    def prompt(self) -> str:
        """Return the text of all messages that are not an answer begun."""
        if self.fills:
            return str(self.body["prompt"])
        asked = [m for m in self.messages if not m.get("partial")]
        return "\n".join(str(m.get("content") or "") for m in asked)

    @property
    def fills(self) -> bool:
        """Tell whether it asks to fill in the middle."""
        return "prompt" in self.body

    @property
    def options(self) -> Mapping[str, Any]:
        """Return what is asked for beside messages, of either dialect."""
        found = self.body.get("parameters", {}) if "input" in self.body else self.body
        return found if isinstance(found, Mapping) else {}

    @property
    def tools(self) -> Sequence[str]:
        """Return the names of the tools that may be called."""
        return tuple(tool["function"]["name"] for tool in self.options.get("tools") or ())

    @property
    def begun(self) -> str:
        """Return the answer that is to be gone on with."""
        last = self.messages[-1] if self.messages else {}
        return str(last.get("content") or "") if last.get("partial") else ""


@dataclass(slots=True)
class Bill:
    """What the service counted, and what it costs."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of one answer."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


class Refusal(Exception):
    """A request that the service does not take."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


def count_tokens(text: str) -> int:
    """Count tokens as stand-ins do: one for four bytes."""
    return -(-len(text.encode()) // 4)


class ModelServer:
    """A model service on loopback, for as long as the ``with`` block runs."""

    def __init__(  # noqa: PLR0913 - each is a knob, given by name
        self,
        row: str,
        *,
        brain: Brain = answer_nothing,
        script: Script = (),
        key: str = "sk-sandbox-key",
        rpm: int | None = None,
        tpm: int | None = None,
        context: int | None = None,
        output: int | None = None,
        tiers: Sequence[Tier] | None = None,
        more_fields: Iterable[str] = (),
        credits_left: float = 1000.0,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[str], int] = count_tokens,
    ) -> None:
        spec = ROWS[row]
        self.row: Row = replace(
            spec,
            fields=spec.fields | frozenset(more_fields),
            context=context or spec.context,
            output=output or spec.output,
            tiers=spec.tiers if tiers is None else tuple(tiers),
        )
        self.key = key
        self.seen: list[Seen] = []
        self.bill = Bill()
        self.credits_left = credits_left
        self.rpm, self.tpm, self.minute = rpm, tpm, MINUTE
        self._brain, self._clock, self._count = brain, clock, count
        self._script = script if callable(script) else None
        self._acts = deque(() if callable(script) else script)
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.stand_in = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        """Start listening."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, ending whatever still drips."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Return the scheme, host and port."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def base_url(self) -> str:
        """Return the address up to and including the version: what POSTIL_BASE_URL takes."""
        return self.address + self.row.base

    @property
    def refusals(self) -> tuple[str, ...]:
        """Return why requests were refused that the row does not document."""
        return tuple(seen.refused for seen in self.seen if seen.refused)

    @property
    def limited(self) -> int:
        """Return how many requests met the rate limit."""
        return sum(seen.status == 429 for seen in self.seen)  # noqa: PLR2004 - too many requests

    def answer(self, seen: Seen) -> tuple[Act, dict[str, Any], Counted | None]:
        """Decide how a request is answered: the act, the JSON body, and what it counts."""
        with self._lock:
            self.seen.append(seen)
            try:
                check(self.row, self.key, seen)
                return self._worked(seen)
            except Refusal as refusal:
                seen.status = refusal.status
                if refusal.code == "undocumented":
                    seen.refused = refusal.message
                act = Act(status=refusal.status, headers=refusal.headers)
                return act, error_body(self.row, refusal.code, refusal.message), None

    def _worked(self, seen: Seen) -> tuple[Act, dict[str, Any], Counted | None]:
        seen.prompt_tokens = self._count_prompt(seen)
        self._limit(seen)
        act = self._next_act(seen)
        seen.status = act.status
        if not act.billed:
            return act, error_body(self.row, act.code, act.error), None
        if self.row.context is not None and seen.prompt_tokens > self.row.context:
            raise Refusal(
                400,
                f"This model's maximum context length is {self.row.context} tokens.",
                "context_length_exceeded",
            )
        text, finish, counted = self._completed(seen, act)
        seen.completion_tokens = counted.completion
        self._charge(counted)
        return act, compose(self.row, seen, act, text, finish, counted), counted

    def _next_act(self, seen: Seen) -> Act:
        if self._script is not None:
            return self._script(seen) or Act()
        act = self._acts.popleft() if self._acts else Act()
        return Act(status=act) if isinstance(act, int) else act

    def _completed(self, seen: Seen, act: Act) -> tuple[str, str | None, Counted]:
        """Complete the prompt, within the limit that was asked for."""
        text = self._brain(seen.prompt) if act.answer == BRAIN else act.answer
        if seen.begun and text and text.startswith(seen.begun):
            text = text.removeprefix(seen.begun)
        finish = act.finish
        limit = self._output_limit(seen)
        if text and limit is not None and self._count(text) > limit:
            text, finish = text.encode()[: limit * 4].decode("utf-8", "ignore"), "length"
        thought = self._count(THOUGHT) if self.row.reasoning else 0
        counted = Counted(
            prompt=seen.prompt_tokens,
            completion=self._count(text or "") + thought,
            cached=self._cached(seen) if self.row.cached else 0,
            reasoning=thought,
        )
        return text or "", finish, counted

    def _output_limit(self, seen: Seen) -> int | None:
        wished = (seen.body.get("max_tokens"), seen.body.get("max_completion_tokens"))
        limits = [limit for limit in (*wished, self.row.output) if isinstance(limit, int)]
        return min(limits, default=None)

    def _count_prompt(self, seen: Seen) -> int:
        tools = seen.options.get("tools")
        texts = [str(message.get("content") or "") for message in seen.messages]
        texts += [seen.prompt] if seen.fills else []
        return sum(map(self._count, texts)) + (self._count(json.dumps(tools)) if tools else 0)

    def _cached(self, seen: Seen) -> int:
        """Count the longest beginning that an earlier prompt had too."""
        earlier = [other.prompt for other in self.seen if other is not seen and other.status == 200]  # noqa: PLR2004 - success
        shared = max((_shared(seen.prompt, prompt) for prompt in earlier), default=0)
        return min(self._count(seen.prompt[:shared]), seen.prompt_tokens)

    def _limit(self, seen: Seen) -> None:
        """Refuse what goes beyond the requests or tokens of the last minute."""
        recent = [
            other
            for other in self.seen
            if other is not seen and other.status == 200 and other.time > seen.time - self.minute  # noqa: PLR2004 - success
        ]
        tokens = sum(other.prompt_tokens + other.completion_tokens for other in recent)
        over_requests = self.rpm is not None and len(recent) >= self.rpm
        over_tokens = self.tpm is not None and tokens + seen.prompt_tokens > self.tpm
        if over_requests or (over_tokens and recent):
            wait = recent[0].time + self.minute - seen.time
            headers = {"retry-after": str(int(wait) + 1)}
            raise Refusal(429, "rate limit reached", "rate_limit_exceeded", headers)

    def _charge(self, counted: Counted) -> None:
        bill = self.bill
        bill.requests += 1
        bill.prompt_tokens += counted.prompt
        bill.completion_tokens += counted.completion
        bill.cached_tokens += counted.cached
        bill.reasoning_tokens += counted.reasoning
        bill.cost_usd += cost(self.row.tiers, counted)
        self.credits_left -= 1

    def now(self) -> float:
        """Return the stand-in's time."""
        return self._clock()


def cost(tiers: Sequence[Tier], counted: Counted) -> Decimal:
    """Price one answer: the tier that its prompt reached pays for all its tokens."""
    if not tiers:
        return Decimal(0)
    fits = (tier for tier in tiers if tier.up_to is None or counted.prompt <= tier.up_to)
    tier = next(fits, tiers[-1])
    cached_price = tier.input if tier.cached is None else tier.cached
    fresh = counted.prompt - counted.cached
    total = fresh * tier.input + counted.cached * cached_price + counted.completion * tier.output
    return total / 1_000_000


def check(row: Row, key: str, seen: Seen) -> None:
    """Raise Refusal for anything that the row's page does not document."""
    _check_headers(row, key, seen)
    if row.fills and seen.path == row.base + FILL_PATH:
        _check_names("the body", seen.body, {"model", "prompt"}, {"model", "prompt"})
        if seen.body["model"] not in row.fills:
            raise Refusal(404, "this model does not fill in", "model_not_found")
        return
    model = _check_path(row, seen)
    body = seen.body
    if row.dialect == "dashscope":
        _check_names("the body", body, {"model", "input", "parameters"}, {"model", "input"})
        _check_names("input", body["input"], {"messages"}, {"messages"})
        _check_names("parameters", body.get("parameters", {}), row.fields, row.required)
    else:
        _check_names("the body", body, row.fields, row.required)
    model = model or str(body.get("model"))
    if row.models and model not in row.models:
        raise Refusal(404, f"the model {model} does not exist", "model_not_found")
    _check_messages(row, seen)
    _check_format(row, body)
    _check_tools(row, seen)


def _check_path(row: Row, seen: Seen) -> str:
    """Return the model that the path names, if the row's path does."""
    if "{model}" in row.path:
        prefix = row.base + row.path.removesuffix("{model}")
        model = seen.path.removeprefix(prefix)
        if seen.path.startswith(prefix) and model in row.models:
            return model
        raise Refusal(404, "the requested URL does not exist")
    if seen.path != row.base + row.path:
        raise Refusal(404, f"no such path: {seen.path}", "undocumented")
    return ""


def _check_headers(row: Row, key: str, seen: Seen) -> None:
    odd = sorted(set(seen.headers) - HOUSEKEEPING - {row.auth})
    if odd:
        raise Refusal(400, f"headers that are not documented: {', '.join(odd)}", "undocumented")
    given = seen.headers.get(row.auth, "")
    wanted = f"Bearer {key}" if row.auth == "authorization" else key
    if key and given != wanted:
        raise Refusal(401, "the key is not valid", "invalid_api_key")


def _check_names(
    where: str, given: object, allowed: Iterable[str], required: Iterable[str]
) -> None:
    if not isinstance(given, Mapping):
        raise Refusal(400, f"{where} is not an object", "undocumented")
    odd = sorted(set(given) - set(allowed))
    if odd:
        raise Refusal(400, f"{where} has undocumented fields: {', '.join(odd)}", "undocumented")
    missing = sorted(set(required) - set(given))
    if missing:
        raise Refusal(400, f"{where} lacks fields: {', '.join(missing)}", "undocumented")


def _check_messages(row: Row, seen: Seen) -> None:
    if not seen.messages:
        raise Refusal(400, "messages must be a list that is not empty", "undocumented")
    for number, message in enumerate(seen.messages, 1):
        last = number == len(seen.messages)
        may_begin = row.partial and last and message.get("role") == "assistant"
        allowed = MESSAGE_FIELDS | {"partial"} if may_begin else MESSAGE_FIELDS
        _check_names(f"message {number}", message, allowed, {"role", "content"})
        if message["role"] not in row.roles or not isinstance(message["content"], str):
            raise Refusal(400, f"message {number} is odd", "undocumented")


def _check_format(row: Row, body: Mapping[str, Any]) -> None:
    wish = body.get("response_format")
    if wish is None:
        return
    if wish.get("type") not in row.formats:
        raise Refusal(400, "response_format is not supported", "undocumented")
    if wish["type"] == "json_schema":
        _check_names("json_schema", wish["json_schema"], {"name", "schema", "strict"}, {"name"})


def _check_tools(row: Row, seen: Seen) -> None:
    """Refuse tools in another form than the pages show, and beside what none shows them with."""
    options = seen.options
    if "tools" not in options:
        if {"tool_choice", "parallel_tool_calls"} & set(options):
            raise Refusal(400, "a choice of tools without tools", "undocumented")
        return
    tools = options["tools"]
    if not isinstance(tools, list) or not 0 < len(tools) <= (row.tools or len(tools)):
        raise Refusal(400, "tools must be a list of some, and not of too many", "undocumented")
    for tool in tools:
        _check_names("a tool", tool, {"type", "function"}, {"type", "function"})
        parts = {"name", "description", "parameters"}
        _check_names("a function", tool["function"], parts, parts)
        parameters = tool["function"]["parameters"]
        _check_names("parameters", parameters, SCHEMA, {"type", "properties", "required"})
        typed = (tool["type"], parameters["type"]) == ("function", "object")
        if not typed or not FUNCTION.fullmatch(tool["function"]["name"]):
            raise Refusal(400, "a tool is odd", "undocumented")
    if "response_format" in options or seen.begun:
        raise Refusal(400, "tools beside another form of the answer", "undocumented")
    choice = options.get("tool_choice", "auto")
    named = [{"type": "function", "function": {"name": name}} for name in seen.tools]
    if choice not in ["none", "auto", "required", *named]:
        raise Refusal(400, "tool_choice is odd", "undocumented")


def compose(
    row: Row, seen: Seen, act: Act, text: str, finish: str | None, counted: Counted
) -> dict[str, Any]:
    """Compose the body of a success."""
    calls = _calls(seen, text)
    message: dict[str, Any] = {"role": "assistant", "content": "" if calls else text}
    if calls:
        message["tool_calls"], finish = calls, "tool_calls" if finish == STOP else finish
    message |= act.message
    if act.answer is None:
        message["content"] = None
    if row.reasoning:
        message["reasoning_content"] = THOUGHT
    if row.dialect == "dashscope":
        output = {"choices": [{"finish_reason": finish, "message": message}] * act.choices}
        return {"output": output, "usage": _native_usage(act, counted), "request_id": "r-1"}
    said: dict[str, Any] = {"text": text} if seen.fills else {"message": message}
    choices = [
        {"index": index, "finish_reason": finish, **said, "logprobs": None}
        for index in range(act.choices)
    ]
    return {
        "id": "chatcmpl-sandbox",
        "object": "text_completion" if seen.fills else "chat.completion",
        "created": 1_770_000_000,
        "model": str(seen.body.get("model", row.id)),
        "choices": choices,
        "usage": _usage(row, act, counted),
    }


def _calls(seen: Seen, text: str) -> list[dict[str, Any]]:
    """Turn an answer into a call of a tool, as a model does that was given some."""
    try:
        said = json.loads(text) if seen.tools else None
    except ValueError:
        return []
    if not isinstance(said, dict):
        return []
    only = seen.tools[0] if len(seen.tools) == 1 else None
    name = only or said.pop("action", None)
    given = said if only else {key: value for key, value in said.items() if value is not None}
    function = {"name": name, "arguments": json.dumps(given)}
    return [{"index": 0, "id": "call_1", "type": "function", "function": function}] if name else []


def _usage(row: Row, act: Act, counted: Counted) -> dict[str, Any] | None:
    if act.usage is None:
        return None
    usage: dict[str, Any] = {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "total_tokens": counted.prompt + counted.completion,
    }
    if row.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": counted.cached}
    if row.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": counted.reasoning}
    return {**usage, **act.usage}


def _native_usage(act: Act, counted: Counted) -> dict[str, Any] | None:
    if act.usage is None:
        return None
    return {
        "input_tokens": counted.prompt,
        "output_tokens": counted.completion,
        "total_tokens": counted.prompt + counted.completion,
        "prompt_tokens_details": {"cached_tokens": counted.cached},
        **act.usage,
    }


def error_body(row: Row, code: str, message: str) -> dict[str, Any]:
    """Compose the body of a failure."""
    if row.dialect == "dashscope":
        return {"code": code, "message": message, "request_id": "r-1"}
    return {"error": {"message": message, "type": code, "code": code}}


def events(body: Mapping[str, Any], wants_usage: object) -> list[str]:
    """Cut a completion into the events of a stream."""
    shared = {**body, "object": "chat.completion.chunk", "usage": None}
    pieces: list[dict[str, Any]] = []
    for choice in body["choices"]:
        index = choice["index"]
        pieces += [
            {"index": index, "delta": delta, "finish_reason": None}
            for delta in _deltas(choice["message"])
        ]
        pieces.append({"index": index, "delta": {}, "finish_reason": choice["finish_reason"]})
    chunks: list[dict[str, Any]] = [{**shared, "choices": [piece]} for piece in pieces]
    if wants_usage:
        chunks.append({**shared, "choices": [], "usage": body["usage"]})
    return [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into pieces: its words, and then each of its calls, whose name comes first."""
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    text = message.get("content") or ""
    for part in _parts(text) or [""]:
        yield {**rest, "content": part}
    for call in message.get("tool_calls", ()):
        for number, part in enumerate(_parts(call["function"]["arguments"]) or [""]):
            name = {} if number else {"name": call["function"]["name"]}
            piece = {**call, "function": {**name, "arguments": part}}
            yield {"content": None, "tool_calls": [{**piece, "id": ""} if number else piece]}


def _parts(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def _shared(one: str, other: str) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    stand_in: ModelServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer a request."""
        stand_in = self.server.stand_in
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        seen = Seen(
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body if isinstance(body, dict) else {},
            time=stand_in.now(),
        )
        act, answer, counted = stand_in.answer(seen)
        stand_in.closing.wait(act.delay)
        streams = bool(seen.body.get("stream")) and counted is not None
        if streams:
            wants_usage = (seen.body.get("stream_options") or {}).get("include_usage")
            lines = act.sse if act.sse is not None else events(answer, wants_usage)
            payload = "".join(f"data: {line}\n\n" for line in lines).encode()
            content_type = "text/event-stream"
        else:
            payload, content_type = json.dumps(answer).encode(), act.content_type
        if act.body is not None:
            payload, content_type = act.body, act.content_type
        self._send(act, payload, content_type)

    def do_GET(self) -> None:
        """Refuse: nothing documented is read with GET."""
        self._send(Act(status=405), b"{}", "application/json")

    def _send(self, act: Act, payload: bytes, content_type: str) -> None:
        stand_in = self.server.stand_in
        credits_left = (
            {"x-remaining-credits": f"{stand_in.credits_left:g}"} if stand_in.row.credits else {}
        )
        headers = {
            "content-type": content_type,
            "content-length": str(len(payload)),
            **credits_left,
            **act.headers,
        }
        head = f"HTTP/1.1 {act.status} {'OK' if act.status == 200 else 'Odd'}\r\n"  # noqa: PLR2004 - success
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        try:
            self._write(head.encode(), act.drip if act.drip_head else 0.0)
            self._write(payload if act.cut is None else payload[: act.cut], act.drip)
        except OSError:  # the client went away, as clients with a deadline do
            self.close_connection = True
        if act.cut is not None:
            self.close_connection = True

    def _write(self, data: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(data)
            return
        for byte in data:
            if self.server.stand_in.closing.wait(drip):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""
