"""The page of faults says what the tests show, and nothing else."""

from __future__ import annotations

import ast

from tests.faults.elsewhere import ELSEWHERE
from tests.faults.table import PAGE, ROOT, render, rows


def test_the_page_is_what_the_tests_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_test_that_is_named_stands_where_it_is_said_to() -> None:
    for row in ELSEWHERE:
        path, _, name = row.test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_fault_is_named_twice_and_every_test_of_one_says_it() -> None:
    words = [row.words for row in (*rows(), *ELSEWHERE)]
    assert len(words) == len(set(words))
