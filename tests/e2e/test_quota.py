"""Two servers on one database, and a model service that counts what both ask of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from app.adapters.models.pace import Quota
from sandbox.github import Pull
from sandbox.models import Act
from sandbox.serving import free_port, running_server, wait_until_ready
from tests.e2e.conftest import Stage, check, check_repository
from tests.postgres import make_database, running_postgres
from tests.quota import PARTS, PULLS, REQUESTS, review_all

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
FEW = 3
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
    """Open a pull request of two files, each asked about alone."""
    files = {"part.py": f"count = {number}\n".encode()}
    return stage.open_pull(stage.create_repository(f"many{number}"), files)


def test_two_servers_keep_one_quota_together(stage: Stage) -> None:
    stage.model.rpm, stage.model.minute = RPM, SECONDS
    stage.acts["def mean"] = Act(delay=0.2)
    with two_servers(stage):
        pulls = [open_pull(stage, number) for number in range(FEW)]
        stage.wait_until_done()
    assert reviewers(stage) == ["worker-1", "worker-2"]
    assert stage.model.limited == 0
    assert [check(pull).conclusion for pull in pulls] == ["success"] * len(pulls)
    assert len(stage.model.seen) > RPM
    starts = [seen.time for seen in stage.model.seen]
    assert all(later - start >= SECONDS for start, later in zip(starts, starts[RPM:], strict=False))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.mark.parametrize("quota", [Quota(rpm=30), Quota(tpm=60_000)], ids=["rpm", "tpm"])
def test_two_servers_review_two_hundred_chunks_in_the_quotas_time_and_meet_no_429(
    quota: Quota, postgres: str, tmp_path: Path
) -> None:
    """Time is put forward only while the quota is used up: a slow machine changes no assertion."""
    reviewed = review_all(tmp_path, make_database(postgres), quota, analyzes=False)
    assert sorted(reviewed.asked) == ["worker-1", "worker-2"]
    assert [one.status for one in reviewed.seen] == [200] * REQUESTS
    files = {f"part_{part:02}/of_{pull}.txt" for part in range(PARTS) for pull in range(PULLS)}
    assert reviewed.parts == dict.fromkeys(files, 1)
    for pull in reviewed.pulls:
        assert check(pull).conclusion == "success"
        check_repository(pull.repository)
    requests, tokens = reviewed.most_in_a_period(quota)
    assert requests <= (quota.rpm or REQUESTS)
    assert tokens <= (quota.tpm or tokens)
    assert reviewed.waited <= 1.1 * reviewed.floor(quota)
