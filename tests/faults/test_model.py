"""The model service goes wrong: nothing is called clean that nobody read, and nobody is hurried."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate

import pytest

from app.adapters.analyzers.suite import AnalyzerSuite
from app.core.anchors import NOT_IN_DIFF
from app.core.evidence import NO_QUOTE
from app.looks import MAX_SPLITS
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.models.brain import read_task
from sandbox.models.server import Seen
from sandbox.serving import free_port
from tests.e2e.conftest import check, replies, spots, told
from tests.faults.calls import AGAIN, PLAIN, REVIEW, check_calls
from tests.faults.pulls import check_reviewed, review
from tests.faults.world import World, fault

SILENT = PLAIN - REVIEW
PATIENCE_S = 600.0
"""So long one review asks at most."""
LONG = "".join(f"count_{number} = {number}\n" for number in range(250))
"""So much beside a line that a prompt asks about no other file."""


@pytest.fixture(scope="module")
def service() -> str:
    """One that streams its answers."""
    return "openai"


def asked(world: World, text: str) -> list[Seen]:
    """Return the questions for a review whose prompt holds a text."""
    return [seen for seen in world.stage.asked(text) if read_task(seen.prompt)[0] == "review"]


def check_unread(world: World, pull: Pull, reason: str) -> None:
    """Check that nothing was said but that nothing was read, and why."""
    assert (spots(pull), replies(pull), pull.reviews) == ([], [], [])
    run = check(pull)
    assert run.conclusion == "neutral"
    assert run.output["title"].startswith("Nothing was reviewed")
    assert "2 changed lines: 0 reviewed, 0 waived, 2 not reviewed" in told(run)
    assert f"`{pull.repository.name}.py:1`: failed" in told(run)
    assert reason in told(run)
    check_calls(world, pull.repository, SILENT)


REFUSED: Mapping[str, tuple[Act, str]] = {
    "key": (Act(401), "check OPENAI_API_KEY"),
    "credits": (Act(406), "no credits left: top it up"),
    "model": (Act(404), "check POSTIL_MODEL"),
}


@fault(
    "The model service refuses the key, knows no such model, or the account has no credits",
    "it is asked once, by nobody for a while, and the check run says what to mend",
)
@pytest.mark.parametrize("what", REFUSED)
def test_an_account_that_is_refused(house: World, what: str) -> None:
    act, reason = REFUSED[what]
    house.stage.acts["/ len("] = act
    pull = review(house, f"no-{what}")
    check_unread(house, pull, reason)
    next_one = review(house, f"no-{what}-either")
    check_unread(house, next_one, reason)
    assert len(house.stage.asked(f"no-{what}")) == 1


NONSENSE: Sequence[Mapping[str, str]] = ({}, {"retry-after": "soon"}, {"retry-after": "-5"})
LIMITS: Mapping[str, float] = {"1": 1.0, "70": 70.0, "a date": 60.0, "nonsense": 0.0}


@fault(
    "The model service limits us for so many seconds, until a date, or without a time",
    "the review waits so long, and is whole",
)
@pytest.mark.parametrize("wait", LIMITS)
def test_a_limit(house: World, wait: str) -> None:
    name = f"limited-{list(LIMITS).index(wait)}"
    date = formatdate(time.time() + 90, usegmt=True)
    headers = NONSENSE if wait == "nonsense" else [{"retry-after": date if " " in wait else wait}]
    left = house.afflict(f"{name}.py", *(Act(429, headers=one) for one in headers))
    pull = review(house, name)
    assert left == []
    check_reviewed(pull)
    assert len(asked(house, f"{name}.py")) == len(headers) + 1
    took = (check(pull).completed_at or 0) - check(pull).started_at
    assert took >= LIMITS[wait]
    # who must wait for long gives its place to others, and begins again
    long = took >= LIMITS["a date"]
    check_calls(house, pull.repository, PLAIN + AGAIN if long else PLAIN)


@fault(
    "The model service asks for a wait beyond the review's end",
    "it is not begun; the lines are named as not reviewed",
)
def test_a_wait_beyond_the_end(house: World) -> None:
    house.stage.acts["beyond.py"] = Act(429, headers={"retry-after": "3600"})
    pull = review(house, "beyond")
    check_unread(house, pull, "rate limit")
    assert len(house.stage.asked("beyond.py")) == 1
    assert (check(pull).completed_at or 0) - check(pull).started_at < PATIENCE_S


HALF = json.dumps(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": '{"findings": ['}, "finish_reason": None}],
    }
)
PASSING: Mapping[str, tuple[Act, Act]] = {
    "fails": (Act(500), Act(529)),
    "breaks off": (Act(cut=0), Act(cut=200)),
    "ends early": (Act(finish=None), Act(sse=(HALF,))),
    "is somebody else": (
        Act(body=b"<html>login</html>", content_type="text/html"),
        Act(body=b'{"error": {"message": "no"}}'),
    ),
}


@fault(
    "The model service fails, breaks off, ends cleanly but too early, or sends HTML, two times",
    "it is asked again, and the review is whole",
)
@pytest.mark.parametrize("how", PASSING)
def test_a_service_that_fails_for_a_moment(house: World, how: str) -> None:
    name = how.replace(" ", "-")
    left = house.afflict(f"{name}.py", *PASSING[how])
    pull = review(house, name)
    assert left == []
    check_reviewed(pull)
    assert len(asked(house, f"{name}.py")) == len(PASSING[how]) + 1
    check_calls(house, pull.repository, PLAIN)


@fault(
    "The model service stays broken",
    "it is asked three times, and the lines are named as not reviewed",
)
def test_a_service_that_stays_broken(house: World) -> None:
    house.stage.acts["lasting.py"] = Act(500)
    pull = review(house, "lasting")
    check_unread(house, pull, "is unavailable (HTTP 500)")
    assert len(house.stage.asked("lasting.py")) == 3


@fault(
    "The model service drips its answer, byte by byte, or is silent",
    "it is cut off by the clock and asked once more; then the lines are named as not reviewed",
)
def test_a_service_that_is_slow(house: World) -> None:
    providers = house.stage.folder / "providers.toml"
    providers.write_text("[openai]\ncall_seconds = 0.5\n")
    house.restart({"POSTIL_PROVIDERS_FILE": str(providers)})
    house.stage.acts.update({"drip.py": Act(drip=0.05), "silent.py": Act(delay=60, cut=0)})
    pulls = [
        house.stage.open_pull(house.create_repository(f"acme/{n}")) for n in ("drip", "silent")
    ]
    house.wait_until_done()
    for pull in pulls:
        check_unread(house, pull, "did not answer within 0.5 seconds")
        assert " 2 requests " in told(check(pull))


@fault(
    "No model service answers: it is not there",
    "the analyzers speak, and nothing is called clean",
)
def test_a_service_that_is_not_there(house: World) -> None:
    house.restart(
        {"POSTIL_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"}, analyzers=AnalyzerSuite
    )
    repository = house.create_repository("acme/found")
    found = house.stage.open_pull(repository, {"found.py": b"def f(xs=[]):\n    return xz\n"})
    silent = review(house, "quiet")
    check_unread(house, silent, "could not connect: check POSTIL_BASE_URL")
    assert spots(found) == [("found.py", 1), ("found.py", 2)]
    run = check(found)
    assert run.conclusion == "neutral"
    assert run.output["title"].startswith("Nothing was reviewed: the model service is unavailable")
    assert run.output["title"].endswith("from the analyzers")
    assert "This is not a complete review" in found.reviews[0].body
    assert " 3 requests " in told(run)
    check_calls(house, found.repository, PLAIN)


PARTS: Mapping[str, tuple[tuple[Act, ...], str]] = {
    "broken": ((Act(500),) * 3, "the model service is unavailable"),
    "filtered": ((Act(finish="content_filter"),), "the model declined to answer"),
    "declined": ((Act(message={"refusal": "no"}),), "the model declined to answer"),
    "empty": ((Act(answer=None), Act(answer="")), "the answer could not be read"),
    "prose": (
        (Act(answer="LGTM!"), Act(answer='{"findings": [{"pa')),
        "the answer could not be read",
    ),
    "types": ((Act(answer="[]"), Act(answer='{"findings": 7}')), "the answer could not be read"),
}


@fault(
    "One part's questions fail, are declined, or their answers can't be read, and others' not",
    "the others are posted; each is asked a few times, and its lines are named as not reviewed",
)
def test_parts_that_fail(house: World) -> None:
    left = [house.afflict(f"mean_{name} ", *acts) for name, (acts, _) in PARTS.items()]
    parts = {f"{name}.py": f"mean_{name} = 1 / len(xs)\n{LONG}".encode() for name in PARTS}
    pull = house.stage.open_pull(house.create_repository("acme/parted"), parts)
    house.wait_until_done()
    assert left == [[]] * len(PARTS)
    assert spots(pull) == [("parted.py", 2)]
    run = check(pull)
    assert run.conclusion == "neutral"
    assert f"({len(PARTS)} parts) not reviewed" in run.output["title"]
    for name, (acts, reason) in PARTS.items():
        assert f"- `{name}.py:1`: failed, {reason}\n" in told(run)
        prompts = len(asked(house, f"mean_{name} "))
        assert prompts == len(acts), name
    check_calls(house, pull.repository, PLAIN)


HOLDS = 6000
"""So many characters of a prompt fit into the context of a small model."""


def too_long(seen: Seen) -> Act | None:
    if len(seen.prompt) <= HOLDS or read_task(seen.prompt)[0] != "review":
        return None
    return Act(400, error="This model's maximum context length is 2048 tokens.")


@fault(
    "A part of the change is too long for the model",
    "it is halved, at most four times; what fits is reviewed, the rest is named as too large",
)
def test_a_part_that_is_too_long(house: World) -> None:
    house.moods.append(too_long)
    files = {f"part_{n:02}.py": f"count_{n} = {n}\n".encode() for n in range(30)}
    repository = house.create_repository("acme/halved")
    pull = house.stage.open_pull(repository, {**files, "part_99.py": LONG.encode()})
    house.wait_until_done()
    refused = [seen for seen in asked(house, "part_99.py") if seen.status != 200]
    assert len(refused) == MAX_SPLITS + 1
    assert spots(pull) == [("halved.py", 2)]
    run = check(pull)
    assert run.conclusion == "neutral"
    # beside the long one stands the one that it could be parted from no more
    assert "(2 parts) not reviewed" in run.output["title"]
    for path in ("part_29.py", "part_99.py"):
        assert f"- `{path}:1`: too_large, the prompt is longer than" in told(run)
    check_calls(house, repository, PLAIN)


def found(title: str, **facts: str) -> dict[str, object]:
    return {
        "path": "real.py",
        "first": "R2",
        "last": "R2",
        "quote": "    return sum(xs) / len(xs)",
        "severity": "major",
        "category": "bug",
        "title": title,
        "why": "It was made up.",
        "scenario": "Never.",
        "suggestion": None,
        **facts,
    }


def invent(seen: Seen) -> Act | None:
    """Find something on a line, in a line that does not exist, and in a file that does not."""
    task, nonce = read_task(seen.prompt)
    if task != "review":
        return None
    findings = [
        found("A bug in a line"),
        found("A bug in no line", first="R900", last="R901", quote="gone()"),
        found("A bug in no file", path="unreal.py"),
    ]
    return Act(answer=json.dumps({"nonce": nonce, "findings": findings}))


@fault(
    "The model's findings stand in a file or a line that does not exist",
    "what can be said is said in the summary, what can't is dropped, each with the reason",
)
def test_findings_that_stand_nowhere(house: World) -> None:
    house.moods.append(invent)
    pull = review(house, "real")
    check_reviewed(pull)
    said = "- **info · bug** `unreal.py` \N{EM DASH} A bug in no file"
    assert f"{said} ({NOT_IN_DIFF})" in pull.reviews[0].body
    assert f"- 1 claim of the model: {NO_QUOTE}" in told(check(pull))
    assert "A bug in no line" not in told(check(pull))
    (record,) = house.records(check(pull).external_id)
    assert [one["reason"] for one in record["dropped"]] == [NO_QUOTE]
    check_calls(house, pull.repository, PLAIN)
