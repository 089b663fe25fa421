"""``postil config``: one clear sentence for every bad policy file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import run
from app.core.policy import parse_policy

BAD = {
    "a syntax error": (b"[review\n", "line 1"),
    "an unknown key, misspelt": (b"[review]\nmax_coments = 3\n", "max_comments"),
    "an unknown table": (b"[reviews]\nauto = true\n", "review"),
    "a text for a number": (b'[review]\nmax_comments = "ten"\n', "max_comments"),
    "a flag for a number": (b"[review]\nmax_comments = true\n", "max_comments"),
    "a negative number": (b"[review]\nmax_comments = -1\n", "max_comments"),
    "a huge number": (b"[review]\nmax_comments = 1000000000\n", "max_comments"),
    "infinity": (b"[budget]\nper_review_usd = inf\n", "per_review_usd"),
    "a list for a flag": (b"[review]\nauto = []\n", "auto"),
    "a text for a flag": (b'[review]\ndrafts = "no"\n', "drafts"),
    "an unknown severity": (b'[review]\nmin_severity = "huge"\n', "min_severity"),
    "an unknown gate": (b'[gate]\nfail_on = "always"\n', "fail_on"),
    "a duplicate key": (b"[review]\nauto = true\nauto = false\n", "line 3"),
    "too deep a nesting": (b"a = " + b"[" * 5000, "config ignored"),
    "65 KB": (b"# " + b"x" * 65_536 + b"\n", "config ignored"),
    "UTF-16": ("[review]\n".encode("utf-16"), "config ignored"),
    "a NUL": (b"[review]\n\0\n", "config ignored"),
    "a model": (b'[review]\nmodel = "mine"\n', "operator"),
    "an address": (b'base_url = "http://127.0.0.1"\n', "operator"),
    "a secret": (b'webhook_secret = "hunter2hunter2hunter2"\n', "operator"),
    "too many patterns": (b"[review]\nignore = [" + b'"a", ' * 201 + b"]\n", "ignore"),
    "a pattern that leaves the tree": (b'[review]\nignore = ["../x"]\n', "../x"),
    "words that look like a template": (b'[review]\neffort = "{{7*7}}"\n', "effort"),
}


def postil(*arguments: str) -> int:
    return run(["config", *arguments], serve=lambda _settings, _role: 0, act=lambda: 0)


@pytest.mark.parametrize(("data", "named"), BAD.values(), ids=BAD.keys())
def test_a_bad_policy_file_gets_one_sentence_that_names_the_trouble(
    data: bytes, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".postil.toml"
    path.write_bytes(data)

    code = postil("check", str(path))

    shown = capsys.readouterr()
    assert (code, shown.out) == (2, "")
    sentences = shown.err.splitlines()
    assert len(sentences) == 1
    assert sentences[0].startswith("postil: ")
    assert named in sentences[0]
    assert len(sentences[0]) < 300
    assert "hunter2" not in sentences[0]
    assert "49" not in sentences[0]


def test_the_shown_policy_reads_back_as_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".postil.toml"
    path.write_text('[review]\nmax_comments = 3\nignore = ["docs/**"]\n[gate]\nfail_on = "major"\n')

    assert postil("show", str(path)) == 0

    shown = capsys.readouterr().out
    assert parse_policy(shown.encode()) == parse_policy(path.read_bytes())
    assert "max_comments = 3" in shown


def test_the_schema_is_json_and_knows_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert postil("schema") == 0

    schema = json.loads(capsys.readouterr().out)
    assert {"review", "gate", "budget"} <= set(schema["properties"])
