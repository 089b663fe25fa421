"""The changes people make on a GitHub: accounts, Apps, repositories, commits, pull requests.

Every change emits the webhooks GitHub would send, unless it stands in `with world.quietly():`.
"""

import itertools
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, Self, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.github import shapes, threads
from sandbox.github.diff import FileChange
from sandbox.github.git import Blob, Changes, GitRepository, Person
from sandbox.github.hooks import Postman
from sandbox.github.state import (
    LEVELS,
    REVIEWER,
    SUBSCRIBED,
    App,
    Author,
    Delivery,
    Installation,
    IssueComment,
    Json,
    Kind,
    Limits,
    Permissions,
    Pull,
    Reaction,
    Repository,
    Token,
    User,
)

FIRST_ID = 1_000_001


class Numbered(Protocol):
    """Anything that lists show."""

    id: int


Row = TypeVar("Row", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Address:
    """Where this GitHub answers; an Enterprise Server has the prefix `/api/v3`."""

    origin: str
    prefix: str

    @property
    def api(self) -> str:
        """Return the REST API's address."""
        return self.origin + self.prefix

    @property
    def graphql_path(self) -> str:
        """Return where GraphQL answers."""
        return self.prefix.removesuffix("/v3") + "/graphql"


class World:
    """All state, and the operations on it. Every public method is atomic."""

    def __init__(self, root: Path | None = None, prefix: str = "") -> None:
        self._own_root = tempfile.TemporaryDirectory(prefix="github-") if root is None else None
        self.root = Path(self._own_root.name) if self._own_root else root or Path()
        self.address = Address("http://127.0.0.1:0", prefix)
        self.lock = threading.RLock()
        self.clock: Callable[[], float] = time.time
        self.limits = Limits()
        self.users: dict[str, User] = {}
        self.apps: dict[int, App] = {}
        self.manifest_codes: dict[str, tuple[App, float]] = {}
        self.installations: dict[int, Installation] = {}
        self.tokens: dict[str, Token] = {}
        self.repositories: dict[int, Repository] = {}
        self.token_calls: int | None = None
        self.postman = Postman(self.now, self.new_id)
        self._ids = itertools.count(FIRST_ID)
        self._local = threading.local()
        self.ghost = self.create_user("ghost")
        self.lag(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending and remove what was kept on disk."""
        self.postman.close()
        if self._own_root:
            self._own_root.cleanup()

    def now(self) -> float:
        """Return the time this GitHub believes in."""
        return self.clock()

    def new_id(self) -> int:
        """Return a number that nothing else here has."""
        return next(self._ids)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change state in this thread without sending webhooks."""
        before = getattr(self._local, "quiet", False)
        self._local.quiet = True
        try:
            yield
        finally:
            self._local.quiet = before

    # accounts and Apps

    def create_user(self, login: str, kind: Kind = Kind.USER) -> User:
        """Open an account."""
        user = User(self.new_id(), login, kind)
        self.users[login.casefold()] = user
        return user

    def create_app(
        self,
        slug: str = "postil",
        *,
        name: str | None = None,
        permissions: Permissions | None = None,
        events: Iterable[str] = SUBSCRIBED,
        webhook_secret: str = "It's a Secret to Everybody",  # noqa: S107 - GitHub's documented example
        webhook_url: str | None = None,
        owner: User | None = None,
    ) -> App:
        """Register an App with a fresh key pair and a bot account."""
        key, private_key = _generated_key(len(self.apps))
        app = App(
            id=self.new_id(),
            slug=slug,
            name=name or slug.title(),
            owner=owner or self.create_user(f"{slug}-owner"),
            bot=self.create_user(f"{slug}[bot]", Kind.BOT),
            key=key,
            private_key=private_key,
            permissions=dict(permissions or REVIEWER),
            events=tuple(events),
            webhook_secret=webhook_secret,
            webhook_url=webhook_url,
            created_at=self.now(),
        )
        self.apps[app.id] = app
        return app

    def install(
        self, app: App, account: User, repositories: Iterable[Repository] | None = None
    ) -> Installation:
        """Install an App on an account, for all its repositories or for some."""
        chosen = None if repositories is None else {one.id for one in repositories}
        installation = Installation(
            self.new_id(), app, account, dict(app.permissions), chosen, self.now()
        )
        self.installations[installation.id] = installation
        self.announce(installation, "created")
        return installation

    def suspend(self, installation: Installation) -> None:
        """Suspend an installation: no tokens and no events until it is lifted."""
        self.announce(installation, "suspend")
        installation.suspended_at = self.now()

    def uninstall(self, installation: Installation) -> None:
        """Remove an installation and every token of it."""
        self.announce(installation, "deleted")
        installation.deleted = True

    def announce(self, installation: Installation, action: str) -> None:
        """Tell an App about its installation."""
        payload = {
            "action": action,
            "installation": shapes.installation(self, installation),
            "repositories": [
                shapes.repository_reference(one) for one in self.visible(installation)
            ],
            "sender": shapes.user(self, installation.account),
        }
        self._post(installation.app, "installation", payload)

    def visible(self, installation: Installation) -> list[Repository]:
        """Return the repositories an installation may see."""
        return [
            one
            for one in self.repositories.values()
            if one.owner is installation.account
            and (installation.repositories is None or one.id in installation.repositories)
        ]

    def installations_on(self, repository: Repository) -> list[Installation]:
        """Return the installations that see a repository."""
        return [
            one
            for one in self.installations.values()
            if not one.deleted and repository in self.visible(one)
        ]

    def mint(
        self,
        installation: Installation,
        permissions: Permissions | None = None,
        repositories: frozenset[int] | None = None,
    ) -> Token:
        """Make an installation token, for less than the installation may do when asked."""
        return self._keep(
            Token(
                f"ghs_{secrets.token_hex(18)}",
                installation,
                installation.app.bot,
                dict(permissions or installation.permissions),
                repositories,
                self.now() + self.limits.token_seconds,
                self.token_calls,
            )
        )

    def user_token(self, user: User) -> Token:
        """Make a personal access token, which may do what its owner may."""
        year = 365 * 24 * 3600
        return self._keep(
            Token(f"ghp_{secrets.token_hex(18)}", None, user, {}, None, self.now() + year)
        )

    def expire_tokens(self) -> None:
        """End the life of every token there is."""
        for token in self.tokens.values():
            token.expires_at = self.now()

    # repositories

    def create_repository(
        self,
        full_name: str,
        files: Changes | None = None,
        *,
        private: bool = True,
        organization: bool = False,
    ) -> Repository:
        """Create a repository with a first commit; its owner's account is made when unknown."""
        owner_login, name = full_name.split("/")
        kind = Kind.ORGANIZATION if organization else Kind.USER
        owner = self.users.get(owner_login.casefold()) or self.create_user(owner_login, kind)
        repository = self._new_repository(owner, name, private=private)
        if files is not None:
            with self.quietly():
                self.commit(repository, files, repository.default_branch, "First commit")
        return repository

    def fork(self, parent: Repository, owner: User) -> Repository:
        """Copy a repository's branches to another account."""
        with self.lock:
            forked = self._new_repository(owner, parent.name, private=parent.private)
            forked.parent = parent
            forked.git.run("fetch", "--quiet", str(parent.git.path), "+refs/heads/*:refs/heads/*")
            return forked

    def rename(self, repository: Repository, full_name: str) -> None:
        """Give a repository another name or owner; the old name redirects."""
        with self.lock:
            login, name = full_name.split("/")
            before, old_name = repository.owner, repository.name
            repository.old_names.append(repository.full_name)
            repository.owner = self.users.get(login.casefold()) or self.create_user(login)
            repository.name = name
            changes: Json = {"repository": {"name": {"from": old_name}}}
            if repository.owner is not before:
                changes = {"owner": {"from": {"user": shapes.user(self, before)}}}
            action = "renamed" if repository.owner is before else "transferred"
            payload = {"action": action, "changes": changes}
            self.emit("repository", repository, repository.owner, payload)

    def delete_repository(self, repository: Repository) -> None:
        """Delete a repository; pull requests from it lose their head repository."""
        with self.lock:
            del self.repositories[repository.id]
            for other in self.repositories.values():
                for pull in other.pulls.values():
                    if pull.head_repository is repository:
                        pull.head_repository = None

    def grant(self, repository: Repository, user: User, level: str) -> None:
        """Set what a user may do in a repository."""
        if level not in LEVELS:
            raise ValueError(f"{level} is not one of {', '.join(LEVELS)}")
        repository.access[user.id] = level

    def level(self, repository: Repository, user: User) -> str:
        """Return the role a user has in a repository."""
        if user is repository.owner:
            return "admin"
        return repository.access.get(user.id, "none" if repository.private else "read")

    def may_push(self, repository: Repository, author: Author) -> bool:
        """Tell whether somebody has write access to the code."""
        if author.app:
            return any(
                one.app is author.app and one.permissions.get("contents") == "write"
                for one in self.installations_on(repository)
            )
        return self.level(repository, author.user) in {"write", "maintain", "admin"}

    def find_repository(self, full_name: str) -> Repository | None:
        """Return the repository that has, or once had, this name."""
        wanted = full_name.casefold()
        every = list(self.repositories.values())
        named = [one for one in every if one.full_name.casefold() == wanted]
        once = [one for one in every if wanted in map(str.casefold, one.old_names)]
        return next(iter(named + once), None)

    def commit(
        self,
        repository: Repository,
        changes: Changes,
        branch: str,
        message: str = "Work",
        author: User | None = None,
        parent: str | None = None,
    ) -> str:
        """Commit on a branch, move the pull requests that come from it, and return the id."""
        with self.lock:
            who = author or repository.owner
            tips = repository.git.branches()
            before = tips.get(branch)
            start = parent or before or tips.get(repository.default_branch)
            sha = repository.git.commit(
                changes,
                branch=branch,
                message=message,
                author=Person(who.login, who.email, int(self.now())),
                parents=(start,) if start else (),
            )
            repository.pushed_at = self.now()
            self._after_push(repository, branch, before, sha, who)
            return sha

    def delete_branch(self, repository: Repository, branch: str) -> None:
        """Delete a branch; its commits stay readable by id."""
        with self.lock:
            repository.git.delete_ref(f"refs/heads/{branch}")

    # pull requests

    def open_pull(
        self,
        repository: Repository,
        branches: tuple[Repository, str, str],
        title: str,
        body: str | None,
        author: User,
        *,
        draft: bool = False,
    ) -> Pull:
        """Open a pull request; `branches` is the head's repository and branch, and the base."""
        with self.lock:
            source, head, base = branches
            tips = repository.git.branches()
            pull = Pull(
                id=self.new_id(),
                number=max(repository.pulls, default=0) + 1,
                repository=repository,
                author=author,
                title=title,
                body=body,
                head_repository=source,
                head_owner=source.owner,
                head_ref=head,
                head_sha=source.git.branches()[head],
                base_ref=base,
                base_sha=tips[base],
                draft=draft,
                created_at=self.now(),
                updated_at=self.now(),
            )
            repository.pulls[pull.number] = pull
            self._bring_head(pull)
            self.pull_event(pull, "opened", author)
            return pull

    def edit_pull(self, pull: Pull, user: User, title: str | None, body: str | None) -> None:
        """Change the title or the description."""
        changes: Json = {}
        for name, new in (("title", title), ("body", body)):
            if new is not None:
                changes[name] = {"from": getattr(pull, name) or ""}
                setattr(pull, name, new)
        self.pull_event(pull, "edited", user, changes=changes)

    def change_state(self, pull: Pull, user: User | None, state: str) -> None:
        """Close or reopen."""
        pull.state = state
        pull.closed_at = self.now() if state == "closed" else None
        self.pull_event(pull, "closed" if state == "closed" else "reopened", user)

    def change_draft(self, pull: Pull, user: User | None, *, draft: bool) -> None:
        """Convert to a draft or mark as ready."""
        pull.draft = draft
        self.pull_event(pull, "converted_to_draft" if draft else "ready_for_review", user)

    def label(self, pull: Pull, user: User | None, name: str) -> None:
        """Add a label."""
        pull.labels.append(name)
        self.pull_event(pull, "labeled", user, label=shapes.label(self, pull, name))

    def merge(self, pull: Pull, user: User | None) -> str:
        """Merge the head into the base with a merge commit."""
        with self.lock:
            git = pull.repository.git
            base = git.branches()[pull.base_ref]
            changes: dict[str, Blob | None] = {}
            for one in self.changes(pull):
                if one.previous:
                    changes[one.previous] = None
                changes[one.path] = (
                    Blob(git.blob(one.new_sha), one.new_mode) if one.status != "removed" else None
                )
            who = user or pull.author
            pull.merge_commit_sha = git.commit(
                changes,
                branch=pull.base_ref,
                message=f"Merge pull request #{pull.number}\n\n{pull.title}",
                author=Person(who.login, who.email, int(self.now())),
                parents=(base, pull.head_sha),
            )
            pull.state, pull.merged_by = "closed", who
            pull.merged_at = pull.closed_at = self.now()
            self.pull_event(pull, "closed", user)
            return pull.merge_commit_sha

    def changes(self, pull: Pull, head: str | None = None) -> tuple[FileChange, ...]:
        """Return what a pull request changes, up to its head or to an earlier commit of it."""
        head = head or pull.head_sha
        base = pull.repository.git.merge_base(pull.base_sha, head) or pull.base_sha
        return pull.repository.git.changes(base, head)

    def commits(self, pull: Pull) -> tuple[str, ...]:
        """Return the commits of a pull request, oldest first."""
        return pull.repository.git.history(pull.base_sha, pull.head_sha)

    # the conversation

    def comment(self, pull: Pull, author: Author, body: str) -> IssueComment:
        """Add a comment to the conversation."""
        with self.lock:
            now = self.now()
            comment = IssueComment(self.new_id(), pull, author, body, now, now)
            pull.comments.append(comment)
            self.touch(pull)
            self.comment_event(comment, "created")
            return comment

    def react(self, reactions: list[Reaction], user: User, content: str) -> tuple[Reaction, bool]:
        """Add a reaction; the second value is False when it was there already."""
        for one in reactions:
            if one.user is user and one.content == content:
                return one, False
        reactions.append(Reaction(self.new_id(), user, content, self.now()))
        return reactions[-1], True

    def lag(self, reads: int) -> None:
        """Hide what is made from now on from the next `reads` lists it would stand in."""
        self._lag_reads, self._lag_from = reads, self.new_id()
        self._lag_seen: dict[int, int] = {}

    def unlagged(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows a list shows: all, or all but the ones that still lag behind."""
        shown = []
        for one in rows:
            seen = self._lag_seen.get(one.id, 0)
            if one.id < self._lag_from or seen >= self._lag_reads:
                shown.append(one)
            self._lag_seen[one.id] = seen + 1
        return shown

    def touch(self, pull: Pull) -> None:
        """Remember that a pull request was changed now."""
        pull.updated_at = self.now()

    # webhooks

    def pull_event(self, pull: Pull, action: str, sender: User | None, **facts: object) -> None:
        """Send a `pull_request` event."""
        self.touch(pull)
        payload = {
            "action": action,
            "number": pull.number,
            "pull_request": shapes.pull(self, pull),
            **facts,
        }
        self.emit("pull_request", pull.repository, sender or pull.author, payload)

    def comment_event(self, comment: IssueComment, action: str, **facts: object) -> None:
        """Send an `issue_comment` event."""
        payload = {
            "action": action,
            "issue": shapes.issue(self, comment.pull),
            "comment": shapes.issue_comment(self, comment),
            **facts,
        }
        self.emit("issue_comment", comment.pull.repository, comment.author.user, payload)

    def emit(
        self,
        event: str,
        repository: Repository,
        sender: User,
        payload: Json,
        *,
        only: App | None = None,
    ) -> None:
        """Send an event of a repository to the Apps that see it and asked for it."""
        for one in self.installations_on(repository):
            wanted = only is None or one.app is only
            if wanted and event in one.app.events and one.suspended_at is None:
                self._post(one.app, event, self.addressed(payload, one, repository, sender))

    def addressed(
        self, payload: Json, installation: Installation, repository: Repository, sender: User
    ) -> Json:
        """Add what every event of a repository carries."""
        whole = {
            **payload,
            "repository": shapes.repository(self, repository),
            "sender": shapes.user(self, sender),
            "installation": shapes.installation_reference(installation),
        }
        if repository.owner.kind is Kind.ORGANIZATION:
            whole["organization"] = shapes.organization(self, repository.owner)
        return whole

    def deliver(
        self, event: str, payload: Json | bytes, *, app: App | None = None, guid: str | None = None
    ) -> Delivery:
        """Send any payload to an App now and return how it answered."""
        to = app or next(iter(self.apps.values()))
        return self.postman.send(self.postman.prepare(to, event, payload, guid=guid))

    def redeliver(self, delivery: Delivery) -> Delivery:
        """Send a delivery again under the same GUID, in the background."""
        return self.postman.repeat(delivery)

    @property
    def deliveries(self) -> list[Delivery]:
        """Return every delivery, oldest first."""
        return self.postman.deliveries

    def settle(self, timeout_s: float = 30) -> None:
        """Wait until every webhook emitted so far was sent."""
        self.postman.settle(timeout_s)

    # inside

    def _post(self, app: App, event: str, payload: Json) -> None:
        if not getattr(self._local, "quiet", False):
            self.postman.post(app, event, payload)

    def _keep(self, token: Token) -> Token:
        self.tokens[token.value] = token
        return token

    def _new_repository(self, owner: User, name: str, *, private: bool) -> Repository:
        number = self.new_id()
        git = GitRepository(self.root / f"{number}.git")
        now = self.now()
        repository = Repository(number, owner, name, private, git, now, now, self)
        self.repositories[number] = repository
        return repository

    def _after_push(
        self, repository: Repository, branch: str, before: str | None, sha: str, who: User
    ) -> None:
        payload = shapes.push(self, repository, branch, before, sha, who)
        self.emit("push", repository, who, payload)
        for other in self.repositories.values():
            for pull in other.pulls.values():
                source = (pull.head_repository, pull.head_ref)
                if pull.state == "open" and source == (repository, branch):
                    moved_from, pull.head_sha = pull.head_sha, sha
                    self._bring_head(pull)
                    self.pull_event(pull, "synchronize", who, before=moved_from, after=sha)

    def _bring_head(self, pull: Pull) -> None:
        git = pull.repository.git
        if pull.head_repository not in {None, pull.repository}:
            git.fetch(pull.head_repository.git, pull.head_sha)
        git.set_ref(f"refs/pull/{pull.number}/head", pull.head_sha)
        pull.base_sha = git.branches().get(pull.base_ref, pull.base_sha)
        threads.follow_head(self, pull)


@cache
def _generated_key(index: int) -> tuple[rsa.RSAPrivateKey, str]:
    # The n-th App of every GitHub in one process shares a key, because making one takes long.
    del index
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return key, pem.decode()
