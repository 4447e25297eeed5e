"""The time of stores that have no server to give it: memory, and SQLite's files.

Two clocks are read. The *wall* clock says what time it is, and jumps when somebody sets it. The
*steady* clock counts on, also while the machine sleeps, and is never set. What the wall clock is
ahead of the steady one, its lead, changes only when the wall clock is set.

Times that are stored follow the wall clock, but never run backwards: see `Clock.stamp`.

A store with a retention asks `Clock.oldest_live` in each call, and so sees the clock set. Expiry
compares a stored time with now, so a wall clock that is set ahead by days would hide, and delete,
sessions that are in use. It is judged by the smallest lead that the wall clock had within the
retention: every session that is still to be kept was written in that time, and so was stamped with
no smaller lead. None is lost by a jump, whichever way it goes, and whether or not it is taken back.
What a jump ahead costs is that sessions last longer than they should: until it is taken back, or
else until as long as the retention has passed, when all that counts was stamped with the new lead.

A wall clock that was wrong when the process began, or is wrong on another machine, is not noticed.
"""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from sessionstore.errors import InvalidSessionError

__all__ = [
    "Clock",
    "clock",
    "from_microseconds",
    "retention_microseconds",
    "steady_microseconds",
    "to_microseconds",
    "wall_microseconds",
]

_SECOND = 1_000_000
_MOST = 100  # leads that are remembered
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Count the microseconds from 1970 to an aware moment."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Give the moment, in UTC, that `to_microseconds` counted to."""
    return _EPOCH + timedelta(microseconds=count)


def retention_microseconds(days: float | None) -> int | None:
    """Turn a store's ``retention_days`` into microseconds.

    Args:
        days: Days, fractions included; ``None`` for ever.

    Returns:
        Microseconds, or ``None``.

    Raises:
        InvalidSessionError: It is not a number above 0.
    """
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 < days < math.inf:
        raise InvalidSessionError("retention_days must be a number above 0, or None for ever")
    return int(days * 86_400_000_000)


def wall_microseconds() -> int:
    """Count the microseconds from 1970 to now, as the machine's clock is set."""
    return time.time_ns() // 1000


def steady_microseconds() -> int:
    """Count microseconds by a clock that nobody sets, and that goes on while the machine sleeps.

    `time.monotonic` stands still in a sleep on Linux and macOS. On Windows it does not.
    """
    if _STEADY is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_STEADY) // 1000


# macOS counts a sleep in this CLOCK_MONOTONIC, though not in time.monotonic.
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


class _Seen(NamedTuple):
    """How far ahead the wall clock is, and the smaller leads that it had before.

    Attributes:
        lead: What it is ahead of the steady clock now.
        former: Each smaller lead with the steady time at which it ended, in their order.
    """

    lead: int
    former: tuple[tuple[int, int], ...] = ()


class Clock:
    """The wall clock, with an eye on the steady one. Safe in threads, and across a fork.

    What is known is one value that is swapped in one step: there is no lock to be left held. Two
    threads that notice a jump at once note it twice at worst.
    """

    def __init__(self) -> None:
        """Take a first look at both clocks."""
        # Attributes, so that a test can set them as somebody sets the machine's.
        self.wall, self.steady = wall_microseconds, steady_microseconds
        self._seen = _Seen(self.wall() - self.steady())
        self._look()

    def now(self) -> int:
        """Give the wall clock's time, in microseconds since 1970."""
        return self.wall()

    def stamp(self, newest: int) -> int:
        """Give the time of a write, in microseconds since 1970.

        Args:
            newest: The newest such time in the store: this one is later, so that the newest
                session stays first in lists when the clock was set back.

        Returns:
            The wall clock's time, or just after ``newest`` if that is later.
        """
        now = self.wall()
        return now if now > newest else newest + 1

    def oldest_live(self, retention: int | None) -> int:
        """Give the time before which a session that was not written to since has expired.

        Args:
            retention: How long sessions are kept, in microseconds; ``None`` for good.

        Returns:
            Microseconds since 1970; 0 where nothing expires.
        """
        if retention is None:
            return 0
        steady, seen = self._look()
        lead = next((lead for lead, end in seen.former if end >= steady - retention), seen.lead)
        return steady + lead - retention

    def _look(self) -> tuple[int, _Seen]:
        # In this order a pause between the two makes the lead too large, which the next look mends.
        steady = self.steady()
        lead, seen = self.wall() - steady, self._seen
        if lead < seen.lead or lead > seen.lead + _SECOND:
            self._seen = seen = _after(seen, lead, steady)
        return steady, seen


def _after(seen: _Seen, lead: int, steady: int) -> _Seen:
    """Note that the wall clock was set: leads that are not clearly smaller don't count any more."""
    past = (*seen.former, (seen.lead, steady))
    former = tuple(each for each in past if each[0] < lead - _SECOND)
    if len(former) < len(past):
        lead = min(lead, past[len(former)][0])
    if len(former) > _MOST:  # two become one, which counts for as long as both did
        former = ((former[0][0], former[1][1]), *former[2:])
    return _Seen(lead, former)


clock = Clock()
"""This process's clock: what one store notices, all know."""
