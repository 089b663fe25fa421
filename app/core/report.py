"""A run's result as JSON values: the form that programs rely on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.core.diff import Side
from app.core.evidence import Dropped, Weighed
from app.core.ledger import Ledger, Row
from app.core.review import Result, headline

SCHEMA = "postil.review/1"

Json = dict[str, Any]


def to_json(result: Result) -> Json:
    """Return the ``postil.review/1`` object; a plan also lists its chunks."""
    report: Json = {
        "schema": SCHEMA,
        "run_id": result.run_id,
        "verdict": result.verdict.value,
        "conclusion": result.conclusion.value,
        "summary": headline(result),
        "duration_s": round(result.duration_s, 3),
        "pull": None
        if result.pull is None
        else {
            "repository": result.pull.ref.repository,
            "number": result.pull.ref.number,
            "title": result.pull.title,
        },
        "base_sha": result.base_sha,
        "head_sha": result.head_sha,
        "model": None
        if result.provider is None
        else {"provider": result.provider, "model": result.model},
        "findings": [_finding(finding) for finding in result.findings],
        "dropped": [_dropped(dropped) for dropped in result.dropped],
        "ledger": _ledger(result.ledger),
        "estimate": {
            "requests": result.estimate.requests,
            "prompt_tokens": result.estimate.prompt_tokens,
            "max_completion_tokens": result.estimate.max_completion_tokens,
            "max_cost_usd": _usd(result.estimate.max_cost_usd),
        },
        "usage": {
            "requests": result.usage.requests,
            "prompt_tokens": result.usage.prompt_tokens,
            "completion_tokens": result.usage.completion_tokens,
            "cached_tokens": result.usage.cached_tokens,
            "reasoning_tokens": result.usage.reasoning_tokens,
            "cost_usd": _usd(result.usage.cost_usd),
        },
    }
    if result.notes:
        report["notes"] = list(result.notes)
    if result.planned:
        report["chunks"] = [
            {
                "id": chunk.id,
                "units": [unit.id for unit in chunk.units],
                "prompt_tokens": chunk.prompt_tokens,
            }
            for chunk in result.chunks
        ]
    return report


def tag_line(tag: str) -> int:
    """Read the number out of a line tag as the model gave it; 0 when there is none."""
    digits = tag[1:] if tag[:1] in {"R", "L"} else tag
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0  # noqa: PLR2004 - no file has 10^9 lines


def _finding(finding: Weighed) -> Json:
    claim, anchor = finding.placed.finding, finding.placed.anchor
    side = Side.LEFT if claim.first.startswith("L") else Side.RIGHT
    return {
        "id": finding.fingerprint,
        "path": anchor.path if anchor else claim.path,
        "side": (anchor.side if anchor else side).value,
        "start_line": anchor.start_line if anchor else tag_line(claim.first),
        "line": anchor.line if anchor else tag_line(claim.last),
        "anchored": anchor is not None,
        "severity": finding.severity.value,
        "category": claim.category.value,
        "title": claim.title,
        "body": claim.why,
        "scenario": claim.scenario,
        "suggestion": claim.suggestion,
        "evidence": {"rung": finding.rung.value, "notes": list(finding.notes)},
        "source": claim.source,
    }


def _dropped(dropped: Dropped) -> Json:
    claim, anchor = dropped.placed.finding, dropped.placed.anchor
    return {
        "path": claim.path,
        "line": anchor.line if anchor else tag_line(claim.last),
        "title": claim.title,
        "reason": dropped.reason,
    }


def _ledger(ledger: Ledger) -> Json:
    return {
        "changed_lines": ledger.changed_lines,
        "units": [_unit(row) for row in ledger.rows],
        "totals": {
            state.value: {"units": total.units, "changed_lines": total.changed_lines}
            for state, total in ledger.totals().items()
        },
    }


def _unit(row: Row) -> Json:
    unit, hunk = row.unit, row.unit.hunk
    return {
        "id": unit.id,
        "path": unit.path,
        "old_start": hunk.old_start if hunk else 0,
        "old_lines": hunk.old_lines if hunk else 0,
        "new_start": hunk.new_start if hunk else 0,
        "new_lines": hunk.new_lines if hunk else 0,
        "changed_lines": unit.changed_lines,
        "state": row.state.value,
        "reason": row.reason,
    }


def _usd(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
