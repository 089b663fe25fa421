"""Each unhealthy thing is one red line that names its mend, read from a real GitHub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.adapters.github.manifest import APP_EVENTS, APP_PERMISSIONS
from app.adapters.store import Store, open_engine
from app.bootstrap.appfile import FILE, StoredApp, write_app
from app.bootstrap.doctor import Report, examine
from app.settings import Settings
from sandbox.github import App, GitHub, Installation, Repository
from sandbox.models import Act, ModelServer
from tests.postgres import make_database, running_postgres

HOOK = "https://postil.acme.dev/webhook"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class House:
    """A healthy App on a GitHub, and the settings of its server."""

    github: GitHub
    app: App
    repository: Repository
    installation: Installation
    settings: Settings

    def examine(self, **changes: object) -> Report:
        return examine(replace(self.settings, **changes), ask_model=False)  # type: ignore[arg-type]

    def text(self, subject: str, *, well: bool, **changes: object) -> str:
        """Return what is said of a subject; everything else must be well."""
        report = self.examine(**changes)
        wrong = {note.subject for note in report.notes if not note.well} - {"model"}
        assert wrong == (set() if well else {subject}), report.text
        (note,) = [note for note in report.notes if note.subject == subject]
        return note.text


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


@contextmanager
def open_house(folder: Path, prefix: str = "") -> Iterator[House]:
    with GitHub(prefix=prefix) as github:
        app = github.create_app(
            permissions=dict(APP_PERMISSIONS), events=APP_EVENTS, webhook_url=HOOK
        )
        repository = github.create_repository("acme/shop", {"a.py": "a = 1\n"})
        with github.quietly():
            installation = github.install(app, repository.owner)
        settings = Settings(
            github_api_url=github.url,
            github_app_id=app.id,
            github_private_key=app.private_key,
            webhook_secrets=(app.webhook_secret,),
            data_dir=folder / "data",
        )
        yield House(github, app, repository, installation, settings)


def test_a_healthy_server_has_no_red_line(house: House) -> None:
    report = house.examine()
    assert {note.subject for note in report.notes if not note.well} <= {"model"}
    lines = {note.subject: note.text for note in report.notes}
    assert lines["GitHub App"] == f"postil, number {house.app.id}"
    assert lines["permissions"].startswith("contents: read, pull_requests: write")
    assert lines["webhook"] == HOOK
    assert (lines["clock"], lines["deliveries"]) == ("as GitHub's", "none")
    assert lines["installations"] == "acme"
    assert all(line.startswith(("ok ", "MEND ")) for line in report.text.splitlines())
    for secret in house.settings.secrets:
        assert secret not in report.text
    assert house.github.unexpected == []


def test_an_enterprise_server_is_looked_at_the_same_way(tmp_path: Path) -> None:
    with open_house(tmp_path, prefix="/api/v3") as house:
        assert {note.subject for note in house.examine().notes if not note.well} <= {"model"}
        house.app.events = APP_EVENTS[1:]
        page = f"{house.github.address.origin}/settings/apps/postil/permissions"
        assert house.text("events", well=False) == f"missing: pull_request: change it at {page}"
        assert house.github.unexpected == []


def test_missing_and_superfluous_permissions_are_named(house: House) -> None:
    house.installation.permissions = dict(APP_PERMISSIONS)
    house.app.permissions = {
        **APP_PERMISSIONS,
        "checks": "read",
        "issues": "write",
        "actions": "read",
    }
    del house.app.permissions["pull_requests"]
    told = house.text("permissions", well=False)
    page = f"{house.github.address.origin}/settings/apps/postil/permissions"
    assert told == (
        "missing: pull_requests: write, checks: write; not needed: issues: write, actions: read: "
        f"change it at {page}"
    )


def test_missing_and_superfluous_events_are_named(house: House) -> None:
    house.app.events = (*[name for name in APP_EVENTS if name != "issue_comment"], "push")
    told = house.text("events", well=False)
    assert told.startswith("missing: issue_comment; not needed: push: change it at ")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "it has no address"),
        ("http://postil.acme.dev/webhook", "is not https"),
        ("https://your-host/webhook", "is an example's address"),
        ("https://postil.example.com/webhook", "is an example's address"),
        ("https://localhost/webhook", "can't reach"),
        ("https://127.0.0.1/webhook", "can't reach"),
        ("https://postil.acme.dev/", "does not end with /webhook"),
        ("https://postil.acme.dev/webhooks", "does not end with /webhook"),
    ],
)
def test_a_webhook_that_goes_nowhere_is_red(house: House, url: str | None, why: str) -> None:
    house.app.webhook_url = url
    assert why in house.text("webhook", well=False)


def test_a_webhook_in_another_form_without_a_secret_or_proof_is_red(house: House) -> None:
    house.app.hook_content_type = "form"
    house.app.hook_insecure_ssl = "1"
    house.app.webhook_secret = ""
    told = house.text("webhook", well=False)
    for why in ("application/json", "certificates are not verified", "no secret"):
        assert why in told


def test_deliveries_that_fail_are_red_until_one_attempt_arrives(house: House) -> None:
    github = house.github
    failed = github.postman.prepare(house.app, "pull_request", {"action": "opened"})
    failed.status, failed.status_code = "Invalid HTTP Response: 503", 503
    good = github.postman.prepare(house.app, "issue_comment", {"action": "created"})
    good.status, good.status_code = "OK", 202
    told = house.text("deliveries", well=False)
    assert "1 of the last 2 did not arrive" in told
    assert '(pull_request) with "Invalid HTTP Response: 503"' in told
    again = github.postman.prepare(
        house.app, "pull_request", {"action": "opened"}, guid=failed.guid
    )
    again.status, again.status_code = "OK", 202
    assert house.text("deliveries", well=True) == "the last 2 arrived"


@pytest.mark.parametrize(("by", "word"), [(55, "behind"), (-55, "ahead of")])
def test_a_clock_that_is_off_is_red_before_github_refuses_us(
    house: House, by: int, word: str
) -> None:
    real = house.github.clock
    house.github.clock = lambda: real() + by
    told = house.text("clock", well=False)
    assert word in told
    assert "NTP" in told


def test_an_app_that_is_installed_nowhere_or_not_accepted_is_red(house: House) -> None:
    house.installation.permissions = {**APP_PERMISSIONS, "checks": "read"}
    assert "acme has not accepted checks: write" in house.text("installations", well=False)
    house.installation.permissions = dict(APP_PERMISSIONS)
    house.installation.suspended_at = 1.0
    assert "acme has suspended the App" in house.text("installations", well=False)
    house.installation.deleted = True
    told = house.text("installations", well=False)
    assert told.endswith("/apps/postil/installations/new")


def test_an_app_that_github_does_not_know_or_a_damaged_key_is_red(house: House) -> None:
    assert "401" in house.text("GitHub App", well=False, github_app_id=9)
    told = house.text("GitHub App", well=False, github_private_key="x")
    assert told.startswith("POSTIL_GITHUB_PRIVATE_KEY is neither")
    told = house.text("GitHub App", well=False, webhook_secrets=())
    assert "POSTIL_WEBHOOK_SECRET" in told


def test_a_github_that_is_away_is_red(house: House) -> None:
    told = house.text("GitHub App", well=False, github_api_url="http://127.0.0.1:9")
    assert "could not be reached" in told


def test_the_stored_app_is_looked_at(house: House, tmp_path: Path) -> None:
    kept = StoredApp(
        api_url=house.github.url,
        id=house.app.id,
        slug="postil",
        page="",
        private_key=house.app.private_key,
        webhook_secret=house.app.webhook_secret,
    )
    write_app(tmp_path / "data", kept)
    bare = {"github_app_id": None, "github_private_key": None, "webhook_secrets": ()}
    assert FILE in house.text("set-up file", well=True, **bare)
    (tmp_path / "data" / FILE).chmod(0o644)
    assert "chmod 600" in house.text("set-up file", well=False, **bare)


def test_without_an_app_the_doctor_says_how_to_get_one(tmp_path: Path) -> None:
    report = examine(Settings(data_dir=tmp_path / "data"), ask_model=False)
    (note,) = [note for note in report.notes if note.subject == "GitHub App"]
    assert note.well
    assert "postil serve" in note.text
    assert not (tmp_path / "data").exists()


def test_a_database_that_can_t_be_reached_is_red(house: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = house.text("database", well=False, data_dir=tmp_path / "file" / "below")
    assert "POSTIL_DATA_DIR" in told
    away = "postgresql://postil:CANARY@127.0.0.1:9/postil"
    told = house.text("database", well=False, database_url=away)
    assert "can't be opened" in told
    assert "CANARY" not in told


def test_a_database_of_another_version_is_red(house: House, tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "data")
    Store(engine).prepare()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE postil_meta SET version = 0"))
    engine.dispose()
    assert "has version 0" in house.text("database", well=False)


@pytest.mark.slow
def test_a_database_that_may_only_be_read_is_red(house: House) -> None:
    with running_postgres() as server:
        address = make_database(server)
        engine = open_engine(house.settings.data_dir, address)
        Store(engine).prepare()
        assert house.text("database", well=True, database_url=address) == "POSTIL_DATABASE_URL"
        name = sa.make_url(address).database
        with engine.connect() as connection:
            connection.execute(
                sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            )
            connection.commit()
        engine.dispose()
        told = house.text("database", well=False, database_url=address)
        assert "can't be written to" in told


def test_a_model_that_the_service_does_not_know_is_red(tmp_path: Path) -> None:
    unknown = Act(status=404, body=b'{"error": {"message": "no such model"}}')
    with ModelServer("openai-compatible", script=lambda _seen: unknown) as model:
        settings = Settings(
            provider="openai-compatible",
            base_url=model.base_url,
            model="nobody",
            api_key=model.key,
            data_dir=tmp_path,
        )
        report = examine(settings, ask_model=True)
    red = [note.text for note in report.notes if not note.well]
    assert len(red) == 1
    assert "does not know the model nobody: check POSTIL_MODEL" in red[0]


def ask_novita(server: ModelServer, folder: Path, rows: str = "") -> Report:
    (folder / "providers.toml").write_text(rows)
    settings = Settings(
        provider="novita",
        base_url=server.base_url,
        api_key=server.key,
        data_dir=folder,
        providers_file=folder / "providers.toml",
    )
    return examine(settings, ask_model=True)


def test_a_model_is_asked_in_the_form_its_row_declares_and_the_doctor_says_so(
    tmp_path: Path,
) -> None:
    with ModelServer("novita") as server:
        report = ask_novita(server, tmp_path)
    said = {note.subject: note.text for note in report.notes}
    assert said["model's mode"] == "qwen/qwen3-coder-next: json_schema: kept"
    assert said["model's calls"] == "qwen/qwen3-coder-next: function calling: kept"
    assert not [note for note in report.notes if note.subject.startswith("model") and not note.well]


def test_a_model_whose_form_is_refused_is_red_until_the_row_says_what_it_keeps(
    tmp_path: Path,
) -> None:
    with ModelServer("novita") as server:
        server.row = replace(server.row, formats=frozenset())
        report = ask_novita(server, tmp_path)
        (mode,) = [note.text for note in report.notes if note.subject == "model's mode"]
        assert "does not answer: Novita AI refused the request" in report.text
        mend = 'set modes = ["plain"] of novita in POSTIL_PROVIDERS_FILE'
        assert mode.endswith(f"plain: kept; {mend}")
        again = ask_novita(server, tmp_path, '[novita]\nmodes = ["plain"]\n')
    told = [note for note in again.notes if note.subject.startswith("model")]
    assert all(note.well for note in told)
    assert "4 of 4 answers in the right form" in again.text


def test_the_command_prints_it_and_its_exit_code_tells(house: House, tmp_path: Path) -> None:
    house.app.webhook_url = "http://postil.acme.dev/webhook"
    environ = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "POSTIL_GITHUB_API_URL": house.github.url,
        "POSTIL_GITHUB_APP_ID": str(house.app.id),
        "POSTIL_GITHUB_PRIVATE_KEY": house.app.private_key,
        "POSTIL_WEBHOOK_SECRET": house.app.webhook_secret,
        "POSTIL_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "app", "doctor"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:2] == ["MEND", "webhook"]]
    assert "is not https" in line
