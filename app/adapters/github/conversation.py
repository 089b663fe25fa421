"""Answers to people: a reaction, one reply a comment, who may command, and closed threads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote

from app.adapters.github import shapes
from app.adapters.github.access import Access
from app.adapters.github.client import Client
from app.adapters.github.limits import BODY
from app.adapters.github.marks import FIXED, REPLY, Marks
from app.adapters.github.reading import pull_path
from app.adapters.github.talk import Talk, fetch_talk, ours
from app.adapters.github.writing import once, repeat
from app.core.events import CommentPlace, Person
from app.core.identity import Said
from app.core.markdown import clip
from app.core.pull import PullRef, PullRequest
from app.errors import HostError, HostInvalid, HostMissing, HostRefused

MAY_WRITE = frozenset({"admin", "write"})
"""``maintain`` is told as write, ``triage`` as read:
https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user"""
RESOLVE = """
mutation ($thread: ID!) {
  resolveReviewThread(input: {threadId: $thread}) { thread { isResolved } }
}
"""


class GitHubConversation:
    """Talks with the people on a pull request."""

    def __init__(self, access: Access, marks: Marks) -> None:
        self._access = access
        self._marks = marks
        self._no_resolving: set[int | None] = set()

    def may_write(self, ref: PullRef, person: Person) -> bool:
        """Ask whether a person has write access now; any doubt is a no.

        The question goes by login, which another account may have by now: the answer must be
        about the same number.
        """
        home = f"/repos/{quote(ref.repository)}/collaborators/{quote(person.login)}"
        try:
            found = self._access.client(ref).read(shapes.Permission, f"{home}/permission")
        except HostError:
            return False
        return found.user.id == person.id and found.permission in MAY_WRITE

    def react(self, ref: PullRef, place: CommentPlace, comment_id: int) -> None:
        """Put eyes under a comment; GitHub keeps one of a kind from each account."""
        kind = {CommentPlace.CONVERSATION: "issues", CommentPlace.THREAD: "pulls"}.get(place)
        if kind is None:
            return
        path = f"/repos/{quote(ref.repository)}/{kind}/comments/{comment_id}/reactions"
        client = self._access.client(ref)
        repeat(lambda: client.write(shapes.Made, "POST", path, {"content": "eyes"}))

    def reply(self, ref: PullRef, place: CommentPlace, comment_id: int, text: str) -> None:
        """Answer a comment once, where it stands; a button's answer goes to the conversation."""
        client = self._access.client(ref)
        talk = fetch_talk(client, ref)
        marker = self._marks.sign(ref, REPLY, str(comment_id), talk.head_sha)
        body = {"body": f"{clip(text, BODY - len(marker) - 2)}\n\n{marker}"}
        path = f"/repos/{quote(ref.repository)}/issues/{ref.number}/comments"
        if place is CommentPlace.THREAD:
            path = f"{pull_path(ref)}/comments/{_first_of_thread(talk, comment_id)}/replies"
        looks = iter([talk])

        def find() -> shapes.Made | None:
            now = next(looks, None) or fetch_talk(client, ref)
            return self._answered(ref, now, REPLY, str(comment_id))

        once(client.site, find, lambda: client.write(shapes.Made, "POST", path, body))

    def close_fixed(self, pull: PullRequest, fixed: Sequence[Said]) -> None:
        """Resolve the threads of what no longer holds, or say so in them once.

        Resolving may need a permission we do not ask for. Where it was refused once it is not
        tried again. A thread that takes no answer either is left as it is. Raises HostError.
        """
        client = self._access.client(pull.ref)
        for said in fixed:
            if said.closed or said.thread_id is None:
                continue
            if not self._resolve(client, pull.ref, said.thread_id):
                with suppress(HostInvalid, HostMissing, HostRefused):
                    self._say_fixed(client, pull, said)

    def _resolve(self, client: Client, ref: PullRef, thread_id: str) -> bool:
        if ref.installation_id in self._no_resolving:
            return False
        try:
            repeat(
                lambda: client.graphql(shapes.Resolved, RESOLVE, {"thread": thread_id}, write=True)
            )
        except HostRefused as refused:
            if refused.status != HTTPStatus.FORBIDDEN:
                raise
            self._no_resolving.add(ref.installation_id)
            return False
        return True

    def _say_fixed(self, client: Client, pull: PullRequest, said: Said) -> None:
        ref = pull.ref
        marker = self._marks.sign(ref, FIXED, said.fingerprint, pull.head_sha)
        body = {"body": f"This no longer holds as of {pull.head_sha}.\n\n{marker}"}
        path = f"{pull_path(ref)}/comments/{said.comment_id}/replies"
        once(
            client.site,
            lambda: self._answered(ref, fetch_talk(client, ref), FIXED, said.fingerprint),
            lambda: client.write(shapes.Made, "POST", path, body),
        )

    def _answered(self, ref: PullRef, talk: Talk, kind: str, name: str) -> shapes.Made | None:
        in_threads = (one for thread in talk.threads for one in thread.comments.nodes)
        for one in (*talk.comments, *in_threads):
            if ours(one, talk.us) and name in self._marks.read(ref, kind, one.body):
                return shapes.Made(id=one.id)
        return None


def _first_of_thread(talk: Talk, comment_id: int) -> int:
    """Return the comment that begins the thread: GitHub takes replies to no other.

    https://docs.github.com/en/rest/pulls/comments#create-a-reply-for-a-review-comment
    """
    for thread in talk.threads:
        if any(one.id == comment_id for one in thread.comments.nodes):
            return thread.comments.nodes[0].id
    raise HostMissing("the comment is gone")
