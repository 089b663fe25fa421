"""Reviews and their comments keep GitHub's rules after they are posted."""

import pytest

from sandbox.github import GitHub, Pull
from tests.sandbox.conftest import NUMBERED, Client, Scene

PULL = "/repos/acme/shop/pulls/1"
COMMENTS = "/repos/acme/shop/pulls/comments"


def comment_on(client: Client, line: int = 20, side: str = "RIGHT") -> int:
    comment = {"path": "cart.py", "line": line, "side": side, "body": "why?"}
    client.post(f"{PULL}/reviews", {"event": "COMMENT", "body": "x", "comments": [comment]})
    newest = client.get(f"{PULL}/comments").data[-1]
    return int(newest["id"])


def place(client: Client, comment: int) -> tuple[object, ...]:
    one = client.get(f"{COMMENTS}/{comment}").data
    return tuple(one[name] for name in ("line", "position", "original_line", "commit_id"))


def test_a_review_without_an_event_is_pending_and_alone(client: Client, scene: Scene) -> None:
    made = client.post(f"{PULL}/reviews", {"body": "later"})
    assert made.data["state"] == "PENDING"
    assert "submitted_at" not in made.data
    again = client.post(f"{PULL}/reviews", {"body": "two", "event": "COMMENT"})
    message = "User can only have one pending review per pull request"
    assert (again.status, again.data["errors"]) == (422, [message])
    other = Client(scene.github, scene.github.user_token(scene.alice).value)
    assert other.get(f"{PULL}/reviews").data == []
    url = f"{PULL}/reviews/{made.data['id']}"
    assert client.call("DELETE", url).status == 200
    assert client.get(f"{PULL}/reviews").data == []


def test_a_pending_review_is_submitted(client: Client, github: GitHub) -> None:
    comment = {"path": "cart.py", "line": 20, "body": "why?"}
    made = client.post(f"{PULL}/reviews", {"comments": [comment]}).data
    assert client.get(f"{PULL}/comments").data == []
    url = f"{PULL}/reviews/{made['id']}/events"
    done = client.post(url, {"event": "COMMENT", "body": "now"})
    assert (done.data["state"], done.data["body"]) == ("COMMENTED", "now")
    assert len(client.get(f"{PULL}/comments").data) == 1
    assert "pull_request_review" in {one.event for one in github.deliveries}
    assert client.call("DELETE", url.removesuffix("/events")).status == 422


@pytest.mark.parametrize("event", ["APPROVE", "REQUEST_CHANGES"])
def test_nobody_judges_their_own_pull(scene: Scene, event: str) -> None:
    author = Client(scene.github, scene.github.user_token(scene.alice).value)
    answer = author.post(f"{PULL}/reviews", {"event": event, "body": "me"})
    assert answer.status == 422
    assert answer.data["errors"][0].endswith("your own pull request")


def test_a_body_may_not_be_too_long(client: Client) -> None:
    url = "/repos/acme/shop/issues/1/comments"
    assert client.post(url, {"body": "x" * 65_536}).status == 201
    too_long = client.post(url, {"body": "x" * 65_537})
    assert too_long.status == 422
    message = "body is too long (maximum is 65536 characters)"
    assert too_long.data["errors"][0]["message"] == message
    review = client.post(f"{PULL}/reviews", {"event": "COMMENT", "body": "x" * 65_537})
    assert review.data["errors"] == [message]


def test_a_comment_moves_with_its_line(client: Client, pull: Pull) -> None:
    number = comment_on(client)
    first = pull.head_sha
    changed = NUMBERED.replace("line 20\n", "line twenty\nand a half\n")
    pull.push({"cart.py": "on top\n" + changed})
    assert place(client, number) == (21, 10, 20, pull.head_sha)
    assert client.get(f"{COMMENTS}/{number}").data["original_commit_id"] == first


def test_a_comment_on_a_rewritten_line_is_outdated(client: Client, pull: Pull) -> None:
    number = comment_on(client)
    first = pull.head_sha
    pull.push({"cart.py": NUMBERED.replace("line 20\n", "line XX\n")})
    assert place(client, number) == (None, None, 20, first)


def test_a_comment_on_a_removed_line_stays_while_it_is_removed(client: Client, pull: Pull) -> None:
    number = comment_on(client, side="LEFT")
    pull.push({"cart.py": NUMBERED.replace("line 20\n", "line XX\n")})
    assert place(client, number)[0] == 20
    pull.push({"cart.py": NUMBERED.replace("line 2\n", "two\n")})
    assert place(client, number)[0] is None


def test_a_comment_on_a_line_that_left_the_diff_is_outdated(client: Client, pull: Pull) -> None:
    number = comment_on(client, line=17)
    pull.push({"cart.py": NUMBERED.replace("line 23\n", "twenty three\n")})
    assert place(client, number)[0] is None


def test_a_file_comment_has_no_line(client: Client, pull: Pull) -> None:
    wanted = {"path": "new.py", "subject_type": "file", "body": "?", "commit_id": pull.head_sha}
    made = client.post(f"{PULL}/comments", wanted)
    assert made.status == 201
    assert (made.data["subject_type"], made.data["line"]) == ("file", None)
    pull.push({"new.py": "x = 2\n"})
    assert client.get(f"{COMMENTS}/{made.data['id']}").data["position"] == 1


def test_replies_stand_in_the_thread_of_the_first_comment(client: Client, pull: Pull) -> None:
    first = comment_on(client)
    one = client.post(f"{PULL}/comments/{first}/replies", {"body": "because"}).data
    two = client.post(f"{PULL}/comments", {"in_reply_to": first, "body": "and"}).data
    assert (one["in_reply_to_id"], two["in_reply_to_id"]) == (first, first)
    assert len(pull.threads) == 1


def test_only_the_author_changes_a_comment(scene: Scene, client: Client) -> None:
    number = comment_on(client)
    url = f"{COMMENTS}/{number}"
    other = Client(scene.github, scene.github.user_token(scene.alice).value)
    assert other.patch(url, {"body": "mine"}).status == 403
    assert client.patch(url, {"body": "better"}).data["body"] == "better"
    assert client.call("DELETE", url).status == 204
    assert client.get(url).status == 404


def test_a_reaction_is_given_once(client: Client) -> None:
    url = f"{COMMENTS}/{comment_on(client)}/reactions"
    assert client.post(url, {"content": "eyes"}).status == 201
    again = client.post(url, {"content": "eyes"})
    assert again.status == 200
    assert client.post(url, {"content": "shrug"}).status == 422
    assert client.call("DELETE", f"{url}/{again.data['id']}").status == 204
    assert client.get(url).data == []


def test_a_locked_conversation_refuses_who_cannot_push(client: Client, pull: Pull) -> None:
    pull.locked = True
    said = client.post("/repos/acme/shop/issues/1/comments", {"body": "x"})
    assert (said.status, said.data["message"]) == (
        403,
        "Unable to create comment because issue is locked.",
    )
    review = client.post(f"{PULL}/reviews", {"event": "COMMENT", "body": "x"})
    assert (review.status, review.data["errors"]) == (422, ["lock prevents review"])
    comment = {"path": "cart.py", "line": 20, "body": "?", "commit_id": pull.head_sha}
    assert client.post(f"{PULL}/comments", comment).status == 403


def test_what_an_app_says_is_marked_as_the_apps(scene: Scene, client: Client) -> None:
    said = client.post("/repos/acme/shop/issues/1/comments", {"body": "x"}).data
    assert said["performed_via_github_app"]["id"] == scene.app.id
    assert said["user"]["login"] == "postil[bot]"
    scene.pull.comment(scene.alice, "y")
    last = client.get("/repos/acme/shop/issues/1/comments").data[-1]
    assert last["performed_via_github_app"] is None
    assert last["author_association"] == "COLLABORATOR"
