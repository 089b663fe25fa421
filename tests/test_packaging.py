"""The wheel, the action's own installation and the container's files: what users get is whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.settings import Settings
from tests.action.runner import read_action

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL = 1_000_000
PATCH = b"""--- /dev/null
+++ b/tool.py
@@ -0,0 +1,3 @@
+import subprocess
+
+subprocess.run("ls " + input(), shell=True)
"""
LOCKED = "--require-hashes --no-deps --only-binary :all:"


def run(*command: str | Path, cwd: Path, stdin: bytes = b"", code: int = 0) -> str:
    """Run a program with nothing of this checkout in reach."""
    environ = {"PATH": os.defpath, "HOME": str(cwd), "LANG": "C.UTF-8"}
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        command, cwd=cwd, env=environ | pip, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir")
    run(*command, folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def use_wheel(python: Path, wheel: Path, folder: Path) -> None:
    """Install the wheel alone and do with it what a newcomer does first."""
    pip = (python, "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    postil = python.parent / "postil"
    assert run(postil, "--version", cwd=folder) == f"postil {__version__}\n"
    text = run(postil, "review", "--no-model", "-q", "-", cwd=folder, stdin=PATCH)
    assert "tool.py:3" in text
    assert "novita" in run(postil, "providers", cwd=folder)
    found = run(
        python,
        "-I",
        "-c",
        "from app.bootstrap import parts; import app; parts.load_templates(); print(app.__file__)",
        cwd=folder,
    )
    assert str(python.parents[1]) in found


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_what_is_read_at_run_time(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_WHEEL
    names = set(zipfile.ZipFile(wheel).namelist())
    prompts = {f"app/prompts/{path.name}" for path in (ROOT / "prompts").glob("*.j2")}
    assert prompts
    pages = {f"app/web/templates/{path.name}" for path in (ROOT / "app/web/templates").iterdir()}
    assert len(pages) > 1
    assert names >= prompts | pages | {"app/adapters/models/providers.toml", "app/action.py"}
    assert not [name for name in names if name.startswith(("tests", "sandbox", "bench"))]


@pytest.mark.slow
def test_the_wheel_works_beside_its_requirements(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-I", "-m", "venv", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # the requirements as they are installed here; their .pth files are not read from there
    (packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for tool in ("ruff", "shellcheck", "zizmor", "typos"):
        (python.parent / tool).symlink_to(Path(sysconfig.get_path("scripts")) / tool)
    use_wheel(python, wheel, tmp_path)


@pytest.mark.slow
def test_the_action_installs_itself_from_its_checkout_and_the_lock_file(
    wheel: Path, tmp_path: Path
) -> None:
    install, _ = read_action()["runs"]["steps"]
    environ = {
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "PATH"))},
        "HOME": os.environ.get("HOME", str(tmp_path)),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTION_PATH": str(ROOT),
    }
    for _ in range(2):  # the second time there is nothing to do
        subprocess.run(["bash", "-c", install["run"]], env=environ, cwd=tmp_path, check=True)
    venv = tmp_path / "postil-venv"
    python = venv / "bin" / "python"
    told = run(python, "-I", "-m", "app", "--version", cwd=tmp_path)
    assert told == f"postil {__version__}\n"
    assert "tool.py:3" in run(
        *(python, "-I", "-m", "app", "review", "--no-model", "-q", "-"), cwd=tmp_path, stdin=PATCH
    )
    (link,) = venv.glob("lib/python*/site-packages/postil.pth")
    link.unlink()
    use_wheel(python, wheel, tmp_path)


def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    install, _ = read_action()["runs"]["steps"]
    (tmp_path / "bash").symlink_to("/bin/bash")
    environ = {"PATH": str(tmp_path), "RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": "/x"}
    done = subprocess.run(
        ["/bin/bash", "-c", install["run"]], env=environ, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"::error title=Postil::Postil needs Python 3.11" in done.stdout


def test_the_lock_file_names_every_requirement_of_the_project() -> None:
    import tomllib  # noqa: PLC0415 - here alone

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=\[]", one)[0].lower() for one in project["dependencies"]}
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    assert wanted <= locked
    assert project["scripts"] == {"postil": "app.__main__:main"}


# The container.


def instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile as (instruction, the rest), continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").split("\n") if line.strip()]
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_image_is_slim_built_in_two_stages_and_pinned_by_version() -> None:
    first, second = of("FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+ AS build", first)
    assert second == f"{first.removesuffix(' AS build')} AS run"


def test_the_image_installs_the_lock_file_by_hash_and_nothing_else_from_an_index() -> None:
    (install,) = [line for line in of("RUN") if "pip install" in line]
    assert f"{LOCKED} -r requirements.lock" in install
    locked = read_action()["runs"]["steps"][0]["run"].replace("\\\n", "")
    assert LOCKED in " ".join(locked.split()), "the action installs the same way"
    for copied in of("COPY"):
        for name in copied.split()[:-1]:
            if not name.startswith(("--", "/")):
                assert (ROOT / name).exists(), name
                assert f"!{name}" in (ROOT / ".dockerignore").read_text().split()


@pytest.mark.slow
def test_what_the_image_runs_works_from_its_layout(tmp_path: Path) -> None:
    """Carry out the build's RUN steps in another root.

    One locked requirement stands for all there: the action's test installs the whole lock file with
    the same words. The others are this environment's.
    """
    home = tmp_path / "opt" / "postil"
    home.mkdir(parents=True)
    lock = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    (typos,) = [one for one in lock if one.startswith("typos==")]
    (home / "requirements.lock").write_text(f"{typos}\n")
    install, place, prepare = of("RUN")
    run("bash", "-ec", f'python() {{ {sys.executable} "$@"; }}\n{install}', cwd=home)
    assert "typos" in run(home / "bin" / "typos", "--version", cwd=tmp_path)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for name in ("app", "prompts"):
        shutil.copytree(ROOT / name, home / "source" / name)
    run("bash", "-ec", place.replace("/opt/postil", str(home)), cwd=home)
    postil = home / "bin" / "postil"
    assert run(postil, "--version", cwd=tmp_path) == f"postil {__version__}\n"
    assert "1 request" in run(postil, "plan", "-q", "-", cwd=tmp_path, stdin=PATCH)
    (make_data,) = [part.strip() for part in prepare.split("&&") if "--directory" in part]
    if os.geteuid() == 0:  # nobody else may give a directory away
        run("bash", "-ec", make_data.replace("/data", str(tmp_path / "data")), cwd=tmp_path)
        found = (tmp_path / "data").stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10001, 10001, 0o700)


def test_the_image_runs_the_server_as_nobody_in_particular() -> None:
    assert of("USER") == ["10001:10001"]
    assert of("CMD") == ['["serve"]']
    assert of("ENTRYPOINT") == ['["postil"]']
    assert of("VOLUME") == ['["/data"]']
    environ = dict(pair.split("=", 1) for line in of("ENV") for pair in line.split())
    settings = Settings.read(environ)
    assert (settings.host, str(settings.data_dir), settings.port) == ("0.0.0.0", "/data", 8000)  # noqa: S104 - in a container
    assert "secret" not in (ROOT / "Dockerfile").read_text().lower()


def test_the_image_looks_after_its_health() -> None:
    (check,) = of("HEALTHCHECK")
    assert "/readyz" in check
    program = json.loads(check[check.index("[") :])[-1]
    compile(program, "HEALTHCHECK", "exec")


def test_secrets_and_histories_stay_out_of_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert not [name for name in ignored if name.startswith("!.")]


def service_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(found["services"][name])


def test_compose_runs_two_workers_with_names_of_their_own_on_one_database() -> None:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())
    names = [name for name in found["services"] if name.startswith("postil")]
    assert len(names) == 2
    workers = set()
    for name in names:
        service = service_of(found, name)
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["depends_on"]["database"]["condition"] == "service_healthy"
        environ = service["environment"]
        workers.add(environ["POSTIL_WORKER_ID"])
        url = environ["POSTIL_DATABASE_URL"]
        assert url.startswith("postgresql://")
        Settings.read({"POSTIL_WORKER_ID": environ["POSTIL_WORKER_ID"]})
    assert len(workers) == 2
    assert re.search(r"postgres:\d+\.\d+-", service_of(found, "database")["image"])


def test_kubernetes_gives_each_pod_a_name_that_lasts_and_both_probes() -> None:
    documents = list(yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text()))
    (workload,) = [one for one in documents if one["kind"] == "StatefulSet"]
    spec = workload["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert spec["securityContext"]["runAsUser"] == 10001
    worker = next(one for one in container["env"] if one["name"] == "POSTIL_WORKER_ID")
    assert worker["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert spec["automountServiceAccountToken"] is False
    assert workload["spec"]["serviceName"] in {
        one["metadata"]["name"] for one in documents if one["kind"] == "Service"
    }


# What well-kept tools say of the files people copy, and that they would have said it.

WORKFLOWS = sorted((ROOT / "docs" / "workflows").glob("*.yml"))
SCHEMA = ("check-jsonschema", "--builtin-schema")
CHECKS = [
    ((*SCHEMA, "vendor.compose-spec"), ROOT / "compose.yaml", ("read_only: true", "readonly: 1")),
    ((*SCHEMA, "vendor.github-actions"), ROOT / "action.yml", ("using: composite", "using: magic")),
    *[((*SCHEMA, "vendor.github-workflows"), path, ("runs-on:", "run-on:")) for path in WORKFLOWS],
    (
        ("kubernetes-validate", "--strict"),
        ROOT / "docs" / "kubernetes.yaml",
        ("containerPort:", "containerport:"),
    ),
    (("hadolint",), ROOT / "Dockerfile", ("FROM python:3.11.14-slim-trixie", "FROM python")),
]


@pytest.mark.parametrize(("command", "path", "slip"), CHECKS, ids=lambda value: str(value)[-30:])
def test_what_people_copy_passes_its_checker_and_a_slip_does_not(
    tmp_path: Path, command: tuple[str, ...], path: Path, slip: tuple[str, str]
) -> None:
    tool = Path(sysconfig.get_path("scripts")) / command[0]
    wrong = tmp_path / path.name
    assert slip[0] in path.read_text()
    wrong.write_text(path.read_text().replace(*slip))
    run(tool, *command[1:], path, cwd=tmp_path)
    broken = subprocess.run([tool, *command[1:], wrong], capture_output=True, check=False)
    assert broken.returncode != 0, "the checker looks away"
