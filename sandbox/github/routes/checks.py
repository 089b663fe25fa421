"""Check runs, their annotations, and check suites."""

from http import HTTPStatus

from sandbox.github import checks, shapes
from sandbox.github.http import Json, Refusal, Reply, Request, Routes
from sandbox.github.lists import paged
from sandbox.github.state import CheckRun, CheckSuite
from sandbox.github.world import World

routes = Routes()
READ, WRITE = "checks=read", "checks=write"
REPO = "/repos/{owner}/{repo}"
RUN, SUITE = f"{REPO}/check-runs/{{run}}", f"{REPO}/check-suites/{{suite}}"


@routes.on("POST", f"{REPO}/check-runs", WRITE)
def create_run(world: World, request: Request) -> Reply:
    """Create a check run; only Apps may."""
    app = request.author.app
    if app is None:
        raise Refusal(
            HTTPStatus.FORBIDDEN, "You must authenticate via a GitHub App to create a check run."
        )
    made = checks.create(world, request.repository, app, request.json())
    return Reply(shapes.check_run(world, made), HTTPStatus.CREATED)


@routes.on("GET", RUN, READ)
def read_run(world: World, request: Request) -> Reply:
    """Show one check run."""
    return Reply(shapes.check_run(world, _run(request)))


@routes.on("PATCH", RUN, WRITE)
def update_run(world: World, request: Request) -> Reply:
    """Change a check run of one's own."""
    run = _run(request)
    if run.suite.app is not request.author.app:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"Invalid app_id `{run.suite.app.id}` - check run can only be modified by the GitHub "
            "App that created it.",
        )
    return Reply(shapes.check_run(world, checks.update(world, run, request.json())))


@routes.on("GET", f"{RUN}/annotations", READ)
def list_annotations(world: World, request: Request) -> Reply:
    """List a check run's annotations."""
    run = _run(request)
    page = f"{world.address.origin}/{request.repository.full_name}/blob/{run.suite.head_sha}/"
    return paged(world, request, run.annotations, lambda one: _annotation(one, page))


@routes.on("POST", f"{RUN}/rerequest", WRITE)
def rerequest_run(world: World, request: Request) -> Reply:
    """Ask the owner of a check run for it again."""
    checks.rerequest(world, _run(request), request.author.user)
    return Reply({}, HTTPStatus.CREATED)


@routes.on("GET", f"{REPO}/commits/{{ref+}}/check-runs", READ)
def list_runs(world: World, request: Request) -> Reply:
    """List a commit's check runs, newest first; only the latest of each name unless asked."""
    sha = request.repository.git.resolve(request.params["ref"])
    if sha is None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {request.params['ref']}"
        )
    every = [run for run in request.repository.check_runs if run.suite.head_sha == sha]
    return _list(world, request, every)


@routes.on("GET", f"{REPO}/commits/{{ref+}}/check-suites", READ)
def list_suites(world: World, request: Request) -> Reply:
    """List a commit's check suites."""
    sha = request.repository.git.resolve(request.params["ref"])
    wanted = request.query.get("app_id")
    every = [
        one
        for one in request.repository.suites
        if one.head_sha == sha and wanted in {None, str(one.app.id)}
    ]
    return paged(world, request, every, lambda one: shapes.check_suite(world, one), "check_suites")


@routes.on("GET", SUITE, READ)
def read_suite(world: World, request: Request) -> Reply:
    """Show one check suite."""
    return Reply(shapes.check_suite(world, _suite(request)))


@routes.on("GET", f"{SUITE}/check-runs", READ)
def list_runs_of_suite(world: World, request: Request) -> Reply:
    """List the check runs of a suite."""
    suite = _suite(request)
    return _list(
        world, request, [run for run in request.repository.check_runs if run.suite is suite]
    )


def _list(world: World, request: Request, runs: list[CheckRun]) -> Reply:
    query = request.query
    found = [
        run
        for run in world.unlagged(runs)
        if query.get("check_name", run.name) == run.name
        and query.get("status", run.status) == run.status
        and query.get("app_id", str(run.suite.app.id)) == str(run.suite.app.id)
    ]
    if query.get("filter", "latest") == "latest":
        found = list({(run.suite.app.id, run.name): run for run in found}.values())
    found.reverse()
    return paged(world, request, found, lambda one: shapes.check_run(world, one), "check_runs")


def _run(request: Request) -> CheckRun:
    number = request.number("run")
    for one in request.repository.check_runs:
        if one.id == number:
            return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _suite(request: Request) -> CheckSuite:
    number = request.number("suite")
    for one in request.repository.suites:
        if one.id == number:
            return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _annotation(one: Json, page: str) -> Json:
    optional = ("start_column", "end_column", "title", "raw_details")
    return {**dict.fromkeys(optional), **one, "blob_href": page + one["path"]}
