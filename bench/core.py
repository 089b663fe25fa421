"""How fast the core is, stage by stage, beside unidiff's parse of the same text."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from unidiff.patch import PatchSet

from app.adapters.tokens import load_counter
from app.core.chunks import split_into_chunks
from app.core.diff import Diff, parse_diff, parse_patch_text
from app.core.ledger import Cut, open_ledger
from app.core.policy import Policy
from app.core.secrets import mask_diff
from app.core.slices import select_slices
from app.core.symbols import hunk_boundaries
from app.core.texts import added_text

SIZES = ((10, 1_000), (100, 10_000), (1_000, 100_000))
"""(files, changed lines)"""
CHUNK_TOKENS, SLICE_TOKENS = 6_000, 600
AIM_RATIO = 5
MEGABYTE = 1_000_000

T = TypeVar("T")


@dataclass(slots=True)
class Watch:
    """Measures stages in seconds."""

    seconds: dict[str, float]

    def measure(self, stage: str, work: Callable[[], T]) -> T:
        """Run a stage and keep how long it took."""
        began = time.perf_counter()
        result = work()
        self.seconds[stage] = time.perf_counter() - began
        return result


def make_patch(files: int, lines: int) -> str:
    """Write a patch that changes so many lines in so many Python files, the same in every run."""
    dice = random.Random(7)  # noqa: S311 - the same text every time, nothing secret
    names = ("total", "items", "price", "customer", "index", "reply", "chunk", "limit")
    out: list[str] = []
    for number in range(files):
        path = f"src/part{number % 40}/module_{number}.py"
        body: list[str] = []
        for line in range(lines // files):
            if line % 12 == 0:
                body.append(f"def f_{number}_{line}({dice.choice(names)}, {line}=None):")
            else:
                left, right = dice.choice(names), dice.choice(names)
                body.append(f"    {left}_{line} = {right}.{dice.choice(names)}({dice.random()!r})")
        out += (
            f"diff --git a/{path} b/{path}",
            "new file mode 100644",
            "--- /dev/null",
            f"+++ b/{path}",
            f"@@ -0,0 +1,{len(body)} @@",
            *(f"+{text}" for text in body),
        )
    return "\n".join(out) + "\n"


def measure(files: int, lines: int) -> tuple[float, dict[str, float]]:
    """Plan one patch stage by stage; return its size in megabytes and the seconds of each."""
    text = make_patch(files, lines)
    count = load_counter()
    watch = Watch({})
    reference = watch.measure("unidiff alone", lambda: PatchSet.from_string(text))
    raws = watch.measure("split", lambda: parse_patch_text(text.encode()))
    diff: Diff = watch.measure("parse", lambda: parse_diff(raws))
    shown, _ = watch.measure("mask", lambda: mask_diff(diff))
    cut = Cut(boundaries=hunk_boundaries)
    ledger = watch.measure("ledger", lambda: open_ledger(shown, Policy(), cut=cut))
    chunks = watch.measure(
        "chunks and tokens", lambda: split_into_chunks(ledger.planned, {}, CHUNK_TOKENS, count)
    )
    watch.measure("tokens alone", lambda: sum(count(chunk.text) for chunk in chunks.chunks))
    texts = {file.path: added_text(file) for file in shown.files}
    watch.measure("slices", lambda: select_slices(ledger.planned, texts, {}, SLICE_TOKENS, count))
    if sum(patch.added for patch in reference) != ledger.changed_lines:
        raise AssertionError("unidiff and the ledger count differently")
    if sum(unit.changed_lines for chunk in chunks.chunks for unit in chunk.units) != lines:
        raise AssertionError("a changed line is in no chunk")
    return len(text.encode()) / MEGABYTE, watch.seconds


def run() -> None:
    """Print the table."""
    plan = ("split", "parse", "mask", "ledger", "chunks and tokens")
    for files, lines in SIZES:
        size, seconds = measure(files, lines)
        sys.stdout.write(f"\n{lines:,} changed lines in {files:,} files, {size:.2f} MB\n")
        for stage, spent in seconds.items():
            sys.stdout.write(f"  {stage:18} {spent:8.3f} s  {size / spent:8.1f} MB/s\n")
        ratio = sum(seconds[stage] for stage in plan) / seconds["unidiff alone"]
        sys.stdout.write(
            f"  the whole plan without slices takes {ratio:.1f} times unidiff's own parse "
            f"(aim: {AIM_RATIO})\n"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"\nPeak memory: {peak:.0f} MiB (aim: under 500)\n")
