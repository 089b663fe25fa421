"""``postil`` and ``python -m app``: every command, and the server behind one of them."""

from __future__ import annotations

import sys

from app.cli import run
from app.settings import Settings


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:], serve=_serve))


def _serve(settings: Settings, role: str) -> int:
    from app.web.run import serve  # noqa: PLC0415 - a server's imports are for a server

    return serve(settings, role)


if __name__ == "__main__":
    main()
