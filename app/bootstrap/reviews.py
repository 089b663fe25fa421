"""What the command line reviews: a checkout, a range, a patch, or a pull request's address."""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.git import LocalCheckout, PinnedDiff
from app.adapters.progress import Progress
from app.adapters.store import Store, open_engine
from app.bootstrap.parts import ModelWish, build_chosen_model, build_reviewer, derive_key
from app.core.diff import parse_patch_text
from app.core.policy import Policy
from app.core.review import Result
from app.errors import SettingsError, UserError
from app.pipeline import Change, Wishes, read_policy
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
    with tempfile.TemporaryDirectory(prefix="postil-") as name:
        change = open_target(asked, settings, Path(name))
        code, base = change.code, change.base_sha
        policy = read_policy(code, base) if code and base else Policy()
        effort = asked.wishes.effort or policy.effort
        model = None
        if not asked.wishes.no_model:
            model = build_chosen_model(settings, asked.model, effort)
        if asked.wishes.max_cost_usd is not None and model and not model.info.prices:
            raise SettingsError(
                f"no price is known for {model.info.provider}/{model.info.name}, so --max-cost "
                "can't be kept: state its prices in POSTIL_PROVIDERS_FILE"
            )
        with Progress(quiet=asked.quiet) as progress:
            reviewer = build_reviewer(
                model,
                open_traces(),
                AnalyzerSuite(),
                secret=secrets.token_hex(16),
                progress=progress.show,
            )
            return reviewer.examine(change, policy, asked.wishes, secrets.token_hex(8))


def open_target(asked: Asked, settings: Settings, scratch: Path) -> Change:
    """Open what is to be reviewed; ``scratch`` is an empty directory that outlives the change."""
    target = asked.target
    if target is None:
        checkout = LocalCheckout(asked.repo or Path.cwd(), scratch)
        return _pinned(checkout, checkout.diff_working(asked.base, staged=asked.staged))
    if asked.base is not None or asked.staged:
        raise UserError("--base and --staged go with the working tree, not with another target")
    if target == "-":
        return _open_patch(sys.stdin.buffer.read(), asked, scratch)
    if target.startswith(("https://", "http://")):
        return _open_pull(target, settings, scratch)
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

    def load_answer(self, key: str) -> str | None:
        """Return the answer kept under a key."""
        return self.answers.get(key)

    def save_answer(self, key: str, text: str) -> None:
        """Keep an answer."""
        self.answers[key] = text

    def save_run(self, run_id: str, record: str) -> None:
        """Let the record go."""


def _pinned(checkout: LocalCheckout, pinned: PinnedDiff) -> Change:
    return Change(pinned.raw, pinned.base_sha, pinned.head_sha, checkout.objects)


def _open_patch(data: bytes, asked: Asked, scratch: Path) -> Change:
    raw = RawDiff(parse_patch_text(data))
    if asked.repo is None:
        return Change(raw)
    checkout = LocalCheckout(asked.repo, scratch)
    return Change(raw, checkout.head_sha, checkout.head_sha, checkout.objects)


def _open_pull(address: str, settings: Settings, scratch: Path) -> Change:
    from app.adapters.github.access import GitHubToken  # noqa: PLC0415 - PyGithub starts slowly
    from app.adapters.github.marks import Marks  # noqa: PLC0415 - the same
    from app.bootstrap.hosts import build_host  # noqa: PLC0415 - the same

    parts = urlsplit(address)
    found = PULL_PATH.fullmatch(parts.path)
    if found is None:
        raise UserError("a pull request's address looks like https://github.com/owner/name/pull/1")
    if not settings.github_token:
        raise UserError("set POSTIL_GITHUB_TOKEN to read a pull request")
    api = urlsplit(settings.github_api_url).netloc
    if parts.netloc.removeprefix("www.") not in {api, api.removeprefix("api.")}:
        raise UserError(f"POSTIL_GITHUB_API_URL is not the API of {parts.netloc}")
    access = GitHubToken(settings.github_token, settings.github_api_url)
    ref = access.find_pull(found[1], int(found[2]))
    host = build_host(access, Marks(derive_key("marks", settings.github_token)), scratch)
    pull = host.pulls.fetch_pull(ref)
    code = host.open_code(pull)
    return Change(host.pulls.fetch_diff(pull), pull.base_sha, pull.head_sha, code, pull)
