from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.adapters.analyzers.shellcheck import SHELLCHECK
from app.core.findings import Finding, Severity

Analyze = Callable[..., list[Finding]]

REMOVES = 'rm -rf "$HOME_OF_BUILD/"\n'


def test_defects_are_found_on_their_lines(analyze: Analyze) -> None:
    text = '#!/bin/bash\nset -u\ncd "$1"\nif [ $x == y; then\n  true\nfi\n'
    found = analyze(SHELLCHECK, {"ci/build.sh": text, "ci/clean.sh": f"#!/bin/sh\n{REMOVES}"})

    assert {("ci/build.sh", "R4"), ("ci/clean.sh", "R2")} <= {(f.path, f.first) for f in found}
    removes = next(f for f in found if f.path == "ci/clean.sh")
    assert (removes.rule, removes.severity) == ("SC2115", Severity.MAJOR)
    assert removes.quote == REMOVES.strip()
    assert removes.source == "analyzer:shellcheck"


@pytest.mark.parametrize(
    "directive",
    [
        "# shellcheck disable=all",
        "# shellcheck disable=SC2115",
        "#shellcheck disable=SC2115",
        "#\tshellcheck\tdisable=SC2115",
        "#\u00a0shellcheck disable=SC2115",
        "# shellcheck shell=bash disable=SC2115",
        "# shellcheck disable=SC2115 shell=bash",
        "# shellcheck disable=SC2000-SC2999",
    ],
)
def test_no_directive_hides_a_defect(analyze: Analyze, directive: str) -> None:
    for text in (
        f"#!/bin/bash\n{directive}\n{REMOVES}",
        f"#!/bin/bash\n\n: {directive}\n{REMOVES}",
    ):
        found = analyze(SHELLCHECK, {"a.sh": text})
        assert "SC2115" in {finding.rule for finding in found}


def test_the_dialect_may_still_be_named(analyze: Analyze) -> None:
    text = "# shellcheck shell=bash\n[[ $1 == b* ]]\nx=(1 2)\n"

    assert analyze(SHELLCHECK, {"lib.sh": text}) == []


def test_no_other_file_is_read(analyze: Analyze, tmp_path: Path) -> None:
    secret = tmp_path / "other.sh"
    secret.write_text("echo $undefined_elsewhere | while read x; do y=$x; done; cd $y\n")
    text = f"#!/bin/bash\n# shellcheck source={secret}\n. ./x.sh\nsource {secret}\n"

    assert analyze(SHELLCHECK, {"a.sh": text}) == []


def test_carriage_returns_are_one_trouble_not_one_a_line(analyze: Analyze) -> None:
    text = f"#!/bin/bash\r\n{REMOVES.strip()}\r\n"

    assert [(f.rule, f.first, f.quote) for f in analyze(SHELLCHECK, {"a.sh": text})] == [
        ("SC2115", "R2", f"{REMOVES.strip()}\r")
    ]


def test_another_shell_is_left_alone(analyze: Analyze) -> None:
    assert analyze(SHELLCHECK, {"a.sh": f"#!/usr/bin/env zsh\n{REMOVES}"}) == []


def test_a_script_without_an_ending_is_known_by_its_first_line(analyze: Analyze) -> None:
    found = analyze(SHELLCHECK, {"bin/clean": f"#!/usr/bin/env bash\n{REMOVES}"})

    assert [finding.path for finding in found] == ["bin/clean"]
