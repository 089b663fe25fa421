"""Our check run: one for each job, updated in place, known by App and job, never by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

from app.adapters import crash
from app.adapters.github import shapes
from app.adapters.github.access import Access
from app.adapters.github.client import Client
from app.adapters.github.limits import (
    ANNOTATION_MESSAGE,
    ANNOTATION_TITLE,
    ANNOTATIONS_PER_REQUEST,
    BODY,
    CHECK_TITLE,
)
from app.adapters.github.writing import TRIES, insist, repeat
from app.core.job import Closing, JobState
from app.core.markdown import clip
from app.core.pull import PullRef
from app.core.repair import OurCheck
from app.core.review import Annotation, CheckReport, failed_report, superseded_report
from app.errors import HostInvalid, HostMissing, HostRefused, HostUnavailable

log = logging.getLogger(__name__)

NAME = "Postil"
COMPLETED, IN_PROGRESS = "completed", "in_progress"


class GitHubChecks:
    """Our check runs apart from a review: those that an ended run left behind."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def on_head(self, ref: PullRef, head_sha: str) -> tuple[OurCheck, ...]:
        """List our check runs on a commit. Raises HostError."""
        runs = our_runs(self._access.client(ref), self._access.app_id, ref, head_sha)
        return tuple(OurCheck(run.external_id or "", run.status == COMPLETED) for run in runs)

    def close(self, closing: Closing) -> bool:
        """Complete what an ended run left open; False when nothing was. Raises HostError.

        A dead job says so on the head even if it never came to start its check run.
        """
        request = closing.request
        ref, head_sha, key = request.ref, request.head_sha, request.key
        client, app_id = self._access.client(ref), self._access.app_id
        runs = [run for run in our_runs(client, app_id, ref, head_sha) if run.external_id == key]
        numbers = [run.id for run in runs if run.status != COMPLETED]
        if not runs and closing.state is JobState.DEAD:
            number = open_check(client, app_id, ref, head_sha, key)
            numbers = [] if number is None else [number]
        for number in numbers:
            close_check(client, ref, number, _last_words(closing))
        return bool(numbers)


def open_check(
    client: Client,
    app_id: int | None,
    ref: PullRef,
    head_sha: str,
    key: str,
    known: Sequence[shapes.CheckRun] | None = None,
) -> int | None:
    """Find the job's check run on the head, or start it; None when checks can't be written.

    ``known`` are our check runs there, when they were just listed.

    A run that was completed before is opened again: the job was asked for once more.
    """

    def find() -> shapes.CheckRun | None:
        return of_job(our_runs(client, app_id, ref, head_sha))

    def of_job(runs: Sequence[shapes.CheckRun]) -> shapes.CheckRun | None:
        return next((run for run in runs if run.external_id == key), None)

    def make() -> shapes.CheckRun:
        return client.write(
            shapes.CheckRun,
            "POST",
            f"/repos/{quote(ref.repository)}/check-runs",
            {
                "name": NAME,
                "head_sha": head_sha,
                "external_id": key,
                "status": IN_PROGRESS,
            },
        )

    try:
        found = find() if known is None else of_job(known)
        if found is None:
            return insist(client.site, find, make).id
        if found.status == COMPLETED:
            path = _path(ref, found.id)
            repeat(lambda: client.write(shapes.Made, "PATCH", path, {"status": IN_PROGRESS}))
    except HostRefused as refused:
        if refused.status != HTTPStatus.FORBIDDEN:
            raise
        facts = {"repository": ref.repository, "missing": refused.missing}
        log.warning("GitHub lets us write no check run", extra=facts)
        return None
    except HostInvalid as invalid:
        if "no commit found" not in invalid.message.lower():
            raise
        raise HostMissing("the head is gone") from invalid
    return found.id


def close_check(client: Client, ref: PullRef, check_id: int, report: CheckReport) -> None:
    """Complete a check run; annotations are sent in batches, each once, the conclusion last.

    GitHub appends annotations, so what is there already is counted before any are sent:
    https://docs.github.com/en/rest/checks/runs#update-a-check-run
    """
    rows = [_annotation(one) for one in report.annotations]
    path = _path(ref, check_id)
    sent = _sent(client, path) if rows else 0
    tries = TRIES
    crash.at("before_check")
    while True:
        batch = rows[sent : sent + ANNOTATIONS_PER_REQUEST]
        last = sent + len(batch) >= len(rows)
        output: dict[str, object] = {
            "title": clip(report.title, CHECK_TITLE),
            "summary": clip(report.summary, BODY),
            "annotations": batch,
        }
        if report.text:
            output["text"] = report.text
        state = {"status": COMPLETED, "conclusion": report.conclusion.value} if last else {}
        try:
            client.write(shapes.Made, "PATCH", path, {"output": output, **state})
        except HostUnavailable:
            tries -= 1
            if not tries:
                raise
            sent = min(_sent(client, path), len(rows))
            continue
        sent += len(batch)
        if last:
            break
    crash.at("after_check_before_record")


def our_runs(
    client: Client, app_id: int | None, ref: PullRef, head_sha: str
) -> tuple[shapes.CheckRun, ...]:
    """List our check runs on a commit, newest first; with a token alone, those of our name."""
    path = f"/repos/{quote(ref.repository)}/commits/{head_sha}/check-runs"
    params: dict[str, str | int] = {"check_name": NAME, "filter": "all"}
    if app_id is not None:
        params["app_id"] = app_id
    pages = client.rows(shapes.CheckRun, path, params, key="check_runs")
    runs = (run for page in pages for run in page)
    return tuple(run for run in runs if app_id in {None, run.app.id if run.app else None})


def _last_words(closing: Closing) -> CheckReport:
    if closing.state is JobState.SUPERSEDED:
        return superseded_report(closing.request.head_sha)
    return failed_report(closing.reason)


def _sent(client: Client, path: str) -> int:
    return client.read(shapes.CheckRun, path).output.annotations_count


def _path(ref: PullRef, check_id: int) -> str:
    return f"/repos/{quote(ref.repository)}/check-runs/{check_id}"


def _annotation(one: Annotation) -> dict[str, str | int]:
    return {
        "path": one.path,
        "start_line": one.start_line,
        "end_line": one.end_line,
        "annotation_level": one.level,
        "title": one.title[:ANNOTATION_TITLE],
        "message": clip(one.message, ANNOTATION_MESSAGE),
    }
