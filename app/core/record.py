"""What one run hands to the next where there is no database: texts by key, signed and compressed.

The record is a comment that no page shows. It is good for one head of one pull request alone, and
only whoever holds the key can have written it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Mapping
from typing import Final

from app.core.pull import PullRequest

_RECORD: Final = re.compile(r"<!-- postil:record:1 ([0-9a-f]{64}) ([A-Za-z0-9+/]{4,}={0,2}) -->")
_AROUND: Final = len("<!-- postil:record:1   -->") + 64


def write_record(texts: Mapping[str, str], key: bytes, pull: PullRequest, room: int) -> str:
    """Write as many of the texts as fit, the first ones first; empty when none does."""
    entries = list(texts.items())
    fits, over = 0, len(entries) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if len(_pack(entries[:middle])) + _AROUND <= room:
            fits = middle
        else:
            over = middle
    if not fits:
        return ""
    packed = _pack(entries[:fits])
    return f"<!-- postil:record:1 {_prove(key, pull, pull.head_sha, packed)} {packed} -->"


def read_record(text: str, key: bytes, pull: PullRequest, head_sha: str) -> Mapping[str, str]:
    """Read what our key signed for this head of this pull request; anything else is nothing."""
    match = _RECORD.fullmatch(text)
    if match is None or not hmac.compare_digest(_prove(key, pull, head_sha, match[2]), match[1]):
        return {}
    return dict(json.loads(zlib.decompress(base64.b64decode(match[2]))))


def _pack(entries: list[tuple[str, str]]) -> str:
    text = json.dumps(entries, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _prove(key: bytes, pull: PullRequest, head_sha: str, packed: str) -> str:
    parts = ("postil:record:1", pull.ref.repository_id, pull.ref.number, head_sha, packed)
    return hmac.new(key, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()
