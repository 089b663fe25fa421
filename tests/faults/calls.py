"""Which calls a story makes: none that was not expected, and every one that was."""

from __future__ import annotations

from collections import Counter

from sandbox.github import Call, Repository
from tests.faults.world import World

Calls = Counter[str]
HOME = "/repos/{owner}/{repo}/"
GIT = "/{owner}/{repo}.git/"
NAMES = {"/app/installations/{number}/access_tokens": "token", "/graphql": "graphql"}


def calls(text: str) -> Calls:
    """Read calls, one a line; what stands behind ``x`` is how often."""
    found: Calls = Counter()
    for line in filter(str.strip, text.splitlines()):
        call, _, times = line.strip().partition(" x")
        found[call] += int(times or 1)
    return found


FETCH = calls("""
GET git/info/refs
POST git/git-upload-pack
""")
BEGIN = FETCH + calls("""
GET pulls/{number}
GET commits/{ref+}/check-runs
POST check-runs
GET pulls/{number}/files
""")
"""Everything up to the first question to the model."""
END = calls("""
POST graphql
POST pulls/{number}/reviews
PATCH check-runs/{run}
""")
"""Everything after the last answer."""
PLAIN = calls("POST token") + BEGIN + END
"""A small review with one comment."""


def name(call: Call) -> str:
    """Name the endpoint of a call."""
    template = call.template or call.path
    short = NAMES.get(template) or template.removeprefix(HOME).replace(GIT, "git/")
    return f"{call.method} {short}"


def check_calls(world: World, repository: Repository, expected: Calls, since: int = 0) -> None:
    """Check that exactly these calls were made about a repository."""
    made = Counter(name(call) for call in world.about(repository, since))
    assert made == expected, f"unexpected {made - expected}, missing {expected - made}"
