"""Everything a run came to, and every sentence a person reads of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.core.anchors import Anchor
from app.core.chunks import Chunk
from app.core.diff import Diff, Side
from app.core.evidence import Dropped, Rung, Weighed
from app.core.findings import MODEL, Severity
from app.core.ledger import Conclusion, Ledger, Row, UnitState, Verdict, conclude, verdict
from app.core.markdown import clip, code_span, neutralise, suggestion_block
from app.core.money import Estimate, Usage, compose_notes
from app.core.pull import PullRequest

BODY_CAP = 60_000
"""Characters and bytes of one body. GitHub takes 65,536 characters of a comment and 65,535 of a
check run's summary: https://docs.github.com/en/rest/checks/runs"""
TITLE_CAP = 255
DISPLACED = "GitHub took none of the comments on their lines: they stand in one comment instead."
LISTED_UNITS = 100
"""How many unreviewed units the summary names one by one."""


@dataclass(frozen=True, slots=True)
class Comment:
    """One line comment, ready to post; the fingerprint is signed into it when it is posted."""

    anchor: Anchor
    body: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One check-run annotation; ``level`` is GitHub's word (notice, warning, failure)."""

    path: str
    start_line: int
    end_line: int
    level: str
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check run says when it is completed; ``text`` is for the next run alone."""

    conclusion: Conclusion
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """One review of one head, frozen before the first write.

    ``key`` names the run in markers (the same for every attempt at the same job). ``body`` is
    empty when there is nothing to say beyond the check run.
    """

    key: str
    head_sha: str
    body: str
    comments: tuple[Comment, ...]
    check: CheckReport

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that leaves with it."""
        comments = (comment.body for comment in self.comments)
        return (self.body, self.check.title, self.check.summary, *comments)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a run came to, before anybody is told.

    ``shown`` is the diff as the model saw it: secrets masked, hidden characters spelled out.
    ``findings`` are all that stand, worst first; ``outage`` is the sentence that says why a model
    that should have been asked was not, or did not answer at all. ``reused`` counts the units
    that were not asked about again, because an earlier run reviewed them as they are now.
    """

    run_id: str
    ledger: Ledger
    shown: Diff = Diff(())  # noqa: RUF009 - frozen
    pull: PullRequest | None = None
    base_sha: str | None = None
    head_sha: str | None = None
    provider: str | None = None
    model: str | None = None
    findings: tuple[Weighed, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    estimate: Estimate = Estimate(0, 0, 0, None)  # noqa: RUF009 - frozen
    usage: Usage = Usage()
    brief: str = ""
    outage: str = ""
    notes: tuple[str, ...] = ()
    reused: int = 0
    fail_on: Severity | None = None
    planned: bool = False
    interrupted: bool = False
    duration_s: float = 0.0

    @property
    def worst(self) -> Severity | None:
        """The highest severity of all findings."""
        severities = [finding.severity for finding in self.findings]
        return max(severities, key=lambda severity: severity.rank, default=None)

    @property
    def verdict(self) -> Verdict:
        """What the run came to in one word."""
        return Verdict.PLANNED if self.planned else verdict(self.ledger, len(self.findings))

    @property
    def conclusion(self) -> Conclusion:
        """A pure function of the ledger, the worst finding and the gate."""
        return conclude(self.ledger, self.worst, self.fail_on)


def compose(
    result: Result,
    *,
    key: str,
    fresh: Sequence[Weighed],
    max_comments: int,
    min_severity: Severity,
) -> Review:
    """Compose the one review of a run: what is said on lines, in the body, in the check run.

    ``fresh`` are the findings not said on this pull request before. Findings without an anchor,
    below ``min_severity`` or past ``max_comments`` are listed in the body instead.
    """
    on_lines = [
        finding
        for finding in fresh
        if finding.placed.anchor is not None and finding.severity.rank >= min_severity.rank
    ][:max_comments]
    listed = [finding for finding in fresh if finding not in on_lines]
    comments = tuple(
        Comment(anchor, clip(finding_text(finding), BODY_CAP), finding.fingerprint)
        for finding in on_lines
        if (anchor := finding.placed.anchor) is not None
    )
    body = review_body(result, on_lines, listed) if comments or listed else ""
    check = CheckReport(
        conclusion=result.conclusion,
        title=clip(headline(result), TITLE_CAP),
        summary=clip(summary(result), BODY_CAP),
    )
    return Review(
        key=key,
        head_sha=result.head_sha or "",
        body=clip(body, BODY_CAP),
        comments=comments,
        check=check,
    )


def to_markdown(result: Result) -> str:
    """Write a whole result as one Markdown document."""
    parts = [f"# Postil: {headline(result)}", summary(result)]
    parts += [f"## {code_span(place(one))}\n\n{finding_text(one)}" for one in result.findings]
    return "\n\n".join(parts) + "\n"


def headline(result: Result) -> str:
    """Say what the run came to in one line; anything unreviewed is counted in it."""
    ledger = result.ledger
    if result.planned:
        return plan_line(result.estimate)
    changed = ledger.changed_lines
    found = count_findings(result.findings)
    open_rows = ledger.unreviewed
    if not ledger.rows:
        return "Nothing to review: no changed lines"
    if open_rows:
        unreviewed = sum(row.unit.changed_lines for row in open_rows)
        if _nothing_reviewed(result):
            why = result.outage or open_rows[0].reason
            tail = f"; {found} from the analyzers" if result.findings else ""
            return f"Nothing was reviewed: {why}{tail}"
        parts = _count(len(open_rows), "part")
        what = f"{unreviewed} of {_count(changed, 'changed line')} ({parts}) not reviewed"
        return f"{found}, {what}" if result.findings else f"Incomplete: {what}"
    waived = ledger.totals()[UnitState.WAIVED].changed_lines
    covered = (
        f"{_count(changed - waived, 'changed line')} reviewed, {waived} waived"
        if waived
        else f"all {_count(changed, 'changed line')} reviewed"
    )
    return f"{found}, {covered}" if result.findings else f"No findings, {covered}"


def plan_line(need: Estimate) -> str:
    """Say what asking about everything would need at most."""
    return (
        f"Plan: {_count(need.requests, 'request')}, {need.prompt_tokens:,} prompt tokens, at most "
        f"{need.max_completion_tokens:,} completion tokens"
    )


def count_findings(findings: Sequence[Weighed]) -> str:
    """Count findings by severity: ``3 findings (1 critical, 2 minor)``."""
    if not findings:
        return "No findings"
    counts = Counter(finding.severity for finding in findings)
    parts = ", ".join(f"{counts[severity]} {severity}" for severity in Severity if counts[severity])
    return f"{_count(len(findings), 'finding')} ({parts})"


def finding_text(finding: Weighed) -> str:
    """Write a finding as Markdown: claim, reason, how it fails, mend, and its evidence."""
    claim = finding.placed.finding
    parts = [f"**{finding.severity.capitalize()} · {claim.category}** — {neutralise(claim.title)}"]
    if claim.why:
        parts.append(neutralise(claim.why))
    if claim.scenario:
        parts.append(f"**How it fails:** {neutralise(claim.scenario)}")
    if claim.suggestion is not None:
        parts.append(suggestion_block(claim.suggestion))
    parts.append(f"<sub>{evidence_line(finding)}</sub>")
    return "\n\n".join(parts)


def evidence_line(finding: Weighed) -> str:
    """Name the source of a finding and how far it is proven."""
    claim = finding.placed.finding
    source = "the model" if claim.source == MODEL else claim.source.removeprefix("analyzer:")
    rule = f" {claim.rule}" if claim.rule else ""
    proof = {
        Rung.E0: "the quoted line is there, nothing more is proven",
        Rung.E1: "everything it names exists",
        Rung.E2: "a deterministic check agrees",
        Rung.E3: "a test shows it",
    }[finding.rung]
    return f"Found by {neutralise(source + rule)} · evidence {finding.rung}: {proof}"


def review_body(result: Result, on_lines: Sequence[Weighed], listed: Sequence[Weighed]) -> str:
    """Write the review's own text: the count, what could not stand on a line, and the coverage."""
    parts = [f"**Postil** · {headline(result)}"]
    if result.outage:
        parts.append(f"**This is not a complete review.** {_sentence(result.outage)}")
    if result.brief:
        parts.append(neutralise(result.brief))
    if listed:
        places = "Also found" if on_lines else "Found"
        parts.append(f"{places}, without a line comment:")
        parts.append("\n".join(_listed(finding) for finding in listed))
    parts.append(f"<sub>{coverage(result.ledger)} · {receipt(result)}</sub>")
    return "\n\n".join(parts)


def summary(result: Result) -> str:
    """Write the check run's summary: the change, the findings, the ledger, the receipt."""
    parts = [what_changed(result)]
    if result.outage:
        parts.append(f"**This is not a complete review.** {_sentence(result.outage)}")
    if result.brief:
        parts.append(neutralise(result.brief))
    parts.append("### Findings\n\n" + _finding_table(result.findings))
    parts.append("### Coverage\n\n" + coverage(result.ledger) + "\n\n" + _totals(result.ledger))
    if result.ledger.unreviewed:
        parts.append("### Not reviewed\n\n" + _unreviewed(result.ledger.unreviewed))
    waived = [row for row in result.ledger.rows if row.state is UnitState.WAIVED]
    if waived:
        parts.append("### Waived\n\n" + _waived(waived))
    if result.dropped:
        parts.append("### Dropped\n\n" + _dropped(result.dropped))
    if result.notes:
        parts.append("### Notes\n\n" + "\n".join(f"- {neutralise(note)}" for note in result.notes))
    parts.append("### Receipt\n\n" + receipt(result))
    return "\n\n".join(parts)


def what_changed(result: Result) -> str:
    """Say in two sentences what the pull request changes, from the diff alone."""
    units = [row.unit for row in result.ledger.rows]
    paths = sorted({unit.path for unit in units})
    tops = Counter(path.rpartition("/")[0] or "the top folder" for path in paths)
    where = ", ".join(
        name if name == "the top folder" else code_span(name) for name, _ in tops.most_common(3)
    )
    more = f" and {_count(len(tops) - 3, 'more folder')}" if len(tops) > 3 else ""  # noqa: PLR2004 - three are named
    first = (
        f"{_count(len(paths), 'file')} with {_count(result.ledger.changed_lines, 'changed line')}"
        f", in {where}{more}."
    )
    return f"{first} {headline(result)}."


def coverage(ledger: Ledger) -> str:
    """Give the three numbers a reader looks for first."""
    totals = ledger.totals()
    return (
        f"{_count(ledger.changed_lines, 'changed line')}: "
        f"{totals[UnitState.REVIEWED].changed_lines} reviewed, "
        f"{totals[UnitState.WAIVED].changed_lines} waived, "
        f"{sum(row.unit.changed_lines for row in ledger.unreviewed)} not reviewed"
    )


def receipt(result: Result) -> str:
    """Say what was asked of which model and what it cost."""
    if result.provider is None:
        return "No model was asked; nothing was spent"
    usage = result.usage
    parts = [
        f"{result.provider}/{result.model}",
        _count(usage.requests, "request"),
        f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached)",
        f"{usage.completion_tokens:,} completion tokens",
    ]
    if usage.reasoning_tokens:
        parts.append(f"{usage.reasoning_tokens:,} of them reasoning")
    if result.reused:
        parts.append(f"{_count(result.reused, 'part')} reviewed earlier and unchanged")
    parts.append("price not known" if usage.cost_usd is None else money(usage.cost_usd))
    return " · ".join([*parts, *compose_notes(usage)])


def money(amount: Decimal) -> str:
    """Show an amount in US dollars without hiding a small one."""
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def withhold(review: Review) -> Review:
    """Replace a review that holds a secret by a notice that holds nothing of it."""
    report = CheckReport(
        conclusion=Conclusion.NEUTRAL,
        title="The review was withheld: its text held a secret",
        summary="What was about to be posted held something that must stay secret, so nothing of "
        "it was posted. The server's log has the time; the trace has the rest.",
    )
    return Review(review.key, review.head_sha, "", (), report)


def unposted_report(report: CheckReport, notes: Sequence[str]) -> CheckReport:
    """Say why not everything stands where it belongs: then a review is no success."""
    if not notes:
        return report
    passed = report.conclusion is Conclusion.SUCCESS
    said = "\n\n".join(_sentence(neutralise(note)) for note in notes)
    return replace(
        report,
        conclusion=Conclusion.NEUTRAL if passed else report.conclusion,
        summary=clip(f"{said}\n\n{report.summary}", BODY_CAP),
    )


def superseded_report(head_sha: str) -> CheckReport:
    """Close the check of a run whose head is no longer the newest."""
    return CheckReport(
        conclusion=Conclusion.NEUTRAL,
        title="Superseded by a newer commit",
        summary=f"{head_sha[:12]} is no longer the head; the newest commit is reviewed instead.",
    )


def failed_report(reason: str) -> CheckReport:
    """Close the check of a run that ended without a review."""
    return CheckReport(
        conclusion=Conclusion.NEUTRAL,
        title=clip(f"Nothing was reviewed: {reason}", TITLE_CAP),
        summary=f"{_sentence(reason)} Comment `/review` to try again.",
    )


def _nothing_reviewed(result: Result) -> bool:
    states = {row.state for row in result.ledger.rows if row.unit.changed_lines}
    return UnitState.REVIEWED not in states


def _listed(finding: Weighed) -> str:
    claim = finding.placed.finding
    unplaced = finding.placed.anchor is None and finding.placed.note
    why = f" ({finding.placed.note})" if unplaced else ""
    return (
        f"- **{finding.severity} · {claim.category}** {code_span(place(finding))} — "
        f"{neutralise(claim.title)}{why}"
    )


def place(finding: Weighed) -> str:
    """Name where a finding stands: ``path:line``, or the path alone when it has no line."""
    anchor = finding.placed.anchor
    if anchor is None:
        return finding.placed.finding.path
    before = " (before the change)" if anchor.side is Side.LEFT else ""
    return f"{anchor.path}:{anchor.line}{before}"


def _finding_table(findings: Sequence[Weighed]) -> str:
    if not findings:
        return "None."
    rows = [
        f"| {finding.severity} | {finding.placed.finding.category} | "
        f"{_cell(code_span(place(finding)))} | "
        f"{_cell(neutralise(finding.placed.finding.title))} | {finding.rung} |"
        for finding in findings
    ]
    header = "| Severity | Category | Where | What | Evidence |\n|---|---|---|---|---|"
    return "\n".join([header, *rows])


def _totals(ledger: Ledger) -> str:
    rows = [
        f"| {state} | {total.units} | {total.changed_lines} |"
        for state, total in ledger.totals().items()
        if total.units
    ]
    return "\n".join(["| State | Parts | Changed lines |", "|---|---:|---:|", *rows])


def _unreviewed(rows: Sequence[Row]) -> str:
    lines = [
        f"- {code_span(_unit_place(row))}: {row.state}, {neutralise(row.reason)}"
        for row in rows[:LISTED_UNITS]
    ]
    if len(rows) > LISTED_UNITS:
        lines.append(f"- and {_count(len(rows) - LISTED_UNITS, 'more part')}")
    return "\n".join([*lines, "", "Comment `/review full` to review them."])


def _dropped(dropped: Sequence[Dropped]) -> str:
    reasons = Counter(one.reason for one in dropped).most_common()
    lines = [
        f"- {_count(count, 'claim')} of the model: {neutralise(reason)}"
        for reason, count in reasons[:LISTED_UNITS]
    ]
    if len(reasons) > LISTED_UNITS:
        lines.append(f"- and {_count(len(reasons) - LISTED_UNITS, 'more reason')}")
    return "\n".join(lines)


def _waived(rows: Sequence[Row]) -> str:
    rules = Counter(row.reason for row in rows)
    return "\n".join(
        f"- {_count(count, 'part')} by {neutralise(rule)}" for rule, count in rules.most_common()
    )


def _unit_place(row: Row) -> str:
    hunk = row.unit.hunk
    if hunk is None:
        return row.unit.path
    return f"{row.unit.path}:{hunk.new_start if hunk.new_lines else hunk.old_start}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
