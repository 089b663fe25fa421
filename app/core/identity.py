"""Who a finding is: fingerprints, clusters, and what was said before. Never a line number inside.

A fingerprint is made of the path, the code a finding stands on, and its kind: it survives moved
lines and other words for the same thing. A marker carries it in a comment of ours, signed, so that
a later run recognises its own words and nobody else can forge them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.core.anchors import Anchor, Placed, squeeze
from app.core.diff import Diff, FileDiff, Side
from app.core.evidence import Cluster, Weighed
from app.core.findings import Category, Finding, Severity


@dataclass(frozen=True, slots=True)
class Said:
    """A comment of ours that already stands on the pull request, proven to be ours.

    ``closed`` is true when its thread was ``resolved``, or a person answered it or thumbed it down.
    ``line`` is where it stands now, on ``side``.
    """

    fingerprint: str
    comment_id: int
    path: str
    line: int | None
    closed: bool = False
    outdated: bool = False
    thread_id: str | None = None
    side: Side = Side.RIGHT
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """What one of our own comments says it is; ``head_sha`` is the commit it was made on."""

    kind: str
    fingerprint: str
    head_sha: str


# Fingerprints.


def fingerprint(placed: Placed, diff: Diff, ordinal: int = 0, path: str = "") -> str:
    """Name a finding by 16 hex digits; ``ordinal`` tells apart equal findings on equal code.

    ``path`` names it as it was named when its file had this path.
    """
    finding = placed.finding
    kind = f"{finding.source} {finding.rule}" if finding.rule else _family(finding.category)
    if placed.anchor is None:
        place, code = placed.path or finding.path, squeeze(finding.quote)
    else:
        place, code = placed.anchor.path, _telling_code(placed.anchor, diff)
    parts = (path or place, code, kind, str(ordinal))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def identify(weighed: Sequence[Weighed], diff: Diff) -> tuple[Weighed, ...]:
    """Give every finding its fingerprint; equal ones are numbered in the order given."""
    seen: Counter[str] = Counter()
    named = []
    for one in weighed:
        bare = fingerprint(one.placed, diff)
        ordinal = seen[bare]
        seen[bare] += 1
        name = fingerprint(one.placed, diff, ordinal) if ordinal else bare
        named.append(replace(one, fingerprint=name))
    return tuple(named)


_PLACEHOLDER: Final = re.compile(r"<([A-Z_]+)_\d+>")


def _telling_code(anchor: Anchor, diff: Diff) -> str:
    """Return the first anchored line that holds a word, whitespace squeezed.

    Where a claim ends varies from answer to answer; where it begins does not. Masked secrets are
    numbered by their order in the diff, which moves: the number is left out.
    """
    file = diff.file(anchor.path)
    texts = list(_anchored_texts(anchor, file)) if file else []
    telling = next((text for text in texts if re.search(r"\w", text)), "".join(texts[:1]))
    return squeeze(_PLACEHOLDER.sub(r"<\1>", telling))


def _anchored_texts(anchor: Anchor, file: FileDiff) -> Iterator[str]:
    for hunk in file.hunks:
        for line in hunk.lines:
            number = line.old if anchor.side is Side.LEFT else line.new
            if number is not None and anchor.start_line <= number <= anchor.line:
                yield line.text


def _family(category: Category) -> str:
    """Put together the categories that different answers use for one trouble."""
    apart = {Category.SECURITY, Category.TEST, Category.DOCS, Category.PERFORMANCE}
    return category.value if category in apart else "behaviour"


# Clusters.


def cluster(placed: Sequence[Placed]) -> tuple[Cluster, ...]:
    """Put tellings of the same claim together; the order of first tellings stays.

    The same claim: the same trouble on the same or touching lines, from several chunks, looks or
    tools. The highest severity is kept, an analyzer's words come before a model's, and nothing
    that only one of them says is lost.
    """
    groups: list[list[Placed]] = []
    standing: dict[_Place, list[list[Placed]]] = {}
    for one in placed:
        near = (group for spot in _places(one, 0) for group in standing.get(spot, ()))
        group = next((g for g in near if any(_same_claim(one, other) for other in g)), None)
        if group is None:
            groups.append(group := [])
        group.append(one)
        for spot in _places(one, 1):
            standing.setdefault(spot, []).append(group)
    return tuple(_to_cluster(group) for group in groups)


_Place = tuple[str, Side | None, int | str]


def _places(placed: Placed, reach: int) -> Iterator[_Place]:
    """Yield the lines a finding stands on and ``reach`` around; its quote when it has no lines."""
    anchor = placed.anchor
    if anchor is None:
        yield placed.path or placed.finding.path, None, squeeze(placed.finding.quote)
        return
    for number in range(anchor.start_line - reach, anchor.line + reach + 1):
        yield anchor.path, anchor.side, number


def _same_claim(one: Placed, other: Placed) -> bool:
    """Whether two findings in touching places make the same claim."""
    mine, its = one.finding, other.finding
    if mine.source == its.source and (mine.rule or its.rule):
        return mine.rule == its.rule and one.anchor == other.anchor
    if _cites(mine, its) or _cites(its, mine):
        return True
    if _family(mine.category) != _family(its.category):
        return False
    if not (mine.by_model and its.by_model):
        return bool(_stems(f"{mine.title} {mine.why}") & _stems(f"{its.title} {its.why}"))
    if one.anchor and other.anchor and mine.category is its.category:
        return one.anchor.start_line == other.anchor.start_line or _alike(mine, its)
    return _alike(mine, its)


_RULE: Final = re.compile(r"[A-Za-z][\w-]*\d|\w+-[\w-]+")


def _cites(mine: Finding, its: Finding) -> bool:
    """Whether a model names the rule by which a tool found something."""
    rule = its.rule or ""
    return mine.by_model and _RULE.match(rule) is not None and rule in f"{mine.title} {mine.why}"


_WORD: Final = re.compile(r"\w{4,}")
_EMPTY_WORDS: Final = frozenset(
    ("this", "that", "with", "from", "when", "will", "could", "should", "would", "line", "code")
)


def _alike(one: Finding, other: Finding) -> bool:
    """Whether two titles share half the words of the shorter."""
    mine, its = _stems(one.title), _stems(other.title)
    return len(mine & its) * 2 >= max(1, min(len(mine), len(its)))


def _stems(text: str) -> set[str]:
    words = set(_WORD.findall(text.lower())) - _EMPTY_WORDS
    return {re.sub(r"(?:ing|ed|es|s)$", "", word) for word in words}


def _to_cluster(group: Sequence[Placed]) -> Cluster:
    order = sorted(group, key=lambda one: (one.finding.by_model, -one.finding.severity.rank))
    best, *rest = order
    severity = max((one.finding.severity for one in group), key=lambda one: one.rank)
    finding = replace(best.finding, severity=severity)
    for other in rest:
        finding = _merge(finding, other.finding)
    return Cluster(replace(best, finding=finding), tuple(rest))


def _merge(finding: Finding, other: Finding) -> Finding:
    """Add what only the other telling says. A tool's claim is never changed, only added to."""
    if not other.by_model:
        return finding
    told = {squeeze(finding.title), squeeze(finding.why)}
    more = [
        text for text in (other.title, other.why) if squeeze(text) and squeeze(text) not in told
    ]
    return replace(
        finding,
        why="\n\n".join([finding.why, *more]) if len(finding.why) < _LONG_WHY else finding.why,
        scenario=finding.scenario or other.scenario,
    )


_LONG_WHY: Final = 2_000


# What was said.


def drop_already_said(
    weighed: Sequence[Weighed], said: Sequence[Said], diff: Diff
) -> tuple[tuple[Weighed, ...], tuple[Weighed, ...]]:
    """Split findings into fresh ones and those that a comment of ours already says.

    Said is what has the fingerprint of a comment, open, resolved or outdated. So is what a model
    finds on a line where a comment of ours still stands, since the code under it has not changed:
    the same trouble begun one line earlier, or a late thought; only a critical one is said anyway.
    """
    names = {one.fingerprint for one in said}
    lines = {(s.path, s.side, s.line) for s in said if s.line is not None and not s.outdated}
    fresh: list[Weighed] = []
    repeated: list[Weighed] = []
    for one, its in zip(weighed, name_all(weighed, said, diff), strict=True):
        known = not names.isdisjoint(its) or _stands(one, lines)
        (repeated if known else fresh).append(one)
    return tuple(fresh), tuple(repeated)


def name_all(
    weighed: Sequence[Weighed], said: Sequence[Said], diff: Diff
) -> tuple[frozenset[str], ...]:
    """Give each finding every name under which we may have said it.

    A file that is renamed takes its findings along: where a comment's path is gone from the
    change, the finding may be the one that was said there. If that comment was resolved, the diff
    itself must tell of the renaming: else what was mended once could never be said elsewhere.
    """
    present = {file.path for file in diff.files}
    gone = {one.path: False for one in said if one.path not in present}
    gone |= {one.path: True for one in said if one.path in gone and not one.resolved}
    seen: Counter[str] = Counter()
    named = []
    for one in weighed:
        file = diff.file(one.placed.anchor.path) if one.placed.anchor else None
        names = {one.fingerprint}
        for path, is_open in gone.items():
            bare = fingerprint(one.placed, diff, path=path)
            if is_open or (file is not None and file.old_path == path):
                names.add(fingerprint(one.placed, diff, seen[bare], path))
            seen[bare] += 1
        named.append(frozenset(names))
    return tuple(named)


def _stands(weighed: Weighed, lines: set[tuple[str, Side, int]]) -> bool:
    anchor = weighed.placed.anchor
    if anchor is None or not weighed.placed.finding.by_model:
        return False
    if weighed.severity is Severity.CRITICAL:
        return False
    numbers = range(anchor.start_line, anchor.line + 1)
    return any((anchor.path, anchor.side, number) in lines for number in numbers)


# Markers.

MAX_MARKED: Final = 1_000_000
"""Characters of a comment that are searched for markers."""
MAX_MARKERS: Final = 500
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9:._/]|-(?!-)){0,199}"
_MARKER: Final = re.compile(
    rf"<!-- postil:1 ([a-z]{{1,20}}) ({_NAME}) ([0-9a-f]{{40,64}}) ([0-9a-f]{{64}}) -->"
)


def make_marker(
    key: bytes, kind: str, fingerprint: str, repository_id: int, number: int, head_sha: str
) -> str:
    """Write the HTML comment by which we recognise our own words on one pull request.

    Raises ValueError for a part that a marker can't carry.
    """
    proof = _prove(key, Marker(kind, fingerprint, head_sha), repository_id, number)
    marker = f"<!-- postil:1 {kind} {fingerprint} {head_sha} {proof} -->"
    if _MARKER.fullmatch(marker) is None:
        raise ValueError(f"a marker can't carry {kind!r}, {fingerprint!r}, {head_sha!r}")
    return marker


def read_markers(body: str, key: bytes, repository_id: int, number: int) -> tuple[Marker, ...]:
    """Read the markers that our key made for this very pull request; anything else is text."""
    found = []
    for match in _MARKER.finditer(body[:MAX_MARKED]):
        marker = Marker(match[1], match[2], match[3])
        proof = _prove(key, marker, repository_id, number)
        if hmac.compare_digest(proof, match[4]):
            found.append(marker)
        if len(found) == MAX_MARKERS:
            break
    return tuple(found)


def _prove(key: bytes, marker: Marker, repository_id: int, number: int) -> str:
    parts = ("postil:1", marker.kind, marker.fingerprint, repository_id, number, marker.head_sha)
    return hmac.new(key, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()
