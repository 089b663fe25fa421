"""What the last run handed to this one, in the text of our check run on an earlier head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote

from app.adapters.github import shapes
from app.adapters.github.access import Access
from app.adapters.github.checks import our_runs
from app.adapters.github.client import Client
from app.adapters.github.limits import CHECK_TEXT
from app.adapters.github.marks import REVIEW, Marks
from app.adapters.github.reading import pull_path
from app.adapters.github.talk import fetch_talk, ours
from app.core.pull import PullRequest
from app.core.record import read_record, write_record
from app.errors import HostInvalid, HostMissing

COMMITS = 6
"""How many earlier commits are looked at: the last head is nearly always the first of them."""


class GitHubRecords:
    """Reads and writes records; ``marks`` signs them.

    Where every workflow writes as the same App the signature is the only proof.
    """

    def __init__(self, access: Access, marks: Marks) -> None:
        self._access = access
        self._marks = marks

    def write(self, pull: PullRequest, texts: Mapping[str, str]) -> str:
        """Write the record to put into the check run's text."""
        return write_record(texts, self._marks.key, pull, CHECK_TEXT)

    def fetch(self, pull: PullRequest, check_id: int, before: str | None) -> Mapping[str, str]:
        """Fetch the newest record; ``check_id`` is the run just opened, and tells which App we are.

        ``before`` is the head before the push, where it is known. Raises HostError.
        """
        client = self._access.client(pull.ref)
        home = f"/repos/{quote(pull.ref.repository)}"
        mine = client.read(shapes.CheckRun, f"{home}/check-runs/{check_id}").app
        if mine is None:
            return {}
        looked: set[str] = set()
        for sha in self._commits(client, pull, before):
            if sha in looked:
                continue
            found = self._read(client, pull, mine.id, sha)
            looked.add(sha)
            if found or len(looked) == COMMITS:
                return found
        return {}

    def _read(self, client: Client, pull: PullRequest, app_id: int, sha: str) -> Mapping[str, str]:
        """Put together what our runs on a commit hand on; the newest has the last word."""
        found: dict[str, str] = {}
        with suppress(HostInvalid, HostMissing):  # a commit that is gone
            for run in our_runs(client, app_id, pull.ref, sha):
                text = run.output.text or ""
                found = {**read_record(text, self._marks.key, pull, sha), **found}
        return found

    def _commits(self, client: Client, pull: PullRequest, before: str | None) -> Iterator[str]:
        """Yield where the newest record may be: here, before, under our reviews, further down."""
        yield pull.head_sha
        if before is not None:
            yield before
        talk = fetch_talk(client, pull.ref)
        for one in reversed(talk.reviews):
            signed = ours(one, talk.us) and self._marks.read(pull.ref, REVIEW, one.body)
            if signed and one.commit is not None:
                yield one.commit.oid
        rows = client.rows(shapes.Comparison.Commit, f"{pull_path(pull.ref)}/commits")
        yield from reversed([row.sha for page in rows for row in page])
