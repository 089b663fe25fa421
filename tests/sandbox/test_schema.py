"""Every kind of answer is read with the models that githubkit generates from GitHub's schema."""

import importlib
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from sandbox.github import Blob, GitHub
from sandbox.github.checks import press, rerequest, rerequest_suite
from tests.sandbox.conftest import Client, Scene, build_scene

# Imported by name: the generated package is so large that type checking it takes minutes.
MODELS = importlib.import_module("githubkit_schemas.latest.models")
ROOT = "/repos/acme/shop"
PULL = f"{ROOT}/pulls/1"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with GitHub() as github:
        scene = build_scene(github)
        populate(scene)
        yield scene


def populate(scene: Scene) -> None:
    client, head = scene.client, scene.pull.head_sha
    comments = [{"path": "cart.py", "line": 20, "body": "why?"}]
    client.post(f"{PULL}/reviews", {"event": "COMMENT", "body": "hm", "comments": comments})
    client.post(f"{PULL}/reviews", {"body": "later"})
    client.post(f"{ROOT}/issues/1/comments", {"body": "hello"})
    note = {"path": "cart.py", "start_line": 1, "end_line": 1, "annotation_level": "notice"}
    output = {"title": "t", "summary": "s", "annotations": [note | {"message": "m"}]}
    run = {"name": "Postil", "head_sha": head, "conclusion": "neutral", "output": output}
    client.post(f"{ROOT}/check-runs", run)
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.invalid/lib.git\n'
    scene.repository.commit(
        {
            "link": Blob(b"cart.py", "120000"),
            "away": Blob(b"/etc/passwd", "120000"),
            "lib": Blob(b"1" * 40, "160000"),
            ".gitmodules": modules,
            "deep/er.py": "y = 2\n",
        },
        branch="main",
    )


def read(model: str, data: Any) -> Any:  # noqa: ANN401 - JSON in, one of many models out
    return getattr(MODELS, model).model_validate(data)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("FullRepository", ROOT),
        ("PullRequest", PULL),
        ("CheckSuite", f"{ROOT}/check-suites/{{suite}}"),
        ("CheckRun", f"{ROOT}/check-runs/{{run}}"),
        ("PullRequestReview", f"{PULL}/reviews/{{review}}"),
        ("PullRequestReviewComment", f"{ROOT}/pulls/comments/{{comment}}"),
        ("IssueComment", f"{ROOT}/issues/comments/{{said}}"),
        ("Issue", f"{ROOT}/issues/1"),
        ("Commit", f"{ROOT}/commits/one"),
        ("CommitComparison", f"{ROOT}/compare/main...one"),
        ("BranchWithProtection", f"{ROOT}/branches/main"),
        ("GitRef", f"{ROOT}/git/ref/heads/main"),
        ("GitCommit", f"{ROOT}/git/commits/{{head}}"),
        ("GitTree", f"{ROOT}/git/trees/main?recursive=1"),
        ("Blob", f"{ROOT}/git/blobs/{{blob}}"),
        ("ContentFile", f"{ROOT}/contents/cart.py"),
        ("ContentFile", f"{ROOT}/contents/link"),
        ("ContentSymlink", f"{ROOT}/contents/away"),
        ("ContentSubmodule", f"{ROOT}/contents/lib"),
        ("RepositoryCollaboratorPermission", f"{ROOT}/collaborators/alice/permission"),
        ("RateLimitOverview", "/rate_limit"),
        ("SimpleUser", "/users/alice"),
    ],
)
def test_one_thing_is_shown_as_the_schema_says(scene: Scene, model: str, path: str) -> None:
    answer = scene.client.get(path.format(**numbers(scene)))
    assert answer.status == 200, answer.body
    read(model, answer.data)


@pytest.mark.parametrize(
    ("model", "path", "key"),
    [
        ("PullRequestSimple", f"{ROOT}/pulls", None),
        ("DiffEntry", f"{PULL}/files", None),
        ("Commit", f"{PULL}/commits", None),
        ("Commit", f"{ROOT}/commits", None),
        ("PullRequestReview", f"{PULL}/reviews", None),
        ("PullRequestReviewComment", f"{PULL}/comments", None),
        ("PullRequestReviewComment", f"{ROOT}/pulls/comments", None),
        ("ReviewComment", f"{PULL}/reviews/{{review}}/comments", None),
        ("IssueComment", f"{ROOT}/issues/1/comments", None),
        ("CheckRun", f"{ROOT}/commits/one/check-runs", "check_runs"),
        ("CheckSuite", f"{ROOT}/commits/one/check-suites", "check_suites"),
        ("CheckAnnotation", f"{ROOT}/check-runs/{{run}}/annotations", None),
        ("ContentDirectoryItems", f"{ROOT}/contents", None),
        ("Repository", "/installation/repositories", "repositories"),
    ],
)
def test_a_list_is_shown_as_the_schema_says(
    scene: Scene, model: str, path: str, key: str | None
) -> None:
    answer = scene.client.get(path.format(**numbers(scene)))
    assert answer.status == 200, answer.body
    rows = answer.data[key] if key else answer.data
    assert rows
    for row in rows:
        read(model, row)


def test_an_app_sees_itself_as_the_schema_says(scene: Scene) -> None:
    now = int(scene.github.now())
    claims = {"iat": now - 60, "exp": now + 540, "iss": str(scene.app.id)}
    client = Client(scene.github, jwt.encode(claims, scene.app.private_key, "RS256"))
    read("Integration", client.get("/app").data)
    read("Installation", client.get("/app/installations").data[0])
    read("Installation", client.get(f"{ROOT}/installation").data)
    url = f"/app/installations/{scene.installation.id}/access_tokens"
    minted = client.post(url, {"repository_ids": [scene.repository.id]}).data
    assert read("InstallationToken", minted).permissions.checks == "write"
    delivery = client.get("/app/hook/deliveries").data[0]
    read("HookDeliveryItem", delivery)
    read("HookDelivery", client.get(f"/app/hook/deliveries/{delivery['id']}").data)


def test_reactions_and_written_things_are_shown_as_the_schema_says(scene: Scene) -> None:
    client = scene.client
    said = client.post(f"{ROOT}/issues/1/comments", {"body": "one more"})
    read("IssueComment", said.data)
    url = f"{ROOT}/issues/comments/{said.data['id']}/reactions"
    read("Reaction", client.post(url, {"content": "eyes"}).data)
    read("Reaction", client.get(url).data[0])
    comment = {"path": "new.py", "line": 1, "body": "x", "commit_id": scene.pull.head_sha}
    read("PullRequestReviewComment", client.post(f"{PULL}/comments", comment).data)


EVENTS = {
    ("pull_request", "opened"): "WebhookPullRequestOpened",
    ("pull_request", "synchronize"): "WebhookPullRequestSynchronize",
    ("pull_request", "closed"): "WebhookPullRequestClosed",
    ("pull_request", "reopened"): "WebhookPullRequestReopened",
    ("pull_request", "edited"): "WebhookPullRequestEdited",
    ("pull_request", "labeled"): "WebhookPullRequestLabeled",
    ("pull_request", "converted_to_draft"): "WebhookPullRequestConvertedToDraft",
    ("pull_request", "ready_for_review"): "WebhookPullRequestReadyForReview",
    ("issue_comment", "created"): "WebhookIssueCommentCreated",
    ("pull_request_review", "submitted"): "WebhookPullRequestReviewSubmitted",
    ("pull_request_review_comment", "created"): "WebhookPullRequestReviewCommentCreated",
    ("check_run", "created"): "WebhookCheckRunCreated",
    ("check_run", "completed"): "WebhookCheckRunCompleted",
    ("check_run", "rerequested"): "WebhookCheckRunRerequested",
    ("check_run", "requested_action"): "WebhookCheckRunRequestedAction",
    ("check_suite", "rerequested"): "WebhookCheckSuiteRerequested",
    ("push", None): "WebhookPush",
    ("installation", "created"): "WebhookInstallationCreated",
    ("installation", "deleted"): "WebhookInstallationDeleted",
    ("installation", "suspend"): "WebhookInstallationSuspend",
}


def test_every_event_is_sent_as_the_schema_says(github: GitHub) -> None:
    scene = build_scene(github)
    scene.app.events = (*scene.app.events, "push")
    populate(scene)
    pull, alice, run = scene.pull, scene.alice, scene.repository.check_runs[0]
    pull.push({"cart.py": "all new\n"})
    pull.edit(alice, title="Another")
    pull.label("skip")
    pull.convert_to_draft()
    pull.ready_for_review()
    pull.close(alice)
    pull.reopen(alice)
    rerequest(github, run, alice)
    press(github, run, "again", alice)
    rerequest_suite(github, run.suite, alice)
    github.suspend(scene.installation)
    github.uninstall(scene.installation)
    seen = {(one.event, one.payload.get("action")): one.payload for one in github.deliveries}
    assert seen.keys() == EVENTS.keys()
    for kind, payload in seen.items():
        read(EVENTS[kind], payload)


def numbers(scene: Scene) -> dict[str, object]:
    pull, repository = scene.pull, scene.repository
    blob = repository.git.entry(pull.head_sha, "cart.py")
    assert blob
    return {
        "run": repository.check_runs[0].id,
        "suite": repository.suites[0].id,
        "review": pull.reviews[0].id,
        "comment": pull.review_comments[0].id,
        "said": pull.comments[0].id,
        "head": pull.head_sha,
        "blob": blob.sha,
    }
