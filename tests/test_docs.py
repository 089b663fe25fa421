"""What the documentation tells people to type works: every command, variable, file and table."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from app import cli
from app.adapters.metrics import Metrics
from app.adapters.models.registry import load_providers
from app.core.commands import Command, parse_command
from app.core.policy import parse_policy
from app.settings import PROVIDER_KEYS, Settings
from tests.action.runner import read_action

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash", "console"}
OTHERS = {"openssl", "sqlite3", "pg_dump", "docker", "source", "git", "pip", "cd"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``info`` is what stands behind the fence."""

    page: Path
    info: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for match in re.finditer(
            r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            yield Block(page, match[1].strip(), match[2])


def words_of(page: Path) -> Iterator[str]:
    """Yield a page's code spans, fenced blocks left out."""
    prose = FENCED.sub("", page.read_text())
    yield from re.findall(r"`([^`\n]+)`", prose)


def commands() -> list[tuple[Path, str]]:
    """List the lines of the shell blocks, and the code spans that are Postil's own."""
    found = [
        (block.page, line.partition(" #")[0].strip())
        for block in blocks()
        if block.info in SHELL and not is_picture(block.text)
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    for page in PAGES:
        found += [(page, word) for word in words_of(page) if is_ours(word)]
    return [(page, line) for page, line in found if line]


def is_picture(text: str) -> bool:
    """Tell a drawing, a listing or printed output from commands."""
    lines = [line for line in text.splitlines() if line.strip()]
    starts = (".venv/bin/", "make ", "export ", "postil ", *(f"{name} " for name in OTHERS))
    return not any(line.strip().startswith(starts) for line in lines)


def is_ours(word: str) -> bool:
    first = re.match(r"(?:\.venv/bin/)?postil ([a-z]+)", word)
    return first is not None or re.match(r"make [a-z]", word) is not None


def parse_ours(arguments: list[str]) -> None:
    """Parse a command with the real parser; raises UserError when it is wrong."""
    cli._parser().parse_args(arguments, argparse.Namespace(serve=None, act=None))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: str(value)[-60:])
def test_every_command_is_one_that_exists(page: Path, line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "export":
        for assignment in arguments:
            assert assignment.partition("=")[0] in variables(), f"{page.name}: {line}"
    elif program == "make":
        names = [name for name in arguments if "=" not in name]
        assert set(names) <= targets(), f"{page.name}: {line}"
    elif program.removeprefix(".venv/bin/") == "postil":
        if arguments not in (["--version"], ["--help"]):
            parse_ours([one for one in arguments if one != "..."])
    else:
        assert program in OTHERS, f"{page.name}: {line}"


def variables() -> set[str]:
    """Name every variable that the settings read."""
    text = (ROOT / "app" / "settings.py").read_text()
    return set(re.findall(r"\"(POSTIL_[A-Z_]+)\"", text)) | {name for _, name in PROVIDER_KEYS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_is_one_that_is_read(page: Path) -> None:
    named = set(re.findall(r"\b(?:POSTIL_[A-Z][A-Z_]+[A-Z]|[A-Z]+_API_KEY)\b", page.read_text()))
    assert named <= variables()


def test_the_policy_shown_is_a_policy_without_a_note() -> None:
    policies = [block for block in blocks() if block.info == "toml"]
    assert {block.page.name for block in policies} >= {"README.md", "app.md"}
    for block in policies:
        assert parse_policy(block.text.encode()).notes == (), block.page.name


def test_the_overrides_shown_change_the_table_of_services() -> None:
    (block,) = [block for block in blocks() if block.info == "toml providers"]
    changed = load_providers(block.text)
    assert changed["segmind"].figures["qwen3-coder-plus"].prices


def test_every_yaml_shown_parses_and_names_inputs_that_exist() -> None:
    found = [block for block in blocks() if block.info == "yaml"]
    assert found
    for block in found:
        for step in yaml.safe_load(block.text)["steps"]:
            assert step["with"].keys() <= read_action()["inputs"].keys()
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])


def test_the_action_s_page_names_every_input_and_output() -> None:
    action = read_action()
    text = (ROOT / "docs" / "action.md").read_text()
    inputs, outputs = text.split("## Inputs")[1].split("## Outputs")
    rows = re.findall(r"^\| (`[^|]+) \|", inputs, re.MULTILINE)
    assert [row.strip("`") for row in rows] == list(action["inputs"])
    named = re.findall(r"^\| (`[^|]+) \|", outputs.split("##")[0], re.MULTILINE)
    assert re.findall(r"`([\w-]+)`", " ".join(named)) == list(action["outputs"])


def test_every_comment_command_shown_is_understood() -> None:
    shown = {
        word
        for page in PAGES
        for word in words_of(page)
        if re.fullmatch(r"/(review|postil)( .*)?", word)
    }
    assert "/review full" in shown
    for word in shown:
        assert all(isinstance(one, Command) for one in parse_command(word)), word
        assert parse_command(word)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    prose = FENCED.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        if not target.startswith(("https://", "docs/demo.png")):
            assert (page.parent / target).exists(), target


def test_every_metric_named_is_rendered() -> None:
    rendered = Metrics().render().decode()
    named = set(re.findall(r"postil_[a-z_]+", (ROOT / "docs" / "operating.md").read_text()))
    assert named
    assert [name for name in named if name not in rendered] == []


def test_the_exported_settings_of_each_page_start_something() -> None:
    for page in PAGES:
        lines = [line for of_page, line in commands() if of_page == page]
        pairs = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
        environ = dict(pair.split("=", 1) for pair in pairs)
        for name in ("POSTIL_GITHUB_PRIVATE_KEY_FILE", "POSTIL_PROVIDERS_FILE"):
            if name in environ:
                environ[name] = str(ROOT / "README.md")
        Settings.read(environ)
