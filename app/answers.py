"""What a command in a comment is answered: rights first, then one answer, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.core.commands import HELP, Command, Misuse, Verb
from app.core.events import AUTO, FULL, CommandRequest, ReviewRequest
from app.core.job import Verdict
from app.core.pull import PullRequest
from app.ports import Conversation, Desk, PullRequests

PRIVATE = "`{verb}` needs write access to this repository."
FOCUSED = "`/review` with a wish needs write access to this repository; `/review` alone does not."
"""Each new wish asks about everything again, and its words reach the model."""
VERDICTS = {
    Verdict.RUNNING: "A review of this commit is under way.",
    Verdict.DONE: "This commit was reviewed already; `/review full` reviews all of it again.",
    Verdict.PAUSED: "Reviews of this pull request are paused; `/postil resume` ends that.",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Carries commands out; ``estimate`` says in one line what a review would need at most."""

    pulls: PullRequests
    conversation: Conversation
    estimate: Callable[[PullRequest], str]

    def answer(self, request: CommandRequest, desk: Desk) -> None:
        """Carry out a comment's commands and answer it once. Raises HostError."""
        if request.sender.is_bot:
            return
        pull = self.pulls.fetch_pull(request.ref)
        writer = self.conversation.may_write(pull.ref, request.sender)
        author = request.sender.id == pull.author_id
        if not writer and not author:
            return
        self.conversation.react(pull.ref, request.place, request.comment_id)
        lines = [
            self._carry_out(command, request, pull, desk, writer=writer)
            for command in request.commands
        ]
        said = [line for line in lines if line]
        if said:
            self.conversation.reply(pull.ref, request.place, request.comment_id, "\n\n".join(said))

    def _carry_out(
        self,
        command: Command | Misuse,
        request: CommandRequest,
        pull: PullRequest,
        desk: Desk,
        *,
        writer: bool,
    ) -> str:
        """Carry out one command; the text is what remains to be said about it."""
        if isinstance(command, Misuse):
            return command.answer
        if not writer and (command.verb is not Verb.REVIEW or command.focus):
            return FOCUSED if command.focus else PRIVATE.format(verb=command.verb)
        if command.verb in {Verb.REVIEW, Verb.FULL}:
            return self._review(command, request, pull, desk)
        if command.verb is Verb.HELP:
            return HELP
        if command.verb is Verb.ESTIMATE:
            return self.estimate(pull)
        return self._steer(command.verb, pull, desk)

    def _steer(self, verb: Verb, pull: PullRequest, desk: Desk) -> str:
        if verb is Verb.CANCEL:
            cancelled = desk.cancel(pull.ref)
            return "Cancelled." if cancelled else "No review is waiting or running."
        desk.pause(pull.ref, paused=verb is Verb.PAUSE)
        if verb is Verb.PAUSE:
            return "Paused: this pull request is reviewed only when somebody asks."
        return "Resumed: pushes to this pull request are reviewed again."

    def _review(
        self, command: Command, request: CommandRequest, pull: PullRequest, desk: Desk
    ) -> str:
        if not pull.open:
            return "This pull request is closed; nothing is reviewed."
        verdict = desk.arm(
            ReviewRequest(
                ref=pull.ref,
                head_sha=pull.head_sha,
                base_sha=pull.base_sha,
                reason="command",
                sender=request.sender,
                kind=FULL if command.verb is Verb.FULL else AUTO,
                title=pull.title,
                focus=command.focus,
                forced=True,
                cause=request.key,
            )
        )
        return VERDICTS.get(verdict, "")
