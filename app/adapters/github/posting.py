"""Our words on a pull request: one review a head, each comment once, whatever GitHub answers.

The plan is frozen when it comes here. What stands already is looked up first and after every lost
answer; what GitHub refuses on a line goes to the file, then to the summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from app.adapters.github import checks, shapes
from app.adapters.github.access import Access
from app.adapters.github.client import Client
from app.adapters.github.limits import BODY, COMMENTS_PER_REVIEW, FILE_COMMENTS
from app.adapters.github.marks import FINDING, REVIEW, SUMMARY, Marks
from app.adapters.github.reading import JustRead, pull_path
from app.adapters.github.talk import (
    Talk,
    ThreadNode,
    Written,
    by_a_person,
    fetch_talk,
    ours,
)
from app.adapters.github.writing import insist, repeat
from app.core.diff import Side
from app.core.identity import Said
from app.core.markdown import clip, code_span, neutralise
from app.core.pull import PullRef, PullRequest
from app.core.review import CheckReport, Comment, Review
from app.errors import HostInvalid, HostMissing, HostRefused
from app.ports import Posted

PENDING = "PENDING"
MOVED = "The head moved while the review was posted: the rest was left to the newer commit's review"
CLOSED = "The pull request was closed before its review was posted"
LOCKED = "The conversation is locked: the check run alone says what was found"


class GitHubReviews:
    """Writes to pull requests; ``marks`` signs our words and knows them again."""

    def __init__(self, access: Access, marks: Marks, just: JustRead | None = None) -> None:
        self._access = access
        self._marks = marks
        self._just = just or JustRead.nothing(access.site.clock)

    def read_ahead(self, pull: PullRequest) -> None:
        """Look for our check runs before they are asked for.

        What is refused is read in its turn. Raises HostUnavailable, HostLimited.
        """
        client, app_id = self._access.client(pull.ref), self._access.app_id
        with suppress(HostRefused, HostMissing, HostInvalid):
            self._just.checks.keep(pull, checks.our_runs(client, app_id, pull.ref, pull.head_sha))

    def open_check(self, pull: PullRequest, key: str) -> int | None:
        """Start our check run on the head, or find it; None when checks can't be written."""
        client, app_id = self._access.client(pull.ref), self._access.app_id
        known = self._just.checks.take(pull)
        return checks.open_check(client, app_id, pull.ref, pull.head_sha, key, known)

    def close_check(self, pull: PullRequest, check_id: int | None, report: CheckReport) -> None:
        """Complete our check run. Raises HostError."""
        if check_id is not None:
            checks.close_check(self._access.client(pull.ref), pull.ref, check_id, report)

    def fetch_said(self, pull: PullRequest) -> tuple[Said, ...]:
        """Fetch what we said on this pull before, proven by author and signature.

        GitHub tells the pull's present head with it: whoever asks for the pull next need not ask
        GitHub, when it is still the same.
        """
        ref = pull.ref
        talk = fetch_talk(self._access.client(ref), ref)
        self._just.talks.keep(ref, talk)
        if talk.head_sha == pull.head_sha:
            self._just.pulls.keep(ref, replace(pull, open=talk.open))
        return read_said(talk, self._marks, ref)

    def post(self, pull: PullRequest, review: Review) -> Posted:
        """Post the review's body and comments exactly once. Raises HostError.

        What ``fetch_said`` saw in this process serves as the first look: nobody else writes our
        words meanwhile, since one review of a pull runs at a time.
        """
        client = self._access.client(pull.ref)
        talk = self._just.talks.take(pull.ref) or fetch_talk(client, pull.ref)
        signed = sign_review(review, self._marks.signer(pull))
        return _Posting(client, self._marks, talk.us, pull, signed).run(talk)


def sign_review(review: Review, sign: Callable[[str, str], str]) -> Review:
    """Put a marker under the body and under every comment, by which we know them again."""

    def signed(text: str, kind: str, name: str) -> str:
        marker = sign(kind, name)
        return f"{clip(text, BODY - len(marker) - 2)}\n\n{marker}"

    return replace(
        review,
        body=review.body and signed(review.body, REVIEW, review.key),
        comments=tuple(
            replace(one, body=signed(one.body, FINDING, one.fingerprint)) for one in review.comments
        ),
    )


def read_said(talk: Talk, marks: Marks, ref: PullRef) -> tuple[Said, ...]:
    """Read our findings out of the threads. The summary is rewritten, so nothing rests on it."""
    return tuple(
        _said(fingerprint, thread, talk.us)
        for thread in talk.threads
        for fingerprint in _fingerprints(thread, talk.us, marks, ref)
    )


@dataclass(slots=True)
class _Posting:
    """One review on its way; ``unsaid`` is what of its body stands nowhere yet."""

    client: Client
    marks: Marks
    us: int
    pull: PullRequest
    review: Review
    placed: set[str] = field(default_factory=set)
    refused: list[tuple[Comment, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsaid: str = ""
    with_review: bool = False
    made: shapes.Made | None = None
    misses: int = 0
    given_up: bool = False
    looked: bool = True
    stopped: bool = False

    def run(self, talk: Talk) -> Posted:
        """Post what is missing and tell what stands now."""
        summary = self._find_summary(talk)
        self.made = self._find_review(talk)
        listed = self._listed(summary)
        self.placed = self._standing(talk) | listed
        self.unsaid = "" if self.made else self.review.body
        self.with_review = summary is None
        self._stop_if_over(talk.head_sha, is_open=talk.open)
        missing = [one for one in self.review.comments if one.fingerprint not in self.placed]
        try:
            self._post_comments(missing)
            self._post_on_files()
            listed |= {comment.fingerprint for comment, _ in self.refused}
        except HostRefused as error:
            self._note_refusal(error)
            known = {comment.fingerprint for comment, _ in self.refused} | self.placed
            self.refused += [(one, "refused") for one in missing if one.fingerprint not in known]
        try:
            self._post_summary(summary)
        except HostRefused as error:
            self._note_refusal(error)
            listed = set()
        wanted = {one.fingerprint for one in self.review.comments}
        return Posted(
            review_id=self.made.id if self.made else None,
            comments=len(wanted & self.placed),
            url=self.made.html_url if self.made else "",
            notes=tuple(dict.fromkeys(self.notes)),
            displaced=bool(wanted) and wanted <= listed,
        )

    def _post_comments(self, missing: Sequence[Comment]) -> None:
        for start in range(0, len(missing), COMMENTS_PER_REVIEW):
            self.misses = 0
            self._place(missing[start : start + COMMENTS_PER_REVIEW])

    def _place(self, comments: Sequence[Comment]) -> None:
        """Post comments as one review; when GitHub refuses one of them, find it by halves.

        A review is taken whole or not at all, and the refusal does not say which comment it was.
        What is refused over and over without a success in between is given up together.
        """
        if self.stopped:
            return
        if self.misses > math.log2(COMMENTS_PER_REVIEW) + 2:
            self.given_up = True
            self.refused += [(one, "refused with others") for one in comments]
            return
        try:
            self._send(comments)
        except HostInvalid as error:
            self.misses += 1
            if len(comments) == 1:
                self.refused.append((comments[0], error.message))
                return
            half = len(comments) // 2
            self._place(comments[:half])
            self._place(comments[half:])

    def _send(self, comments: Sequence[Comment]) -> None:
        """Post one review. Raises HostInvalid when one of its comments can't stand."""
        if not self.looked:
            self._look_at_head()
        self.looked = False
        if self.stopped:
            return
        try:
            self._send_review(comments)
        except HostInvalid as error:
            words = error.message.lower()
            if "pending review" in words:
                self._delete_pending()
                self._send_review(comments)
            elif "lock" in words:
                raise HostRefused(error.message, status=HTTPStatus.FORBIDDEN) from error
            elif "commit" in words:
                self._stop(MOVED)
            else:
                raise

    def _send_review(self, comments: Sequence[Comment]) -> None:
        wanted = {one.fingerprint for one in comments}
        body = {
            "commit_id": self.review.head_sha,
            "event": "COMMENT",
            "body": self.unsaid if self.with_review else "",
            "comments": [_comment(one) for one in comments],
        }

        def find() -> shapes.Made | None:
            talk = fetch_talk(self.client, self.pull.ref)
            found = self._find_review(talk) or shapes.Made(id=0)
            return found if wanted <= self._standing(talk) else None

        def make() -> shapes.Made:
            return self.client.write(shapes.Made, "POST", f"{self._path}/reviews", body)

        made = insist(self.client.site, find, make)
        self.made = self.made or made
        self.placed |= wanted
        self.misses = 0
        if self.with_review:
            self.unsaid = ""

    def _post_on_files(self) -> None:
        """Say on the file what GitHub refused on a line, unless everything was refused."""
        if self.given_up:
            return
        for comment, reason in self.refused[:FILE_COMMENTS]:
            if self.stopped:
                return
            try:
                self._post_on_file(comment)
            except HostInvalid:
                continue
            self.refused.remove((comment, reason))

    def _post_on_file(self, comment: Comment) -> None:
        anchor = comment.anchor
        body = {
            "commit_id": self.review.head_sha,
            "path": anchor.path,
            "subject_type": "file",
            "body": clip(f"{_line(comment)}\n\n{comment.body}", BODY),
        }

        def find() -> shapes.Made | None:
            talk = fetch_talk(self.client, self.pull.ref)
            there = comment.fingerprint in self._standing(talk)
            return shapes.Made(id=0) if there else None

        def make() -> shapes.Made:
            return self.client.write(shapes.Made, "POST", f"{self._path}/comments", body)

        insist(self.client.site, find, make)
        self.placed.add(comment.fingerprint)

    def _post_summary(self, standing: Written | None) -> None:
        """Put what stands nowhere else into the one summary comment, and keep it up to date."""
        if self.stopped:
            return
        parts = [self.unsaid, *(_refusal(one, reason) for one, reason in self.refused)]
        text = "\n\n".join(part for part in parts if part)
        if not text:
            if standing is None or self._signed(SUMMARY, standing, self.review.key):
                return
            text = f"**Postil** · {self.review.check.title}"
        marker = self._sign(SUMMARY)
        text = f"{clip(text, BODY - len(marker) - 2)}\n\n{marker}"
        home = f"/repos/{quote(self.pull.ref.repository)}/issues"
        if standing is None:
            insist(
                self.client.site,
                self._summary_made,
                lambda: self.client.write(
                    shapes.Made, "POST", f"{home}/{self.pull.ref.number}/comments", {"body": text}
                ),
            )
        elif standing.body != text:
            path = f"{home}/comments/{standing.id}"
            repeat(lambda: self.client.write(shapes.Made, "PATCH", path, {"body": text}))
        self.placed |= {one.fingerprint for one, _ in self.refused}

    def _summary_made(self) -> shapes.Made | None:
        found = self._find_summary(fetch_talk(self.client, self.pull.ref))
        return shapes.Made(id=found.id) if found else None

    def _delete_pending(self) -> None:
        """Delete a review of our own that was never submitted; nobody sees it and it blocks ours.

        A person's pending review is theirs and does not block ours.
        """
        for page in self.client.rows(shapes.ReviewRow, f"{self._path}/reviews"):
            for row in page:
                if row.state == PENDING and row.user and row.user.id == self.us:
                    path = f"{self._path}/reviews/{row.id}"
                    with suppress(HostMissing):
                        repeat(partial(self.client.write, shapes.Done, "DELETE", path))

    def _look_at_head(self) -> None:
        now = self.client.read(shapes.Pull, self._path)
        self._stop_if_over(now.head.sha, is_open=now.state == "open")

    def _stop_if_over(self, head_sha: str, *, is_open: bool) -> None:
        if not is_open:
            self._stop(CLOSED)
        elif head_sha != self.review.head_sha:
            self._stop(MOVED)

    def _stop(self, why: str) -> None:
        self.stopped = True
        self.notes.append(why)

    def _note_refusal(self, error: HostRefused) -> None:
        """Say what is missing and go on with what is left; a refused key ends the job."""
        if error.status != HTTPStatus.FORBIDDEN:
            raise error
        if "lock" in error.message.lower():
            self._stop(LOCKED)
        else:
            missing = f"; it asks for {error.missing}" if error.missing else ""
            self.notes.append(f"GitHub does not let Postil comment here{missing}")

    def _standing(self, talk: Talk) -> set[str]:
        found = (
            _fingerprints(thread, self.us, self.marks, self.pull.ref) for thread in talk.threads
        )
        return {fingerprint for some in found for fingerprint in some}

    def _listed(self, summary: Written | None) -> set[str]:
        """Name the findings this job has already put into the summary."""
        if summary is None or not self._signed(SUMMARY, summary, self.review.key):
            return set()
        return set(self.marks.read(self.pull.ref, FINDING, summary.body))

    def _find_review(self, talk: Talk) -> shapes.Made | None:
        for one in talk.reviews:
            on_head = one.commit is not None and one.commit.oid == self.review.head_sha
            if on_head and one.state != PENDING and self._signed(REVIEW, one, self.review.key):
                return shapes.Made(id=one.id, html_url=one.url)
        return None

    def _find_summary(self, talk: Talk) -> Written | None:
        """Find our summary comment; one more than a hundred comments up has been left behind."""
        for one in reversed(talk.comments):
            if ours(one, self.us) and self.marks.read(self.pull.ref, SUMMARY, one.body):
                return one
        return None

    def _signed(self, kind: str, written: Written, name: str) -> bool:
        mine = ours(written, self.us)
        return mine and name in self.marks.read(self.pull.ref, kind, written.body)

    def _sign(self, kind: str) -> str:
        return self.marks.sign(self.pull.ref, kind, self.review.key, self.review.head_sha)

    @property
    def _path(self) -> str:
        return pull_path(self.pull.ref)


def _fingerprints(thread: ThreadNode, us: int, marks: Marks, ref: PullRef) -> tuple[str, ...]:
    """Return what a thread of ours is about: its first comment says it."""
    if not thread.comments.nodes or not ours(thread.comments.nodes[0], us):
        return ()
    return marks.read(ref, FINDING, thread.comments.nodes[0].body)


def _said(fingerprint: str, thread: ThreadNode, us: int) -> Said:
    first, *answers = thread.comments.nodes
    answered = any(by_a_person(answer, us) for answer in answers)
    return Said(
        fingerprint=fingerprint,
        comment_id=first.id,
        path=thread.path,
        line=thread.line,
        closed=thread.resolved or answered or first.thumbs_down.total > 0,
        outdated=thread.outdated,
        thread_id=thread.id,
        side=thread.side,
        resolved=thread.resolved,
    )


def _comment(comment: Comment) -> dict[str, str | int]:
    anchor = comment.anchor
    place: dict[str, str | int] = {
        "path": anchor.path,
        "side": anchor.side.value,
        "line": anchor.line,
        "body": clip(comment.body, BODY),
    }
    if anchor.start_line < anchor.line:
        place |= {"start_line": anchor.start_line, "start_side": anchor.side.value}
    return place


def _line(comment: Comment) -> str:
    before = " before the change" if comment.anchor.side is Side.LEFT else ""
    return f"About line {comment.anchor.line}{before}, where GitHub takes no comment:"


def _refusal(comment: Comment, reason: str) -> str:
    place = code_span(f"{comment.anchor.path}:{comment.anchor.line}")
    return f"{place} ({neutralise(reason)})\n\n{comment.body}"
