"""What the pipeline needs from outside, as protocols over core types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.diff import RawFile
from app.core.events import CommentPlace, Person, ReviewRequest
from app.core.findings import Finding
from app.core.identity import Said
from app.core.job import Verdict
from app.core.money import PriceTier, Rates
from app.core.prompts import Prompt, Reply, Role
from app.core.pull import PullRef, PullRequest
from app.core.review import CheckReport, Review


@dataclass(frozen=True, slots=True)
class RawDiff:
    """The changed files as the host or git tells of them; ``notes`` name what it did not tell."""

    files: tuple[RawFile, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """What stands on the pull request now; ``notes`` say what had to go elsewhere and why.

    ``displaced``: GitHub found no comment's place valid, so that the summary has all of them.
    """

    review_id: int | None
    comments: int
    url: str = ""
    notes: tuple[str, ...] = ()
    displaced: bool = False


class PullRequests(Protocol):
    """Reads pull requests."""

    def fetch_pull(self, ref: PullRef) -> PullRequest:
        """Fetch the pull request as it is now. Raises HostError."""
        ...

    def fetch_diff(self, pull: PullRequest) -> RawDiff:
        """Fetch every changed file between the pinned commits. Raises HostError, CodeError."""
        ...


class Reviews(Protocol):
    """Writes to a pull request, each write at most once; looks up before it repeats one."""

    def open_check(self, pull: PullRequest, key: str) -> int | None:
        """Start our check run on the head, or find it; None when checks can't be written."""
        ...

    def close_check(self, pull: PullRequest, check_id: int | None, report: CheckReport) -> None:
        """Complete our check run."""
        ...

    def fetch_said(self, pull: PullRequest) -> tuple[Said, ...]:
        """Fetch what we said on this pull before, proven by author and marker."""
        ...

    def post(self, pull: PullRequest, review: Review) -> Posted:
        """Post the review's body and comments exactly once. Raises HostError."""
        ...


class Conversation(Protocol):
    """Answers the people on a pull request, and closes what no longer holds."""

    def may_write(self, ref: PullRef, person: Person) -> bool:
        """Ask whether a person has write access now; any doubt is a no."""
        ...

    def react(self, ref: PullRef, place: CommentPlace, comment_id: int) -> None:
        """Put eyes under a comment. Raises HostError."""
        ...

    def reply(self, ref: PullRef, place: CommentPlace, comment_id: int, text: str) -> None:
        """Answer a comment, once however often it is asked for. Raises HostError."""
        ...

    def close_fixed(self, pull: PullRequest, fixed: Sequence[Said]) -> None:
        """Resolve the threads of what no longer holds, or say so in them once. Raises HostError."""
        ...


class Desk(Protocol):
    """What a command may do to the jobs of its pull; every call may be repeated."""

    def arm(self, request: ReviewRequest) -> Verdict:
        """Ask for a review."""
        ...

    def cancel(self, ref: PullRef) -> bool:
        """Stop the pull's review; False when none was waiting or running."""
        ...

    def pause(self, ref: PullRef, *, paused: bool) -> None:
        """Review the pull only when somebody asks, or by itself again."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of one commit; ``mode`` is git's octal text."""

    path: str
    data: bytes
    mode: str = "100644"


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that a search found; ``line`` is 1-based."""

    path: str
    line: int
    text: str


class Code(Protocol):
    """Reads a repository as git objects, by full commit id; never a working tree's files."""

    def list_paths(self, sha: str) -> tuple[str, ...]:
        """List every file of the commit. Raises CodeError."""
        ...

    def read_files(self, sha: str, paths: Sequence[str]) -> tuple[SourceFile, ...]:
        """Read regular files, byte-equal paths only; what is not a regular file is left out."""
        ...

    def search(self, sha: str, text: str, limit: int = 50) -> tuple[Hit, ...]:
        """Find lines that hold ``text`` literally. Raises CodeError."""
        ...

    def list_generated(self, sha: str, paths: Sequence[str]) -> frozenset[str]:
        """Return those paths that the commit's attributes call generated. Raises CodeError."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the pipeline must know of the model in use. Token counts; ``prices`` empty: unknown."""

    provider: str
    name: str
    context_tokens: int
    max_output_tokens: int
    prices: tuple[PriceTier, ...] = ()
    token_factor: float = 1.0
    """How many of the model's tokens one of ours may be, at most."""
    min_rung: str = "E0"
    """Its findings are shown only from this rung of evidence on."""
    chunk_tokens: int = 6000
    """How long a chunk it reviews well, and in bearable time."""
    least_output: int = 0
    """How long an answer may be whatever limit is asked for: the service takes none."""
    added_tokens: int = 0
    """How many tokens the form of its answers adds to each prompt."""
    calls: bool = False
    """Whether it is to look things up by calling functions, rather than by a JSON object."""
    others: Mapping[Role, ModelInfo] = field(default_factory=dict)
    """The models of the same service that take another role than the usual one."""

    @property
    def rates(self) -> Rates:
        """Return what its tokens cost, for a purse."""
        return Rates(self.prices, self.token_factor, self.least_output, self.added_tokens)

    def of(self, role: Role) -> ModelInfo:
        """Return what is known of the model that takes a role."""
        return self.others.get(role, self)


OnReply = Callable[[int, Reply], None]


class Model(Protocol):
    """Asks a model."""

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model before it is asked."""
        ...

    def ask_all(
        self, prompts: Sequence[Prompt], on_reply: OnReply | None = None
    ) -> tuple[Reply, ...]:
        """Ask every prompt within the provider's limits; one reply a prompt, in order.

        ``on_reply`` hears of each as it comes, by the prompt's index, from the calling thread.
        Never raises for a single failure: that is a Fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class AnalyzersReport:
    """What the analyzers found; ``notes`` name a tool that could not run and why."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


class Analyzers(Protocol):
    """Runs deterministic tools on files' contents."""

    def run(self, files: Sequence[SourceFile]) -> AnalyzersReport:
        """Run every tool that knows the files; findings may stand on any line of them."""
        ...


class Traces(Protocol):
    """Keeps what was answered for reuse, and the record of every run."""

    def load_answers(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        """Return what is kept under each key, in order; None where nothing is."""
        ...

    def save_answers(self, texts: Mapping[str, str]) -> None:
        """Keep texts by key, in the place of what was kept there."""
        ...

    def save_run(self, run_id: str, record: str) -> None:
        """Keep a finished run's JSON report."""
        ...
