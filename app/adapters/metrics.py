"""What an operator may watch, for Prometheus. Names follow prometheus.io/docs/practices/naming."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.core.job import JobState
from app.core.money import Usage


class Metrics:
    """Counters of one process, in a registry of its own."""

    def __init__(self) -> None:
        self._count: Callable[[], Mapping[str, int]] = dict
        self._oldest: Callable[[float], float | None] = lambda _now: None
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "postil_deliveries",
            "Webhook deliveries by event and by what was made of them.",
            ("event", "outcome"),
            registry=self.registry,
        )
        self.jobs = Gauge("postil_jobs", "Jobs by state.", ("state",), registry=self.registry)
        self.queue_age = Gauge(
            "postil_queue_age_seconds",
            "How long the oldest job that could run has waited.",
            registry=self.registry,
        )
        self.model_requests = Counter(
            "postil_model_requests", "Requests to the model service.", registry=self.registry
        )
        self.model_tokens = Counter(
            "postil_model_tokens",
            "Tokens as the model service counts them.",
            ("kind",),
            registry=self.registry,
        )
        self.model_cost = Counter(
            "postil_model_cost_usd", "What the model cost, in US dollars.", registry=self.registry
        )
        self.github_requests = Counter(
            "postil_github_requests",
            "Requests to GitHub by method and outcome.",
            ("method", "outcome"),
            registry=self.registry,
        )
        self.github_remaining = Gauge(
            "postil_github_rate_limit_remaining",
            "Requests an installation has left in GitHub's hour, as last told.",
            ("installation",),
            registry=self.registry,
        )
        self.review_duration = Histogram(
            "postil_review_duration_seconds",
            "How long reviews took.",
            buckets=(1, 5, 15, 30, 60, 120, 300, 600, 900),
            registry=self.registry,
        )

    def count_model(self, usage: Usage) -> None:
        """Count what requests to the model used."""
        self.model_requests.inc(usage.requests)
        self.model_tokens.labels("prompt").inc(usage.prompt_tokens)
        self.model_tokens.labels("completion").inc(usage.completion_tokens)
        self.model_tokens.labels("cached").inc(usage.cached_tokens)
        self.model_tokens.labels("reasoning").inc(usage.reasoning_tokens)
        if usage.cost_usd is not None:
            self.model_cost.inc(float(usage.cost_usd))

    def count_github(self, method: str, outcome: str) -> None:
        """Count one request to GitHub."""
        self.github_requests.labels(method, outcome).inc()

    def note_remaining(self, installation_id: int, left: float) -> None:
        """Note how many requests GitHub leaves an installation."""
        self.github_remaining.labels(str(installation_id)).set(left)

    def watch_queue(
        self, count: Callable[[], Mapping[str, int]], oldest: Callable[[float], float | None]
    ) -> None:
        """Ask for the jobs by state, and since when the oldest waits, whenever somebody looks."""
        self._count, self._oldest = count, oldest

    def render(self) -> bytes:
        """Return the text a scraper reads."""
        counts = self._count()
        for state in JobState:
            self.jobs.labels(state.value).set(counts.get(state.value, 0))
        now = time.time()
        oldest = self._oldest(now)
        self.queue_age.set(0 if oldest is None else now - oldest)
        return generate_latest(self.registry)
