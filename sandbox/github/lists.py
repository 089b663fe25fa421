"""Lists in pages, as every list of GitHub's REST API answers."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from sandbox.github.http import Json, Reply, Request
from sandbox.github.world import World

T = TypeVar("T")
DEFAULT_PAGE, LARGEST_PAGE = 30, 100


def paged(
    world: World,
    request: Request,
    rows: Sequence[T],
    show: Callable[[T], Json],
    key: str | None = None,
) -> Reply:
    """Show one page of rows; with `key` they stand in an object next to `total_count`."""
    size = min(positive(request, "per_page", DEFAULT_PAGE), LARGEST_PAGE)
    page = positive(request, "page", 1)
    last = max(1, -(-len(rows) // size))
    shown = [show(one) for one in rows[(page - 1) * size : page * size]]
    links = {}
    if page < last:
        links = {"next": page + 1, "last": last}
    if page > 1:
        links = {"prev": min(page - 1, last), **links, "first": 1}
    reply = Reply({"total_count": len(rows), key: shown} if key else shown)
    if links:
        reply.headers["Link"] = ", ".join(
            f'<{_address(world, request, number)}>; rel="{name}"' for name, number in links.items()
        )
    return reply


def positive(request: Request, name: str, default: int) -> int:
    """Return a number of the query; what is not one counts as absent."""
    text = request.query.get(name, "")
    return int(text) if re.fullmatch(r"[1-9]\d{0,8}", text) else default


def _address(world: World, request: Request, page: int) -> str:
    # GitHub's links name repositories by number, so that a rename does not break a walk.
    path = request.path
    if request.found:
        rest = path.split("/", 4)[4:]
        path = "/".join([f"/repositories/{request.found.id}", *rest])
    return f"{world.address.api}{path}?{urlencode({**request.query, 'page': page})}"
