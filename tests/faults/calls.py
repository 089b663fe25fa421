"""Which calls a story makes: none that was not expected, and every one that was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sandbox.github import Call, Repository
from tests.faults.world import TOKENS, World

Calls = Counter[str]
HOME = "/repos/{owner}/{repo}/"
GIT = "/{owner}/{repo}.git/"
NAMES = {TOKENS: "token", "/graphql": "graphql"}


def calls(text: str) -> Calls:
    """Read calls, one a line; what stands behind ``x`` is how often."""
    found: Calls = Counter()
    for line in filter(str.strip, text.splitlines()):
        call, _, times = line.strip().partition(" x")
        found[call] += int(times or 1)
    return found


def often(some: Calls, times: int) -> Calls:
    """Repeat calls."""
    return Counter({call: count * times for call, count in some.items()})


TOKEN = calls("POST token")
PULL = calls("GET pulls/{number}")
FILES = calls("GET pulls/{number}/files")
LOOK = calls("GET commits/{ref+}/check-runs")
FETCH = calls("""
GET git/info/refs
POST git/git-upload-pack
""")
AHEAD = FETCH + LOOK + FILES
"""What is read side by side once the pull request is known."""
OPEN = calls("POST check-runs")
BEGIN = PULL + AHEAD + OPEN
"""Everything up to the first question to the model."""
TALK = calls("POST graphql")
REVIEW = calls("POST pulls/{number}/reviews")
ON_FILE = calls("POST pulls/{number}/comments")
SUMMARY = calls("POST issues/{number}/comments")
CLOSE = calls("PATCH check-runs/{run}")
PLAIN = TOKEN + BEGIN + TALK + REVIEW + CLOSE
"""A small review with one comment."""
PERMISSION = calls("GET collaborators/{login}/permission")
EYES = calls("POST issues/comments/{comment}/reactions")
COMMAND = PERMISSION + EYES + PULL + TALK + SUMMARY
"""A command in a comment, answered there."""
AGAIN = TOKEN + PULL + AHEAD
"""What a job does again when it is tried again: each try has a token of its own."""
LAST_WORDS = TOKEN + LOOK + CLOSE
"""What is said of a review that began and will not end; of one that never began there is more."""
NEVER_BEGAN = LOOK + OPEN + LAST_WORDS
LIST = calls("GET pulls")
"""What the repair reads of a repository."""
AT_REST = frozenset(
    {
        "GET /app",
        "GET /app/hook/deliveries",
        "GET /app/installations",
        "POST token",
        "GET /installation/repositories",
    }
)
"""What the repair reads of nobody in particular, whenever it comes round."""
REPAIR = AT_REST | {"POST /app/hook/deliveries/{number}/attempts"}
NONE: Calls = Counter()


def name(call: Call) -> str:
    """Name the endpoint of a call."""
    template = call.template or call.path
    short = NAMES.get(template) or template.removeprefix(HOME).replace(GIT, "git/")
    return f"{call.method} {short}"


def check_calls(
    world: World, repository: Repository, expected: Calls, since: int = 0, may: Calls = NONE
) -> None:
    """Check that exactly these calls were made about a repository.

    ``may`` are those that also come if they are begun before what runs beside them has failed.
    """
    found = world.about(repository, since)
    made = Counter(map(name, found))
    unexpected, missing = made - expected - may, expected - made
    assert not unexpected, f"unexpected {unexpected}"
    assert not missing, f"missing {missing}"
    world.checked.update(map(id, found))


def check_nothing_else(world: World, found: Sequence[Call], by_itself: Iterable[str] = ()) -> None:
    """Check that every call was one that its story expected; some come by themselves."""
    left = Counter(name(call) for call in found if id(call) not in world.checked)
    for one in by_itself:
        left.pop(one, None)
    assert not left, f"no check of its story expected {left}"
