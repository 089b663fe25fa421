"""The pages that people look at."""

from sandbox.github.http import Routes

routes = Routes()
