"""A GitHub on loopback: `with GitHub() as github:` serves until the block ends."""

import re
from pathlib import Path
from typing import Self

from sandbox.github.dispatch import Dispatcher
from sandbox.github.faults import Call, Fault, Script
from sandbox.github.http import Reply, Request
from sandbox.github.server import Server
from sandbox.github.world import Address, World


class GitHub(World):
    """The state of a GitHub, served over HTTP in threads of this process.

    `prefix` is "" or, as on an Enterprise Server, "/api/v3". With `root` the repositories are kept
    there, else in a directory that goes with the block.
    """

    def __init__(self, root: Path | None = None, prefix: str = "") -> None:
        super().__init__(root, prefix)
        self.script = Script()
        self.dispatcher = Dispatcher(self)
        self._server = Server(self.dispatcher.respond, self.script, self._record)
        self.address = Address(self._server.origin, prefix)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def close(self) -> None:
        """Stop serving; raises what went wrong in here, if anything did."""
        try:
            self._server.stop()
        finally:
            super().close()

    @property
    def url(self) -> str:
        """Return the REST API's address, what a client calls its base URL."""
        return self.address.api

    @property
    def calls(self) -> list[Call]:
        """Return every call, oldest first."""
        return self.script.calls

    @property
    def unexpected(self) -> list[Call]:
        """Return the calls that no endpoint here answers to."""
        return self.script.unexpected

    def inject(self, fault: Fault) -> Fault:
        """Let something go wrong."""
        return self.script.add(fault)

    def called(self, method: str, pattern: str = "") -> list[Call]:
        """Return the calls with a method whose path a pattern is found in."""
        return [one for one in self.calls if one.method == method and re.search(pattern, one.path)]

    def _record(self, request: Request, reply: Reply) -> None:
        if request.route is None:
            self.dispatcher.place(request)
        token = request.token or self.tokens.get(
            request.headers.get("authorization", "").partition(" ")[2]
        )
        pulls = request.found.pulls if request.found else {}
        pull = pulls.get(int(request.params.get("number", "0")))
        headers = {
            name: value for name, value in request.headers.items() if name != "authorization"
        }
        self.script.record(
            Call(
                method=request.method,
                template=request.route.template if request.route else None,
                path=request.path,
                query=request.query,
                headers=headers,
                body=request.body,
                status=reply.status,
                installation_id=token.installation.id if token and token.installation else None,
                at=self.now(),
                answered={name.lower(): value for name, value in reply.headers.items()},
                repository_id=request.found.id if request.found else None,
                head_sha=pull.head_sha if pull else None,
                open=pull.state == "open" if pull else None,
            )
        )
