"""GitHub goes wrong, call by call: a review is said once, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from sandbox.github import Repository, shapes
from sandbox.serving import free_port
from tests.e2e.conftest import NEW, check, checks, replies, spots, told
from tests.faults.calls import (
    AGAIN,
    BEGIN,
    CLOSE,
    FETCH,
    FILES,
    LAST_WORDS,
    LOOK,
    NEVER_BEGAN,
    NONE,
    OPEN,
    PLAIN,
    PULL,
    REVIEW,
    TALK,
    TOKEN,
    calls,
    check_calls,
    often,
)
from tests.faults.pulls import (
    Facts,
    check_given_up,
    check_reviewed,
    inject_row,
    logged,
    review,
    state,
)
from tests.faults.story import story
from tests.faults.world import LIMIT_S, Detour, World, fault

LOST: dict[str, Facts] = {
    "a 502": {"status": 502},
    "silence": {"hang": True},
    "a reset connection": {"reset": True},
    "a page of HTML": {"status": 200, "body": "<html>Unicorn!</html>"},
    "nothing": {"status": 201, "body": ""},
    "no id": {"status": 201, "body": {"node_id": "x"}},
}


def test_nothing_goes_wrong(house: World) -> None:
    pull = review(house, "plain")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN)


def test_a_story_that_does_not_say_which_calls_it_expects_fails(house: World) -> None:
    named = r"no check .* 'POST pulls/\{number\}/reviews': 1"
    with pytest.raises(AssertionError, match=named), story(house):
        pull = review(house, "untold")
    check_calls(house, pull.repository, PLAIN)
    with pytest.raises(AssertionError, match="unexpected"):
        check_calls(house, pull.repository, PLAIN - REVIEW)
    with pytest.raises(AssertionError, match="missing"):
        check_calls(house, pull.repository, PLAIN + REVIEW)


# a write that GitHub took, and whose answer never came


@fault(
    "GitHub stores the review and answers 502, HTML, nothing, without an id, resets or is silent",
    "it is looked up and not posted again",
)
@pytest.mark.parametrize("how", LOST)
def test_a_review_whose_answer_is_lost(house: World, how: str) -> None:
    lost = house.inject("POST", "/pulls/1/reviews$", apply=1, **LOST[how])
    pull = review(house, f"review-{list(LOST).index(how)}")
    assert lost.hits == 1
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + TALK)


@fault(
    "GitHub makes or completes the check run and the answer is lost",
    "there is one check run, completed, each annotation once",
)
@pytest.mark.parametrize("how", ["a 502", "silence"])
def test_a_check_run_whose_answers_are_lost(house: World, how: str) -> None:
    house.inject("POST", "/check-runs$", apply=1, **LOST[how])
    house.inject("PATCH", r"/check-runs/\d+$", apply=1, **LOST[how])
    pull = review(house, f"check-{len(how)}")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + LOOK + calls("GET check-runs/{run}") + CLOSE)


@fault(
    "A lost answer, and the lists show the new comment only after three reads",
    "the review is waited for and not posted again",
)
def test_a_list_that_lags_behind_a_lost_answer(house: World) -> None:
    house.inject("POST", "/pulls/1/reviews$", apply=1, status=502)
    house.github.lag(3)
    pull = review(house, "lagging")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + often(TALK, 4))


# reads

BROKEN: dict[str, Facts] = {
    "a reset": {"reset": True},
    "half a body": {"cut_after_bytes": 20},
    "headers alone": {"cut_after_bytes": 0},
    "silence": {"hang": True},
}
READS = PULL + FILES + TALK
PAUSES = 0.2, 0.6, 1.2
SPREAD = 0.2
"""Each pause is longer or shorter by up to so much of itself."""


@fault("A read ends in a reset, headers alone, half a body or silence", "it is tried again")
@pytest.mark.parametrize("how", BROKEN)
def test_a_read_that_breaks(house: World, how: str) -> None:
    for pattern in ("/pulls/1$", "/pulls/1/files$"):
        house.inject("GET", pattern, **BROKEN[how])
    house.inject("POST", "/graphql$", **BROKEN[how])
    pull = review(house, f"read-{list(BROKEN).index(how)}")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + READS)


@fault(
    "A read ends in 500, 502, 503 and 504, three times in a row",
    "it is tried again at growing intervals, no two alike",
)
def test_reads_that_fail_three_times(house: World) -> None:
    statuses = [{"status": status} for status in (500, 502, 503, 504, 500)]
    inject_row(house, "GET", "/pulls/1$", statuses[:3])
    inject_row(house, "GET", "/pulls/1/files$", statuses[1:4])
    inject_row(house, "POST", "/graphql$", statuses[2:])
    slept = len(house.time.slept)
    pull = review(house, "thrice")
    check_reviewed(pull)
    pauses = house.time.slept[slept : slept + 3]
    for pause, usual in zip(pauses, PAUSES, strict=True):
        assert abs(pause - usual) <= SPREAD * usual
    assert pauses != list(PAUSES)
    check_calls(house, pull.repository, PLAIN + often(READS, 3))


@fault("Git's own reads end in 503, or break off", "the job is tried again, and nothing is lost")
@pytest.mark.parametrize("how", ["503", "a reset"])
def test_a_fetch_that_breaks(house: World, how: str) -> None:
    facts: Facts = {"status": 503} if how == "503" else {"reset": True}
    house.inject("GET", r"\.git/info/refs$", **facts)
    pull = review(house, f"fetched-{how[:1]}")
    check_reviewed(pull)
    refused = TOKEN + PULL + calls("GET git/info/refs")
    check_calls(house, pull.repository, PLAIN + refused, may=LOOK + FILES)


ELSEWHERE: dict[str, Callable[[World], str]] = {
    "no such host": lambda _world: "http://nowhere.invalid",
    "no TLS": lambda world: f"https://127.0.0.1:{urlsplit(world.github.url).port}",
    "nobody there": lambda _world: f"http://127.0.0.1:{free_port()}",
}


@fault(
    "GitHub's name is not found, no TLS is spoken there, or nobody listens",
    "a read is tried again; a write is looked up, and posted once",
)
@pytest.mark.parametrize("how", ELSEWHERE)
def test_calls_that_do_not_arrive(house: World, how: str) -> None:
    there = ELSEWHERE[how](house)
    for method, pattern in (
        ("GET", "/pulls/1$"),
        ("GET", "/pulls/1/files$"),
        ("POST", "/check-runs$"),
        ("POST", "/pulls/1/reviews$"),
        ("PATCH", r"/check-runs/\d+$"),
    ):
        house.detours.append(Detour(method, pattern, there))
    pull = review(house, f"away-{list(ELSEWHERE).index(how)}")
    assert {one.times for one in house.detours} == {0}
    check_reviewed(pull)
    # what did not arrive is not counted; each look is repeated while lists may lag
    again = often(LOOK + TALK, 4) + calls("GET check-runs/{run}")
    check_calls(house, pull.repository, PLAIN + again)


# lists

PAGES = 100


def point_at(world: World, name: str, page: int) -> dict[str, str]:
    there = f"{world.github.url}/repos/acme/{name}/pulls/1/files?per_page=100&page={page}"
    return {"Link": f'<{there}>; rel="next"'}


@fault("A page of the files points at itself", "it is read twice at most, and each file once")
def test_a_page_that_points_at_itself(house: World) -> None:
    house.inject("GET", "/pulls/1/files$", times=None, headers=point_at(house, "circle", 1))
    pull = review(house, "circle")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + FILES)


@fault("The pages of the files never end", "a hundred are read, and each file once")
def test_pages_without_end(house: World) -> None:
    def turn() -> None:
        pages.headers |= point_at(house, "spiral", pages.hits + 2)

    first = point_at(house, "spiral", 2)
    pages = house.inject("GET", "/pulls/1/files$", times=None, headers=first, then=turn)
    pull = review(house, "spiral")
    assert pages.hits == PAGES
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + often(FILES, PAGES - 1))


@fault(
    "The list of files shifts while it is read, so that one is named twice and one is missing",
    "each is reviewed once: git knows what GitHub left out",
)
def test_a_list_that_shifts(house: World) -> None:
    home = house.create_repository("acme/shifted")
    with house.github.quietly():
        pull = house.stage.open_pull(home, {"other.py": NEW})
    (first, _) = house.github.changes(pull)
    row = shapes.file_change(house.github, home, first, head=pull.head_sha, patch=True)
    house.inject("GET", "/pulls/1/files$", body=[row, row])
    house.github.deliver("pull_request", house.stage.payload(pull, "opened"))
    house.wait_until_done()
    assert spots(pull) == [("other.py", 2), ("shifted.py", 2)]
    assert " 0 not reviewed" in told(check(pull))
    check_calls(house, home, PLAIN + calls("GET compare/{basehead+}"))


@fault("A read brings HTML or another type of JSON", "the job is tried again, and nothing is lost")
@pytest.mark.parametrize("body", ["<html>Unicorn!</html>", "[]", "{}"])
def test_a_read_that_is_odd(house: World, body: str) -> None:
    for pattern in ("/pulls/1$", "/pulls/1/files$"):
        house.inject("GET", pattern, status=200, body=body)
    house.inject("POST", "/graphql$", status=200, body=body)
    pull = review(house, f"odd-{len(body)}{body[0] == '['}".lower())
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + READS + TOKEN)


@fault("The files can't be read for a minute", "the job waits and is tried again from its start")
def test_an_outage_of_a_minute(house: World) -> None:
    down = house.inject("GET", "/pulls/1/files$", times=12, status=503)
    pull = review(house, "minute")
    assert down.hits == 12
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + AGAIN + often(FILES, 11))


@fault("GitHub's files stay broken", "after five tries the check run says so, neutral")
def test_an_outage_without_end(house: World) -> None:
    down = house.inject("GET", "/pulls/1/files$", times=None, status=502)
    pull = review(house, "endless")
    assert down.hits == 5 * 3 * 4
    check_given_up(pull, "GitHub answered 502")
    assert state(house, pull) == {"dead"}
    assert not house.stage.asked("endless.py")
    tries = often(TOKEN + PULL + FETCH + LOOK + often(FILES, 12), 5)
    check_calls(house, pull.repository, tries + NEVER_BEGAN)


# what was announced is not there, or somewhere else


@fault("The pull request can't be read yet when it is announced", "it is waited for")
def test_a_pull_that_is_not_there_yet(house: World) -> None:
    house.inject("GET", "/pulls/1$", times=3, status=404)
    pull = review(house, "early")
    check_reviewed(pull)
    check_calls(house, pull.repository, PLAIN + often(PULL, 3))


@fault(
    "The pull request is gone, or the repository was taken down",
    "the job ends, after five seconds or at once; the check run and the log say so",
)
@pytest.mark.parametrize("status", [404, 410, 451])
def test_a_pull_that_is_gone(house: World, status: int) -> None:
    house.inject("GET", "/pulls/1$", times=None, status=status)
    slept = len(house.time.slept)
    pull = review(house, f"gone-{status}")
    assert state(house, pull) == {"dead"}
    check_given_up(pull, str(status))
    about = f" job=review:{pull.repository.id}:"
    assert len(logged(house, "ERROR", "a job is dead", about, str(status))) == 1
    pauses = [1.0, 2.0, 2.0] if status == HTTPStatus.NOT_FOUND else []
    assert house.time.slept[slept : slept + len(pauses)] == pauses
    tries = often(PULL, len(pauses) + 1)
    check_calls(house, pull.repository, TOKEN + tries + NEVER_BEGAN)


@fault("The repository is renamed in the middle", "the review goes on under its new name")
def test_a_repository_that_is_renamed(house: World) -> None:
    pull = house.stage.open_pull(house.create_repository("acme/before"))
    home = pull.repository
    house.inject("GET", "/pulls/1/files$", then=lambda: house.github.rename(home, "acme/after"))
    house.wait_until_done()
    assert spots(pull) == [("before.py", 2)]
    assert check(pull).conclusion == "success"
    # each call goes by the old name and is sent on; the look may have come before that
    check_calls(house, home, PLAIN + OPEN + REVIEW + CLOSE, may=LOOK)


@fault("GitHub points at another host, by a redirect or a next page", "nobody goes there")
@pytest.mark.parametrize("how", ["redirect", "page"])
def test_a_pointer_to_another_host(house: World, how: str) -> None:
    there = f"{house.canary.address}/repos/x/y/pulls/1"
    if how == "redirect":
        house.inject("GET", "/pulls/1$", times=None, status=302, location=there)
    else:
        link = {"Link": f'<{there}>; rel="next"'}
        house.inject("GET", "/pulls/1/files$", times=None, headers=link)
    pull = review(house, f"elsewhere-{how}")
    assert state(house, pull) == {"dead"}
    check_given_up(pull, "another host")
    assert house.canary.hits == 0
    few = {"redirect": PULL + NEVER_BEGAN, "page": BEGIN + FILES + LAST_WORDS}
    check_calls(house, pull.repository, TOKEN + few[how])


@fault(
    "The head was forced away: GitHub knows its commit no longer, and answers 404 or 422",
    "the job is superseded without a word, and the new head is reviewed",
)
@pytest.mark.parametrize("status", [404, 422])
def test_a_head_that_was_forced_away(house: World, status: int) -> None:
    name = f"forced-{status}"
    repository = house.create_repository(f"acme/{name}")
    base = repository.git.branches()["main"]
    pull = house.stage.open_pull(repository)
    old = pull.head_sha

    def force() -> None:
        # the job itself finds that the head has moved: nobody tells of it
        with house.github.quietly():
            repository.commit({f"{name}.py": NEW + b"\n"}, branch="work", parent=base)

    gone = {"message": f"No commit found for SHA: {old}"}
    house.inject("POST", "/check-runs$", status=status, body=gone, then=force)
    house.wait_until_done()
    assert pull.head_sha != old
    check_reviewed(pull)
    assert (checks(pull, old), replies(pull)) == ([], [])
    assert state(house, pull) == {"superseded", "done"}
    check_calls(house, repository, PLAIN + AGAIN + OPEN + PULL + TOKEN + LOOK)


@fault(
    "The repository is transferred to another owner in the middle",
    "the review goes on there, with that owner's key",
)
def test_a_repository_that_is_transferred(house: World) -> None:
    house.create_repository("globex/other")
    home = house.create_repository("acme/given")

    def transfer() -> None:
        house.github.rename(home, "globex/given")
        house.github.settle(LIMIT_S)

    house.inject("POST", "/check-runs$", then=transfer)
    pull = house.stage.open_pull(home)
    house.wait_until_done()
    check_reviewed(pull)
    assert state(house, pull) == {"done"}
    # the old key sees nothing there any more
    check_calls(house, home, PLAIN + AGAIN + TALK + often(PULL, 4))


@fault(
    "Another repository stands under the old name",
    "it is refused at once, nothing is written there, and the log says so",
)
def test_another_repository_under_the_old_name(house: World) -> None:
    home = house.create_repository("acme/reborn")
    github = house.github
    other: list[Repository] = []

    def replace() -> None:
        with github.lock, github.quietly():
            github.rename(home, "acme/elsewhere")
            home.old_names.clear()
            other.append(github.create_repository("acme/reborn", {"a.py": b""}, private=False))
            house.stage.open_pull(other[0])

    house.inject("GET", "/pulls/1/files$", then=replace)
    pull = house.stage.open_pull(home)
    house.wait_until_done()
    assert state(house, pull) == {"dead"}
    about = f" job=review:{home.id}:"
    assert len(logged(house, "a job is dead", about, "is another repository now")) == 1
    (there,) = other
    assert there.check_runs == []
    assert (pull.reviews, there.pulls[1].reviews, replies(there.pulls[1])) == ([], [], [])
    # what is read side by side reaches the one or the other
    check_calls(house, home, TOKEN + PULL + FILES, may=often(TOKEN, 2) + LOOK + FETCH)
    check_calls(house, there, PULL, may=often(LOOK, 2) + FETCH)
    house.github.delete_repository(there)


# the world changes under a review


@fault(
    "The pull request is closed or merged during its review",
    "no more is said, and the check run says so",
)
@pytest.mark.parametrize("told_of", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("end", ["close", "merge"])
def test_a_pull_that_is_closed(house: World, end: str, *, told_of: bool) -> None:
    def finish() -> None:
        with nullcontext() if told_of else house.github.quietly():
            getattr(pull, end)()

    house.inject("POST", "/check-runs$", then=finish)
    pull = house.stage.open_pull(house.create_repository(f"acme/{end}d-{told_of}".lower()))
    house.wait_until_done()
    run = check(pull)
    assert run.conclusion == "neutral"
    assert "closed" in told(run)
    assert spots(pull) == []
    assert replies(pull) == []
    # who hears of it in time ends the review; else it ends by itself, or both do
    may = TALK + LAST_WORDS if told_of else NONE
    least = TOKEN + BEGIN + CLOSE + (NONE if told_of else TALK)
    check_calls(house, pull.repository, least, may=may)


@fault("The pull request becomes a draft during its review", "this review ends, the next waits")
def test_a_pull_that_becomes_a_draft(house: World) -> None:
    repository = house.create_repository("acme/drafted")

    def change() -> None:
        repository.pulls[1].convert_to_draft()

    house.inject("GET", "/pulls/1/files$", then=change)
    pull = house.stage.open_pull(repository)
    house.wait_until_done()
    check_reviewed(pull)
    old = pull.head_sha
    pull.push({"drafted.py": b"# Means.\n" + NEW})
    house.wait_until_done()
    assert checks(pull) == []
    assert [one.commit_id for one in pull.reviews] == [old]
    check_calls(house, repository, PLAIN + AGAIN)


@fault("The App is uninstalled or suspended during a review", "its jobs end without another word")
@pytest.mark.parametrize("end", ["uninstall", "suspend"])
def test_an_app_that_is_removed(house: World, end: str) -> None:
    repository = house.create_repository(f"{end}ed/{end}ed")
    (installation,) = house.github.installations_on(repository)
    other = house.create_repository(f"acme/not-{end}ed")
    house.inject("GET", "ed/pulls/1/files$", then=lambda: getattr(house.github, end)(installation))
    pull = house.stage.open_pull(repository)
    house.wait_until_done()
    before = len(house.github.calls)
    left = house.stage.open_pull(other)
    house.wait_until_done()
    check_reviewed(left)
    assert state(house, pull) <= {"cancelled", "dead"}
    assert spots(pull) == []
    # a fetch by git that was under way may end; nothing new is begun
    late = [call for call in house.about(repository, before) if ".git/" not in call.path]
    assert late == []
    check_calls(house, other, PLAIN)
    # each call that runs beside the one amid which it happens may come before, after, or never
    may = FETCH + LOOK + often(TOKEN, 2)
    check_calls(house, repository, TOKEN + PULL + FILES, may=may)
    repository.check_runs.clear()  # what an App leaves behind that may write no more
