"""What webhooks did not bring: failed deliveries to send again, and pulls that changed unheard."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from app.adapters.github import shapes
from app.adapters.github.access import GitHubApp
from app.adapters.github.limits import DELIVERY_DAYS
from app.adapters.github.reading import read_pull
from app.core.pull import PullRef
from app.core.repair import ChangedPull, FailedDelivery
from app.errors import HostInvalid, HostMissing, HostRefused, HostUnavailable

DAY_S = 24 * 3600


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

    def installations(self) -> tuple[int, ...]:
        """List where the App is installed and not suspended. Raises HostError."""
        pages = self._app.as_app.rows(shapes.Installation, "/app/installations")
        return tuple(one.id for page in pages for one in page if one.suspended_at is None)

    def changed_pulls(self, installation_id: int, since: float) -> Iterator[ChangedPull]:
        """Walk the open pulls of an installation that changed since then.

        A list that is as it was the last time is not read again. A repository that does not let us
        is left out; one that can't be read now does not hide the others, but is raised at the end.
        Raises HostError.
        """
        failed: HostUnavailable | None = None
        for repository in self._repositories(installation_id):
            try:
                yield from self._pulls(installation_id, repository, since)
            except (HostRefused, HostMissing, HostInvalid):
                continue
            except HostUnavailable as error:
                failed = error
        if failed is not None:
            raise failed

    def forget(self, installation_id: int) -> None:
        """Read every list of an installation again the next time."""
        self._app.whole_installation(installation_id).forget()

    def _deliveries(self, oldest: float) -> Iterator[shapes.Delivery]:
        for page in self._app.as_app.rows(shapes.Delivery, "/app/hook/deliveries"):
            for row in page:
                if row.delivered_at.timestamp() < oldest:
                    return
                yield row

    def _repositories(self, installation_id: int) -> Iterator[shapes.Repository]:
        client = self._app.whole_installation(installation_id)
        path = "/installation/repositories"
        for page in client.rows(shapes.Repository, path, key="repositories", spare=True):
            yield from (one for one in page if not one.archived)

    def _pulls(
        self, installation_id: int, repository: shapes.Repository, since: float
    ) -> Iterator[ChangedPull]:
        client = self._app.whole_installation(installation_id)
        path = f"/repos/{quote(repository.full_name)}/pulls"
        newest_first = {"state": "open", "sort": "updated", "direction": "desc"}
        for page in client.rows(shapes.Pull, path, newest_first, spare=True, remember=True):
            for row in page:
                if row.updated_at.timestamp() < since:
                    return
                ref = PullRef(repository.id, repository.full_name, row.number, installation_id)
                yield ChangedPull(read_pull(ref, row), row.created_at.timestamp())
