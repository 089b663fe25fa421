"""What GitHub told us: (headers, body) to one typed request. The signature is checked first.

A delivery that is not GitHub's, or not well-formed, raises WebhookRejected with its HTTP status.
One that is GitHub's but holds a field we can't use is Ignored with the field's name: an error
status would only show as a failed delivery for ever.
docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.core.commands import Command, Misuse, parse_command
from app.core.pull import PullRef
from app.errors import WebhookRejected

MAX_BODY = 25 * 1024 * 1024
"""GitHub sends no larger payload (docs.github.com/en/webhooks/webhook-events-and-payloads)."""

AUTO = "auto"
"""The kind of a review that a push or a plain ``/review`` asks for: one a head."""
FULL = "full"
"""The kind of a review of the whole change, whatever was reviewed before."""

MAX_ID = 2**63 - 1
MAX_NUMBER = 10**9
MAX_TITLE = 1024
MAX_COMMENT = 70_000


class CommentPlace(StrEnum):
    """Where a command was written; the answer goes to the same place."""

    CONVERSATION = "conversation"
    THREAD = "thread"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Person:
    """Who did it. The id is the identity; the login may change or be a look-alike."""

    id: int
    login: str
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """The wish to review one head of one pull request.

    ``forced`` runs again although the same head was reviewed under the same kind before; ``cause``
    names what asked, so that the same wish is not granted twice.
    """

    ref: PullRef
    head_sha: str
    base_sha: str
    reason: str
    sender: Person
    kind: str = AUTO
    title: str = ""
    focus: str = ""
    forced: bool = False
    cause: str = ""

    @property
    def key(self) -> str:
        """Name the job: redeliveries and twin events fall on the same one."""
        return f"review:{self.ref.repository_id}:{self.ref.number}:{self.head_sha}:{self.kind}"


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """Commands in one new comment, not yet permitted to anybody.

    ``comment_id`` is the check run's id when ``place`` is CHECK, and ``press`` tells one press of
    its button from the next.
    """

    ref: PullRef
    commands: tuple[Command | Misuse, ...]
    place: CommentPlace
    comment_id: int
    sender: Person
    author_id: int | None = None
    written_at: str = ""
    press: str = ""

    @property
    def key(self) -> str:
        """Name the job: one answer a comment."""
        pressed = f":{self.press}" if self.press else ""
        return f"command:{self.ref.repository_id}:{self.place}:{self.comment_id}{pressed}"


@dataclass(frozen=True, slots=True)
class RerunRequest:
    """Somebody pressed a button of our check run; ``numbers`` is empty for pulls from forks."""

    repository_id: int
    repository: str
    installation_id: int
    head_sha: str
    check_run_id: int | None
    external_id: str
    numbers: tuple[int, ...]
    action: str
    sender: Person


@dataclass(frozen=True, slots=True)
class PullClosed:
    """A pull request was closed or merged: its review stops."""

    ref: PullRef


@dataclass(frozen=True, slots=True)
class InstallationGone:
    """The App may no longer act: on these repositories, or on all when there are none."""

    installation_id: int
    repository_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RepositoryMoved:
    """A repository was renamed or transferred; its id stays."""

    repository_id: int
    repository: str
    installation_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """GitHub asks whether somebody listens."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A true delivery that asks nothing of us."""

    reason: str


Request = (
    ReviewRequest
    | CommandRequest
    | RerunRequest
    | PullClosed
    | InstallationGone
    | RepositoryMoved
    | Ping
    | Ignored
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One signed delivery; GitHub repeats the GUID when it redelivers."""

    guid: str
    event: str
    action: str
    request: Request


Headers = Sequence[tuple[bytes, bytes]]
"""Header pairs as they came: names in any case, repeated when they were sent twice."""


def read_event(
    headers: Headers, body: bytes, secrets: Sequence[bytes], *, app_id: int | None = None
) -> Delivery:
    """Read one delivery. Raises WebhookRejected.

    ``app_id`` is our own App's: what it did is not a reason to act, and only its check runs are
    ours. Without it no button of a check run is obeyed.
    """
    fields = _Headers(headers)
    _check_signature(fields.all(b"x-hub-signature-256"), body, secrets)
    _check_content_type(fields)
    guid, event = _read_guid(fields), _read_event_name(fields)
    payload = _parse_payload(body)
    action = payload.get("action")
    known = action if isinstance(action, str) and len(action) <= MAX_NAME else ""
    return Delivery(guid, event, known, _read_request(event, known, payload, app_id))


def sign(body: bytes, secret: bytes) -> str:
    """Return the value of ``X-Hub-Signature-256`` for a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


MAX_NAME = 64
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EVENT = re.compile(rf"[a-z0-9_]{{1,{MAX_NAME}}}")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FULL_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9._\[\]-]{1,100}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Headers:
    """Header values by lower-case name, every one of them."""

    def __init__(self, pairs: Headers) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self._pairs if key == name]

    def one(self, name: bytes, *, status: int) -> str:
        values = self.all(name)
        label = name.decode()
        if not values:
            raise WebhookRejected(f"{label} is missing", status=status)
        if len(values) > 1:
            raise WebhookRejected(f"{label} was sent more than once", status=status)
        try:
            return values[0].decode("ascii").strip()
        except UnicodeDecodeError:
            raise WebhookRejected(f"{label} is not plain ASCII", status=status) from None


def _check_signature(values: Sequence[bytes], body: bytes, secrets: Sequence[bytes]) -> None:
    """Compare bytes with bytes, against every secret, whatever the first says."""
    if len(values) != 1:
        raise WebhookRejected("one signature is needed", status=401)
    matches = [hmac.compare_digest(sign(body, secret).encode(), values[0]) for secret in secrets]
    if not any(matches):
        raise WebhookRejected("the signature does not match", status=401)


def _check_content_type(fields: _Headers) -> None:
    if fields.all(b"content-encoding") not in ([], [b"identity"]):
        raise WebhookRejected("a compressed body is not accepted", status=415)
    media, _, parameters = fields.one(b"content-type", status=415).lower().partition(";")
    charset = parameters.replace('"', "").replace(" ", "")
    if media.strip() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise WebhookRejected("set the webhook's content type to application/json", status=415)


def _read_guid(fields: _Headers) -> str:
    guid = fields.one(b"x-github-delivery", status=400)
    if not _GUID.fullmatch(guid):
        raise WebhookRejected("x-github-delivery is not a GUID", status=400)
    return guid.lower()


def _read_event_name(fields: _Headers) -> str:
    event = fields.one(b"x-github-event", status=400)
    if not _EVENT.fullmatch(event):
        raise WebhookRejected("x-github-event is not an event's name", status=400)
    return event


def _parse_payload(body: bytes) -> dict[str, object]:
    """Parse strictly: UTF-8 without a mark, no key twice, no number that JSON does not have."""
    try:
        payload = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_refuse_twins,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        raise WebhookRejected("the body is not strict JSON", status=400) from None
    if not isinstance(payload, dict) or not payload:
        raise WebhookRejected("the body must be an object with a repository", status=400)
    return payload


def _refuse_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text[:20])
    return number


class _BadField(Exception):
    """A field of a true delivery that can't be used; never leaves this module."""


def _read_request(
    event: str, action: str, payload: Mapping[str, object], app_id: int | None
) -> Request:
    if event == "ping":
        return Ping()
    reader = _READERS.get((event, action))
    if reader is None:
        return Ignored(f"nothing to do for {event} {action}".rstrip())
    try:
        return reader(_Payload(payload), app_id)
    except _BadField as error:
        return Ignored(f"bad field {error}")


class _Payload:
    """Typed reads from a JSON object; each raises _BadField with the field's path."""

    def __init__(self, fields: Mapping[str, object], path: str = "") -> None:
        self._fields = fields
        self._path = path

    def bad(self, name: str) -> _BadField:
        return _BadField(self._path + name)

    def has(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def child(self, name: str) -> _Payload:
        value = self._fields.get(name)
        if not isinstance(value, dict):
            raise self.bad(name)
        return _Payload(value, f"{self._path}{name}.")

    def children(self, name: str) -> tuple[_Payload, ...]:
        values = self._fields.get(name)
        if not isinstance(values, list):
            raise self.bad(name)
        return tuple(_Payload({name: value}).child(name) for value in values)

    def whole(self, name: str, most: int = MAX_ID) -> int:
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.bad(name)
        return value

    def text(self, name: str, most: int) -> str:
        """Return a text with half characters replaced, cut at ``most``; null is empty."""
        value = self._fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.bad(name)
        return _SURROGATE.sub("\ufffd", value[:most])

    def word(self, name: str, shape: re.Pattern[str]) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise self.bad(name)
        return value


def _person(payload: _Payload, name: str) -> Person:
    fields = payload.child(name)
    return Person(
        id=fields.whole("id"),
        login=fields.word("login", _LOGIN),
        is_bot=fields.text("type", MAX_NAME) != "User",
    )


def _installation(payload: _Payload) -> int:
    if not payload.has("installation"):
        raise payload.bad("installation")
    return payload.child("installation").whole("id")


def _ref(payload: _Payload, number: int) -> PullRef:
    repository = payload.child("repository")
    return PullRef(
        repository_id=repository.whole("id"),
        repository=repository.word("full_name", _FULL_NAME),
        number=number,
        installation_id=_installation(payload),
    )


def _pull_review(payload: _Payload, _app_id: int | None) -> Request:
    pull = payload.child("pull_request")
    base_sha = pull.child("base").word("sha", _SHA)
    reason = payload.text("action", MAX_NAME)
    return ReviewRequest(
        ref=_ref(payload, payload.whole("number", MAX_NUMBER)),
        head_sha=pull.child("head").word("sha", _SHA),
        base_sha=base_sha,
        reason=reason,
        sender=_person(payload, "sender"),
        # the same head against another base is another change
        kind=f"base-{base_sha[:12]}" if reason == "edited" else AUTO,
        title=pull.text("title", MAX_TITLE),
    )


def _pull_edited(payload: _Payload, app_id: int | None) -> Request:
    if not payload.has("changes") or not payload.child("changes").has("base"):
        return Ignored("only the pull request's words changed")
    return _pull_review(payload, app_id)


def _pull_closed(payload: _Payload, _app_id: int | None) -> Request:
    return PullClosed(_ref(payload, payload.whole("number", MAX_NUMBER)))


def _pull_drafted(_payload: _Payload, _app_id: int | None) -> Request:
    return Ignored("a running review finishes; the policy decides on drafts from the next on")


def _issue_comment(payload: _Payload, app_id: int | None) -> Request:
    issue = payload.child("issue")
    if not issue.has("pull_request"):
        return Ignored("a comment on an issue")
    number = issue.whole("number", MAX_NUMBER)
    author_id = _person(issue, "user").id
    return _command(payload, number, CommentPlace.CONVERSATION, author_id, app_id)


def _thread_comment(payload: _Payload, app_id: int | None) -> Request:
    pull = payload.child("pull_request")
    number = pull.whole("number", MAX_NUMBER)
    author_id = _person(pull, "user").id
    return _command(payload, number, CommentPlace.THREAD, author_id, app_id)


def _command(
    payload: _Payload, number: int, place: CommentPlace, author_id: int, app_id: int | None
) -> Request:
    comment = payload.child("comment")
    if comment.has("performed_via_github_app"):
        via = comment.child("performed_via_github_app").whole("id")
        if via == app_id:
            return Ignored("our own comment")
    sender = _person(payload, "sender")
    if sender.is_bot:
        return Ignored("actor_not_allowed: bots give no commands")
    if _person(comment, "user").id != sender.id:
        return Ignored("actor_not_allowed: the comment is somebody else's")
    commands = parse_command(comment.text("body", MAX_COMMENT))
    if not commands:
        return Ignored("no command in the comment")
    return CommandRequest(
        ref=_ref(payload, number),
        commands=commands,
        place=place,
        comment_id=comment.whole("id"),
        sender=sender,
        author_id=author_id,
        written_at=comment.text("created_at", MAX_NAME),
    )


def _check_run(payload: _Payload, app_id: int | None) -> Request:
    run = payload.child("check_run")
    action = payload.text("action", MAX_NAME)
    if action == "requested_action":
        action = payload.child("requested_action").text("identifier", MAX_NAME)
    return _rerun(payload, run, run.whole("id"), action, app_id)


def _check_suite(payload: _Payload, app_id: int | None) -> Request:
    return _rerun(payload, payload.child("check_suite"), None, "rerequested", app_id)


def _rerun(
    payload: _Payload, check: _Payload, check_run_id: int | None, action: str, app_id: int | None
) -> Request:
    if check.child("app").whole("id") != app_id:
        return Ignored("another App's check")
    sender = _person(payload, "sender")
    if sender.is_bot:
        return Ignored("actor_not_allowed: bots press no buttons")
    repository = payload.child("repository")
    return RerunRequest(
        repository_id=repository.whole("id"),
        repository=repository.word("full_name", _FULL_NAME),
        installation_id=_installation(payload),
        head_sha=check.word("head_sha", _SHA),
        check_run_id=check_run_id,
        external_id=check.text("external_id", MAX_TITLE),
        numbers=_distinct(
            pull.whole("number", MAX_NUMBER) for pull in check.children("pull_requests")
        ),
        action=action,
        sender=sender,
    )


def _distinct(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))


def _installation_gone(payload: _Payload, _app_id: int | None) -> Request:
    return InstallationGone(_installation(payload))


def _repositories_removed(payload: _Payload, _app_id: int | None) -> Request:
    removed = payload.children("repositories_removed")
    if not removed:
        return Ignored("no repository was removed")
    return InstallationGone(
        _installation(payload), _distinct(repository.whole("id") for repository in removed)
    )


def _repository_moved(payload: _Payload, _app_id: int | None) -> Request:
    repository = payload.child("repository")
    return RepositoryMoved(
        repository_id=repository.whole("id"),
        repository=repository.word("full_name", _FULL_NAME),
        installation_id=_installation(payload),
    )


_READERS: Mapping[tuple[str, str], Callable[[_Payload, int | None], Request]] = {
    ("pull_request", "opened"): _pull_review,
    ("pull_request", "reopened"): _pull_review,
    ("pull_request", "ready_for_review"): _pull_review,
    ("pull_request", "synchronize"): _pull_review,
    ("pull_request", "edited"): _pull_edited,
    ("pull_request", "closed"): _pull_closed,
    ("pull_request", "converted_to_draft"): _pull_drafted,
    ("issue_comment", "created"): _issue_comment,
    ("pull_request_review_comment", "created"): _thread_comment,
    ("check_run", "rerequested"): _check_run,
    ("check_run", "requested_action"): _check_run,
    ("check_suite", "rerequested"): _check_suite,
    ("installation", "deleted"): _installation_gone,
    ("installation", "suspend"): _installation_gone,
    ("installation_repositories", "removed"): _repositories_removed,
    ("repository", "renamed"): _repository_moved,
    ("repository", "transferred"): _repository_moved,
}
"""Every event we act on, and the function that reads it; all others are Ignored."""
