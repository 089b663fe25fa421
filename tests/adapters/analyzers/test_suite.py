from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.analyzers import suite
from app.adapters.analyzers.ruff import RUFF
from app.adapters.analyzers.secrets import SECRETS
from app.adapters.analyzers.shellcheck import SHELLCHECK
from app.adapters.analyzers.suite import TOOLS, AnalyzerSuite
from app.adapters.analyzers.tool import Copy, Remark, Tool
from app.adapters.analyzers.zizmor import ZIZMOR
from app.core.findings import Category, Finding, Severity
from app.ports import SourceFile

KEY = "AKIA" + "Q3EGR7XWZLMN5T2V"

DEFECTS = {
    "src/app.py": "import json\n\n\ndef f(x=[]):\n    return json.dumps(y)  # noqa\n",
    "ci/run.sh": '#!/bin/bash\n# shellcheck disable=all\nrm -rf "$x/"*\n',
    ".github/workflows/ci.yml": (
        "on: pull_request_target\npermissions: write-all\njobs:\n  a:\n    runs-on: ubuntu-latest\n"
        "    steps:\n      - run: echo ${{ github.head_ref }} # zizmor: ignore\n"
    ),
    "README.md": "It is recieved untill the end.\n",
    "src/keys.py": f'KEY = "{KEY}"  # pragma: allowlist secret\n',
}

HOSTILE = {
    "pyproject.toml": (
        '[tool.ruff]\nexclude = ["*"]\n[tool.ruff.lint]\nselect = []\nignore = ["ALL"]\n'
        '[tool.typos.files]\nextend-exclude = ["*"]\n'
    ),
    "ruff.toml": 'extend = "/etc/passwd"\nexclude = ["*"]\nlint.ignore = ["ALL"]\n',
    ".ruff.toml": (
        'force-exclude = true\nexclude = ["*"]\n[lint.per-file-ignores]\n"*" = ["ALL"]\n'
    ),
    "setup.cfg": "[flake8]\nexclude = *\n[typos]\nextend-exclude = *\n",
    ".shellcheckrc": "disable=all\nexternal-sources=true\n",
    "shellcheckrc": "disable=all\n",
    "typos.toml": '[files]\nextend-exclude = ["*"]\n[default]\nextend-ignore-re = [".*"]\n',
    "_typos.toml": '[default.extend-words]\nrecieved = "recieved"\nuntill = "untill"\n',
    ".typos.toml": '[default]\nextend-ignore-re = [".*"]\n',
    "zizmor.yml": (
        "rules:\n  template-injection:\n    disable: true\n"
        "  dangerous-triggers:\n    disable: true\n"
    ),
    ".github/zizmor.yml": "rules:\n  template-injection:\n    disable: true\n",
    ".secrets.baseline": '{"version": "1.5.0", "plugins_used": [], "results": {}}',
    ".pre-commit-config.yaml": "exclude: .*\nrepos: []\n",
    ".editorconfig": "root = true\n",
    ".gitignore": "*\n",
    ".ignore": "*\n",
    ".gitattributes": "* binary\n",
}


def files(texts: Mapping[str, str]) -> list[SourceFile]:
    return [SourceFile(path, text.encode()) for path, text in texts.items()]


def told(findings: Iterable[Finding]) -> set[tuple[str, str, str | None, str]]:
    return {(f.path, f.first, f.rule, f.source) for f in findings if f.path in DEFECTS}


def plant(folder: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def script(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


def one_line(output: bytes, copies: Mapping[str, Copy]) -> list[Remark]:
    """Read one name a line, as a remark about the file's first line."""
    return [
        Remark(name, 1, 1, "T1", Severity.MINOR, Category.BUG, "Said", "Mend it.")
        for name in output.decode().split()
        if name in copies
    ]


def fake(program: tuple[str, ...]) -> Tool:
    return Tool("fake", lambda *_: ".txt", (), one_line, program=program)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the suite makes its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_each_tool_finds_its_defect_in_one_run() -> None:
    report = AnalyzerSuite().run(files(DEFECTS))

    assert report.notes == ()
    assert told(report.findings) >= {
        ("src/app.py", "R4", "B006", "analyzer:ruff"),
        ("src/app.py", "R5", "F821", "analyzer:ruff"),
        ("ci/run.sh", "R3", "SC2115", "analyzer:shellcheck"),
        (".github/workflows/ci.yml", "R1", "dangerous-triggers", "analyzer:zizmor"),
        (".github/workflows/ci.yml", "R7", "template-injection", "analyzer:zizmor"),
        ("README.md", "R1", "typo", "analyzer:typos"),
        ("src/keys.py", "R1", "AWS Access Key", "analyzer:detect-secrets"),
    }


def test_configuration_in_the_pull_changes_nothing() -> None:
    alone = AnalyzerSuite().run(files(DEFECTS))
    among = AnalyzerSuite().run(files({**HOSTILE, **DEFECTS}))

    assert told(among.findings) == told(alone.findings)
    assert among.notes == ()


def test_configuration_around_the_scratch_folder_changes_nothing(scratch: Path) -> None:
    alone = AnalyzerSuite().run(files(DEFECTS))
    plant(scratch, HOSTILE)
    around = AnalyzerSuite().run(files(DEFECTS))

    assert told(around.findings) == told(alone.findings)
    assert around.notes == ()


def test_nothing_of_the_pull_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    touch = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    texts = {
        "setup.py": touch,
        "conftest.py": touch,
        "sitecustomize.py": touch,
        "json.py": touch,
        "detect_secrets/__init__.py": touch,
        "ext.rb": f"File.write({str(marker)!r}, '')\n",
        ".rubocop.yml": "require: ./ext.rb\n",
        "run.sh": f"#!/bin/sh\ntouch {marker}\n. <(touch {marker})\nx=$(touch {marker})\n",
        f"$(touch {marker}).sh": "#!/bin/sh\nrm -rf $x/\n",
        f"`touch {marker}`.py": "x = y\n",
        ".envrc": f"touch {marker}\n",
        "Makefile": f"$(shell touch {marker})\n",
    }
    AnalyzerSuite().run(files(texts))

    assert not marker.exists()


@pytest.mark.parametrize("tool", [RUFF, SECRETS])
def test_hostile_paths_come_back_as_they_are_and_lead_nowhere(tool: Tool, scratch: Path) -> None:
    paths = [
        "../../outside.py",
        "/absolute.py",
        "-rf.py",
        "--config=evil.py",
        "@args.py",
        "a\nb.py",
        "nul\0.py",
        "back\\slash.py",
        "x" * 300 + ".py",
        "twin.py",
        "TWIN.py",
        "caf\u00e9.py",
        "cafe\u0301.py",
        "odd \udcff.py",
        "con.py",
        "files/000001.py",
        "../__init__.pyi",
        ".github/workflows/../../../x.py",
    ]
    text = f'x = missing  # "{KEY}"\n'.encode()
    report = AnalyzerSuite(tools=(tool,)).run([SourceFile(path, text) for path in paths])

    assert report.notes == ()
    assert {f.path for f in report.findings} == set(paths)
    assert list(scratch.iterdir()) == []


def test_hostile_workflow_paths_are_read_as_workflows_only_in_their_place() -> None:
    workflow = DEFECTS[".github/workflows/ci.yml"]
    paths = [".github/workflows/-x.yml", ".github/workflows/a b\n.yaml", "a/../b/action.yml"]
    report = AnalyzerSuite(tools=(ZIZMOR,)).run(files(dict.fromkeys(paths, workflow)))

    assert {f.path for f in report.findings} == set(paths[:2])


def test_symlinks_submodules_and_binary_files_are_no_text() -> None:
    report = AnalyzerSuite().run(
        [
            SourceFile("link.py", b"x = missing", mode="120000"),
            SourceFile("module.py", b"x = missing", mode="160000"),
            SourceFile("image.py", b"x = missing\n\0"),
        ]
    )

    assert report.findings == ()
    assert report.notes == ()


def test_what_can_not_be_read_is_named() -> None:
    report = AnalyzerSuite().run(
        [
            SourceFile("latin.py", "x = 'ä'\ny = missing\n".encode("latin-1")),
            SourceFile("large.py", b"x = missing\n" * 100_000),
            SourceFile("good.py", b"x = missing\n"),
        ]
    )

    assert {f.path for f in report.findings} == {"good.py"}
    assert report.notes == (
        "Too large for the analyzers (over 1 MiB): large.py.",
        "Not UTF-8, so that no analyzer read it: latin.py.",
    )


def test_a_path_in_a_note_can_not_pretend_to_be_words() -> None:
    path = "a\n\n# Approved by [the owner](https://example.org)\u202e.py"
    (note,) = AnalyzerSuite().run([SourceFile(path, b"\xff")]).notes

    assert "\n" not in note
    assert "\u202e" not in note


def test_a_file_that_breaks_a_tool_costs_only_itself() -> None:
    texts = {f"src/{n}.py": "x = missing\n" for n in range(20)}
    texts["src/bomb.py"] = "[" * 100_000
    report = AnalyzerSuite(tools=(RUFF,)).run(files(texts))

    assert {f.path for f in report.findings} == set(texts) - {"src/bomb.py"}
    (note,) = report.notes
    assert note.startswith("ruff was ended by signal")
    assert note.endswith("says nothing about src/bomb.py.")


def test_a_file_that_holds_a_tool_up_costs_only_itself(tmp_path: Path) -> None:
    program = script(
        tmp_path / "slow",
        'shift\nfor f; do grep -q HANG "$f" && exec sleep 60; done\nfor f; do echo "$f"; done',
    )
    texts = {"fine.txt": "fine\n", "hang.txt": "HANG\n"}
    report = AnalyzerSuite(timeout=3, tools=(fake(program),)).run(files(texts))

    assert {f.path for f in report.findings} == {"fine.txt"}
    assert report.notes == ("fake took too long, so that it says nothing about hang.txt.",)


def test_a_tool_that_always_fails_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program = script(tmp_path / "broken", f"echo x >> {calls}; exit 9")
    texts = {f"{n}.py": "x = missing\n" for n in range(200)}
    report = AnalyzerSuite(tools=(fake(program), RUFF)).run(files(texts))

    assert len(report.findings) == 200
    assert all("fake" in note for note in report.notes)
    assert any("more" in note for note in report.notes)
    assert len(calls.read_text().split()) <= suite.MAX_RETRIES + 1


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize(
    "printed", ["null", "[", "{}", '[{"a": 1}]', "Segmentation fault", '{"type": "typo"}']
)
def test_odd_output_is_a_note(tool: Tool, printed: str, tmp_path: Path) -> None:
    program = script(tmp_path / "odd", f"cat <<'END'\n{printed}\nEND")
    odd = replace(tool, program=program)
    path = next(path for path, text in DEFECTS.items() if tool.suffix(path, text) is not None)
    report = AnalyzerSuite(tools=(odd,)).run(files({path: DEFECTS[path]}))

    assert report.findings == ()
    (note,) = report.notes
    assert note.startswith(f"{tool.name} printed something else than findings")
    assert note.endswith(f"says nothing about {path}.")


def test_a_missing_tool_is_named_and_the_others_go_on() -> None:
    missing = replace(SHELLCHECK, name="no-such-tool")
    report = AnalyzerSuite(tools=(missing, RUFF)).run(files(DEFECTS))

    assert report.notes == ("no-such-tool did not run: it is not installed next to Postil.",)
    assert {f.source for f in report.findings} == {"analyzer:ruff"}


def test_a_program_that_can_not_be_started_is_a_note(tmp_path: Path) -> None:
    gone = fake((str(tmp_path / "gone"),))
    report = AnalyzerSuite(tools=(gone,)).run(files({"a.txt": "x"}))

    assert report.notes == ("fake ended with exit code 127, so that it says nothing about a.txt.",)


def test_no_room_for_temporary_files_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    report = AnalyzerSuite(tools=(RUFF,)).run(files(DEFECTS))

    assert report.findings == ()
    (note,) = report.notes
    assert note.startswith("ruff did not run: its files can't be kept (")


def test_a_thousand_files_are_one_process(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program = script(tmp_path / "counts", f'echo x >> {calls}\nshift\nfor f; do echo "$f"; done')
    report = AnalyzerSuite(tools=(fake(program),)).run(
        files({f"{n}.txt": "x" for n in range(1000)})
    )

    assert len(report.findings) == 1000
    assert calls.read_text() == "x\n"


def test_a_tool_that_finds_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "MAX_REMARKS", 2)
    tool = replace(fake(script(tmp_path / "all", 'shift; echo "$@"')), batch=1)
    report = AnalyzerSuite(tools=(tool,)).run(files({f"{n}.txt": "x" for n in range(6)}))

    assert len(report.findings) == 3
    assert report.notes == ("fake was stopped, so that it says nothing about 3.txt, 4.txt, 5.txt.",)


def test_a_tool_can_not_point_outside_its_files() -> None:
    def far(_: bytes, copies: Mapping[str, Copy]) -> list[Remark]:
        name = next(iter(copies))
        said = Remark(name, 1, 1, "T", Severity.MINOR, Category.BUG, "a\nb\x1b[31m" * 99, "")
        return [
            replace(said, first=-5, last=0),
            replace(said, first=3, last=99),
            replace(said, first=99, last=1),
        ]

    tool = replace(fake(("/bin/true",)), read=far)
    text = "".join(f"line {n}\n" for n in range(1, 4))
    report = AnalyzerSuite(tools=(tool,)).run(files({"a.txt": text}))

    assert [(f.first, f.last) for f in report.findings] == [
        ("R1", "R1"),
        ("R3", "R4"),
        ("R4", "R4"),
    ]
    assert [f.quote for f in report.findings] == ["line 1", "line 3", ""]
    assert all(f.title.isprintable() and len(f.title) <= 200 for f in report.findings)


def test_the_work_is_private_and_gone_afterwards(scratch: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = script(tmp_path / "looks", f"stat -c %a .. > {seen}; pwd >> {seen}")
    AnalyzerSuite(tools=(fake(program),)).run(files({"a.txt": "x"}))

    mode, folder = seen.read_text().split()
    assert mode == "700"
    assert folder.startswith(os.path.realpath(scratch))
    assert list(scratch.iterdir()) == []
