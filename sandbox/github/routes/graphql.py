"""GraphQL: no more of it than a client of review threads uses.

Queries are not parsed: the root fields decide, and the answer holds every field that is offered.
GraphQL answers 200 with `errors` when it refuses.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from sandbox.github import auth, reviews, shapes
from sandbox.github.http import Json, Refusal, Reply, Request, Routes
from sandbox.github.state import IssueComment, Pull, Repository, Review, ReviewComment, Thread, User
from sandbox.github.world import World

routes = Routes()
T = TypeVar("T")
LARGEST_PAGE = 100
WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|#[^\n]*|[{}()\[\]:!$@=]|\.\.\.|[\w-]+')
CLASSIFIERS = ("SPAM", "ABUSE", "OFF_TOPIC", "OUTDATED", "DUPLICATE", "RESOLVED")


class RefusedError(Exception):
    """What stands in `errors`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@routes.on("POST", "/graphql")
@routes.on("POST", "/api/graphql")
def answer(world: World, request: Request) -> Reply:
    """Answer a query or a mutation."""
    asked = request.json()
    query, variables = str(asked.get("query", "")), asked.get("variables") or {}
    data: Json = {}
    errors = []
    for alias, field in root_fields(query):
        try:
            data[alias] = _resolve(world, request, field, query, variables)
        except RefusedError as error:
            data[alias] = None
            errors.append({"type": error.kind, "path": [alias], "message": str(error)})
        except Refusal as refusal:
            data[alias] = None
            errors.append({"type": "NOT_FOUND", "path": [alias], "message": str(refusal)})
    if any(one["type"] == "undefinedField" for one in errors):
        return Reply({"errors": errors})
    return Reply({"data": data} | ({"errors": errors} if errors else {}))


def root_fields(query: str) -> list[tuple[str, str]]:
    """Return the alias and the name of each field of the first operation."""
    depth = nested = 0
    fields: list[tuple[str, str]] = []
    words = [one for one in WORDS.findall(query) if not one.startswith("#")]
    for at, word in enumerate(words):
        depth += (word == "{") - (word == "}")
        nested += (word in {"(", "["}) - (word in {")", "]"})
        if depth != 1 or nested or not word.isidentifier() or words[at + 1 : at + 2] == [":"]:
            continue
        alias = words[at - 2] if words[at - 1] == ":" else word
        fields.append((alias, word))
    return fields


def _resolve(world: World, request: Request, field: str, query: str, variables: Json) -> object:
    arguments = _arguments(query, variables)
    mutations: dict[str, Callable[[World, Request, Json], Json]] = {
        "resolveReviewThread": _resolve_thread,
        "unresolveReviewThread": _unresolve_thread,
        "minimizeComment": _minimize,
        "addPullRequestReviewThreadReply": _reply,
    }
    if field in mutations:
        return mutations[field](world, request, arguments)
    if field == "repository":
        return _repository(world, request, arguments)
    if field == "node":
        return _node(world, request, arguments)
    if field == "viewer":
        me = request.author.user
        return {"login": me.login, "id": shapes.node("U", me.id), "databaseId": me.id}
    if field == "rateLimit":
        return {"limit": 5000, "cost": 1, "remaining": 4999}
    raise RefusedError("undefinedField", f"Field '{field}' doesn't exist on this type")


def _arguments(query: str, variables: Json) -> Json:
    """Return all arguments by name: literals of the query, then the variables they name."""
    found: Json = {}
    for name, literal in re.findall(
        r'(\w+)\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+|[A-Z_]+\b|\$\w+)', query
    ):
        if literal.startswith("$"):
            if literal[1:] in variables:
                found[name] = variables[literal[1:]]
        elif literal.startswith('"'):
            found[name] = re.sub(r"\\(.)", r"\1", literal[1:-1])
        else:
            found[name] = int(literal) if literal.lstrip("-").isdecimal() else literal
    inputs = [one for one in variables.values() if isinstance(one, dict)]
    for one in inputs:
        found |= one
    return found


def _repository(world: World, request: Request, arguments: Json) -> Json:
    name = f"{arguments.get('owner')}/{arguments.get('name')}"
    repository = world.find_repository(name)
    if repository is None or not auth.can_see(world, request.token, repository):
        raise RefusedError(
            "NOT_FOUND", f"Could not resolve to a Repository with the name '{name}'."
        )
    shape: Json = {
        "id": shapes.node("R", repository.id),
        "databaseId": repository.id,
        "nameWithOwner": repository.full_name,
    }
    if "number" in arguments:
        pull = repository.pulls.get(int(arguments["number"]))
        if pull is None:
            raise RefusedError(
                "NOT_FOUND",
                f"Could not resolve to a PullRequest with the number of {arguments['number']}.",
            )
        _require(world, request, repository, "pull_requests", "read")
        shape["pullRequest"] = _pull(world, request, pull, arguments)
    return shape


def _node(world: World, request: Request, arguments: Json) -> Json:
    wanted = str(arguments.get("id", ""))
    for repository in world.repositories.values():
        for pull in repository.pulls.values():
            if shapes.node("PR", pull.id) == wanted:
                _require(world, request, repository, "pull_requests", "read")
                return _pull(world, request, pull, arguments)
    return _thread_shape(_thread(world, request, wanted, "pull_requests", "read")[1], arguments)


def _pull(world: World, request: Request, pull: Pull, arguments: Json) -> Json:
    threads = [one for one in pull.threads if any(_shown(one))]
    said = [one for one in pull.reviews if one.state != "PENDING" or one.author == request.author]
    return {
        "id": shapes.node("PR", pull.id),
        "number": pull.number,
        "title": pull.title,
        "state": "MERGED" if pull.merged_at is not None else pull.state.upper(),
        "locked": pull.locked,
        "headRefOid": pull.head_sha,
        "reviews": _latest(world.unlagged(said), arguments, lambda one: _review_shape(world, one)),
        "comments": _latest(
            world.unlagged(pull.comments), arguments, lambda one: _conversation_shape(world, one)
        ),
        "reviewThreads": _connection(
            world.unlagged(threads),
            arguments,
            lambda one: _thread_shape(one, arguments),
            cursor=True,
        ),
    }


def _review_shape(world: World, review: Review) -> Json:
    return {
        "id": shapes.node("PRR", review.id),
        "databaseId": review.id,
        "fullDatabaseId": str(review.id),
        "state": review.state,
        "body": review.body,
        "url": shapes.review(world, review)["html_url"],
        "commit": {"oid": review.commit_id},
        "author": _author_shape(review.author.user),
    }


def _conversation_shape(world: World, comment: IssueComment) -> Json:
    return {
        "id": shapes.node("IC", comment.id),
        "databaseId": comment.id,
        "fullDatabaseId": str(comment.id),
        "body": comment.body,
        "isMinimized": comment.minimized,
        "url": shapes.issue_comment(world, comment)["html_url"],
        "author": _author_shape(comment.author.user),
    }


def _author_shape(user: User) -> Json:
    # GraphQL names a bot without the suffix that the REST API shows.
    return {
        "login": user.login.removesuffix("[bot]"),
        "__typename": str(user.kind),
        "databaseId": user.id,
    }


def _thread_shape(thread: Thread, arguments: Json) -> Json:
    return {
        "id": shapes.node("PRRT", thread.id),
        "isResolved": thread.resolved_by is not None,
        "isOutdated": thread.outdated,
        "isCollapsed": thread.resolved_by is not None or thread.outdated,
        "path": shapes.shown(thread.path),
        "line": thread.now.line,
        "startLine": thread.now.start_line,
        "originalLine": thread.original.line,
        "originalStartLine": thread.original.start_line,
        "diffSide": thread.now.side,
        "startDiffSide": thread.now.start_side,
        "subjectType": thread.subject.upper(),
        "resolvedBy": {"login": thread.resolved_by.login} if thread.resolved_by else None,
        "comments": _connection(_shown(thread), arguments, _comment_shape),
    }


def _comment_shape(comment: ReviewComment) -> Json:
    down = sum(one.content == "-1" for one in comment.reactions)
    return {
        "id": shapes.node("PRRC", comment.id),
        "databaseId": comment.id,
        "fullDatabaseId": str(comment.id),
        "body": comment.body,
        "isMinimized": comment.minimized,
        "author": _author_shape(comment.author.user),
        "createdAt": shapes.stamp(comment.created_at),
        "pullRequestReview": {
            "databaseId": comment.review.id,
            "fullDatabaseId": str(comment.review.id),
        },
        # The one count of reactions that a client asks for: of the thumbs that point down.
        "reactions": {"totalCount": down},
    }


def _shown(thread: Thread) -> list[ReviewComment]:
    return [one for one in thread.comments if one.review.state != "PENDING"]


def _connection(
    rows: Sequence[T], arguments: Json, show: Callable[[T], Json], *, cursor: bool = False
) -> Json:
    first = min(int(arguments.get("first") or LARGEST_PAGE), LARGEST_PAGE)
    after = str(arguments.get("after") or "0") if cursor else "0"
    start = int(after) if after.isdecimal() else 0
    page = [show(one) for one in rows[start : start + first]]
    end = start + len(page)
    info = {"hasNextPage": end < len(rows), "endCursor": str(end) if page else None}
    return {"totalCount": len(rows), "nodes": page, "pageInfo": info}


def _latest(rows: Sequence[T], arguments: Json, show: Callable[[T], Json]) -> Json:
    last = min(int(arguments.get("last") or LARGEST_PAGE), LARGEST_PAGE)
    return {"totalCount": len(rows), "nodes": [show(one) for one in rows[-last:]]}


def _resolve_thread(world: World, request: Request, arguments: Json) -> Json:
    pull, thread = _thread(world, request, arguments.get("threadId"), "contents", "write")
    reviews.resolve(world, pull, thread, request.author.user)
    return {"thread": _thread_shape(thread, {})}


def _unresolve_thread(world: World, request: Request, arguments: Json) -> Json:
    pull, thread = _thread(world, request, arguments.get("threadId"), "contents", "write")
    reviews.resolve(world, pull, thread, None)
    return {"thread": _thread_shape(thread, {})}


def _reply(world: World, request: Request, arguments: Json) -> Json:
    wanted = arguments.get("pullRequestReviewThreadId")
    _, thread = _thread(world, request, wanted, "pull_requests", "write")
    made = reviews.reply(world, thread.comments[0], request.author, arguments)
    return {"comment": _comment_shape(made)}


def _minimize(world: World, request: Request, arguments: Json) -> Json:
    if arguments.get("classifier") not in CLASSIFIERS:
        raise RefusedError("argumentLiteralsIncompatible", "Argument 'classifier' is invalid")
    wanted = arguments.get("subjectId")
    for repository in world.repositories.values():
        for pull in repository.pulls.values():
            every: list[IssueComment | ReviewComment] = [*pull.comments, *pull.review_comments]
            for one in every:
                kind = "IC" if isinstance(one, IssueComment) else "PRRC"
                if shapes.node(kind, one.id) == wanted:
                    _require(world, request, repository, "pull_requests", "write")
                    one.minimized = True
                    reason = str(arguments["classifier"]).lower()
                    return {"minimizedComment": {"isMinimized": True, "minimizedReason": reason}}
    raise _unknown(wanted)


def _thread(
    world: World, request: Request, wanted: object, permission: str, level: str
) -> tuple[Pull, Thread]:
    for repository in world.repositories.values():
        for pull in repository.pulls.values():
            for one in pull.threads:
                if shapes.node("PRRT", one.id) == wanted:
                    _require(world, request, repository, permission, level)
                    return pull, one
    raise _unknown(wanted)


def _require(world: World, request: Request, repository: Repository, name: str, level: str) -> None:
    token = request.token
    if token is None or not auth.can_see(world, token, repository):
        raise RefusedError("NOT_FOUND", "Could not resolve to a node with that global id.")
    if not auth.has(world, token, repository, name, level):
        raise RefusedError("FORBIDDEN", "Resource not accessible by integration")


def _unknown(wanted: object) -> RefusedError:
    return RefusedError(
        "NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted}'"
    )
