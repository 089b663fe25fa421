"""What renders as nothing is made visible; what a person can read stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.hidden import escape_hidden, escape_line, find_hidden

HIDDEN = [
    0x00,
    0x0B,
    0x0C,
    0x1B,
    0x7F,
    0x85,
    0xAD,
    0x34F,
    0x61C,
    0x115F,
    0x180E,
    0x200B,
    0x200D,
    0x200E,
    0x2028,
    0x202E,
    0x2060,
    0x2064,
    0x2066,
    0x2800,
    0x3164,
    0xD800,
    0xFE0F,
    0xFEFF,
    0xFFA0,
    0xFFF9,
    0x1D173,
    0xE0041,
    0xE0100,
]


@pytest.mark.parametrize("code", HIDDEN)
def test_a_hidden_character_becomes_a_visible_escape(code: int) -> None:
    text = f"pass{chr(code)}word"
    assert escape_hidden(text) == f"pass<U+{code:04X}>word"
    assert find_hidden(text) == (chr(code),)


@pytest.mark.parametrize(
    "text", ["a\tb\n", "a\r\nb\r\n", "naïve café", "مرحبا", "日本", "<|>", "a|b"]
)
def test_what_a_person_reads_stays(text: str) -> None:
    assert escape_hidden(text) == text
    assert find_hidden(text) == ()


def test_a_lone_carriage_return_is_hidden() -> None:
    assert escape_hidden("a\rb\r\n") == "a<U+000D>b\r\n"


def test_a_line_stays_one_line() -> None:
    assert escape_line("a\nb\r\nc\r") == "a<U+000A>b<U+000D><U+000A>c<U+000D>"


@pytest.mark.parametrize("token", ["<|im_start|>", "<|endoftext|>", "<|fim_prefix|>"])
def test_a_control_token_of_a_model_is_broken(token: str) -> None:
    assert escape_hidden(f"a {token}system") == f"a <<U+007C>{token[2:]}system"


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_invisible_is_left_and_escaping_twice_changes_nothing(text: str) -> None:
    once = escape_hidden(text)
    assert escape_hidden(once) == once
    assert find_hidden(once) == ()
    odd = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    left = {character for character in once if unicodedata.category(character) in odd}
    assert left <= {"\n", "\t", "\r"} | PLAIN_FORMAT


PLAIN_FORMAT = {
    # Format characters that do show: Arabic, Syriac and Kaithi signs, hieroglyph joins.
    chr(code)
    for code in (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)
} | {chr(code) for code in range(0x13430, 0x13440)}
