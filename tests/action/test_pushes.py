"""A long pull request in a workflow: no database, and still nothing is asked or said twice."""

from __future__ import annotations

from pathlib import Path

from sandbox.github import GitHub
from sandbox.github import shapes as github_shapes
from sandbox.models import ModelServer
from tests.action.conftest import WRITING
from tests.action.runner import Runner
from tests.pushes import BASE, BRAIN, STEPS, Stage, asked, prepare


def test_what_stands_is_never_asked_or_said_again(tmp_path: Path) -> None:
    with GitHub() as github, ModelServer("novita", brain=BRAIN) as model:
        app = github.create_app("github-actions", permissions=WRITING)
        home = github.create_repository("acme/risks", BASE)
        prepare(home)
        installation = github.install(app, home.owner)
        alice = github.create_user("alice")
        github.grant(home, alice, "write")
        stage = Stage(github, home, github.create_user("robin"), alice)
        inputs = {"provider": "novita", "api-key": model.key, "base-url": model.base_url}
        said: set[str] = set()
        closed: set[str] = set()
        for step in STEPS:
            step.happen(stage)
            token = github.mint(installation, WRITING).value
            runner = Runner(tmp_path / step.name, github, token)
            heard = len(model.seen)
            ran = runner.run(
                "pull_request",
                {
                    "action": "synchronize",
                    "number": 1,
                    "before": stage.before,
                    "pull_request": github_shapes.pull(github, stage.pull),
                    "repository": {"id": home.id, "full_name": home.full_name},
                    "sender": github_shapes.user(github, stage.robin),
                },
                inputs=inputs,
            )
            assert ran.code == 0, ran.log
            prompts = [seen.prompt for seen in model.seen[heard:]]
            said |= {*step.says.split()}
            closed |= {*step.closes.split()}
            assert set().union(*map(asked, prompts)) == {*step.asks.split()}, step.name
            assert stage.said() == sorted(said), step.name
            assert stage.closed() == closed, step.name
            assert stage.told() == {*step.tells.split()}, step.name
            assert ran.outputs["findings"] == str(len(step.tells.split())), step.name
        assert model.refusals == ()
        assert github.unexpected == []
