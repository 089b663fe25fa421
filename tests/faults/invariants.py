"""What holds after every fault, whatever went wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from app.adapters.github.marks import FINDING, SUMMARY, Marks
from app.bootstrap.parts import derive_key
from app.core.ledger import Conclusion
from app.core.pull import PullRef
from app.jobs import REPAIR_KEY
from sandbox.github import Call, CheckRun, Pull, Repository
from tests.faults.calls import AT_REST, LIST, LOOK, REPAIR, name
from tests.faults.world import Kept, World

ENDS = {"done", "skipped", "superseded", "cancelled", "dead"}
SEEN_TO = {"reviewed", "waived"}
WRITES = {"POST", "PATCH", "PUT", "DELETE"}
LONGER = 1600.0
"""After so long the next repair is due, and what was under way at the last one is over."""
MOST_TIMES = 60
"""No request fails more often: four tries, for pages of three sizes, in each of five attempts."""
MOST_ASKED = 3
"""No prompt is answered more often, however useless the answers are."""
PROMPT_END = 60
"""The task and the nonce, by which a prompt is known."""
UNDER_WAY_S, ROUNDING_S = 1.0, 0.001
"""What was already on its way beside the call that was told to wait is no offence."""
TOKEN_FORM = re.compile(rb"gh[sp]_[0-9a-f]{36}")
LINE_OF_KEY = 3
"""A line of the private key that no other key shares."""


def check_invariants(
    world: World,
    repositories: Iterable[Repository] | None = None,
    *,
    since: int = 0,
    asked_again: int = 0,
    restarts: int = 2,
) -> None:
    """Check all that must hold; ``asked_again`` prompts may have been asked a second time.

    ``repositories`` and the calls ``since`` are those of one story among many. So often is a
    server started with no fault left, and must write nothing; the last of them lives on. When there
    are several the first of them may ask for what was delivered to nobody.
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
    check_secrets(world, ((f"{call.method} {call.path}", call.body) for call in calls))
    check_secrets(world, (("a prompt", seen.prompt.encode()) for seen in world.stage.model.seen))
    for more in reversed(range(restarts)):
        check_restart(world, REPAIR if more else AT_REST)
    check_secrets(world, world.files())


def query(world: World, text: str) -> list[tuple[Any, ...]]:
    return world.query(text)


def jobs(world: World) -> list[Kept]:
    return world.jobs()


def records(world: World, key: str) -> list[dict[str, Any]]:
    return world.records(key)


def reviews(world: World, pull: Pull) -> list[Kept]:
    """Return the jobs that review a pull request."""
    mine = ("review", pull.repository.id, pull.number)
    return [job for job in world.jobs() if (job.kind, job.repository_id, job.number) == mine]


def check_deliveries(world: World) -> None:
    """Every delivery that was acknowledged has a row, and its job one end."""
    known = world.deliveries()
    # the repair comes round by itself, and may be due again
    states = {job.key: job.state for job in world.jobs() if job.key != REPAIR_KEY}
    assert set(states.values()) <= ENDS, f"a job has no end: {states}"
    for delivery in world.github.deliveries:
        if delivery.status_code == 202:
            assert delivery.guid in known, f"{delivery.event} {delivery.guid} was lost"
    assert {key for key in known.values() if key} <= states.keys(), "a delivery has no job"


def check_said_once(world: World, pull: Pull) -> None:
    """What was found is said exactly once, and every finished review left a record."""
    mine = (pull.repository.id, pull.number)
    found: list[dict[str, Any]] = []
    for job in world.jobs():
        if (job.repository_id, job.number) == mine:
            done = world.records(job.key)
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
    summaries = sum(bool(marks.read(ref, SUMMARY, body)) for body in mine)
    assert summaries <= 1, f"summed up {summaries} times"
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
            assert " 0 not reviewed" in run.output["summary"], "a success though not all was read"
            for record in world.records(run.external_id)[-1:]:
                states = {unit["state"] for unit in record["ledger"]["units"]}
                assert states <= SEEN_TO, f"a success with units that are {states}"
    keys = Counter(run.external_id for run in checks(world, repository))
    assert max(keys.values(), default=1) == 1, f"several check runs of one job: {keys}"


def check_heads(calls: Iterable[Call]) -> None:
    """Nothing is written on a closed pull request, or about a commit that is not its head."""
    for call in changes(calls):
        assert call.open is not False, f"written after the end: {call.method} {call.path}"
        if call.method == "POST" and re.search(r"/pulls/\d+/(reviews|comments)$", call.path):
            about = json.loads(call.body)["commit_id"]
            assert about == call.head_sha, f"said about another commit: {call.path}"


def changes(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield the calls that GitHub took and that changed what people see."""
    for call in calls:
        good = 200 <= call.status < 300
        if good and call.method in WRITES and "/repos/" in call.path:
            yield call


def check_paid_once(world: World, asked_again: int) -> None:
    """No prompt that was answered is asked again, save for answers that were lost, or no use."""
    answered = [seen for seen in world.stage.model.seen if seen.status == HTTPStatus.OK]
    useful = Counter(seen.prompt for seen in answered if id(seen) not in world.useless)
    twice = {prompt[-PROMPT_END:]: times for prompt, times in useful.items() if times > 1}
    again = sum(useful.values()) - len(useful)
    assert again <= asked_again, f"paid twice: {twice}"
    often = max(Counter(seen.prompt for seen in answered).values(), default=0)
    assert often <= MOST_ASKED, f"asked {often} times"


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
    most = max(often.values(), default=0)
    assert most <= MOST_TIMES, f"without end: {often.most_common(1)}"


def asked_to_wait(call: Call) -> float:
    if call.status not in {403, 429}:
        return 0.0
    told = call.answered.get("retry-after", "")
    if told.isdigit():
        return float(told)
    if call.answered.get("x-ratelimit-remaining") == "0":
        return float(call.answered["x-ratelimit-reset"]) - call.at
    return 0.0


def check_secrets(world: World, said: Iterable[tuple[str, bytes]]) -> None:
    """No secret of ours stands in what was said, and nobody was sent elsewhere."""
    assert world.canary.hits == 0, "somebody called another host"
    app = world.stage.app
    key = app.private_key.splitlines()[LINE_OF_KEY]
    ours = [one.encode() for one in (app.webhook_secret, world.stage.model.key, key)]
    tokens = {one.encode() for one in world.github.tokens}
    for place, data in said:
        found = [one for one in ours if one in data]
        found += [one for one in TOKEN_FORM.findall(data) if one in tokens]
        assert not found, f"{place} holds a secret: {found}"


def check_restart(world: World, may: Iterable[str] = AT_REST) -> None:
    """A server that is started with no fault left looks at everything, and changes nothing."""
    world.calm()
    world.time.jump(LONGER)
    asked = len(world.stage.model.seen)
    made = Counter(map(name, world.restart()))
    for read in (*may, *LIST, *LOOK):
        made.pop(read, None)
    assert not made, f"a restart is not at rest: {made}"
    assert len(world.stage.model.seen) == asked, "a restart asks the model"
