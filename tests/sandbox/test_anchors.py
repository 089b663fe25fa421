"""The lines that can carry a comment are exactly the lines that git's diff shows."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unidiff.patch import PatchSet

from sandbox.github import SYMLINK, Blob, GitHub, Pull, Repository
from sandbox.github.git import GitRepository, Person
from tests.sandbox.conftest import NUMBERED, Client, Scene

REVIEWS = "/repos/acme/shop/pulls/1/reviews"
SOMEBODY = Person("somebody", "somebody@example.invalid", 1)
LINES = st.lists(st.sampled_from("abcdefg"), max_size=30)


def review(client: Client, *comments: dict[str, object]) -> tuple[int, list[str]]:
    said = [{"body": "?", **comment} for comment in comments]
    answer = client.post(REVIEWS, {"event": "COMMENT", "body": "x", "comments": said})
    return answer.status, answer.data.get("errors", [])


@settings(max_examples=25)
@given(old=LINES, new=LINES, tail=st.sampled_from(["", "no end"]))
def test_commentable_lines_are_those_of_a_real_diff(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str], tail: str
) -> None:
    git = shared_repository(tmp_path_factory)
    texts = ["".join(f"{line}\n" for line in lines) + tail for lines in (old, new)]
    base, head = (
        git.commit({"f": text}, branch=name, message="m", author=SOMEBODY)
        for name, text in zip(("base", "head"), texts, strict=True)
    )
    expected = set()
    for patched in PatchSet(git.run("diff", "-U3", base, head).decode()):
        for line in (line for hunk in patched for line in hunk):
            expected |= {("LEFT", line.source_line_no), ("RIGHT", line.target_line_no)}
    claimed = {
        (side, number)
        for change in git.changes(base, head)
        for side in ("LEFT", "RIGHT")
        for number in range(40)
        if change.find(side, number)
    }
    assert claimed == {one for one in expected if one[1] is not None}


def shared_repository(factory: pytest.TempPathFactory) -> GitRepository:
    path = factory.getbasetemp() / "anchors.git"
    return GitRepository(Path(path))


@pytest.mark.parametrize("side", ["LEFT", "RIGHT"])
def test_the_endpoint_accepts_every_line_of_the_diff_and_no_other(
    client: Client, side: str
) -> None:
    # The hunk is @@ -17,7 +17,8 @@: three lines around the change on both sides.
    last = 23 if side == "LEFT" else 24
    accepted = [
        line
        for line in range(14, 28)
        if review(client, {"path": "cart.py", "line": line, "side": side})[0] == 200
    ]
    assert accepted == list(range(17, last + 1))


def test_a_review_with_one_bad_line_leaves_nothing(client: Client, pull: Pull) -> None:
    good = {"path": "cart.py", "line": 20}
    status, errors = review(client, good, {"path": "cart.py", "line": 1}, good)
    assert (status, errors) == (422, ["Line could not be resolved"])
    assert (pull.reviews, pull.threads) == ([], [])


def test_several_problems_are_one_sentence(client: Client) -> None:
    bad = {"path": "cart.py", "line": 1}
    _, errors = review(client, bad, {"path": "no.py", "line": 1}, bad)
    assert errors == [
        "Line could not be resolved, Path could not be resolved, and Line could not be resolved"
    ]


@pytest.mark.parametrize(
    ("start", "line", "status"),
    [(18, 20, 200), (20, 20, 422), (21, 20, 422), (2, 20, 422)],
)
def test_a_range_must_go_forward_inside_the_diff(
    client: Client, start: int, line: int, status: int
) -> None:
    asked = {"path": "cart.py", "start_line": start, "line": line, "start_side": "RIGHT"}
    assert review(client, asked)[0] == status


def test_a_range_must_stay_in_one_hunk(scene: Scene) -> None:
    changed = NUMBERED.replace("line 2\n", "two\n").replace("line 30\n", "thirty\n")
    scene.pull.push({"cart.py": changed})
    asked = {"path": "cart.py", "start_line": 2, "line": 30}
    assert review(scene.client, asked) == (422, ["Start line could not be resolved"])


def test_a_position_counts_from_the_first_hunk(client: Client, pull: Pull) -> None:
    assert review(client, {"path": "cart.py", "position": 4})[0] == 200
    assert (pull.threads[0].now.side, pull.threads[0].now.line) == ("LEFT", 20)
    refused = (422, ["Position could not be resolved"])
    assert review(client, {"path": "cart.py", "position": 99}) == refused


def test_the_diff_of_the_named_commit_decides(scene: Scene) -> None:
    first = scene.pull.head_sha
    scene.pull.push({"cart.py": NUMBERED.replace("line 2\n", "two\n")})
    comment = {"path": "cart.py", "line": 20, "body": "?"}
    wanted = {"event": "COMMENT", "commit_id": first, "comments": [comment]}
    assert scene.client.post(REVIEWS, wanted).status == 200
    assert scene.client.post(REVIEWS, wanted | {"commit_id": None}).status == 422


def test_a_commit_that_is_not_of_the_pull_is_refused(scene: Scene) -> None:
    gone = scene.pull.head_sha
    start = scene.pull.base_sha
    scene.repository.commit({"cart.py": "rewritten\n"}, branch="one", parent=start)
    answer = scene.client.post(REVIEWS, {"event": "COMMENT", "body": "x", "commit_id": gone})
    assert answer.status == 422
    assert answer.data["errors"] == ["The commitOID is not part of the pull request"]


def test_a_single_comment_is_refused_in_other_words(client: Client, pull: Pull) -> None:
    comment = {"path": "cart.py", "line": 1, "body": "?", "commit_id": pull.head_sha}
    answer = client.post("/repos/acme/shop/pulls/1/comments", comment)
    assert answer.status == 422
    assert answer.data["message"] == "Validation Failed"
    message = "pull_request_review_thread.line must be part of the diff"
    assert answer.data["errors"][0]["message"] == message


def test_a_file_that_became_a_link_has_lines_on_both_sides(
    github: GitHub, repository: Repository
) -> None:
    head = repository.commit({"notes.md": Blob(b"cart.py", SYMLINK)}, branch="link")
    (change,) = repository.git.changes(repository.git.branches()["main"], head)
    assert change.status == "changed"
    assert change.find("LEFT", 1)
    assert change.find("RIGHT", 1)
    assert github.unexpected == []
