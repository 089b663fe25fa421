"""A GitHub with state, served over HTTP on loopback, for tests and the demonstration.

    with GitHub() as github:
        app = github.create_app(webhook_url="http://127.0.0.1:8000/webhook")
        shop = github.create_repository("acme/shop", {"cart.py": "total = 0"})
        installation = github.install(app, shop.owner)
        shop.commit({"cart.py": "total = 1"}, branch="one")
        pull = shop.open_pull("one", "Start at one", author=github.create_user("alice"))

Built from what docs.github.com says about each endpoint; where an answer's exact words are not
documented they are the ones that public reports quote.
"""

from sandbox.github.faults import Call, Fault
from sandbox.github.git import EXECUTABLE, REGULAR, SUBMODULE, SYMLINK, Blob
from sandbox.github.service import GitHub
from sandbox.github.state import (
    App,
    CheckRun,
    Delivery,
    Installation,
    IssueComment,
    Limits,
    Pull,
    Repository,
    Review,
    ReviewComment,
    Token,
    User,
)

__all__ = [
    "EXECUTABLE",
    "REGULAR",
    "SUBMODULE",
    "SYMLINK",
    "App",
    "Blob",
    "Call",
    "CheckRun",
    "Delivery",
    "Fault",
    "GitHub",
    "Installation",
    "IssueComment",
    "Limits",
    "Pull",
    "Repository",
    "Review",
    "ReviewComment",
    "Token",
    "User",
]
