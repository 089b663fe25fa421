"""Runs one analyzer over texts, as the suite would."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from app.adapters.analyzers.suite import AnalyzerSuite
from app.adapters.analyzers.tool import Tool
from app.core.findings import Finding
from app.ports import SourceFile

Analyze = Callable[[Tool, Mapping[str, str]], list[Finding]]


@pytest.fixture
def analyze() -> Analyze:
    """Return the findings of one tool; a note is a failure."""

    def run(tool: Tool, texts: Mapping[str, str]) -> list[Finding]:
        files = [SourceFile(path, text.encode()) for path, text in texts.items()]
        report = AnalyzerSuite(tools=(tool,)).run(files)
        assert report.notes == ()
        return list(report.findings)

    return run
