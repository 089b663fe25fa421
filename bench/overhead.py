"""What a review takes beyond the model's own time, and which calls to GitHub it makes."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence

from bench.burst import letter, send
from bench.town import Town, open_town, say, wait_for_reviews
from sandbox.github import Call, Fault, Pull

CHUNKS, CONCURRENCY, ANSWER_S = 30, 10, 1.0
LINES = 240
"""Of one file; no two of such files fit in one chunk."""
AIM_RATIO = 1.3
LATENCY_S = 0.15
LONG_ROUNDS = 5
ROUNDS, PAUSE_S = 5, 3.0
"""Postil waits a second between two writes: the next review is not to wait for this one."""
AIM_CALLS, AIM_LATENCY_S = 8, 1.0


def run() -> None:
    """Measure a long review beside its model, and a short one beside a slow GitHub."""
    long_review()
    short_review()


def long_review() -> None:
    """Review many chunks with answers that take a second."""
    with open_town(ANSWER_S) as town, town.serving(POSTIL_CONCURRENCY=str(CONCURRENCY)) as running:
        shop = town.create_repository("acme")
        _deliver(town, town.open_pull(shop, "warm", {"warm.py": b"x = 1\n"}), running[0].address)
        time.sleep(PAUSE_S)
        times = []
        for number in range(LONG_ROUNDS):
            files = {f"part_{n}/m_{n}.py": _file(n + CHUNKS * number) for n in range(CHUNKS)}
            before = len(town.model.seen)
            pull = town.open_pull(shop, f"work-{number}", files)
            times.append(_deliver(town, pull, running[0].address))
            tasks = [_task(seen.prompt) for seen in town.model.seen[before:]]
            time.sleep(PAUSE_S)
    spent = statistics.median(times)
    rounds = -(-tasks.count("review") // CONCURRENCY)
    critical = (rounds + ("brief" in tasks)) * ANSWER_S
    asked = ", ".join(f"{tasks.count(task)} {task}" for task in dict.fromkeys(tasks))
    say(f"  {asked}, {CONCURRENCY} at once, {ANSWER_S:.0f} s each")
    say(
        f"  {spent:.2f} s from the delivery to the completed check run (the middle one of "
        f"{LONG_ROUNDS}; {min(times):.2f} to {max(times):.2f}): {spent / critical:.2f} "
        f"times the model's own critical path of {critical:.0f} s (aim: {AIM_RATIO})"
    )


def short_review() -> None:
    """Review one file while every call to GitHub takes a while, beside one where none does."""
    with open_town() as town, town.serving() as running:
        shop = town.create_repository("acme")
        slowness = town.github.inject(Fault("*", "", times=None, delay_s=0.0))
        spent: dict[float, list[float]] = {0.0: [], LATENCY_S: []}
        for number in range(2 * ROUNDS + 1):
            slowness.delay_s = LATENCY_S if number % 2 else 0.0
            text = f"def mean_{number}(xs):\n    return sum(xs) / len(xs)\n"
            pull = town.open_pull(shop, f"work-{number}", {f"mean_{number}.py": text.encode()})
            before = len(town.github.calls)
            spent[slowness.delay_s].append(_deliver(town, pull, running[0].address))
            time.sleep(PAUSE_S)
            calls = town.github.calls[before:]
    fast, slow = (statistics.median(times) for times in spent.values())
    said = [_name(call) for call in calls if ".git/" not in call.path]
    fetched = len(calls) - len(said)
    say(f"  a small pull request: {len(said)} calls to GitHub's API (aim: {AIM_CALLS})")
    say("".join(f"    {name}\n" for name in said).rstrip("\n"))
    say(f"    and {fetched} requests of git's own protocol")
    say(
        f"  {LATENCY_S * 1000:.0f} ms more for each call cost {slow - fast:.2f} s in all "
        f"(aim: under {AIM_LATENCY_S:.0f} s, git's not counted)"
    )


def _deliver(town: Town, pull: Pull, address: str) -> float:
    """Deliver a webhook and return the seconds until the check run is completed."""
    _, spent = send([letter(town, pull)], [address], 1)
    return spent + wait_for_reviews([pull])


def _file(number: int) -> bytes:
    lines = (f"    total += load({number * LINES + n}) + prices[{n * 7}]\n" for n in range(LINES))
    text = f"def work_{number}(load, prices):\n    total = 0\n{''.join(lines)}    return total\n"
    return text.encode()


def _task(prompt: str) -> str:
    found: Sequence[str] = re.findall(r"^task: (\w+)$", prompt, re.MULTILINE)
    return found[-1] if found else "?"


def _name(call: Call) -> str:
    return f"{call.method} {call.template or call.path}"
