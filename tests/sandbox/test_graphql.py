"""GraphQL answers what a client of review threads asks, and refuses the rest in `errors`."""

from typing import Any

import pytest

from sandbox.github.routes.graphql import root_fields
from tests.sandbox.conftest import Client, Scene

THREADS = """query($number: Int!, $after: String) {
  repository(owner: "acme", name: "shop") { pullRequest(number: $number) {
    reviewThreads(first: 1, after: $after) { nodes { id isResolved isOutdated path line } } } } }"""


@pytest.fixture
def threads(scene: Scene) -> list[str]:
    comments = [{"path": "cart.py", "line": line, "body": "?"} for line in (18, 20)]
    review = {"event": "COMMENT", "body": "x", "comments": comments}
    scene.client.post("/repos/acme/shop/pulls/1/reviews", review)
    return [f"PRRT_{one.id}" for one in scene.pull.threads]


def ask(client: Client, query: str, **variables: object) -> Any:  # noqa: ANN401 - JSON
    answer = client.post("/graphql", {"query": query, "variables": variables})
    assert answer.status == 200
    return answer.data


def mutate(client: Client, name: str, **given: object) -> Any:  # noqa: ANN401 - JSON
    return ask(client, f"mutation($input: X!) {{ {name}(input: $input) {{ x }} }}", input=given)


def test_threads_come_in_pages(client: Client, threads: list[str]) -> None:
    found, after = [], None
    for _ in threads:
        pull = ask(client, THREADS, number=1, after=after)["data"]["repository"]["pullRequest"]
        found += [one["id"] for one in pull["reviewThreads"]["nodes"]]
        after = pull["reviewThreads"]["pageInfo"]["endCursor"]
    assert found == threads
    assert pull["reviewThreads"]["pageInfo"]["hasNextPage"] is False


def test_resolving_needs_to_write_contents(scene: Scene, threads: list[str]) -> None:
    refused = mutate(scene.client, "resolveReviewThread", threadId=threads[0])
    assert refused["errors"][0]["message"] == "Resource not accessible by integration"
    assert refused["data"] == {"resolveReviewThread": None}
    scene.installation.permissions["contents"] = "write"
    able = Client(scene.github, scene.github.mint(scene.installation).value)
    done = mutate(able, "resolveReviewThread", threadId=threads[0])
    assert done["data"]["resolveReviewThread"]["thread"]["isResolved"] is True
    undone = mutate(able, "unresolveReviewThread", threadId=threads[0])
    assert undone["data"]["unresolveReviewThread"]["thread"]["isResolved"] is False


def test_comments_are_minimized_and_answered(scene: Scene, threads: list[str]) -> None:
    subject = f"PRRC_{scene.pull.review_comments[0].id}"
    done = mutate(scene.client, "minimizeComment", subjectId=subject, classifier="OUTDATED")
    assert done["data"]["minimizeComment"]["minimizedComment"]["isMinimized"] is True
    name = "addPullRequestReviewThreadReply"
    mutate(scene.client, name, pullRequestReviewThreadId=threads[0], body="Fixed")
    assert [one.body for one in scene.pull.threads[0].comments] == ["?", "Fixed"]


def test_what_is_unknown_is_an_error(client: Client) -> None:
    answer = ask(client, "{ marketplace { name } }")
    assert "data" not in answer
    assert "doesn't exist" in answer["errors"][0]["message"]
    missing = ask(client, THREADS, number=99)
    assert missing["errors"][0]["type"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("{ viewer { login } }", [("viewer", "viewer")]),
        (
            "query Q($a: [ID!]!) { a: node(id: $a) { id } rateLimit { cost } }",
            [("a", "node"), ("rateLimit", "rateLimit")],
        ),
        (
            '# { no }\nmutation { resolveReviewThread(input: {threadId: "{x"}) { thread { id } } }',
            [("resolveReviewThread", "resolveReviewThread")],
        ),
    ],
)
def test_root_fields_are_found(query: str, fields: list[tuple[str, str]]) -> None:
    assert root_fields(query) == fields
