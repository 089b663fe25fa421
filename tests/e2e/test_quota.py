"""Two servers on one database, and a model service that counts what both ask of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import free_port, running_server, wait_until_ready
from tests.e2e.conftest import Stage, check

RPM = 5
SECONDS = 2.0
"""The stand-in's minute, and what the operator's file says of it."""
PROVIDERS = f"""
[openai-compatible]
quota_seconds = {SECONDS}
concurrency = 4
chunk_tokens = 60
[openai-compatible.figures.stand-in]
rpm = {RPM}
"""
REVIEWERS = "SELECT DISTINCT executor_id FROM workflow_status WHERE workflow_uuid LIKE 'review:%.1'"
PULLS, PARTS = 3, 1
"""A server reviews two of one installation at once, so that the third is the other's."""


@contextmanager
def two_servers(stage: Stage) -> Iterator[None]:
    table = stage.folder / "providers.toml"
    table.write_text(PROVIDERS)
    environ = {"POSTIL_PROVIDERS_FILE": str(table)}
    port = free_port()
    chosen = {**stage.choice_of_model(), **environ}
    start = partial(running_server, stage.app, stage.github.url, stage.folder)
    with start(chosen) as one, start({**chosen, "POSTIL_PORT": str(port)}) as other:
        wait_until_ready(one)
        wait_until_ready(replace(other, address=f"http://127.0.0.1:{port}"))
        yield
        one.process.terminate()  # both at the same time


def reviewers(stage: Stage) -> list[str]:
    """Name the workers that reviewed."""
    with closing(sqlite3.connect(stage.folder / "data" / "postil.db")) as connection:
        return sorted(name for (name,) in connection.execute(REVIEWERS))


def open_pull(stage: Stage, number: int) -> Pull:
    """Open a pull request of several files, each asked about alone."""
    files = {f"part_{part}.py": f"count_{part} = {number}\n".encode() for part in range(PARTS)}
    return stage.open_pull(stage.create_repository(f"many{number}"), files)


def test_two_servers_keep_one_quota_together(stage: Stage) -> None:
    stage.model.rpm, stage.model.minute = RPM, SECONDS
    stage.acts["def mean"] = Act(delay=0.2)
    with two_servers(stage):
        pulls = [open_pull(stage, number) for number in range(PULLS)]
        stage.wait_until_done()
    assert reviewers(stage) == ["worker-1", "worker-2"]
    assert stage.model.limited == 0
    assert [check(pull).conclusion for pull in pulls] == ["success"] * len(pulls)
    assert len(stage.model.seen) > RPM
    starts = [seen.time for seen in stage.model.seen]
    assert all(later - start >= SECONDS for start, later in zip(starts, starts[RPM:], strict=False))
