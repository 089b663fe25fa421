"""Deliveries, good and bad, and what is made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.commands import Command, Verb
from app.core.events import (
    CommandRequest,
    CommentPlace,
    Ignored,
    InstallationGone,
    Person,
    Ping,
    PullClosed,
    RepositoryMoved,
    Request,
    RerunRequest,
    ReviewRequest,
    read_event,
    sign,
)
from app.core.pull import PullRef
from app.errors import WebhookRejected

SECRET = b"a secret of the webhook"
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
HEAD, BASE = "a" * 40, "b" * 40
APP = 4242

ANN = {"id": 7, "login": "ann", "type": "User"}
BOT = {"id": 8, "login": "helper[bot]", "type": "Bot"}
REPOSITORY = {"id": 11, "full_name": "o/r"}
PULL = {
    "number": 5,
    "title": "Fix it",
    "user": ANN,
    "head": {"sha": HEAD, "repo": None},
    "base": {"sha": BASE},
}
COMMON = {"repository": REPOSITORY, "installation": {"id": 99}, "sender": ANN}
OPENED = {"action": "opened", "number": 5, "pull_request": PULL, **COMMON}
COMMENT = {"id": 31, "body": "/review", "user": ANN, "created_at": "2026-01-02T03:04:05Z"}
ISSUE = {"number": 5, "user": {**ANN, "id": 70}, "pull_request": {"url": "x"}}
COMMENTED = {"action": "created", "issue": ISSUE, "comment": COMMENT, **COMMON}
CHECK = {
    "id": 61,
    "head_sha": HEAD,
    "external_id": "review:11:5",
    "app": {"id": APP},
    "pull_requests": [{"number": 5}],
}
REF = PullRef(11, "o/r", 5, 99)


def encode(payload: object) -> bytes:
    return json.dumps(payload).encode()


def headers(
    body: bytes, event: str | None = "pull_request", **changes: str | None
) -> list[tuple[bytes, bytes]]:
    fields = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": GUID,
        "X-Hub-Signature-256": sign(body, SECRET),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in fields.items()
        if value is not None
    ]


def read(payload: object, event: str = "pull_request", app_id: int | None = APP) -> Request:
    body = payload if isinstance(payload, bytes) else encode(payload)
    return read_event(headers(body, event), body, [SECRET], app_id=app_id).request


def refusal(pairs: list[tuple[bytes, bytes]], body: bytes) -> int:
    with pytest.raises(WebhookRejected) as caught:
        read_event(pairs, body, [SECRET])
    assert "Secret" not in str(caught.value)
    return caught.value.status


def without(payload: Mapping[str, Any], path: str, value: object = ...) -> dict[str, Any]:
    """Return a copy with the field at a dotted path gone, or set to another value."""
    copy: dict[str, Any] = json.loads(json.dumps(payload))
    *parents, last = path.split(".")
    inner = copy
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copy


def test_githubs_own_signature_example_is_accepted() -> None:
    # docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    assert sign(b"Hello, World!", b"It's a Secret to Everybody") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


BODY = encode(OPENED)
GOOD = sign(BODY, SECRET)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=\xff\xfe",
        GOOD.upper(),
        GOOD[:-1],
        GOOD + "0",
        " " + GOOD,
        GOOD + " ",
        GOOD + "\n",
        GOOD.replace("sha256=", ""),
        GOOD.replace("sha256=", "sha1="),
        f"{GOOD}, {GOOD}",
        sign(BODY + b" ", SECRET),
        sign(BODY, b"another secret of somebody"),
    ],
)
def test_a_wrong_or_malformed_signature_is_401(signature: str | None) -> None:
    assert refusal(headers(BODY, X_Hub_Signature_256=signature), BODY) == 401


def test_a_sha1_signature_alone_is_401() -> None:
    pairs = headers(BODY, X_Hub_Signature_256=None, X_Hub_Signature="sha1=" + "0" * 40)
    assert refusal(pairs, BODY) == 401


def test_the_same_good_signature_twice_is_401() -> None:
    pairs = headers(BODY)
    assert refusal([*pairs, pairs[-1]], BODY) == 401


def test_one_changed_byte_is_401() -> None:
    assert refusal(headers(BODY), BODY.replace(b"Fix", b"fix")) == 401
    assert refusal(headers(BODY), BODY + b"\r\n") == 401


def test_the_signature_is_checked_before_anything_else() -> None:
    pairs = [(name, b"\xff") for name, _ in headers(BODY)]
    assert refusal(pairs, b"\xff not json") == 401


def test_no_secret_accepts_nothing() -> None:
    with pytest.raises(WebhookRejected) as caught:
        read_event(headers(BODY), BODY, [])
    assert caught.value.status == 401


def test_two_secrets_are_accepted_during_a_rotation() -> None:
    for secrets in ([b"the one that comes", SECRET], [SECRET, b"the one that goes"]):
        assert isinstance(read_event(headers(BODY), BODY, secrets).request, ReviewRequest)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Content_Type": None}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "text/json"}, 415),
        ({"Content_Type": "application/json; charset=utf-16"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"X_GitHub_Delivery": None}, 400),
        ({"X_GitHub_Delivery": "../../etc/passwd"}, 400),
        ({"X_GitHub_Delivery": "' OR 1=1 --"}, 400),
        ({"X_GitHub_Delivery": "0" * 10_000}, 400),
        ({"X_GitHub_Delivery": "\xb2" + GUID[1:]}, 400),
        ({"X_GitHub_Event": None}, 400),
        ({"X_GitHub_Event": ""}, 400),
        ({"X_GitHub_Event": "Pull Request"}, 400),
        ({"X_GitHub_Event": "p" * 65}, 400),
    ],
)
def test_a_header_that_no_delivery_of_github_has_is_refused(
    change: dict[str, str | None], status: int
) -> None:
    assert refusal(headers(BODY, **change), BODY) == status


def test_a_header_sent_twice_is_refused() -> None:
    pairs = headers(BODY)
    assert refusal([*pairs, (b"X-GitHub-Event", b"ping")], BODY) == 400


@pytest.mark.parametrize(
    "media", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"']
)
def test_json_in_utf_8_may_be_named_so(media: str) -> None:
    pairs = headers(BODY, Content_Type=media)
    assert read_event(pairs, BODY, [SECRET]).guid == GUID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b"null",
        b"123",
        b"{}",
        b"{",
        b'{"a": 1} {"b": 2}',
        b'{"action": "opened", "action": "closed"}',
        b'{"repository": {"id": 1, "id": 2}}',
        b'{"number": NaN}',
        b'{"number": Infinity}',
        b'{"number": -Infinity}',
        b'{"number": 1e400}',
        b'{"number": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"title": "\xff"}',
        '{"action": "opened"}'.encode("utf-16"),
        b"\xef\xbb\xbf" + BODY,
        b"{'single': 'quotes'}",
        b'{"a": 1,}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_signed_body_that_is_not_one_strict_json_object_is_400(body: bytes) -> None:
    assert refusal(headers(body), body) == 400


def test_an_opened_pull_is_a_request_to_review_its_head() -> None:
    delivery = read_event(headers(BODY), BODY, [SECRET])
    assert (delivery.guid, delivery.event, delivery.action) == (GUID, "pull_request", "opened")
    assert delivery.request == ReviewRequest(
        REF, HEAD, BASE, "opened", Person(7, "ann"), title="Fix it"
    )
    assert isinstance(delivery.request, ReviewRequest)
    assert delivery.request.key == f"review:11:5:{HEAD}:auto"


@pytest.mark.parametrize("action", ["opened", "reopened", "ready_for_review", "synchronize"])
def test_events_on_one_head_fall_on_one_job(action: str) -> None:
    request = read({**OPENED, "action": action})
    assert isinstance(request, ReviewRequest)
    assert (request.key, request.reason) == (f"review:11:5:{HEAD}:auto", action)


def test_another_base_for_the_same_head_is_another_job() -> None:
    edited = {**OPENED, "action": "edited", "changes": {"base": {"sha": {"from": "c" * 40}}}}
    request = read(edited)
    assert isinstance(request, ReviewRequest)
    assert request.key == f"review:11:5:{HEAD}:base-{BASE[:12]}"


@pytest.mark.parametrize("changes", [None, {"title": {"from": "x"}}, {"base": None}])
def test_edited_words_are_ignored(changes: object) -> None:
    assert isinstance(read({**OPENED, "action": "edited", "changes": changes}), Ignored)


def test_a_closed_pull_stops_its_review() -> None:
    assert read({**OPENED, "action": "closed"}) == PullClosed(REF)


def test_a_pull_that_became_a_draft_finishes_its_review() -> None:
    assert isinstance(read({**OPENED, "action": "converted_to_draft"}), Ignored)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("repository", ..., "repository"),
        ("repository", None, "repository"),
        ("repository", [], "repository"),
        ("repository.id", "11", "repository.id"),
        ("repository.id", True, "repository.id"),
        ("repository.id", 2**63, "repository.id"),
        ("repository.full_name", "o/r/../x", "repository.full_name"),
        ("repository.full_name", "o", "repository.full_name"),
        ("installation", ..., "installation"),
        ("installation", None, "installation"),
        ("installation.id", 0, "installation.id"),
        ("pull_request", None, "pull_request"),
        ("pull_request", "x", "pull_request"),
        ("number", "7", "number"),
        ("number", -1, "number"),
        ("number", 0, "number"),
        ("number", 10**30, "number"),
        ("number", 5.0, "number"),
        ("number", ..., "number"),
        ("pull_request.head", None, "pull_request.head"),
        ("pull_request.head.sha", "HEAD", "pull_request.head.sha"),
        ("pull_request.head.sha", "A" * 40, "pull_request.head.sha"),
        ("pull_request.head.sha", "a" * 39, "pull_request.head.sha"),
        ("pull_request.base.sha", "--output=x", "pull_request.base.sha"),
        ("pull_request.title", 5, "pull_request.title"),
        ("sender", ..., "sender"),
        ("sender.id", None, "sender.id"),
        ("sender.login", "a b\n", "sender.login"),
    ],
)
def test_a_bad_field_of_a_true_delivery_is_ignored_by_its_name(
    path: str, value: object, field: str
) -> None:
    assert read(without(OPENED, path, value)) == Ignored(f"bad field {field}")


def test_half_a_character_in_a_title_is_replaced() -> None:
    body = BODY.replace(b"Fix it", rb"a\ud800b")
    request = read(body)
    assert isinstance(request, ReviewRequest)
    assert request.title == "a\ufffdb"
    request.title.encode()


def test_a_deleted_fork_is_no_trouble() -> None:
    assert isinstance(read(without(OPENED, "pull_request.head.repo", None)), ReviewRequest)


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("star", "created"),
        ("pull_request", "labeled"),
        ("pull_request", ""),
        ("issue_comment", "edited"),
        ("issue_comment", "deleted"),
        ("pull_request_review", "submitted"),
        ("commit_comment", "created"),
        ("push", ""),
        ("check_run", "completed"),
        ("installation", "created"),
    ],
)
def test_what_asks_nothing_of_us_is_ignored(event: str, action: str) -> None:
    assert isinstance(read({**COMMENTED, **OPENED, "action": action}, event), Ignored)


@pytest.mark.parametrize("action", [None, 5, [], "x" * 100])
def test_an_odd_action_is_ignored(action: object) -> None:
    assert isinstance(read({**OPENED, "action": action}), Ignored)


def test_every_event_name_github_has_is_a_name() -> None:
    assert isinstance(read({"action": "edited"}, "projects_v2_item"), Ignored)


@pytest.mark.skipif("POSTIL_WEBHOOK_EXAMPLES" not in os.environ, reason="a download of CI's")
def test_githubs_recorded_payloads_are_read_without_trouble() -> None:
    """Replay the package @octokit/webhooks-examples, unpacked where the variable says."""
    folder = Path(os.environ["POSTIL_WEBHOOK_EXAMPLES"])
    events = [
        event for file in folder.rglob("index.json") for event in json.loads(file.read_text())
    ]
    kinds = {
        (event["name"], type(read(example, event["name"], None)))
        for event in events
        for example in event["examples"]
    }
    assert {name for name, kind in kinds if kind is ReviewRequest} == {"pull_request"}
    assert {name for name, kind in kinds if kind is PullClosed} == {"pull_request"}
    assert {name for name, kind in kinds if kind is RepositoryMoved} == {"repository"}
    assert len(kinds) > 50


def test_a_ping_is_a_ping_whatever_it_says() -> None:
    assert read({"zen": "Design for failure."}, "ping") == Ping()


def test_a_command_in_the_conversation_knows_who_wrote_it_and_whose_the_pull_is() -> None:
    request = read(COMMENTED, "issue_comment")
    assert request == CommandRequest(
        REF,
        (Command(Verb.REVIEW),),
        CommentPlace.CONVERSATION,
        31,
        Person(7, "ann"),
        author_id=70,
        written_at="2026-01-02T03:04:05Z",
    )
    assert isinstance(request, CommandRequest)
    assert request.key == "command:11:conversation:31"


def test_a_command_in_a_review_thread_is_one_too() -> None:
    payload = {"action": "created", "pull_request": PULL, "comment": COMMENT, **COMMON}
    request = read(payload, "pull_request_review_comment")
    assert isinstance(request, CommandRequest)
    assert request.key == "command:11:thread:31"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("issue.pull_request", ...),
        ("comment.body", "thanks!"),
        ("comment.body", None),
        ("sender", BOT),
        ("sender.type", "Organization"),
        ("comment.user", {**ANN, "id": 9}),
        ("comment.performed_via_github_app", {"id": APP}),
        ("comment.performed_via_github_app", {"id": "x"}),
        ("comment.id", None),
        ("action", "edited"),
    ],
)
def test_a_comment_without_a_command_for_us_is_ignored(path: str, value: object) -> None:
    assert isinstance(read(without(COMMENTED, path, value), "issue_comment"), Ignored)


def test_a_person_may_use_another_app_to_write_a_command() -> None:
    payload = without(COMMENTED, "comment.performed_via_github_app", {"id": APP + 1})
    assert isinstance(read(payload, "issue_comment"), CommandRequest)


def test_the_buttons_of_our_check_run_are_requests() -> None:
    payload = {"action": "rerequested", "check_run": CHECK, **COMMON}
    expected = RerunRequest(
        11, "o/r", 99, HEAD, 61, "review:11:5", (5,), "rerequested", Person(7, "ann")
    )
    assert read(payload, "check_run") == expected
    pressed = {**payload, "action": "requested_action", "requested_action": {"identifier": "full"}}
    request = read(pressed, "check_run")
    assert isinstance(request, RerunRequest)
    assert request.action == "full"
    suite = {"action": "rerequested", "check_suite": without(CHECK, "external_id"), **COMMON}
    request = read(suite, "check_suite")
    assert isinstance(request, RerunRequest)
    assert (request.check_run_id, request.numbers) == (None, (5,))


def test_a_pull_from_a_fork_is_not_named_by_its_check_run() -> None:
    payload = {"action": "rerequested", "check_run": {**CHECK, "pull_requests": []}, **COMMON}
    request = read(payload, "check_run")
    assert isinstance(request, RerunRequest)
    assert request.numbers == ()


@pytest.mark.parametrize("app_id", [APP + 1, None])
def test_another_apps_check_run_is_not_ours(app_id: int | None) -> None:
    payload = {"action": "rerequested", "check_run": CHECK, **COMMON}
    assert read(payload, "check_run", app_id) == Ignored("another App's check")


def test_a_bot_presses_no_button() -> None:
    payload = {"action": "rerequested", "check_run": CHECK, **COMMON, "sender": BOT}
    assert isinstance(read(payload, "check_run"), Ignored)


@pytest.mark.parametrize("action", ["deleted", "suspend"])
def test_a_removed_installation_is_gone(action: str) -> None:
    payload = {"action": action, "installation": {"id": 99}, "sender": ANN}
    assert read(payload, "installation") == InstallationGone(99)


def test_removed_repositories_are_gone_and_none_is_not_all() -> None:
    payload: dict[str, Any] = {
        "action": "removed",
        "installation": {"id": 99},
        "repositories_removed": [{"id": 11, "full_name": "o/r"}],
    }
    assert read(payload, "installation_repositories") == InstallationGone(99, (11,))
    payload["repositories_removed"] = []
    assert isinstance(read(payload, "installation_repositories"), Ignored)


@pytest.mark.parametrize("action", ["renamed", "transferred"])
def test_a_moved_repository_keeps_its_id(action: str) -> None:
    payload = {"action": action, **COMMON, "repository": {"id": 11, "full_name": "new/name"}}
    assert read(payload, "repository") == RepositoryMoved(11, "new/name", 99)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    "action",
    "number",
    "pull_request",
    "pull_request.head",
    "pull_request.head.sha",
    "repository",
    "repository.id",
    "installation",
    "installation.id",
    "sender",
    "sender.login",
    "issue",
    "issue.user",
    "comment",
    "comment.body",
    "comment.id",
    "check_run",
    "check_run.app",
    "check_run.pull_requests",
]
EVERYTHING = {**COMMENTED, **OPENED, "check_run": CHECK, "check_suite": CHECK}


@given(
    st.sampled_from(PATHS),
    json_values,
    st.sampled_from(
        [("pull_request", "opened"), ("issue_comment", "created"), ("check_run", "rerequested")]
    ),
)
def test_no_value_in_any_field_raises(path: str, value: object, event: tuple[str, str]) -> None:
    payload = without({**EVERYTHING, "action": event[1]}, path, value)
    body = json.dumps(payload).encode()
    request = read_event(headers(body, event[0]), body, [SECRET], app_id=APP).request
    assert isinstance(request, Request)
