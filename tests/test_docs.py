"""What the documentation tells people to type works: every command, variable, file and table."""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import cli
from app.adapters.github.manifest import APP_EVENTS, APP_PERMISSIONS
from app.adapters.metrics import Metrics
from app.adapters.models.registry import load_providers
from app.core.commands import Command, parse_command
from app.core.findings import Severity
from app.core.policy import Effort, Policy, parse_policy, policy_schema
from app.settings import PROVIDER_KEYS, Settings
from tests.action.runner import read_action
from tests.repos import make_repo

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "sh run", "bash", "console"}
OTHERS = {"openssl", "sqlite3", "pg_dump", "docker", "source", "git", "pip", "cd"}
FOREIGN = {"REQUESTS_CA_BUNDLE"}
"""Variables that are not Postil's: the API's client reads them."""


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
        (block.page, part.strip())
        for block in blocks()
        if block.info in SHELL and not is_picture(block.text)
        for line in block.text.replace("\\\n", " ").splitlines()
        for part in line.partition(" #")[0].split(" | ")
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
            known = variables() | FOREIGN
            assert assignment.partition("=")[0] in known, f"{page.name}: {line}"
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
    assert {block.page.name for block in policies} >= {"README.md", "policy.md"}
    for block in policies:
        assert parse_policy(block.text.encode()).notes == (), block.page.name


def test_the_overrides_shown_change_the_table_of_services() -> None:
    shown = [block.text for block in blocks() if block.info == "toml providers"]
    changed = load_providers("\n".join(shown))
    assert changed["segmind"].figures["qwen3-coder-plus"].prices
    assert changed["openai-compatible"].functions


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


# The pages that show a table of something: nothing is missing, nothing is made up.


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, its head left out."""
    text = (ROOT / "docs" / page).read_text().split(f"## {heading}\n")[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in table[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def policy_keys() -> Iterator[tuple[str, str, str]]:
    """Yield each key of the policy with its default and what it is for, from the schema."""
    schema = policy_schema()
    for table, reference in schema["properties"].items():
        yield from table_keys(schema, table, reference["$ref"])


def table_keys(
    schema: dict[str, Any], table: str, reference: str
) -> Iterator[tuple[str, str, str]]:
    shape = schema["$defs"][reference.rpartition("/")[2]]
    for name, field in shape["properties"].items():
        below = field.get("items", {}).get("$ref")
        if below:
            yield from table_keys(schema, f"{table}.{name}", below)
            continue
        required = name in shape.get("required", ())
        default = "required" if required else default_of(field["default"])
        yield f"`{table}.{name}`", default, field["description"]


def default_of(value: object) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


def test_the_policy_s_page_names_every_key_with_its_default() -> None:
    rows = rows_of("policy.md", "Every key")
    assert [(key, default, told) for key, _, default, told in rows] == list(policy_keys())
    choices = {row[0]: re.findall(r"`([a-z]+)`", row[1]) for row in rows}
    assert choices["`review.effort`"] == [one.value for one in Effort]
    assert set(choices["`review.min_severity`"]) == {one.value for one in Severity}
    assert choices["`gate.fail_on`"] == ["never", *choices["`review.min_severity`"]]


def test_the_policy_s_page_shows_the_defaults_and_every_key_in_one_file() -> None:
    (block,) = [one for one in blocks() if one.info == "toml" and one.page.name == "policy.md"]
    shown = tomllib.loads(block.text)
    named = {f"`{table}.{key}`" for table, keys in shown.items() for key in keys}
    named |= {f"`review.path.{key}`" for key in shown["review"]["path"][0]}
    assert named - {"`review.path`"} == {key for key, _, _ in policy_keys()}
    read = parse_policy(block.text.encode())
    defaults = Policy()
    for name in ("auto", "drafts", "effort", "max_comments", "min_severity", "fail_on"):
        assert getattr(read, name) == getattr(defaults, name), name


def test_the_command_line_s_page_names_every_option() -> None:
    parser = cli._parser()
    (commands_of,) = [one for one in parser._actions if isinstance(one.choices, dict)]
    assert isinstance(commands_of.choices, dict)
    options = [
        f"`{action.option_strings[0]}{f' {value_of(action)}' if action.nargs != 0 else ''}`"
        for action in commands_of.choices["review"]._actions
        if action.option_strings and action.dest != "help"
    ]
    assert [row[0] for row in rows_of("command-line.md", "Options of review and plan")] == options
    text = (ROOT / "docs" / "command-line.md").read_text()
    for name in commands_of.choices:
        assert f"postil {name}" in text, name


def value_of(action: argparse.Action) -> str:
    """Name an option's value as its row does: a list of choices stands beside it."""
    words = {"format": "FORMAT", "effort": "EFFORT", "fail_on": "SEVERITY"}
    return words.get(action.dest) or str(action.metavar)


def test_the_exit_codes_shown_are_the_command_line_s() -> None:
    shown = [int(row[0]) for row in rows_of("command-line.md", "What comes out")]
    assert shown == [
        cli.EXIT_COMPLETE,
        cli.EXIT_GATE,
        cli.EXIT_USAGE,
        cli.EXIT_INCOMPLETE,
        cli.EXIT_INTERRUPTED,
    ]


def test_the_app_s_page_asks_for_what_the_manifest_asks_for() -> None:
    cells = dict(rows_of("app.md", "By hand"))
    names = {"contents": "Contents", "pull_requests": "Pull requests", "checks": "Checks"}
    names |= {"issues": "Issues", "metadata": "Metadata"}
    asked = [f"*{names[name]}*: {level}" for name, level in APP_PERMISSIONS.items()]
    assert cells["Repository permissions"] == ", ".join(asked)
    shown = [name.lower().replace(" ", "_") for name in re.findall(r"\*([^*]+)\*", cells["Events"])]
    assert shown == list(APP_EVENTS)


def test_the_readme_has_a_line_for_each_page() -> None:
    text = (ROOT / "README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"](docs/{page.name})" in text, page.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [one for one in blocks() if one.info == "sh run"], ids=lambda one: one.text[:40]
)
def test_what_is_marked_to_run_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a block line by line, with the analyzers alone, in a checkout with a change."""
    repo = make_repo(tmp_path / "checkout")
    repo.commit({"a.py": b"a = 1\n"})
    repo.commit({"a.py": b"a = 1\nb = 2\n"})
    repo.write({"a.py": b"a = 1\nb = 2\nc = 3\n"})
    monkeypatch.chdir(repo.path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for line in block.text.splitlines():
        before, found, ours = line.partition(" #")[0].partition(".venv/bin/postil ")
        if not found:
            assert line == "git diff HEAD~1 > change.diff"
            repo.path.joinpath("change.diff").write_bytes(repo.git("diff", "HEAD~1"))
            continue
        assert before in {"", "git diff HEAD~1 | "}
        piped = io.TextIOWrapper(io.BytesIO(repo.git("diff", "HEAD~1")))
        monkeypatch.setattr("sys.stdin", piped)
        arguments = [*shlex.split(ours), "-q", "--no-model"]
        code = cli.run(arguments, serve=lambda _settings, _role: 1, act=lambda: 1)
        assert code == cli.EXIT_COMPLETE, line


def test_the_hook_shown_is_a_shell_script_that_calls_a_command_that_exists() -> None:
    (block,) = [one for one in blocks() if one.info == "sh hook"]
    tool = Path(sysconfig.get_path("scripts")) / "shellcheck"
    subprocess.run([tool, "-"], input=block.text.encode(), check=True)
    (line,) = [one for one in block.text.splitlines() if one.startswith("exec ")]
    parse_ours(shlex.split(line)[2:])
