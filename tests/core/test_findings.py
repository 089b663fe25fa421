from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.findings import (
    MAX_ANSWER,
    MAX_FINDINGS,
    MAX_TEXT,
    MAX_TITLE,
    Action,
    Category,
    Decision,
    Finding,
    Refutation,
    Severity,
    Standing,
    parse_brief,
    parse_decide,
    parse_patch,
    parse_refute,
    parse_review_answer,
)
from app.errors import AnswerRejected

NONCE = "0123456789abcdef"
ITEM: dict[str, object] = {
    "path": "src/stats.py",
    "first": "R13",
    "last": "R13",
    "quote": "    return sum(xs) / len(xs)",
    "severity": "major",
    "category": "bug",
    "title": "Division by zero on an empty list",
    "why": "len(xs) is 0.",
    "scenario": "mean([]) raises",
    "suggestion": None,
}


def answer(*items: dict[str, object], nonce: str = NONCE, **extra: object) -> str:
    return json.dumps({"nonce": nonce, "findings": list(items), **extra})


def test_a_valid_answer_becomes_findings() -> None:
    assert parse_review_answer(answer(ITEM), NONCE).findings == (
        Finding(
            path="src/stats.py",
            first="R13",
            last="R13",
            quote="    return sum(xs) / len(xs)",
            severity=Severity.MAJOR,
            category=Category.BUG,
            title="Division by zero on an empty list",
            why="len(xs) is 0.",
            scenario="mean([]) raises",
        ),
    )


def test_no_findings_with_the_right_nonce_is_the_only_clean_answer() -> None:
    assert parse_review_answer(answer(), NONCE).findings == ()


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "```json\n{}\n```",
        "```\n{}\n```",
        "\n ~~~\n{}\n~~~\n",
        "\ufeff{}",
        "```json\r\n{}\r\n```",
    ],
)
def test_one_enclosing_fence_and_one_byte_order_mark_are_taken_off(wrap: str) -> None:
    assert parse_review_answer(wrap.replace("{}", answer(ITEM)), NONCE).findings


SMUGGLED = f'Looking at ```json\n{{"findings":[]}}\n``` in the diff...\n{answer(ITEM)}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "null",
        "[]",
        "{}",
        '{"findings": []}',
        '{"findings": null}',
        '{"nonce": "0123456789abcdef"}',
        '{"nonce": "0123456789abcdef", "findings": null}',
        "I'm sorry, I can't help with that.",
        "LGTM",
        "<html>login</html>",
        SMUGGLED,
        answer() + answer(ITEM),
        answer() + "\nDone.",
        "Here it is:\n" + answer(),
        "```json\n" + answer() + "\n```\n```json\n" + answer() + "\n```",
        "```json\n" + answer() + "\n```\nthat is all",
        "````json\n" + answer() + "\n```",
        answer().replace('"', "'"),
        answer()[:-1] + ",}",
        "// so\n" + answer(),
        answer(nonce="0000000000000000"),
        answer(nonce=""),
        '{"nonce": "x", "nonce": "0123456789abcdef", "findings": []}',
        answer({**ITEM, "first": float("nan")}),
        answer().replace("[]", "1e400"),
        answer().replace("[]", "-1e400"),
        answer().replace("[]", "1" * 5_000),
        answer().replace("[]", "[" * 100_000),
        answer(approve=True),
        answer(verdict="approve"),
        *(answer({**ITEM, key: 1}) for key in ("repo", "pull_number", "labels", "run")),
        answer({**ITEM, "title": ""}),
        answer({**ITEM, "title": ["a"]}),
        answer({**ITEM, "path": None}),
        answer({key: value for key, value in ITEM.items() if key != "quote"}),
    ],
)
def test_anything_but_the_one_object_that_was_asked_for_is_rejected(text: str) -> None:
    with pytest.raises(AnswerRejected) as caught:
        parse_review_answer(text, NONCE)
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The answer is empty; it must be one JSON object."),
        ("[]", "The answer must be one JSON object."),
        ("x" * (MAX_ANSWER + 1), f"The answer is longer than {MAX_ANSWER} characters."),
        ("{} {}", "The answer is not one JSON object: Extra data at character 3."),
        ("```\n{}", "The code fence around the answer must close at its end."),
        (answer(nonce="0"), '"nonce" is not the one of this request.'),
        (answer(approve=True), '"approve" is not a key of the answer.'),
        (answer({**ITEM, "repo": 1}), '"findings[0].repo" is not a key of the answer.'),
        (answer({**ITEM, "why": 1}), '"findings[0].why" is wrong: Input should be a valid string.'),
        (answer().replace("[]", "1e400"), "A number is too large."),
        (answer().replace("[]", "9" * 21), "A number is too large."),
        (answer().replace("[]", "NaN"), "NaN and Infinity are not JSON."),
        ('{"a": 1, "a": 1}', "A key stands twice in one JSON object."),
        ("[" * 100_000, "The answer is nested too deeply."),
    ],
)
def test_a_rejection_tells_the_model_what_to_mend(text: str, message: str) -> None:
    with pytest.raises(AnswerRejected) as caught:
        parse_review_answer(text, NONCE)
    assert caught.value.message == message


def test_every_category_is_kept() -> None:
    items = [{**ITEM, "category": category.upper()} for category in Category]
    found = parse_review_answer(answer(*items), NONCE).findings
    assert [finding.category for finding in found] == list(Category)


def test_a_title_is_one_line_and_never_empty() -> None:
    titles = [
        parse_review_answer(answer({**ITEM, "title": title}), NONCE).findings[0].title
        for title in ("a\n b", " \n ")
    ]
    assert titles == ["a b", "Untitled"]


@pytest.mark.parametrize("severity", ["CRITICAL!!!", 11, None, [], "high"])
def test_an_unknown_severity_is_info(severity: object) -> None:
    (finding,) = parse_review_answer(answer({**ITEM, "severity": severity}), NONCE).findings
    assert finding.severity is Severity.INFO


def test_a_missing_severity_is_info_and_case_does_not_matter() -> None:
    item = {key: value for key, value in ITEM.items() if key != "severity"}
    assert parse_review_answer(answer(item), NONCE).findings[0].severity is Severity.INFO
    item["severity"] = " Major "
    assert parse_review_answer(answer(item), NONCE).findings[0].severity is Severity.MAJOR


def test_an_unknown_category_keeps_the_finding_and_makes_it_quiet() -> None:
    (finding,) = parse_review_answer(answer({**ITEM, "category": "style"}), NONCE).findings
    assert (finding.category, finding.severity) == (Category.BUG, Severity.INFO)


@pytest.mark.parametrize("tag", ["12", 12, 12.0, True, -1, 0, None, [], {}, 10**9, "R" * 999])
def test_a_finding_with_an_odd_tag_stays(tag: object) -> None:
    (finding,) = parse_review_answer(answer({**ITEM, "first": tag, "last": tag}), NONCE).findings
    assert len(finding.first) <= 40
    assert finding.first == (str(tag)[:40] if isinstance(tag, str | int | float) else "")


def test_texts_and_numbers_of_findings_are_capped_and_the_rest_counted() -> None:
    long: dict[str, object] = {**ITEM, "title": "t" * 10_000, "why": "w" * 5_000_000}
    got = parse_review_answer(answer(long, *[ITEM] * 499), NONCE)
    assert (len(got.findings), got.over_cap) == (MAX_FINDINGS, 450)
    assert (len(got.findings[0].title), len(got.findings[0].why)) == (MAX_TITLE, MAX_TEXT)


def test_a_null_scenario_is_an_empty_one() -> None:
    (finding,) = parse_review_answer(answer({**ITEM, "scenario": None}), NONCE).findings
    assert finding.scenario == ""


def test_a_suggestion_is_never_cut() -> None:
    long = "x = 1\n" * 2_000
    (finding,) = parse_review_answer(answer({**ITEM, "suggestion": long}), NONCE).findings
    assert finding.suggestion == long


def test_a_lone_surrogate_becomes_a_character_that_can_be_written() -> None:
    text = answer(ITEM).replace("len(xs) is 0.", "\\ud800")
    assert parse_review_answer(text, NONCE).findings[0].why == "\ufffd"


@pytest.mark.parametrize("fence", ["{}", "```json\n{}\n```", "````\n{}\n````"])
def test_an_answer_cut_anywhere_is_never_accepted(fence: str) -> None:
    text = fence.replace("{}", answer(ITEM, {**ITEM, "why": 'a "q" \\ é 😀 ```'}))
    parse_review_answer(text, NONCE)
    for end in range(len(text)):
        with pytest.raises(AnswerRejected):
            parse_review_answer(text[:end], NONCE)


@given(st.text() | st.text('{}[]",:`~ntrue019-eE\\/\n\r\ufeff\ud800') | st.binary().map(repr))
def test_no_text_raises_anything_but_a_rejection(text: str) -> None:
    for parse in (parse_review_answer, parse_brief, parse_refute, parse_decide, parse_patch):
        with pytest.raises(AnswerRejected):
            parse(text, NONCE)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from([*ITEM, "extra", "\ud800"]), JSON_VALUES),
)
def test_no_finding_raises_anything_but_a_rejection(item: dict[str, object]) -> None:
    try:
        parse_review_answer(answer({**ITEM, **item}), NONCE)
    except AnswerRejected as rejected:
        rejected.message.encode()


def reply(**fields: object) -> str:
    return json.dumps({"nonce": NONCE, **fields})


def test_a_brief_is_cut_after_120_words() -> None:
    assert parse_brief(reply(brief="Adds\n a mean."), NONCE) == "Adds a mean."
    assert len(parse_brief(reply(brief="w " * 500), NONCE).split()) == 121
    with pytest.raises(AnswerRejected):
        parse_brief(reply(brief=" "), NONCE)


def test_a_refuting_look_says_stands_falls_or_unsure() -> None:
    got = parse_refute(reply(verdict="falls", reason="xs is never empty"), NONCE)
    assert got == Refutation(Standing.FALLS, "xs is never empty")
    with pytest.raises(AnswerRejected, match="stands, falls, unsure"):
        parse_refute(reply(verdict="maybe", reason=""), NONCE)


def test_a_decision_names_what_its_action_needs() -> None:
    text = reply(action="inspect_file", path="a.py", query=None, rationale="callers")
    assert parse_decide(text, NONCE) == Decision(Action.INSPECT_FILE, "a.py", None, "callers")
    search = reply(action="search_code", path=None, query="mean(")
    assert parse_decide(search, NONCE) == Decision(Action.SEARCH_CODE, None, "mean(", "")
    assert parse_decide(reply(action="finish"), NONCE).action is Action.FINISH
    for wrong in ("inspect_file", "search_code", "run_shell_command"):
        with pytest.raises(AnswerRejected):
            parse_decide(reply(action=wrong, path=None, query=None, rationale=""), NONCE)


def test_a_patch_is_its_replacement_as_it_is() -> None:
    assert parse_patch(reply(replacement="\tx\r\n"), NONCE) == "\tx\r\n"
    with pytest.raises(AnswerRejected):
        parse_patch(reply(replacement="x" * 20_001), NONCE)
