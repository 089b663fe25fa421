"""No model service answers: the analyzers still speak, and nothing looks like a clean review."""

from __future__ import annotations

import re

from sandbox.serving import free_port
from tests.e2e.conftest import Stage, check, comments, spots, told

CLEAN = re.compile(
    r"no findings|no problems|looks good|lgtm|all \d+ changed lines|clean", re.IGNORECASE
)


def test_a_model_service_that_is_down_leaves_the_analyzers_and_no_clean_word(stage: Stage) -> None:
    down = {"POSTIL_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"}
    with stage.serving(down):
        found = stage.open_pull(
            stage.create_repository("found"), {"found.py": b"def f(xs=[]):\n    return xz\n"}
        )
        silent = stage.open_pull(stage.create_repository("silent"))
        stage.wait_until_done()

    assert spots(found) == [("found.py", 1), ("found.py", 2)]
    assert spots(silent) == []
    for pull in (found, silent):
        run = check(pull)
        assert run.conclusion == "neutral"
        assert run.output["title"].startswith("Nothing was reviewed: the model service")
        assert "changed lines: 0 reviewed, 0 waived" in told(run)
        words = [told(run), *(review.body for review in pull.reviews)]
        words += [body for _, _, body in comments(pull)]
        assert [word for word in words if CLEAN.search(word)] == []
    (review,) = found.reviews
    assert "This is not a complete review" in review.body
