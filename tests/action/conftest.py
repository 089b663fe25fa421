"""A workflow's job on a GitHub on loopback, with a stand-in model service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.adapters.github.quota import Quota
from sandbox.github import GitHub, Installation, Pull, Repository, User
from sandbox.github import shapes as github_shapes
from sandbox.models import ModelServer, Planted
from tests.action.runner import Ran, Runner

Fact = Any
"""What the runner takes: its own annotations say which."""
WRITING = {"contents": "read", "pull_requests": "write", "checks": "write"}
READING = {"contents": "read", "pull_requests": "read", "checks": "read"}
BASE = {"shop.py": "def total(items):\n    return sum(items)\n", "README.md": "# Shop\n"}
MEAN = "def mean(items):\n    return sum(items) / len(items)\n"
HEAD = {"shop.py": f"{BASE['shop.py']}\n\n{MEAN}"}
BUG = {
    "title": "Division by zero on an empty list",
    "why": "len(items) is 0 for an empty list.",
    "scenario": "mean([]) raises ZeroDivisionError.",
    "severity": "major",
}


@dataclass(slots=True)
class Job:
    """One repository with a pull request, and a runner for its workflow."""

    github: GitHub
    home: Repository
    installation: Installation
    alice: User
    pull: Pull
    model: ModelServer
    runner: Runner

    @property
    def inputs(self) -> dict[str, str]:
        return {"provider": "novita", "api-key": self.model.key, "base-url": self.model.base_url}

    def grant(self, permissions: dict[str, str]) -> None:
        """Give the next jobs a token that may do this."""
        self.runner.token = self.github.mint(self.installation, permissions).value

    def on_pull(
        self,
        event: str = "pull_request",
        pull: Pull | None = None,
        before: str | None = None,
        **facts: Fact,
    ) -> Ran:
        one = pull or self.pull
        payload = {
            "action": "synchronize",
            "number": one.number,
            "before": before,
            "pull_request": github_shapes.pull(self.github, one),
            "repository": self.repository,
            "sender": github_shapes.user(self.github, one.author),
        }
        return self.runner.run(event, payload, **{"inputs": self.inputs, **facts})

    def on_comment(self, user: User, body: str, action: str = "created", **facts: Fact) -> Ran:
        comment = self.pull.comment(user, body)
        payload = {
            "action": action,
            "issue": {"number": self.pull.number, "pull_request": {"url": "x"}},
            "comment": github_shapes.issue_comment(self.github, comment),
            "repository": self.repository,
            "sender": github_shapes.user(self.github, user),
        }
        return self.runner.run("issue_comment", payload, **{"inputs": self.inputs, **facts})

    @property
    def repository(self) -> dict[str, Any]:
        return {"id": self.home.id, "full_name": self.home.full_name}

    def said(self) -> list[tuple[str, int | None]]:
        """Name where our comments stand."""
        bot = self.installation.app.bot
        return [
            (one.thread.path, one.thread.original.line)
            for one in self.pull.review_comments
            if one.author.user is bot
        ]


@pytest.fixture(autouse=True)
def _no_second_between_two_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quota, "take_write", lambda _: None)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    brain = Planted({r"/ len\(": BUG})
    with GitHub() as github, ModelServer("novita", brain=brain) as model:
        app = github.create_app("github-actions", permissions=WRITING)
        home = github.create_repository("acme/shop", BASE)
        installation = github.install(app, home.owner)
        alice = github.create_user("alice")
        github.grant(home, alice, "write")
        home.commit(HEAD, branch="mean")
        pull = home.open_pull("mean", "Add the mean", author=alice)
        runner = Runner(tmp_path, github, github.mint(installation, WRITING).value)
        yield Job(github, home, installation, alice, pull, model, runner)
        assert model.refusals == ()
