"""Two hundred chunks within a model service's quota: how near the time is to the least there is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.adapters.models.pace import Quota
from bench.town import say
from tests.postgres import make_database, running_postgres
from tests.quota import PARTS, PULLS, review_all

QUOTAS: Mapping[str, Quota] = {
    "30 requests a minute": Quota(rpm=30),
    "60,000 tokens a minute": Quota(tpm=60_000),
}
SERVERS = {1: "one server", 2: "two servers"}
AIM_RATIO = 1.1


def run() -> None:
    """Measure with one server and with two, on PostgreSQL."""
    say(f"{PULLS * PARTS} chunks in {PULLS} pull requests, and a brief for each of these")
    say(f"(aim: {AIM_RATIO} times the quota's floor, and no 429; idle minutes are skipped)")
    with running_postgres() as postgres:
        for name, quota in QUOTAS.items():
            for servers, words in SERVERS.items():
                measure(f"{name}, {words}", quota, servers, postgres)


def measure(what: str, quota: Quota, servers: int, postgres: str) -> None:
    """Review all, and print what it took."""
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as folder:
        reviewed = review_all(Path(folder), make_database(postgres), quota, servers)
    floor = reviewed.floor(quota)
    refused = sum(one.status != 200 for one in reviewed.seen)  # noqa: PLR2004 - success
    shares = " and ".join(str(count) for _, count in sorted(reviewed.asked.items()))
    say(
        f"  {what}: {shares} requests, {refused} refused, {reviewed.seconds:.0f} s from the first "
        f"to the last: {reviewed.seconds / floor:.2f} times the floor of {floor:.0f} s"
    )
