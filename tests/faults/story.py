"""One story among many in the same world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.calls import check_nothing_else
from tests.faults.invariants import check_invariants
from tests.faults.world import World


@contextmanager
def story(world: World) -> Iterator[None]:
    """Let a story happen; when it is over all that must hold does, and all its calls were told."""
    github = world.github
    before, since = set(github.repositories), len(github.calls)
    yield
    world.calm()
    world.wait_until_done()
    mine = [one for number, one in github.repositories.items() if number not in before]
    check_nothing_else(world, github.calls[since:])
    check_invariants(world, mine, since=since, restarts=1)
    assert not github.unexpected
    assert not world.stage.model.refusals
