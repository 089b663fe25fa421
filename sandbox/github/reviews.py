"""Reviews: made whole or not at all, pending until submitted, one pending per person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.github import shapes
from sandbox.github.http import Refusal, validation_failed
from sandbox.github.state import Author, Json, Pull, Review, ReviewComment, Thread, User
from sandbox.github.threads import Place, UnplacedError, open_thread, place_on_head

if TYPE_CHECKING:
    from sandbox.github.world import World

STATE_OF_EVENT = {
    "COMMENT": "COMMENTED",
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
}
OWN_PULL = {
    "APPROVE": "Can not approve your own pull request",
    "REQUEST_CHANGES": "Can not request changes on your own pull request",
}
DOCUMENTATION = "https://docs.github.com/rest/pulls/reviews#create-a-review-for-a-pull-request"


def create_review(world: World, pull: Pull, author: Author, wanted: Json) -> Review:
    """Create a review with all its comments, or refuse it and keep nothing."""
    event, body = wanted.get("event") or None, wanted.get("body") or ""
    commit = wanted.get("commit_id") or pull.head_sha
    comments = wanted.get("comments") or []
    problems = _problems(world, pull, author, event, commit)
    if event in {"COMMENT", "REQUEST_CHANGES"} and not (body or comments):
        problems.append("Body can't be blank")
    if len(body) > world.limits.body_characters:
        problems.append(too_long(world))
    if problems:
        raise unprocessable(problems)
    now = world.now()
    review = Review(
        id=world.new_id(),
        pull=pull,
        author=author,
        body=body,
        state=STATE_OF_EVENT[event] if event else "PENDING",
        commit_id=commit,
        submitted_at=now if event else None,
    )
    threads = _threads(world, review, comments)
    pull.reviews.append(review)
    pull.threads.extend(threads)
    if event:
        _announce(world, review)
    return review


def submit(world: World, review: Review, event: str | None, body: str | None) -> Review:
    """Make a pending review visible."""
    if review.state != "PENDING":
        raise unprocessable(["Can not submit a review that is not pending"])
    if event not in STATE_OF_EVENT:
        raise unprocessable([f"Variable $event of type PullRequestReviewEvent was {event!r}"])
    review.body = body or review.body
    review.state, review.submitted_at = STATE_OF_EVENT[event], world.now()
    _announce(world, review)
    return review


def delete_pending(review: Review) -> None:
    """Delete a review that was not submitted, with its comments."""
    pull = review.pull
    if review.state != "PENDING":
        raise unprocessable(["Can not delete a non-pending pull request review"])
    pull.reviews.remove(review)
    for thread in list(pull.threads):
        thread.comments = [one for one in thread.comments if one.review is not review]
        if not thread.comments:
            pull.threads.remove(thread)


def create_comment(world: World, pull: Pull, author: Author, wanted: Json) -> ReviewComment:
    """Create one comment outside a review's request; GitHub wraps it in a review of its own."""
    if wanted.get("in_reply_to"):
        return reply(world, find_comment(pull, int(wanted["in_reply_to"])), author, wanted)
    commit = wanted.get("commit_id")
    body = _body(world, wanted)
    if not commit:
        raise Refusal(422, 'Invalid request.\n\n"commit_id" wasn\'t supplied.')
    if commit not in known_commits(world, pull):
        raise _thread_refused("end_commit_oid", "is not part of the pull request")
    place = Place.read(wanted)
    try:
        thread = open_thread(world, pull, place, commit)
    except UnplacedError as error:
        raise _single_refusal(error) from error
    review = _wrapping_review(world, pull, author, commit)
    comment = _add(world, review, thread, body)
    pull.threads.append(thread)
    place_on_head(world, pull, thread)
    comment_event(world, comment, "created")
    return comment


def reply(
    world: World, parent: ReviewComment, author: Author, wanted: Json, *, body: str = ""
) -> ReviewComment:
    """Answer in a thread."""
    text = body or _body(world, wanted)
    review = _wrapping_review(world, parent.pull, author, parent.thread.commit_id)
    comment = _add(world, review, parent.thread, text)
    comment_event(world, comment, "created")
    return comment


def delete_comment(world: World, comment: ReviewComment) -> None:
    """Delete one comment; a thread goes with its last comment, a bodiless review with it."""
    pull, thread = comment.pull, comment.thread
    comment_event(world, comment, "deleted")
    thread.comments.remove(comment)
    if not thread.comments:
        pull.threads.remove(thread)
    left = [one for other in pull.threads for one in other.comments]
    if not comment.review.body and all(one.review is not comment.review for one in left):
        pull.reviews.remove(comment.review)


def resolve(world: World, pull: Pull, thread: Thread, user: User | None) -> None:
    """Resolve a thread, or open it again when `user` is None."""
    thread.resolved_by = user
    world.touch(pull)


def find_comment(pull: Pull, number: int) -> ReviewComment:
    """Return a comment by id, or answer as GitHub does when there is none."""
    for thread in pull.threads:
        for comment in thread.comments:
            if comment.id == number:
                return comment
    raise Refusal(404, "Not Found")


def known_commits(world: World, pull: Pull) -> set[str]:
    """Return the commits a comment may be made on."""
    return {*world.commits(pull), pull.head_sha}


def comment_event(world: World, comment: ReviewComment, action: str, **facts: object) -> None:
    """Send a `pull_request_review_comment` event."""
    pull = comment.pull
    world.touch(pull)
    payload = {
        "action": action,
        "comment": shapes.review_comment(world, comment),
        "pull_request": shapes.simple_pull(world, pull),
        **facts,
    }
    world.emit("pull_request_review_comment", pull.repository, comment.author.user, payload)


def review_event(world: World, review: Review, action: str, **facts: object) -> None:
    """Send a `pull_request_review` event."""
    pull = review.pull
    world.touch(pull)
    payload = {
        "action": action,
        "review": shapes.review(world, review) | {"state": review.state.lower()},
        "pull_request": shapes.simple_pull(world, pull),
        **facts,
    }
    world.emit("pull_request_review", pull.repository, review.author.user, payload)


def unprocessable(problems: list[str]) -> Refusal:
    """Return GitHub's 422 for a review: every problem in one sentence."""
    *most, last = problems
    joint = ", and " if len(most) > 1 else " and "
    sentence = joint.join([", ".join(most), last]) if most else last
    return Refusal(422, "Unprocessable Entity", errors=[sentence], documentation=DOCUMENTATION)


def too_long(world: World) -> str:
    """Return what GitHub says about a body past its limit."""
    return f"body is too long (maximum is {world.limits.body_characters} characters)"


def _problems(
    world: World, pull: Pull, author: Author, event: str | None, commit: str
) -> list[str]:
    found = []
    if event is not None and event not in STATE_OF_EVENT:
        found.append("Variable $event of type PullRequestReviewEvent was provided invalid value")
    if author.user is pull.author and event in OWN_PULL:
        found.append(OWN_PULL[event])
    if pull.locked and not world.may_push(pull.repository, author):
        found.append("lock prevents review")
    if any(one.author.user is author.user and one.state == "PENDING" for one in pull.reviews):
        found.append("User can only have one pending review per pull request")
    if commit not in known_commits(world, pull):
        found.append("The commitOID is not part of the pull request")
    return found


def _threads(world: World, review: Review, comments: list[Json]) -> list[Thread]:
    threads, problems = [], []
    for wanted in comments:
        body = wanted.get("body") or ""
        if not body.strip():
            problems.append("Body can't be blank")
        elif len(body) > world.limits.body_characters:
            problems.append(too_long(world))
        try:
            thread = open_thread(world, review.pull, Place.read(wanted), review.commit_id)
        except UnplacedError as error:
            problems.append(str(error))
            continue
        _add(world, review, thread, body)
        place_on_head(world, review.pull, thread)
        threads.append(thread)
    if problems:
        raise unprocessable(problems)
    return threads


def _add(world: World, review: Review, thread: Thread, body: str) -> ReviewComment:
    now = world.now()
    comment = ReviewComment(world.new_id(), review, thread, body, now, now)
    thread.comments.append(comment)
    return comment


def _wrapping_review(world: World, pull: Pull, author: Author, commit: str) -> Review:
    if pull.locked and not world.may_push(pull.repository, author):
        raise Refusal(403, "Unable to create comment because pull request is locked.")
    review = Review(world.new_id(), pull, author, "", "COMMENTED", commit, world.now())
    pull.reviews.append(review)
    return review


def _announce(world: World, review: Review) -> None:
    review_event(world, review, "submitted")
    for comment in review.pull.review_comments:
        if comment.review is review:
            comment_event(world, comment, "created")


def _body(world: World, wanted: Json) -> str:
    body = str(wanted.get("body") or "")
    if not body.strip():
        raise validation_failed("PullRequestReviewComment", "body", "missing_field")
    if len(body) > world.limits.body_characters:
        raise validation_failed("PullRequestReviewComment", "body", "custom", too_long(world))
    return body


def _thread_refused(field: str, message: str) -> Refusal:
    name = f"pull_request_review_thread.{field}"
    return validation_failed("PullRequestReviewComment", name, "custom", f"{name} {message}")


def _single_refusal(error: UnplacedError) -> Refusal:
    match error.what:
        case "Path":
            return _thread_refused("path", "is invalid")
        case "Start line":
            return _thread_refused("start_line", "must be part of the same hunk as the line.")
    return _thread_refused("line", "must be part of the diff")
