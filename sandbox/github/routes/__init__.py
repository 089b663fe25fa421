"""The endpoints, one module a subject, in the order in which they are tried."""

from sandbox.github.routes import (
    apps,
    checks,
    code,
    conversation,
    graphql,
    pages,
    pulls,
    reviews,
    smart,
)

ENDPOINTS = [
    *apps.routes.all,
    *pulls.routes.all,
    *reviews.routes.all,
    *conversation.routes.all,
    *checks.routes.all,
    *code.routes.all,
]
GRAPHQL = graphql.routes.all
SITE = [*smart.routes.all, *pages.routes.all]
