"""Timing: what compares is measured in turns within one run, so that the machine is the same."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from measured import Measured
from planned import ENOUGH, Plan
from subject import AsyncSubject, Subject

T = TypeVar("T")
BURST = 5
"""How often each subject is used before it is the next one's turn."""
_HOUSE = ("limit", "naive", "ours")


def by(subject: Subject, work: str, size: int) -> Measured:
    """Give a place for what a subject takes."""
    name = subject.name.removesuffix(", asyncio")
    return Measured(work, subject.backend, mode_of(subject), name, subject.family, size)


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


def mode_of(subject: Subject) -> str:
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
        cost: What its last round took with all that is around it, in seconds.
    """

    measured: Measured
    step: Callable[[], Any]
    before: Callable[[], object] = _nothing
    cost: float = 0.0

    @property
    def is_house(self) -> bool:
        """Whether it is a limit or ours."""
        return self.measured.family in _HOUSE


def interleaved(
    loop: Loop,
    uses: Sequence[Use],
    *,
    seconds: float,
    most: int,
    least: int = 3,
    burst: int = BURST,
) -> list[Measured]:
    """Use each in turn, in an order that changes, for about so many seconds.

    The limits and ours take part in every round; a peer in as many as fit into its share of the
    time, spread over all. One round before the first warms up. A peer that fails is left alone from
    then on, and that is noted.

    Args:
        loop: Where coroutines run.
        uses: What to use.
        seconds: For how long.
        most: How many rounds at most.
        least: How many rounds at least, whatever they take; of the limits and ours `ENOUGH`.
        burst: How often each is used in a round.
    """
    shuffle = random.Random(0).shuffle  # noqa: S311 - an order
    gc.collect()
    gc.freeze()  # so that to collect between two subjects looks at what they left, and no more
    live = [use for use in uses if _used(loop, use, burst, 0)]
    for use in live:
        use.measured.seconds.clear()
        use.measured.rounds.clear()
    live = [use for use in live if _used(loop, use, burst, 1)]
    plan = _planned(live, seconds, most, least)
    end = time.perf_counter() + 1.3 * seconds
    for n in range(2, plan.rounds + 1):
        if n > ENOUGH and time.perf_counter() > end:
            break
        shuffle(live)
        live = [use for use in live if not plan.has(id(use), n) or _used(loop, use, burst, n)]
    gc.unfreeze()
    return [use.measured for use in uses]


def _planned(uses: Sequence[Use], seconds: float, most: int, least: int) -> Plan:
    house, guests = (
        {id(use): use.cost for use in uses if use.is_house is own} for own in (True, False)
    )
    return Plan(house, guests, seconds=seconds, most=most, least=least)


def _used(loop: Loop, use: Use, burst: int, number: int) -> bool:
    start = time.perf_counter()
    try:
        use.before()
        gc.collect()
        loop.run(_bursts(use.measured)(use, burst))
    except Exception as error:
        if use.measured.family in _HOUSE:
            raise
        use.measured.note = f"failed: {error or type(error).__name__}".partition("\n")[0][:120]
        return False
    use.measured.rounds[number] = statistics.median(use.measured.seconds[-burst:])
    use.cost = time.perf_counter() - start
    return True


def _bursts(measured: Measured) -> Callable[[Use, int], Any]:
    return _aburst if measured.mode == "async" else _burst


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
