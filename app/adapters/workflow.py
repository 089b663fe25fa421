"""One step of a GitHub workflow: what started it, and how a step speaks to the runner.

Every line a step prints may be a command to the runner, so what others wrote is printed between a
stop and a resume that only we know; values inside our own commands are escaped.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from app.core.commands import parse_command
from app.core.events import CommandRequest, CommentPlace, Person
from app.core.pull import PullRef
from app.errors import UserError

MAX_EVENT = 25 * 1024 * 1024
"""Bytes of an event: https://docs.github.com/en/webhooks/webhook-events-and-payloads"""
MAX_SUMMARY = 900_000
"""Bytes of our part of a step's summary. GitHub drops one of more than 1 MiB, and the step stays
green: the page named above."""
ANNOTATIONS_PER_KIND = 10
"""GitHub shows ten errors, ten warnings and ten notices of a step:
https://github.com/actions/toolkit/blob/main/docs/problem-matchers.md"""
KEPT = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "RUNNER_TEMP"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    )
)
"""What stays of the environment: no key, and nothing that asks the runner for a token, a cache
or an artifact."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the runner says about this step; None where it says nothing."""

    event: str
    event_path: str | None
    api_url: str | None
    server_url: str | None
    workspace: Path | None
    temp: Path | None
    output: str | None
    summary: str | None
    on_runner: bool

    @staticmethod
    def read(environ: Mapping[str, str]) -> Step:
        """Read the runner's variables. Raises UserError when this is not a workflow's step."""
        event = environ.get("GITHUB_EVENT_NAME")
        if not event:
            raise UserError("postil action runs inside a GitHub Actions step: GITHUB_EVENT_NAME")
        return Step(
            event=event,
            event_path=environ.get("GITHUB_EVENT_PATH") or None,
            api_url=environ.get("GITHUB_API_URL") or None,
            server_url=environ.get("GITHUB_SERVER_URL") or None,
            workspace=_path(environ.get("GITHUB_WORKSPACE")),
            temp=_path(environ.get("RUNNER_TEMP")),
            output=environ.get("GITHUB_OUTPUT") or None,
            summary=environ.get("GITHUB_STEP_SUMMARY") or None,
            on_runner=environ.get("GITHUB_ACTIONS") == "true",
        )


@dataclass(frozen=True, slots=True)
class PullAsked:
    """A pull request is to be reviewed.

    ``head_sha`` is None when the event names none, and ``by_hand`` tells that a person asked.
    ``before`` is the head before a push.
    """

    ref: PullRef
    head_sha: str | None = None
    by_hand: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """The event asks nothing of us."""

    reason: str


Asked = PullAsked | CommandRequest | Nothing


def scrub(environ: MutableMapping[str, str]) -> None:
    """Take everything out of the environment that no child of ours needs."""
    for name in [name for name in environ if name not in KEPT]:
        del environ[name]


# What started the step.


def read_asked(step: Step) -> Asked:
    """Say what the event asks for. Raises UserError when it can't be read."""
    reader = _READERS.get(step.event)
    if reader is None:
        return Nothing(f"event {shown(step.event)}")
    try:
        return reader(_read_payload(step.event_path))
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise UserError(f"the event {step.event} has no usable {field}") from None


def refuse_untrusted_checkout(step: Step, head_sha: str) -> None:
    """Refuse an event with the base's secrets when the pull's own code lies in the workspace.

    A merge of the head is that code too. Raises UserError.
    https://docs.github.com/en/actions/reference/security/securely-using-pull_request_target
    """
    if step.event != "pull_request_target" or step.workspace is None:
        return
    for folder in _checkouts(step.workspace):
        if head_sha in _commit_and_parents(folder):
            raise UserError(
                "pull_request_target with the pull request's own code checked out is not safe: "
                "take the checkout out of the job, Postil needs none"
            )


def refuse_other_server(step: Step) -> None:
    """Refuse an API that is not this GitHub's: a token goes there. Raises UserError."""
    if step.api_url is None or step.server_url is None:
        return
    api, server = urlsplit(step.api_url).netloc, urlsplit(step.server_url).netloc
    if api.removeprefix("api.") != server:
        raise UserError("GITHUB_API_URL is not the API of GITHUB_SERVER_URL")


_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _Account(BaseModel):
    id: int
    login: str
    type: str = "User"


class _Repository(BaseModel):
    id: int
    full_name: str


class _Head(BaseModel):
    sha: str


class _Pull(BaseModel):
    number: int
    head: _Head


class _PullEvent(BaseModel):
    repository: _Repository
    pull_request: _Pull
    before: str | None = None


class _Issue(BaseModel):
    number: int
    pull_request: dict[str, Any] | None = None


class _Comment(BaseModel):
    id: int
    body: str
    user: _Account
    created_at: str = ""


class _CommentEvent(BaseModel):
    action: str
    repository: _Repository
    sender: _Account
    issue: _Issue
    comment: _Comment


class _DispatchEvent(BaseModel):
    repository: _Repository
    inputs: dict[str, Any] | None = None


def _read_pull(payload: object) -> Asked:
    event = _PullEvent.model_validate(payload)
    ref = _ref(event.repository, event.pull_request.number)
    before = event.before if _SHA.fullmatch(event.before or "") else None
    return PullAsked(ref, event.pull_request.head.sha, before=before)


def _read_comment(payload: object) -> Asked:
    event = _CommentEvent.model_validate(payload)
    if event.action != "created":
        return Nothing(f"a comment was {shown(event.action)}")
    if event.issue.pull_request is None:
        return Nothing("a comment on an issue")
    if event.sender.type != "User" or event.sender.id != event.comment.user.id:
        return Nothing("only people give commands")
    commands = parse_command(event.comment.body)
    if not commands:
        return Nothing("no command in the comment")
    return CommandRequest(
        ref=_ref(event.repository, event.issue.number),
        commands=commands,
        place=CommentPlace.CONVERSATION,
        comment_id=event.comment.id,
        sender=Person(event.sender.id, event.sender.login),
        written_at=event.comment.created_at,
    )


def _read_dispatch(payload: object) -> Asked:
    event = _DispatchEvent.model_validate(payload)
    number = str((event.inputs or {}).get("number") or "").strip().removeprefix("#")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise UserError("workflow_dispatch needs an input named number: the pull request to review")
    return PullAsked(_ref(event.repository, int(number)), by_hand=True)


_READERS = {
    "pull_request": _read_pull,
    "pull_request_target": _read_pull,
    "issue_comment": _read_comment,
    "workflow_dispatch": _read_dispatch,
}


def _ref(repository: _Repository, number: int) -> PullRef:
    return PullRef(repository.id, repository.full_name, number)


def _read_payload(name: str | None) -> object:
    try:
        with Path(name or "").open("rb") as file:
            data = file.read(MAX_EVENT + 1)
        if len(data) > MAX_EVENT:
            raise UserError("GITHUB_EVENT_PATH holds more than 25 MB")
        return json.loads(data)
    except OSError as error:
        raise UserError(f"GITHUB_EVENT_PATH can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError("GITHUB_EVENT_PATH does not hold JSON") from None


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _checkouts(workspace: Path) -> Iterator[Path]:
    """Yield where a checkout may lie: the workspace, or a folder of it (``path:``)."""
    if not workspace.is_dir():
        return
    for folder in (workspace, *sorted(workspace.iterdir())):
        if (folder / ".git").exists():
            yield folder


def _commit_and_parents(checkout: Path) -> frozenset[str]:
    """Return the commit that is checked out and its parents. Raises UserError for any doubt."""
    environment = {
        "PATH": os.defpath,
        "GIT_DIR": str(checkout / ".git"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
    }
    found: list[str] = []
    for command in (("rev-parse", "HEAD"), ("cat-file", "commit", "HEAD")):
        try:
            done = subprocess.run(
                ["git", *command],  # noqa: S607 - of a literal PATH
                env=environment,
                cwd=checkout,
                capture_output=True,
                check=True,
                timeout=60,
            )
        except (OSError, subprocess.SubprocessError):
            raise UserError("the checkout in the workspace can't be read: take it out") from None
        found.append(done.stdout.decode("utf-8", "replace"))
    head, commit = found
    parents = re.findall(r"^parent ([0-9a-f]+)$", commit.partition("\n\n")[0], re.MULTILINE)
    return frozenset((head.strip(), *parents))


# How a step speaks.


@dataclass(frozen=True, slots=True)
class Notice:
    """One annotation; ``kind`` is the runner's word (error, warning, notice)."""

    kind: str
    title: str
    message: str
    path: str | None = None
    line: int | None = None
    end_line: int | None = None


def mask_command(secret: str) -> Iterator[str]:
    """Yield the lines that keep a secret out of the log; the runner masks line by line."""
    for line in secret.splitlines():
        if line.strip():
            yield f"::add-mask::{_escape(line.strip())}"


def annotation_commands(notices: Sequence[Notice]) -> Iterator[str]:
    """Yield the commands for as many annotations of each kind as GitHub shows, the first ones."""
    for kind in ("error", "warning", "notice"):
        for notice in [one for one in notices if one.kind == kind][:ANNOTATIONS_PER_KIND]:
            yield _annotation(notice)


def fence() -> tuple[str, str]:
    """Return the lines between which the runner obeys nothing; each pair is good once."""
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}", f"::{token}::"


def format_outputs(values: Mapping[str, str]) -> str:
    """Write outputs in the runner's form, under a delimiter that is in none of them."""
    parts = []
    for name, value in values.items():
        end = _absent(value)
        parts.append(f"{name}<<{end}\n{value}\n{end}\n")
    return "".join(parts)


def append_to(name: str | None, variable: str, text: str) -> str | None:
    """Append to one of the runner's files; a sentence when that can't be done."""
    if name is None:
        return f"{variable} is not set: nothing was written there"
    try:
        with Path(name).open("ab") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        return f"{variable} can't be written: {error.strerror}"
    return None


def shown(text: str) -> str:
    """Show a word from outside: printable ASCII alone, and not much of it."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:60])


def printable(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines for the log; no control character of theirs reaches it."""
    for line in lines:
        yield "".join(c if c.isprintable() or c == "\t" else "?" for c in line)


def _absent(value: str) -> str:
    while True:
        end = f"postil_{secrets.token_hex(16)}"
        if end not in value:
            return end


def _annotation(notice: Notice) -> str:
    facts = {"title": notice.title, "file": notice.path, "line": notice.line}
    if notice.end_line != notice.line:
        facts["endLine"] = notice.end_line
    said = ",".join(
        f"{name}={_escape_property(str(value))}"
        for name, value in facts.items()
        if value is not None
    )
    return f"::{notice.kind} {said}::{_escape(notice.message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
