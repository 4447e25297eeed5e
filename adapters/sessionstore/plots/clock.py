"""`Clock`: where moments stand on an axis that keeps what happened readable."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TypeAlias

__all__ = ["Clock", "Span", "duration", "merged", "ticks"]

Span: TypeAlias = tuple[float, float]
"""From when to when: on a clock in seconds since 1970, on an axis in seconds of that axis."""

# Of all that the spans take together: the least that one of a few is drawn with, and the longest
# pause.
_LEAST, _PAUSE = 0.03, 0.08
_APART = 0.125  # of an axis: the least between two ticks that have words


class Clock:
    """Places moments on an axis on which what happened has its length, and long pauses are short.

    Args:
        spans: When something happened; each begins no earlier than the one before ends.

    Attributes:
        bands: Where each of the spans is on the axis.
        shortens: Whether a pause is shorter on the axis than it was.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        """Lay the spans out."""
        total = sum(end - begin for begin, end in spans) or 1.0
        least = total * min(_LEAST, 0.6 / max(len(spans), 1))
        longest = total * min(_PAUSE, 1.5 / max(len(spans), 1))
        self.bands: list[Span] = []
        self.shortens: bool = False
        self._knots: list[tuple[float, float]] = []
        place, before = 0.0, spans[0][0] if spans else 0.0
        for begin, end in spans:
            self.shortens |= begin - before > longest
            place += min(begin - before, longest)
            width = max(end - begin, least)
            self.bands.append((place, place + width))
            if begin == end:
                self._knots.append((begin, place + width / 2))
            else:
                self._knots += [(begin, place), (end, place + width)]
            place, before = place + width, end

    def at(self, moment: float) -> float:
        """Give where a moment is on the axis; one beyond all spans is at its end."""
        knots = self._knots
        after = bisect_right(knots, (moment, float("inf")))
        if after in (0, len(knots)):
            return knots[min(after, len(knots) - 1)][1]
        (begin, left), (end, right) = knots[after - 1 : after + 1]
        return left + (right - left) * (moment - begin) / (end - begin)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Put spans in order, and those that meet together."""
    parts: list[Span] = []
    for begin, end in sorted(spans):
        if parts and begin <= parts[-1][1]:
            parts[-1] = parts[-1][0], max(end, parts[-1][1])
        else:
            parts.append((begin, end))
    return parts


def ticks(places: Iterable[tuple[float, float]], width: float) -> list[tuple[float, str]]:
    """Choose the ticks of an axis of times, so that no two words meet.

    Args:
        places: Where each may be, and its moment: the most wanted first.
        width: How long the axis is.

    Returns:
        Where they are, and their words: the time, in milliseconds where seconds are not enough to
        tell them apart, with the day where that is another than before.
    """
    kept: list[tuple[float, float]] = []
    for place, moment in places:
        if all(abs(place - other) >= width * _APART for other, _ in kept):
            kept.append((place, moment))
    is_fine = len({_utc(moment) for _, moment in kept}) < len(kept)
    words, before = [], ""
    for place, moment in sorted(kept):
        day, _, time = _utc(moment, "milliseconds" if is_fine else "seconds").partition(" ")
        words.append((place, f"{time}\n{day}" if day != before else time))
        before = day
    return words


def _utc(moment: float, unit: str = "seconds") -> str:
    utc = datetime.fromtimestamp(moment, timezone.utc).replace(tzinfo=None)
    return utc.isoformat(" ", unit)


def duration(seconds: float) -> str:
    """Write a duration as one or two units: ``0.42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if 0 < seconds < 0.01:  # noqa: PLR2004 - ten milliseconds
        return f"{seconds * 1000:.2g} ms"
    if seconds < 9.95:  # noqa: PLR2004 - 10 is written without a fraction
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for unit, small, of, parts in _UNITS:
        if whole >= of:
            rest = whole % of // parts
            return f"{whole // of} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


_UNITS = (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1))
