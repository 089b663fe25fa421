"""Reviews, review comments and their reactions."""

from http import HTTPStatus

from sandbox.github import reviews, shapes
from sandbox.github.http import Refusal, Reply, Request, Routes, validation_failed
from sandbox.github.lists import paged
from sandbox.github.state import Author, Repository, Review, ReviewComment
from sandbox.github.world import World

routes = Routes()
READ, WRITE = "pull_requests=read", "pull_requests=write"
PULL = "/repos/{owner}/{repo}/pulls/{number}"
REVIEW = f"{PULL}/reviews/{{review}}"
COMMENT = "/repos/{owner}/{repo}/pulls/comments/{comment}"


@routes.on("GET", f"{PULL}/reviews", READ)
def list_reviews(world: World, request: Request) -> Reply:
    """List the reviews, oldest first; a pending one is shown to its author alone."""
    every = [one for one in request.pull.reviews if _visible(one, request)]
    return paged(world, request, world.unlagged(every), lambda one: shapes.review(world, one))


@routes.on("POST", f"{PULL}/reviews", WRITE)
def create_review(world: World, request: Request) -> Reply:
    """Post a review and all its comments, or nothing."""
    made = reviews.create_review(world, request.pull, request.author, request.json())
    return Reply(shapes.review(world, made))


@routes.on("GET", REVIEW, READ)
def read_review(world: World, request: Request) -> Reply:
    """Show one review."""
    return Reply(shapes.review(world, _review(request)))


@routes.on("PUT", REVIEW, WRITE)
def update_review(world: World, request: Request) -> Reply:
    """Change a review's summary."""
    review = _own(_review(request), request.author)
    body = str(request.json().get("body") or "")
    if len(body) > world.limits.body_characters:
        raise reviews.unprocessable([reviews.too_long(world)])
    review.body, before = body, review.body
    reviews.review_event(world, review, "edited", changes={"body": {"from": before}})
    return Reply(shapes.review(world, review))


@routes.on("DELETE", REVIEW, WRITE)
def delete_review(world: World, request: Request) -> Reply:
    """Delete a pending review."""
    review = _own(_review(request), request.author)
    shape = shapes.review(world, review)
    reviews.delete_pending(review)
    return Reply(shape)


@routes.on("POST", f"{REVIEW}/events", WRITE)
def submit_review(world: World, request: Request) -> Reply:
    """Make a pending review visible."""
    wanted = request.json()
    review = _own(_review(request), request.author)
    return Reply(
        shapes.review(world, reviews.submit(world, review, wanted.get("event"), wanted.get("body")))
    )


@routes.on("PUT", f"{REVIEW}/dismissals", WRITE)
def dismiss_review(world: World, request: Request) -> Reply:
    """Take the force out of a review."""
    review = _review(request)
    if review.state == "COMMENTED":
        raise reviews.unprocessable(["Can not dismiss a commented pull request review"])
    review.state = "DISMISSED"
    reviews.review_event(world, review, "dismissed")
    return Reply(shapes.review(world, review))


@routes.on("GET", f"{REVIEW}/comments", READ)
def list_comments_of_review(world: World, request: Request) -> Reply:
    """List the comments of one review."""
    review = _review(request)
    every = [
        one for thread in review.pull.threads for one in thread.comments if one.review is review
    ]
    return paged(
        world, request, world.unlagged(every), lambda one: shapes.review_comment(world, one)
    )


@routes.on("GET", f"{PULL}/comments", READ)
def list_comments(world: World, request: Request) -> Reply:
    """List the review comments of a pull request."""
    every = _sorted(request.pull.review_comments, request)
    return paged(
        world, request, world.unlagged(every), lambda one: shapes.review_comment(world, one)
    )


@routes.on("GET", "/repos/{owner}/{repo}/pulls/comments", READ)
def list_comments_of_repository(world: World, request: Request) -> Reply:
    """List the review comments of all pull requests."""
    every = _sorted(_comments(request.repository), request)
    return paged(
        world, request, world.unlagged(every), lambda one: shapes.review_comment(world, one)
    )


@routes.on("POST", f"{PULL}/comments", WRITE)
def create_comment(world: World, request: Request) -> Reply:
    """Post one comment by itself."""
    made = reviews.create_comment(world, request.pull, request.author, request.json())
    return Reply(shapes.review_comment(world, made), HTTPStatus.CREATED)


@routes.on("POST", f"{PULL}/comments/{{comment}}/replies", WRITE)
def create_reply(world: World, request: Request) -> Reply:
    """Answer a comment."""
    parent = reviews.find_comment(request.pull, request.number("comment"))
    made = reviews.reply(world, parent, request.author, request.json())
    return Reply(shapes.review_comment(world, made), HTTPStatus.CREATED)


@routes.on("GET", COMMENT, READ)
def read_comment(world: World, request: Request) -> Reply:
    """Show one comment."""
    return Reply(shapes.review_comment(world, _comment(request)))


@routes.on("PATCH", COMMENT, WRITE)
def update_comment(world: World, request: Request) -> Reply:
    """Change a comment's text."""
    comment = _comment(request)
    _own(comment.review, request.author)
    body = str(request.json().get("body") or "")
    if not body.strip() or len(body) > world.limits.body_characters:
        message = reviews.too_long(world) if body.strip() else None
        raise validation_failed("PullRequestReviewComment", "body", "custom", message)
    comment.body, before = body, comment.body
    comment.updated_at = world.now()
    reviews.comment_event(world, comment, "edited", changes={"body": {"from": before}})
    return Reply(shapes.review_comment(world, comment))


@routes.on("DELETE", COMMENT, WRITE)
def delete_comment(world: World, request: Request) -> Reply:
    """Delete a comment."""
    comment = _comment(request)
    _own(comment.review, request.author)
    reviews.delete_comment(world, comment)
    return Reply(status=HTTPStatus.NO_CONTENT)


def _visible(review: Review, request: Request) -> bool:
    return review.state != "PENDING" or review.author == request.author


def _review(request: Request) -> Review:
    number = request.number("review")
    for one in request.pull.reviews:
        if one.id == number and _visible(one, request):
            return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _own(review: Review, author: Author) -> Review:
    if review.author.user is not author.user:
        raise Refusal(HTTPStatus.FORBIDDEN, "Resource not accessible by integration")
    return review


def _comments(repository: Repository) -> list[ReviewComment]:
    return [one for pull in repository.pulls.values() for one in pull.review_comments]


def _comment(request: Request) -> ReviewComment:
    number = request.number("comment")
    for pull in request.repository.pulls.values():
        for thread in pull.threads:
            for one in thread.comments:
                if one.id == number and _visible(one.review, request):
                    return one
    raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def _sorted(comments: list[ReviewComment], request: Request) -> list[ReviewComment]:
    by_update = request.query.get("sort") == "updated"
    down = request.query.get("direction") == "desc" and "sort" in request.query
    return sorted(
        comments, key=lambda one: (one.updated_at if by_update else 0, one.id), reverse=down
    )
