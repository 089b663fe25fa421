from __future__ import annotations

from collections.abc import Callable

import pytest

from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.analyzers.zizmor import ZIZMOR
from app.core.findings import Category, Finding, Severity
from app.ports import SourceFile

Analyze = Callable[..., list[Finding]]

WORKFLOW = """\
name: greet
on: pull_request_target
permissions: {}
jobs:
  greet:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with:
          persist-credentials: false
      - uses: someone/tool@v1
      - run: echo "${{ github.event.pull_request.title }}"
"""


def test_defects_are_found_on_their_lines(analyze: Analyze) -> None:
    found = analyze(ZIZMOR, {".github/workflows/greet.yml": WORKFLOW})

    assert {(f.rule, f.first, f.severity) for f in found} == {
        ("dangerous-triggers", "R2", Severity.MAJOR),
        ("unpinned-uses", "R11", Severity.MINOR),
        ("template-injection", "R12", Severity.CRITICAL),
    }
    assert {f.category for f in found} == {Category.SECURITY}
    injection = next(f for f in found if f.rule == "template-injection")
    assert injection.quote == WORKFLOW.split("\n")[11]
    assert injection.why.endswith("(zizmor: template-injection)")


def test_what_only_the_team_can_write_is_less_than_critical(analyze: Analyze) -> None:
    text = WORKFLOW.replace("event.pull_request.title", "event.inputs.greeting")
    found = analyze(ZIZMOR, {".github/workflows/greet.yml": text})

    assert {f.severity for f in found if f.rule == "template-injection"} == {Severity.MINOR}


@pytest.mark.parametrize(
    "comment", ["# zizmor: ignore[template-injection]", "# zizmor: ignore[all]"]
)
def test_no_comment_hides_a_defect(analyze: Analyze, comment: str) -> None:
    text = WORKFLOW.replace('title }}"', f'title }}}}"  {comment}')
    assert comment in text

    found = analyze(ZIZMOR, {".github/workflows/greet.yml": text})

    assert ("template-injection", "R12") in {(f.rule, f.first) for f in found}


def test_only_workflows_and_actions_are_read(analyze: Analyze) -> None:
    action = (
        "name: x\ndescription: x\ninputs:\n  who:\n    description: x\nruns:\n  using: composite\n"
        "  steps:\n    - run: echo ${{ inputs.who }}\n      shell: bash\n"
    )
    texts = {
        "ci/say/action.yml": action,
        "docs/greet.yml": WORKFLOW,
        "x.github/workflows/a.yml": WORKFLOW,
    }

    assert {(f.path, f.first) for f in analyze(ZIZMOR, texts)} == {("ci/say/action.yml", "R9")}


def test_a_workflow_that_is_not_one_is_named_and_costs_no_other() -> None:
    files = [
        SourceFile(".github/workflows/broken.yml", b"on: [push\n"),
        SourceFile(".github/workflows/greet.yml", WORKFLOW.encode()),
        SourceFile(".github/workflows/list.yml", b"- a\n- b\n"),
    ]
    report = AnalyzerSuite(tools=(ZIZMOR,)).run(files)

    assert {f.path for f in report.findings} == {".github/workflows/greet.yml"}
    assert len(report.notes) == 1
    assert ".github/workflows/broken.yml, .github/workflows/list.yml" in report.notes[0]
