"""The endpoints, one module a subject, in the order in which they are tried."""

from sandbox.github.routes import (
    apps,
    checks,
    code,
    conversation,
    graphql,
    manifest,
    pages,
    pulls,
    reviews,
    smart,
)

ENDPOINTS = [
    *apps.routes.all,
    *manifest.api.all,
    *pulls.routes.all,
    *reviews.routes.all,
    *conversation.routes.all,
    *checks.routes.all,
    *code.routes.all,
]
GRAPHQL = graphql.routes.all
SITE = [*smart.routes.all, *manifest.site.all, *pages.routes.all]
