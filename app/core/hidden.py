"""Characters that render as nothing, or as something else, made visible.

Text of a repository may hold characters that a reviewer does not see and a model does: tags,
zero-width and bidirectional characters, variation selectors, blank fillers, control characters.
Code is never changed; where it is shown, each of them stands as a visible escape ``<U+E0041>``.
"""

from __future__ import annotations

import re

# The general category Cf alone misses variation selectors and the grapheme joiner (Mn), the Hangul
# fillers (Lo) and the blank braille cell (So): https://www.unicode.org/reports/tr36/
_HIDDEN = re.compile(
    "\r(?!\n)"
    "|["
    "\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"  # controls but those that end a line
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff"  # halves of characters: undecodable bytes
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
# A chat template's own tokens (`<|im_start|>`) would be read as such by servers that parse them.
_CONTROL_TOKEN = re.compile(r"<\|(?=[A-Za-z0-9_ ]{1,40}\|>)")


def escape_hidden(text: str) -> str:
    """Show every hidden character as ``<U+202E>``; tabs, line feeds and CR LF stay.

    A model's control tokens are broken the same way: ``<|im_start|>`` becomes
    ``<<U+007C>im_start|>``.
    """
    if not (text.isascii() and text.isprintable()):
        text = _HIDDEN.sub(_escape, text)
    return _CONTROL_TOKEN.sub("<<U+007C>", text) if "<|" in text else text


def escape_line(text: str) -> str:
    """Escape as ``escape_hidden`` does, line feeds too: what comes out is one line."""
    line = escape_hidden(text).replace("\r\n", "<U+000D><U+000A>")
    return line.replace("\n", "<U+000A>")


def find_hidden(text: str) -> tuple[str, ...]:
    """Find the hidden characters of a text, in order."""
    return tuple(_HIDDEN.findall(text))


def _escape(match: re.Match[str]) -> str:
    return f"<U+{ord(match.group()):04X}>"
