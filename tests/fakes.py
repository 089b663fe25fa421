"""One small fake for each port: state that a test sets, and a record of what was asked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.diff import ChangeKind, RawFile
from app.core.events import CommentPlace, Person, ReviewRequest
from app.core.findings import Finding
from app.core.identity import Said
from app.core.job import Verdict
from app.core.money import Usage
from app.core.prompts import Answer, Prompt, Reply
from app.core.pull import PullRef, PullRequest
from app.core.review import CheckReport, Review
from app.ports import AnalyzersReport, Hit, ModelInfo, OnReply, Posted, RawDiff, SourceFile
from sandbox.models import Planted

BASE, HEAD, NEWER = "a" * 40, "b" * 40, "c" * 40
REF = PullRef(11, "acme/shop", 7, 99)
INFO = ModelInfo("sandbox", "stand-in", context_tokens=32_768, max_output_tokens=4096)
Tree = Mapping[str, bytes]


@dataclass(slots=True)
class FakeCode:
    """Commits by id, each a tree."""

    trees: dict[str, Tree]
    generated: frozenset[str] = frozenset()

    def list_paths(self, sha: str) -> tuple[str, ...]:
        return tuple(sorted(self.trees[sha]))

    def read_files(self, sha: str, paths: Sequence[str]) -> tuple[SourceFile, ...]:
        tree = self.trees[sha]
        return tuple(SourceFile(path, tree[path]) for path in paths if path in tree)

    def search(self, sha: str, text: str, limit: int = 50) -> tuple[Hit, ...]:
        hits = (
            Hit(path, number, line)
            for path, data in sorted(self.trees[sha].items())
            for number, line in enumerate(data.decode().split("\n"), 1)
            if text in line
        )
        return tuple(hits)[:limit]

    def list_generated(self, sha: str, paths: Sequence[str]) -> frozenset[str]:
        assert sha in self.trees
        return self.generated & set(paths)

    def diff(self, base: str, head: str) -> RawDiff:
        """Compare two trees, file by file."""
        old, new = self.trees[base], self.trees[head]
        paths = sorted(old.keys() | new.keys())
        return RawDiff(
            tuple(
                _raw_file(path, old.get(path), new.get(path))
                for path in paths
                if old.get(path) != new.get(path)
            )
        )


def _raw_file(path: str, old: bytes | None, new: bytes | None) -> RawFile:
    kind = (
        ChangeKind.ADDED
        if old is None
        else ChangeKind.REMOVED
        if new is None
        else ChangeKind.MODIFIED
    )
    before, after = (data.decode().splitlines() if data else [] for data in (old, new))
    lines = list(difflib.unified_diff(before, after, lineterm=""))[2:]
    return RawFile(path, kind, "".join(f"{line}\n" for line in lines))


@dataclass(slots=True)
class FakePulls:
    """One pull request; ``heads`` is what each further look finds as its head."""

    pull: PullRequest
    code: FakeCode
    heads: list[str] = field(default_factory=list)

    def fetch_pull(self, ref: PullRef) -> PullRequest:
        assert ref == self.pull.ref
        if self.heads:
            self.pull = replace(self.pull, head_sha=self.heads.pop(0))
        return self.pull

    def fetch_diff(self, pull: PullRequest) -> RawDiff:
        return self.code.diff(pull.base_sha, pull.head_sha)


@dataclass(slots=True)
class FakeReviews:
    """What stands on the pull request."""

    said: tuple[Said, ...] = ()
    opened: list[tuple[str, str]] = field(default_factory=list)
    closed: list[CheckReport] = field(default_factory=list)
    posted: list[Review] = field(default_factory=list)
    displaces: bool = False

    def open_check(self, pull: PullRequest, key: str) -> int | None:
        self.opened.append((pull.head_sha, key))
        return len(self.opened)

    def close_check(self, pull: PullRequest, check_id: int | None, report: CheckReport) -> None:
        assert check_id == len(self.opened)
        assert (pull.head_sha) == self.opened[-1][0]
        self.closed.append(report)

    def fetch_said(self, pull: PullRequest) -> tuple[Said, ...]:
        assert pull.ref == REF
        return self.said

    def post(self, pull: PullRequest, review: Review) -> Posted:
        assert pull.head_sha == review.head_sha
        self.posted.append(review)
        return Posted(1, len(review.comments), displaced=self.displaces)


@dataclass(slots=True)
class FakeConversation:
    """What was said in comments; ``writers`` are the ids of those who may write."""

    writers: frozenset[int] = frozenset()
    eyes: list[int] = field(default_factory=list)
    replies: list[tuple[int, str]] = field(default_factory=list)
    fixed: list[Said] = field(default_factory=list)

    def may_write(self, ref: PullRef, person: Person) -> bool:
        assert ref == REF
        return person.id in self.writers

    def react(self, ref: PullRef, place: CommentPlace, comment_id: int) -> None:
        assert (ref, place) == (REF, CommentPlace.CONVERSATION)
        self.eyes.append(comment_id)

    def reply(self, ref: PullRef, place: CommentPlace, comment_id: int, text: str) -> None:
        assert (ref, place) == (REF, CommentPlace.CONVERSATION)
        self.replies.append((comment_id, text))

    def close_fixed(self, pull: PullRequest, fixed: Sequence[Said]) -> None:
        assert pull.ref == REF
        self.fixed += fixed


@dataclass(slots=True)
class FakeDesk:
    """Grants every wish as ``verdict`` says, and remembers it."""

    verdict: Verdict = Verdict.ARM
    running: bool = False
    armed: list[ReviewRequest] = field(default_factory=list)
    paused: list[bool] = field(default_factory=list)

    def arm(self, request: ReviewRequest) -> Verdict:
        self.armed.append(request)
        return self.verdict

    def cancel(self, ref: PullRef) -> bool:
        assert ref == REF
        return self.running

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        assert ref == REF
        self.paused.append(paused)


def say(brain: Callable[[str], str], usage: Usage | None = None) -> Callable[[Prompt], Reply]:
    """Make a model of what answers texts."""
    used = usage or Usage(requests=1, prompt_tokens=100, completion_tokens=10)

    def answer(prompt: Prompt) -> Reply:
        return Answer(brain("\n".join(message.content for message in prompt.messages)), used)

    return answer


@dataclass(slots=True)
class FakeModel:
    """Answers as it is told, one prompt after the other; it may also raise KeyboardInterrupt."""

    answer: Callable[[Prompt], Reply] = field(default_factory=lambda: say(Planted()))
    info: ModelInfo = INFO
    asked: list[Prompt] = field(default_factory=list)

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        replies = []
        for index, prompt in enumerate(prompts):
            self.asked.append(prompt)
            replies.append(self.answer(prompt))
            if on_reply is not None:
                on_reply(index, replies[-1])
        return tuple(replies)

    @property
    def tasks(self) -> list[str]:
        """Name what was asked, in order."""
        return [prompt.task.value for prompt in self.asked]


@dataclass(slots=True)
class FakeAnalyzers:
    """Finds what it is told."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    read: list[str] = field(default_factory=list)

    def run(self, files: Sequence[SourceFile]) -> AnalyzersReport:
        self.read += [file.path for file in files]
        return AnalyzersReport(self.findings, self.notes)


@dataclass(slots=True)
class FakeTraces:
    """Keeps everything."""

    answers: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    def load_answers(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        return tuple(self.answers.get(key) for key in keys)

    def save_answers(self, texts: Mapping[str, str]) -> None:
        self.answers.update(texts)

    def save_run(self, run_id: str, record: str) -> None:
        self.runs[run_id] = record
