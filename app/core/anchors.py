"""Findings on their lines: where GitHub accepts a comment, or nowhere. Never drops a finding.

A comment may stand on any line of a hunk: removed lines on the LEFT, added ones on the RIGHT,
context on both; a range keeps to one hunk and one side:
https://docs.github.com/en/rest/pulls/comments#create-a-review-comment-for-a-pull-request
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from app.core.diff import Diff, FileDiff, Hunk, Line, Side, commentable
from app.core.findings import MAX_TEXT, Finding

MAX_RANGE: Final = 100
"""Lines one anchor may span; a longer claim is about its first line."""

NOT_IN_DIFF: Final = "the path is not part of this change"
NOT_FOUND: Final = "the quoted line is not in the changed part of the file"
NO_LINE: Final = "the line is not in the changed part of the file"
MOVED: Final = "the quote stands on another line than the one named"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Lines of one side in one hunk that a review comment may stand on; both ends included."""

    path: str
    side: Side
    start_line: int
    line: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A finding and its anchor; without one it belongs in the summary, and ``note`` says why.

    ``path`` is the changed file that its path means, empty when there is none.
    """

    finding: Finding
    anchor: Anchor | None
    note: str = ""
    path: str = ""


def place_on_diff(findings: Sequence[Finding], diff: Diff) -> tuple[Placed, ...]:
    """Place every finding, in order.

    ``diff`` must be the one the findings were made from: where a model was shown masked text, its
    quotes hold that text.
    """
    paths = _Paths(diff)
    return tuple(_place(finding, paths) for finding in findings)


def place(finding: Finding, diff: Diff) -> Placed:
    """Place one finding."""
    return _place(finding, _Paths(diff))


def squeeze(text: str) -> str:
    """Return a line without the whitespace that a quote loses on its way."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _Spot:
    """A line of a hunk as seen from one side."""

    side: Side
    number: int
    hunk: int
    line: Line


class _File:
    """One file's lines, by place and by text."""

    def __init__(self, diff: FileDiff) -> None:
        self.diff = diff

    @cached_property
    def spots(self) -> Mapping[tuple[Side, int], _Spot]:
        return {
            key: _Spot(*key, hunk, line) for key, (hunk, line) in commentable(self.diff).items()
        }

    @cached_property
    def exact(self) -> Mapping[str, list[_Spot]]:
        return self._by_text(lambda text: text)

    @cached_property
    def squeezed(self) -> Mapping[str, list[_Spot]]:
        return self._by_text(squeeze)

    def _by_text(self, key: Callable[[str], str]) -> Mapping[str, list[_Spot]]:
        """Index every line once, on its own side."""
        index: dict[str, list[_Spot]] = {}
        for number, hunk in enumerate(self.diff.hunks):
            for line in hunk.lines:
                spot = _Spot(line.side, line.number, number, line)
                index.setdefault(key(line.text[:MAX_TEXT]), []).append(spot)
        return index


class _Paths:
    """The files of a diff, by the paths a model may spell."""

    def __init__(self, diff: Diff) -> None:
        self._files: dict[str, _File] = {}
        self._old: dict[str, list[_File]] = {}
        for file_diff in diff.files:
            file = self._files.setdefault(file_diff.path, _File(file_diff))
            if file_diff.old_path:
                self._old.setdefault(file_diff.old_path, []).append(file)

    def find(self, path: str) -> _File | None:
        if path in self._files:
            return self._files[path]
        path = re.sub(r"^(?:\./|a/|b/)", "", path.strip().replace("\\", "/"))
        if path in self._files:
            return self._files[path]
        if not path or ".." in path.split("/"):
            return None
        matches = self._old.get(path) or [
            file
            for known, file in self._files.items()
            if known.endswith("/" + path.lstrip("/")) or path.endswith("/" + known)
        ]
        return matches[0] if len(matches) == 1 else None


_TAG: Final = re.compile(r"\s*([LRlr])(\d{1,7})\s*[-+]?\s*\|?\s*")
_SHOWN_TAG: Final = re.compile(r"[LR]\d{1,7} ?[-+ ]\|\s?")
_SHOWN_CUT: Final = re.compile(r"<\d{1,12} more characters>\s*$")


def _place(finding: Finding, paths: _Paths) -> Placed:
    file = paths.find(finding.path)
    if file is None:
        return Placed(finding, None, NOT_IN_DIFF)
    tagged = file.spots.get(tag) if (tag := _read_tag(finding.first)) else None
    quote = _quoted_line(finding.quote)
    if not finding.by_model and not quote:
        spot, lost = tagged, NO_LINE
    elif tagged and _agrees(quote, tagged.line.text):
        spot, lost = tagged, ""
    else:
        spot, lost = _search(quote, file, tagged, tag), NOT_FOUND
    if spot is None:
        return Placed(finding, None, lost, file.diff.path)
    end = _last_number(finding, tag, spot)
    first, last = sorted((spot.number, end))
    hunk = file.diff.hunks[spot.hunk]
    low, high = _bounds(hunk, spot.side)
    first, last = max(first, low), min(last, high)
    if last - first >= MAX_RANGE:
        first = last = spot.number
    anchor = Anchor(file.diff.path, spot.side, first, last)
    return Placed(finding, anchor, "" if spot is tagged else MOVED, file.diff.path)


def _read_tag(tag: str) -> tuple[Side, int] | None:
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    return (Side.LEFT if match[1] in "Ll" else Side.RIGHT), int(match[2])


def _quoted_line(quote: str) -> str:
    """Return the first line of a quote that holds something, less the marks copied along."""
    for line in quote.split("\n"):
        text = _SHOWN_CUT.sub(
            "", line[match.end() :] if (match := _SHOWN_TAG.match(line)) else line
        )
        if text.strip():
            return text
    return ""


def _agrees(quote: str, text: str) -> bool:
    """Whether a quote is the tagged line or a telling part of it; whitespace does not count."""
    quote, text = squeeze(quote), squeeze(text[:MAX_TEXT])
    if quote == text:
        return True
    return len(quote) >= len(text) / 3 and len(quote) >= 4 and quote in text  # noqa: PLR2004 - shorter says nothing


def _search(
    quote: str, file: _File, tagged: _Spot | None, tag: tuple[Side, int] | None
) -> _Spot | None:
    """Find the quote in the tagged line's hunk, then in the file; of several, the nearest."""
    if not quote.strip():
        return None
    found = (file.exact.get(quote, []), file.squeezed.get(squeeze(quote), []))
    near = ([spot for spot in spots if tagged and spot.hunk == tagged.hunk] for spots in found)
    for spots in (*near, *found):
        if len(spots) == 1:
            return spots[0]
        if spots and tag:
            return _nearest(spots, tag)
    return None


def _nearest(spots: Sequence[_Spot], tag: tuple[Side, int]) -> _Spot:
    """Return the spot nearest to a tag: changed lines and the tag's own side win a tie."""

    def distance(spot: _Spot) -> tuple[int, bool, bool]:
        number = spot.line.old if tag[0] is Side.LEFT else spot.line.new
        if number is None:
            number = spot.number
        return abs(number - tag[1]), spot.side is not tag[0], not spot.line.changed

    return min(spots, key=distance)


def _last_number(finding: Finding, tag: tuple[Side, int] | None, spot: _Spot) -> int:
    """Return where the claim ends, on the side of ``spot``: its own line when that is not said."""
    last = _read_tag(finding.last)
    if tag is None or last is None or last[0] is not tag[0] or spot.side is not tag[0]:
        return spot.number
    return last[1] + spot.number - tag[1]


def _bounds(hunk: Hunk, side: Side) -> tuple[int, int]:
    numbers = [
        number
        for line in hunk.lines
        if (number := line.old if side is Side.LEFT else line.new) is not None
    ]
    return numbers[0], numbers[-1]
