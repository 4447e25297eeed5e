"""Throughput: 8 threads, or 64 tasks, each in a session of its own or all in one.

A round is a fixed number of turns with the whole history, in sessions that are filled anew for it:
who is quicker has no longer histories to read. Threads and connections live as long as the subject.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import Any

from measure import Loop, Measured, Use, by, interleaved
from subject import AsyncSubject, Subject
from turns import TEXTS, TURN, check, new_name, once, texts

THREADS, TASKS, LENGTH = 8, 64, 100
DISTINCT, SHARED = "turns a second, distinct sessions", "turns a second, one session"
_PATIENCE = 300  # seconds until threads that wait for one that will not come give up
_ROUNDS = {DISTINCT: 3, SHARED: 1}
"""For how many rounds the same sessions serve."""


class _Crowd:
    """All workers of one subject."""

    def __init__(
        self, loop: Loop, pool: ThreadPoolExecutor, subject: Subject, work: str, each: int
    ) -> None:
        self._loop, self._pool, self._subject, self._work = loop, pool, subject, work
        self._workers = TASKS if isinstance(subject, AsyncSubject) else THREADS
        self._each = each
        self._barrier = Barrier(THREADS, timeout=_PATIENCE)
        self._rounds = 0
        self._sessions: list[str] = []
        self.turns = self._workers * self._each

    def fill(self) -> None:
        """Get the sessions of the next round ready."""
        self._rounds = self._rounds % _ROUNDS[self._work] + 1
        if self._rounds > 1:
            return
        count = self._workers if self._work == DISTINCT else 1
        self._sessions = [new_name(self._subject) for _ in range(count)]
        for session in self._sessions:
            self._loop.run(self._subject.fill(session, texts(LENGTH)))

    def round(self) -> Any:
        """Do all turns at once."""
        if isinstance(self._subject, AsyncSubject):
            return self._tasks()
        running = [self._pool.submit(self._thread, n) for n in range(THREADS)]
        wait(running)  # all of them: the next subject needs every thread
        return [one.result() for one in running]

    def _thread(self, n: int) -> None:
        self._barrier.wait()  # so that each thread of the pool, with its connection, takes one part
        for turn in range(self._each):
            self._turn(n, turn)

    async def _tasks(self) -> None:
        await asyncio.gather(*map(self._task, range(TASKS)))

    async def _task(self, n: int) -> None:
        for turn in range(self._each):
            await self._turn(n, turn)

    def _turn(self, n: int, turn: int) -> Any:
        if self._work == DISTINCT:
            before = (self._rounds - 1) * self._each + turn
            return once(self._subject, self._sessions[n], LENGTH + 2 * before, TURN)
        return _crowded(self._subject, self._sessions[0], LENGTH + 2 * self.turns)

    @property
    def added(self) -> int:
        """How many messages the last rounds have appended."""
        return 2 * self.turns * self._rounds

    def lost(self) -> int:
        """Tell how many of these are not there."""
        wanted = LENGTH * len(self._sessions) + self.added
        found = [self._loop.run(self._subject.load(one, None)) for one in self._sessions]
        return wanted - sum(map(len, found))


def _crowded(subject: Subject, session: str, most: int) -> Any:
    """Do a turn where others' messages may come in at any time."""
    if isinstance(subject, AsyncSubject):
        return _acrowded(subject, session, most)
    _check(subject, subject.load(session, None), most)
    subject.append(session, TEXTS)
    return None


async def _acrowded(subject: AsyncSubject, session: str, most: int) -> None:
    _check(subject, await subject.load(session, None), most)
    await subject.append(session, TEXTS)


def _check(subject: Subject, loaded: Sequence[Any], most: int) -> None:
    assert LENGTH <= len(loaded) <= most, f"{subject.name}: {len(loaded)} messages"
    if len(loaded) == LENGTH:
        check(subject, loaded, LENGTH, None)
    else:
        assert subject.text(loaded[-1]) in TEXTS, f"{subject.name}: not the last message"


def crowds(
    loop: Loop,
    subjects: Sequence[Subject],
    work: str,
    colour: str,
    *,
    each: int,
    seconds: float,
    most: int,
    least: int,
) -> list[Measured]:
    """Measure all subjects of one colour; the naive way has one connection, and is left out."""
    pool = ThreadPoolExecutor(THREADS)
    able = [
        one
        for one in subjects
        if isinstance(one, AsyncSubject) == (colour == "async") and one.family != "naive"
    ]
    pairs = [(_Crowd(loop, pool, one, work, each), by(one, work, LENGTH)) for one in able]
    uses = [Use(measured, crowd.round, crowd.fill) for crowd, measured in pairs]
    interleaved(loop, uses, seconds=seconds, most=most, least=least, burst=1)
    for crowd, measured in pairs:
        measured.seconds = [taken / crowd.turns for taken in measured.seconds]
        if measured.seconds and (lost := crowd.lost()):
            assert measured.family not in ("limit", "ours"), f"{measured.name} lost {lost} messages"
            measured.note = f"lost {lost:,} of {crowd.added:,} messages"
    pool.shutdown()
    return [measured for _, measured in pairs]
