"""The operator's settings: each is read, or refused by its name and never its value."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import PROVIDER_KEYS, Settings, read_usd

CANARY = "CANARY-7a61-never-shown"
SECRET = "It's a Secret to Everybody"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"


def refuse(**environ: str) -> str:
    """Read settings that can't be used and return what is said of them."""
    with pytest.raises(SettingsError) as caught:
        Settings.read(environ)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_nothing_set_means_the_defaults() -> None:
    settings = Settings.read({})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == Path("postil-data")
    assert settings.github_api_url == "https://api.github.com"


def test_an_empty_or_blank_value_is_none() -> None:
    assert (
        Settings.read({"POSTIL_PORT": "", "POSTIL_MODEL": "  ", "POSTIL_RPM": "\n"}) == Settings()
    )


def test_everything_can_be_set(tmp_path: Path) -> None:
    overrides = tmp_path / "providers.toml"
    overrides.write_text("")
    settings = Settings.read(
        {
            "POSTIL_PROVIDER": "novita",
            "POSTIL_MODEL": "qwen/qwen3-coder-next",
            "POSTIL_BASE_URL": "https://models.example.com/v1/",
            "POSTIL_API_KEY": "sk-one",
            "NOVITA_API_KEY": "sk-two",
            "POSTIL_MAX_COST_USD": "0.50",
            "POSTIL_RPM": "30",
            "POSTIL_CONCURRENCY": "4",
            "POSTIL_PROVIDERS_FILE": str(overrides),
            "POSTIL_DASHSCOPE_WORKSPACE": "llm-abc",
            "POSTIL_DASHSCOPE_REGION": "ap-southeast-1",
            "POSTIL_GITHUB_API_URL": "https://github.example.com/api/v3",
            "POSTIL_GITHUB_APP_ID": "12345",
            "POSTIL_GITHUB_PRIVATE_KEY": PEM,
            "POSTIL_GITHUB_TOKEN": "ghp_x",
            "POSTIL_WEBHOOK_SECRET": f"{SECRET}, {SECRET} too",
            "POSTIL_DATA_DIR": "/var/lib/postil",
            "POSTIL_DATABASE_URL": "postgresql://postil@db/postil",
            "POSTIL_HOST": "0.0.0.0",  # noqa: S104 - a value
            "POSTIL_PORT": "9000",
            "POSTIL_WORKER_ID": "worker-1",
            "POSTIL_ALLOW_INSECURE": "1",
        }
    )
    assert settings.base_url == "https://models.example.com/v1"
    assert settings.max_cost_usd == Decimal("0.50")
    assert settings.webhook_secrets == (SECRET, f"{SECRET} too")
    assert settings.provider_keys == {"NOVITA_API_KEY": "sk-two"}
    assert settings.github_private_key == PEM
    assert (settings.rpm, settings.concurrency, settings.port) == (30, 4, 9000)
    assert set(settings.secrets) == {
        "sk-one",
        "sk-two",
        "ghp_x",
        PEM,
        SECRET,
        f"{SECRET} too",
        "postgresql://postil@db/postil",
    }


def test_the_usual_variables_name_the_proxies() -> None:
    environ = {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2", "NO_PROXY": "internal"}
    assert Settings.read(environ).proxies == {"https": "http://b:2", "no": "internal"}
    assert Settings.read({}).proxies == {}


def test_no_secret_is_shown_by_printing_the_settings() -> None:
    names = ["POSTIL_API_KEY", "POSTIL_GITHUB_TOKEN", "POSTIL_GITHUB_PRIVATE_KEY"]
    names += ["POSTIL_WEBHOOK_SECRET", *(name for _, name in PROVIDER_KEYS)]
    environ = dict.fromkeys(names, CANARY) | {
        "POSTIL_DATABASE_URL": f"postgresql://u:{CANARY}@h/d",
        "HTTPS_PROXY": f"http://u:{CANARY}@proxy",
    }
    settings = Settings.read(environ)
    assert CANARY not in repr(settings)
    assert len(settings.secrets) == len(environ)


# What can't be used.


@pytest.mark.parametrize("secret", ["short", "fifteen letters", f"{SECRET},short"])
def test_a_webhook_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    text = refuse(POSTIL_WEBHOOK_SECRET=secret)
    assert text == "POSTIL_WEBHOOK_SECRET must have at least 16 characters"


@pytest.mark.parametrize("port", ["abc", "0", "99999", "-1", "8e3", "8000.0", "٨٠٠٠", "9" * 5000])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert refuse(POSTIL_PORT=port) == "POSTIL_PORT must be a whole number from 1 to 65535"


@pytest.mark.parametrize("name", ["POSTIL_RPM", "POSTIL_CONCURRENCY", "POSTIL_GITHUB_APP_ID"])
@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many", "9" * 30])
def test_a_number_out_of_bounds_is_refused(name: str, value: str) -> None:
    assert refuse(**{name: value}).startswith(f"{name} must be a whole number")


@pytest.mark.parametrize("name", ["POSTIL_BASE_URL", "POSTIL_GITHUB_API_URL"])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://models.example.com/v1", "plain http beyond this machine"),
        ("http://169.254.169.254/v1", "plain http beyond this machine"),
        ("http://127.0.0.1.example.com/v1", "plain http beyond this machine"),
        (f"https://user:{CANARY}@models.example.com/v1", "user name or password"),
        (f"https://{CANARY}@models.example.com/v1", "user name or password"),
        (f"https://models.example.com/v1?key={CANARY}", "query or fragment"),
        (f"https://models.example.com/v1#{CANARY}", "query or fragment"),
        ("file:///etc/passwd", "must be a web address"),
        ("models.example.com/v1", "must be a web address"),
        ("https:///v1", "must be a web address"),
        ("https://models.example.com:0/v1", "port 0"),
        ("https://models.example.com:99999/v1", "is not a web address"),
        ("https://[::1/v1", "is not a web address"),
        (f"https://models.example.com/v1\r\nX-Key: {CANARY}", "must be a web address"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(name: str, address: str, why: str) -> None:
    text = refuse(**{name: address})
    assert text.startswith(name)
    assert why in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/v1", "http://[::1]:9/v1", "http://localhost:9/v1"]
)
def test_plain_http_to_this_machine_is_fine(address: str) -> None:
    assert Settings.read({"POSTIL_BASE_URL": f" {address}/ "}).base_url == address


def test_plain_http_elsewhere_needs_the_operators_word() -> None:
    environ = {"POSTIL_BASE_URL": "http://models.internal/v1", "POSTIL_ALLOW_INSECURE": "1"}
    assert Settings.read(environ).base_url == "http://models.internal/v1"
    assert refuse(**environ | {"POSTIL_ALLOW_INSECURE": "yes"}) == (
        "POSTIL_ALLOW_INSECURE must be 0 or 1"
    )


KEYS = ["POSTIL_API_KEY", "POSTIL_GITHUB_TOKEN", *(name for _, name in PROVIDER_KEYS)]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    "spoilt", [f"{CANARY}\r\nX-Evil: 1", f"{CANARY} two", f"{CANARY}é", "a\0b"]
)
def test_a_key_that_no_header_can_carry_is_refused(name: str, spoilt: str) -> None:
    text = refuse(**{name: spoilt})
    assert text.startswith(f"{name} holds a character that no key has")
    assert CANARY not in text


def test_a_key_pasted_with_a_line_end_is_taken_without_it() -> None:
    settings = Settings.read({"OPENAI_API_KEY": "sk-one\n", "POSTIL_GITHUB_TOKEN": " ghp_x \r\n"})
    assert settings.provider_keys == {"OPENAI_API_KEY": "sk-one"}
    assert settings.github_token == "ghp_x"


def test_the_private_key_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(PEM)
    name = "POSTIL_GITHUB_PRIVATE_KEY_FILE"
    assert Settings.read({name: str(path)}).github_private_key == PEM
    assert "not both" in refuse(**{name: str(path), "POSTIL_GITHUB_PRIVATE_KEY": CANARY})
    assert refuse(**{name: str(tmp_path)}).startswith(f"{name} names no file")
    path.write_bytes(b"\xff\xfe\x00")
    assert refuse(**{name: str(path)}) == f"{name} can't be read as text"


@pytest.mark.parametrize("name", ["POSTIL_PROVIDERS_FILE", "POSTIL_GITHUB_PRIVATE_KEY_FILE"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    assert refuse(**{name: str(tmp_path / "none")}).startswith(f"{name} names no file: ")


@pytest.mark.parametrize(
    "url",
    ["mysql://h/d", f"u:{CANARY}@h", "/var/lib/postil.db", "sqlite", "postgresql+asyncpg://h"],
)
def test_a_database_of_another_kind_is_refused(url: str) -> None:
    text = refuse(POSTIL_DATABASE_URL=url)
    assert text == "POSTIL_DATABASE_URL must begin with postgresql:// or sqlite://"


@pytest.mark.parametrize(
    "name", ["POSTIL_WORKER_ID", "POSTIL_DASHSCOPE_WORKSPACE", "POSTIL_DASHSCOPE_REGION"]
)
@pytest.mark.parametrize("value", ["-x", "a/b", "a b", "é", "x" * 64, "a\nb"])
def test_a_label_holds_letters_digits_dots_and_hyphens(name: str, value: str) -> None:
    assert refuse(**{name: value}).startswith(f"{name} may hold letters")


@pytest.mark.parametrize("amount", ["much", "-1", "NaN", "Infinity", "0,50", "$1"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    assert refuse(POSTIL_MAX_COST_USD=amount).startswith("POSTIL_MAX_COST_USD must be")
    with pytest.raises(SettingsError, match="--max-cost must be"):
        read_usd("--max-cost", amount)


def test_zero_is_an_amount() -> None:
    assert read_usd("--max-cost", "0") == 0
    assert read_usd("--max-cost", None) is None
