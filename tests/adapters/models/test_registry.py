"""The table of services: what it holds, who overrides it, and which row is chosen."""

from __future__ import annotations

import pytest

from app.adapters.models.registry import (
    FIGURES,
    build_address,
    choose_provider,
    load_providers,
    table,
)
from app.errors import SettingsError
from app.settings import PROVIDER_KEYS

IDS = (
    "novita",
    "modelstudio",
    "dashscope",
    "segmind",
    "aimlapi",
    "openai",
    "openai-compatible",
    "local",
)


def test_the_table_holds_every_service() -> None:
    assert tuple(load_providers()) == IDS


def test_every_figure_says_where_and_when_it_was_read() -> None:
    for provider in load_providers().values():
        for model, figures in provider.figures.items():
            stated = {name for name in FIGURES if getattr(figures, name)}
            assert stated == set(figures.sources), (provider.id, model)
            if provider.id != "local":
                assert all("read 20" in source for source in figures.sources.values())


def test_each_row_asks_in_the_best_mode_that_its_page_documents() -> None:
    modes = {provider.id: provider.modes[0] for provider in load_providers().values()}
    assert modes == {
        "novita": "json_schema",
        "modelstudio": "partial",
        "dashscope": "partial",
        "segmind": "plain",
        "aimlapi": "plain",
        "openai": "json_schema",
        "openai-compatible": "json_schema",
        "local": "json_schema",
    }


def test_an_operator_overrides_single_figures_and_keeps_the_rest() -> None:
    row = load_providers("""
        [novita.figures."qwen/qwen3-coder-next"]
        rpm = 600
        prices = [{ input = "0.1", output = "1" , up_to = 1000}, { input = "0.2", output = "2" }]
        [modelstudio.figures.qwen3-coder-next]
        tpm = 1000000
    """)
    figures = row["novita"].figures_of("qwen/qwen3-coder-next")

    assert (figures.rpm, len(figures.prices), figures.context_tokens) == (600, 2, 262_144)
    assert figures.sources["rpm"] == "POSTIL_PROVIDERS_FILE"
    assert row["modelstudio"].figures_of("qwen3-coder-next").tpm == 1_000_000
    assert row["novita"].address == "https://api.novita.ai/openai/v1"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("[novita", "not valid TOML"),
        ("[novita]\ncolour = 1", "novita.colour"),
        ('[novita]\ndialect = "soap"', "novita.dialect"),
        ("[novita]\nmodes = []", "novita.modes"),
        ('[novita]\nmodes = ["magic"]', "novita.modes"),
        ("[modelstudio]\nregions = []", "modelstudio.regions"),
        ("novita = 1", "novita"),
        ("[novita.figures]\nx = 1", "novita.figures.x"),
        ('[novita.figures.x]\nprices = [{ input = "free", output = "1" }]', "prices"),
        ('[novita.figures.x]\nprices = [{ input = "1", output = "1", per = 1 }]', "per"),
        ('[acme]\ntitle = "Acme"', "acme.dialect"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused_by_name(override: str, told: str) -> None:
    with pytest.raises(SettingsError, match="POSTIL_PROVIDERS_FILE") as caught:
        load_providers(override)
    assert told in caught.value.message


KEYS = {name: "k" for _, name in PROVIDER_KEYS}


def test_the_first_service_whose_key_is_set_is_chosen() -> None:
    providers, keys = load_providers(), dict(KEYS)
    chosen = []
    while keys:
        provider = choose_provider(providers, wish=None, keys=keys, has_local=True)
        assert provider is not None
        assert provider.key is not None
        chosen.append(provider.id)
        del keys[provider.key]
    assert chosen == [provider for provider, _ in PROVIDER_KEYS]


def test_a_wish_goes_before_every_key() -> None:
    provider = choose_provider(load_providers(), wish="dashscope", keys=KEYS, has_local=True)
    assert provider is not None
    assert provider.id == "dashscope"


def test_without_a_key_the_embedded_model_is_chosen_if_it_is_there() -> None:
    providers = load_providers()
    local = choose_provider(providers, wish=None, keys={}, has_local=True)
    assert local is not None
    assert local.id == "local"
    assert choose_provider(providers, wish=None, keys={}, has_local=False) is None
    assert (
        choose_provider(providers, wish=None, keys={"NOVITA_API_KEY": ""}, has_local=False) is None
    )


def test_an_unknown_wish_is_told_what_there_is() -> None:
    with pytest.raises(SettingsError, match="novita, modelstudio"):
        choose_provider(load_providers(), wish="skynet", keys={}, has_local=True)


@pytest.mark.parametrize(
    ("row", "region", "address"),
    [
        ("modelstudio", None, "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"),
        (
            "modelstudio",
            "ap-southeast-1",
            "https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1",
        ),
        ("dashscope", None, "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1"),
        ("novita", None, "https://api.novita.ai/openai/v1"),
        ("segmind", None, "https://api.segmind.com/v1"),
        ("aimlapi", None, "https://api.aimlapi.com/v1"),
    ],
)
def test_addresses_are_built_of_workspace_and_region(
    row: str, region: str | None, address: str
) -> None:
    provider = load_providers()[row]
    assert build_address(provider, workspace="ws-1", region=region) == address


@pytest.mark.parametrize(
    ("row", "workspace", "region", "named"),
    [
        ("modelstudio", None, None, "POSTIL_DASHSCOPE_WORKSPACE"),
        ("modelstudio", "evil.com/x", None, "POSTIL_DASHSCOPE_WORKSPACE"),
        ("modelstudio", "ws\n", None, "POSTIL_DASHSCOPE_WORKSPACE"),
        ("dashscope", "ws", "mars-1", "POSTIL_DASHSCOPE_REGION"),
        ("openai-compatible", None, None, "POSTIL_BASE_URL"),
    ],
)
def test_what_is_missing_in_an_address_is_named(
    row: str, workspace: str | None, region: str | None, named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        build_address(load_providers()[row], workspace=workspace, region=region)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://evil.example",
        "https://user:hunter2@host/v1",
        "https://host/v1?x=1",
        "https://host/v1#x",
        "file:///etc/passwd",
        "http://169.254.169.254",
        "http://2130706433",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "host/v1",
    ],
)
def test_an_address_that_could_leak_a_prompt_is_refused(base_url: str) -> None:
    with pytest.raises(SettingsError, match="POSTIL_BASE_URL") as caught:
        build_address(load_providers()["novita"], base_url=base_url)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        (" https://host/v1/ ", "https://host/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://localhost/v1", "http://localhost/v1"),
        ("http://[::1]:1/v1", "http://[::1]:1/v1"),
    ],
)
def test_https_and_loopback_are_taken(base_url: str, address: str) -> None:
    assert build_address(load_providers()["novita"], base_url=base_url) == address


def test_an_overridden_address_keeps_the_same_rules() -> None:
    providers = load_providers('[novita]\naddress = "http://evil.example"')
    with pytest.raises(SettingsError, match="POSTIL_PROVIDERS_FILE"):
        build_address(providers["novita"])


def test_the_table_for_people_has_a_row_for_each_service() -> None:
    rows = table(load_providers())
    assert [row["provider"] for row in rows] == list(IDS)
    assert rows[0] == {
        "provider": "novita",
        "model": "qwen/qwen3-coder-next",
        "key": "NOVITA_API_KEY",
        "structured output": "json_schema",
        "context": "262,144",
        "output": "65,536",
        "USD per 1M in": "0.20",
        "USD per 1M out": "1.50",
        "RPM": "30",
        "TPM": "",
    }
