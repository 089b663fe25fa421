"""Makes docs/faults.md: ``python -m tests.faults.table``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.elsewhere import ELSEWHERE, Row

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "faults.md"
HEAD = """\
# Faults

What goes wrong, what comes of it, and the test that shows it. After each of these, whatever it was:

- every delivery that was acknowledged has a job, and the job an end;
- what was found is said once on its line, or named in the summary or the check run;
- no check run stays open, and none is a success while a changed line was not reviewed;
- nothing is written on a closed pull request, or about a commit that is not its head;
- no answer is paid for twice, save one that was lost on its way into the database;
- nobody is called before the time they asked for, nor without end;
- no other host was called, and no secret stands in a comment, a check run, the log or the database;
- a server that is started again with no fault left writes nothing more, however often: two are, one
  after the other, after every story.

The places where it is killed are read from the source: a new one must be tried too. This page is
made from the tests (`python -m tests.faults.table`); one of them fails when it says something else.

"""


ALONE = """
What is about one part alone, or about the whole life of a server, is shown where that is tested:

"""


def rows() -> Iterator[Row]:
    """Read the rows from the marks of the tests here."""
    for path in sorted(FOLDER.glob("test_*.py")):
        module = importlib.import_module(f"tests.faults.{path.stem}")
        for name, test in vars(module).items():
            for mark in getattr(test, "pytestmark", ()) if name.startswith("test_") else ():
                if mark.name == "fault":
                    words, outcome = mark.args
                    yield Row(words, outcome, f"{path.relative_to(ROOT)}::{name}")


def render() -> str:
    """Write the page."""
    alone = ALONE + table(ELSEWHERE) if ELSEWHERE else ""
    return HEAD + table(rows()) + alone


def table(some: Iterable[Row]) -> str:
    lines = ["| What goes wrong | What comes of it | Shown by |", "|---|---|---|"]
    for row in some:
        path, _, name = row.test.partition("::")
        lines.append(f"| {row.words} | {row.outcome} | `{name}` ({path.removeprefix('tests/')}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
