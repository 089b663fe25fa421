"""The real client walks the main path, as an App and as an installation of it."""

from collections.abc import Iterator

import pytest
from github import Auth, Github, GithubException, GithubIntegration
from github.PullRequest import PullRequest

from sandbox.github import GitHub
from tests.sandbox.conftest import Scene, build_scene


@pytest.fixture(params=["", "/api/v3"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with GitHub(prefix=request.param) as github:
        yield build_scene(github)


@pytest.fixture
def client(scene: Scene) -> Iterator[Github]:
    app = Auth.AppAuth(scene.app.id, scene.app.private_key)
    auth = app.get_installation_auth(scene.installation.id)
    with Github(
        auth=auth,
        base_url=scene.github.url,
        retry=None,
        seconds_between_requests=0,
        seconds_between_writes=0,
    ) as client:
        yield client


@pytest.fixture
def pull(client: Github) -> PullRequest:
    return client.get_repo("acme/shop").get_pull(1)


def test_an_app_finds_its_installation_by_repository(scene: Scene) -> None:
    auth = Auth.AppAuth(scene.app.id, scene.app.private_key)
    with GithubIntegration(auth=auth, base_url=scene.github.url) as app:
        assert app.get_repo_installation("acme", "shop").id == scene.installation.id
        assert app.get_app().slug == "postil"


def test_files_and_contents_are_read(client: Github, pull: PullRequest) -> None:
    files = {one.filename: one for one in pull.get_files()}
    assert files.keys() == {"cart.py", "new.py"}
    assert files["cart.py"].patch.startswith("@@ -17,7 +17,8 @@")
    repository = client.get_repo(pull.base.repo.id)
    contents = repository.get_contents("cart.py", ref=pull.head.sha)
    assert not isinstance(contents, list)
    assert b"line twenty\n" in contents.decoded_content
    listing = repository.get_contents("")
    assert isinstance(listing, list)
    assert [one.path for one in listing] == ["cart.py", "notes.md"]


def test_a_review_a_comment_and_a_check_run_are_posted(client: Github, pull: PullRequest) -> None:
    repository = client.get_repo("acme/shop")
    head = repository.get_commit(pull.head.sha)
    said = pull.create_review(
        head, "Two", "COMMENT", [{"path": "cart.py", "line": 20, "side": "RIGHT", "body": "?"}]
    )
    assert said.state == "COMMENTED"
    assert said.user.login == "postil[bot]"
    assert said.user.type == "Bot"
    assert [one.line for one in pull.get_review_comments()] == [20]
    comment = pull.create_issue_comment("hello")
    comment.create_reaction("eyes")
    assert [one.content for one in comment.get_reactions()] == ["eyes"]
    run = repository.create_check_run("Postil", head.sha, status="in_progress")
    run.edit(conclusion="success", output={"title": "Clean", "summary": "Nothing"})
    assert [one.conclusion for one in head.get_check_runs()] == ["success"]


def test_threads_are_read_and_resolved_over_graphql(
    scene: Scene, client: Github, pull: PullRequest
) -> None:
    pull.create_review_comment(
        "?", client.get_repo("acme/shop").get_commit(pull.head.sha), "cart.py", 20
    )
    query = """query($owner: String!, $name: String!, $number: Int!, $after: String) {
      repository(owner: $owner, name: $name) { pullRequest(number: $number) {
        reviewThreads(first: 50, after: $after) { nodes { id isResolved isOutdated path line
          comments(first: 1) { nodes { databaseId author { login } body } } }
          pageInfo { hasNextPage endCursor } } } } }"""
    variables = {"owner": "acme", "name": "shop", "number": 1, "after": None}
    _, answer = client.requester.graphql_query(query, variables)
    (thread,) = answer["data"]["repository"]["pullRequest"]["reviewThreads"]["nodes"]
    assert thread["line"] == 20
    assert thread["comments"]["nodes"][0]["author"]["login"] == "postil"
    scene.installation.permissions["contents"] = "write"
    for token in scene.github.tokens.values():
        token.permissions["contents"] = "write"
    _, done = client.requester.graphql_named_mutation(
        "resolveReviewThread", {"threadId": thread["id"]}, "thread { isResolved }"
    )
    assert done["thread"]["isResolved"] is True


def test_a_refused_review_raises_with_githubs_words(pull: PullRequest) -> None:
    with pytest.raises(GithubException) as raised:
        pull.create_review(
            body="x", event="COMMENT", comments=[{"path": "cart.py", "line": 1, "body": "far"}]
        )
    assert raised.value.status == 422
    assert raised.value.data["errors"] == ["Line could not be resolved"]
