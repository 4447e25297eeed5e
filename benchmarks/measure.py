"""Timing: what compares is measured in turns within one run, so that the machine is the same."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from subject import AsyncSubject, Subject

T = TypeVar("T")
BURST = 5
"""How often each subject is used before it is the next one's turn."""
_HOUSE = ("limit", "naive", "ours")


@dataclass
class Measured:
    """What one subject took for one piece of work.

    Attributes:
        work: What was done.
        backend: On what.
        colour: ``"sync"`` or ``"async"``.
        name: By whom.
        family: As `Subject.family`.
        size: How many messages the session had, or whatever else grows.
        seconds: What each time took; for a throughput, the seconds of a round over its turns.
        note: What went wrong, if anything.
    """

    work: str
    backend: str
    colour: str
    name: str
    family: str
    size: int
    seconds: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """What 95 of 100 did not exceed, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


def by(subject: Subject, work: str, size: int) -> Measured:
    """Give a place for what a subject takes."""
    name = subject.name.removesuffix(", asyncio")
    return Measured(work, subject.backend, colour(subject), name, subject.family, size)


class Loop:
    """One event loop for all that is async; what is not runs as it is."""

    def __init__(self) -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()

    def run(self, result: T) -> Any:
        """Wait for a coroutine; give anything else back."""
        return self._loop.run_until_complete(result) if asyncio.iscoroutine(result) else result

    def close(self) -> None:
        """End it."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def colour(subject: Subject) -> str:
    """Tell how a subject is called."""
    return "async" if isinstance(subject, AsyncSubject) else "sync"


def _nothing() -> None:
    pass


@dataclass
class Use:
    """What is measured: a step, and what gets it ready.

    Attributes:
        measured: Where to note what it took.
        step: One use: blocking, or giving a coroutine.
        before: Called before each burst; not measured.
    """

    measured: Measured
    step: Callable[[], Any]
    before: Callable[[], object] = _nothing


def interleaved(
    loop: Loop,
    uses: Sequence[Use],
    *,
    seconds: float,
    most: int,
    least: int = 3,
    burst: int = BURST,
) -> list[Measured]:
    """Use each in turn, in an order that changes, until the time is over.

    The first round only warms up. A peer that fails is left alone from then on, and that is noted.

    Args:
        loop: Where coroutines run.
        uses: What to use.
        seconds: For how long.
        most: How many rounds at most.
        least: How many rounds at least, whatever they take.
        burst: How often each is used in a round.
    """
    shuffle = random.Random(0).shuffle  # noqa: S311 - an order
    gc.collect()
    gc.freeze()  # so that to collect between two subjects looks at what they left, and no more
    live = [use for use in uses if _used(loop, use, burst)]
    for use in live:
        use.measured.seconds.clear()
    end = time.perf_counter() + seconds
    for n in range(most):
        shuffle(live)
        live = [use for use in live if _used(loop, use, burst)]
        if n + 1 >= least and time.perf_counter() > end:
            break
    gc.unfreeze()
    return [use.measured for use in uses]


def _used(loop: Loop, use: Use, burst: int) -> bool:
    try:
        use.before()
        gc.collect()
        loop.run(_bursts(use.measured)(use, burst))
    except Exception as error:
        if use.measured.family in _HOUSE:
            raise
        use.measured.note = f"failed: {error or type(error).__name__}".partition("\n")[0][:120]
        return False
    return True


def _bursts(measured: Measured) -> Callable[[Use, int], Any]:
    return _aburst if measured.colour == "async" else _burst


def _burst(use: Use, burst: int) -> None:
    for _ in range(burst):
        start = time.perf_counter()
        use.step()
        use.measured.seconds.append(time.perf_counter() - start)


async def _aburst(use: Use, burst: int) -> None:
    for _ in range(burst):
        start = time.perf_counter()
        await use.step()
        use.measured.seconds.append(time.perf_counter() - start)
