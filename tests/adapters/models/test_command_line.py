"""``postil review`` against every service: what is found, billed and refused, as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.adapters.models import scheduler
from app.cli import run
from sandbox.models import ROWS, Act, ModelServer, Planted, Seen
from tests.adapters.models.kit import VirtualTime

KEYS = {
    "novita": "NOVITA_API_KEY",
    "modelstudio": "DASHSCOPE_API_KEY",
    "dashscope": "DASHSCOPE_API_KEY",
    "segmind": "SEGMIND_API_KEY",
    "aimlapi": "AIMLAPI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openai-compatible": "POSTIL_API_KEY",
}
DIFF = """\
diff --git a/src/stats.py b/src/stats.py
index 1111111..2222222 100644
--- a/src/stats.py
+++ b/src/stats.py
@@ -12,2 +12,2 @@ import math
 def mean(xs):
-    return sum(xs) / max(len(xs), 1)
+    return sum(xs) / len(xs)
"""
BUG = Planted({"/ len": "Division by zero on an empty list"})


@pytest.fixture(autouse=True)
def _no_waiting_and_nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (*KEYS.values(), "POSTIL_PROVIDER", "POSTIL_BASE_URL", "POSTIL_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(scheduler, "Timing", lambda: VirtualTime().timing)


class Terminal:
    """Runs the command as a user would, and keeps what it printed."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.code = 0
        self.shown = ""

    def review(self, server: ModelServer, *options: str) -> Mapping[str, Any]:
        change = self._folder / "change.diff"
        change.write_text(DIFF)
        row = server.row.id
        self._monkeypatch.setenv(KEYS[row], server.key)
        model = ["--model", "some-model"] if row == "openai-compatible" else []
        where = ["--provider", row, "--base-url", server.base_url, *model]
        return self.run(["review", str(change), "--format", "json", *where, *options])

    def run(self, argv: Sequence[str]) -> Mapping[str, Any]:
        self.code = run(list(argv), serve=lambda _settings, _role: 0, act=lambda: 0)
        out, err = self._capsys.readouterr()
        self.shown = out + err
        report: Mapping[str, Any] = json.loads(out) if out else {}
        return report


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("row", ROWS)
def test_a_review_finds_what_was_planted_and_is_billed_as_counted(
    row: str, terminal: Terminal
) -> None:
    with ModelServer(row, brain=BUG, key="sk-CANARY-KEY") as server:
        report = terminal.review(server)

    assert server.refusals == ()
    assert terminal.code == 0
    assert report["verdict"] == "findings"
    assert report["findings"][0]["line"] == 13
    assert "CANARY" not in terminal.shown
    assert report["usage"]["requests"] == server.bill.requests
    if row != "modelstudio":  # its page documents no count of a stream
        assert report["usage"]["prompt_tokens"] == server.bill.prompt_tokens
        assert report["usage"]["completion_tokens"] == server.bill.completion_tokens
    if row == "novita":
        assert report["usage"]["cost_usd"] == pytest.approx(float(server.bill.cost_usd))


FAULTS: Mapping[str, Act] = {
    "the key is refused": Act(401),
    "credits are missing": Act(402),
    "credits are missing, in Segmind's words": Act(406),
    "the model is unknown": Act(404),
    "the service is limited": Act(429, headers={"retry-after": "3"}),
    "the service fails": Act(500),
    "the service is overloaded": Act(529),
    "the request is refused": Act(400),
    "the prompt is too long": Act(400, error="maximum context length"),
    "a proxy answers": Act(body=b"<html>login</html>", content_type="text/html"),
    "nothing is chosen": Act(body=b'{"choices": []}'),
    "the connection is cut": Act(cut=30),
    "the answer did not end": Act(finish=None),
    "the answer was cut": Act(finish="length"),
    "the answer was filtered": Act(finish="content_filter"),
    "the model refuses": Act(message={"refusal": "no"}),
    "there is no answer": Act(answer=None),
    "the answer is empty": Act(answer=""),
    "the answer is prose": Act(answer="LGTM!"),
    "the answer is a list": Act(answer="[]"),
    "the answer lacks its nonce": Act(answer='{"findings": []}'),
    "the answer has another's nonce": Act(answer='{"nonce": "0123456789abcdef", "findings": []}'),
    "there are two answers in one": Act(answer='{"findings": []}{"findings": []}'),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("row", ["novita", "dashscope"])
def test_whatever_goes_wrong_is_never_a_clean_review(
    row: str, name: str, terminal: Terminal
) -> None:
    with ModelServer(row, script=lambda _seen: FAULTS[name]) as server:
        report = terminal.review(server)

    states = {unit["state"] for unit in report["ledger"]["units"]}
    assert terminal.code == 3
    assert report["verdict"] in {"incomplete", "failed"}
    assert report["conclusion"] == "neutral"
    assert states <= {"failed", "too_large"}
    assert all(unit["reason"] for unit in report["ledger"]["units"])


def test_one_bad_answer_is_mended_once(terminal: Terminal) -> None:
    with ModelServer("novita", brain=BUG, script=[Act(answer="Sure! Here it is.")]) as server:
        report = terminal.review(server)

    assert report["verdict"] == "findings"
    assert "can't be used" in server.seen[1].prompt


def test_a_missing_key_is_one_sentence_that_names_it(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "change.diff").write_text(DIFF)
    terminal.run(["review", str(tmp_path / "change.diff"), "--provider", "segmind"])
    assert terminal.code == 2
    assert "SEGMIND_API_KEY" in terminal.shown


def test_a_cap_is_kept_by_the_services_own_count(terminal: Terminal) -> None:
    def busy(_seen: Seen) -> Act:
        return Act(cut=20)

    with ModelServer("novita", script=busy) as server:
        report = terminal.review(server, "--max-cost", "0.003")

    assert float(server.bill.cost_usd) <= 0.003
    assert report["usage"]["cost_usd"] is None or report["usage"]["cost_usd"] <= 0.003


def test_the_table_of_services_is_shown(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["providers"], serve=lambda _settings, _role: 0, act=lambda: 0) == 0
    shown = capsys.readouterr().out
    assert all(row in shown for row in (*ROWS, "local"))
    assert terminal.code == 0
