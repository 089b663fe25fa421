"""Suggestions: which replacement may be offered for a commit by one click, and why not.

A suggestion is the most powerful thing a comment can hold. It is offered only after it was applied
in memory to the file at the head commit, the file still parses, and it keeps to the file's
indentation and line endings; never for files that run or choose other people's code.
"""

from __future__ import annotations

import re
from typing import Final

from app.core.anchors import Anchor
from app.core.diff import Side
from app.core.findings import Finding
from app.core.markdown import could_be_command, hidden_characters
from app.core.oracles import is_manifest
from app.core.secrets import find_secrets
from app.core.symbols import parses

MAX_LINES: Final = 20
MAX_CHARACTERS: Final = 4_000

_GUARDED: Final = re.compile(
    r"(?:^|/)(?:\.github|\.circleci|\.buildkite|\.husky|\.gitea|\.forgejo|\.devcontainer)/"
    r"|(?:^|/)[^/]*(?:dockerfile|containerfile|jenkinsfile|docker-compose)[^/]*$"
    r"|(?:^|/)\.(?:gitlab-ci|travis|drone|pre-commit-config|gitmodules|gitattributes|npmrc|yarnrc)"
    r"|(?:^|/)(?:azure-pipelines|bitbucket-pipelines|cloudbuild|appveyor|buildspec)[^/]*\.ya?ml$"
    r"|(?:^|/)(?:setup\.(?:py|cfg)|pipfile|gemfile|podfile|cartfile|rakefile|build\.gradle[^/]*"
    r"|pom\.xml|package\.swift|mix\.exs|composer\.json|deno\.jsonc?|[^/]*\.(?:csproj|gemspec"
    r"|podspec|cabal|nuspec)|go\.(?:sum|work)|makefile|cmakelists\.txt|\.postil\.toml)$"
    r"|[-.]lock(?:\.|$)|\.lockfile$|shrinkwrap|\.resolved$|(?:^|/)environment\.ya?ml$",
    re.IGNORECASE,
)
"""Workflows, build files, manifests and lock files."""
_PLACEHOLDER: Final = re.compile(r"<[A-Z][A-Z_]*_\d+>|<U\+[0-9A-F]{4,6}>|<\d+ more characters>")
_LEFT_OUT: Final = re.compile(
    r"^\s*(?:#|//|/\*|--|<!--|;|%)\s*(?:\.\.\.|…|(?:the )?(?:rest|existing|remaining|same as))",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE: Final = re.compile(r"^\s*(?:`{3}|~{3})", re.MULTILINE)
_ADDRESS: Final = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,20}://|\bwww\.)[^\s\"'`<>)\]]{1,500}", re.IGNORECASE
)


def check_suggestion(
    finding: Finding, anchor: Anchor | None, head_text: str | None, path: str
) -> str | None:
    """Return why a suggestion can't be offered, or None when it can.

    ``head_text`` is the file at the head commit; None when it is not at hand.
    """
    text = finding.suggestion
    if text is None:
        return "there is none"
    if anchor is None or head_text is None:
        return "the lines it replaces are not at hand"
    reason = _check_place(finding, anchor, path) or _check_words(text, head_text)
    return reason or _check_applied(text, anchor, head_text, path)


def _check_place(finding: Finding, anchor: Anchor, path: str) -> str | None:
    if anchor.side is Side.LEFT:
        return "it would replace lines that are gone"
    if is_manifest(path) or _GUARDED.search(path):
        return "it would change a workflow, build file, manifest or lock file"
    first, last = finding.first.strip().upper(), finding.last.strip().upper()
    if (first, last or first) != (f"R{anchor.start_line}", f"R{anchor.line}"):
        return "the lines it names are not the ones it quotes"
    return None


def _check_words(text: str, head_text: str) -> str | None:
    """Look for what must never be in a suggestion, wherever it stands."""
    known = set(_ADDRESS.findall(head_text))
    checks = (
        (not text.strip(), "it is empty"),
        (len(_lines(text)) > MAX_LINES, f"it is longer than {MAX_LINES} lines"),
        (len(text) > MAX_CHARACTERS, f"it is longer than {MAX_CHARACTERS} characters"),
        (bool(hidden_characters(text.replace("\r\n", "\n"))), "it holds hidden characters"),
        (_PLACEHOLDER.search(text) is not None, "it holds a placeholder"),
        (_LEFT_OUT.search(text) is not None, "it leaves code out"),
        (_FENCE.search(text) is not None, "it holds a code fence"),
        (bool(find_secrets(text)), "it holds a secret"),
        (any(one not in known for one in _ADDRESS.findall(text)), "it brings in an address"),
        (could_be_command(text), "a line of it could be a command"),
    )
    return next((reason for bad, reason in checks if bad), None)


def _check_applied(text: str, anchor: Anchor, head_text: str, path: str) -> str | None:
    """Apply it in memory and look at the file that comes out."""
    lines = head_text.split("\n")
    before, after = lines[anchor.start_line - 1 : anchor.line], _lines(text)
    if len(before) <= anchor.line - anchor.start_line:
        return "the file ends before the lines it replaces"
    applied = "\n".join([*lines[: anchor.start_line - 1], *after, *lines[anchor.line :]])
    wrong = " " if _tabs(before, lines) else "\t"
    carriage = any(line.endswith(("\r", "<U+000D>")) for line in (*lines, *after))
    checks = (
        (carriage, "the file's lines end in a carriage return, which it would not keep"),
        (before == after, "it changes nothing"),
        (_indent(before) != _indent(after), "it is indented unlike the line it replaces"),
        (any(_space(line).startswith(wrong) for line in after), "it mixes tabs and spaces"),
        (parses(path, applied) is False, "the file would not parse with it"),
    )
    return next((reason for bad, reason in checks if bad), None)


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")


def _space(line: str) -> str:
    return line[: len(line) - len(line.lstrip())] if line.strip() else ""


def _indent(lines: list[str]) -> str:
    """Return the indentation of the first line that holds something."""
    return next((_space(line) for line in lines if line.strip()), "")


def _tabs(before: list[str], lines: list[str]) -> bool:
    """Whether the place is indented with tabs: as its own lines are, else as the file is."""
    spaces = [space for line in before if (space := _space(line))]
    spaces = spaces or [space for line in lines if (space := _space(line))]
    return sum("\t" in space for space in spaces) * 2 > len(spaces)
