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
        "Five times a job takes its worker down",
        "it is given up, and the check run says so",
        "tests/test_jobs.py::test_a_job_that_took_its_worker_down_five_times_is_not_tried_again",
    ),
    Row(
        "A job fails each time it is tried",
        "after five tries it is given up, and others go on",
        "tests/test_jobs.py::test_a_job_that_always_fails_is_dead_after_five_tries_and_others_go_on",
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
        "The same delivery comes twice",
        "it is a duplicate, and one review",
        "tests/e2e/test_deliveries.py::test_the_same_delivery_twice_is_one_review",
    ),
    Row(
        "The same delivery comes twenty times at once",
        "one job, no error",
        "tests/test_jobs.py::test_twenty_times_the_same_delivery_at_once_is_one_job",
    ),
    Row(
        "Several events tell of one head at once",
        "one review",
        "tests/e2e/test_deliveries.py::test_two_deliveries_about_one_head_are_one_review",
    ),
    Row(
        "A push during a review",
        "the old head's check run is superseded, the new head is reviewed",
        "tests/e2e/test_reviews.py::test_a_push_during_a_review_leaves_the_newest_head_reviewed",
    ),
    Row(
        "A push between two batches of comments",
        "the second is not posted",
        "tests/adapters/github/test_posting.py::test_a_push_between_two_batches_stops_the_second",
    ),
    Row(
        "Another repository stands under the old name",
        "it is refused at once",
        "tests/adapters/github/test_reading.py::test_another_repository_under_the_old_name_is_refused_at_once",
    ),
    Row(
        "Pages that point at themselves, or never end",
        "a hundred pages are read at most",
        "tests/adapters/github/test_client.py::test_pages_without_end_end_at_a_hundred",
    ),
    Row(
        "Pages shift while they are read",
        "no file is named twice, and what is missing is said",
        "tests/adapters/github/test_reading.py::test_pages_that_shift_while_they_are_read_name_no_file_twice",
    ),
    Row(
        "A text is too long for GitHub",
        "it is cut between paragraphs, its mark stays",
        "tests/adapters/github/test_posting.py::test_a_body_too_long_is_cut_and_keeps_its_marker",
    ),
    Row(
        "The clock is off by a minute and a half",
        "nothing",
        "tests/adapters/github/test_access.py::test_a_clock_that_is_off_by_a_minute_and_a_half_does_no_harm",
    ),
    Row(
        "The clock is off by a day",
        "the error says by how much",
        "tests/adapters/github/test_access.py::test_a_clock_that_is_off_by_a_day_is_said_to_be",
    ),
    Row(
        "The App's key is wrong",
        "one call, one clear error",
        "tests/adapters/github/test_access.py::test_a_wrong_key_is_refused_in_one_call",
    ),
    Row(
        "An answer of GitHub's swells without end",
        "it is given up at a cap",
        "tests/adapters/github/test_client.py::test_an_answer_that_swells_is_given_up_at_the_cap",
    ),
    Row(
        "An analyzer wants too much memory, time or output",
        "it gets none, and costs only itself",
        "tests/adapters/analyzers/test_process.py::test_a_process_that_wants_too_much_memory_gets_none",
    ),
    Row(
        "A patch is beyond every cap",
        "what fits is reviewed, the rest is named",
        "tests/adapters/test_git.py::test_a_diff_beyond_the_cap_keeps_what_fits_and_names_the_rest",
    ),
    Row(
        "The webhook's secret is rotated",
        "both are accepted meanwhile",
        "tests/core/test_events.py::test_two_secrets_are_accepted_during_a_rotation",
    ),
    Row(
        "The disk is full when a delivery comes",
        "503, nothing half-written: GitHub shows it as failed",
        "tests/test_jobs.py::test_a_full_disk_is_unavailable_and_leaves_no_half_of_a_delivery",
    ),
    Row(
        "The disk of the log is full",
        "nothing else stops",
        "tests/adapters/test_log.py::test_a_full_disk_stops_nothing",
    ),
    Row(
        "The database is locked when a delivery comes",
        "it is waited for, then 503",
        "tests/test_jobs.py::test_a_locked_database_is_waited_for_and_then_unavailable",
    ),
    Row(
        "Two transactions want to write at once",
        "each has the write lock from its first moment",
        "tests/adapters/test_store.py::test_a_write_transaction_has_the_write_lock_from_its_first_moment",
    ),
    Row(
        "The database is damaged",
        "no start, its path and the damage in one sentence; it is left as it is",
        "tests/adapters/test_store.py::test_a_damaged_database_is_refused_and_left_alone",
    ),
    Row(
        "The database is of a newer version",
        "no start, both versions in one sentence",
        "tests/adapters/test_store.py::test_a_newer_database_is_refused_by_path_and_version",
    ),
    Row(
        "No model service answers",
        "the analyzers speak, and nothing is called clean",
        "tests/e2e/test_outage.py::test_a_model_service_that_is_down_leaves_the_analyzers_and_no_clean_word",
    ),
    Row(
        "The model says nothing that can be read",
        "one more try, then the lines are named as not reviewed",
        "tests/e2e/test_reviews.py::test_an_answer_that_says_nothing_is_not_a_clean_review",
    ),
    Row(
        "The model service drips its answer, byte by byte",
        "it is cut off by the clock",
        "tests/adapters/models/test_faults.py::test_a_dripping_service_is_cut_off_by_the_clock",
    ),
    Row(
        "A stream of the model's ends cleanly without saying that it is complete",
        "it is no answer, and it is asked again",
        "tests/adapters/models/test_faults.py::test_only_an_answer_that_says_it_stopped_is_complete",
    ),
    Row(
        "A part of the change is too long for the model",
        "it is halved, at most four times, then named as too large",
        "tests/test_looks.py::test_halving_ends_after_four_times_and_with_every_unit_named",
    ),
    Row(
        "The model service asks for a wait beyond the review's end",
        "it is not begun; the lines are named as not reviewed",
        "tests/adapters/models/test_scheduler.py::test_a_wait_beyond_the_runs_end_is_not_begun",
    ),
    Row(
        "One part's questions fail, and others' do not",
        "the others are posted",
        "tests/test_pipeline.py::test_one_failing_chunk_leaves_the_others",
    ),
    Row(
        "A secondary limit",
        "writes are half as fast for an hour",
        "tests/adapters/github/test_quota.py::test_a_secondary_limit_halves_the_pace_for_an_hour",
    ),
    Row(
        "GitHub's name is not found, its certificate is wrong, or anything else below HTTP",
        "it is unavailable: a read is tried again, a write looked up",
        "tests/adapters/github/test_client.py::test_every_error_of_the_libraries_below_is_translated",
    ),
    Row(
        "Killed before and after each single write of a review",
        "nothing is lost, and nothing said twice",
        "tests/adapters/github/test_crashes.py::test_a_review_survives_a_kill",
    ),
    Row(
        "The App is removed while jobs of its wait",
        "all of them are cancelled, others go on",
        "tests/test_jobs.py::test_a_removed_installation_has_its_jobs_stopped_and_writes_nothing",
    ),
    Row(
        "The server stops answering its database",
        "its readiness says so",
        "tests/web/test_app.py::test_health_readiness_and_metrics",
    ),
    Row(
        "The model's finding stands in no file or line that there is",
        "it is said in the summary, with the reason",
        "tests/core/test_anchors.py::test_what_can_not_be_placed_stays_without_an_anchor_and_says_why",
    ),
    Row(
        "The model's answer is cut at any place",
        "it is never taken for an answer",
        "tests/core/test_findings.py::test_an_answer_cut_anywhere_is_never_accepted",
    ),
)
