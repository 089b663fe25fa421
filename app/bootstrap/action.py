"""What one step of a GitHub workflow reviews: the job's token, and no database.

What was said before is known from our own signed comments, what was found before from our check
runs. Whatever the token may not do is noted, and the review goes on: it is told where a step may
always tell it.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.github.access import GitHubToken
from app.adapters.github.marks import Marks
from app.adapters.github.records import GitHubRecords
from app.adapters.github.unsigned import UnsignedReviews
from app.adapters.workflow import PullAsked
from app.answers import Answers
from app.bootstrap.hosts import build_host
from app.bootstrap.parts import (
    ModelWish,
    build_chosen_model,
    build_reviewer,
    derive_key,
    pick_provider,
    refuse_cap_without_prices,
)
from app.core.commands import Command, Misuse, Verb
from app.core.events import AUTO, FULL, CommandRequest, CommentPlace, Person, ReviewRequest
from app.core.identity import Said
from app.core.job import Verdict
from app.core.policy import Effort
from app.core.pull import PullRef, PullRequest
from app.core.review import CheckReport, Result, Review, failed_report
from app.core.secrets import Redactor
from app.errors import HostError, HostRefused, PostilError, UserError
from app.looks import Progress
from app.pipeline import Finished, Gate, Host, Reviewer, Skipped, Wishes
from app.ports import Conversation, Model, Posted, Reviews, Traces
from app.settings import PROVIDER_KEYS, Settings

NO_KEY = (
    "no api-key reached this run (GitHub hands no secrets to a pull request from a fork): "
    "set the inputs provider and api-key"
)
HERE = frozenset({Verb.REVIEW, Verb.FULL, Verb.HELP})
"""What a step can do; the rest needs a server that keeps something."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The action's inputs beyond the settings; None leaves it to the repository's policy."""

    effort: Effort | None = None
    gate: Gate | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it: a result, or the reason why there is none.

    ``notes`` name what could not be done on the pull request.
    """

    result: Result | None
    reason: str = ""
    notes: tuple[str, ...] = ()


def review_asked(
    asked: PullAsked | CommandRequest, inputs: Inputs, settings: Settings, progress: Progress
) -> Outcome:
    """Do what the event asks for. Raises UserError, HostError, CodeError."""
    if settings.github_token is None:
        raise UserError("give the input github-token")
    key = marks_key(settings)
    with tempfile.TemporaryDirectory(prefix="postil-") as scratch:
        access = GitHubToken(settings.github_token, settings.github_api_url)
        marks = Marks(key or secrets.token_bytes(32))
        host = build_host(access, marks, Path(scratch), proxies=settings.proxies)
        reviews = host.reviews if key else UnsignedReviews(host.reviews, access)
        notes: list[str] = []
        traces = _HandedOn(
            GitHubRecords(access, marks) if key else None,
            before=asked.before if isinstance(asked, PullAsked) else None,
            leaks=Redactor(settings.secrets).leaks,
        )
        host = replace(
            host,
            reviews=_TryingReviews(reviews, traces, notes),
            conversation=_TryingConversation(host.conversation, notes),
        )
        request = _read_request(asked, inputs, host)
        if request is None:
            outcome = Outcome(None, "no review was asked for by somebody who may")
        else:
            reviewer = _build_reviewer(settings, traces, progress)
            outcome = _review(host, request, inputs, settings, reviewer)
    return replace(outcome, notes=tuple(dict.fromkeys((*notes, *outcome.notes))))


def marks_key(settings: Settings) -> bytes | None:
    """Derive what signs our words from the model's key; None when the step holds no secret.

    The job's token can't serve: the next job has another.
    """
    given = [settings.api_key, *(settings.provider_keys.get(name) for _, name in PROVIDER_KEYS)]
    found = next((key for key in given if key), None)
    return derive_key("action marks", found) if found else None


def build_action_model(settings: Settings) -> Model | None:
    """Build the model; None when no key reached this run, which is no fault of the workflow."""
    named = settings.provider or settings.base_url or settings.provider_keys
    if settings.api_key and not named:
        raise UserError("api-key is given without provider: name the service it belongs to")
    provider = pick_provider(settings, ModelWish())
    needed = provider.key if provider else None
    if needed and not (settings.api_key or settings.provider_keys.get(needed)):
        return None
    return build_chosen_model(settings, ModelWish())


def _read_request(
    asked: PullAsked | CommandRequest, inputs: Inputs, host: Host
) -> ReviewRequest | None:
    if isinstance(asked, CommandRequest):
        return _read_command(asked, host)
    pull = host.pulls.fetch_pull(asked.ref)
    return ReviewRequest(
        ref=pull.ref,
        head_sha=asked.head_sha or pull.head_sha,
        base_sha=pull.base_sha,
        reason="action",
        sender=Person(0, ""),
        kind=FULL if inputs.full else AUTO,
        forced=asked.by_hand or inputs.full,
    )


def _read_command(asked: CommandRequest, host: Host) -> ReviewRequest | None:
    """Answer a comment's commands as the server does, rights first; a review is then ours."""
    desk = _Desk()
    commands = tuple(_possible(command) for command in asked.commands)
    answers = Answers(host.pulls, host.conversation, estimate=lambda _pull: "")
    answers.answer(replace(asked, commands=commands), desk)
    return desk.wanted


def _possible(command: Command | Misuse) -> Command | Misuse:
    if isinstance(command, Misuse) or command.verb in HERE:
        return command
    return Misuse(f"`/postil {command.verb}` needs the App server; here `/review` works.")


def _review(
    host: Host, request: ReviewRequest, inputs: Inputs, settings: Settings, reviewer: Reviewer
) -> Outcome:
    pull = host.pulls.fetch_pull(request.ref)
    wishes = Wishes(
        effort=inputs.effort,
        focus=request.focus,
        max_cost_usd=settings.max_cost_usd,
        gate=inputs.gate,
        automatic=not request.forced,
        full=request.kind == FULL,
    )
    refuse_cap_without_prices(reviewer.model, wishes.max_cost_usd)
    try:
        done = reviewer.review(
            host,
            request.ref,
            request.head_sha,
            key=request.key,
            run_id=secrets.token_hex(8),
            wishes=wishes,
        )
    except PostilError as error:
        _close_check(host, pull, request.key, error.message)
        raise
    except KeyboardInterrupt:
        _close_check(host, pull, request.key, "the workflow was cancelled")
        raise
    if isinstance(done, Finished):
        return Outcome(done.result, notes=done.posted.notes)
    if isinstance(done, Skipped):
        return Outcome(None, done.reason)
    return Outcome(None, "the head moved: the newer commit's run reviews it")


def _build_reviewer(settings: Settings, traces: Traces, progress: Progress) -> Reviewer:
    reviewer = build_reviewer(
        build_action_model(settings),
        traces,
        AnalyzerSuite(),
        secret=secrets.token_hex(16),
        leaks=Redactor(settings.secrets).leaks,
        progress=progress,
    )
    return replace(reviewer, missing_model=NO_KEY)


def _close_check(host: Host, pull: PullRequest, key: str, reason: str) -> None:
    """Complete the check run of a review that will not end."""
    with suppress(HostError):
        check_id = host.reviews.open_check(pull, key)
        host.reviews.close_check(pull, check_id, failed_report(reason))


@dataclass(slots=True)
class _Desk:
    """Takes the wish for a review; a step has no queue."""

    wanted: ReviewRequest | None = None

    def arm(self, request: ReviewRequest) -> Verdict:
        """Keep the wish."""
        self.wanted = request
        return Verdict.ARM

    def cancel(self, ref: PullRef) -> bool:
        """Say that nothing is waiting."""
        del ref
        return False

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        """Keep nothing."""


@dataclass(slots=True)
class _HandedOn:
    """Traces that one run hands to the next in its check run, signed: a step has no database.

    Without ``records`` nothing is handed on. ``before`` is the head before the push.
    """

    records: GitHubRecords | None
    before: str | None
    leaks: Callable[[str], bool]
    texts: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)

    def fetch(self, pull: PullRequest, check_id: int) -> None:
        """Fetch what was handed on; what can't be read is asked about again."""
        if self.records is not None:
            with suppress(HostError):
                self.texts = {**self.records.fetch(pull, check_id, self.before), **self.texts}

    def write(self, pull: PullRequest) -> str:
        """Write what to hand on: first what this run used or found, then what may come back."""
        texts = self.used | {key: text for key, text in self.texts.items() if key not in self.used}
        if self.records is None or self.leaks(json.dumps(texts)):
            return ""
        return self.records.write(pull, texts)

    def load_answers(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        """Return what is kept under each key."""
        self.used |= {key: self.texts[key] for key in keys if key in self.texts}
        return tuple(self.texts.get(key) for key in keys)

    def save_answers(self, texts: Mapping[str, str]) -> None:
        """Keep texts by key."""
        self.texts.update(texts)
        self.used.update(texts)

    def save_run(self, run_id: str, record: str) -> None:
        """Let the record go."""


@dataclass(frozen=True, slots=True)
class _TryingReviews:
    """Writes what the token may write, and notes what it may not: the review itself stays."""

    reviews: Reviews
    traces: _HandedOn
    notes: list[str] = field(default_factory=list)

    def open_check(self, pull: PullRequest, key: str) -> int | None:
        """Start our check run, and read what the last one hands on."""
        check_id = self.reviews.open_check(pull, key)
        if check_id is None:
            self.notes.append(
                "GitHub does not let this token write checks; it asks for checks=write"
            )
        else:
            self.traces.fetch(pull, check_id)
        return check_id

    def close_check(self, pull: PullRequest, check_id: int | None, report: CheckReport) -> None:
        """Complete our check run, and hand on to the next."""
        report = replace(report, text=self.traces.write(pull))
        _attempt(lambda: self.reviews.close_check(pull, check_id, report), self.notes)

    def fetch_said(self, pull: PullRequest) -> tuple[Said, ...]:
        """Fetch what we said on this pull before."""
        return self.reviews.fetch_said(pull)

    def post(self, pull: PullRequest, review: Review) -> Posted:
        """Post what can be posted."""
        posted: list[Posted] = []
        _attempt(lambda: posted.append(self.reviews.post(pull, review)), self.notes)
        return posted[0] if posted else Posted(None, 0)


@dataclass(frozen=True, slots=True)
class _TryingConversation:
    """Answers where the token may, and notes where it may not."""

    conversation: Conversation
    notes: list[str]

    def may_write(self, ref: PullRef, person: Person) -> bool:
        """Ask whether a person has write access now."""
        return self.conversation.may_write(ref, person)

    def react(self, ref: PullRef, place: CommentPlace, comment_id: int) -> None:
        """Put eyes under a comment."""
        _attempt(lambda: self.conversation.react(ref, place, comment_id), self.notes)

    def reply(self, ref: PullRef, place: CommentPlace, comment_id: int, text: str) -> None:
        """Answer a comment."""
        _attempt(lambda: self.conversation.reply(ref, place, comment_id, text), self.notes)

    def close_fixed(self, pull: PullRequest, fixed: Sequence[Said]) -> None:
        """Resolve the threads of what no longer holds."""
        _attempt(lambda: self.conversation.close_fixed(pull, fixed), self.notes)


def _attempt(write: Callable[[], None], notes: list[str]) -> None:
    try:
        write()
    except HostRefused as refused:
        missing = f"; it asks for {refused.missing}" if refused.missing else ""
        notes.append(f"{refused.message}{missing}")
    except HostError as error:
        notes.append(error.message)
