"""What holds after every fault, whatever went wrong."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from app.adapters.github.marks import FINDING, SUMMARY, Marks
from app.bootstrap.parts import derive_key
from app.core.ledger import Conclusion
from app.core.pull import PullRef
from app.jobs import REPAIR_KEY
from sandbox.github import Call, CheckRun, Pull, Repository
from tests.faults.calls import LIST, LOOK, REPAIR, name
from tests.faults.world import World

JOBS = "SELECT key, kind, state, repository_id, number, head_sha, note FROM postil_jobs"
ENDS = {"done", "skipped", "superseded", "cancelled", "dead"}
SEEN_TO = {"reviewed", "waived"}
WRITES = {"POST", "PATCH", "PUT", "DELETE"}
LONGER = 1600.0
"""After so long the next repair is due, and what was under way at the last one is over."""
MOST_TIMES = 60
"""No request fails more often: four tries, for pages of three sizes, in each of five attempts."""
MOST_ASKED = 3
"""No prompt is asked more often by one run, whatever comes back."""
UNDER_WAY_S, ROUNDING_S = 1.0, 0.001
"""What was already on its way beside the call that was told to wait is no offence."""
LINE_OF_KEY = 3
"""A line of the private key that no other key shares."""


@dataclass(frozen=True, slots=True)
class Job:
    key: str
    kind: str
    state: str
    repository_id: int
    number: int
    head_sha: str
    note: str


def check_invariants(
    world: World,
    repositories: Iterable[Repository] | None = None,
    *,
    since: int = 0,
    asked_again: int = 0,
    restarts: int = 0,
) -> None:
    """Check all that must hold; ``asked_again`` prompts may have been asked a second time.

    ``repositories`` and the calls ``since`` are those of one story among many. With ``restarts``
    servers are started so often, with no fault left, and must write nothing.
    """
    homes = list(world.github.repositories.values() if repositories is None else repositories)
    calls = world.github.calls[since:]
    check_deliveries(world)
    for home in homes:
        check_runs_are_closed(world, home)
        for pull in home.pulls.values():
            check_said_once(world, pull)
    check_heads(calls)
    check_patience(calls)
    check_paid_once(world, asked_again)
    check_secrets(world, {f"{call.method} {call.path}": call.body for call in calls})
    for _ in range(restarts):
        check_restart(world, homes)
    if restarts:
        check_secrets(world, kept(world))


def query(world: World, text: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.database)) as connection:
        return connection.execute(text).fetchall()


def jobs(world: World) -> list[Job]:
    return [Job(*row) for row in query(world, JOBS)]


def reviews(world: World, pull: Pull) -> list[Job]:
    """Return the jobs that review a pull request."""
    mine = ("review", pull.repository.id, pull.number)
    return [job for job in jobs(world) if (job.kind, job.repository_id, job.number) == mine]


def records(world: World, key: str) -> list[dict[str, Any]]:
    """Return the records of a job's finished runs, oldest first."""
    rows = query(world, "SELECT run_id, record FROM postil_runs ORDER BY kept_at")
    return [json.loads(record) for run_id, record in rows if run_id.rpartition(".")[0] == key]


def check_deliveries(world: World) -> None:
    """Every delivery that was acknowledged has a row, and its job one end."""
    known = world.stage.deliveries()
    # the repair comes round by itself, and may be due again
    states = {job.key: job.state for job in jobs(world) if job.key != REPAIR_KEY}
    assert set(states.values()) <= ENDS, states
    for delivery in world.github.deliveries:
        if delivery.status_code == 202:
            assert delivery.guid in known, f"{delivery.event} {delivery.guid} was lost"
    assert {key for key in known.values() if key} <= states.keys()


def check_said_once(world: World, pull: Pull) -> None:
    """What was found is said exactly once, and every finished review left a record."""
    mine = (pull.repository.id, pull.number)
    found: list[dict[str, Any]] = []
    for job in jobs(world):
        if (job.repository_id, job.number) == mine:
            done = records(world, job.key)
            assert done or job.kind != "review" or job.state != "done", f"{job.key} left no record"
            found += done
    check_said(world, pull, found)


def check_said(world: World, pull: Pull, found: Iterable[dict[str, Any]]) -> None:
    """What the records name is said exactly once, or named in the summary or the check run.

    Where GitHub lets nothing be written it stands in the record alone.
    """
    ref = PullRef(pull.repository.id, pull.repository.full_name, pull.number)
    marks = Marks(derive_key("marks", world.stage.app.private_key.strip()))
    mine = [one.body for one in pull.comments if one.author.app is world.stage.app]
    on_lines = [one.body for one in pull.review_comments if one.author.app is world.stage.app]
    said = Counter(name for body in (*on_lines, *mine) for name in marks.read(ref, FINDING, body))
    twice = {name: times for name, times in said.items() if times > 1}
    assert not twice, f"said more than once on {ref.repository}: {twice}"
    assert sum(bool(marks.read(ref, SUMMARY, body)) for body in mine) <= 1
    told = "\n".join([*mine, *(words(run) for run in checks(world, pull.repository))])
    for record in found:
        for finding in record["findings"]:
            heard = finding["id"] in said or finding["title"] in told
            assert heard or not may_write(world, ref), f"lost: {finding}"
        assert all(dropped["reason"] for dropped in record["dropped"])


def may_write(world: World, ref: PullRef) -> bool:
    """Tell whether GitHub took any word about this pull request."""
    start = f"/repos/{ref.repository}/"
    return any(call.path.startswith(start) for call in changes(world.github.calls))


def checks(world: World, repository: Repository) -> list[CheckRun]:
    return [run for run in repository.check_runs if run.suite.app is world.stage.app]


def words(run: CheckRun) -> str:
    return json.dumps(run.output, ensure_ascii=False)


def check_runs_are_closed(world: World, repository: Repository) -> None:
    """No check run stays open, and none is called clean while something is unreviewed."""
    for run in checks(world, repository):
        assert run.status == "completed", f"{run.external_id} is {run.status}"
        if run.conclusion == Conclusion.SUCCESS:
            assert " 0 not reviewed" in run.output["summary"]
            for record in records(world, run.external_id)[-1:]:
                states = {unit["state"] for unit in record["ledger"]["units"]}
                assert states <= SEEN_TO, states
    keys = Counter(run.external_id for run in checks(world, repository))
    assert max(keys.values(), default=1) == 1, keys


def check_heads(calls: Iterable[Call]) -> None:
    """Nothing is written on a closed pull request, or about a commit that is not its head."""
    for call in changes(calls):
        assert call.open is not False, f"written after the end: {call.method} {call.path}"
        if call.method == "POST" and re.search(r"/pulls/\d+/(reviews|comments)$", call.path):
            assert json.loads(call.body)["commit_id"] == call.head_sha, call.path


def changes(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield the calls that GitHub took and that changed what people see."""
    for call in calls:
        good = 200 <= call.status < 300
        if good and call.method in WRITES and "/repos/" in call.path:
            yield call


def check_paid_once(world: World, asked_again: int) -> None:
    """No prompt that was answered is asked again, save for answers that were lost, or no use."""
    times = Counter(seen.prompt for seen in world.stage.model.seen if seen.status == 200)
    useless = [one for one in times if any(text in one for text in world.spoilt)]
    assert max((times.pop(one) for one in useless), default=0) <= MOST_ASKED
    assert sum(times.values()) - len(times) <= asked_again


def check_patience(calls: Sequence[Call]) -> None:
    """No installation calls before the time that it was asked to wait, nor without end."""
    spans: list[tuple[int | None, float, float]] = []
    for call in calls:
        who = call.installation_id
        early = [one for one in spans if one[0] == who and one[1] < call.at < one[2]]
        assert not early, f"too early: {call}"
        wait = asked_to_wait(call)
        if wait and who is not None:
            spans.append((who, call.at + UNDER_WAY_S, call.at + wait - ROUNDING_S))
    often = Counter((call.method, call.path, call.body) for call in calls if call.status >= 400)
    assert max(often.values(), default=0) <= MOST_TIMES, often.most_common(1)


def asked_to_wait(call: Call) -> float:
    if call.status not in {403, 429}:
        return 0.0
    told = call.answered.get("retry-after", "")
    if told.isdigit():
        return float(told)
    if call.answered.get("x-ratelimit-remaining") == "0":
        return float(call.answered["x-ratelimit-reset"]) - call.at
    return 0.0


def check_secrets(world: World, said: Mapping[str, bytes]) -> None:
    """No secret of ours stands in what was said, and nobody was sent elsewhere."""
    assert world.canary.hits == 0
    stage = world.stage
    secrets = {stage.app.webhook_secret, stage.model.key, *world.github.tokens}
    secrets.add(stage.app.private_key.splitlines()[LINE_OF_KEY])
    for place, data in said.items():
        found = [secret for secret in secrets if secret.encode() in data]
        assert not found, f"{place} holds {found}"


def kept(world: World) -> dict[str, bytes]:
    """Read what the servers keep: the log and the database."""
    folder = world.stage.folder
    paths = [*folder.rglob("*.log"), *folder.rglob("postil.db*")]
    return {str(path): path.read_bytes() for path in paths}


def check_restart(world: World, homes: Iterable[Repository]) -> None:
    """A server that is started with no fault left looks at everything and writes nothing."""
    world.calm()
    world.time.jump(LONGER)
    since = len(world.github.calls)
    with world.living() as office:
        office._jobs.tend()
        world.wait_until_done()
    made = world.github.calls[since:]
    more = Counter(map(name, made))
    for known in (*REPAIR, *LIST, *LOOK):
        more.pop(known, None)
    assert not more, more
    for home in homes:
        seen = [name(call) for call in world.about(home, since)]
        assert bool(LIST.keys() & set(seen)) == is_open_to_us(world, home), (home.full_name, seen)
    world.checked.update(map(id, made))


def is_open_to_us(world: World, home: Repository) -> bool:
    return any(one.suspended_at is None for one in world.github.installations_on(home))
