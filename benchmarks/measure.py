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
        seconds: What each time took; for a throughput, seconds for one turn of all workers.
    """

    work: str
    backend: str
    colour: str
    name: str
    family: str
    size: int
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """What 95 of 100 did not exceed, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


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


def settle() -> None:
    """Collect the garbage of the one before, and make the next collections cheap."""
    gc.collect()
    gc.freeze()


Step = Callable[[], Any]
"""One use: blocking, or giving a coroutine."""


def interleaved(
    loop: Loop, steps: Sequence[tuple[Measured, Step]], *, seconds: float, most: int, least: int = 3
) -> None:
    """Use each in turn, in an order that changes, until the time is over.

    Args:
        loop: Where coroutines run.
        steps: What to use, and where to note what it took.
        seconds: For how long.
        most: How many rounds at most, each of `BURST` uses.
        least: How many rounds at least, whatever they take.
    """
    order = list(steps)
    shuffle = random.Random(0).shuffle  # noqa: S311 - an order
    settle()
    end = time.perf_counter() + seconds
    for n in range(most):
        shuffle(order)
        for measured, step in order:
            gc.collect()
            if measured.colour == "async":
                loop.run(_aburst(measured, step))
            else:
                _burst(measured, step)
        if n + 1 >= least and time.perf_counter() > end:
            break
    gc.unfreeze()


def _burst(measured: Measured, step: Step) -> None:
    for _ in range(BURST):
        start = time.perf_counter()
        step()
        measured.seconds.append(time.perf_counter() - start)


async def _aburst(measured: Measured, step: Step) -> None:
    for _ in range(BURST):
        start = time.perf_counter()
        await step()
        measured.seconds.append(time.perf_counter() - start)
