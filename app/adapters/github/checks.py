"""Our check run: one for each job, updated in place, known by App and job, never by name."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from app.adapters import crash
from app.adapters.github import shapes
from app.adapters.github.client import Client
from app.adapters.github.limits import (
    ANNOTATION_MESSAGE,
    ANNOTATION_TITLE,
    ANNOTATIONS_PER_REQUEST,
    BODY,
    CHECK_TITLE,
)
from app.adapters.github.writing import TRIES, insist, repeat
from app.core.markdown import clip
from app.core.pull import PullRef, PullRequest
from app.core.review import Annotation, CheckReport
from app.errors import HostInvalid, HostMissing, HostRefused, HostUnavailable

NAME = "Postil"
COMPLETED, IN_PROGRESS = "completed", "in_progress"


def open_check(client: Client, app_id: int | None, pull: PullRequest, key: str) -> int | None:
    """Find the job's check run on the head, or start it; None when checks can't be written.

    A run that was completed before is opened again: the job was asked for once more.
    """

    def find() -> shapes.CheckRun | None:
        return _find(client, app_id, pull, key)

    def make() -> shapes.CheckRun:
        return client.write(
            shapes.CheckRun,
            "POST",
            f"/repos/{quote(pull.ref.repository)}/check-runs",
            {
                "name": NAME,
                "head_sha": pull.head_sha,
                "external_id": key,
                "status": IN_PROGRESS,
            },
        )

    try:
        found = find()
        if found is None:
            return insist(client.site, find, make).id
        if found.status == COMPLETED:
            path = _path(pull.ref, found.id)
            repeat(lambda: client.write(shapes.Made, "PATCH", path, {"status": IN_PROGRESS}))
    except HostRefused as refused:
        if refused.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    except HostInvalid as invalid:
        if "no commit found" not in invalid.message.lower():
            raise
        raise HostMissing("the head is gone", superseded=True) from invalid
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
        output = {
            "title": clip(report.title, CHECK_TITLE),
            "summary": clip(report.summary, BODY),
            "annotations": batch,
        }
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


def _find(
    client: Client, app_id: int | None, pull: PullRequest, key: str
) -> shapes.CheckRun | None:
    path = f"/repos/{quote(pull.ref.repository)}/commits/{pull.head_sha}/check-runs"
    params: dict[str, str | int] = {"check_name": NAME, "filter": "all"}
    if app_id is not None:
        params["app_id"] = app_id
    for page in client.rows(shapes.CheckRun, path, params, key="check_runs"):
        for run in page:
            if run.external_id == key and app_id in {None, run.app.id if run.app else None}:
                return run
    return None


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
