"""What ``postil serve`` runs: webhooks in, durable jobs, reviews out."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.adapters import crash
from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.books import Books
from app.adapters.durable import DurableModel, durable
from app.adapters.github.access import GitHubApp
from app.adapters.github.checks import GitHubChecks
from app.adapters.github.marks import Marks
from app.adapters.github.quota import Pace as WritePace
from app.adapters.github.quota import Watch
from app.adapters.github.repair import GitHubRepair
from app.adapters.metrics import Metrics
from app.adapters.signatures import Signatures
from app.adapters.store import Store, WorkerLocks, open_engine
from app.adapters.turns import SharedTurns
from app.answers import Answers
from app.bootstrap.hosts import build_host
from app.bootstrap.parts import (
    ModelWish,
    build_chosen_model,
    build_reviewer,
    derive_key,
    refuse_cap_without_prices,
)
from app.core.events import FULL, CommandRequest, ReviewRequest
from app.core.job import Closing, JobState, RunResult
from app.core.pull import PullRef, PullRequest
from app.core.review import money
from app.core.secrets import Redactor
from app.errors import CodeError, HostError, HostMissing, HostRefused, SettingsError
from app.jobs import Desk, Jobs, Pace, Work
from app.pipeline import Change, Host, Over, Skipped, Superseded, Wishes, read_policy
from app.ports import Analyzers, Conversation, PullRequests, RawDiff, Reviews, Traces
from app.repairs import Repairs
from app.settings import Settings

log = logging.getLogger(__name__)

WRONG_KEY = "GitHub refuses the App's key: check POSTIL_GITHUB_APP_ID and POSTIL_GITHUB_PRIVATE_KEY"


def check_server_settings(settings: Settings) -> None:
    """Refuse to start without what a server needs. Raises SettingsError naming what to set."""
    if not settings.webhook_secrets:
        raise SettingsError("set POSTIL_WEBHOOK_SECRET: deliveries without a signature are refused")
    if settings.github_app_id is None:
        raise SettingsError("set POSTIL_GITHUB_APP_ID to the App's number")
    if settings.github_private_key is None:
        raise SettingsError("set POSTIL_GITHUB_PRIVATE_KEY or POSTIL_GITHUB_PRIVATE_KEY_FILE")


class Office:
    """A server's parts, wired: the store, the jobs, GitHub, and the reviewer over durable ports."""

    def __init__(self, settings: Settings) -> None:
        key = settings.github_private_key or ""
        self._settings = settings
        self.metrics = Metrics()
        self._store = Store(open_engine(settings.data_dir, settings.database_url)).prepare()
        self._access = GitHubApp(
            settings.github_app_id or 0,
            key,
            settings.github_api_url,
            watch=Watch(self.metrics.count_github, self.metrics.note_remaining),
            pace=WritePace(turns=SharedTurns(self._store).prepare().open),
        )
        signing = derive_key("marks", key)
        self._marks = Marks(signing, Signatures(self._store).prepare().keep(signing))
        model = build_chosen_model(settings, ModelWish())
        refuse_cap_without_prices(model, settings.max_cost_usd)
        self._jobs = Jobs(
            self._store,
            WorkerLocks(self._store.engine),
            Pace(),
            worker_id=settings.worker_id,
            at=crash.at,
        )
        self._reviewer = build_reviewer(
            model
            and DurableModel(
                model,
                lambda: self._jobs.desk.client,
                model.share_pace(Books(self._store).prepare().open),
                halted=self._halted,
                heard=self.metrics.count_model,
            ),
            durable(self._store, Traces, name="traces", halted=self._halted),
            durable(AnalyzerSuite(), Analyzers, name="analyzers", halted=self._halted),
            secret=derive_key("nonces", key).hex(),
            leaks=Redactor(settings.secrets).leaks,
            over=lambda run_id: self._store.load_run(run_id) is not None,
        )

    @contextmanager
    def running(self, *, works: bool) -> Iterator[Jobs]:
        """Accept deliveries, and work on them too if this process is to."""
        self._jobs.open()
        try:
            if works:
                self._jobs.start(Work(self._review, self._command, self._close, self._repair))
            yield self._jobs
        finally:
            self._jobs.stop()

    def troubles(self, *, works: bool) -> list[str]:
        """Name what keeps the server from doing its work."""
        found = [] if self._store.ping() else ["the database does not answer"]
        if not self._jobs.desk.records:
            found.append("deliveries can't be recorded")
        if works and not self._jobs.alive:
            found.append("the worker has stopped")
        return found

    def _halted(self) -> bool:
        return self._jobs.halted

    @contextmanager
    def _host(self, *, posts: bool = False) -> Iterator[Host]:
        """Open GitHub for one job, with a directory of its own for the code."""
        folder = self._settings.data_dir / "code"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            scratch_folder = tempfile.TemporaryDirectory(dir=folder)
        except OSError as error:
            raise CodeError(f"the folder {folder} can't be used: {error.strerror}") from error
        with scratch_folder as scratch:
            host = build_host(
                self._access.for_one_job(),
                self._marks,
                Path(scratch),
                proxies=self._settings.proxies,
                posts=posts,
            )
            pulls = durable(host.pulls, PullRequests, name="pulls", halted=self._halted)
            yield Host(
                pulls=_Recorded(pulls, host.pulls),
                reviews=durable(host.reviews, Reviews, name="reviews", halted=self._halted),
                conversation=durable(
                    host.conversation, Conversation, name="conversation", halted=self._halted
                ),
                open_code=host.open_code,
            )

    def _review(self, request: ReviewRequest, run_id: str) -> RunResult:
        wishes = Wishes(
            focus=request.focus,
            max_cost_usd=self._settings.max_cost_usd,
            automatic=not request.forced,
            full=request.kind == FULL,
        )
        began = time.monotonic()
        with self._host(posts=True) as host:
            try:
                done = self._reviewer.review(
                    host,
                    request.ref,
                    request.head_sha,
                    key=request.key,
                    run_id=run_id,
                    wishes=wishes,
                )
            except HostMissing as missing:
                if missing.data.get("final"):
                    raise
                now = host.pulls.fetch_pull(request.ref).head_sha
                if now == request.head_sha:
                    raise missing from None
                done = Superseded(now)
        if isinstance(done, Superseded):
            return RunResult(JobState.SUPERSEDED, head_sha=done.head_sha)
        if isinstance(done, Skipped):
            return RunResult(JobState.SKIPPED, note=done.reason)
        if isinstance(done, Over):
            return RunResult(JobState.DONE)
        self.metrics.review_duration.observe(time.monotonic() - began)
        facts = {
            "repository": request.ref.repository,
            "number": request.ref.number,
            "conclusion": done.result.conclusion.value,
            "comments": done.posted.comments,
            "seconds": round(time.monotonic() - began, 1),
        }
        log.info("reviewed", extra=facts)
        for note in done.posted.notes:
            log.warning("not everything could be posted", extra={**facts, "note": note})
        return RunResult(JobState.DONE)

    def _command(self, request: CommandRequest, run_id: str, desk: Desk) -> None:
        del run_id
        with self._host() as host:
            Answers(host.pulls, host.conversation, self._estimate).answer(request, desk)

    def _estimate(self, pull: PullRequest) -> str:
        with self._host() as host:
            code = host.open_code(pull)
            change = Change(host.pulls.fetch_diff(pull), pull.base_sha, pull.head_sha, code, pull)
            policy = read_policy(code, pull.base_sha)
            plan = self._reviewer.examine(change, policy, Wishes(plan_only=True), "estimate")
        need = plan.estimate
        cost = "price not known" if need.max_cost_usd is None else money(need.max_cost_usd)
        return (
            f"A review needs {need.requests} requests, {need.prompt_tokens:,} prompt tokens and "
            f"at most {need.max_completion_tokens:,} completion tokens: at most {cost}."
        )

    def _close(self, closing: Closing, run_id: str) -> None:
        """Complete the check run of a review that will not end by itself."""
        del run_id
        GitHubChecks(self._access.for_one_job()).close(closing)

    def _repair(self, desk: Desk) -> None:
        """Look after what webhooks did not bring, unless GitHub does not know us."""
        try:
            self._access.check_key()
        except HostError as error:
            if isinstance(error, HostRefused):
                log.error(WRONG_KEY, extra={"app": self._access.app_id, "why": error.message})  # noqa: TRY400 - no trace
                return
            log.warning("GitHub could not be asked who we are", extra={"why": error.message})
        checks = GitHubChecks(self._access.for_one_job())
        Repairs(GitHubRepair(self._access), checks, time.time, self._halted).run(desk)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Records what depends on the moment; the files of a pinned commit are read again."""

    now: PullRequests
    pinned: PullRequests

    def fetch_pull(self, ref: PullRef) -> PullRequest:
        """Fetch the pull request as it is now, or was when this step ran first."""
        return self.now.fetch_pull(ref)

    def fetch_diff(self, pull: PullRequest) -> RawDiff:
        """Fetch the changed files."""
        return self.pinned.fetch_diff(pull)
