"""The embedded model, on this machine and with no key."""

from __future__ import annotations

import pytest

from app.adapters.models.build import has_local
from tests.e2e.conftest import Stage, check, spots, told

LIMIT_S = 240.0


@pytest.mark.slow
@pytest.mark.skipif(not has_local(), reason="postil[local] is not installed")
def test_the_embedded_model_reviews_and_what_it_makes_up_is_not_said(stage: Stage) -> None:
    with stage.serving({"POSTIL_PROVIDER": "local", "POSTIL_BASE_URL": "", "POSTIL_MODEL": ""}):
        pull = stage.open_pull(
            stage.create_repository("small"),
            {"small.py": b"def mean(xs):\n    return sum(xz) / len(xs)\n"},
        )
        stage.wait_until_done(LIMIT_S)
    run = check(pull)
    assert run.conclusion == "success", told(run)
    assert "local/smollm2-135m-instruct · 1 request" in told(run)
    assert spots(pull) == [("small.py", 2)]
    assert stage.model.seen == []
