"""Pull requests of the stories, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from sandbox.github import CheckRun, Pull
from tests.e2e.conftest import check, spots, told
from tests.faults.world import World

Facts = dict[str, Any]
MANY = 30
MANY_AT_ONCE = b"[review]\nmax_comments = 30\neffort = 'quick'\n"
DEFECTS = "".join(f"a_{n} = {n} / len(xs)\n\n\n" for n in range(MANY))


def review(world: World, name: str) -> Pull:
    """Open a pull request with one defect in a repository of its own, and let it be reviewed."""
    full_name = name if "/" in name else f"acme/{name}"
    pull = world.stage.open_pull(world.create_repository(full_name))
    world.wait_until_done()
    return pull


def open_many(world: World, name: str) -> Pull:
    """Open one with thirty defects in one file, each of which is to stand on its line."""
    full_name = name if "/" in name else f"acme/{name}"
    repository = world.create_repository(full_name, {".postil.toml": MANY_AT_ONCE})
    return world.stage.open_pull(repository, {f"{repository.name}.py": DEFECTS.encode()})


def review_many(world: World, name: str) -> Pull:
    """Open such a one and let it be reviewed."""
    pull = open_many(world, name)
    world.wait_until_done()
    return pull


def check_reviewed(pull: Pull) -> None:
    """Check that the one defect was said, once and on its line."""
    assert spots(pull) == [(f"{pull.repository.name}.py", 2)]
    assert len(pull.reviews) == 1
    assert check(pull).conclusion == "success"


def check_given_up(pull: Pull, *reasons: str) -> CheckRun:
    """Check that nothing was said, and the check run says why."""
    assert spots(pull) == []
    run = check(pull)
    assert run.conclusion == "neutral"
    for reason in reasons:
        assert reason in told(run)
    return run


def state(world: World, pull: Pull) -> set[str]:
    """Return how the jobs of a pull request's reviews have ended."""
    start = f"review:{pull.repository.id}:{pull.number}:"
    return {state for key, state in world.stage.jobs().items() if key.startswith(start)}


def logged(world: World, *words: str) -> list[str]:
    """Return the lines of the servers' log that hold all of these words."""
    lines = (world.stage.folder / "server.log").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if all(word in line for word in words)]


def refuse(reason: str, headers: Mapping[str, str] | None = None, *, status: int = 403) -> Facts:
    """Say how GitHub refuses a call."""
    return {"status": status, "body": {"message": reason}, "headers": dict(headers or {})}


def inject_row(world: World, method: str, pattern: str, forms: Iterable[Facts]) -> None:
    """Let the calls that match go wrong one after the other, each in its way."""
    for nth, form in enumerate(forms, 1):
        world.inject(method, pattern, nth=nth, **form)


def waits(world: World, pull: Pull, path: str) -> list[float]:
    """Return the seconds between the calls to a path."""
    at = [one.at for one in world.about(pull.repository) if one.path.endswith(path)]
    return [after - before for before, after in pairwise(at)]
