"""What the command line reviews: a checkout, a range, a patch, or a pull request's address."""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.git import LocalCheckout, PinnedDiff
from app.adapters.progress import Progress
from app.adapters.store import Store, open_engine
from app.bootstrap.parts import (
    ModelWish,
    build_chosen_model,
    build_reviewer,
    derive_key,
    refuse_cap_without_prices,
)
from app.core.diff import parse_patch_text
from app.core.policy import Policy
from app.core.review import Result
from app.core.secrets import Redactor
from app.errors import SettingsError, UserError
from app.pipeline import Change, Finished, Reviewer, Skipped, Wishes, read_policy
from app.ports import RawDiff, Traces
from app.settings import Settings

PULL_PATH = re.compile(r"/([\w.-]+/[\w.-]+)/pull/([1-9][0-9]{0,8})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; None leaves it to the settings and the policy."""

    target: str | None = None
    repo: Path | None = None
    base: str | None = None
    staged: bool = False
    model: ModelWish = ModelWish()  # noqa: RUF009 - frozen
    wishes: Wishes = Wishes()  # noqa: RUF009 - frozen
    post: bool = False
    quiet: bool = False


def review_target(asked: Asked, settings: Settings) -> Result:
    """Review or plan what was named. Raises UserError, HostError, CodeError."""
    if asked.wishes.max_cost_usd is None:
        wishes = replace(asked.wishes, max_cost_usd=settings.max_cost_usd)
        asked = replace(asked, wishes=wishes)
    by_address = (asked.target or "").startswith(("https://", "http://"))
    if asked.post and (not by_address or asked.wishes.plan_only):
        raise UserError("--post goes with postil review and a pull request's address")
    with (
        tempfile.TemporaryDirectory(prefix="postil-") as name,
        Progress(quiet=asked.quiet) as progress,
    ):
        scratch = Path(name)
        if by_address:
            return _review_pull(asked, settings, scratch, progress)
        change = open_target(asked, scratch)
        reviewer = _reviewer(asked, settings, progress)
        return reviewer.examine(change, _policy_of(change), asked.wishes, secrets.token_hex(8))


def open_target(asked: Asked, scratch: Path) -> Change:
    """Open what is to be reviewed here; ``scratch`` is an empty directory that outlives it."""
    target = asked.target
    if target is None:
        checkout = LocalCheckout(asked.repo or Path.cwd(), scratch)
        return _pinned(checkout, checkout.diff_working(asked.base, staged=asked.staged))
    if asked.base is not None or asked.staged:
        raise UserError("--base and --staged go with the working tree, not with another target")
    if target == "-":
        return _open_patch(sys.stdin.buffer.read(), asked, scratch)
    if Path(target).is_file():
        return _open_patch(Path(target).read_bytes(), asked, scratch)
    if ".." in target:
        checkout = LocalCheckout(asked.repo or Path.cwd(), scratch)
        return _pinned(checkout, checkout.diff_range(target))
    raise UserError(
        f"{target} is neither a file nor A..B nor a pull request's address: see postil review -h"
    )


def open_traces() -> Traces:
    """Keep answers in the user's cache directory; where none can be made, for this run alone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "postil"
    try:
        return Store(open_engine(cache)).prepare()
    except SettingsError:
        return PassingTraces()


@dataclass(frozen=True, slots=True)
class PassingTraces:
    """Traces that go with the process."""

    answers: dict[str, str] = field(default_factory=dict)

    def load_answers(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        """Return what is kept under each key."""
        return tuple(self.answers.get(key) for key in keys)

    def save_answers(self, texts: Mapping[str, str]) -> None:
        """Keep texts by key."""
        self.answers.update(texts)

    def save_run(self, run_id: str, record: str) -> None:
        """Let the record go."""


def _pinned(checkout: LocalCheckout, pinned: PinnedDiff) -> Change:
    return Change(pinned.raw, pinned.base_sha, pinned.head_sha, checkout.objects)


def _open_patch(data: bytes, asked: Asked, scratch: Path) -> Change:
    raw = RawDiff(parse_patch_text(data))
    if asked.repo is None:
        return Change(raw)
    checkout = LocalCheckout(asked.repo, scratch)
    head = checkout.head_sha
    return Change(raw, head, head, checkout.objects, loose=True)


def _policy_of(change: Change) -> Policy:
    if change.code is None or change.base_sha is None:
        return Policy()
    return read_policy(change.code, change.base_sha)


def _reviewer(asked: Asked, settings: Settings, progress: Progress) -> Reviewer:
    model = None if asked.wishes.no_model else build_chosen_model(settings, asked.model)
    refuse_cap_without_prices(model, asked.wishes.max_cost_usd)
    return build_reviewer(
        model,
        open_traces(),
        AnalyzerSuite(),
        secret=secrets.token_hex(16),
        leaks=Redactor(settings.secrets).leaks,
        progress=progress.show,
    )


def _review_pull(asked: Asked, settings: Settings, scratch: Path, progress: Progress) -> Result:
    """Review a pull request by its address, and post the review if that was asked for."""
    from app.adapters.github.access import GitHubToken  # noqa: PLC0415 - PyGithub starts slowly
    from app.adapters.github.marks import Marks  # noqa: PLC0415 - the same
    from app.bootstrap.hosts import build_host  # noqa: PLC0415 - the same

    repository, number = _read_address(asked, settings)
    token = settings.github_token or ""
    access = GitHubToken(token, settings.github_api_url)
    marks = Marks(derive_key("marks", token))
    host = build_host(access, marks, scratch, proxies=settings.proxies)
    pull = host.pulls.fetch_pull(access.find_pull(repository, number))
    reviewer = _reviewer(asked, settings, progress)
    run_id = secrets.token_hex(8)
    if not asked.post:
        code = host.open_code(pull)
        policy = read_policy(code, pull.base_sha)
        change = Change(host.pulls.fetch_diff(pull), pull.base_sha, pull.head_sha, code, pull)
        return reviewer.examine(change, policy, asked.wishes, run_id)
    key = f"review:{pull.ref.repository_id}:{pull.ref.number}:{pull.head_sha}:command-line"
    done = reviewer.review(
        host, pull.ref, pull.head_sha, key=key, run_id=run_id, wishes=asked.wishes
    )
    if isinstance(done, Finished):
        return replace(done.result, notes=(*done.result.notes, *done.posted.notes))
    if isinstance(done, Skipped):
        raise UserError(f"nothing was posted: {done.reason}")
    raise UserError("nothing was posted: the pull request's head moved; run the command again")


def _read_address(asked: Asked, settings: Settings) -> tuple[str, int]:
    parts = urlsplit(asked.target or "")
    found = PULL_PATH.fullmatch(parts.path)
    if found is None:
        raise UserError("a pull request's address looks like https://github.com/owner/name/pull/1")
    if asked.repo is not None or asked.base is not None or asked.staged:
        raise UserError("--repo, --base and --staged go with a checkout, not with an address")
    if not settings.github_token:
        raise UserError("set POSTIL_GITHUB_TOKEN to read a pull request")
    api = urlsplit(settings.github_api_url).netloc
    if parts.netloc.removeprefix("www.") not in {api, api.removeprefix("api.")}:
        raise UserError(f"POSTIL_GITHUB_API_URL is not the API of {parts.netloc}")
    return found[1], int(found[2])
