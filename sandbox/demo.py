"""``make demo``: a signed webhook becomes a posted review, on loopback, with nothing mocked.

A sandbox GitHub and a real ``postil serve`` with the embedded model are started; a pull request
with planted defects is opened; its webhook is delivered; what Postil posted is printed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from sandbox import planted
from sandbox.github import CheckRun, GitHub, Pull, ReviewComment
from sandbox.serving import (
    Server,
    free_port,
    leaks,
    running_server,
    wait_for_check,
    wait_until_ready,
)

WIDTH = 78


def show(run: CheckRun, pull: Pull, address: str) -> None:
    """Print what a person would see on the pull request."""
    _line(f"\nReview of {pull.repository.full_name}#{pull.number}: {pull.title}")
    for comment in sorted(pull.review_comments, key=lambda one: (one.thread.path, _at(one))):
        _line(f"\n  {comment.thread.path}:{_at(comment)}")
        for text in _plain(comment.body):
            _line(textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    "))
    summary = str(run.output["summary"])
    _line(f"\nCheck run {run.name}: {run.conclusion}")
    _line(f"  {run.output['title']}")
    for heading in ("Coverage", "Receipt"):
        section = summary.partition(f"### {heading}\n\n")[2].partition("\n\n")[0]
        _line(f"  {heading.lower()}: {section}")
    _line(f"\nThe pull request with its comments: {address}")


def main() -> int:
    """Run the demonstration; 0 only when everything was really posted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="serve the pages until Ctrl-C")
    keep = parser.parse_args().keep
    key = planted.leaked_key()
    with tempfile.TemporaryDirectory(prefix="postil-demo-") as name, GitHub() as github:
        app = github.create_app(webhook_url=f"http://127.0.0.1:{free_port()}/webhook")
        shop = github.create_repository("acme/shop", planted.BASE)
        github.install(app, shop.owner)
        shop.commit(planted.head(key), branch="discounts", message=planted.TITLE)
        _line("Starting Postil and the embedded model on loopback ...")
        with running_server(app, github.url, Path(name), {"POSTIL_PROVIDER": "local"}) as server:
            wait_until_ready(server)
            began = time.monotonic()
            robin = github.create_user("robin")
            pull = shop.open_pull("discounts", planted.TITLE, body=planted.BODY, author=robin)
            _line(
                f"Opened {pull.repository.full_name}#{pull.number}; its webhook is signed and sent."
            )
            run = wait_for_check(pull)
            _line(f"Reviewed in {time.monotonic() - began:.0f} s.")
            show(run, pull, f"{github.address.origin}/{shop.full_name}/pull/{pull.number}")
            missing = problems(key, github, pull, server)
        for problem in missing:
            _line(f"demo: {problem}")
        if keep and not missing:
            _line("Serving until Ctrl-C.")
            _wait_for_interrupt()
    return 1 if missing else 0


def problems(key: str, github: GitHub, pull: Pull, server: Server) -> list[str]:
    """Say what keeps the demonstration from being a success."""
    found = [f"the planted key is in {place}" for place in leaks(key, github, pull, server)]
    paths = {comment.thread.path for comment in pull.review_comments}
    found += [f"no comment was posted on {path}" for path in planted.DEFECTIVE if path not in paths]
    if len(pull.reviews) != 1:
        found.append(f"{len(pull.reviews)} reviews were posted instead of one")
    found += [f"an endpoint is missing: {call.method} {call.path}" for call in github.unexpected]
    return found


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        _line("")


def _at(comment: ReviewComment) -> int:
    return comment.thread.original.line or 0


def _plain(body: str) -> list[str]:
    """Take what Markdown and our marker add to a comment's words away, for a terminal."""
    text = re.sub(r"<!--.*?-->|</?(?:sub|span)>|\*\*|\u200b", "", body, flags=re.DOTALL)
    return [line for line in text.splitlines() if line.strip()]


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
