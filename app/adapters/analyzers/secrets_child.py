"""Run detect-secrets' detectors over the files named in argv; print what was found as JSON.

A program of its own: ``python -I secrets_child.py -- NAME...``. Prints
``[{"name", "line", "kind", "example"}]`` and never the secret itself. The library's own scan spends
its time on calling every detector and every filter for every line; here each expression runs once
over a whole file. Filters that a text can trigger (``pragma: allowlist secret``) do not run, nor
does anything that asks a service whether a key is valid.
"""

from __future__ import annotations

import json
import math
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from types import ModuleType


class _NoClient(ModuleType):
    """Stands in for the HTTP client: nobody is asked here, and it takes longest to load."""

    def __getattr__(self, name: str) -> type[object]:
        return object


sys.modules["requests"] = _NoClient("requests")

from detect_secrets.filters import heuristic  # noqa: E402 - without an HTTP client
from detect_secrets.plugins import (  # noqa: E402
    aws,
    azure_storage_key,
    basic_auth,
    discord,
    github_token,
    gitlab_token,
    jwt,
    keyword,
    mailchimp,
    npm,
    openai,
    private_key,
    pypi_token,
    sendgrid,
    slack,
    square_oauth,
    stripe,
    telegram_token,
    twilio,
)
from detect_secrets.util.filetype import determine_file_type  # noqa: E402

DETECTORS = (
    aws.AWSKeyDetector(),
    azure_storage_key.AzureStorageKeyDetector(),
    basic_auth.BasicAuthDetector(),
    discord.DiscordBotTokenDetector(),
    github_token.GitHubTokenDetector(),
    gitlab_token.GitLabTokenDetector(),
    jwt.JwtTokenDetector(),
    mailchimp.MailchimpDetector(),
    npm.NpmDetector(),
    openai.OpenAIDetector(),
    private_key.PrivateKeyDetector(),
    pypi_token.PypiTokenDetector(),
    sendgrid.SendGridDetector(),
    slack.SlackDetector(),
    square_oauth.SquareOAuthDetector(),
    stripe.StripeDetector(),
    telegram_token.TelegramBotTokenDetector(),
    twilio.TwilioKeyDetector(),
)
"""Left out for what they found on real packages: public addresses, and shapes too common."""

PIECE = 2000
OVERLAP = 200
"""Characters: longer lines are cut, because some expressions take the square of the length."""

MIN_PASSWORD = 6
MIN_PASSWORD_BITS = 2.5
MIN_RANDOM = 20
MIN_RANDOM_BITS = 4.0
MIN_HEX_BITS = 3.2
"""Shannon's bits a character; a hexadecimal digit has at most 4."""

_WORDS = ("key", "secret", "token", "pass", "pwd", "cred", "auth", "contrase")
"""Every line that a name calls secret holds one of these; few others do."""
_NAMED = re.compile(
    r"(?i)(?:key|secret|token|passw|pwd|credential|auth)\w*[\"'\]]{0,2}\s*(?::=|=>|[:=])\s*"
    r"[bru]{0,2}[\"'`]([A-Za-z0-9+/=_\-.]{20,200})[\"'`]"
)
_NOT_A_KEY = re.compile(r"(?i)public|sha\d|md5|digest|checksum|hash|integrity|fingerprint|_id\b")
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|fake|placeholder|change.?me|your|my[-_]|redacted|insert|replace"
    r"|secret|passw|token|test|default|user|0123|1234|abcd|(.)\1{4}|\*{3}|\.{3}"
    r"|\s|[$#]\{|\$\(|\{\{|\{\w*\}|%[(s]|^<.*>$|^[$%]\w+%?$"
)


def main(names: list[str]) -> None:
    """Scan every file and print the findings."""
    found = [
        {"name": name, "line": line, "kind": kind, "example": example}
        for name in names
        for line, kind, example in sorted(scan(name, Path(name).read_bytes().decode()))
    ]
    json.dump(found, sys.stdout)


def scan(name: str, text: str) -> set[tuple[int, str, bool]]:
    """Return line and kind of every secret in a text, and whether it says it is an example."""
    pieces = list(_pieces(text))
    joined = "\n".join(piece for _, piece in pieces)
    starts = list(accumulate((len(piece) + 1 for _, piece in pieces), initial=0))
    found = set()
    for detector in DETECTORS:
        for expression in detector.denylist:
            for match in expression.finditer(joined):
                if _counts(detector, match[0]):
                    line = pieces[bisect_right(starts, match.start()) - 1][0]
                    found.add((line, detector.secret_type, "EXAMPLE" in match[0].upper()))
    taken = {line for line, _, _ in found}
    found.update((line, kind, False) for line, kind in _named(name, pieces) if line not in taken)
    return found


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        for start in range(0, max(len(line) - OVERLAP, 1), PIECE - OVERLAP):
            yield number, line[start : start + PIECE]


def _counts(detector: object, secret: str) -> bool:
    """Tell whether a match of a shape is meant in earnest."""
    if isinstance(detector, jwt.JwtTokenDetector):
        return bool(detector.is_formally_valid(secret))
    if isinstance(detector, basic_auth.BasicAuthDetector):
        password = secret.rpartition("@")[0].rpartition(":")[2]
        return len(password) >= MIN_PASSWORD and not _PLACEHOLDER.search(password)
    return True


def _named(name: str, pieces: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Find values that a name calls secret and that look like no word."""
    expressions = keyword.REGEX_BY_FILETYPE.get(
        determine_file_type(name), keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP
    )
    detector = keyword.KeywordDetector()
    for number, line in pieces:
        lowered = line.lower()
        if not any(word in lowered for word in _WORDS):
            continue
        random = _NAMED.search(line)
        if random and _is_random(random[1]) and not _NOT_A_KEY.search(line[: random.start(1)]):
            yield number, "High Entropy String"
        else:
            values = detector.analyze_string(line, denylist_regex_to_group=expressions)
            if any(map(_is_password, values)) and not heuristic.is_indirect_reference(line):
                yield number, detector.secret_type


def _is_random(value: str) -> bool:
    if _PLACEHOLDER.search(value) or heuristic.is_sequential_string(value):
        return False
    is_hex = re.fullmatch(r"[0-9a-fA-F]+", value) is not None
    return _bits(value) >= (MIN_HEX_BITS if is_hex else MIN_RANDOM_BITS) and _is_mixed(value)


def _is_password(value: str) -> bool:
    return (
        len(value) >= MIN_PASSWORD
        and _bits(value) >= MIN_PASSWORD_BITS
        and _is_mixed(value)
        and not _PLACEHOLDER.search(value)
        and not heuristic.is_sequential_string(value)
        and not heuristic.is_potential_uuid(value)
    )


def _is_mixed(value: str) -> bool:
    return re.search(r"\d", value) is not None and re.search(r"[A-Za-z]", value) is not None


def _bits(value: str) -> float:
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "--"])
