"""git over HTTP: fetches only, through git's own CGI program.

docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
"""

import subprocess
from email.parser import BytesHeaderParser
from http import HTTPStatus

from sandbox.github import auth
from sandbox.github.git import ENVIRONMENT
from sandbox.github.http import Refusal, Reply, Request, Routes
from sandbox.github.state import Repository
from sandbox.github.world import World

routes = Routes()
HOME = "/{owner}/{repo}.git"
CHALLENGE = {"WWW-Authenticate": 'Basic realm="GitHub"'}


@routes.on("GET", f"{HOME}/info/refs", by="everybody")
def advertise(world: World, request: Request) -> Reply:
    """Say what there is to fetch; git itself refuses to say what could be pushed."""
    return _backend(_readable(world, request), request, "/info/refs")


@routes.on("POST", f"{HOME}/git-upload-pack", by="everybody")
def upload_pack(world: World, request: Request) -> Reply:
    """Send what is asked for."""
    return _backend(_readable(world, request), request, "/git-upload-pack")


def _readable(world: World, request: Request) -> Repository:
    try:
        secret = auth.credentials(request)[1]
        request.token = auth.token(world, secret) if secret else None
    except Refusal as refusal:
        refusal.headers |= CHALLENGE
        raise
    if request.token is None and (request.found is None or request.found.private):
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Requires authentication", headers=CHALLENGE)
    repository = request.repository
    if not auth.can_see(world, request.token, repository):
        raise Refusal(HTTPStatus.NOT_FOUND, "Repository not found.")
    needs = (("contents", "read"),)
    if request.token and not auth.has(world, request.token, repository, *needs[0]):
        raise auth.inaccessible(request.token, needs)
    return repository


def _backend(repository: Repository, request: Request, action: str) -> Reply:
    path = repository.git.path
    environment = {
        **ENVIRONMENT,
        "GIT_PROJECT_ROOT": str(path.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{path.name}{action}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "http-backend"],
        input=request.body,
        capture_output=True,
        env=environment,
        check=False,
    )
    # what was asked for in vain is told in the answer, and by the exit code too
    if not done.stdout:
        done.check_returncode()
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    headers = dict(BytesHeaderParser().parsebytes(head).items())
    status = int(headers.pop("Status", "200").split()[0])
    return Reply(status=status, headers=headers, body=body)
