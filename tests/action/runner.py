"""Runs action.yml as GitHub's runner would: inputs, variables, files, and commands in the log."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from app.action import run as run_action
from sandbox.github import GitHub

ROOT = Path(__file__).resolve().parents[2]
TRAPS = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.invalid",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "canary-oidc",
    "ACTIONS_RUNTIME_TOKEN": "canary-runtime",
    "ACTIONS_CACHE_URL": "https://cache.invalid",
    "ACTIONS_RESULTS_URL": "https://results.invalid",
    "DEPLOY_KEY": "canary-deploy",
}
"""What a step must not hand on to anything it starts."""
COMMAND = re.compile(r"::([a-z-]+)(?: ([^:]*))?::(.*)")


@dataclass(slots=True)
class Ran:
    """What a step did, as the runner saw it."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    notices: list[dict[str, str]] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, str]]:
        return [one for one in self.notices if one["kind"] == kind]


@dataclass(slots=True)
class Runner:
    """A runner with an empty workspace; ``token`` is the job's."""

    folder: Path
    github: GitHub
    token: str
    runs: int = 0

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(
        self,
        event: str,
        payload: Mapping[str, Any],
        *,
        inputs: Mapping[str, str] | None = None,
        environ: Mapping[str, str | None] | None = None,
        in_bash: bool = False,
    ) -> Ran:
        """Run the action once; with ``in_bash`` through bash, else the same command in here."""
        self.runs += 1
        action = read_action()
        folder = self.folder / f"run-{self.runs}"
        temp = folder / "temp"
        for one in (temp, self.workspace):
            one.mkdir(parents=True, exist_ok=True)
        _install(temp)
        (folder / "event.json").write_text(json.dumps(payload))
        variables: dict[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": self.github.url,
            "GITHUB_SERVER_URL": self.github.address.origin,
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(folder / "event.json"),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(temp),
            **TRAPS,
        }
        for name, value in (environ or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        given = {name: str(spec.get("default", "")) for name, spec in action["inputs"].items()}
        given |= inputs or {}
        assert given.keys() == action["inputs"].keys()
        known = {f"inputs.{name}": value for name, value in given.items()}
        known = {name: expand(value, {"github.token": self.token}) for name, value in known.items()}
        log, code = "", 0
        for step in action["runs"]["steps"]:
            assert "uses" not in step
            own = {name: expand(value, known) for name, value in step.get("env", {}).items()}
            said, code = self._step(expand(step["run"], {}), variables | own, in_bash=in_bash)
            log += said
            if code:
                break
        written = folder / "output"
        found = parse_outputs(written.read_text() if written.exists() else "")
        steps = {f"steps.review.outputs.{name}": value for name, value in found.items()}
        outputs = {
            name: expand(spec["value"], steps, missing="")
            for name, spec in action["outputs"].items()
        }
        summary = folder / "summary"
        text = summary.read_text() if summary.exists() else ""
        return obey(Ran(code, log, outputs, text))

    def _step(self, script: str, environ: dict[str, str], *, in_bash: bool) -> tuple[str, int]:
        if in_bash or "-m app action" not in script:
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
                env=environ,
                cwd=self.workspace,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            return done.stdout.decode(), done.returncode
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run_action(environ)
        assert not TRAPS.keys() & environ.keys()
        return out.getvalue(), code


def read_action() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "action.yml").read_text()))


def expand(text: str, known: Mapping[str, str], missing: str | None = None) -> str:
    """Replace ``${{ name }}``; a name that is not known is an error unless ``missing`` is given."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return known[name] if missing is None else known.get(name, missing)

    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", value, str(text))


def parse_outputs(text: str) -> dict[str, str]:
    """Read the file of outputs: ``name=value`` lines and heredocs."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if match := re.fullmatch(r"([^=<]+)<<(.+)", line):
            value = []
            for part in lines:
                if part == match[2]:
                    break
                value.append(part)
            found[match[1]] = "\n".join(value)
        elif line:
            name, _, value_text = line.partition("=")
            found[name] = value_text
    return found


def obey(ran: Ran) -> Ran:
    """Do what the commands in the log say, unless they are stopped."""
    resume: str | None = None
    for line in ran.log.splitlines():
        if resume is not None:
            resume = None if line.strip() == f"::{resume}::" else resume
            continue
        match = COMMAND.fullmatch(line.lstrip())
        if match is None:
            assert "##[" not in line
            continue
        kind, facts, message = match[1], match[2] or "", _unescaped(match[3])
        if kind == "stop-commands":
            resume = message
        elif kind == "add-mask":
            ran.masked.append(message)
        else:
            pairs = (part.partition("=") for part in facts.split(",") if part)
            properties = {name: _unescaped(value) for name, _, value in pairs}
            ran.notices.append({"kind": kind, "message": message, **properties})
    return ran


def _unescaped(text: str) -> str:
    return unquote(text)


def _install(temp: Path) -> None:
    """Put this environment's Python where the first step would install one."""
    binary = temp / "postil-venv" / "bin" / "python"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    binary.chmod(0o755)
    (temp / "postil-venv" / "ready").touch()
