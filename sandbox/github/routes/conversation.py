"""Issue comments, reactions, collaborators and labels."""

from http import HTTPStatus

from sandbox.github import shapes
from sandbox.github.http import Json, Refusal, Reply, Request, Routes, validation_failed
from sandbox.github.lists import paged
from sandbox.github.reviews import too_long
from sandbox.github.state import IssueComment, Reaction
from sandbox.github.world import World

routes = Routes()
READ, WRITE = "issues=read|pull_requests=read", "issues=write|pull_requests=write"
REPO = "/repos/{owner}/{repo}"
COMMENT = f"{REPO}/issues/comments/{{comment}}"
OF_ISSUE_COMMENT, OF_REVIEW_COMMENT, OF_ISSUE = (
    f"{COMMENT}/reactions",
    f"{REPO}/pulls/comments/{{comment}}/reactions",
    f"{REPO}/issues/{{number}}/reactions",
)
COARSE = {"maintain": "write", "triage": "read"}


@routes.on("GET", f"{REPO}/issues/{{number}}/comments", READ)
def list_comments(world: World, request: Request) -> Reply:
    """List the conversation, oldest first."""
    every = world.unlagged(request.pull.comments)
    if since := request.query.get("since"):
        every = [one for one in every if (shapes.stamp(one.updated_at) or "") >= since]
    return paged(world, request, every, lambda one: shapes.issue_comment(world, one))


@routes.on("POST", f"{REPO}/issues/{{number}}/comments", WRITE)
def create_comment(world: World, request: Request) -> Reply:
    """Add a comment to the conversation."""
    pull, author = request.pull, request.author
    if pull.locked and not world.may_push(pull.repository, author):
        raise Refusal(HTTPStatus.FORBIDDEN, "Unable to create comment because issue is locked.")
    made = world.comment(pull, author, _body(world, request.json()))
    return Reply(shapes.issue_comment(world, made), HTTPStatus.CREATED)


@routes.on("GET", COMMENT, READ)
def read_comment(world: World, request: Request) -> Reply:
    """Show one comment."""
    return Reply(shapes.issue_comment(world, _comment(request)))


@routes.on("PATCH", COMMENT, WRITE)
def update_comment(world: World, request: Request) -> Reply:
    """Change a comment's text."""
    comment = _own(world, request)
    comment.body, before = _body(world, request.json()), comment.body
    comment.updated_at = world.now()
    world.comment_event(comment, "edited", changes={"body": {"from": before}})
    return Reply(shapes.issue_comment(world, comment))


@routes.on("DELETE", COMMENT, WRITE)
def delete_comment(world: World, request: Request) -> Reply:
    """Delete a comment."""
    comment = _own(world, request)
    comment.pull.comments.remove(comment)
    world.comment_event(comment, "deleted")
    return Reply(status=HTTPStatus.NO_CONTENT)


@routes.on("GET", OF_ISSUE_COMMENT, READ)
@routes.on("GET", OF_REVIEW_COMMENT, "pull_requests=read")
@routes.on("GET", OF_ISSUE, READ)
def list_reactions(world: World, request: Request) -> Reply:
    """List the reactions to a comment or a pull request."""
    content = request.query.get("content")
    every = [one for one in _reactions(request) if content in {None, one.content}]
    return paged(world, request, every, lambda one: shapes.reaction(world, one))


@routes.on("POST", OF_ISSUE_COMMENT, WRITE)
@routes.on("POST", OF_REVIEW_COMMENT, "pull_requests=write")
@routes.on("POST", OF_ISSUE, WRITE)
def create_reaction(world: World, request: Request) -> Reply:
    """Add a reaction; the same one again answers 200 instead of 201."""
    content = request.json().get("content")
    if content not in shapes.REACTIONS:
        raise validation_failed("Reaction", "content", "invalid")
    made, new = world.react(_reactions(request), request.author.user, content)
    return Reply(shapes.reaction(world, made), HTTPStatus.CREATED if new else HTTPStatus.OK)


@routes.on("DELETE", f"{OF_ISSUE_COMMENT}/{{reaction}}", WRITE)
@routes.on("DELETE", f"{OF_REVIEW_COMMENT}/{{reaction}}", "pull_requests=write")
@routes.on("DELETE", f"{OF_ISSUE}/{{reaction}}", WRITE)
def delete_reaction(_world: World, request: Request) -> Reply:
    """Take a reaction back."""
    reactions, number = _reactions(request), request.number("reaction")
    for one in reactions:
        if one.id == number:
            reactions.remove(one)
            return Reply(status=HTTPStatus.NO_CONTENT)
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


@routes.on("GET", f"{REPO}/collaborators/{{login}}/permission", "metadata=read")
def read_permission(world: World, request: Request) -> Reply:
    """Show what a user may do: coarsely in `permission`, exactly in `role_name`."""
    found = world.users.get(request.params["login"].casefold())
    if found is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
    role = world.level(request.repository, found)
    ladder = {
        "pull": {"read", "triage", "write", "maintain", "admin"},
        "triage": {"triage", "write", "maintain", "admin"},
        "push": {"write", "maintain", "admin"},
        "maintain": {"maintain", "admin"},
        "admin": {"admin"},
    }
    who = shapes.user(world, found) | {
        "permissions": {name: role in roles for name, roles in ladder.items()},
        "role_name": role,
    }
    return Reply({"permission": COARSE.get(role, role), "role_name": role, "user": who})


def _body(world: World, wanted: Json) -> str:
    body = wanted.get("body")
    if not isinstance(body, str) or not body.strip():
        raise validation_failed("IssueComment", "body", "missing_field")
    if len(body) > world.limits.body_characters:
        raise validation_failed("IssueComment", "body", "unprocessable", too_long(world))
    return body


def _comment(request: Request) -> IssueComment:
    number = request.number("comment")
    for pull in request.repository.pulls.values():
        for one in pull.comments:
            if one.id == number:
                return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _own(world: World, request: Request) -> IssueComment:
    comment = _comment(request)
    mine = comment.author.user is request.author.user
    if not mine and not world.may_push(request.repository, request.author):
        raise Refusal(HTTPStatus.FORBIDDEN, "Resource not accessible by integration")
    return comment


def _reactions(request: Request) -> list[Reaction]:
    if "number" in request.params:
        return request.pull.reactions
    if "/pulls/" in request.path:
        number = request.number("comment")
        for pull in request.repository.pulls.values():
            for one in pull.review_comments:
                if one.id == number:
                    return one.reactions
    return _comment(request).reactions
