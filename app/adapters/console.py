"""Reviews as text for a terminal: the answer first, then each finding under its code line."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from app.core.diff import Line, Side
from app.core.evidence import Weighed
from app.core.findings import MODEL, Severity
from app.core.hidden import escape_hidden
from app.core.ledger import Verdict
from app.core.review import Result, coverage, headline, money, place, receipt

WIDTH = 80
LISTED_UNITS = 20
COLOURS = {
    Severity.CRITICAL: "bold red",
    Severity.MAJOR: "red",
    Severity.MINOR: "yellow",
    Severity.INFO: "cyan",
}
MARK_COLOURS = {"+": "green", "-": "red", " ": "dim"}

Lines = Mapping[tuple[str, Side, int], Line]


def to_text(result: Result, *, colour: bool, width: int = WIDTH) -> str:
    """Render a result for a terminal ``width`` columns wide."""
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
    )
    lines = _lines(result)
    console.print(_headline(result))
    if result.outage:
        console.print(Text(f"This is not a complete review: {result.outage}.", "bold"))
    if result.brief:
        console.print(_body(result.brief))
    for finding in result.findings:
        console.print()
        _print_finding(console, lines, finding)
    _print_unreviewed(console, result)
    for note in result.notes:
        console.print(Text(f"note: {escape_hidden(note)}", "dim"))
    console.print()
    console.print(Text(coverage(result.ledger), "dim"))
    console.print(Text(_money_line(result), "dim"))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().split("\n")[:-1])


def _headline(result: Result) -> Text:
    style = {
        Verdict.CLEAN: "bold green",
        Verdict.FINDINGS: "bold",
        Verdict.INCOMPLETE: "bold yellow",
        Verdict.FAILED: "bold red",
        Verdict.PLANNED: "bold",
    }[result.verdict]
    return Text(headline(result), style)


def _print_finding(console: Console, lines: Lines, finding: Weighed) -> None:
    claim = finding.placed.finding
    colour = COLOURS[finding.severity]
    head = Text.assemble(
        (escape_hidden(place(finding)), "bold"),
        "  ",
        (f"{finding.severity} · {claim.category}", colour),
        (f"  {finding.rung} {_source(finding)}", "dim"),
    )
    console.print(head)
    for line in _shown_lines(lines, finding):
        code = Text(f"{line.number:>6} {line.mark} ", "dim")
        code.append(escape_hidden(line.text.expandtabs(4)), MARK_COLOURS[line.mark])
        console.print(code, no_wrap=True, overflow="ellipsis")
    console.print(_body(claim.title, "bold"))
    for text in (claim.why, claim.scenario and f"How it fails: {claim.scenario}"):
        if text:
            console.print(_body(text))
    if claim.suggestion is not None:
        for text in claim.suggestion.split("\n"):
            console.print(_body(f"+ {text}", "green"))


def _body(text: str, style: str = "") -> Padding:
    return Padding(Text(escape_hidden(text), style), (0, 0, 0, 9))


def _source(finding: Weighed) -> str:
    claim = finding.placed.finding
    if claim.source == MODEL:
        return "model"
    return " ".join(filter(None, (claim.source.removeprefix("analyzer:"), claim.rule)))


def _lines(result: Result) -> Lines:
    return {
        (file.path, line.side, line.number): line
        for file in result.shown.files
        for hunk in file.hunks
        for line in hunk.lines
    }


def _shown_lines(lines: Lines, finding: Weighed) -> list[Line]:
    anchor = finding.placed.anchor
    if anchor is None:
        return []
    numbers = range(anchor.start_line, min(anchor.line, anchor.start_line + 5) + 1)
    keys = [(anchor.path, anchor.side, number) for number in numbers]
    return [lines[key] for key in keys if key in lines]


def _print_unreviewed(console: Console, result: Result) -> None:
    rows = result.ledger.unreviewed
    if not rows or result.verdict is Verdict.PLANNED:
        return
    console.print()
    console.print(Text("Not reviewed", "bold yellow"))
    for row in rows[:LISTED_UNITS]:
        hunk = row.unit.hunk
        at = f":{hunk.new_start}" if hunk else ""
        console.print(f"  {escape_hidden(row.unit.path)}{at}: {row.state}, {row.reason}")
    if len(rows) > LISTED_UNITS:
        console.print(f"  and {len(rows) - LISTED_UNITS:,} more")


def _money_line(result: Result) -> str:
    if result.verdict is not Verdict.PLANNED:
        return receipt(result)
    if result.provider is None:
        return "No model is configured; nothing would be spent"
    cost = result.estimate.max_cost_usd
    price = "price not known" if cost is None else f"at most {money(cost)}"
    return f"{result.provider}/{result.model} · {price}"
