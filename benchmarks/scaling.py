"""Throughput over the number of callers: 1 to 256 tasks, or 1 and 8 threads, each in a session.

A turn reads the last 20 messages and appends two, so that sessions may grow: one serves for all
rounds. A round is about the same number of turns, however many callers share them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any

from measure import Loop, Measured, Use, by, interleaved
from subject import AsyncSubject, Subject
from turns import WINDOWED, new_name, once, texts

SCALING = "turns a second with a window, by callers"
CALLERS = {"sync": (1, 8), "async": (1, 4, 16, 64, 256)}
_LENGTH = 100
_TURNS = 128  # of a round, or one for each caller, if that is more
_PATIENCE = 300  # seconds until threads that wait for one that will not come give up


class _Callers:
    """So many callers of one subject."""

    def __init__(self, loop: Loop, subject: Subject, count: int, pool: ThreadPoolExecutor) -> None:
        self._subject, self._pool = subject, pool
        self._each = max(1, _TURNS // count)
        self._sessions = [new_name(subject) for _ in range(count)]
        self._lengths = [itertools.count(_LENGTH, WINDOWED.adds) for _ in range(count)]
        self._barrier = Barrier(count, timeout=_PATIENCE)
        self.turns = self._each * count
        for session in self._sessions:
            loop.run(subject.fill(session, texts(_LENGTH)))

    def round(self) -> Any:
        """Do all turns at once."""
        callers = range(len(self._sessions))
        if isinstance(self._subject, AsyncSubject):
            return self._tasks(callers)
        return list(self._pool.map(self._thread, callers))

    async def _tasks(self, callers: range) -> None:
        await asyncio.gather(*map(self._task, callers))

    async def _task(self, caller: int) -> None:
        for _ in range(self._each):
            await self._turn(caller)

    def _thread(self, caller: int) -> None:
        self._barrier.wait()  # so that each thread of the pool, with its connection, takes one part
        for _ in range(self._each):
            self._turn(caller)

    def _turn(self, caller: int) -> Any:
        length = next(self._lengths[caller])
        return once(self._subject, self._sessions[caller], length, WINDOWED)


def scaling(
    loop: Loop, subjects: Sequence[Subject], mode: str, *, seconds: float, most: int, least: int
) -> list[Measured]:
    """Measure all that can read a window, sync or async, by all numbers of callers.

    Args:
        loop: Where coroutines run.
        subjects: Whom.
        mode: Which of them: ``"sync"`` or ``"async"``.
        seconds: For how long, all numbers together.
        most: How many rounds at most.
        least: How many rounds at least.
    """
    able = [one for one in subjects if _is_able(one, mode)]
    found = []
    with ExitStack() as stack:
        for count in CALLERS[mode]:
            pool = stack.enter_context(ThreadPoolExecutor(count))
            crowds = [(_Callers(loop, one, count, pool), by(one, SCALING, count)) for one in able]
            uses = [Use(measured, crowd.round) for crowd, measured in crowds]
            share = seconds / len(CALLERS[mode])
            interleaved(loop, uses, seconds=share, most=most, least=least, burst=1)
            for crowd, measured in crowds:
                _per_turn(measured, crowd.turns)
                found.append(measured)
    return found


def _is_able(subject: Subject, mode: str) -> bool:
    is_async = isinstance(subject, AsyncSubject)
    return subject.has_window and subject.family != "naive" and is_async == (mode == "async")


def _per_turn(measured: Measured, turns: int) -> None:
    measured.seconds = [taken / turns for taken in measured.seconds]
    measured.rounds = {number: taken / turns for number, taken in measured.rounds.items()}
