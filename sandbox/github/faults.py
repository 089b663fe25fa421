"""What a test makes go wrong: scripts for routes, and the record of every call."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.github.http import Json


@dataclass(slots=True)
class Fault:
    """What happens to the calls it matches, from the `nth` on, `times` times (None: always).

    With `holds` only calls are hit whose body holds that text. `then` is done when the call was
    recorded and before its answer is sent.

    With a `status`, a `location` or a `reset` the endpoint itself is not asked, unless `apply` says
    how often it first is: 1 stores a write and then fails, 2 stores it twice. Without them the
    endpoint's own answer is sent, changed by the rest.
    """

    method: str
    pattern: str
    holds: str = ""
    nth: int = 1
    times: int | None = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | str | Json | list[Json] | None = None
    location: str | None = None
    apply: int = 0
    delay_s: float = 0
    hang: bool = False
    reset: bool = False
    drip_s: float | None = None
    cut_after_bytes: int | None = None
    then: Callable[[], object] = lambda: None
    seen: int = 0
    hits: int = 0

    @property
    def replaces(self) -> bool:
        """Tell whether the endpoint's own answer is not sent."""
        return self.status is not None or self.location is not None or self.reset or self.hang

    def applies_to(self, method: str, path: str, body: bytes) -> bool:
        """Count a call that matches and tell whether this one is hit."""
        if not self._matches(method, path, body):
            return False
        hit = self.is_due
        self.seen += 1
        self.hits += hit
        return hit

    def awaits(self, method: str, path: str, body: bytes) -> bool:
        """Tell whether a call will be hit, without counting it."""
        return self._matches(method, path, body) and self.is_due

    @property
    def is_due(self) -> bool:
        """Tell whether the next call that matches is hit."""
        return self.seen + 1 >= self.nth and (self.times is None or self.hits < self.times)

    def _matches(self, method: str, path: str, body: bytes) -> bool:
        named = self.method in {"*", method} and re.search(self.pattern, path)
        return bool(named) and self.holds.encode() in body


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made; `template` is None when nothing here answers to it.

    `answered` are the headers of the answer, by lower-case names. `repository_id` is of the
    repository that the path names, by whatever name; `head_sha` and `open` tell how the pull
    request that it names stood when it was answered. They are None when it names none.
    """

    method: str
    template: str | None
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int
    installation_id: int | None
    at: float
    answered: dict[str, str] = field(default_factory=dict)
    repository_id: int | None = None
    head_sha: str | None = None
    open: bool | None = None


class Script:
    """The faults to come and the calls that were; `weather` may make any call go wrong."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.weather: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.calls: list[Call] = []
        self.unexpected: list[Call] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen; the first one that hits a call wins."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def hit(self, method: str, path: str, body: bytes) -> Fault | None:
        """Return the fault that hits a call."""
        with self._lock:
            hits = [one for one in self.faults if one.applies_to(method, path, body)]
        return hits[0] if hits else self.weather(method, path)

    def will_hang(self, method: str, path: str, body: bytes) -> bool:
        """Tell whether a call will never be answered."""
        with self._lock:
            return any(one.hang and one.awaits(method, path, body) for one in self.faults)

    def record(self, call: Call) -> None:
        """Remember a call."""
        with self._lock:
            self.calls.append(call)
            if call.template is None:
                self.unexpected.append(call)
