from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from app.adapters.analyzers.process import Output, run_process
from app.adapters.analyzers.secrets import SECRETS
from app.adapters.analyzers.suite import AnalyzerSuite
from app.core.findings import Category, Finding, Severity
from app.ports import SourceFile

Analyze = Callable[..., list[Finding]]

AWS = "AKIA" + "Q3EGR7XWZLMN5T2V"
GITHUB = "ghp_" + "x7Kq2LmN9vB4cD8fG1hJ3kP5rT6wY0zA1bC2"
RANDOM = base64.b64encode(hashlib.sha512(b"a").digest()).decode()[:44]
PASSWORD = "hunter" + "2"


def test_secrets_are_found_and_never_repeated(analyze: Analyze) -> None:
    lines = {
        f'KEY = "{AWS}"': Severity.CRITICAL,
        f"curl -H 'Authorization: token {GITHUB}'": Severity.CRITICAL,
        "-----" + "BEGIN RSA PRIVATE KEY-----": Severity.CRITICAL,
        f'url = "postgres://app:{RANDOM[:12]}@db.internal/x"': Severity.MAJOR,
        f'client_secret = "{RANDOM}"': Severity.MAJOR,
        f'password = "{PASSWORD}"': Severity.MINOR,
    }
    found = analyze(SECRETS, {"src/settings.py": "import os\n" + "\n".join(lines)})

    assert [(f.first, f.severity) for f in found] == [
        (f"R{number}", severity) for number, severity in enumerate(lines.values(), start=2)
    ]
    assert {(f.category, f.source) for f in found} == {
        (Category.SECURITY, "analyzer:detect-secrets")
    }
    said = repr(found)
    assert not any(secret in said for secret in (AWS, GITHUB, RANDOM[:12], PASSWORD))


def test_no_comment_hides_a_secret(analyze: Analyze) -> None:
    text = (
        f'KEY = "{AWS}"  # pragma: allowlist secret\n'
        f'KEY = "{AWS}"  // pragma: whitelist secret\n'
        f'# pragma: allowlist nextline secret\nKEY = "{AWS}"\n'
    )

    assert [f.first for f in analyze(SECRETS, {"a.py": text})] == ["R1", "R2", "R4"]


def test_what_only_looks_like_one_is_left_alone(analyze: Analyze) -> None:
    lines = [
        'password = os.environ["PASSWORD"]',
        'password = "change-me-2"',
        'api_key = "YOUR_API_KEY_1"',
        "password: ${DB_PASSWORD1}",
        'password = "{{ vault_password1 }}"',
        'token = "<token-1>"',
        f'sha256 = "{hashlib.sha256(b"a").hexdigest()}"',
        'url = "https://user:password1@example.org/"',
        'key_id = "11111111-2222-4333-8444-555555555555"',
        'secret_name = "projects/app/secrets/db"',
    ]
    text = "\n".join(lines)

    assert analyze(SECRETS, {"a.py": text, "a.yml": text}) == []


def test_values_without_quotes_are_seen_where_files_have_none(analyze: Analyze) -> None:
    paths = [".env", "deploy/prod.env", "Dockerfile", "app.properties"]
    found = analyze(SECRETS, dict.fromkeys(paths, f"ENV DB_PASSWORD={RANDOM[:16]}\n"))

    assert {(f.path, f.first) for f in found} == {(path, "R1") for path in paths}


def test_documentations_own_example_is_said_quietly(analyze: Analyze) -> None:
    (found,) = analyze(SECRETS, {"a.py": 'KEY = "AKIA' + 'IOSFODNN7EXAMPLE"\n'})

    assert found.severity is Severity.MINOR


def test_a_made_up_key_of_a_test_is_less_than_critical(analyze: Analyze) -> None:
    text = "-----" + "BEGIN RSA PRIVATE KEY-----\n"
    found = analyze(SECRETS, {"tests/data/server.pem": text, "deploy/server.pem": text})

    assert {f.path: f.severity for f in found} == {
        "tests/data/server.pem": Severity.MINOR,
        "deploy/server.pem": Severity.CRITICAL,
    }


def test_a_secret_in_a_very_long_line_is_found(analyze: Analyze) -> None:
    befores = (0, 1795, 1990, 2000, 5000)
    lines = [f'y = "{" " * before}{GITHUB}{" " * 3000}"' for before in befores]

    found = analyze(SECRETS, {"a.js": "\n".join(lines)})

    assert [f.first for f in found] == ["R1", "R2", "R3", "R4", "R5"]


def test_an_expression_that_takes_the_square_of_a_line_does_not_take_for_ever() -> None:
    files = [SourceFile("a.txt", b"eyJ" * 60_000), SourceFile("b.py", f"k = '{AWS}'\n".encode())]
    report = AnalyzerSuite(tools=(SECRETS,)).run(files)

    assert [(f.path, f.first) for f in report.findings] == [("b.py", "R1")]
    assert report.notes == ()


def test_the_child_imports_nothing_from_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("print('run')")
    assert SECRETS.program is not None
    python = SECRETS.program[:-1]

    said = run_process(
        (*python, "-c", "import json"), folder=tmp_path, scratch=tmp_path, seconds=20
    )

    assert said == Output(0, b"")


def test_the_child_can_ask_no_service(tmp_path: Path) -> None:
    assert SECRETS.program is not None
    *python, child = SECRETS.program
    look = f"import runpy, sys; runpy.run_path({child!r}); print('urllib3' in sys.modules)"

    said = run_process((*python, "-c", look), folder=tmp_path, scratch=tmp_path, seconds=20)

    assert said == Output(0, b"False\n")


def test_no_other_tool_repeats_what_stands_on_a_secrets_line() -> None:
    keys = f'd = {{"{AWS}": 1, "{AWS}": 2}}\n'
    text = f'{keys}def f(x=[], k="{AWS}"):\n    return x is "{GITHUB}"\n# untill {GITHUB} now\n'
    step = f"      - run: echo {GITHUB} ${{{{ github.head_ref }}}}\n"
    workflow = f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{step}"
    files = [
        SourceFile("a.py", text.encode()),
        SourceFile("a.sh", f"#!/bin/sh\nrm -rf $1/{GITHUB}\n".encode()),
        SourceFile(".github/workflows/a.yml", workflow.encode()),
    ]
    report = AnalyzerSuite().run(files)

    assert {f.source for f in report.findings} >= {
        "analyzer:ruff",
        "analyzer:typos",
        "analyzer:detect-secrets",
        "analyzer:shellcheck",
    }
    assert AWS not in repr(report)
    assert GITHUB not in repr(report)
