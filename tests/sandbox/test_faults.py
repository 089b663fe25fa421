"""Each thing that can be made to go wrong goes wrong in its own way."""

import http.client
import threading
import time

import pytest

from sandbox.github import Fault, GitHub, Pull
from tests.sandbox.conftest import Client, Scene

COMMENTS = "/repos/acme/shop/issues/1/comments"


def say(client: Client, text: str = "x") -> int:
    return client.post(COMMENTS, {"body": text}).status


def test_a_failure_without_applying_changes_nothing(client: Client, pull: Pull) -> None:
    client.github.inject(Fault("POST", r"/issues/\d+/comments$", status=502))
    assert [say(client), say(client)] == [502, 201]
    assert len(pull.comments) == 1


@pytest.mark.parametrize("apply", [1, 2])
def test_a_write_is_applied_and_then_fails(client: Client, pull: Pull, apply: int) -> None:
    client.github.inject(Fault("POST", "/comments$", status=502, apply=apply))
    assert say(client) == 502
    assert len(pull.comments) == apply


def test_a_fault_hits_the_nth_call_some_times(client: Client) -> None:
    fault = client.github.inject(Fault("POST", "/comments$", nth=2, times=2, status=500))
    assert [say(client) for _ in range(5)] == [201, 500, 500, 201, 201]
    assert fault.hits == 2


def test_a_body_and_headers_are_replaced(client: Client) -> None:
    fault = Fault("GET", "/comments$", body="<html>", headers={"Content-Type": "text/html"})
    client.github.inject(fault)
    answer = client.get(COMMENTS)
    assert (answer.status, answer.body) == (200, b"<html>")
    assert answer.headers["Content-Type"] == "text/html"


def test_a_redirect_goes_where_the_test_says(client: Client) -> None:
    client.github.inject(Fault("GET", "/pulls/1$", status=307, location="http://127.0.0.1:9/x"))
    answer = client.get("/repos/acme/shop/pulls/1")
    assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.1:9/x")


def test_a_connection_is_reset_after_the_write(client: Client, pull: Pull) -> None:
    client.github.inject(Fault("POST", "/comments$", reset=True, apply=1))
    with pytest.raises(ConnectionResetError):
        say(client)
    assert len(pull.comments) == 1


def test_a_body_is_cut(client: Client) -> None:
    client.github.inject(Fault("GET", "/pulls/1$", cut_after_bytes=10))
    with pytest.raises(http.client.IncompleteRead) as raised:
        client.get("/repos/acme/shop/pulls/1")
    assert len(raised.value.partial) == 10


def test_a_body_drips(client: Client) -> None:
    client.github.inject(
        Fault("GET", "/pulls/1$", body="12345", drip_s=0.02, headers={"Content-Length": "5"})
    )
    started = time.monotonic()
    assert client.get("/repos/acme/shop/pulls/1").body == b"12345"
    assert time.monotonic() - started >= 0.1


def test_an_answer_is_delayed(client: Client) -> None:
    client.github.inject(Fault("GET", "/pulls/1$", delay_s=0.1))
    started = time.monotonic()
    assert client.get("/repos/acme/shop/pulls/1").status == 200
    assert time.monotonic() - started >= 0.1


def test_a_hanging_call_ends_when_the_github_does() -> None:
    with GitHub() as github:
        scene_pull = make_pull(github)
        github.inject(Fault("GET", "/rate_limit$", hang=True))
        errors: list[BaseException] = []

        def call() -> None:
            try:
                Client(github).get("/rate_limit")
            except (OSError, http.client.HTTPException) as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while not github.calls:
            time.sleep(0.01)
        assert thread.is_alive()
        assert scene_pull.state == "open"
    thread.join(5)
    assert len(errors) == 1


def make_pull(github: GitHub) -> Pull:
    repository = github.create_repository("acme/shop", {"a": "b\n"})
    repository.commit({"a": "c\n"}, branch="one")
    return repository.open_pull("one", "t", github.create_user("alice"))


def test_new_rows_lag_behind_in_lists(scene: Scene) -> None:
    say(scene.client, "old")
    scene.github.lag(reads=2)
    say(scene.client, "new")
    shown = [len(scene.client.get(COMMENTS).data) for _ in range(4)]
    assert shown == [1, 1, 2, 2]


def test_every_call_is_recorded_without_its_secret(scene: Scene, github: GitHub) -> None:
    say(scene.client, "remember")
    call = github.calls[-1]
    assert call.template == "/repos/{owner}/{repo}/issues/{number}/comments"
    assert (call.method, call.status) == ("POST", 201)
    assert call.installation_id == scene.installation.id
    assert b"remember" in call.body
    assert "authorization" not in call.headers


def test_a_call_that_a_fault_answered_is_known_by_its_endpoint_and_what_it_was_told(
    scene: Scene, github: GitHub, pull: Pull
) -> None:
    github.script.weather = lambda method, _path: (
        Fault(method, "", status=429, headers={"Retry-After": "7"}) if method == "POST" else None
    )
    assert say(scene.client) == 429
    pull.close()
    call = github.calls[-1]
    assert call.template == "/repos/{owner}/{repo}/issues/{number}/comments"
    assert (call.answered["retry-after"], call.installation_id) == ("7", scene.installation.id)
    assert (call.head_sha, call.open) == (pull.head_sha, True)
    assert github.unexpected == []
    assert scene.client.get(COMMENTS).status == 200
    assert github.calls[-1].open is False


def test_a_fault_may_be_for_some_words_only_and_change_the_world(
    client: Client, pull: Pull
) -> None:
    client.github.inject(Fault("POST", "/comments$", holds="bad", status=422))
    client.github.inject(Fault("POST", "/comments$", holds="last", then=pull.close))
    assert [say(client, words) for words in ("good", "bad", "the last")] == [201, 422, 201]
    assert pull.state == "closed"


def test_a_mistake_of_the_sandbox_is_raised_at_the_end() -> None:
    def broken() -> float:
        raise ZeroDivisionError

    github = GitHub()
    github.__enter__()
    github.clock = broken
    with pytest.raises(http.client.RemoteDisconnected):
        Client(github).get("/rate_limit")
    with pytest.raises(ZeroDivisionError):
        github.close()
