"""What happened to a fallback, as it is drawn: outages, and what happened to some of its writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sessionstore.stats import StoreEvent, StoreStats

__all__ = ["Mark", "Outage", "Wait", "marks_of", "outages_of", "waits_of"]


class Outage(NamedTuple):
    """A time without the primary. Times are in seconds since 1970.

    Attributes:
        begin: Since when the primary was away, as far as is known.
        end: When it was back; ``None`` while it is away.
        settled: When the last of what had waited was replayed or set aside; ``None`` before that.
        replayed: How many writes it has taken since.
        rejected: How many were set aside since.
        error: The name of the error's class that began it.
    """

    begin: float
    end: float | None = None
    settled: float | None = None
    replayed: int = 0
    rejected: int = 0
    error: str = ""


class Mark(NamedTuple):
    """Something that happened at one moment, in seconds since 1970, so many times."""

    kind: str
    at: float
    number: int


class Wait(NamedTuple):
    """From when to when so many writes waited, or wait now. Times as of an `Outage`."""

    begin: float
    end: float
    number: int
    is_now: bool


def outages_of(stats: StoreStats) -> list[Outage]:
    """Give the outages that are known of, the oldest first."""
    outages: list[Outage] = []
    for at, event in _in_order(stats.events):
        last = outages[-1] if outages else None
        if event.kind == "degraded" and (last is None or last.end is not None):
            outages.append(Outage(at, error=event.error))
        elif event.kind == "recovered" and last is not None:
            outages[-1] = last._replace(end=at)
        elif event.kind == "recovered":  # what began it is longer ago than is remembered
            outages.append(Outage(at, at))
        elif event.kind in ("replayed", "rejected") and last is not None:
            counts = {event.kind: getattr(last, event.kind) + event.count}
            outages[-1] = last._replace(settled=at, **counts)
    if stats.degraded_since and not (outages and outages[-1].end is None):
        outages.append(Outage(stats.degraded_since.timestamp()))
    return outages


def marks_of(stats: StoreStats) -> list[Mark]:
    """Give what is no outage: sessions left alone, writes set aside, and replayed without one."""
    begin = min((outage.begin for outage in outages_of(stats)), default=float("inf"))
    return [
        Mark(event.kind, at, event.count)
        for at, event in _in_order(stats.events)
        if event.kind in ("slow_session", "rejected") or (event.kind == "replayed" and at < begin)
    ]


def waits_of(stats: StoreStats, outages: Sequence[Outage], now: float) -> list[Wait]:
    """Give when writes waited: in each outage those that it ended with, and what waits now."""
    waits = [
        Wait(outage.begin, outage.settled, number, is_now=False)
        for outage in outages
        if outage.settled and (number := outage.replayed + outage.rejected)
    ]
    if stats.pending:
        last = outages[-1] if outages else None
        is_open = last is not None and (last.end is None or last.settled is None)
        begin = last.begin if last is not None and is_open else now
        waits = [one for one in waits if one.begin < begin or not is_open]
        waits.append(Wait(begin, now, stats.pending, is_now=True))
    return waits


def _in_order(events: Iterable[StoreEvent]) -> Iterable[tuple[float, StoreEvent]]:
    """Give events with their times; a clock that was set back stands still meanwhile."""
    before = float("-inf")
    for event in events:
        before = max(before, event.at.timestamp())
        yield before, event
