"""The command line: words to values, values to text and an exit code.

Progress goes to stderr, the result to stdout, and nothing else. Heavy imports stand where they are
used, so that ``postil --version`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from app import __version__
from app.core.findings import Severity
from app.core.policy import Effort
from app.errors import PostilError, UserError
from app.settings import Settings, read_usd

if TYPE_CHECKING:
    from app.core.review import Result

EXIT_COMPLETE, EXIT_GATE, EXIT_USAGE, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

NEVER = "never"
FORMATS = ("text", "json", "markdown", "sarif")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def run(
    arguments: Sequence[str],
    *,
    serve: Callable[[Settings, str], int],
    act: Callable[[], int],
) -> int:
    """Run one command and return its exit code; errors become one sentence on stderr.

    ``serve`` runs the webhook server with settings and role, ``act`` one step of a workflow: they
    stand beside this module.
    """
    try:
        options = _parser().parse_args(arguments, argparse.Namespace(serve=serve, act=act))
        return int(options.run(options))
    except UserError as error:
        _complain(error.message)
        return EXIT_USAGE
    except PostilError as error:
        _complain(f"nothing was reviewed: {error.message}")
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EXIT_INCOMPLETE


def exit_code(result: Result) -> int:
    """Say what a finished review means for a script: the gate first, then completeness."""
    from app.core.ledger import Conclusion  # noqa: PLC0415 - see the module's docstring

    if result.conclusion is Conclusion.FAILURE:
        return EXIT_GATE
    complete = result.planned or not result.ledger.unreviewed
    return EXIT_COMPLETE if complete else EXIT_INCOMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="postil",
        description="A pull-request reviewer that a team hosts itself.",
        epilog="Exit codes: 0 complete, gate passed; 1 gate failed; 2 usage or configuration; "
        "3 something was not reviewed; 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"postil {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_review(commands.add_parser("review", help="review a change"), plan=False)
    _add_review(commands.add_parser("plan", help="the same without a model call"), plan=True)
    server = commands.add_parser("serve", help="the webhook server")
    server.add_argument("--role", choices=("all", "web", "worker"), default="all")
    server.set_defaults(run=_serve)
    action = commands.add_parser("action", help="one step of a GitHub workflow")
    action.set_defaults(run=_act)
    providers = commands.add_parser("providers", help="the table of model services")
    providers.set_defaults(run=_providers)
    doctor = commands.add_parser("doctor", help="what is configured, what is reachable")
    doctor.add_argument("--model", action="store_true", help="ask the model small questions too")
    doctor.set_defaults(run=_doctor)
    config = commands.add_parser("config", help="the repository's policy file")
    config.add_argument("action", choices=("check", "show", "schema"))
    config.add_argument("file", nargs="?", type=Path, help="default: .postil.toml here")
    config.set_defaults(run=_config)
    return parser


def _add_review(parser: argparse.ArgumentParser, *, plan: bool) -> None:
    add = parser.add_argument
    add(
        "target",
        nargs="?",
        metavar="TARGET",
        help="nothing (this branch against its merge base), A..B, a .diff or .patch file, "
        "- (stdin), or a pull request's web address",
    )
    add("--repo", type=Path, metavar="DIR", help="the checkout; with a diff, what may be read")
    add("--base", metavar="REV", help="compare with this revision")
    add("--staged", action="store_true", help="only what is staged")
    add("--format", choices=FORMATS, default="text")
    add("-o", dest="output", type=Path, metavar="FILE", help="write the result there")
    add("--provider", metavar="ID", help="a model service: see postil providers")
    add("--model", metavar="NAME")
    add("--base-url", metavar="URL", help="the service's address up to and including its /v1")
    add("--effort", choices=[effort.value for effort in Effort])
    add("--max-cost", metavar="USD", help="never spend more than this")
    add("--fail-on", choices=[NEVER, *reversed(Severity)], help="exit 1 from this severity on")
    add("--focus", metavar="TEXT", default="", help="what to look at most")
    add("--no-model", action="store_true", help="the analyzers alone")
    add("--post", action="store_true", help="post the review on the pull request")
    add("-q", dest="quiet", action="store_true", help="no progress")
    add("-v", dest="verbose", action="store_true", help="more on stderr")
    parser.set_defaults(run=_review, plan=plan)


def _review(options: argparse.Namespace) -> int:
    from app.bootstrap.parts import ModelWish  # noqa: PLC0415 - see the module's docstring
    from app.bootstrap.reviews import Asked, review_target  # noqa: PLC0415 - the same
    from app.pipeline import Gate, Wishes  # noqa: PLC0415 - the same

    wishes = Wishes(
        effort=options.effort and Effort(options.effort),
        focus=options.focus,
        max_cost_usd=read_usd("--max-cost", options.max_cost),
        gate=options.fail_on
        and Gate(None if options.fail_on == NEVER else Severity(options.fail_on)),
        no_model=options.no_model,
        plan_only=options.plan,
    )
    asked = Asked(
        target=options.target,
        repo=options.repo,
        base=options.base,
        staged=options.staged,
        model=ModelWish(options.provider, options.model, options.base_url),
        wishes=wishes,
        post=options.post,
        quiet=options.quiet,
    )
    if options.output is not None and not options.output.parent.is_dir():
        raise UserError(f"-o: there is no folder {options.output.parent}")
    result = review_target(asked, Settings.read(os.environ))
    _write(_render(result, options), options.output)
    return EXIT_INTERRUPTED if result.interrupted else exit_code(result)


def _render(result: Result, options: argparse.Namespace) -> str:
    if options.format == "json":
        from app.core.report import to_json  # noqa: PLC0415 - see the module's docstring

        return json.dumps(to_json(result), indent=2, ensure_ascii=False) + "\n"
    if options.format == "sarif":
        from app.core.sarif import to_sarif  # noqa: PLC0415 - see the module's docstring

        report = to_sarif(result.findings, tool_version=__version__, head_sha=result.head_sha)
        return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if options.format == "markdown":
        from app.core.review import to_markdown  # noqa: PLC0415 - see the module's docstring

        return to_markdown(result)
    from app.adapters.console import to_text  # noqa: PLC0415 - see the module's docstring

    colour = options.output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return to_text(result, colour=colour)


def _write(text: str, output: Path | None) -> None:
    data = text.encode("utf-8", errors="backslashreplace")
    if output is None:
        _print(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UserError(f"-o: {output} can't be written: {error.strerror}") from None


def _print(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise UserError(f"the result can't be written: {error.strerror}") from None


def _drop_output() -> None:
    """Point stdout nowhere: what could not be written would fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _serve(options: argparse.Namespace) -> int:
    return int(options.serve(Settings.read(os.environ), options.role))


def _act(options: argparse.Namespace) -> int:
    return int(options.act())


def _providers(_: argparse.Namespace) -> int:
    from app.bootstrap.doctor import providers_table  # noqa: PLC0415 - see the module's docstring

    _write(providers_table(Settings.read(os.environ)), None)
    return EXIT_COMPLETE


def _doctor(options: argparse.Namespace) -> int:
    from app.bootstrap.doctor import examine  # noqa: PLC0415 - see the module's docstring

    report = examine(Settings.read(os.environ), ask_model=options.model)
    _write(report.text, None)
    return EXIT_COMPLETE if report.healthy else EXIT_INCOMPLETE


def _config(options: argparse.Namespace) -> int:
    from app.core import policy  # noqa: PLC0415 - see the module's docstring

    if options.action == "schema":
        _write(json.dumps(policy.policy_schema(), indent=2) + "\n", None)
        return EXIT_COMPLETE
    path = options.file or _policy_file()
    try:
        data = path.read_bytes() if path else None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    read = policy.parse_policy(data, str(path) if path else ".postil.toml")
    if options.action == "show":
        _write(policy.policy_to_toml(read), None)
        return EXIT_COMPLETE
    if not read.notes:
        _write(f"{path}: ok\n" if path else "no policy file here: the defaults apply\n", None)
        return EXIT_COMPLETE
    for note in read.notes:
        _complain(note)
    return EXIT_USAGE


def _policy_file() -> Path | None:
    from app.pipeline import POLICY_PATHS  # noqa: PLC0415 - see the module's docstring

    return next((Path(path) for path in POLICY_PATHS if Path(path).is_file()), None)


def _complain(sentence: str) -> None:
    sys.stderr.write(f"postil: {sentence}\n")
