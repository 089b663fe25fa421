"""Secrets: found by their shape and hidden before a model sees them, blocked on every way out.

Every pattern begins at a fixed prefix behind a boundary, so that searching is linear in the text.
Nothing here restores what was hidden.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from app.core.diff import Diff, FileDiff, Hunk, Line, Side
from app.core.findings import Category, Finding, Severity
from app.core.hidden import escape_hidden
from app.core.markdown import Hidden, hidden_characters

SECRETS_SOURCE: Final = "analyzer:secrets"
HIDDEN_SOURCE: Final = "analyzer:hidden-characters"


@dataclass(frozen=True, slots=True)
class SecretHit:
    """A secret-shaped piece of a text; ``kind`` is a word like ``AWS_ACCESS_KEY``."""

    kind: str
    start: int
    end: int


# Shapes.


@dataclass(frozen=True, slots=True)
class _Shape:
    """A token's shape; ``hints`` are texts of which one is in every match, in lower case.

    ``bare`` is the pattern without the boundary before it: what follows upon another secret.
    """

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    bare: re.Pattern[str]


def _shape(kind: str, hints: str, pattern: str, flags: int = 0) -> _Shape:
    """Build a shape that begins a word.

    Without a boundary a prefix would match inside words, and a long run be searched from each of
    its places: where a hyphen is part of the token, it is no boundary before it. There is none
    behind: masking what follows must not make a secret of what was none.
    """
    hyphen = "-" if "-]" in pattern else ""
    return _Shape(
        kind,
        tuple(hints.split()),
        re.compile(rf"(?<![A-Za-z0-9_{hyphen}])(?:{pattern})", flags),
        re.compile(pattern, flags),
    )


_SHAPES: Final = (
    _shape("AWS_ACCESS_KEY", "akia asia abia acca", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}"),
    _shape("GITHUB_TOKEN", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9_]{16,}"),
    _shape("GITHUB_TOKEN", "github_pat_", r"github_pat_[A-Za-z0-9_]{20,}"),
    _shape(
        "GITLAB_TOKEN",
        "glpat- glptt- gldt- glrt- glcbt- glft- glsoat- glimt- glagent-",
        r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|agent)-[A-Za-z0-9_-]{20,}",
    ),
    _shape("SLACK_TOKEN", "xox xapp-", r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _shape(
        "SLACK_WEBHOOK",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{20,100}",
    ),
    _shape("STRIPE_KEY", "k_live_ k_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}"),
    _shape("STRIPE_KEY", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,}"),
    _shape("ANTHROPIC_KEY", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    _shape("OPENAI_KEY", "sk-", r"sk-(?!ssh-|ecdsa-)(?=[a-z_-]{0,255}[A-Z0-9])[A-Za-z0-9_-]{16,}"),
    _shape("SECRET_KEY", "sk_", r"sk_(?=[a-z_-]{0,255}[A-Z0-9])[A-Za-z0-9_-]{24,}"),
    _shape("GROQ_KEY", "gsk_", r"gsk_[A-Za-z0-9]{40,}"),
    _shape("GOOGLE_KEY", "aiza", r"AIza[0-9A-Za-z_-]{35}"),
    _shape("GOOGLE_TOKEN", "ya29.", r"ya29\.[0-9A-Za-z_-]{20,}"),
    _shape("GOOGLE_SECRET", "gocspx-", r"GOCSPX-[0-9A-Za-z_-]{20,60}"),
    _shape(
        "JWT",
        "eyj",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    ),
    _shape("NPM_TOKEN", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _shape("PYPI_TOKEN", "pypi-", r"pypi-Ag[A-Za-z0-9_-]{40,}"),
    _shape("AZURE_KEY", "accountkey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _shape("AZURE_SECRET", "q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
    _shape("AZURE_SIGNATURE", "sig=", r"sig=[A-Za-z0-9%+/]{40,100}(?:%3[dD]|=)"),
    _shape("SENDGRID_KEY", "sg.", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    _shape("HUGGINGFACE_TOKEN", "hf_", r"hf_[A-Za-z0-9]{30,60}"),
    _shape("DIGITALOCEAN_TOKEN", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{64}"),
    _shape("DOCKER_TOKEN", "dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{20,60}"),
    _shape("SHOPIFY_TOKEN", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _shape("TELEGRAM_TOKEN", ":aa", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    _shape("VAULT_TOKEN", "hvs. hvb.", r"hv[sb]\.[A-Za-z0-9_-]{24,300}"),
    _shape("DATABRICKS_TOKEN", "dapi", r"dapi[0-9a-f]{32}"),
    _shape("AGE_KEY", "age-secret-key-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _shape(
        "URL_PASSWORD",
        "://",
        r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@'\"`<>]{0,100}"
        r":(?![${*%]|[a-z]{1,8}@)(?P<secret>[^\s/@'\"`<>]{3,200})@",
    ),
    _shape(
        "BEARER_TOKEN",
        "bearer basic",
        r"(?:bearer|basic) {1,3}(?=[a-z._~+/-]{0,200}[0-9])"
        r"(?P<secret>[a-z0-9._~+/-]{20,}={0,2})",
        re.IGNORECASE,
    ),
)

_SECRET_NAMES: Final = ("passw", "passphrase", "pwd", "secret", "token", "credential", "key")
_KEY_NAMES: Final = ("api", "access", "auth", "private", "encryption", "signing", "account")
"""What makes a key secret, before an underscore or hyphen."""
_ASSIGNED: Final = re.compile(
    r"[\w-]{0,40}+[\"'\]]{0,2}[ \t]{0,8}(?::[ \t]{0,4}[\w\[\]|. ]{1,40}+=|:=|=>|[:=])[ \t]{0,8}"
    r"(?:[\"'`](?P<quoted>[^\s\"'`<>{}()]{8,200}+)[\"'`]"
    r"|(?P<bare>[A-Za-z0-9+/=_-]{16,200}+)(?=[\s,;]|$))"
)
"""A value given to a name that says it is secret: the only guess among the shapes."""

_PASSWORDS: Final = ("passw", "passphrase", "pwd")
_ASSIGNED_KINDS: Final = {
    **dict.fromkeys(_PASSWORDS, "PASSWORD"),
    "token": "TOKEN",
    "key": "API_KEY",
}
_NO_SECRET: Final = re.compile(
    r"[eE]xample|[cC]hange.?[mM]e|placeholder|your[_-]|x{4}|dummy|sample|redacted|\*{3}|#{3}|■{3}|\.{3}|[…\ue000]"
    r"|^[A-Z]+$|^[A-Z0-9]+(?:_[A-Z0-9]+)+$"
    r"|^[a-z_./:-]+[0-9]{0,2}$|^(?:https?:|/|\./|arn:|urn:|sha\d|\$)"
    r"|^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
)
_MIN_ENTROPY: Final = 3.0
"""Bits a character, of a value in quotes."""
_MIN_BARE_ENTROPY: Final = 3.5
_MAX_RUN: Final = 5
"""Characters between changes from letter to digit or back, on average, of a bare value."""
_CHANGE: Final = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")

_PEM_BEGIN: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,60}PRIVATE KEY(?: BLOCK)?-----")
_PEM_LINE: Final = re.compile(
    r"\n[ \t\"'+,>#*/]{0,40}[A-Za-z0-9+/=]{16,100}(?:\\n)?[\"'+, \t\\]{0,8}\r?(?=\n|$)"
)
_PEM_BODY: Final = re.compile(r"[A-Za-z0-9+/]{40}|(?:[A-Za-z0-9+/]{16,}[^A-Za-z0-9+/]{1,12}){2}")
_PEM_MAX: Final = 20_000


def find_secrets(text: str) -> tuple[SecretHit, ...]:
    """Find secret-shaped pieces, in order and without overlap."""
    return _find(text, _choose(text))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is worth searching for in a text, by the fixed words in it."""

    shapes: tuple[_Shape, ...]
    names: tuple[str, ...]
    keys: bool

    def __bool__(self) -> bool:
        return bool(self.shapes or self.names or self.keys)


def _choose(text: str) -> _Choice:
    low = _lower(text)
    return _Choice(
        tuple(shape for shape in _SHAPES if any(hint in low for hint in shape.hints)),
        tuple(name for name in _SECRET_NAMES if name in low),
        "-----BEGIN " in text,
    )


def _lower(text: str) -> str:
    """Lower a text whose places must stay: some letters become two."""
    low = text.lower()
    return low if len(low) == len(text) else text.translate(_ASCII_LOWER)


_ASCII_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _find(text: str, choice: _Choice) -> tuple[SecretHit, ...]:
    hits = list(_merge(_private_keys(text))) if choice.keys else []
    hits += _search(text, hits, lambda piece: _token_hits(piece, choice.shapes))
    if choice.names:
        hits += _search(text, _merge(hits), lambda piece: _assigned_hits(piece, choice.names))
    return _merge(hits)


def _search(
    text: str, known: Sequence[SecretHit], find: Callable[[str], Iterable[SecretHit]]
) -> list[SecretHit]:
    """Search what lies between the hits that are known."""
    hits: list[SecretHit] = []
    ends = [0, *(hit.end for hit in known)]
    starts = [*(hit.start for hit in known), len(text)]
    for start, end in zip(ends, starts, strict=True):
        hits += (
            SecretHit(hit.kind, start + hit.start, start + hit.end) for hit in find(text[start:end])
        )
    return hits


def _merge(hits: Iterable[SecretHit]) -> tuple[SecretHit, ...]:
    """Put overlapping hits together under the kind of the first."""
    merged: list[SecretHit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if merged and hit.start < merged[-1].end:
            merged[-1] = replace(merged[-1], end=max(merged[-1].end, hit.end))
        else:
            merged.append(hit)
    return tuple(merged)


def _private_keys(text: str) -> Iterator[SecretHit]:
    """Find PEM private keys: whole, or cut off behind their first lines."""
    at = ending = 0
    while begin := _PEM_BEGIN.search(text, at):
        at = begin.end()
        if 0 <= ending < at:
            ending = text.find("-----END ", at)
        end = _PEM_END.match(text, ending) if 0 <= ending <= at + _PEM_MAX else None
        stop = end.end() if end else at
        while end is None and (line := _PEM_LINE.match(text, stop)):
            stop = line.end()
        if _PEM_BODY.search(text, at, stop):
            yield SecretHit("PRIVATE_KEY", begin.start(), stop)
        at = stop


def _token_hits(text: str, shapes: Sequence[_Shape]) -> Iterator[SecretHit]:
    """Find tokens, and those that only the end of another sets apart from what precedes them."""
    found = [_to_hit(shape, match) for shape in shapes for match in shape.pattern.finditer(text)]
    seen: set[int] = set()
    for hit in found:  # it grows
        yield hit
        if hit.end not in seen:
            seen.add(hit.end)
            following = ((shape, shape.bare.match(text, hit.end)) for shape in shapes)
            found += (_to_hit(shape, match) for shape, match in following if match)


def _to_hit(shape: _Shape, match: re.Match[str]) -> SecretHit:
    return SecretHit(shape.kind, *match.span("secret" if match.re.groups else 0))


def _assigned_hits(text: str, names: Iterable[str]) -> Iterator[SecretHit]:
    low = _lower(text)
    for name in names:
        at = low.find(name)
        while at >= 0:
            match = _ASSIGNED.match(text, at + len(name))
            if match and (
                name != "key" or low[max(0, at - 11) : at].rstrip("_-").endswith(_KEY_NAMES)
            ):
                group = "quoted" if match["quoted"] else "bare"
                if _looks_secret(match[group], word=name, bare=group == "bare"):
                    yield SecretHit(_ASSIGNED_KINDS.get(name, "SECRET"), *match.span(group))
            at = low.find(name, at + 1)


def _looks_secret(value: str, *, word: str, bare: bool) -> bool:
    """Whether a value is too random to be a name, a path or an example."""
    if _NO_SECRET.search(value):
        return False
    digits = any(character.isdigit() for character in value)
    upper = any(character.isupper() for character in value)
    lower = any(character.islower() for character in value)
    symbols = any(not character.isalnum() for character in value)
    if bare:
        random = upper and lower and len(_CHANGE.findall(value)) * _MAX_RUN >= len(value)
        return (random or _is_hex(value)) and _entropy(value) >= _MIN_BARE_ENTROPY
    kinds = sum((digits, upper, lower, symbols))
    needed = 2 if digits else 3
    return (digits or word in _PASSWORDS) and kinds >= needed and _entropy(value) >= _MIN_ENTROPY


def _is_hex(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", value) is not None


def _entropy(text: str) -> float:
    """Return Shannon's entropy in bits a character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())


# Masks.


class _Names:
    """Placeholders of one call: the same secret has the same name throughout."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def name(self, kind: str, secret: str) -> str:
        if secret not in self._names:
            self._counts[kind] += 1
            self._names[secret] = f"<{kind}_{self._counts[kind]}>"
        return self._names[secret]


def mask(text: str) -> str:
    """Put typed placeholders (``<AWS_ACCESS_KEY_1>``) for secrets; the number of lines stays."""
    return _mask(text, _Names())


def _mask(text: str, names: _Names) -> str:
    out: list[str] = []
    done = 0
    for hit in find_secrets(text):
        secret = text[hit.start : hit.end]
        name = names.name(hit.kind, secret)
        out += (text[done : hit.start], "\n".join([name] * (secret.count("\n") + 1)))
        done = hit.end
    return "".join((*out, text[done:]))


# Diffs.

_WHY_ADDED: Final = (
    "Whoever can read the repository or its history can use it, and taking the line out again does "
    "not take it out of the history. Revoke it, then read the new one from the environment or a "
    "secret store. It was hidden from the model."
)
_WHY_REMOVED: Final = "It stays readable in the history: revoke it if that has not been done."
_WHY_HIDDEN: Final = (
    "What a reader sees here is not what the compiler, or a model, reads: such characters are not "
    "shown, or change the order in which others are."
)
_GUESSES: Final = frozenset(
    ("PASSWORD", "TOKEN", "SECRET", "API_KEY", "URL_PASSWORD", "BEARER_TOKEN")
)
_LOUD_HIDDEN: Final = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Characters that reorder code (https://trojansource.codes) or carry a text of their own."""


def mask_diff(diff: Diff) -> tuple[Diff, tuple[Finding, ...]]:
    """Return the diff as it may be shown to a model, and what was hidden in its changed lines.

    Secrets become placeholders, numbered through the whole diff, and hidden characters visible
    escapes; line numbers stay. An added secret is critical (major when its shape is only a guess),
    a removed one worth a word. Titles never hold what they are about.
    """
    names = _Names()
    findings: list[Finding] = []
    files = []
    for file in diff.files:
        text = "\n".join(_texts(file))
        choice = _choose(text)
        if choice or _hides(text):
            hunks = tuple(_mask_hunk(hunk, file, choice, names, findings) for hunk in file.hunks)
            files.append(replace(file, hunks=hunks))
        else:
            files.append(file)
        findings += _hidden_in_path(file)
    return replace(diff, files=tuple(files)), tuple(findings)


def _texts(file: FileDiff) -> Iterator[str]:
    for hunk in file.hunks:
        yield hunk.section
        yield from (line.text for line in hunk.lines)


def _hides(text: str) -> bool:
    """Whether any of some lines holds a hidden character, but for a carriage return at its end."""
    text = f"{text}\n".replace("\r\n", "\n")
    return escape_hidden(text) != text


def _mask_hunk(
    hunk: Hunk, file: FileDiff, choice: _Choice, names: _Names, findings: list[Finding]
) -> Hunk:
    spans: dict[int, list[tuple[SecretHit, str]]] = {}
    for side in Side if choice else ():
        numbers = [n for n, line in enumerate(hunk.lines) if line.mark == " " or line.side is side]
        for hit, secret, pieces in _find_in_lines(hunk.lines, numbers, choice):
            name = names.name(hit.kind, secret)
            changed = [n for n, _, _ in pieces if hunk.lines[n].changed]
            if changed:
                findings.append(_secret_finding(file.path, hunk.lines[changed[0]], hit.kind))
            for number, start, end in pieces:
                spans.setdefault(number, []).append((SecretHit(hit.kind, start, end), name))
    section = escape_hidden(_mask(hunk.section, names)) if hunk.section else ""
    if not spans and not _hides("\n".join(line.text for line in hunk.lines)):
        return hunk if section == hunk.section else replace(hunk, section=section)
    lines = []
    for number, line in enumerate(hunk.lines):
        text = _show_line(line.text, spans.get(number, ()))
        findings += _hidden_in_line(file, line, text)
        lines.append(line if text == line.text else replace(line, text=text))
    return replace(hunk, lines=tuple(lines), section=section)


_Pieces = list[tuple[int, int, int]]
"""Where a secret stands: (index of a line, start, end) for each line of it."""


def _find_in_lines(
    lines: Sequence[Line], numbers: Sequence[int], choice: _Choice
) -> Iterator[tuple[SecretHit, str, _Pieces]]:
    """Find secrets in one side of a hunk as a whole: some span many lines."""
    text = "\n".join(lines[number].text for number in numbers)
    at, place = 0, 0
    for hit in _find(text, choice):
        pieces: _Pieces = []
        while place < len(numbers):
            size = len(lines[numbers[place]].text)
            if hit.start <= at + size and hit.end > at:
                pieces.append((numbers[place], max(0, hit.start - at), min(size, hit.end - at)))
            if hit.end <= at + size:
                break
            at += size + 1
            place += 1
        yield hit, text[hit.start : hit.end], pieces


def _show_line(text: str, spans: Iterable[tuple[SecretHit, str]]) -> str:
    """Mask and escape one line; the carriage return at its end stays."""
    end = "\r" if text.endswith("\r") else ""
    out: list[str] = []
    done = 0
    for hit, name in sorted(spans, key=lambda span: (span[0].start, -span[0].end)):
        if hit.start >= done:
            out += (escape_hidden(text[done : hit.start]), name)
        done = max(done, hit.end)
    return "".join((*out, escape_hidden(text[done:].removesuffix("\r")), end))


def _secret_finding(path: str, line: Line, kind: str) -> Finding:
    what = kind.replace("_", " ").lower()
    guess = kind in _GUESSES
    added = line.mark == "+"
    severity = Severity.MAJOR if guess else Severity.CRITICAL
    return Finding(
        path=path,
        first=line.tag,
        last=line.tag,
        quote="",
        severity=severity if added else Severity.INFO,
        category=Category.SECURITY,
        title=f"A secret is {'written into' if added else 'taken out of'} the code: {what}",
        why=_WHY_ADDED if added else _WHY_REMOVED,
        source=SECRETS_SOURCE,
        rule=kind.lower().replace("_", "-"),
    )


def _hidden_in_line(file: FileDiff, line: Line, shown: str) -> Iterator[Finding]:
    if line.mark != "+" or "<U+" not in shown:
        return
    text = line.text.removesuffix("\r")
    if line.new == 1:
        text = text.removeprefix("\ufeff")
    found = [one for one in hidden_characters(text) if not _by_encoding(file, one.character)]
    if found:
        yield _hidden_finding(file.path, line, found, "on this line")


def _by_encoding(file: FileDiff, character: str) -> bool:
    """Whether a control character only stems from reading bytes that are not UTF-8."""
    return bool(file.note) and "\x80" <= character <= "\x9f"


def _hidden_in_path(file: FileDiff) -> Iterator[Finding]:
    found = hidden_characters(file.path)
    changed = (line for hunk in file.hunks for line in hunk.lines if line.changed)
    if found and (line := next(changed, None)):
        yield _hidden_finding(file.path, line, found, "in the file's name")


def _hidden_finding(path: str, line: Line, found: Sequence[Hidden], where: str) -> Finding:
    points = ", ".join(dict.fromkeys(one.code_point for one in found))
    loud = any(_LOUD_HIDDEN.match(one.character) for one in found)
    return Finding(
        path=path,
        first=line.tag,
        last=line.tag,
        quote="",
        severity=Severity.MAJOR if loud else Severity.MINOR,
        category=Category.SECURITY,
        title=f"Hidden characters {where}: {points[:120]}",
        why=_WHY_HIDDEN,
        source=HIDDEN_SOURCE,
        rule="hidden-character",
    )


# The way out.

MIN_SECRET: Final = 8
"""Characters of the shortest secret that is looked for by its own text."""
_MIN_DISTINCT: Final = 4
_MASKS: Final = ("***", "###", "…", "■■■", "\ue000")
_MIN_PIECE: Final = 12
"""Characters of the shortest piece of a long secret that blocks a text."""
_MIN_SQUEEZED: Final = 8
"""Letters and digits that a secret must have to be looked for without what stands between."""


class Redactor:
    """Knows the operator's secrets; takes them out of text, and tells when text holds one.

    Secrets shorter than 8 characters, or of fewer than 4 different ones, are not looked for: they
    would be found everywhere.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {part for secret in secrets for part in _parts(secret)}
        spellings = sorted({one for secret in known for one in _spellings(_squeeze(secret))})
        self._short = tuple(one for one in spellings if _MIN_SQUEEZED <= len(one) < _MIN_PIECE)
        self._long = tuple(one for one in spellings if len(one) >= _MIN_PIECE)
        self._grams = frozenset(
            one[at : at + _MIN_PIECE]
            for one in self._long
            for at in range(len(one) - _MIN_PIECE + 1)
        )
        forms = sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True)
        self._literal = re.compile("|".join(map(re.escape, forms)) or r"(?!)")
        taken = {character for form in forms for character in form}
        self._mask = next((mark for mark in _MASKS if mark[0] not in taken), _MASKS[-1])

    def redact(self, text: str) -> str:
        """Take out known secrets, in any of their spellings, and secret shapes; lines stay."""
        text = self._literal.sub(self._cover, text)
        out: list[str] = []
        done = 0
        for hit in find_secrets(text):
            breaks = text.count("\n", hit.start, hit.end)
            out += (text[done : hit.start], self._mask + f"\n{self._mask}" * breaks)
            done = hit.end
        return "".join((*out, text[done:]))

    def _cover(self, match: re.Match[str]) -> str:
        return self._mask + f"\n{self._mask}" * match[0].count("\n")

    def leaks(self, text: str) -> bool:
        """Tell whether a text that is about to leave holds a secret, even split or encoded.

        Guesses by what stands before a value do not count: examples in prose look the same.
        """
        views = tuple(dict.fromkeys(_views(text)))
        return any(
            self._literal.search(view) or next(_precise_hits(view), None) for view in views
        ) or self._holds_pieces(views)

    def _holds_pieces(self, views: Iterable[str]) -> bool:
        """Tell whether a view holds a secret, or half of a long one, whatever stands between."""
        for view in map(_squeeze, views):
            if any(spelling in view for spelling in self._short):
                return True
            grams = (view[at : at + _MIN_PIECE] for at in range(len(view)))
            if not self._grams.isdisjoint(grams) and any(piece in view for piece in self._pieces()):
                return True
        return False

    def _pieces(self) -> Iterator[str]:
        for spelling in self._long:
            size = max(_MIN_PIECE, -(-len(spelling) // 2))
            yield from (spelling[at : at + size] for at in range(len(spelling) - size + 1))


def _spellings(squeezed: str) -> tuple[str, str, str]:
    return squeezed, squeezed[::-1], codecs.encode(squeezed, "rot13")


def _precise_hits(text: str) -> Iterator[SecretHit]:
    yield from _private_keys(text)
    yield from (hit for hit in _token_hits(text, _choose(text).shapes) if hit.kind not in _GUESSES)


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret and, of one with several lines, every long line."""
    secret = secret.strip()
    for part in {secret, *(line.strip() for line in secret.split("\n"))}:
        if part.startswith("-----"):
            continue
        if len(part) >= MIN_SECRET and len(set(part)) >= _MIN_DISTINCT:
            yield part


def _forms(secret: str) -> Iterator[str]:
    """Yield the spellings in which a secret may turn up in a log or a text."""
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield secret[::-1]
    yield json.dumps(secret)[1:-1]
    yield html.escape(secret)
    yield quote(data, safe="")
    yield quote_plus(data)
    yield "".join(f"%{byte:02X}" for byte in data)
    yield "".join(f"\\u{ord(character):04x}" for character in secret)
    yield "".join(f"\\u{ord(character):04X}" for character in secret)
    yield data.hex()
    yield data.hex().upper()
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(b"\0" * offset + data).decode()
            yield whole[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){10,}")


def _views(text: str) -> Iterator[str]:
    """Yield a text and what a reader could make of it."""
    unseen = {ord(one.character) for one in hidden_characters(text)}
    bare = text.translate(dict.fromkeys(unseen))
    yield text
    yield bare
    yield html.unescape(bare)
    yield unquote(bare)
    yield _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), bare)
    yield "\n".join(_decoded(bare))


def _decoded(text: str) -> Iterator[str]:
    """Yield what the text's base64 and hexadecimal words say."""
    for match in _BASE64.finditer(text):
        word = match[0].rstrip("=").translate(str.maketrans("-_", "+/"))
        for start in range(4):
            part = word[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
    for match in _HEX.finditer(text):
        yield binascii.unhexlify(match[0]).decode("latin-1")


def _squeeze(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
