"""What one run hands to the next in its check run, and whose words are not taken for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.adapters.github.limits import CHECK_TEXT
from app.adapters.github.marks import Marks
from app.adapters.github.records import COMMITS, GitHubRecords
from app.core.review import Review
from sandbox.github import CheckRun, checks
from tests.adapters.github.conftest import JOB, NEW, Scene, report
from tests.adapters.github.one_review import KEY

TEXTS = {"0" * 32: "[]", "1" * 32: '[{"title":"It breaks"}]'}


@pytest.fixture(autouse=True)
def _one_access(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log in once: that takes most of the time."""
    access = scene.access()
    monkeypatch.setattr(Scene, "access", lambda _scene: access)


def records(scene: Scene, key: bytes = KEY) -> GitHubRecords:
    return GitHubRecords(scene.access(), Marks(key))


def hand_on(scene: Scene, texts: dict[str, str] | None = None) -> CheckRun:
    """Review the head without a word, and hand something on."""
    pull, reviews = scene.fetch(), scene.reviews()
    check = reviews.open_check(pull, f"{JOB}:{pull.head_sha}")
    text = records(scene).write(pull, TEXTS if texts is None else texts)
    reviews.close_check(pull, check, report(text=text))
    return scene.repository.check_runs[-1]


def push(scene: Scene, number: int = 0) -> str:
    """Push, and return the head before."""
    before = scene.pull.head_sha
    scene.pull.push({"cart.py": f"{NEW}more {number}\n"})
    return before


def fetch(scene: Scene, before: str | None = None) -> dict[str, str]:
    pull = scene.fetch()
    check = scene.reviews().open_check(pull, f"{JOB}:{pull.head_sha}")
    assert check is not None
    return dict(records(scene).fetch(pull, check, before))


def test_a_push_finds_what_the_head_before_it_handed_on(scene: Scene) -> None:
    hand_on(scene)
    before = push(scene)
    scene.github.calls.clear()
    assert fetch(scene, before) == TEXTS
    assert len([one for one in scene.github.calls if one.method == "GET"]) == 5
    assert scene.github.called("POST", "graphql") == []


def test_the_same_head_reviewed_again_finds_its_own(scene: Scene) -> None:
    run = hand_on(scene)
    assert fetch(scene) == TEXTS
    assert run.status == "in_progress"


def test_what_was_handed_on_survives_a_force_push(scene: Scene) -> None:
    hand_on(scene)
    before, main = scene.pull.head_sha, scene.repository.git.branches()["main"]
    scene.repository.commit({"cart.py": NEW}, branch="one", message="Again", parent=main)
    assert scene.pull.head_sha != before
    assert fetch(scene, before) == TEXTS


def test_a_head_whose_run_was_killed_is_passed_over(scene: Scene) -> None:
    hand_on(scene)
    push(scene)
    killed = push(scene, 1)
    assert fetch(scene, killed) == TEXTS


def test_a_force_push_over_a_killed_run_finds_the_commit_of_our_last_review(scene: Scene) -> None:
    pull = scene.fetch()
    scene.reviews().post(pull, Review(JOB, pull.head_sha, "", scene.review().comments, report()))
    scene.reviews().post(pull, replace(scene.review(first=2), key="review:1:1:full"))
    hand_on(scene)
    main = scene.repository.git.branches()["main"]
    scene.repository.commit({"cart.py": NEW}, branch="one", message="Again", parent=main)
    assert fetch(scene, "0" * 40) == TEXTS


def test_what_several_runs_on_a_head_handed_on_is_put_together(scene: Scene) -> None:
    hand_on(scene, {"a": "old", "b": "old"})
    pull, reviews = scene.fetch(), scene.reviews()
    check = reviews.open_check(pull, "review:1:1:full")
    text = records(scene).write(pull, {"a": "new"})
    reviews.close_check(pull, check, report(text=text))
    assert fetch(scene, push(scene)) == {"a": "new", "b": "old"}


def test_how_far_back_is_looked_is_bounded(scene: Scene) -> None:
    hand_on(scene)
    for number in range(COMMITS + 3):
        before = push(scene, number)
    scene.github.calls.clear()
    assert fetch(scene, before) == {}
    assert len(scene.github.called("GET", "/commits/.*/check-runs")) == COMMITS + 1


def test_a_check_run_s_text_holds_no_more_than_github_takes(scene: Scene) -> None:
    many = {f"{number:032x}": f"{number * 7919:x}" * 9 for number in range(20_000)}
    run = hand_on(scene, many)
    assert CHECK_TEXT - 200 < len(run.output["text"]) <= CHECK_TEXT
    assert len(fetch(scene, push(scene))) > 500


def test_without_anything_to_hand_on_the_check_run_has_no_text(scene: Scene) -> None:
    assert "text" not in hand_on(scene, {}).output


def text_of(scene: Scene, *, key: bytes = KEY, number: int = 1, head: str | None = None) -> str:
    pull = scene.fetch()
    pull = replace(pull, ref=replace(pull.ref, number=number), head_sha=head or pull.head_sha)
    return records(scene, key).write(pull, TEXTS)


@pytest.mark.parametrize("how", ["key", "pull", "head", "cut", "long", "words", "none"])
def test_what_is_not_signed_for_this_head_of_this_pull_is_nothing(scene: Scene, how: str) -> None:
    run = hand_on(scene)
    whole = str(run.output["text"])
    run.output["text"] = {
        "key": text_of(scene, key=b"another key"),
        "pull": text_of(scene, number=2),
        "head": text_of(scene, head="a" * 40),
        "cut": whole[:-9],
        "long": whole[:-4] + "A" * 1_000_000 + " -->",
        "words": f"See {whole}",
        "none": None,
    }[how]
    assert fetch(scene, push(scene)) == {}
    run.output["text"] = whole
    assert fetch(scene, run.suite.head_sha) == TEXTS


def test_a_run_by_another_app_hands_nothing_on_whatever_it_holds(scene: Scene) -> None:
    run = hand_on(scene)
    run.suite.app = scene.github.create_app("postil-official")
    assert fetch(scene, push(scene)) == {}


def test_a_run_by_another_app_is_not_taken_even_if_the_list_is_not_filtered(scene: Scene) -> None:
    other = scene.github.create_app("postil-official")
    output = {"title": "t", "summary": "s", "text": text_of(scene)}
    wanted = {"name": "Postil", "head_sha": scene.pull.head_sha, "output": output}
    checks.create(scene.github, scene.repository, other, wanted)
    for run in scene.repository.check_runs:
        run.suite.app = other
    before = push(scene)
    foreign = {"id": 5, "status": "completed", "app": {"id": other.id, "slug": "x"}}
    body = {"total_count": 1, "check_runs": [{**foreign, "output": output}]}
    scene.inject("GET", f"/commits/{before}/check-runs", body=body)
    assert fetch(scene, before) == {}


def test_a_commit_that_is_gone_hands_nothing_on(scene: Scene) -> None:
    assert fetch(scene, "0" * 40) == {}
