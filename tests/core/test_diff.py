from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.diff import (
    MAX_LINE_NUMBER,
    ChangeKind,
    Diff,
    FileDiff,
    Hunk,
    RawFile,
    Side,
    commentable,
    map_lines,
    parse_diff,
    parse_file,
    parse_patch_text,
)
from app.errors import UserError
from tests.repos import Repo, Tree, changes, make_repo, split_lines

PATCH = "@@ -1,3 +1,3 @@ def f():\n a\n-b\n+c\n d"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return make_repo(tmp_path_factory.mktemp("diff"))


def file_of(patch: str | bytes | None, /, **facts: object) -> FileDiff:
    defaults: dict[str, object] = {"path": "a.py", "kind": ChangeKind.MODIFIED, "patch": patch}
    return parse_file(RawFile(**(defaults | facts)))  # type: ignore[arg-type] # facts vary


def decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def assert_lines_are_gits(file: FileDiff, old: Tree, new: Tree) -> None:
    """Every line that we call commentable has the text that git has there."""
    blobs = {
        Side.LEFT: old.get((file.old_path or file.path).encode(), b""),
        Side.RIGHT: new.get(file.path.encode(), b""),
    }
    lines = {side: split_lines(data) for side, data in blobs.items()}
    for (side, number), (_, line) in commentable(file).items():
        assert line.text == decoded(lines[side][number - 1])
        last = number == len(lines[side]) and not blobs[side].endswith(b"\n")
        assert line.no_newline == last or line.mark == " "


# The main property, over real git.


@given(changes(), st.integers(0, 4), st.sampled_from([[], ["--no-prefix"], ["--no-renames"]]))
def test_every_line_of_a_git_diff_is_where_git_has_it(
    repo: Repo, change: tuple[Tree, Tree], context: int, options: list[str]
) -> None:
    before, after = repo.import_trees(*change)
    text = repo.git("diff", f"-U{context}", *options, before, after)
    listing = repo.git("diff", "--numstat", "-z", "--no-renames", before, after)
    if not text:
        assert not listing
        return
    diff = parse_diff(parse_patch_text(text))
    old, new = (
        {path.decode(errors="backslashreplace").encode(): data for path, data in tree.items()}
        for tree in change
    )
    touched = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    named = {file.path for file in diff.files} | {file.old_path for file in diff.files}
    assert named - {None} == {path.decode() for path in touched}
    for file in diff.files:
        assert file.fault is None
        binary = b"\0" in old.get((file.old_path or file.path).encode(), b"") + new.get(
            file.path.encode(), b""
        )
        assert (file.unsupported == "binary") == binary
        assert file.changed_lines == sum(hunk.changed_lines for hunk in file.hunks)
        assert_lines_are_gits(file, old, new)


@given(changes(), st.integers(0, 10_000))
def test_a_cut_git_diff_never_raises_and_never_loses_a_file_it_has_begun(
    repo: Repo, change: tuple[Tree, Tree], at: int
) -> None:
    before, after = repo.import_trees(*change)
    whole = repo.git("diff", before, after)
    text = whole[: at % (len(whole) + 1)]
    headers = len(re.findall(rb"^diff --git .*\n", text, re.MULTILINE))
    if not headers:
        return
    files = parse_diff(parse_patch_text(text)).files
    assert len(files) >= headers
    complete = parse_diff(parse_patch_text(whole)).files
    for cut, full in zip(files[: headers - 1], complete, strict=False):
        assert cut == full


def test_a_patch_cut_anywhere_is_a_fault_or_whole() -> None:
    for end in range(len(PATCH)):
        file = file_of(PATCH[:end], additions=1, deletions=1)
        assert (file.fault is None) == (PATCH[:end] == PATCH[:-1])
        assert not file.hunks or file.fault is None


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_patch_makes_the_parser_raise(patch: str | bytes) -> None:
    file_of(patch)
    file_of(b"@@ -1,2 +1,2 @@\n" + (patch if isinstance(patch, bytes) else patch.encode("utf-8")))


@given(st.binary(max_size=300))
def test_no_text_makes_the_patch_reader_raise_anything_but_a_sentence(data: bytes) -> None:
    for text in (data, b"diff --git " + data, b"--- a\n+++ b\n@@ -1 +1 @@\n" + data):
        with contextlib.suppress(UserError):
            parse_diff(parse_patch_text(text))


# One file at a time.


def test_lines_carry_the_numbers_of_both_sides() -> None:
    (hunk,) = file_of(PATCH).hunks
    assert [(line.mark, line.text, line.old, line.new) for line in hunk.lines] == [
        (" ", "a", 1, 1),
        ("-", "b", 2, None),
        ("+", "c", None, 2),
        (" ", "d", 3, 3),
    ]
    assert hunk.section == "def f():"
    assert [line.tag for line in hunk.lines] == ["R1", "L2", "R2", "R3"]


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("@@ -1,3 +1,4 @@\n a\n-b\n+c\n d", "is cut: the hunk at new line 1 announces 0 old and 1"),
        ("@@ -1,2 +1,2 @@\n a\n-b\n+c\n d", "goes on beyond"),
        ("@@ -1,3 +1,2 @@\n a\n-b\n+c\n d", "has other lines"),
        ("@@ -1,3 +1,3 @@\n a\n-b", "is cut"),
        ("@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n@@ -9,3 +9,3 @@", "is cut: the hunk at new line 9"),
        ("@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n+e", "goes on beyond"),
        ("@@@ -1,3 -1,3 +1,3 @@@\n  a\n- b\n++c", "combined diff"),
        ("@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n@@ -2 +2 @@\n-x\n+y", "overlapping"),
        ("@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n@@ -9 +2 @@\n-x\n+y", "overlapping"),
        ("@@ -0,1 +1 @@\n-a\n+b", "from 0"),
        ("@@ -1 +0 @@\n-a\n+b", "from 0"),
        (f"@@ -{MAX_LINE_NUMBER + 1} +1 @@\n-a\n+b", "beyond 10,000,000"),
        ("@@ -1 +99999999999999999999 @@\n-a\n+b", "beyond 10,000,000"),
        ("@@ -" + "9" * 5000 + " +1 @@\n-a\n+b", "does not begin with a hunk"),
        ("<html>no patch</html>", "does not begin with a hunk"),
        (" a\n-b\n+c", "does not begin with a hunk"),
        ("@@ -1,3 +1,3 @@\n a\n-b\n*c\n d", "is cut"),
        (None, "sent no patch"),
    ],
)
def test_a_patch_that_cannot_be_trusted_is_a_fault_without_hunks(
    patch: str | None, words: str
) -> None:
    file = file_of(patch)
    assert file.fault is not None
    assert words in file.fault
    assert file.hunks == ()
    assert file_of(patch, additions=2, deletions=1).changed_lines == 3


def test_a_count_that_differs_from_the_sources_is_a_fault() -> None:
    assert file_of(PATCH, additions=1, deletions=1).fault is None
    assert file_of(PATCH, additions=1, deletions=2).fault == (
        "its patch has 1 added and 1 removed lines, its source counts 1 and 2"
    )


def test_a_faulty_patch_counts_the_lines_that_look_changed_when_nobody_else_did() -> None:
    assert file_of("@@ -1,9 +1,9 @@\n a\n-b\n+c\n d").changed_lines == 2


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"binary": True, "patch": b""}, "binary"),
        ({"patch": "@@ -1 +1 @@\n-a\n+\0"}, "binary"),
        ({"patch": None, "additions": 0, "deletions": 0}, "binary"),
        ({"new_mode": "120000", "old_mode": "100644"}, "symlink"),
        ({"old_mode": "160000", "new_mode": "160000"}, "submodule"),
    ],
)
def test_what_is_not_text_is_unsupported_by_name(facts: dict[str, object], why: str) -> None:
    file = file_of(PATCH, **facts)
    assert file.unsupported == why
    assert file.fault is None
    assert file.hunks == ()


@pytest.mark.parametrize(
    ("path", "mode", "target", "note"),
    [
        ("a/l", "120000", "../b", "a link to '../b'"),
        ("l", "120000", "../b", "a link to '../b', outside the repository"),
        ("l", "120000", "/etc/passwd", "a link to '/etc/passwd', outside the repository"),
        ("s", "160000", "Subproject commit 2222", "Subproject commit 2222"),
    ],
)
def test_a_link_or_submodule_says_where_it_points(
    path: str, mode: str, target: str, note: str
) -> None:
    patch = f"@@ -1 +1 @@\n-old\n+{target}\n\\ No newline at end of file"
    assert file_of(patch, path=path, new_mode=mode).note == note
    gone = file_of("@@ -1 +1 @@\n-old\n+text", old_mode=mode, new_mode="100644")
    assert (gone.note, gone.unsupported is None) == (None, False)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [(ChangeKind.RENAMED, None), (ChangeKind.CHANGED, b""), (ChangeKind.ADDED, b"")],
)
def test_a_change_without_text_has_no_hunks_and_no_fault(
    kind: ChangeKind, patch: bytes | None
) -> None:
    file = file_of(patch, kind=kind, additions=0, deletions=0)
    assert (file.unsupported, file.fault, file.hunks, file.changed_lines) == (None, None, (), 0)


def test_a_file_that_its_source_left_out_says_why() -> None:
    file = file_of(None, too_large="a file of 9 bytes", additions=3, deletions=0)
    assert (file.too_large, file.fault, file.changed_lines) == ("a file of 9 bytes", None, 3)


def test_only_newlines_end_a_line() -> None:
    text = "one\rtwo\x0bthree\x0cfour\x85five\u2028six\r"
    file = file_of(f"@@ -0,0 +1,2 @@\n+{text}\n+end")
    assert [line.text for line in file.hunks[0].lines] == [text, "end"]


def test_latin_1_lines_are_read_one_by_one_and_noted() -> None:
    file = file_of(b"@@ -1 +1 @@\n-caf\xe9\n+" + "café".encode())
    assert [line.text for line in file.hunks[0].lines] == ["café", "café"]
    assert file.note is not None
    assert "Latin-1" in file.note


def test_a_section_that_git_cut_inside_a_letter_is_no_encoding_trouble() -> None:
    file = file_of(b"@@ -1 +1 @@ caf\xc3\n-a\n+b")
    assert file.note is None
    assert file.hunks[0].section == "caf"


def test_half_a_surrogate_pair_does_not_reach_anybody() -> None:
    file = file_of("@@ -1 +1 @@\n-a\n+\ud800")
    assert file.hunks[0].lines[1].text == "?"
    assert file.note is not None


def test_the_end_of_file_marker_is_not_a_line_in_any_language() -> None:
    marker = "\\ Kein Zeilenumbruch am Dateiende."
    file = file_of(f"@@ -1 +1 @@\n-a\n{marker}\n+b\n{marker}\n")
    assert [line.no_newline for line in file.hunks[0].lines] == [True, True]
    assert file.changed_lines == 2


def test_an_empty_context_line_may_have_lost_its_blank() -> None:
    file = file_of("@@ -1,3 +1,3 @@\n a\n\n-b\n+c")
    assert file.fault is None
    assert file.hunks[0].lines[1].text == ""


def test_content_that_looks_like_headers_stays_content() -> None:
    file = file_of("@@ -1,2 +1,2 @@\n--- a/y\n-@@ -1 +1 @@\n+++ b/evil\n+diff --git a/x b/x")
    assert [line.text for line in file.hunks[0].lines] == [
        "-- a/y",
        "@@ -1 +1 @@",
        "++ b/evil",
        "diff --git a/x b/x",
    ]


def test_a_path_that_comes_twice_is_refused_the_second_time() -> None:
    first = RawFile("a.py", ChangeKind.MODIFIED, PATCH)
    second = RawFile("a.py", ChangeKind.MODIFIED, "@@ -9 +9 @@\n-x\n+y")
    diff = parse_diff([first, second], notes=["n"])
    assert diff.files[0].fault is None
    assert diff.files[1].fault == "its path comes twice in this diff"
    assert diff.files[1].changed_lines == 2
    assert diff.notes == ("n",)
    assert diff.file("a.py") == diff.files[0]


def test_names_that_differ_only_in_case_or_normal_form_are_two_files() -> None:
    names = ["a", "A", "é", "e\u0301"]
    diff = parse_diff(RawFile(name, ChangeKind.MODIFIED, PATCH) for name in names)
    assert [file.fault for file in diff.files] == [None] * 4


def test_context_may_be_commented_on_from_both_sides() -> None:
    index = commentable(file_of(PATCH + "\n@@ -9 +9 @@\n-x\n+y"))
    assert set(index) == {
        *((side, number) for side in Side for number in (1, 2, 3, 9)),
    }
    assert index[Side.LEFT, 2][1].text == "b"
    assert index[Side.RIGHT, 2][1].text == "c"
    assert index[Side.RIGHT, 9][0] == 1


def test_mapped_lines_keep_their_marks_and_numbers() -> None:
    diff = parse_diff([RawFile("a.py", ChangeKind.MODIFIED, PATCH)])

    def shout(path: str, hunk: Hunk) -> list[str]:
        return [path + line.text.upper() for line in hunk.lines]

    mapped = map_lines(diff, shout, section=str.upper)
    (hunk,) = mapped.files[0].hunks
    assert [line.text for line in hunk.lines] == ["a.pyA", "a.pyB", "a.pyC", "a.pyD"]
    assert [line.tag for line in hunk.lines] == ["R1", "L2", "R2", "R3"]
    assert hunk.section == "DEF F():"
    with pytest.raises(ValueError, match="zip"):
        map_lines(diff, lambda _path, _hunk: ["one"])


# A whole patch as text.


def read(text: str | bytes) -> Diff:
    return parse_diff(parse_patch_text(text.encode() if isinstance(text, str) else text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("<!DOCTYPE html>\n<pre>\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b", "web page"),
        ("\n<html></html>", "web page"),
        ("I changed two files.\n\n- one\n+ two\n", "no diff"),
        ("\x1b[1mdiff --git a/x b/x\x1b[m\n", "colours"),
        ("*** a.py\n--- b.py\n***************\n*** 1 ****\n! a\n--- 1 ----\n! b\n", "context diff"),
        ("1c1\n< a\n---\n> b\n", "no diff"),
        (b"\x00\x01\x02", "no diff"),
    ],
)
def test_a_text_that_is_no_diff_is_named_in_one_sentence(text: str | bytes, words: str) -> None:
    with pytest.raises(UserError) as refused:
        read(text)
    assert words in refused.value.message
    assert "\n" not in refused.value.message


HEADER = "diff --git a/x.py b/x.py\nindex 1111111..2222222 100644\n"
PLAIN = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"


def test_a_plain_diff_is_read() -> None:
    (file,) = read(PLAIN).files
    assert (file.path, file.kind, file.changed_lines) == ("x.py", ChangeKind.MODIFIED, 2)


@pytest.mark.parametrize(
    ("old", "new", "path", "kind"),
    [
        ("x.py", "x.py", "x.py", ChangeKind.MODIFIED),
        ("x.py.orig", "x.py", "x.py", ChangeKind.MODIFIED),
        ("old/src/x.py\t2024-01-01 10:00:00", "new/src/x.py\t2024-01-02", "src/x.py", "modified"),
        ("a/v9/src/x.py", "b/v10/src/x.py", "src/x.py", ChangeKind.MODIFIED),
        ("a/old.py", "b/new.py", "new.py", ChangeKind.MODIFIED),
        ("/dev/null", "b/x.py", "x.py", ChangeKind.ADDED),
        ("a/x.py", "/dev/null", "x.py", ChangeKind.REMOVED),
        ("o/x.py\t1970-01-01 00:00:00.000000000 +0000", "n/x.py", "x.py", ChangeKind.ADDED),
        ("o/x.py", "n/x.py\tThu Jan  1 00:00:00 1970", "x.py", ChangeKind.REMOVED),
        ('"a/\\303\\251\\t.py"', '"b/\\303\\251\\t.py"', "é\t.py", ChangeKind.MODIFIED),
        ("a/x b/y.py\t", "b/x b/y.py\t", "x b/y.py", ChangeKind.MODIFIED),
    ],
)
def test_the_path_is_found_in_the_two_names(old: str, new: str, path: str, kind: str) -> None:
    (file,) = read(f"--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n").files
    assert (file.path, file.kind) == (path, kind)


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ("a/x b/x", "x"),
        ("a/x b/y.py b/x b/y.py", "x b/y.py"),
        ("x b/y x b/y", "x b/y"),
        ('"a/\\"\\\\\\n" "b/\\"\\\\\\n"', '"\\\n'),
        ("old/x.py new/x.py", "x.py"),
        ("a/-rf b/-rf", "-rf"),
        ("a/old/x.py b/new/x.py", "x.py"),
        ("a/caf\\351 b/caf\\351", "caf\\351"),
        ('"a/caf\\351" "b/caf\\351"', "caf\\xe9"),
    ],
)
def test_the_path_of_a_mode_change_is_found_in_gits_header(header: str, path: str) -> None:
    (file,) = read(f"diff --git {header}\nold mode 100644\nnew mode 100755\n").files
    assert (file.path, file.kind, file.fault) == (path, ChangeKind.CHANGED, None)
    assert (file.old_mode, file.new_mode) == ("100644", "100755")


def test_renames_copies_and_binaries_are_read_from_their_headers() -> None:
    diff = read(
        "diff --git a/x b/z\nsimilarity index 100%\nrename from x\nrename to z\n"
        'diff --git a/x "b/\\303\\251"\nsimilarity index 90%\ncopy from x\ncopy to "\\303\\251"\n'
        "index 1111111..2222222 100644\n--- a/x\n+++ b/q\n@@ -1 +1 @@\n-a\n+b\n"
        "diff --git a/i.png b/i.png\nindex 1111111..2222222 100644\nGIT binary patch\n"
        "literal 4\nLcmb<+--- a\n+++ b\n\nliteral 0\nHcmV?d00001\n\n"
        "diff --git a/j.png b/j.png\nindex 1111111..2222222\n"
        "Binary files a/j.png and b/j.png differ\n"
        "diff --git a/v9/l.png b/v10/l.png\nindex 1111111..2222222\n"
        "Binary files a/v9/l.png and b/v10/l.png differ\n"
        "diff --git a/e b/e\nnew file mode 100644\nindex 0000000..e69de29\n"
        "diff --git a/s b/s\nindex 1111111..2222222 160000\n--- a/s\n+++ b/s\n"
        "@@ -1 +1 @@\n-Subproject commit 1\n+Subproject commit 2\n"
        "Only in old: gone.txt\nBinary files old/k.png and new/k.png differ\n"
    )
    facts = [(file.path, file.kind, file.unsupported, file.fault) for file in diff.files]
    assert facts == [
        ("z", "renamed", None, None),
        ("é", "copied", None, None),
        ("i.png", "modified", "binary", None),
        ("j.png", "modified", "binary", None),
        ("l.png", "modified", "binary", None),
        ("e", "added", None, None),
        ("s", "modified", "submodule", None),
        ("old/gone.txt", "modified", None, "its source sent no patch"),
        ("k.png", "modified", "binary", None),
    ]
    assert diff.files[0].old_path == "x"


def test_a_combined_diff_is_a_file_with_a_fault() -> None:
    text = "diff --cc x.py\nindex 1,2..3\n--- a/x.py\n+++ b/x.py\n@@@ -1,1 -1,1 +1,1 @@@\n- a\n"
    diff = read(
        text + " -b\n++c\n" + HEADER.replace("x.py", "y.py") + PLAIN.replace("x.py", "y.py")
    )
    assert [file.path for file in diff.files] == ["x.py", "y.py"]
    assert diff.files[0].fault is not None
    assert "combined" in diff.files[0].fault
    assert diff.files[1].fault is None


@pytest.mark.parametrize("cut", range(1, len(HEADER + PLAIN)))
def test_a_patch_file_cut_anywhere_names_its_file_or_says_it_is_no_diff(cut: int) -> None:
    text = (HEADER + PLAIN)[:cut]
    if "\n" not in text and not text.startswith("diff --git "):
        with pytest.raises(UserError):
            read(text)
        return
    (file,) = read(text).files
    assert (file.fault is None) == (cut >= len(HEADER + PLAIN) - 2)


def test_a_cut_inside_a_header_is_no_empty_change() -> None:
    (file,) = read(HEADER).files
    assert file.fault == "its source sent no patch"


def test_lines_beyond_the_announced_ones_are_not_dropped() -> None:
    (file,) = read(PLAIN + "+stowaway\n").files
    assert file.fault is not None
    assert file.changed_lines == 3


def test_a_mails_signature_and_prose_are_no_part_of_the_patch() -> None:
    mail = (
        "From 1111 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] x\n\nbody\n---\n"
        f" x.py | 2 +-\n\n{HEADER}{PLAIN}-- \n2.39.5\n\n"
    )
    (file,) = read(mail).files
    assert (file.path, file.fault) == ("x.py", None)


def test_a_patch_with_windows_line_ends_throughout_is_read_as_it_was() -> None:
    (file,) = read((HEADER + PLAIN).replace("\n", "\r\n")).files
    assert [line.text for line in file.hunks[0].lines] == ["a", "b"]
    assert file.path == "x.py"


def test_a_windows_source_keeps_its_line_ends() -> None:
    (file,) = read((HEADER + PLAIN).replace("-a\n+b\n", "-a\r\n+++ b\r\n")).files
    assert [line.text for line in file.hunks[0].lines] == ["a\r", "++ b\r"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig"])
def test_a_patch_saved_by_powershell_is_read(codec: str) -> None:
    text = (HEADER + PLAIN).replace("\n", "\r\n").replace("+b", "+é")
    (file,) = read(text.encode(codec)).files
    assert (file.path, file.fault, file.hunks[0].lines[1].text) == ("x.py", None, "é")


def test_the_output_of_difflib_without_names_is_read() -> None:
    (file,) = read("--- \n+++ \n@@ -1 +1 @@\n-a\n+b\n").files
    assert file.changed_lines == 2
