"""A long pull request before a real server: each finding is said once, and closed when mended."""

from __future__ import annotations

from sandbox.models import ModelServer
from tests.e2e.conftest import LIMIT_S, Stage
from tests.pushes import BASE, BRAIN, STEPS, asked, prepare
from tests.pushes import Stage as Play

EAGER = (
    "import sys; from functools import partial; from app.__main__ import main; "
    "from app.bootstrap import server; from app.adapters.github.quota import Quota; "
    "server.Pace = partial(server.Pace, quiet=0.0); Quota.take_write = lambda _: None; "
    "sys.argv[1:] = ['serve']; main()"
)
"""``postil serve`` that waits neither for a further push nor between two writes."""


def test_what_stands_is_never_asked_or_said_again(stage: Stage) -> None:
    with ModelServer("openai-compatible", brain=BRAIN) as model:
        home = stage.github.create_repository("acme/risks", BASE)
        prepare(home)
        stage.github.install(stage.app, home.owner)
        play = Play(stage.github, home, stage.user("robin"), stage.user("alice"))
        environ = {
            "POSTIL_BASE_URL": model.base_url,
            "POSTIL_API_KEY": model.key,
            "OPENAI_LOG": "debug",
        }
        said: set[str] = set()
        closed: set[str] = set()
        with stage.serving(environ, ("-c", EAGER)) as server:
            for step in STEPS:
                heard = len(model.seen)
                step.happen(play)
                stage.wait_until_done(LIMIT_S)
                prompts = [seen.prompt for seen in model.seen[heard:]]
                said |= {*step.says.split()}
                closed |= {*step.closes.split()}
                assert set().union(*map(asked, prompts)) == {*step.asks.split()}, step.name
                assert play.said() == sorted(said), step.name
                assert play.closed() == closed, step.name
                assert play.told() == {*step.tells.split()}, step.name
        assert model.refusals == ()
    log = server.log.read_text()
    assert log.count("reviewed ") == len(STEPS)
    assert "HTTP request" not in log, "the client library logs each one when it is asked to"
