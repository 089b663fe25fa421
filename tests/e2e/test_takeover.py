"""Two servers on one PostgreSQL, and the power goes out at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import (
    Server,
    completed_check,
    free_port,
    running_server,
    until,
    wait_until_ready,
)
from tests.e2e.conftest import (
    BUG,
    LIMIT_S,
    OLD,
    Stage,
    check,
    check_repository,
    comments,
    open_stage,
)
from tests.postgres import make_database, running_postgres

PULLS, OWNERS = 20, 5
TAKEN_OVER_WITHIN_S = 120.0


def start(stage: Stage, stack: ExitStack, name: str, environ: Mapping[str, str]) -> Server:
    """Start one more server in a folder of its own."""
    folder, port = stage.folder / name, free_port()
    folder.mkdir()
    chosen = {**stage.choice_of_model(), **environ, "POSTIL_PORT": str(port)}
    server = running_server(stage.app, stage.github.url, folder, chosen)
    return replace(stack.enter_context(server), address=f"http://127.0.0.1:{port}")


def open_pulls(stage: Stage) -> list[Pull]:
    """Open pull requests of several owners: Postil writes once a second for each."""
    pulls: list[Pull] = []
    for number in range(PULLS):
        owner = f"owner-{number % OWNERS}"
        repository = stage.github.create_repository(
            f"{owner}/shop-{number}", {f"shop-{number}.py": OLD}
        )
        if number < OWNERS:
            stage.github.install(stage.app, repository.owner)
        pulls.append(stage.open_pull(repository))
    return pulls


def test_what_a_killed_server_left_is_finished_by_the_other_and_nothing_is_said_twice(
    tmp_path: Path,
) -> None:
    with running_postgres() as postgres, open_stage(tmp_path) as stage, ExitStack() as stack:
        stage.acts["shop-"] = Act(delay=1.0)
        environ = {"POSTIL_DATABASE_URL": make_database(postgres)}
        lasting, dying = (start(stage, stack, name, environ) for name in ("lasting", "dying"))
        for server in (lasting, dying):
            wait_until_ready(server, LIMIT_S)
        stage.app.webhook_url = f"{lasting.address}/webhook"
        pulls = open_pulls(stage)
        until(lambda: sum(bool(p.reviews) for p in pulls) >= 3, LIMIT_S, lambda: "none was posted")
        dying.kill()
        left = [pull for pull in pulls if completed_check(pull) is None]
        assert left, "everything was done before the power went out"
        until(
            lambda: all(completed_check(pull) for pull in pulls),
            TAKEN_OVER_WITHIN_S,
            lambda: f"{sum(completed_check(pull) is None for pull in pulls)} were left lying",
        )
        for pull in pulls:
            assert len(pull.reviews) == 1
            assert [(line, BUG in body) for _, line, body in comments(pull)] == [(2, True)]
            assert check(pull).conclusion == "success"
            check_repository(pull.repository)
        assert stage.github.unexpected == []
