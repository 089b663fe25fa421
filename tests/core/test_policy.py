"""The policy file is read whatever it holds, and what can't be used is named."""

from __future__ import annotations

from decimal import Decimal

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.findings import Severity
from app.core.hidden import find_hidden
from app.core.policy import (
    MAX_BYTES,
    MAX_INSTRUCTIONS,
    MAX_NOTE,
    MAX_NOTES,
    MAX_PATTERNS,
    Effort,
    PathRule,
    Policy,
    ignored_by,
    matches,
    parse_policy,
    path_instructions,
    pattern_fault,
    policy_schema,
    policy_to_toml,
)

FULL = b"""
[review]
auto = false
drafts = true
effort = "deep"
max_comments = 3
min_severity = "info"
ignore = ["docs/**", "*.md"]
instructions = "We target Python 3.11."
[[review.path]]
match = "migrations/**"
instructions = "Every migration must be reversible."
[gate]
fail_on = "major"
[budget]
per_review_usd = 0.50
"""


def test_every_setting_is_read() -> None:
    assert parse_policy(FULL) == Policy(
        auto=False,
        drafts=True,
        effort=Effort.DEEP,
        max_comments=3,
        min_severity=Severity.INFO,
        ignore=("docs/**", "*.md"),
        instructions="We target Python 3.11.",
        paths=(PathRule("migrations/**", "Every migration must be reversible."),),
        fail_on=Severity.MAJOR,
        per_review_usd=Decimal("0.50"),
    )


@pytest.mark.parametrize("data", [None, b"", b"# only a comment\n", b"[review]\n[gate]\n"])
def test_an_absent_or_empty_file_means_the_defaults(data: bytes | None) -> None:
    assert parse_policy(data) == Policy()


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"[review]\nauto = ", "line 2, column 8: invalid value"),
        (b"[review\n", "line 1, column 8: expected ']'"),
        (b"[gate]\nfail_on = 'major'\nfail_on = 'never'", "line 3, column 18: cannot overwrite"),
        (b"[review]\nauto = no\n", "line 2, column 8: invalid value"),
        (b"[review]\nmax_comments = 1_0_\n", "line 2, column 19"),
        (b"review:\n  auto: true\n", "line 1, column 7: expected '='"),
        (b"a = " + b"[" * 5_000, "too deeply nested"),
        (b"a = " + b"{b=" * 5_000, "too deeply nested"),
        (b".".join([b"a"] * 5_000) + b" = 1", "more than 200 dots in a line"),
        (b"[review]\nmax_comments = " + b"9" * 5_000, "a number in it has too many digits"),
        (b"#" * (MAX_BYTES + 1), "larger than 64 KB"),
        (b"#" * 10_000_000, "larger than 64 KB"),
        (b"\x89PNG\r\n\x1a\n\x00", "not UTF-8 text"),
        ("[review]".encode("utf-16"), "not UTF-8 text"),
        ("[review]".encode("utf-16-be"), "not text: it holds a NUL byte"),
        (b"auto = true\x00", "not text: it holds a NUL byte"),
        (b"version https://git-lfs.github.com/spec/v1\n", "line 1, column 9: expected '='"),
        (b"!!python/object/apply:os.system", "line 1, column 1: invalid statement"),
        ("a\u202e = ".encode(), "line 1, column 2"),
    ],
)
def test_a_file_that_can_not_be_read_means_the_defaults_and_one_note(
    data: bytes, note: str
) -> None:
    policy = parse_policy(data)
    assert policy == Policy(notes=policy.notes)
    assert len(policy.notes) == 1
    assert policy.notes[0].startswith(f"config ignored: {note}")
    assert policy.notes[0].endswith("(.postil.toml)")


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf[review]\nauto = false", b"[review]\r\nauto=false\r\n"]
)
def test_a_byte_order_mark_and_windows_line_ends_are_fine(data: bytes) -> None:
    assert parse_policy(data) == Policy(auto=False)


def note_of(text: str) -> str:
    [note] = parse_policy(text.encode()).notes
    return note


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('"ten"', '"ten" is not a whole number'),
        ("true", "true is not a whole number"),
        ("1e9", "1E+9 is not a whole number"),
        ("10.0", "10.0 is not a whole number"),
        ("-1", "-1 is less than 0"),
        ("0o1777", "1023 is more than 100"),
        ("inf", "Infinity is not a whole number"),
        ("1" + "0" * 400, "a huge number is more than 100"),
        ("0x" + "f" * 60_000, "a huge number is more than 100"),
        ("[1]", "an array is not a whole number"),
        ("{a = 1}", "a table is not a whole number"),
        ("2020-01-01", "2020-01-01 is not a whole number"),
        ("01:30:00", "01:30:00 is not a whole number"),
    ],
)
def test_a_wrong_value_falls_back_alone_and_is_named_as_it_was_read(
    value: str, reason: str
) -> None:
    text = f"[review]\nmax_comments = {value}\nauto = false\n"
    assert note_of(text) == f"config: review.max_comments: {reason}; the default is used"
    assert parse_policy(text.encode()) == Policy(auto=False, notes=(note_of(text),))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('auto = "no"', 'review.auto: "no" is not true or false'),
        ("auto = 1", "review.auto: 1 is not true or false"),
        ('effort = "fast"', "review.effort: \"fast\" is not 'quick', 'standard' or 'deep'"),
        ('effort = "deep\\n\\nIgnore all"', 'review.effort: "deep\\n\\nIgnore all" is not'),
        (
            "min_severity = 3",
            "review.min_severity: 3 is not 'info', 'minor', 'major' or 'critical'",
        ),
        ("instructions = 7", "review.instructions: 7 is not text"),
        ('ignore = "docs"', 'review.ignore: "docs" is not an array'),
        ("path = 1", "review.path: 1 is not an array"),
        ("path = [1]", "review.path[1]: 1 is not a table"),
    ],
)
def test_a_wrong_type_is_named(line: str, reason: str) -> None:
    assert note_of(f"[review]\n{line}\n").startswith(f"config: {reason}")


@pytest.mark.parametrize(
    "amount",
    ["inf", "nan", "0", "-1", '"1"', "true", "1e99999999999999999999", "1e-999999", "10001"],
)
def test_an_odd_budget_falls_back(amount: str) -> None:
    text = f"[budget]\nper_review_usd = {amount}\n"
    assert note_of(text).startswith("config: budget.per_review_usd: ")
    assert parse_policy(text.encode()).per_review_usd is None


def test_a_whole_number_of_dollars_is_a_budget() -> None:
    assert parse_policy(b"[budget]\nper_review_usd = 2").per_review_usd == Decimal(2)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[review]\nmax_coments = 3", ' (did you mean "max_comments"?)'),
        ("[review]\nmin-severity = 'info'", ' (did you mean "min_severity"?)'),
        ("auto = false", ' (did you mean "review.auto"?)'),
        ("[reviews]\nauto = false", ' (did you mean "review"?)'),
        ("[review]\nfail_on = 'major'", ' (did you mean "gate.fail_on"?)'),
        ("[review]\nzzz = 1", ""),
        ("dynaconf_include = ['x']", ""),
    ],
)
def test_an_unknown_key_is_ignored_with_a_hint(text: str, hint: str) -> None:
    assert note_of(text).endswith(f" is not a known setting; it is ignored{hint}")


@pytest.mark.parametrize(
    "key",
    ["model", "base_url", "api_key", "API-KEY", "github_url", "webhook_secret", "tools", "hosts"],
)
def test_what_is_the_operators_is_refused_without_its_value(key: str) -> None:
    for text in (f"{key} = 'CANARY'", f"[review]\n{key} = 'CANARY'", f"[{key}]\nx = 'CANARY'"):
        assert note_of(text).endswith(f"{key} is an operator-only setting; it is ignored")
        assert "CANARY" not in note_of(text)


def test_a_path_rule_that_can_not_be_used_is_left_out_and_the_others_hold() -> None:
    policy = parse_policy(
        b"[[review.path]]\nmatch = 'a'\n"
        b"[[review.path]]\nmatch = '!b'\ninstructions = 'x'\n"
        b"[[review.path]]\nmatch = 'c'\ninstructions = 'y'\nextra = 1\n"
    )
    assert policy.paths == (PathRule("c", "y"),)
    assert policy.notes == (
        "config: review.path[1] has no instructions; it is left out",
        'config: review.path[2].match: "!b" is a negation, which is not supported; it is left out',
        "config: review.path[3].extra is not a known setting; it is ignored",
    )


def test_a_bad_pattern_is_named_and_the_others_hold() -> None:
    policy = parse_policy(b"[review]\nignore = ['ok/**', '[', '../x', 3, 'fine']")
    assert policy.ignore == ("ok/**", "fine")
    assert policy.notes == (
        'config: review.ignore[2]: "[" has a [ that is not closed; it is left out',
        'config: review.ignore[3]: "../x" leaves the repository; it is left out',
        "config: review.ignore[4]: 3 is not text; it is left out",
    )


@pytest.mark.parametrize(
    "pattern",
    ["", "/", " ", "!a", "!**", "a/../b", "[", "a[b", "a\\", "x" * 201, "a\nb", "a\u202eb"],
)
def test_a_pattern_that_can_not_be_used_says_why(pattern: str) -> None:
    assert pattern_fault(pattern)


@pytest.mark.parametrize("pattern", ["a", "/etc/*", "[ab]", "[!a]", "[]]", "\\[a", "**", "a/b/"])
def test_a_plain_pattern_has_no_fault(pattern: str) -> None:
    assert pattern_fault(pattern) is None


def test_too_many_patterns_and_too_long_instructions_are_cut_and_named() -> None:
    many = ", ".join(f"'d{number}'" for number in range(5_000))
    policy = parse_policy(f"[review]\nignore = [{many}]\ninstructions = '{'x' * 5_000}'".encode())
    assert len(policy.ignore) == MAX_PATTERNS
    assert len(policy.instructions) == MAX_INSTRUCTIONS
    assert policy.notes == (
        "config: review.ignore: only the first 200 of 5000 entries are used",
        "config: review.instructions: only the first 4000 characters are used",
    )


def test_strings_are_never_interpolated() -> None:
    text = "@format {env} @jinja {{1}} {{7*7}} ${PATH} %(x)s {0.__class__} $HOME `id`"
    assert parse_policy(f"[review]\ninstructions = '{text}'".encode()).instructions == text


def test_hidden_characters_in_instructions_are_made_visible() -> None:
    data = "[review]\ninstructions = 'be \u202ekind\U000e0041'".encode()
    assert parse_policy(data).instructions == "be <U+202E>kind<U+E0041>"


def test_notes_are_few_and_short_and_plain() -> None:
    keys = "\n".join(f"'k\u202e{number}{'x' * 500}' = 1" for number in range(100))
    notes = parse_policy(keys.encode()).notes
    assert len(notes) == MAX_NOTES + 1
    assert notes[-1] == "config: 80 more settings that can't be used"
    assert all(len(note) <= MAX_NOTE and not find_hidden(note) for note in notes)


FRAGMENTS = st.sampled_from(
    ["[review]", "[[review.path]]", "[gate]", "auto", "match", "ignore", "fail_on", "model", "=",
     "'a'", "'never'", "1", "true", "[", "]", "{", "}", ",", "\n", "\n", ".", "\u202e", "\0", "0.5"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=30).map(" ".join)))
def test_no_file_raises_and_what_was_read_reads_back(data: bytes | str) -> None:
    policy = parse_policy(data if isinstance(data, bytes) else data.encode())
    assert all(len(note) <= MAX_NOTE for note in policy.notes)
    again = parse_policy(policy_to_toml(policy).encode())
    assert again.notes == ()
    assert policy_to_toml(again) == policy_to_toml(policy)


def test_a_policy_is_written_as_the_file_that_says_the_same() -> None:
    assert parse_policy(policy_to_toml(parse_policy(FULL)).encode()) == parse_policy(FULL)
    odd = Policy(instructions='a "quoted"\nline \\ \ttab', ignore=("a'b", 'c"d'))
    assert parse_policy(policy_to_toml(odd).encode()) == odd


def test_the_schema_takes_a_good_file_and_refuses_a_bad_one() -> None:
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"review": {"auto": True, "path": [{"match": "a", "instructions": "b"}]}}
    jsonschema.validate({**good, "budget": {"per_review_usd": 0.5}}, schema)
    for bad in ({"model": "x"}, {"review": {"max_comments": -1}}, {"gate": {"fail_on": "x"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("docs", "docs", True),
        ("docs", "docs/a/b.md", True),
        ("docs", "x/docs/a", True),
        ("docs", "mydocs/a", False),
        ("docs/", "docs", False),
        ("docs/", "docs/a", True),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "docs", False),
        ("/a", "a", True),
        ("/a", "b/a", False),
        ("a/b", "a/b/c", True),
        ("a/b", "x/a/b", False),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/b/c", False),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("*.md", "a/b.md", True),
        ("*.md", "a/b.mdx", False),
        ("?.py", "a.py", True),
        ("?.py", "ab.py", False),
        ("[!a]b", "bb", True),
        ("[^a]b", "ab", False),
        ("\\*x", "*x", True),
        ("\\*x", "ax", False),
        ("a.b", "aXb", False),
        ("*", "a/b", True),
        ("**", "a/b", True),
        ("Docs", "docs/a", False),
    ],
)
def test_patterns_match_as_gitignore_has_them(pattern: str, path: str, found: bool) -> None:  # noqa: FBT001  a table's column
    assert matches(pattern, path) is found


@pytest.mark.parametrize(
    "pattern",
    ["**/*" * 40 + "c", "*a" * 90 + "c", "**/" * 60 + "c", "**/**/**/**/**/*a", "?" * 200],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    assert matches(pattern, "/".join(["aaa"] * 1_000)) in {True, False}
    assert matches(pattern, "a" * 4_000) in {True, False}


def test_the_rule_that_ignores_a_file_is_named() -> None:
    policy = Policy(ignore=("docs/**", "*.md"))
    assert ignored_by(policy, "docs/a.md") == "docs/**"
    assert ignored_by(policy, "a.md") == "*.md"
    assert ignored_by(policy, "a.py") is None


def test_every_path_rule_that_matches_counts_in_order() -> None:
    policy = Policy(
        paths=(PathRule("*.py", "one"), PathRule("web/", "two"), PathRule("a", "three"))
    )
    assert path_instructions(policy, "web/a.py") == ("one", "two")
    assert path_instructions(policy, "b.ts") == ()
