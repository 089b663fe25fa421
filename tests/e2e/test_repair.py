"""What GitHub could not tell a server, or never did, is reviewed all the same."""

from __future__ import annotations

from pathlib import Path

from sandbox.serving import until
from tests.e2e.conftest import LIMIT_S, Stage, check, checks, open_stage, repairing, spots

SECONDS = 1.0
MORE = {"more.py": b"def share(xs):\n    return 1 / len(xs)\n"}


def test_what_happened_while_the_server_was_down_is_reviewed_after_its_start(
    stage: Stage,
) -> None:
    told = stage.open_pull(stage.create_repository("told"))
    stage.github.settle()
    (lost,) = [one for one in stage.github.deliveries if one.event == "pull_request"]
    assert lost.status != "OK"
    with stage.github.quietly():
        untold = stage.open_pull(stage.create_repository("untold"))
    with stage.serving(command=repairing(SECONDS)):
        until(lambda: bool(told.reviews and untold.reviews), LIMIT_S, lambda: f"{stage.jobs()}")
        stage.wait_until_done()

        # while it runs: a push whose delivery can't be sent, and one that is never told of
        stage.app.webhook_url, address = None, stage.app.webhook_url
        told.push(MORE)
        stage.app.webhook_url = address
        with stage.github.quietly():
            untold.push(MORE)
        until(lambda: bool(checks(untold)), LIMIT_S, lambda: f"{stage.jobs()}")
        stage.wait_until_done()
    for pull in (told, untold):
        assert check(pull).conclusion == "success"
        assert spots(pull) == [("more.py", 2), (f"{pull.repository.name}.py", 2)]
    again = [one for one in stage.github.deliveries if one.guid == lost.guid]
    assert [one.status for one in again][1:] == ["OK"]


def test_a_lost_database_costs_no_second_review(tmp_path: Path) -> None:
    with open_stage(tmp_path) as stage:
        with stage.serving():
            pull = stage.open_pull(stage.create_repository("known"))
            stage.wait_until_done()
        for path in (stage.folder / "data").glob("postil.db*"):
            path.unlink()
        before, asked = stage.writes(pull.repository), len(stage.model.seen)
        with stage.serving(command=repairing(3600)):
            until(stage.repaired, LIMIT_S, lambda: "no repair came to its end")
            stage.wait_until_done()
        assert stage.jobs() == {}
        assert stage.writes(pull.repository) == before
        assert len(stage.model.seen) == asked
