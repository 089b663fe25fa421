"""What webhooks did not bring: failed deliveries to send again, and pulls that changed unheard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from app.adapters.github import shapes
from app.adapters.github.access import GitHubApp
from app.adapters.github.limits import DELIVERY_DAYS
from app.adapters.github.reading import read_pull
from app.core.pull import PullRef, PullRequest
from app.errors import HostError

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A webhook that never arrived; ``id`` names its last attempt, ``at`` is in epoch seconds."""

    id: int
    guid: str
    event: str
    at: float


class GitHubRepair:
    """Asks GitHub, as the App itself, what was missed."""

    def __init__(self, app: GitHubApp) -> None:
        self._app = app

    def failed_deliveries(self, since: float) -> tuple[FailedDelivery, ...]:
        """List deliveries since then of which no attempt succeeded, oldest first.

        Older than three days none can be sent again. Raises HostError.
        """
        oldest = max(since, self._app.site.clock() - DELIVERY_DAYS * DAY_S)
        latest: dict[str, FailedDelivery] = {}
        arrived: set[str] = set()
        for row in self._deliveries(oldest):
            if row.status == "OK":
                arrived.add(row.guid)
            at = row.delivered_at.timestamp()
            latest.setdefault(row.guid, FailedDelivery(row.id, row.guid, row.event, at))
        failed = [one for guid, one in latest.items() if guid not in arrived]
        return tuple(reversed(failed))

    def redeliver(self, delivery_id: int) -> None:
        """Send a delivery again; what arrives twice is one job. Raises HostError."""
        path = f"/app/hook/deliveries/{delivery_id}/attempts"
        self._app.as_app.ask(shapes.Done, "POST", path)

    def changed_pulls(self, since: float) -> Iterator[PullRequest]:
        """Walk the open pulls that changed since then, in every installation.

        A list that is as it was the last time is not read again; an installation or repository
        that can't be read is left out until the next walk. Raises HostError for the App itself.
        """
        for installation_id in self._installations():
            for repository in self._repositories(installation_id):
                yield from self._pulls(installation_id, repository, since)

    def _deliveries(self, oldest: float) -> Iterator[shapes.Delivery]:
        for page in self._app.as_app.rows(shapes.Delivery, "/app/hook/deliveries"):
            for row in page:
                if row.delivered_at.timestamp() < oldest:
                    return
                yield row

    def _installations(self) -> Iterator[int]:
        for page in self._app.as_app.rows(shapes.Installation, "/app/installations"):
            yield from (one.id for one in page if one.suspended_at is None)

    def _repositories(self, installation_id: int) -> Iterator[shapes.Repository]:
        client = self._app.whole_installation(installation_id)
        path = "/installation/repositories"
        try:
            for page in client.rows(shapes.Repository, path, key="repositories", spare=True):
                yield from page
        except HostError:
            return

    def _pulls(
        self, installation_id: int, repository: shapes.Repository, since: float
    ) -> Iterator[PullRequest]:
        client = self._app.whole_installation(installation_id)
        path = f"/repos/{quote(repository.full_name)}/pulls"
        newest_first = {"state": "open", "sort": "updated", "direction": "desc"}
        try:
            for page in client.rows(shapes.Pull, path, newest_first, spare=True, remember=True):
                for row in page:
                    if row.updated_at.timestamp() < since:
                        return
                    ref = PullRef(repository.id, repository.full_name, row.number, installation_id)
                    yield read_pull(ref, row)
        except HostError:
            return
