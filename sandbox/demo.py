"""``make demo``: a signed webhook becomes a posted review, on loopback, with nothing mocked.

A sandbox GitHub and a real ``postil serve`` with the embedded model are started; a pull request
with planted defects is opened; its webhook is delivered; what Postil posted is printed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from urllib.error import URLError
from urllib.request import urlopen

from sandbox import planted
from sandbox.github import App, CheckRun, GitHub, Pull, ReviewComment

WIDTH = 78
START_LIMIT_S = 60.0
REVIEW_LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``postil serve``."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path
    data: Path


def free_port() -> int:
    """Find a TCP port on loopback that nobody uses now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(app: App, api: str, folder: Path, environ: dict[str, str]) -> Iterator[Server]:
    """Run a real server for an App in a process of its own until the block ends."""
    address = app.webhook_url.removesuffix("/webhook") if app.webhook_url else ""
    log, data = folder / "server.log", folder / "data"
    own = {
        "POSTIL_GITHUB_API_URL": api,
        "POSTIL_GITHUB_APP_ID": str(app.id),
        "POSTIL_GITHUB_PRIVATE_KEY": app.private_key,
        "POSTIL_WEBHOOK_SECRET": app.webhook_secret,
        "POSTIL_DATA_DIR": str(data),
        "POSTIL_PORT": address.rpartition(":")[2],
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            env=inherited | own | environ,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, address, log, data)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(server: Server, limit_s: float = START_LIMIT_S) -> None:
    """Wait for ``/readyz``; raises RuntimeError with the log's end when the server stops."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            with urlopen(f"{server.address}/readyz", timeout=2):  # noqa: S310 - loopback
                return
        except (URLError, OSError):
            time.sleep(0.1)
    tail = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the server is not ready:\n{tail}")


def wait_for_check(pull: Pull, limit_s: float = REVIEW_LIMIT_S) -> CheckRun:
    """Wait until our check run on the head is completed."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for run in pull.repository.check_runs:
            if run.suite.head_sha == pull.head_sha and run.status == "completed":
                return run
        time.sleep(0.1)
    raise RuntimeError("no completed check run appeared in time")


def leaks(key: str, github: GitHub, pull: Pull, server: Server) -> list[str]:
    """Name every place but the code itself where the planted key is found."""
    said = {f"the review {review.id}": review.body for review in pull.reviews}
    said |= {f"the comment {one.id}": one.body for one in pull.review_comments}
    said |= {f"the comment {one.id}": one.body for one in pull.comments}
    said |= {f"the check run {run.id}": str(run.output) for run in pull.repository.check_runs}
    said |= {
        f"a request: {call.method} {call.path}": call.body.decode(errors="replace")
        for call in github.calls
        if "git-upload-pack" not in call.path
    }
    files = [server.log, *(path for path in server.data.rglob("*") if path.is_file())]
    # the object store holds the pull request's own code; prompts, answers and records do not
    kept = [path for path in files if "objects" not in path.parts]
    found = [place for place, text in said.items() if key in text]
    return found + [str(path) for path in kept if key.encode() in path.read_bytes()]


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
    text = re.sub(r"<!--.*?-->|</?sub>|\*\*|\u200b", "", body, flags=re.DOTALL)
    return [line for line in text.splitlines() if line.strip()]


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
