"""The analyzers: well-kept tools run on copies of the changed files, as the floor of a review.

What a pull request contains must not configure, extend, silence or escape them:

- Each tool sees only the files it knows, in a fresh folder, under names of our own. So no file of
  the pull request is ever a tool's configuration, and no path of it is ever a path of ours.
- Every tool's own configuration is switched off, and its environment is literal.
- Comments that would hide a finding are not obeyed. Each tool's module says how.
- None of the tools runs the code it reads, or follows it to other files.
- A file that breaks a tool costs only itself: the batch is halved until the others are done. What
  could not be read is named in the notes.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from app.adapters.analyzers.process import Fault, run_process
from app.adapters.analyzers.ruff import RUFF
from app.adapters.analyzers.secrets import SECRETS
from app.adapters.analyzers.shellcheck import SHELLCHECK
from app.adapters.analyzers.tool import FOLDER, Copy, Remark, Tool
from app.adapters.analyzers.typos import TYPOS
from app.adapters.analyzers.zizmor import ZIZMOR
from app.core.findings import Finding
from app.ports import AnalyzersReport, SourceFile

TOOLS = (SECRETS, RUFF, SHELLCHECK, ZIZMOR, TYPOS)

MAX_FILE_BYTES = 1024 * 1024
MAX_RETRIES = 60
"""Processes a tool may take beyond one for each batch."""
MAX_REMARKS = 20_000
MAX_LINES = 50
"""A finding's lines: a comment on more says nothing about any of them."""
MAX_TITLE = 200
MAX_LISTED = 5

_PLAIN = re.compile(r"[\w./+@ -]{1,100}", re.ASCII)

_BINARY_PREFIX = 8000
"""Git calls a file binary for a NUL in so many bytes (git-scm.com/docs/gitattributes, diff)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A remark, who made it, and about which file."""

    tool: str
    copy: Copy
    remark: Remark


@dataclass(slots=True)
class Said:
    """What one tool said in all, and what we have to say about it."""

    heard: list[Heard] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AnalyzerSuite:
    """Every analyzer, side by side; ``timeout`` is in seconds, for each of them."""

    timeout: float = 60.0
    tools: Sequence[Tool] = TOOLS

    def run(self, files: Sequence[SourceFile]) -> AnalyzersReport:
        """Run every tool that knows the files; findings may stand on any line of them."""
        texts, notes = _select(files)
        heard: list[Heard] = []
        with ThreadPoolExecutor(max(1, len(self.tools))) as pool:
            results = [pool.submit(_run_tool, tool, texts, self.timeout) for tool in self.tools]
        for said in (result.result() for result in results):
            heard += said.heard
            notes += said.notes
        return AnalyzersReport(_findings(heard), tuple(notes))


def _select(files: Sequence[SourceFile]) -> tuple[list[Copy], list[str]]:
    """Keep the files whose text a tool can read; the name is given when a tool takes one."""
    copies: list[Copy] = []
    large: list[str] = []
    odd: list[str] = []
    for file in files:
        if not file.mode.startswith("100") or b"\0" in file.data[:_BINARY_PREFIX]:
            continue
        if len(file.data) > MAX_FILE_BYTES:
            large.append(file.path)
            continue
        try:
            text = file.data.decode()
        except UnicodeDecodeError:
            odd.append(file.path)
            continue
        copies.append(Copy("", file.path, text, tuple(text.split("\n"))))
    notes = []
    if large:
        notes.append(f"Too large for the analyzers (over 1 MiB): {_listed(large)}.")
    if odd:
        notes.append(f"Not UTF-8, so that no analyzer read it: {_listed(odd)}.")
    return copies, notes


def _run_tool(tool: Tool, texts: Sequence[Copy], seconds: float) -> Said:
    copies: dict[str, Copy] = {}
    for number, text in enumerate(texts, start=1):
        suffix = tool.suffix(text.path, text.text)
        if suffix is not None:
            name = f"{number:06d}{suffix}"
            copies[name] = replace(text, name=name)
    if not copies:
        return Said()
    if tool.command(()) is None:
        return Said(notes=[f"{tool.name} did not run: it is not installed next to Postil."])
    try:
        with TemporaryDirectory(prefix="postil-", ignore_cleanup_errors=True) as scratch:
            return _run_batches(tool, copies, Path(scratch), seconds)
    except OSError as error:
        return Said(notes=[f"{tool.name} did not run: its files can't be kept ({error.strerror})."])


def _run_batches(tool: Tool, copies: Mapping[str, Copy], scratch: Path, seconds: float) -> Said:
    """Run every batch; halve one that fails, until the file that breaks the tool is alone."""
    folder = _write_copies(tool, copies, scratch)
    names = list(copies)
    batches = deque(names[at : at + tool.batch] for at in range(0, len(names), tool.batch))
    runs = len(batches) + MAX_RETRIES
    deadline = time.monotonic() + seconds
    said = Said()
    unread: dict[str, list[str]] = {}
    while batches:
        batch = batches.popleft()
        left = deadline - time.monotonic()
        if left <= 0 or runs == 0 or len(said.heard) > MAX_REMARKS:
            unread.setdefault("was stopped", []).extend(batch)
            continue
        runs -= 1
        result = _run_batch(tool, [copies[n] for n in batch], folder, scratch, left / 2)
        if not isinstance(result, Fault):
            said.heard += result
        elif len(batch) == 1:
            unread.setdefault(result.reason, []).extend(batch)
        else:
            half = len(batch) // 2
            batches += batch[:half], batch[half:]
    for reason, missed in unread.items():
        paths = _listed([copies[name].path for name in missed])
        said.notes.append(f"{tool.name} {reason}, so that it says nothing about {paths}.")
    return said


def _write_copies(tool: Tool, copies: Mapping[str, Copy], scratch: Path) -> Path:
    folder = scratch / FOLDER
    for copy in copies.values():
        target = folder / copy.name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = tool.quiet(copy.text) if tool.quiet else copy.text
        target.write_bytes(text.encode())
    return folder


def _run_batch(
    tool: Tool, batch: Sequence[Copy], folder: Path, scratch: Path, seconds: float
) -> list[Heard] | Fault:
    copies = {copy.name: copy for copy in batch}
    command = tool.command(copies)
    if command is None:
        return Fault("is not installed next to Postil")
    result = run_process(command, folder=folder, scratch=scratch, seconds=seconds)
    if isinstance(result, Fault):
        return result
    if result.code not in tool.codes:
        return Fault(f"ended with exit code {result.code}")
    try:
        remarks = list(tool.read(result.stdout, copies))
    except ValueError:
        return Fault("printed something else than findings")
    return [Heard(tool.name, copies[remark.name], remark) for remark in remarks]


def _findings(heard: Sequence[Heard]) -> tuple[Finding, ...]:
    """Turn remarks into findings; what stands on a secret's line is said without its words."""
    secret = {(h.copy.path, h.remark.first) for h in heard if h.tool == SECRETS.name}
    return tuple(dict.fromkeys(_finding(h, secret) for h in heard))


def _finding(heard: Heard, secret: Collection[tuple[str, int]]) -> Finding:
    remark, copy = heard.remark, heard.copy
    first = min(max(remark.first, 1), len(copy.lines))
    last = min(max(remark.last, first), len(copy.lines))
    hidden = any((copy.path, line) in secret for line in range(first, last + 1))
    if last - first >= MAX_LINES:
        last = first
    title = remark.title
    if hidden and heard.tool != SECRETS.name:
        title = f"{heard.tool} finds {remark.rule} on a line with a secret"
    return Finding(
        path=copy.path,
        first=f"R{first}",
        last=f"R{last}",
        quote="" if hidden else copy.lines[first - 1],
        severity=remark.severity,
        category=remark.category,
        title=_one_line(title),
        why=" ".join(filter(None, (remark.why, f"({heard.tool}: {remark.rule})"))),
        suggestion=None if hidden else remark.suggestion,
        source=f"analyzer:{heard.tool}",
        rule=remark.rule,
    )


def _one_line(text: str) -> str:
    """Return a tool's message as a title: one line, no control characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.rstrip(".")
    return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1] + "…"


def _listed(paths: Sequence[str]) -> str:
    """Name a few paths for a sentence, in quotes when they hold anything odd."""
    shown = [path if _PLAIN.fullmatch(path) else repr(path)[:100] for path in paths[:MAX_LISTED]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
