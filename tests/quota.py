"""Two hundred chunks for servers on one database, and a model service that counts what all ask.

A quota's period is a minute, and two hundred chunks take several. So everybody's clock is put
forward while every review waits for its turn; all else takes the time that it takes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa

from app.adapters.models.pace import Quota
from app.adapters.store import open_engine
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.models.server import Seen
from sandbox.serving import completed_check, free_port, running_server, until, wait_until_ready
from tests.e2e.conftest import Stage, open_stage
from tests.forward import SharedClock

PULLS, PARTS = 4, 50
"""A server reviews two of one installation at once, so that two servers have two each."""
REQUESTS = PULLS * (1 + PARTS)
"""A brief for each pull request, and its chunks."""
ANSWER_TOKENS = 200
ANSWER_S = 0.1
LIMIT_S = 180.0
PART = re.compile(r"^## file: (\S+)$", re.MULTILINE)
LEFT = sa.text(
    "SELECT status, delay_until_epoch_ms FROM dbos.workflow_status "
    "WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
)
ASKED = sa.text(
    "SELECT executor_id, count(*) FROM dbos.workflow_status WHERE name = 'postil_ask' GROUP BY 1"
)


@dataclass(slots=True)
class Patience:
    """Lets time pass when all that is left to do waits for its time, and never before."""

    clock: SharedClock
    engine: sa.Engine
    jumps: list[tuple[float, float]] = field(default_factory=list)
    """When the clock was put forward, and by how many seconds."""

    def pass_time(self) -> None:
        """Put the clock to when something is due, unless something is under way."""
        with self.engine.connect() as connection:
            left = connection.execute(LEFT).all()
        now = self.clock()
        wait = min((row.delay_until_epoch_ms or 0 for row in left), default=0) / 1000 - now
        if wait > 0 and all(row.status == "DELAYED" for row in left):
            self.jumps.append((now, wait))
            self.clock.jump(wait)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What was reviewed, and how; times are seconds by the clock of all."""

    pulls: Sequence[Pull]
    seen: Sequence[Seen]
    asked: Mapping[str, int]
    """How many requests each worker made."""
    jumps: Sequence[tuple[float, float]]

    @property
    def seconds(self) -> float:
        """Return how long it took from the first request to the last."""
        return self.seen[-1].time - self.seen[0].time

    @property
    def waited(self) -> float:
        """Return how long of that everybody waited until the quota would let them ask."""
        first, last = self.seen[0].time, self.seen[-1].time
        return sum(seconds for began, seconds in self.jumps if first < began < last)

    @property
    def parts(self) -> Counter[str]:
        """Count how often each file was asked about."""
        return Counter(path for one in self.seen for path in PART.findall(one.prompt))

    def floor(self, quota: Quota) -> float:
        """Return how long so many requests and tokens take at least, from the first to the last."""
        tokens = sum(one.prompt_tokens + one.completion_tokens for one in self.seen)
        used = ((len(self.seen), quota.rpm), (tokens, quota.tpm))
        return quota.period * max(math.ceil(much / most) - 1 for much, most in used if most)

    def most_in_a_period(self, quota: Quota) -> tuple[int, int]:
        """Return the most requests, and the most tokens, that came within one period."""
        periods = [
            [other for other in self.seen if one.time - quota.period < other.time <= one.time]
            for one in self.seen
        ]
        tokens = (
            sum(one.prompt_tokens + one.completion_tokens for one in all_) for all_ in periods
        )
        return max(map(len, periods)), max(tokens)


def review_all(
    folder: Path, database: str, quota: Quota, servers: int = 2, *, analyzes: bool = True
) -> Reviewed:
    """Let servers on one PostgreSQL review two hundred chunks within a quota."""
    clock = SharedClock(folder / "clock")
    with open_stage(folder, clock) as stage, ExitStack() as stack:
        stage.model.rpm, stage.model.tpm, stage.model.minute = quota.rpm, quota.tpm, quota.period
        stage.acts["part_"] = Act(delay=ANSWER_S)
        command = ("-m", "tests.forward", str(folder / "clock"), *(() if analyzes else ("bare",)))
        environ = {"POSTIL_DATABASE_URL": database}
        stack.enter_context(_serving(stage, servers, command, environ | _environ(folder, quota)))
        engine = open_engine(folder, database)
        stack.callback(engine.dispose)
        pulls = [_open_pull(stage, number) for number in range(PULLS)]
        patience = Patience(clock, engine)

        def done() -> bool:
            patience.pass_time()
            return all(completed_check(pull) for pull in pulls)

        until(done, LIMIT_S, lambda: f"{len(stage.model.seen)} requests, and no end")
        with engine.connect() as connection:
            asked = {str(row[0]): int(row[1]) for row in connection.execute(ASKED)}
        stage.github.settle(LIMIT_S)
        seen = sorted(stage.model.seen, key=lambda one: one.time)
        return Reviewed(pulls, seen, asked, patience.jumps)


@contextmanager
def _serving(
    stage: Stage, count: int, command: Sequence[str], environ: Mapping[str, str]
) -> Iterator[None]:
    """Run servers; the first one hears of what happens."""
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            folder, port = stage.folder / f"server-{number}", free_port()
            folder.mkdir()
            chosen = {**stage.choice_of_model(), **environ, "POSTIL_PORT": str(port)}
            running = running_server(stage.app, stage.github.url, folder, chosen, command)
            address = f"http://127.0.0.1:{port}"
            servers.append(replace(stack.enter_context(running), address=address))
        for server in servers:
            wait_until_ready(server)
        stage.app.webhook_url = f"{servers[0].address}/webhook"
        yield
        for server in servers:
            server.process.terminate()  # all at the same time


def _environ(folder: Path, quota: Quota) -> dict[str, str]:
    """Write the operator's file: every file is a chunk of its own, and answers are short."""
    limits = {"rpm": quota.rpm, "tpm": quota.tpm, "output_tokens": ANSWER_TOKENS}
    lines = (
        "[openai-compatible]",
        f"quota_seconds = {quota.period}",
        f"concurrency = {quota.concurrency}",
        "chunk_tokens = 60",
        "[openai-compatible.figures.stand-in]",
        *(f"{name} = {limit}" for name, limit in limits.items() if limit),
    )
    path = folder / "providers.toml"
    path.write_text("\n".join(lines))
    return {"POSTIL_PROVIDERS_FILE": str(path)}


def _open_pull(stage: Stage, number: int) -> Pull:
    repository = stage.create_repository(f"many{number}")
    files = {f"part_{part:02}/of_{number}.txt": _text(number, part) for part in range(PARTS)}
    repository.commit(files, branch="work", message="Work")
    return repository.open_pull("work", "Tell more", author=stage.user("robin"))


def _text(number: int, part: int) -> bytes:
    """Return more tokens than two files of one chunk may have."""
    return "".join(f"Line {line} of part {part:02} of {number}.\n" for line in range(4)).encode()
