"""What a scraper reads."""

from __future__ import annotations

import time
from decimal import Decimal

from prometheus_client.parser import text_string_to_metric_families

from app.adapters.metrics import Metrics
from app.core.money import Usage


def samples(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_queue_is_read_when_somebody_looks() -> None:
    metrics = Metrics()
    jobs = {"queued": 2, "dead": 1}
    metrics.watch_queue(lambda: jobs, lambda now: now - 30)
    first = samples(metrics)
    assert (first["postil_jobs{queued}"], first["postil_jobs{done}"]) == (2, 0)
    assert 29 < first["postil_queue_age_seconds"] < 31
    jobs.clear()
    metrics.watch_queue(lambda: jobs, lambda _now: None)
    again = samples(metrics)
    assert (again["postil_jobs{queued}"], again["postil_queue_age_seconds"]) == (0, 0)


def test_every_promised_name_is_there() -> None:
    metrics = Metrics()
    metrics.deliveries.labels("pull_request", "accepted").inc()
    metrics.count_model(Usage(2, 1000, 100, 10, 5, Decimal("0.25")))
    metrics.count_model(Usage(1))
    metrics.count_github("GET", "ok")
    metrics.note_remaining(99, 4990)
    metrics.review_duration.observe(12)
    found = samples(metrics)
    assert found["postil_deliveries_total{pull_request,accepted}"] == 1
    assert found["postil_model_requests_total"] == 3
    assert found["postil_model_tokens_total{prompt}"] == 1000
    assert found["postil_model_tokens_total{completion}"] == 100
    assert found["postil_model_cost_usd_total"] == 0.25
    assert found["postil_github_requests_total{GET,ok}"] == 1
    assert found["postil_github_rate_limit_remaining{99}"] == 4990
    assert found["postil_review_duration_seconds_count"] == 1
    assert found["postil_deliveries_created{pull_request,accepted}"] <= time.time()


def test_two_registries_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.model_requests.inc()
    assert samples(second)["postil_model_requests_total"] == 0
