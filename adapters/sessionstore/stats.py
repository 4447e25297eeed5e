"""What a store tells about itself: how often it was asked for what, and what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from itertools import repeat
from operator import length_hint
from typing import Literal, TypeAlias

import msgspec

__all__ = ["StoreConnections", "StoreEvent", "StoreStats", "Tally"]

EventKind: TypeAlias = Literal["degraded", "recovered", "slow_session", "replayed", "rejected"]
"""What can happen to a fallback."""


class StoreEvent(msgspec.Struct, frozen=True):
    """Something that happened to a fallback: never whose session it was, or what was said in it.

    Attributes:
        at: When, in UTC; of several that came one after the other, when the last of them did.
        kind: ``"degraded"``: the primary was given up; ``"recovered"``: it is back;
            ``"slow_session"``: it did not answer for a session in time, which is left alone for a
            while; ``"replayed"``: it has taken writes that waited; ``"rejected"``: some were set
            aside.
        error: The name of the error's class, where there was one.
        count: How many outages, sessions or writes.
    """

    at: datetime
    kind: EventKind
    error: str = ""
    count: int = 1


class StoreConnections(msgspec.Struct, frozen=True, kw_only=True):
    """The connections that a store has open now, in this process.

    Attributes:
        idle: How many wait for the next operation.
        in_use: How many are at work.
        most: How many there may be at once; ``None`` where nothing bounds them, or it is not known.
    """

    idle: int = 0
    in_use: int = 0
    most: int | None = None


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has done in this process since it was made; `SessionStore.stats` gives it.

    After a fork, the child counts on from there.

    Attributes:
        operations: How often each operation was asked for, by the name of its class, such as
            ``"Append"``: those that failed, too. A list is one ``"Several"``.
        errors: How often which error was raised, by the name of its class. An argument that was
            refused before anything was asked for is not among them.
        connections: Its connections; ``None`` of a store that has none, as one in memory, or does
            not tell. A fallback gives its primary's.
        is_degraded: Whether it does without its primary: of a fallback.
        degraded_since: Since when, in UTC; ``None`` where it does not.
        pending: Writes that wait for the primary now, or are on their way into the journal.
        rejected: Writes that were set aside since the store was made.
        events: The last 100 things that happened to a fallback, the oldest first.
    """

    operations: dict[str, int] = {}
    errors: dict[str, int] = {}
    connections: StoreConnections | None = None
    is_degraded: bool = False
    degraded_since: datetime | None = None
    pending: int = 0
    rejected: int = 0
    events: tuple[StoreEvent, ...] = ()


class Tally:
    """Counts by class or name, in threads and on event loops at once, without a lock, losing none.

    To count is one step of the interpreter: it takes one from an iterator that knows how many it
    has left.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        """Count nothing yet."""
        self._left: dict[type | str, repeat[None]] = {}

    def add(self, kind: type | str) -> None:
        """Count one."""
        left = self._left.get(kind)
        if left is None:
            left = self._left.setdefault(kind, repeat(None, _ALL))
        next(left)

    def counts(self, names: Mapping[type, str]) -> dict[str, int]:
        """Give how many there were.

        Args:
            names: What to call a class that is not to be called by its own name.

        Returns:
            The count for each name.
        """
        counts: dict[str, int] = {}
        for kind, left in dict(self._left).items():
            name = kind if isinstance(kind, str) else names.get(kind, kind.__name__)
            counts[name] = counts.get(name, 0) + _ALL - length_hint(left)
        return counts


_ALL = sys.maxsize
