"""Check runs: what they may hold, and the events they cause.

docs.github.com/en/rest/checks/runs
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from sandbox.github import shapes
from sandbox.github.http import Refusal
from sandbox.github.state import App, CheckRun, CheckSuite, Json, Pull, Repository, User

if TYPE_CHECKING:
    from sandbox.github.world import World

STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "timed_out",
)
ACTION_LENGTHS = {"label": 20, "description": 40, "identifier": 20}
MOST_ACTIONS = 3
LONGEST_TITLE = 255
LONGEST_MESSAGE_BYTES = 64 * 1024
LEVELS = ("notice", "warning", "failure")


def create(world: World, repository: Repository, app: App, wanted: Json) -> CheckRun:
    """Create a check run on a commit."""
    head, name = wanted.get("head_sha"), wanted.get("name")
    for field, value in (("name", name), ("head_sha", head)):
        if not value:
            raise invalid(f'"{field}" wasn\'t supplied.')
    if repository.git.resolve(str(head)) != head:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {head}")
    _check(world, wanted)
    run = CheckRun(
        id=world.new_id(),
        suite=suite_of(world, repository, app, str(head)),
        name=str(name),
        status="queued",
        conclusion=None,
        external_id="",
        details_url="",
        started_at=world.now(),
        completed_at=None,
        output={},
    )
    _apply(world, run, wanted)
    repository.check_runs.append(run)
    event(world, run, "created")
    if run.status == "completed":
        event(world, run, "completed")
    return run


def update(world: World, run: CheckRun, wanted: Json) -> CheckRun:
    """Change a check run; annotations are added to the ones it has."""
    _check(world, wanted)
    was_done = run.status == "completed"
    _apply(world, run, wanted)
    if run.status == "completed" and not was_done:
        event(world, run, "completed")
    return run


def rerequest(world: World, run: CheckRun, sender: User) -> None:
    """Press the button that asks for the check again."""
    event(world, run, "rerequested", sender=sender)


def press(world: World, run: CheckRun, identifier: str, sender: User) -> None:
    """Press one of the check run's own buttons."""
    action = {"requested_action": {"identifier": identifier}}
    event(world, run, "requested_action", sender=sender, facts=action)


def rerequest_suite(world: World, suite: CheckSuite, sender: User) -> None:
    """Press "re-run all checks"."""
    payload = {"action": "rerequested", "check_suite": shapes.check_suite(world, suite)}
    world.emit("check_suite", suite.repository, sender, payload, only=suite.app)


def suite_of(world: World, repository: Repository, app: App, head: str) -> CheckSuite:
    """Return the App's suite on a commit, made when there is none."""
    for one in repository.suites:
        if one.app is app and one.head_sha == head:
            return one
    repository.suites.append(CheckSuite(world.new_id(), app, repository, head, world.now()))
    return repository.suites[-1]


def runs_of(pull: Pull) -> list[CheckRun]:
    """Return the check runs on a pull request's head, the newest of each name and App."""
    newest = {
        (run.suite.app.id, run.name): run
        for run in pull.repository.check_runs
        if run.suite.head_sha == pull.head_sha
    }
    return list(newest.values())


def event(
    world: World,
    run: CheckRun,
    action: str,
    *,
    sender: User | None = None,
    facts: Json | None = None,
) -> None:
    """Send a `check_run` event to the App that owns the run."""
    app = run.suite.app
    payload = {
        "action": action,
        "check_run": shapes.webhook_check_run(world, run),
        **(facts or {}),
    }
    world.emit("check_run", run.suite.repository, sender or app.bot, payload, only=app)


def invalid(problem: str) -> Refusal:
    """Return GitHub's 422 for a request that does not fit the schema."""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"Invalid request.\n\n{problem}")


def _check(world: World, wanted: Json) -> None:
    status, conclusion = wanted.get("status"), wanted.get("conclusion")
    if status is not None and status not in STATUSES:
        raise invalid(f"{status} is not a member of {list(STATUSES)}.")
    if conclusion is not None and conclusion not in CONCLUSIONS:
        raise invalid(f"{conclusion} is not a member of {list(CONCLUSIONS)}.")
    if status == "completed" and conclusion is None:
        raise invalid('"conclusion" wasn\'t supplied.')
    _check_output(world, wanted.get("output"))
    actions = wanted.get("actions") or []
    if len(actions) > MOST_ACTIONS:
        raise invalid(
            f"No more than {MOST_ACTIONS} items are allowed; {len(actions)} were supplied."
        )
    for action in actions:
        for field, longest in ACTION_LENGTHS.items():
            _check_length(str(action.get(field, "")), longest)


def _check_output(world: World, output: Json | None) -> None:
    if output is None:
        return
    for field in ("title", "summary"):
        if field not in output and "annotations" not in output:
            raise invalid(f'"{field}" wasn\'t supplied.')
    for field in ("summary", "text"):
        _check_length(str(output.get(field) or ""), world.limits.check_text_characters)
    annotations = output.get("annotations") or []
    if len(annotations) > world.limits.annotations:
        raise invalid(
            f"No more than {world.limits.annotations} items are allowed; "
            f"{len(annotations)} were supplied."
        )
    for one in annotations:
        _check_annotation(one)


def _check_annotation(one: Json) -> None:
    for field in ("path", "start_line", "end_line", "annotation_level", "message"):
        if one.get(field) in {None, ""}:
            raise invalid(f'"{field}" wasn\'t supplied.')
    if one["annotation_level"] not in LEVELS:
        raise invalid(f"{one['annotation_level']} is not a member of {list(LEVELS)}.")
    if one["start_line"] != one["end_line"] and "start_column" in one:
        raise invalid("start_column and end_column are only for annotations on one line.")
    _check_length(str(one.get("title") or ""), LONGEST_TITLE)
    for field in ("message", "raw_details"):
        size = len(str(one.get(field) or "").encode())
        if size > LONGEST_MESSAGE_BYTES:
            raise invalid(f"Only {LONGEST_MESSAGE_BYTES} bytes are allowed; {size} were supplied.")


def _check_length(text: str, longest: int) -> None:
    if len(text) > longest:
        raise invalid(f"Only {longest} characters are allowed; {len(text)} were supplied.")


def _apply(world: World, run: CheckRun, wanted: Json) -> None:
    for name in ("name", "status", "external_id", "details_url"):
        if wanted.get(name) is not None:
            setattr(run, name, wanted[name])
    if wanted.get("conclusion"):
        run.conclusion, run.status = wanted["conclusion"], "completed"
        run.completed_at = world.now()
    elif run.status != "completed":
        run.conclusion = run.completed_at = None
    output = dict(wanted.get("output") or {})
    run.annotations.extend(output.pop("annotations", None) or [])
    output.pop("images", None)
    run.output.update(output)
    if wanted.get("actions") is not None:
        run.actions = list(wanted["actions"])
