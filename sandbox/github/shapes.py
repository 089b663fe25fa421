"""The JSON that GitHub shows for everything, in the fields its schema asks for."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from sandbox.github.diff import FileChange
from sandbox.github.git import SUBMODULE, CommitInfo, Person
from sandbox.github.state import (
    Anchor,
    App,
    CheckRun,
    CheckSuite,
    Delivery,
    Installation,
    IssueComment,
    Json,
    Kind,
    Pull,
    Reaction,
    Repository,
    Review,
    ReviewComment,
    Thread,
    Token,
    User,
)

if TYPE_CHECKING:
    from sandbox.github.world import World

REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_SHARED_WITH_ISSUES = (
    *("html_url", "number", "state", "locked", "active_lock_reason", "title", "user", "body"),
    *("labels", "milestone", "assignee", "assignees", "created_at", "updated_at", "closed_at"),
    *("author_association", "draft", "comments_url"),
)
_SHARED_WITH_EVENTS = (
    *("after", "app", "before", "conclusion", "created_at", "head_branch", "head_sha", "id"),
    *("node_id", "pull_requests", "status", "updated_at", "url"),
)


def stamp(at: float | None) -> str | None:
    """Return a time as GitHub writes it, to the second, in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(path: str) -> str:
    """Return a path as JSON can carry it: bytes that are not UTF-8 are replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def node(kind: str, number: int) -> str:
    """Return a GraphQL node id."""
    return f"{kind}_{number}"


# accounts and Apps


def user(world: World, one: User) -> Json:
    """Show an account."""
    url = f"{world.address.api}/users/{quote(one.login)}"
    return {
        "login": one.login,
        "id": one.id,
        "node_id": node("U", one.id),
        "avatar_url": f"{world.address.origin}/avatars/u/{one.id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{world.address.origin}/{quote(one.login)}",
        **{name: url + tail for name, tail in _USER_URLS.items()},
        "type": str(one.kind),
        "user_view_type": "public",
        "site_admin": False,
    }


def organization(world: World, one: User) -> Json:
    """Show the organization that owns a repository, as webhooks do."""
    url = f"{world.address.api}/orgs/{one.login}"
    tails = ("repos", "events", "hooks", "issues")
    return {
        "login": one.login,
        "id": one.id,
        "node_id": node("O", one.id),
        "url": url,
        **{f"{tail}_url": f"{url}/{tail}" for tail in tails},
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"{world.address.origin}/avatars/u/{one.id}?v=4",
        "description": None,
    }


def app(world: World, one: App) -> Json:
    """Show an App."""
    return {
        "id": one.id,
        "client_id": f"Iv23li{one.id}",
        "slug": one.slug,
        "node_id": node("A", one.id),
        "owner": user(world, one.owner),
        "name": one.name,
        "description": None,
        "external_url": f"{world.address.origin}/{one.slug}",
        "html_url": f"{world.address.origin}/apps/{one.slug}",
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "permissions": one.permissions,
        "events": list(one.events),
    }


def converted_app(world: World, one: App, client_secret: str) -> Json:
    """Show an App with everything that is told once, when its manifest's code is exchanged."""
    secret = one.webhook_secret or None
    kept = {"client_secret": client_secret, "webhook_secret": secret, "pem": one.private_key}
    return app(world, one) | kept


def hook_config(one: App) -> Json:
    """Show where an App's webhooks go; the secret only as stars."""
    shape = {"content_type": one.hook_content_type, "insecure_ssl": one.hook_insecure_ssl}
    if one.webhook_secret:
        shape["secret"] = "********"  # noqa: S105 - stars
    if one.webhook_url:
        shape["url"] = one.webhook_url
    return shape


def installation(world: World, one: Installation) -> Json:
    """Show an installation."""
    url = f"{world.address.api}/app/installations/{one.id}"
    return {
        "id": one.id,
        "client_id": f"Iv23li{one.app.id}",
        "account": user(world, one.account),
        "repository_selection": "all" if one.repositories is None else "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{world.address.api}/installation/repositories",
        "html_url": f"{world.address.origin}/settings/installations/{one.id}",
        "app_id": one.app.id,
        "app_slug": one.app.slug,
        "target_id": one.account.id,
        "target_type": str(one.account.kind),
        "permissions": one.permissions,
        "events": list(one.app.events),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": user(world, one.account) if one.suspended_at else None,
        "suspended_at": stamp(one.suspended_at),
    }


def installation_reference(one: Installation) -> Json:
    """Show the installation an event was sent for."""
    encoded = base64.b64encode(f"Integration{one.id}".encode()).decode()
    return {"id": one.id, "node_id": encoded}


def installation_token(world: World, token: Token, narrowed: list[Repository] | None) -> Json:
    """Show a new installation token; this is the only time its value is seen."""
    shape: Json = {
        "token": token.value,
        "expires_at": stamp(token.expires_at),
        "permissions": token.permissions,
        "repository_selection": "all" if narrowed is None else "selected",
    }
    if narrowed is not None:
        shape["repositories"] = [repository(world, one) for one in narrowed]
    return shape


def delivery(one: Delivery, *, full: bool = False) -> Json:
    """Show a delivery; the list leaves the request and the response out."""
    shape: Json = {
        "id": one.id,
        "guid": one.guid,
        "delivered_at": stamp(one.delivered_at),
        "redelivery": one.redelivery,
        "duration": round(one.duration_s, 2),
        "status": one.status,
        "status_code": one.status_code,
        "event": one.event,
        "action": one.payload.get("action"),
        "installation_id": one.payload.get("installation", {}).get("id"),
        "repository_id": one.payload.get("repository", {}).get("id"),
        "throttled_at": None,
    }
    if full:
        shape["url"] = one.app.webhook_url or ""
        shape["request"] = {"headers": one.headers, "payload": one.payload}
        shape["response"] = {"headers": one.response_headers, "payload": one.response_body}
    return shape


# repositories and commits


def repository(world: World, one: Repository) -> Json:
    """Show a repository with the fields that every form of it has."""
    origin = world.address.origin
    url = f"{world.address.api}/repos/{one.full_name}"
    opened = sum(pull_.state == "open" for pull_ in one.pulls.values())
    forks = sum(other.parent is one for other in world.repositories.values())
    return {
        "id": one.id,
        "node_id": node("R", one.id),
        "name": one.name,
        "full_name": one.full_name,
        "owner": user(world, one.owner),
        "private": one.private,
        "visibility": "private" if one.private else "public",
        "html_url": f"{origin}/{one.full_name}",
        "description": None,
        "fork": one.parent is not None,
        "url": url,
        **{name: url + tail for name, tail in _REPOSITORY_URLS.items()},
        "git_url": f"git://{origin.partition('://')[2]}/{one.full_name}.git",
        "ssh_url": f"git@{origin.partition('://')[2]}:{one.full_name}.git",
        "clone_url": f"{origin}/{one.full_name}.git",
        "svn_url": f"{origin}/{one.full_name}",
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "topics": [],
        "is_template": False,
        "allow_forking": True,
        "web_commit_signoff_required": False,
        "size": 0,
        "default_branch": one.default_branch,
        **dict.fromkeys(("forks", "forks_count"), forks),
        **dict.fromkeys(("stargazers_count", "watchers", "watchers_count"), 0),
        **dict.fromkeys(("open_issues", "open_issues_count"), opened),
        **dict.fromkeys(("has_issues", "has_projects", "has_downloads", "has_wiki"), True),
        **dict.fromkeys(("has_pages", "has_discussions", "archived", "disabled"), False),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.pushed_at),
        "pushed_at": stamp(one.pushed_at),
    }


def full_repository(world: World, one: Repository) -> Json:
    """Show a repository by itself."""
    shape = repository(world, one) | {"subscribers_count": 0, "network_count": 0}
    if one.parent:
        shape["parent"] = shape["source"] = repository(world, one.parent)
    return shape


def repository_reference(one: Repository) -> Json:
    """Show a repository the way installation events do."""
    return {
        "id": one.id,
        "node_id": node("R", one.id),
        "name": one.name,
        "full_name": one.full_name,
        "private": one.private,
    }


def commit(world: World, owner: Repository, one: CommitInfo) -> Json:
    """Show a commit."""
    url = f"{world.address.api}/repos/{owner.full_name}"
    page = f"{world.address.origin}/{owner.full_name}/commit/"
    return {
        "sha": one.sha,
        "node_id": f"C_{one.sha}",
        "url": f"{url}/commits/{one.sha}",
        "html_url": page + one.sha,
        "comments_url": f"{url}/commits/{one.sha}/comments",
        "commit": {
            "url": f"{url}/git/commits/{one.sha}",
            "author": _person(one.author),
            "committer": _person(one.committer),
            "message": one.message,
            "comment_count": 0,
            "tree": {"sha": one.tree, "url": f"{url}/git/trees/{one.tree}"},
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        },
        "author": _account(world, one.author),
        "committer": _account(world, one.committer),
        "parents": [
            {"sha": sha, "url": f"{url}/commits/{sha}", "html_url": page + sha}
            for sha in one.parents
        ],
    }


def push(
    world: World, owner: Repository, branch: str, before: str | None, after: str, who: User
) -> Json:
    """Show a push to a branch."""
    info = owner.git.commit_info(after)
    person = {"name": info.author.name, "email": info.author.email, "username": who.login}
    head: Json = {
        "id": after,
        "tree_id": info.tree,
        "distinct": True,
        "message": info.message,
        "timestamp": stamp(info.author.at),
        "url": f"{world.address.origin}/{owner.full_name}/commit/{after}",
        "author": person,
        "committer": person,
        "added": [],
        "removed": [],
        "modified": [],
    }
    zero = "0" * 40
    return {
        "ref": f"refs/heads/{branch}",
        "before": before or zero,
        "after": after,
        "base_ref": None,
        "compare": f"{world.address.origin}/{owner.full_name}/compare/{branch}",
        "created": before is None,
        "deleted": False,
        "forced": before is not None and before not in info.parents,
        "commits": [head],
        "head_commit": head,
        "pusher": {"name": who.login, "email": who.email},
    }


def file_change(
    world: World, owner: Repository, one: FileChange, *, head: str, patch: bool
) -> Json:
    """Show one file of a comparison; `patch` is left out when GitHub would not send it."""
    path = quote(shown(one.path))
    page = f"{world.address.origin}/{owner.full_name}"
    url = f"{world.address.api}/repos/{owner.full_name}/contents/{path}?ref={head}"
    sha = one.old_sha if one.status == "removed" else one.new_sha
    plain = SUBMODULE not in {one.old_mode, one.new_mode}
    shape: Json = {
        "sha": sha,
        "filename": shown(one.path),
        "status": one.status,
        "additions": one.additions,
        "deletions": one.deletions,
        "changes": one.additions + one.deletions,
        "blob_url": f"{page}/blob/{head}/{path}" if plain else None,
        "raw_url": f"{page}/raw/{head}/{path}" if plain else None,
        "contents_url": url,
    }
    if patch and one.patch is not None:
        shape["patch"] = one.patch.decode("utf-8", "replace")
    if one.previous is not None:
        shape["previous_filename"] = shown(one.previous)
    return shape


# pull requests


def simple_pull(world: World, one: Pull) -> Json:
    """Show a pull request as lists do."""
    origin = world.address.origin
    api = f"{world.address.api}/repos/{one.repository.full_name}"
    url, page = (
        f"{api}/pulls/{one.number}",
        f"{origin}/{one.repository.full_name}/pull/{one.number}",
    )
    issue_url = f"{api}/issues/{one.number}"
    urls = {
        "html": page,
        "issue": issue_url,
        "comments": f"{issue_url}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{one.head_sha}",
    }
    return {
        "url": url,
        "id": one.id,
        "node_id": node("PR", one.id),
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        **{f"{name}_url": link for name, link in urls.items()},
        "number": one.number,
        "state": one.state,
        "locked": one.locked,
        "active_lock_reason": None,
        "title": one.title,
        "user": user(world, one.author),
        "body": one.body,
        "labels": [label(world, one, name) for name in one.labels],
        "milestone": None,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "closed_at": stamp(one.closed_at),
        "merged_at": stamp(one.merged_at),
        "merge_commit_sha": one.merge_commit_sha,
        "head": _branch(world, one.head_owner, one.head_ref, one.head_sha, one.head_repository),
        "base": _branch(world, one.repository.owner, one.base_ref, one.base_sha, one.repository),
        "_links": {"self": {"href": url}} | {name: {"href": link} for name, link in urls.items()},
        "author_association": association(one.repository, one.author),
        "auto_merge": None,
        "draft": one.draft,
    }


def pull(world: World, one: Pull) -> Json:
    """Show a pull request by itself."""
    changes = world.changes(one)
    return simple_pull(world, one) | {
        "merged": one.merged_at is not None,
        "mergeable": None,
        "rebaseable": None,
        "mergeable_state": "unknown",
        "merged_by": user(world, one.merged_by) if one.merged_by else None,
        "comments": len(one.comments),
        "review_comments": len(one.review_comments),
        "maintainer_can_modify": False,
        "commits": len(world.commits(one)),
        "additions": sum(change.additions for change in changes),
        "deletions": sum(change.deletions for change in changes),
        "changed_files": len(changes),
    }


def label(world: World, one: Pull, name: str) -> Json:
    """Show a label."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return {
        "id": number,
        "node_id": node("LA", number),
        "url": f"{world.address.api}/repos/{one.repository.full_name}/labels/{quote(name)}",
        "name": name,
        "description": None,
        "color": f"{number % 0xFFFFFF:06x}",
        "default": False,
        "archived_at": None,
        "archived_by": None,
    }


def issue(world: World, one: Pull) -> Json:
    """Show a pull request the way the issues API and `issue_comment` events do."""
    as_pull = simple_pull(world, one)
    url = as_pull["issue_url"]
    return {name: as_pull[name] for name in _SHARED_WITH_ISSUES} | {
        "url": url,
        "repository_url": f"{world.address.api}/repos/{one.repository.full_name}",
        "labels_url": f"{url}/labels{{/name}}",
        "events_url": f"{url}/events",
        "timeline_url": f"{url}/timeline",
        "id": one.id + 1,
        "node_id": node("I", one.id),
        "comments": len(one.comments),
        "performed_via_github_app": None,
        "state_reason": None,
        "reactions": rollup(url, []),
        "pull_request": {
            "url": as_pull["url"],
            "html_url": as_pull["html_url"],
            "diff_url": as_pull["diff_url"],
            "patch_url": as_pull["patch_url"],
            "merged_at": as_pull["merged_at"],
        },
    }


def association(owner: Repository, who: User) -> str:
    """Return how an account relates to a repository."""
    if who is owner.owner:
        return "OWNER"
    if owner.access.get(who.id, "none") != "none":
        return "MEMBER" if owner.owner.kind is Kind.ORGANIZATION else "COLLABORATOR"
    return "NONE"


def minimal_pull(world: World, one: Pull) -> Json:
    """Show a pull request the way check runs do."""
    api = f"{world.address.api}/repos/{one.repository.full_name}"
    home = {"id": one.repository.id, "url": api, "name": one.repository.name}
    return {
        "id": one.id,
        "number": one.number,
        "url": f"{api}/pulls/{one.number}",
        "head": {"ref": one.head_ref, "sha": one.head_sha, "repo": home},
        "base": {"ref": one.base_ref, "sha": one.base_sha, "repo": home},
    }


# comments and reviews


def issue_comment(world: World, one: IssueComment) -> Json:
    """Show a comment of the conversation."""
    repository_url = f"{world.address.api}/repos/{one.pull.repository.full_name}"
    url = f"{repository_url}/issues/comments/{one.id}"
    page = f"{world.address.origin}/{one.pull.repository.full_name}/pull/{one.pull.number}"
    return {
        "id": one.id,
        "node_id": node("IC", one.id),
        "url": url,
        "html_url": f"{page}#issuecomment-{one.id}",
        "issue_url": f"{repository_url}/issues/{one.pull.number}",
        "user": user(world, one.author.user),
        "body": one.body,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "author_association": association(one.pull.repository, one.author.user),
        "reactions": rollup(url, one.reactions),
        "performed_via_github_app": app(world, one.author.app) if one.author.app else None,
    }


def review(world: World, one: Review) -> Json:
    """Show a review; a pending one has no time."""
    as_pull = f"{one.pull.repository.full_name}/pull/{one.pull.number}"
    page = f"{world.address.origin}/{as_pull}#pullrequestreview-{one.id}"
    api = f"{world.address.api}/repos/{one.pull.repository.full_name}/pulls/{one.pull.number}"
    shape: Json = {
        "id": one.id,
        "node_id": node("PRR", one.id),
        "user": user(world, one.author.user),
        "body": one.body,
        "state": one.state,
        "html_url": page,
        "pull_request_url": api,
        "author_association": association(one.pull.repository, one.author.user),
        "_links": {"html": {"href": page}, "pull_request": {"href": api}},
        "commit_id": one.commit_id,
    }
    if one.submitted_at is not None:
        shape["submitted_at"] = stamp(one.submitted_at)
    return shape


def review_comment(world: World, one: ReviewComment) -> Json:
    """Show a comment on a line or a file."""
    of = one.pull
    thread = one.thread
    api = f"{world.address.api}/repos/{of.repository.full_name}/pulls"
    url = f"{api}/comments/{one.id}"
    page = f"{world.address.origin}/{of.repository.full_name}/pull/{of.number}#discussion_r{one.id}"
    pull_url = f"{api}/{of.number}"
    shape: Json = {
        "url": url,
        "pull_request_review_id": one.review.id,
        "id": one.id,
        "node_id": node("PRRC", one.id),
        "diff_hunk": thread.diff_hunk,
        "path": shown(thread.path),
        "commit_id": thread.commit_id,
        "original_commit_id": thread.original_commit_id,
        "user": user(world, one.author.user),
        "body": one.body,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "html_url": page,
        "pull_request_url": pull_url,
        "author_association": association(of.repository, one.author.user),
        "_links": {
            "self": {"href": url},
            "html": {"href": page},
            "pull_request": {"href": pull_url},
        },
        "reactions": rollup(url, one.reactions),
        **_place(thread.now, thread),
    }
    if thread.comments[0] is not one:
        shape["in_reply_to_id"] = thread.comments[0].id
    return shape


def reaction(world: World, one: Reaction) -> Json:
    """Show one reaction."""
    return {
        "id": one.id,
        "node_id": node("REA", one.id),
        "user": user(world, one.user),
        "content": one.content,
        "created_at": stamp(one.created_at),
    }


def rollup(url: str, reactions: list[Reaction]) -> Json:
    """Count reactions."""
    counts = {name: sum(one.content == name for one in reactions) for name in REACTIONS}
    return {"url": f"{url}/reactions", "total_count": len(reactions), **counts}


# checks


def check_run(world: World, one: CheckRun) -> Json:
    """Show a check run."""
    home = one.suite.repository
    url = f"{world.address.api}/repos/{home.full_name}/check-runs/{one.id}"
    return {
        "id": one.id,
        "name": one.name,
        "node_id": node("CR", one.id),
        "head_sha": one.suite.head_sha,
        "external_id": one.external_id,
        "url": url,
        "html_url": f"{world.address.origin}/{home.full_name}/runs/{one.id}",
        "details_url": one.details_url or f"{world.address.origin}/{one.suite.app.slug}",
        "status": one.status,
        "conclusion": one.conclusion,
        "started_at": stamp(one.started_at),
        "completed_at": stamp(one.completed_at),
        "output": {
            "title": one.output.get("title"),
            "summary": one.output.get("summary"),
            "text": one.output.get("text"),
            "annotations_count": len(one.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": one.suite.id},
        "app": app(world, one.suite.app),
        "pull_requests": pulls_at(world, home, one.suite.head_sha),
    }


def check_suite(world: World, one: CheckSuite) -> Json:
    """Show a check suite."""
    home = one.repository
    url = f"{world.address.api}/repos/{home.full_name}/check-suites/{one.id}"
    runs = [run for run in home.check_runs if run.suite is one]
    done = bool(runs) and all(run.status == "completed" for run in runs)
    info = home.git.commit_info(one.head_sha)
    return {
        "id": one.id,
        "node_id": node("CS", one.id),
        "head_branch": next(
            (name for name, sha in home.git.branches().items() if sha == one.head_sha), None
        ),
        "head_sha": one.head_sha,
        "status": "completed" if done else "queued",
        "conclusion": runs[-1].conclusion if done else None,
        "url": url,
        "before": None,
        "after": one.head_sha,
        "pull_requests": pulls_at(world, home, one.head_sha),
        "app": app(world, one.app),
        "repository": repository(world, home),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "head_commit": {
            "id": info.sha,
            "tree_id": info.tree,
            "message": info.message,
            "timestamp": stamp(info.author.at),
            "author": {"name": info.author.name, "email": info.author.email},
            "committer": {"name": info.committer.name, "email": info.committer.email},
        },
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{url}/check-runs",
    }


def webhook_check_run(world: World, one: CheckRun) -> Json:
    """Show a check run the way its events do, with its suite spelt out."""
    suite = check_suite(world, one.suite)
    return check_run(world, one) | {
        "check_suite": {name: suite[name] for name in _SHARED_WITH_EVENTS}
    }


def pulls_at(world: World, home: Repository, sha: str) -> list[Json]:
    """Return the open pull requests with this head; the ones from forks are left out."""
    return [
        minimal_pull(world, one)
        for one in home.pulls.values()
        if one.head_sha == sha and one.head_repository is home and one.state == "open"
    ]


# inside


def _person(one: Person) -> Json:
    return {"name": one.name, "email": one.email, "date": stamp(one.at)}


def _account(world: World, one: Person) -> Json | None:
    found = world.users.get(one.name.casefold())
    return user(world, found) if found else None


def _branch(world: World, owner: User, ref: str, sha: str, home: Repository | None) -> Json:
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": user(world, owner),
        "repo": repository(world, home) if home else None,
    }


def _place(now: Anchor, thread: Thread) -> Json:
    place: Json = {
        "subject_type": thread.subject,
        "side": now.side,
        "position": now.position,
        "original_position": thread.original.position,
        "line": now.line,
        "original_line": thread.original.line,
        "start_line": now.start_line,
        "original_start_line": thread.original.start_line,
        "start_side": now.start_side,
    }
    return place
