"""Reviews in bad weather: what goes wrong is left to a seed, and what must hold holds after all.

A seed is one test, and one of them again, call by call, is
``pytest 'tests/faults/test_random.py::test_a_review_in_bad_weather[17]'``.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from app.adapters import crash
from app.adapters.github.access import GitHubApp
from app.adapters.github.marks import Marks
from app.adapters.models.scheduler import Attempt, PacedModel
from app.bootstrap.hosts import build_host
from app.bootstrap.parts import ModelWish, build_chosen_model, build_reviewer, derive_key
from app.core.prompts import Prompt, Reply
from app.core.pull import PullRef
from app.errors import HostLimited, PostilError
from app.jobs import FINAL
from app.pipeline import Finished, Host, Over, Reviewer, Wishes
from app.ports import Analyzers, ModelInfo, OnReply
from app.settings import Settings
from sandbox.github import Call, Fault, GitHub, Pull, Repository
from sandbox.models import Act, ModelServer, Planted
from sandbox.models.server import Seen
from tests.e2e.conftest import BUG, Stage, check
from tests.fakes import FakeCode, FakeTraces
from tests.faults.calls import CLOSE, name
from tests.faults.invariants import SEEN_TO, changes, check_invariants
from tests.faults.world import Canary, Kept, NoTools, Time, World, fault

FILE = "tests/faults/test_random.py"
SEEDS = range(200)
RATES = (0.05, 0.15, 0.35)
MOST_TRIES = 12
LIMIT = {"message": "You have exceeded a secondary rate limit."}
Facts = dict[str, Any]
ANYWHERE: Sequence[Facts] = (
    {"status": 500},
    {"status": 502},
    {"reset": True},
    {"status": 200, "body": "<html>Unicorn!</html>"},
    {"status": 429, "headers": {"Retry-After": "7"}},
    {"status": 403, "body": LIMIT},
    {"status": 401},
)
READS: Sequence[Facts] = (*ANYWHERE, {"cut_after_bytes": 20}, {"status": 200, "body": "[]"})
WRITES: Sequence[Facts] = (
    *ANYWHERE,
    {"apply": 1, "status": 502},
    {"apply": 1, "reset": True},
    {"apply": 1, "status": 201, "body": ""},
    {"apply": 1, "cut_after_bytes": 5},
)
REVIEWS: Sequence[Facts] = (*WRITES, {"status": 422})
ACTS: Sequence[Act] = (
    Act(status=500),
    Act(status=529),
    Act(status=429, headers={"Retry-After": "3"}),
    Act(cut=10),
    Act(finish=None),
    Act(answer="Looks good to me!"),
    Act(answer=None),
)
READ_ONLY = r"/graphql$|/access_tokens$"
QUICK = b"[review]\neffort = 'quick'\n"
OLD = b"def mean(xs):\n    return 0\n"


class Killed(BaseException):
    """The process ends here, as far as this test can end it."""


@dataclass(slots=True)
class Weather:
    """Decides by a seed what goes wrong the nth time something happens; ``log`` says what did."""

    seed: int
    log: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, where: str, ways: int) -> int | None:
        """Return which of the ways something goes wrong this time, if any."""
        with self.lock:
            self.counts[where] += 1
            dice = random.Random(f"{self.seed} {where} {self.counts[where]}")  # noqa: S311 - weather
            rate = RATES[self.seed % len(RATES)]
            if dice.random() >= rate:
                return None
            way = dice.randrange(ways)
            self.log.append(f"{where} #{self.counts[where]}: {way}")
            return way

    def on_github(self, method: str, path: str) -> Fault | None:
        if ".git/" in path:
            return None
        place = re.sub(r"[0-9a-f]{40}|\d+", "*", path)
        writes = REVIEWS if path.endswith("/reviews") else WRITES
        ways = READS if method == "GET" or re.search(READ_ONLY, path) else writes
        way = self.strikes(f"{method} {place}", len(ways))
        return None if way is None else Fault(method, "", **ways[way])

    def on_model(self, seen: Seen) -> Act | None:
        way = self.strikes(f"model {len(seen.messages)}", len(ACTS))
        return None if way is None else ACTS[way]

    def on_point(self, name: str) -> None:
        if self.strikes(name, 1) is not None:
            raise Killed


@dataclass(slots=True)
class Hasty:
    """Asks one prompt after the other and never waits; what was answered is not asked again."""

    model: PacedModel
    time: Time
    kept: dict[str, Reply] = field(default_factory=dict)

    @property
    def info(self) -> ModelInfo:
        return self.model.info

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        replies = tuple(map(self.ask, prompts))
        for index, reply in enumerate(replies):
            if on_reply is not None:
                on_reply(index, reply)
        return replies

    def ask(self, prompt: Prompt) -> Reply:
        key = f"{prompt.key}:{prompt.nonce}"
        step: Attempt | Reply = Attempt(prompt)
        while key not in self.kept and isinstance(step, Attempt):
            self.time.jump(step.wait)
            step = self.model.next_step(step, self.model.ask_once(step.prompt), 600.0)
            if not isinstance(step, Attempt):
                self.kept[key] = step
        return self.kept[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop(World):
    """A world without a server: the real parts review one repository's pulls in this thread.

    What must hold there holds here, save for what only a server has: nothing is delivered, and a
    job is what is told of here. Instead of a start the same review is asked for once more.
    """

    home: Repository
    access: GitHubApp
    reviewer: Reviewer
    traces: FakeTraces
    folder: Path
    weather: list[Weather] = field(default_factory=list)
    code: FakeCode = field(default_factory=lambda: FakeCode({}))

    def open_pull(self, seed: int) -> Pull:
        text = f"def mean_{seed}(xs):\n    return sum(xs) / len(xs)\n\n\nshare = {seed} / len(xs)\n"
        self.home.pulls.clear()
        self.home.check_runs.clear()
        self.stage.model.seen.clear()
        self.useless.clear()
        with self.github.quietly():
            pull = self.stage.open_pull(
                self.home, {"weather.py": text.encode()}, branch=f"seed-{seed}"
            )
        self.code.trees[pull.base_sha] = {"weather.py": OLD, ".postil.toml": QUICK}
        self.code.trees[pull.head_sha] = {"weather.py": text.encode()}
        return pull

    def act(self, seen: Seen) -> Act | None:
        act = self.weather[-1].on_model(seen) if self.weather else None
        if act is not None:
            self.useless.add(id(seen))
        return act

    def jobs(self) -> list[Kept]:
        pulls = self.home.pulls.values()
        return [Kept(self.key(one), "review", "done", self.home.id, one.number) for one in pulls]

    def deliveries(self) -> dict[str, str | None]:
        return {}

    def records(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(self.traces.runs[key])]

    def files(self) -> Iterator[tuple[str, bytes]]:
        for key in map(self.key, self.home.pulls.values()):
            yield "the record", self.traces.runs[key].encode()

    def restart(
        self, environ: Mapping[str, str] | None = None, *, analyzers: type[Analyzers] = NoTools
    ) -> list[Call]:
        del environ, analyzers
        since = len(self.github.calls)
        for pull in self.home.pulls.values():
            assert self.review(pull)
        made = self.github.calls[since:]
        assert made == [], "what is over is looked at again"
        return made

    def key(self, pull: Pull) -> str:
        return f"review:{self.home.id}:{pull.number}:{pull.head_sha}:auto"

    def host(self) -> Host:
        marks = Marks(derive_key("marks", self.stage.app.private_key.strip()))
        return replace(
            build_host(self.access.for_one_job(), marks, self.folder),
            open_code=lambda _pull: self.code,
        )

    def review(self, pull: Pull, *, forgotten: bool = False) -> bool:
        """Make one try of the job, and tell whether it has come to an end.

        When it is ``forgotten`` nobody remembers that it ever did.
        """
        (installation,) = self.github.installations_on(self.home)
        ref = PullRef(self.home.id, self.home.full_name, pull.number, installation.id)
        key = self.key(pull)
        reviewer = self.reviewer
        if forgotten:
            reviewer = replace(reviewer, over=lambda _run_id: False)
        try:
            done = reviewer.review(
                self.host(), ref, pull.head_sha, key=key, run_id=key, wishes=Wishes()
            )
        except HostLimited as limited:
            self.time.jump(limited.retry_after)
        except FINAL:
            return True
        except PostilError:
            self.time.jump(10)
        except Killed:
            return False
        else:
            assert isinstance(done, Finished | Over)
            return True
        return False


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder, time, canary = tmp_path_factory.mktemp("weather"), Time(), Canary()
    brain = Planted({r"/ len\(": BUG})
    with GitHub() as github, ModelServer("openai-compatible", brain=brain) as model:
        github.clock = time
        app = github.create_app()
        stage = Stage(github, model, app, folder)
        home = World(stage, time, canary).create_repository("acme/weather", {"weather.py": OLD})
        built = build_chosen_model(Settings.read(stage.choice_of_model()), ModelWish())
        assert built is not None
        traces = FakeTraces()
        access = GitHubApp(app.id, app.private_key, github.url, clock=time, sleep=time.sleep)
        reviewer = build_reviewer(
            Hasty(built, time), traces, NoTools(), secret="a seed", over=traces.runs.__contains__
        )
        opened = Workshop(
            stage,
            time,
            canary,
            home=home,
            access=access,
            reviewer=reviewer,
            traces=traces,
            folder=folder,
        )
        model._script = opened.act
        yield opened
    canary.close()


@fault(
    "Anything at all, at random, two hundred times: GitHub, the model and the process itself",
    "what was found is said once, the check run is closed, nobody is called early or twice",
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_review_in_bad_weather(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    weather = Weather(seed)
    try:
        review_in(weather, workshop, monkeypatch)
    except AssertionError as error:
        error.add_note(f"again: pytest '{FILE}::{test_a_review_in_bad_weather.__name__}[{seed}]'")
        error.add_note("\n".join(weather.log))
        raise


def review_in(weather: Weather, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    github = workshop.github
    since = len(github.calls)
    pull = workshop.open_pull(weather.seed)

    github.script.weather = weather.on_github
    workshop.weather[:] = [weather]
    monkeypatch.setattr(crash, "at", weather.on_point)
    tries = 0
    while tries < MOST_TRIES and not workshop.review(pull):
        tries += 1

    workshop.calm()
    workshop.weather.clear()
    monkeypatch.undo()
    while not workshop.review(pull):
        tries += 1
    check_invariants(workshop, [workshop.home], since=since)
    (record,) = workshop.records(workshop.key(pull))
    states = {unit["state"] for unit in record["ledger"]["units"]}
    assert (check(pull).conclusion == "success") == (states <= SEEN_TO)

    before = len(github.calls)
    # and when nobody remembers it, its check run alone is opened and completed once more
    while not workshop.review(pull, forgotten=True):
        tries += 1
    again = {name(call) for call in changes(github.calls[before:])}
    assert again <= {*CLOSE}
    check_invariants(workshop, [workshop.home], since=before)
