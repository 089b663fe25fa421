"""How a step speaks to the runner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.adapters.workflow import (
    KEPT,
    Notice,
    annotation_commands,
    fence,
    format_outputs,
    mask_command,
    printable,
    scrub,
)
from tests.action.runner import TRAPS, Ran, obey, parse_outputs

TEXTS = st.text(st.sampled_from("ab\n:,%=<{}0AD \r"), max_size=40)


@given(st.dictionaries(st.sampled_from(["verdict", "findings"]), TEXTS))
def test_outputs_are_read_back_as_they_were(values: dict[str, str]) -> None:
    assert parse_outputs(format_outputs(values)) == values


@given(TEXTS, TEXTS, TEXTS)
def test_an_annotation_is_one_line_and_read_back_as_it_was(
    title: str, message: str, path: str
) -> None:
    (line,) = annotation_commands([Notice("error", title, message, path, 3, 4)])
    assert "\n" not in line
    assert "\r" not in line
    ran = obey(Ran(0, line, {}, ""))
    assert ran.notices == [
        {
            "kind": "error",
            "title": title,
            "message": message,
            "file": path,
            "line": "3",
            "endLine": "4",
        }
    ]


def test_nothing_between_the_fences_is_obeyed() -> None:
    stop, resume = fence()
    ran = obey(Ran(0, f"{stop}\n::add-mask::a\n::error::b\n{resume}\n::notice::c\n", {}, ""))
    assert (ran.masked, [one["message"] for one in ran.notices]) == ([], ["c"])
    assert fence() != (stop, resume)


def test_a_secret_of_many_lines_is_masked_line_by_line() -> None:
    assert list(mask_command("one\n two%\n\n")) == ["::add-mask::one", "::add-mask::two%25"]


def test_no_control_character_reaches_the_log() -> None:
    assert list(printable(["a\x1b[31m\r\u2028b\tc"])) == ["a?[31m??b\tc"]


def test_what_a_child_needs_stays_in_the_environment_and_nothing_else() -> None:
    environ = {**TRAPS, "PATH": "/bin", "NOVITA_API_KEY": "k", "HTTPS_PROXY": "p"}
    scrub(environ)
    assert environ == {"PATH": "/bin", "HTTPS_PROXY": "p"}
    assert not [name for name in KEPT if "TOKEN" in name or "KEY" in name]
