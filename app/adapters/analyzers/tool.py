"""What an analyzer is to the suite, and what it says.

A tool is a value: how it is called, which files it knows, and how its output becomes remarks. It
works on copies under names of our own; the paths, and whatever else a pull request chose, stay out
of its reach.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.findings import Category, Severity

FOLDER = "files"
"""Where the copies are, and where a tool runs."""


@dataclass(frozen=True, slots=True)
class Copy:
    r"""One file as a tool sees it: under ``name``; ``path`` is the repository's, ``text`` its own.

    ``lines`` are git's: they end at ``\n`` and nowhere else, and keep a ``\r`` before it.
    """

    name: str
    path: str
    text: str
    lines: tuple[str, ...]

    def line(self, number: int) -> str:
        """Return a line's text by its 1-based number; empty when there is no such line."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a tool says about lines ``first`` to ``last`` (1-based) of the copy called ``name``."""

    name: str
    first: int
    last: int
    rule: str
    severity: Severity
    category: Category
    title: str
    why: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """One analyzer.

    ``suffix`` takes a path and its text and returns what the copy's name ends with, None for a
    file that the tool does not know. ``arguments`` must switch every configuration off; the names
    follow behind ``--``. ``read`` raises ValueError when the output is not what it should be.
    ``quiet`` rewrites a copy's text, line by line, so that no comment in it silences the tool.
    ``codes`` are the exit codes of a complete run, and ``batch`` is how many files one process
    gets: fewer for a slow tool, so that one file's trouble costs little.
    """

    name: str
    suffix: Callable[[str, str], str | None]
    arguments: tuple[str, ...]
    read: Callable[[bytes, Mapping[str, Copy]], Iterable[Remark]]
    quiet: Callable[[str], str] | None = None
    codes: frozenset[int] = frozenset({0})
    batch: int = 1000
    program: tuple[str, ...] | None = None

    def command(self, names: Iterable[str]) -> tuple[str, ...] | None:
        """Return the argument list that analyzes ``names``, or None when the tool is missing."""
        program = self.program or find_program(self.name)
        return None if program is None else (*program, *self.arguments, "--", *names)


def find_program(name: str) -> tuple[str, ...] | None:
    """Find a program that was installed with us; whatever else stands on PATH is not meant."""
    folders = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return None if found is None else (str(found),)


def is_test(path: str) -> bool:
    """Tell whether a path is a test's, by the names that test runners look for."""
    *folders, name = path.lower().split("/")
    return (
        not {"test", "tests", "testing", "__tests__", "spec"}.isdisjoint(folders)
        or name.startswith(("test_", "conftest."))
        or name.rpartition(".")[0].endswith(("_test", ".test", ".spec", "_spec"))
    )


def interpreter(text: str) -> str:
    """Return the program named by a script's first line, without path and version; else empty."""
    if not text.startswith("#!"):
        return ""
    words = text[2:200].partition("\n")[0].split()
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0].rpartition("/")[2].rstrip("0123456789.") if words else ""
