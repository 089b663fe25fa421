"""What a scraper reads from a server that has reviewed something."""

from __future__ import annotations

from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from sandbox.serving import Server
from tests.e2e.conftest import Stage

PRICED = """
[openai-compatible.figures.stand-in]
prices = [{ input = "100", output = "100" }]
"""
Sample = tuple[str, ...]


def scrape(server: Server) -> dict[Sample, float]:
    """Read a server's metrics: the name and the labels' values, and the value."""
    with urlopen(f"{server.address}/metrics", timeout=10) as response:  # noqa: S310 - loopback
        text = response.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_review_shows_in_every_metric(stage: Stage) -> None:
    providers = stage.folder / "providers.toml"
    providers.write_text(PRICED)
    with stage.serving({"POSTIL_PROVIDERS_FILE": str(providers)}) as server:
        before = scrape(server)
        stage.open_pull(stage.create_repository("measured"))
        stage.wait_until_done()
        after = scrape(server)
    (home,) = stage.github.installations
    for name in (
        ("postil_deliveries_total", "pull_request", "accepted"),
        ("postil_jobs", "done"),
        ("postil_model_requests_total",),
        ("postil_model_tokens_total", "prompt"),
        ("postil_model_tokens_total", "completion"),
        ("postil_model_cost_usd_total",),
        ("postil_github_requests_total", "GET", "ok"),
        ("postil_github_requests_total", "POST", "ok"),
        ("postil_github_requests_total", "PATCH", "ok"),
        ("postil_github_rate_limit_remaining", str(home)),
        ("postil_review_duration_seconds_count",),
        ("postil_review_duration_seconds_sum",),
        ("postil_review_duration_seconds_bucket", "+Inf"),
    ):
        assert before.get(name, 0) == 0, name
        assert after[name] > 0, name
    assert after["postil_queue_age_seconds",] == 0
    assert after["postil_jobs", "queued"] == after["postil_jobs", "dead"] == 0
    assert 4900 < after["postil_github_rate_limit_remaining", str(home)] < 5000
    counted = sum(
        value for name, value in after.items() if name[0] == "postil_github_requests_total"
    )
    made = [call for call in stage.github.calls if "git-upload-pack" not in call.path]
    assert counted <= len([call for call in made if "info/refs" not in call.path])
