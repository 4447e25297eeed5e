"""What was measured, and how two of it compare."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import truediv

_FOR_P95 = 20  # of fewer, it would be the slowest


@dataclass
class Measured:
    """What one subject took for one piece of work.

    Attributes:
        work: What was done.
        backend: On what.
        mode: ``"sync"`` or ``"async"``.
        name: By whom.
        family: As `Subject.family`.
        size: How many messages the session had, or whatever else grows.
        seconds: What each time took; for a throughput, the seconds of a round over its turns.
        note: What went wrong, if anything.
        rounds: The median of each round that it took part in, by the round's number.
    """

    work: str
    backend: str
    mode: str
    name: str
    family: str
    size: int
    seconds: list[float] = field(default_factory=list)
    note: str = ""
    rounds: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float | None:
        """What 95 of 100 did not exceed, in seconds; nothing where there are too few."""
        if len(self.seconds) < _FOR_P95:
            return None
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


def paired(
    one: Measured, other: Measured, compare: Callable[[float, float], float] = truediv
) -> list[float]:
    """Compare two by the rounds in which both took part: a slow spell of the machine hits both."""
    both = sorted(one.rounds.keys() & other.rounds.keys())
    return [compare(one.rounds[n], other.rounds[n]) for n in both] or [
        compare(one.median, other.median)
    ]
