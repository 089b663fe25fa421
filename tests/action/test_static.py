"""What action.yml and the workflows we show may never hold."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.action import INPUTS
from tests.action.runner import ROOT, read_action

WORKFLOWS = sorted((ROOT / "docs" / "workflows").glob("*.yml"))
FILES = [ROOT / "action.yml", *WORKFLOWS]
FORBIDDEN = ("actions/cache", "id-token", "contents: write", "secrets: inherit", "GITHUB_ENV")


def steps_of(path: Path) -> Iterator[dict[str, Any]]:
    found = yaml.safe_load(path.read_text())
    if "runs" in found:
        yield from found["runs"]["steps"]
    for job in found.get("jobs", {}).values():
        yield from job["steps"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_interpolated_cached_or_left_unpinned(path: Path) -> None:
    text = path.read_text()
    assert [word for word in FORBIDDEN if word in text] == []
    for step in steps_of(path):
        assert "${{" not in step.get("run", "")
        assert "cache" not in step.get("with", {})
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
            assert not step["uses"].startswith("actions/checkout")


def test_the_action_uses_no_other_action() -> None:
    assert all("uses" not in step for step in steps_of(ROOT / "action.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_asks_for_three_permissions_and_known_inputs(path: Path) -> None:
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {}
    for job in found["jobs"].values():
        assert job["permissions"] == {
            "contents": "read",
            "pull-requests": "write",
            "checks": "write",
        }
        assert "timeout-minutes" in job
    for step in steps_of(path):
        assert step["with"].keys() <= read_action()["inputs"].keys()


def test_every_input_reaches_the_step_under_its_own_name() -> None:
    action = read_action()
    (review,) = [step for step in action["runs"]["steps"] if step.get("id") == "review"]
    names = {f"INPUT_{name.upper().replace('-', '_')}": name for name in action["inputs"]}
    assert review["env"] == {name: f"${{{{ inputs.{inp} }}}}" for name, inp in names.items()}
    assert names.keys() >= INPUTS.keys()
    assert all(spec["description"] for spec in action["inputs"].values())


def test_zizmor_has_nothing_to_say() -> None:
    program = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [program, "--offline", "--no-config", "--quiet", *FILES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_requirement_carries_a_hash() -> None:
    pins = (ROOT / "requirements.lock").read_text().replace("\\\n", "").split("\n")
    pins = [line for line in pins if line.strip() and not line.lstrip().startswith("#")]
    assert pins
    assert [pin[:40] for pin in pins if "--hash=sha256:" not in pin] == []
