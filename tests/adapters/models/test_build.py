"""A row and the operator's choices become a model, or one sentence that says what to set."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from app.adapters.models import build as build_module
from app.adapters.models.build import Choices, build_model
from app.adapters.models.registry import load_providers
from app.core.prompts import Answer, Role
from app.errors import SettingsError
from sandbox.models import ModelServer
from tests.adapters.models.kit import build, make_prompt

ROWS = load_providers()


@pytest.mark.parametrize(
    ("row", "choices", "named"),
    [
        ("novita", Choices(), "NOVITA_API_KEY"),
        ("segmind", Choices(api_key=""), "SEGMIND_API_KEY"),
        ("modelstudio", Choices(api_key="k"), "POSTIL_DASHSCOPE_WORKSPACE"),
        ("openai-compatible", Choices(base_url="http://127.0.0.1:1/v1"), "POSTIL_MODEL"),
        ("openai-compatible", Choices(model="m"), "POSTIL_BASE_URL"),
    ],
)
def test_what_is_not_set_is_named(row: str, choices: Choices, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        build_model(ROWS[row], choices)


def test_the_embedded_model_that_is_not_installed_says_how_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_module, "find_model", lambda: None)
    with pytest.raises(SettingsError, match=r"postil\[local\]"):
        build_model(ROWS["local"], Choices())
    assert not build_module.has_local()


def test_requests_take_the_way_that_the_variables_name() -> None:
    with ModelServer("openai-compatible") as proxy:
        address = "http://models.example/v1"
        choices = Choices("k", address, "m", allow_insecure=True, proxies={"http": proxy.address})
        build_model(ROWS["openai-compatible"], choices).ask_once(make_prompt())
    assert [seen.path for seen in proxy.seen] == [f"{address}/chat/completions"]


def test_a_model_knows_its_figures() -> None:
    info = build_model(ROWS["novita"], Choices(api_key="k")).info
    assert (info.provider, info.name) == ("novita", "qwen/qwen3-coder-next")
    assert (info.context_tokens, info.max_output_tokens) == (262_144, 65_536)
    assert (info.chunk_tokens, info.min_rung, info.least_output) == (6000, "E0", 0)
    assert str(info.prices[0].output) == "1.50"


def test_a_model_that_is_not_listed_gets_cautious_figures_and_no_price() -> None:
    info = build_model(ROWS["novita"], Choices(api_key="k", model="other/model")).info
    assert (info.name, info.context_tokens, info.prices) == ("other/model", 32_768, ())


def test_the_embedded_model_reviews_small_chunks_and_needs_proof() -> None:
    provider = ROWS["local"]
    assert (provider.min_rung, provider.chunk_tokens, provider.concurrency) == ("E2", 800, 1)


def test_the_operators_model_takes_every_part() -> None:
    with ModelServer("segmind") as server:
        for role in Role:
            build(server, model="qwen3-coder-flash").ask_once(make_prompt(role=role))
    assert {seen.path for seen in server.seen} == {"/v1/qwen3-coder-flash"}


def test_the_operators_rate_goes_before_the_tables() -> None:
    model = build_model(ROWS["novita"], Choices(api_key="k", rpm=7, concurrency=3))
    assert (model.quota.rpm, model.quota.concurrency) == (7, 3)


def test_a_purse_reckons_with_the_price_of_each_role() -> None:
    rows = load_providers("""
        [novita.models]
        verify = "big"
        [novita.figures.big]
        prices = [{ input = "9", output = "9" }]
        rpm = 7
    """)
    model = build_model(rows["novita"], Choices(api_key="k"))
    assert model.quota.rpm == 7
    infos = [model.info.of(role) for role in Role]
    assert [str(info.prices[0].input) for info in infos] == ["0.20", "0.20", "9"]


def test_no_prompt_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    with ModelServer("novita", key="sk-CANARY-KEY") as server:
        prompt = make_prompt("R1 +| CANARY-CODE")
        assert isinstance(build(server).ask_once(prompt), Answer)
    assert "CANARY" not in caplog.text


def test_a_key_is_not_part_of_what_is_shown() -> None:
    choices = Choices(api_key="sk-CANARY")
    model = build_model(ROWS["novita"], choices)
    assert "CANARY" not in repr(choices)
    assert "CANARY" not in repr(vars(model))
    assert "CANARY" not in repr(replace(choices, model="m"))
