"""One step of a GitHub workflow: inputs in, a review on the pull request, outputs and a code out.

What the pull request can't be told, for want of a permission, stands in the step's summary, its
annotations and the SARIF file all the same. The step fails by the gate (1), by wrong inputs (2),
and when GitHub or the code can't be read, so that there is no review at all (3). An incomplete
review does not fail it: the output ``verdict``, a warning and the neutral check run say so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app import __version__
from app.adapters.console import to_text
from app.adapters.progress import Progress
from app.adapters.workflow import (
    MAX_SUMMARY,
    Nothing,
    Notice,
    PullAsked,
    Step,
    annotation_commands,
    append_to,
    fence,
    format_outputs,
    mask_command,
    printable,
    read_asked,
    refuse_other_server,
    refuse_untrusted_checkout,
    scrub,
)
from app.bootstrap.action import Inputs, review_asked
from app.core.diff import Side
from app.core.events import CommandRequest
from app.core.evidence import Weighed
from app.core.findings import Severity
from app.core.ledger import Conclusion, UnitState
from app.core.markdown import clip, code_span, escape_hidden
from app.core.policy import Effort
from app.core.review import Result, headline, place, to_markdown
from app.core.sarif import to_sarif
from app.core.secrets import Redactor
from app.errors import PostilError, UserError
from app.pipeline import Gate
from app.settings import Settings, read_usd

INPUTS: Mapping[str, str] = {
    "INPUT_PROVIDER": "POSTIL_PROVIDER",
    "INPUT_MODEL": "POSTIL_MODEL",
    "INPUT_BASE_URL": "POSTIL_BASE_URL",
    "INPUT_API_KEY": "POSTIL_API_KEY",
    "INPUT_GITHUB_TOKEN": "POSTIL_GITHUB_TOKEN",
}
"""Inputs that are settings by another name; an empty one leaves the variable as it is."""
NEVER = "never"
KINDS: Mapping[Severity, str] = {
    Severity.CRITICAL: "error",
    Severity.MAJOR: "error",
    Severity.MINOR: "warning",
    Severity.INFO: "notice",
}
TITLE = "Postil"
MESSAGE_CAP = 4_000
EXIT_GATE, EXIT_USAGE, EXIT_NO_REVIEW = 1, 2, 3
WITHHELD = "the review was withheld: its text held something that must stay secret"


@dataclass(frozen=True, slots=True)
class Told:
    """What the step says of one run, before it is written anywhere.

    ``verdict`` is a review's, or ``skipped`` when nothing was to be reviewed, or ``failed``.
    """

    verdict: str
    log: str
    summary: str
    notices: tuple[Notice, ...] = ()
    numbers: Mapping[str, str] | None = None
    code: int = 0

    @property
    def outputs(self) -> Mapping[str, str]:
        """Every output of the action; an empty cost is one that is not known."""
        none = dict.fromkeys(("findings", "critical", "reviewed-lines", "changed-lines"), "0")
        told = none | {"cost-usd": "", "sarif-file": ""} | dict(self.numbers or {})
        return {"verdict": self.verdict, **told}


def run(environ: MutableMapping[str, str]) -> int:
    """Run the step and return its exit code; ``environ`` is scrubbed on the way.

    Raises UserError when this is no step of a workflow.
    """
    step = Step.read(environ)
    warnings = [f"{name} has blanks around its value; cut off" for name in _untrimmed(environ)]
    given = _read_inputs_or_tell(environ, step)
    scrub(environ)
    if step.on_runner and not isinstance(given, Told):
        _say(line for secret in given[0].secrets for line in mask_command(secret))
    stop, resume = fence()
    _say([stop])
    told = given if isinstance(given, Told) else _tell(step, *given)
    outputs = format_outputs(told.outputs)
    warnings += filter(None, [append_to(step.output, "GITHUB_OUTPUT", outputs)])
    warnings += filter(None, [append_to(step.summary, "GITHUB_STEP_SUMMARY", told.summary)])
    _say(printable([*told.log.split("\n"), *(f"warning: {text}" for text in warnings)]))
    _say([resume])
    _say(annotation_commands(told.notices))
    return told.code


def read_inputs(environ: Mapping[str, str], step: Step) -> tuple[Settings, Inputs]:
    """Read the action's inputs over the environment. Raises UserError naming the input."""
    refuse_other_server(step)
    given = {INPUTS[name]: environ[name] for name in INPUTS if environ.get(name, "").strip()}
    known = {"POSTIL_GITHUB_API_URL": step.api_url} if step.api_url else {}
    settings = Settings.read({**known, **environ, **given})
    cap = read_usd("max-cost-usd", environ.get("INPUT_MAX_COST_USD", "").strip() or None)
    effort = _word(environ, "effort", Effort)
    fail_on = _word(environ, "fail-on", (NEVER, *reversed(Severity)))
    inputs = Inputs(
        effort=Effort(effort) if effort else None,
        gate=Gate(None if fail_on == NEVER else Severity(fail_on)) if fail_on else None,
        full=_word(environ, "review", ("auto", "full")) == "full",
    )
    return replace(settings, max_cost_usd=settings.max_cost_usd if cap is None else cap), inputs


def _read_inputs_or_tell(environ: Mapping[str, str], step: Step) -> tuple[Settings, Inputs] | Told:
    try:
        return read_inputs(environ, step)
    except UserError as error:
        return _tell_failure(error.message, EXIT_USAGE)


def _tell(step: Step, settings: Settings, inputs: Inputs) -> Told:
    redact = Redactor(settings.secrets).redact
    try:
        asked = read_asked(step)
        if isinstance(asked, Nothing):
            return _tell_nothing(asked.reason)
        return _tell_review(step, asked, settings, inputs)
    except UserError as error:
        return _tell_failure(redact(error.message), EXIT_USAGE)
    except PostilError as error:
        return _tell_failure(redact(error.message), EXIT_NO_REVIEW)


def _tell_failure(message: str, code: int) -> Told:
    text = f"nothing was reviewed: {message}"
    notice = Notice("error", TITLE, _clipped(text))
    return Told("failed", f"postil: {text}", _page(text), (notice,), code=code)


def _tell_nothing(reason: str) -> Told:
    text = f"nothing to review: {reason}"
    return Told("skipped", f"postil: {text}", _page(text))


def _tell_review(
    step: Step, asked: PullAsked | CommandRequest, settings: Settings, inputs: Inputs
) -> Told:
    if isinstance(asked, PullAsked) and asked.head_sha:
        refuse_untrusted_checkout(step, asked.head_sha)
    with Progress(quiet=False) as progress:
        outcome = review_asked(asked, inputs, settings, progress.show)
    result = outcome.result
    if result is None:
        told = _tell_nothing(outcome.reason)
        return replace(told, log="\n".join((told.log, *_told_notes(outcome.notes))))
    whole = to_markdown(result)
    sarif = json.dumps(
        to_sarif(result.findings, tool_version=__version__, head_sha=result.head_sha)
    )
    leaks = Redactor(settings.secrets).leaks
    code = EXIT_GATE if result.conclusion is Conclusion.FAILURE else 0
    if leaks(whole) or leaks(sarif):
        notice = Notice("warning", TITLE, WITHHELD)
        return Told(
            result.verdict.value,
            f"postil: {WITHHELD}",
            _page(WITHHELD),
            (notice,),
            _count(result, ""),
            code,
        )
    notes = "".join(f"- {_plain(note)}\n" for note in outcome.notes)
    heading = f"\n## What could not be posted\n\n{notes}" if notes else ""
    return Told(
        verdict=result.verdict.value,
        log="\n".join((to_text(result, colour=False), *_told_notes(outcome.notes))),
        summary=f"{clip(whole, MAX_SUMMARY - len(heading.encode()))}{heading}",
        notices=tuple(_notices(result, outcome.notes)),
        numbers=_count(result, _write_sarif(step, result.run_id, sarif)),
        code=code,
    )


def _count(result: Result, sarif_file: str) -> Mapping[str, str]:
    cost = result.usage.cost_usd
    critical = sum(finding.severity is Severity.CRITICAL for finding in result.findings)
    return {
        "findings": str(len(result.findings)),
        "critical": str(critical),
        "reviewed-lines": str(result.ledger.totals()[UnitState.REVIEWED].changed_lines),
        "changed-lines": str(result.ledger.changed_lines),
        "cost-usd": "" if cost is None else f"{cost:f}",
        "sarif-file": sarif_file,
    }


def _write_sarif(step: Step, run_id: str, text: str) -> str:
    """Write the report where the job's later steps find it; no path when that can't be done."""
    path = (step.temp or Path.cwd()) / f"postil-{run_id}.sarif"
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError:
        return ""
    return str(path)


def _notices(result: Result, notes: Sequence[str]) -> Iterator[Notice]:
    """Yield annotations: what is not whole first; the findings when not all could be posted."""
    if result.ledger.unreviewed:
        yield Notice("warning", TITLE, _clipped(headline(result)))
    if not notes:
        return
    for note in notes:
        yield Notice("notice", TITLE, _clipped(note))
    for finding in result.findings:
        yield _notice(finding)


def _notice(finding: Weighed) -> Notice:
    """Write a finding as an annotation; those stand on lines of the head alone."""
    claim, anchor = finding.placed.finding, finding.placed.anchor
    words = [claim.why, claim.scenario and f"How it fails: {claim.scenario}"]
    on_head = anchor is not None and anchor.side is Side.RIGHT
    if not on_head:
        words.insert(0, place(finding))
    return Notice(
        KINDS[finding.severity],
        escape_hidden(f"{finding.severity.capitalize()} {claim.category}: {claim.title}")[:255],
        _clipped("\n\n".join(filter(None, words)) or claim.title),
        anchor.path if anchor else None,
        anchor.start_line if anchor and on_head else None,
        anchor.line if anchor and on_head else None,
    )


def _told_notes(notes: Sequence[str]) -> Iterator[str]:
    yield from (f"postil: not posted: {note}" for note in notes)


def _word(environ: Mapping[str, str], name: str, allowed: Iterable[str]) -> str | None:
    """Read an input that is one of a few words. Raises UserError that lists them."""
    value = environ.get(f"INPUT_{name.upper().replace('-', '_')}", "").strip()
    words = [str(word) for word in allowed]
    if value and value not in words:
        raise UserError(f"the input {name} must be one of: {', '.join(words)}")
    return value or None


def _untrimmed(environ: Mapping[str, str]) -> list[str]:
    return [name for name in INPUTS if environ.get(name, "") != environ.get(name, "").strip()]


def _page(text: str) -> str:
    return f"# Postil\n\n{_plain(text)}\n"


def _plain(text: str) -> str:
    return code_span(" ".join(text.split()))


def _clipped(text: str) -> str:
    return escape_hidden(text)[:MESSAGE_CAP]


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
