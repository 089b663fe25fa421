"""``postil`` and ``python -m app``: every command; a server and a step load when asked for."""

from __future__ import annotations

import logging
import os
import sys

from app.cli import run
from app.settings import Settings


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:], serve=_serve, act=_act))


def _serve(settings: Settings, role: str) -> int:
    from app.web.run import serve  # noqa: PLC0415 - a server's imports are for a server

    return serve(settings, role)


def _act() -> int:
    from app.action import run as act  # noqa: PLC0415 - PyGithub starts slowly

    logging.disable(logging.INFO)  # a step's log is for people: no library tells of its calls there
    return act(os.environ)


if __name__ == "__main__":
    main()
