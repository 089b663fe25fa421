"""Faults that are proven where the part stands that bears them: each by the test that does."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What goes wrong, what comes of it, and the test that shows it."""

    words: str
    outcome: str
    test: str


ELSEWHERE = (
    Row(
        "Everything is missed while the server is down",
        "it is reviewed after the next start",
        "tests/e2e/test_repair.py::test_what_happened_while_the_server_was_down_is_reviewed_after_its_start",
    ),
    Row(
        "The database is lost",
        "no review is made twice: GitHub knows what was said",
        "tests/e2e/test_repair.py::test_a_lost_database_costs_no_second_review",
    ),
    Row(
        "A job does not end in its time",
        "it is given up, and the check run says so",
        "tests/test_jobs.py::test_a_job_past_its_deadline_is_dead_and_closed",
    ),
    Row(
        "A signal ends the server while a step hangs",
        "it ends soon, and the job goes on at the next start",
        "tests/web/test_server.py::test_a_signal_ends_the_server_soon_and_its_job_goes_on_at_the_next_start",
    ),
    Row(
        "An analyzer wants too much memory, time or output",
        "it gets none, and costs only itself",
        "tests/adapters/analyzers/test_process.py::test_a_process_that_wants_too_much_memory_gets_none",
    ),
    Row(
        "Killed before and after each single write of a review",
        "nothing is lost, and nothing said twice",
        "tests/adapters/github/test_crashes.py::test_a_review_survives_a_kill",
    ),
    Row(
        "The model's answer is cut at any place",
        "it is never taken for an answer",
        "tests/core/test_findings.py::test_an_answer_cut_anywhere_is_never_accepted",
    ),
)
