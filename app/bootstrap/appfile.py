"""The App that ``/setup`` made, kept in the data directory: its number, its key, its secret."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import SettingsError
from app.settings import MIN_WEBHOOK_SECRET, Settings

FILE: Final = "github-app.json"
OTHERS: Final = 0o077
"""The permissions of everybody but the owner."""
MAX_BYTES: Final = 64 * 1024


class StoredApp(BaseModel):
    """An App as it is kept; ``api_url`` names the GitHub it lives on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_url: str
    id: int = Field(gt=0)
    slug: str
    page: str
    private_key: str = Field(repr=False, min_length=1)
    webhook_secret: str = Field(repr=False, min_length=MIN_WEBHOOK_SECRET)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The settings, completed by the stored App when ``stored`` is one that was used."""

    settings: Settings
    stored: StoredApp | None = None

    @property
    def unset(self) -> bool:
        """Tell whether nobody has said yet which App this server is."""
        own = self.settings
        return not (own.github_app_id or own.github_private_key or own.webhook_secrets)


def complete(settings: Settings) -> Chosen:
    """Complete the settings with the stored App. Raises SettingsError.

    The environment wins: where it names an App or a key, the stored ones are not looked at, since
    a number and a key belong together. A webhook secret there takes the place of the stored one.
    """
    if settings.github_app_id is not None or settings.github_private_key is not None:
        return Chosen(settings)
    stored = read_app(settings.data_dir)
    if stored is None:
        return Chosen(settings)
    if stored.api_url != settings.github_api_url:
        raise SettingsError(
            f"{settings.data_dir / FILE} is an App of another GitHub than POSTIL_GITHUB_API_URL"
        )
    completed = replace(
        settings,
        github_app_id=stored.id,
        github_private_key=stored.private_key,
        webhook_secrets=settings.webhook_secrets or (stored.webhook_secret,),
    )
    return Chosen(completed, stored)


def read_app(data_dir: Path) -> StoredApp | None:
    """Read the stored App, None when there is none. Raises SettingsError, never with its text."""
    path = data_dir / FILE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise SettingsError(f"{path} is not a regular file")
        if mode & OTHERS:
            raise SettingsError(f"{path} holds a key that others may read: chmod 600 {path}")
        data = file.read(MAX_BYTES + 1)
    try:
        return StoredApp.model_validate_json(data if len(data) <= MAX_BYTES else b"")
    except ValidationError:
        raise SettingsError(f"{path} is damaged: remove it, and set the App up again") from None


def write_app(data_dir: Path, app: StoredApp) -> None:
    """Store an App: all of it or nothing, readable by this user alone. Raises SettingsError."""
    path = data_dir / FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_whole(path, app.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise SettingsError(f"{path} can't be written: {error.strerror}") from None


def check_writable(data_dir: Path) -> None:
    """Make sure that an App could be stored, before one is made. Raises SettingsError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        trial = _reserve(data_dir)
        trial.unlink()
    except OSError as error:
        raise SettingsError(
            f"POSTIL_DATA_DIR {data_dir} can't be written to: {error.strerror}"
        ) from None


def _write_whole(path: Path, data: bytes) -> None:
    draft = _reserve(path.parent)
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _reserve(folder: Path) -> Path:
    """Create an empty file that only this user may read, whatever the umask says."""
    draft = folder / f".{FILE}.{secrets.token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(handle)
    return draft
