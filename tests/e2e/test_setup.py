"""From a server that is no App to a posted review, by clicks in a browser."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sandbox.github import GitHub
from sandbox.github.state import Json, Kind
from sandbox.models import ModelServer, Planted
from sandbox.serving import (
    ROOT,
    SERVE,
    STOP_LIMIT_S,
    Server,
    free_port,
    inherited,
    until,
    wait_until_ready,
)
from tests.browser import keep_screenshot, open_page
from tests.e2e.conftest import BUG, LIMIT_S, OLD, Stage, check, comments

TURNED_AWAY = {
    "status": "unavailable",
    "reason": "no GitHub App is set up: open /setup at the address the server printed",
}
PRINTED = re.compile(r"http://\S+/setup\?token=[\w-]+")


@contextmanager
def server_without_app(github: GitHub, model: ModelServer, folder: Path) -> Iterator[Server]:
    port, data, log = free_port(), folder / "data", folder / "server.log"
    environ = inherited() | {
        "POSTIL_GITHUB_API_URL": github.url,
        "POSTIL_DATA_DIR": str(data),
        "POSTIL_PORT": str(port),
        "POSTIL_PROVIDER": "openai-compatible",
        "POSTIL_BASE_URL": model.base_url,
        "POSTIL_MODEL": "stand-in",
        "POSTIL_API_KEY": model.key,
    }
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, *SERVE], cwd=ROOT, env=environ, stdout=sink, stderr=sink
        )
    try:
        yield Server(process, f"http://127.0.0.1:{port}", log, data)
    finally:
        process.terminate()
        process.wait(STOP_LIMIT_S)


def printed_address(server: Server) -> str:
    """Wait for the address that the server prints, with its token."""
    until(lambda: bool(PRINTED.search(said(server))), LIMIT_S, lambda: said(server))
    (printed,) = PRINTED.findall(said(server))
    return str(printed)


def said(server: Server) -> str:
    return server.log.read_text(errors="replace")


def answer(address: str, data: bytes | None = None) -> tuple[int, Json]:
    try:
        with urlopen(Request(address, data), timeout=10) as response:  # noqa: S310 - loopback
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def make_the_app(printed: str, server: Server, github: GitHub) -> None:
    """Do what a newcomer does: open the printed address, fill in a form, click, click."""
    with open_page() as page:
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.goto(printed)
        assert "token" not in page.url
        page.get_by_label("Address at which GitHub").fill(server.address)
        page.get_by_label("Organization").fill("acme")
        keep_screenshot(page, "setup-1-ask")
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("issues: read").wait_for()
        keep_screenshot(page, "setup-2-create")
        page.get_by_role("button", name="Create on GitHub").click()
        page.get_by_role("button", name="Create GitHub App").wait_for()
        assert page.url.startswith(f"{github.address.origin}/organizations/acme/settings/apps/new")
        keep_screenshot(page, "setup-3-github")
        page.get_by_role("button", name="Create GitHub App").click()
        page.get_by_role("heading", name="Postil is set up").wait_for()
        keep_screenshot(page, "setup-4-done")
        page.get_by_role("link", name="Install it").click()
        page.get_by_role("button", name="Install on acme").click()
        page.get_by_text("is installed").wait_for()
        assert told == []


@pytest.mark.slow
def test_an_app_is_made_by_clicks_and_the_same_server_reviews_at_once(tmp_path: Path) -> None:
    brain = Planted({r"/ len\(": BUG})
    with (
        GitHub() as github,
        ModelServer("openai-compatible", brain=brain) as model,
        server_without_app(github, model, tmp_path) as server,
    ):
        github.create_user("acme", Kind.ORGANIZATION)
        repository = github.create_repository("acme/shop", {"shop.py": OLD})
        printed = printed_address(server)
        until(lambda: "Application startup complete" in said(server), LIMIT_S, lambda: said(server))
        assert answer(f"{server.address}/webhook", b"{}") == (503, TURNED_AWAY)
        assert answer(f"{server.address}/readyz")[0] == 503
        assert answer(f"{server.address}/healthz")[0] == 200

        # a name of its own makes GitHub's pages another site than ours, as they are in life
        make_the_app(printed.replace("127.0.0.1", "localhost"), server, github)

        (app,) = github.apps.values()
        stored = server.data / "github-app.json"
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        assert json.loads(stored.read_text())["id"] == app.id
        assert (app.owner.login, app.webhook_url) == ("acme", f"{server.address}/webhook")
        wait_until_ready(server, LIMIT_S)
        assert answer(f"{server.address}/setup")[0] == 404

        stage = Stage(github, model, app, tmp_path)
        pull = stage.open_pull(repository)
        stage.wait_until_done()
        assert [(path, line) for path, line, _ in comments(pull)] == [("shop.py", 2)]
        assert check(pull).conclusion == "success"
        stage.check_invariants()
        for secret in (app.webhook_secret, app.private_key.splitlines()[1], printed):
            assert said(server).count(secret) == (secret == printed)
