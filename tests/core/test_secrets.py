from __future__ import annotations

import base64
import codecs
import html
import json
import random
import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.diff import ChangeKind, Diff, Line, RawFile, Side, parse_diff
from app.core.findings import Category, Severity
from app.core.secrets import Redactor, find_secrets, mask, mask_diff

RANDOM = random.Random(7)  # noqa: S311 - made-up tokens


def letters(count: int, alphabet: str = "") -> str:
    chosen = alphabet or "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
    return "".join(RANDOM.choice(chosen) for _ in range(count))


HEX = "0123456789abcdef"
PEM_BODY = "\n".join(letters(64) for _ in range(6))
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----"
TOKENS = {
    "AWS_ACCESS_KEY": "AKIA" + letters(16, "ABCDEFGHIJKLMNOP234567"),
    "GITHUB_TOKEN": "ghp_" + letters(36),
    "GITLAB_TOKEN": "glpat-" + letters(20),
    "SLACK_TOKEN": "xoxb-123456789012-" + letters(24),
    "STRIPE_KEY": "sk_live_" + letters(24),
    "ANTHROPIC_KEY": "sk-ant-api03-" + letters(90),
    "OPENAI_KEY": "sk-proj-" + letters(48),
    "SECRET_KEY": "sk_" + letters(40),
    "GOOGLE_KEY": "AIza" + letters(35),
    "GOOGLE_TOKEN": "ya29." + letters(60),
    "JWT": f"eyJ{letters(30)}.eyJ{letters(60)}.{letters(43)}",
    "NPM_TOKEN": "npm_" + letters(36),
    "PYPI_TOKEN": "pypi-AgEIcHlwaS5vcmc" + letters(60),
    "AZURE_KEY": "AccountKey=" + letters(86) + "==",
    "AZURE_SECRET": "abc8Q~" + letters(34),
    "SENDGRID_KEY": f"SG.{letters(22)}.{letters(43)}",
    "HUGGINGFACE_TOKEN": "hf_" + letters(34),
    "SHOPIFY_TOKEN": "shpat_" + letters(32, HEX),
    "TELEGRAM_TOKEN": "123456789:AA" + letters(33),
    "VAULT_TOKEN": "hvs." + letters(40),
    "DATABRICKS_TOKEN": "dapi" + letters(32, HEX),
    "SLACK_WEBHOOK": f"hooks.slack.com/services/T0{letters(8)}/B0{letters(8)}/{letters(24)}",
    "PRIVATE_KEY": PEM,
}
MORE = {
    "github_pat_" + letters(82): "GITHUB_TOKEN",
    "ghs_CANARY" + letters(20): "GITHUB_TOKEN",
    "ASIA" + letters(16, "ABCDEFGHIJ234567"): "AWS_ACCESS_KEY",
    "sk-CANARY" + letters(20): "OPENAI_KEY",
    "rk_test_" + letters(24): "STRIPE_KEY",
    **{f"{prefix}{letters(16, 'ABCDEFGH234567')}": "AWS_ACCESS_KEY" for prefix in ("ABIA", "ACCA")},
    **{
        f"gl{name}-{letters(20)}": "GITLAB_TOKEN"
        for name in ("ptt", "dt", "rt", "cbt", "ft", "soat", "imt", "agent")
    },
    **{f"gh{letter}_{letters(36)}": "GITHUB_TOKEN" for letter in "ousr"},
    **{f"shp{name}_{letters(32, HEX)}": "SHOPIFY_TOKEN" for name in ("ca", "pa", "ss")},
    **{f"sig={letters(43)}{end}": "AZURE_SIGNATURE" for end in ("%3D", "=")},
    "xapp-1-A012345-" + letters(20): "SLACK_TOKEN",
    "whsec_" + letters(32): "STRIPE_KEY",
    "gsk_" + letters(52): "GROQ_KEY",
    "GOCSPX-" + letters(28): "GOOGLE_SECRET",
    "dop_v1_" + letters(64, HEX): "DIGITALOCEAN_TOKEN",
    "dckr_pat_" + letters(27): "DOCKER_TOKEN",
    "AGE-SECRET-KEY-1" + letters(58, "ACDEFGHJKLMNPQRSTUVWXYZ0234567"): "AGE_KEY",
    "hooks.slack.com/workflows/T0" + letters(40): "SLACK_WEBHOOK",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n" + PEM_BODY + "\n": "PRIVATE_KEY",
}


TOKEN = TOKENS["GITHUB_TOKEN"]
KEY_ID = TOKENS["AWS_ACCESS_KEY"]


@pytest.mark.parametrize(
    ("kind", "token"), [*TOKENS.items(), *((kind, token) for token, kind in MORE.items())]
)
@pytest.mark.parametrize("frame", ["{}", 'x = "{}"', "({})", "see {}, please", "a: {}\nb: 1"])
def test_a_token_is_found_by_its_shape_and_hidden_by_its_kind(
    kind: str, token: str, frame: str
) -> None:
    text = frame.replace("{}", token)
    (hit,) = find_secrets(text)
    assert (hit.kind, text[hit.start : hit.end].strip()) == (kind, token.strip())
    masked = mask(text)
    assert f"<{kind}_1>" in masked
    assert not any(line in masked for line in token.strip().split("\n"))
    assert masked.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://ada:s3cr3t!x@db/x", "postgres://ada:<URL_PASSWORD_1>@db/x"),
        ("Authorization: Basic " + "a1" * 20, "Authorization: Basic <BEARER_TOKEN_1>"),
        ("secret := 'kX82mQz01LpW'", "secret := '<SECRET_1>'"),
        ("{secret: 'kX82mQz01LpW', b => 1}", "{secret: '<SECRET_1>', b => 1}"),
        ("secret => 'kX82mQz01LpW'", "secret => '<SECRET_1>'"),
        (f"SECRET={'0123456789abcdef' * 2}; x", "SECRET=<SECRET_1>; x"),
        (f"SECRET={'0123456789ABCDEF' * 2}", "SECRET=<SECRET_1>"),
        ("Authorization: Bearer " + "a1" * 20, "Authorization: Bearer <BEARER_TOKEN_1>"),
        ("password = 'hT7$kQ2!pLm9'", "password = '<PASSWORD_1>'"),
        ('DB_PASSWORD: "zX9-wV8_uT7"', 'DB_PASSWORD: "<PASSWORD_1>"'),
        ('"client_secret": "9fK2mQ7vLx0Z"', '"client_secret": "<SECRET_1>"'),
        ("self.api_key: str = 'kX82mQz01LpW'", "self.api_key: str = '<API_KEY_1>'"),
        ("const authToken = `kX82mQz01LpW`", "const authToken = `<TOKEN_1>`"),
        ('cfg["secret_key"] = "kX82mQz01LpW"', 'cfg["secret_key"] = "<SECRET_1>"'),
        (
            "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI7K8MDENG9bPxRfiCYzzzzz1KEY2",
            "AWS_SECRET_ACCESS_KEY=<SECRET_1>",
        ),
        ("İ" * 50 + " password = 'hT7$kQ2!pLm9'", "İ" * 50 + " password = '<PASSWORD_1>'"),
        ("password = 'Correct-Horse'", "password = '<PASSWORD_1>'"),
    ],
)
def test_a_value_given_to_a_secret_name_is_hidden(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "password = input('Password: ')",
        "password = os.environ['DB_PASSWORD']",
        'password = "changeme"',
        'password: "${DB_PASSWORD}"',
        "password = '<YOUR_PASSWORD>'",
        'API_KEY = "your-api-key-here"',
        "token = tokens.next_token()",
        "token: Token = stream.read_token_2",
        'secret_name = "projects/x/secrets/db"',
        'token_url = "https://x.example/oauth2/token1"',
        "passwords = load('/etc/passwords1.txt')",
        "monkey = 'aB3dE5fG7hJ9'",
        "PASSWD_MIN = nacl.bindings.crypto_pwhash_scrypt25519_MIN",
        "def f(private_key: Ed25519PrivateKey\n",
        "Key = rust.MLKEM768X25519PrivateKey\nprivate_key = MLKEM768X25519PrivateKey",
        'self.token: "Optional[Token[Context]]" = None',
        'next_key_length = "RSA_1024_BIT"; signing_key = "RSA_1024_BIT"',
        'token_type = "urn:openai:params:oauth:token-type:x509"',
        'update_token = "1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d"',
        "secret_id = '2024010112'",
        *(
            f"secret = '{value}'"
            for value in (
                "Example-Key-12345",
                "change-Me-12345",
                "Placeholder-12345".lower() + "A",
                "your-Key-12345",
                "xxxx-Key-12345",
                "dummy-Key-12345",
                "sample-Key-12345",
                "redacted-Key-12345",
                "***-Key-12345",
                "Key-12345-...",
                "https://X.invalid/a1b2",
                "/Secrets/Key1/a2",
                "./Secrets/Key1/a2",
                "arn:aws:X1/a2-b3",
                "sha512-Ab1Cd2Ef3",
                "$SECRET_Key1a2b3",
                "some/path.to:key12",
            )
        ),
        "secret_id = 'a1a1a1a1a1a1'",
        "auth_token = 'Correct-Horse'",
        "token = a1b2c3d4e5f6g7h8i9j0",
        "token = A1B2C3D4E5F6G7H8I9J0",
        "token = aA1aA1aA1aA1aA1aA1aA1",
        "sk-ecdsa-sha2-nistp256 sk-ssh-ed25519-cert-v01",
        "postgresql://scott:tiger@localhost/test",
        "secret = None",
        "postgres://user:password@localhost/x",
        "postgres://user:${PASS}@localhost/x",
        "git@github.com:owner/repo.git",
        "https://x.example:8080/@scope",
        "task-based-approach-to-risk-management",
        "sk-folding-cube-loader-wrapper",
        "0123456789abcdef0123456789abcdef01234567",
        "sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc=",
        "if '-----BEGIN PRIVATE KEY-----' in text:",
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
        "basic usage: call the function_with_a_long_name",
        "import keyword\nkey = sorted(items, key=lambda item: item.name)",
        'type="password" name="current_password"',
    ],
)
def test_ordinary_code_is_left_alone(text: str) -> None:
    assert find_secrets(text) == ()
    assert mask(text) == text


def test_the_same_secret_has_the_same_name_within_a_call() -> None:
    first, second = "ghp_" + letters(36), "ghp_" + letters(36)
    assert mask(f"{first} {second} {first}") == (
        "<GITHUB_TOKEN_1> <GITHUB_TOKEN_2> <GITHUB_TOKEN_1>"
    )


def test_a_private_key_without_its_end_is_hidden_as_far_as_it_goes() -> None:
    text = f"-----BEGIN PRIVATE KEY-----\n{PEM_BODY}\nrest of the file"
    assert mask(text) == "<PRIVATE_KEY_1>\n" * 7 + "rest of the file"
    far = (
        f"-----BEGIN PRIVATE KEY-----\n{PEM_BODY}\n"
        + "some words\n" * 3_000
        + "-----END PRIVATE KEY-----"
    )
    assert mask(far).startswith("<PRIVATE_KEY_1>\n" * 7 + "some words\n")
    after = f"{PEM}\n{PEM_BODY}\n"
    assert mask(after) == "<PRIVATE_KEY_1>\n" * 8 + PEM_BODY + "\n"
    one_line = "key = '" + PEM.replace("\n", "\\n") + "'"
    assert mask(one_line) == "key = '<PRIVATE_KEY_1>'"


@pytest.mark.parametrize("first", [*TOKENS.values(), *MORE])
@pytest.mark.parametrize("second", [KEY_ID, "sk-" + "aB3" * 9, "sig=" + "aB3" * 14 + "="])
def test_two_secrets_without_anything_between_are_both_hidden(first: str, second: str) -> None:
    masked = mask(first + second)
    assert mask(masked) == masked
    assert second not in masked


PIECES = st.lists(
    st.sampled_from(
        [*TOKENS.values(), *MORE, "password = '", "'", " ", "\n", "x", "-", "_", "://u:"]
    )
    | st.text("aA1_-.'\"=:/@ \n", max_size=12),
    max_size=8,
).map("".join)


@given(PIECES | st.text(max_size=80))
def test_masking_is_idempotent_and_keeps_the_lines(text: str) -> None:
    masked = mask(text)
    assert mask(masked) == masked
    assert masked.count("\n") == text.count("\n")


# Diffs.


def diff_of(*lines: str, path: str = "a.py", section: str = "") -> Diff:
    old = sum(line[0] != "+" for line in lines)
    new = sum(line[0] != "-" for line in lines)
    header = f"@@ -1,{old} +1,{new} @@ {section}"
    patch = "\n".join([header, *lines, ""])
    return parse_diff([RawFile(path, ChangeKind.MODIFIED, patch)])


def lines_of(diff: Diff) -> list[Line]:
    return [line for file in diff.files for hunk in file.hunks for line in hunk.lines]


def test_a_secret_in_a_diff_is_hidden_and_reported_on_its_line() -> None:
    diff = diff_of(" a", f"+key = '{KEY_ID}'", f"-x = '{TOKEN}'", f" y = '{TOKEN}'")
    shown, findings = mask_diff(diff)
    assert [line.text for line in lines_of(shown)] == [
        "a",
        "key = '<AWS_ACCESS_KEY_1>'",
        "x = '<GITHUB_TOKEN_1>'",
        "y = '<GITHUB_TOKEN_1>'",
    ]
    assert [(line.old, line.new) for line in lines_of(shown)] == [
        (line.old, line.new) for line in lines_of(diff)
    ]
    assert [(f.first, f.severity, f.rule) for f in findings] == [
        ("L2", Severity.INFO, "github-token"),
        ("R2", Severity.CRITICAL, "aws-access-key"),
    ]
    for finding in findings:
        assert (finding.category, finding.source) == (Category.SECURITY, "analyzer:secrets")
        assert KEY_ID not in repr(finding)
        assert TOKEN not in repr(finding)


def test_a_private_key_over_many_lines_of_a_diff_is_hidden_line_by_line() -> None:
    lines = [f"+{line}" for line in PEM.split("\n")]
    lines.insert(3, "-an old line between")
    shown, findings = mask_diff(diff_of(" a", *lines, "+b"))
    assert not any(part in repr(shown) for part in PEM_BODY.split("\n"))
    assert [line.text for line in lines_of(shown) if line.mark == "-"] == ["an old line between"]
    assert len(lines_of(shown)) == len(lines) + 2
    (finding,) = findings
    assert (finding.first, finding.rule) == ("R2", "private-key")


def test_a_key_whose_first_line_is_context_is_reported_on_the_first_changed_line() -> None:
    begin, *body = PEM.split("\n")
    _, (finding,) = mask_diff(diff_of(f" {begin}", *(f"+{line}" for line in body)))
    assert finding.first == "R2"


def test_a_removed_key_whose_first_line_stays_is_hidden_and_worth_a_word() -> None:
    begin, *body = PEM.split("\n")
    shown, (finding,) = mask_diff(diff_of(f" {begin}", *(f"-{line}" for line in body)))
    assert not any(part in repr(shown) for part in PEM_BODY.split("\n"))
    assert (finding.first, finding.severity) == ("L2", Severity.INFO)
    assert finding.title == "A secret is taken out of the code: private key"
    assert "history: revoke it" in finding.why


def test_a_guess_by_name_is_major_and_its_title_does_not_hold_it() -> None:
    shown, (finding,) = mask_diff(diff_of("+password = 'hT7$kQ2!pLm9'"))
    assert finding.severity is Severity.MAJOR
    assert "hT7" not in repr((finding, shown))


def test_a_secret_in_a_hunks_heading_is_hidden() -> None:
    shown, _ = mask_diff(diff_of("+a", section=f"def f(x='{TOKEN}'):"))
    assert shown.files[0].hunks[0].section == "def f(x='<GITHUB_TOKEN_1>'):"


def test_a_hidden_character_is_shown_and_reported_on_its_line() -> None:
    diff = diff_of(
        " old\u200b", "+a = 1  # \u202e\u2066 x\r", "+emoji ⚠️ می‌خواهم", "+z\u200bw", "-\u200b"
    )
    shown, findings = mask_diff(diff)
    assert [line.text for line in lines_of(shown)][:2] == [
        "old<U+200B>",
        "a = 1  # <U+202E><U+2066> x\r",
    ]
    assert [(f.first, f.severity, f.title) for f in findings] == [
        ("R2", Severity.MAJOR, "Hidden characters on this line: U+202E, U+2066"),
        ("R4", Severity.MINOR, "Hidden characters on this line: U+200B"),
    ]
    assert {f.source for f in findings} == {"analyzer:hidden-characters"}


def test_a_byte_order_mark_at_the_start_of_a_file_is_no_finding() -> None:
    assert mask_diff(diff_of("+\ufeffa", "+b"))[1] == ()
    assert len(mask_diff(diff_of("+a", "+\ufeffb"))[1]) == 1


def test_a_hidden_character_in_a_files_name_is_reported() -> None:
    _, (finding,) = mask_diff(diff_of(" a", "+b", path="rlo\u202epy.exe"))
    assert (finding.first, finding.rule) == ("R2", "hidden-character")


def test_a_latin_1_file_is_not_full_of_hidden_characters() -> None:
    patch = b"@@ -0,0 +1,1 @@\n+x = '\x93quoted\x94'\n"
    diff = parse_diff([RawFile("a.py", ChangeKind.ADDED, patch)])
    assert mask_diff(diff)[1] == ()
    mixed = patch.replace(b"+1,1", b"+1,2") + "+y = 1  # \u202e\n".encode()
    (finding,) = mask_diff(parse_diff([RawFile("a.py", ChangeKind.ADDED, mixed)]))[1]
    assert finding.first == "R2"
    assert len(mask_diff(diff_of("+x = '\x93'"))[1]) == 1


def test_an_escape_that_is_written_out_is_no_hidden_character() -> None:
    assert mask_diff(diff_of("+x = '<U+202E>'", "+y = '\u200b'"))[1][0].first == "R2"


def test_an_ordinary_diff_is_returned_as_it_is() -> None:
    diff = diff_of(" a", "+b\r", "-c")
    assert mask_diff(diff) == (diff, ())


@given(
    st.lists(
        st.tuples(st.sampled_from("+- "), PIECES | st.text(max_size=30)), min_size=1, max_size=6
    )
)
def test_a_masked_diff_has_the_same_places_and_can_be_masked_again(
    lines: list[tuple[str, str]],
) -> None:
    diff = diff_of(*(mark + re.sub(r"[\n\ud800-\udfff]", "", text) for mark, text in lines))
    shown, _ = mask_diff(diff)
    assert [(line.mark, line.old, line.new) for line in lines_of(shown)] == [
        (line.mark, line.old, line.new) for line in lines_of(diff)
    ]
    for side in Side:
        text = "\n".join(
            line.text for line in lines_of(shown) if line.mark == " " or line.side is side
        )
        assert find_secrets(text) == ()
    assert mask_diff(shown) == (shown, ())


# The way out.

SECRET = "Zk3-vQ9pLw7xTn5bRm2d"
REDACTOR = Redactor([SECRET, PEM, "red", "*", "", "aaaaaaaaaaaa"])


def base64_of(text: str, before: str = "") -> str:
    return base64.b64encode((before + text + "tail").encode()).decode()


SPELLINGS = [
    SECRET,
    SECRET[::-1],
    base64_of(SECRET),
    base64_of(SECRET, "x"),
    base64_of(SECRET, "xy"),
    base64.urlsafe_b64encode(SECRET.encode()).decode(),
    SECRET.encode().hex(),
    SECRET.encode().hex().upper(),
    "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "".join(f"\\u{ord(character):04x}" for character in SECRET),
    PEM.split("\n")[2],
    json.dumps(PEM),
    TOKEN,
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_blocks_a_text_in_any_spelling(spelling: str) -> None:
    assert REDACTOR.leaks(f"The value is {spelling}.")


@pytest.mark.parametrize("spelling", [one for one in SPELLINGS if "%" not in one])
def test_a_secret_is_taken_out_in_any_spelling(spelling: str) -> None:
    redacted = REDACTOR.redact(f"The value\nis {spelling}.")
    assert spelling[2:-6] not in redacted
    assert redacted.startswith("The value\nis ")
    assert not REDACTOR.leaks(redacted)


@pytest.mark.parametrize(
    "spelling",
    [
        "\u200b".join(SECRET),
        " ".join(SECRET),
        "`" + "`, `".join(SECRET) + "`",
        SECRET[:10] + "\n\n" + SECRET[10:],
        codecs.encode(SECRET, "rot13"),
        "".join(f"&#{ord(character)};" for character in SECRET),
        "".join(f"\\x{ord(character):02x}" for character in SECRET),
        SECRET.lower(),
        SECRET[:13] + " and elsewhere the rest",
        "\u2060".join(TOKEN),
        base64_of(TOKEN, "x:"),
        TOKEN.encode().hex(),
        quote(html.escape(PEM)),
    ],
)
def test_a_secret_blocks_a_text_even_split_or_encoded(spelling: str) -> None:
    assert REDACTOR.leaks(f"The value is {spelling}.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The password is read from the environment: `password = os.environ['X']`.",
        "Use `password = 'hT7$kQ2!pLm9'` no more.",
        "Basic docs.example.com/v1/pages/authentication says so; postgres://u:S3cretPass@h too.",
        "red * aaaaaaaaaaaa 0123456789abcdef -----BEGIN RSA PRIVATE KEY-----",
        "a" * 5_000,
        "The masked value <GITHUB_TOKEN_1> must be revoked.",
    ],
)
def test_an_ordinary_text_may_leave(text: str) -> None:
    assert not REDACTOR.leaks(text)


def test_a_short_secret_blocks_a_text_even_split_but_not_in_parts() -> None:
    redactor = Redactor(["pQ7-xZ2w9"])
    assert redactor.leaks("p Q 7 x Z 2 w 9")
    assert redactor.leaks("9w2ZxxQ pQ7-xZ2w9")
    assert not redactor.leaks("pQ7-xZ2")
    assert not Redactor(["a-b-c-d-e"]).leaks("abcde")


def test_short_secrets_are_not_looked_for() -> None:
    assert REDACTOR.redact("red * hundred aaaaaaaaaaaa") == "red * hundred aaaaaaaaaaaa"
    assert Redactor([]).redact("text") == "text"


def test_redacting_keeps_the_lines() -> None:
    assert REDACTOR.redact(f"a\n{PEM}\nb").count("\n") == PEM.count("\n") + 2


def test_the_mask_is_made_of_no_character_of_a_secret() -> None:
    redactor = Redactor(["*abcdefgh", "###12345678"])
    assert redactor.redact("x *abcdefgh y ###12345678") == "x … y …"


@given(PIECES | st.text(max_size=60), st.lists(st.text(max_size=12), max_size=3))
@example("redred", ["red", "*", ""])
def test_redacting_is_idempotent_and_keeps_the_lines_of_any_text(
    text: str, secrets: list[str]
) -> None:
    redactor = Redactor([*secrets, SECRET])
    for spelled in (text, text + SECRET, "".join(secrets) + text):
        once = redactor.redact(spelled)
        assert redactor.redact(once) == once
        assert once.count("\n") == spelled.count("\n")
        redactor.leaks(once)
