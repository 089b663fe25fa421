"""GraphQL: no more of it than a client of review threads uses."""

from sandbox.github.http import Routes

routes = Routes()
