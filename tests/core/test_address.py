"""Which way requests take, by the variables that people set for it."""

from __future__ import annotations

import pytest

from app.core.address import choose_proxy
from app.errors import SettingsError

PROXIES = {"https": "http://proxy:3128", "no": "models.internal, .corp.example,10.0.0.7"}


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("https://api.example.com/v1", "http://proxy:3128"),
        ("https://api.example.com:8443/v1", "http://proxy:3128"),
        ("http://api.example.com/v1", None),
        ("https://models.internal/v1", None),
        ("https://models.internal:8443/v1", None),
        ("https://eu.corp.example/v1", None),
        ("https://10.0.0.7/v1", None),
        ("https://notmodels.internal/v1", "http://proxy:3128"),
    ],
)
def test_a_proxy_is_for_its_scheme_and_not_for_what_is_excepted(
    address: str, proxy: str | None
) -> None:
    assert choose_proxy(PROXIES, address) == proxy


@pytest.mark.parametrize("host", ["localhost:11434", "127.0.0.1:8080", "[::1]:8080"])
def test_this_machine_needs_no_proxy(host: str) -> None:
    assert choose_proxy({"http": "http://proxy:3128"}, f"http://{host}/v1") is None


def test_an_exception_for_everything_is_one() -> None:
    assert choose_proxy({"https": "http://proxy:3128", "no": "*"}, "https://a.example/v1") is None


def test_a_proxy_without_a_scheme_speaks_http() -> None:
    assert choose_proxy({"https": "proxy:3128"}, "https://a.example/v1") == "http://proxy:3128"


def test_a_proxy_that_can_not_be_spoken_to_is_named_and_its_password_is_not() -> None:
    with pytest.raises(SettingsError, match="HTTPS_PROXY must begin with") as refused:
        choose_proxy({"https": "socks5://u:hunter2@proxy"}, "https://a.example/v1")
    assert "hunter2" not in str(refused.value)
