"""Throughput: 8 threads, or 64 tasks, each in a session of its own or all in one.

A round is a fixed number of turns with the whole history, long enough to be timed. A session serves
for a few turns of each worker, and is then replaced by a new one: no history gets much longer than
100 messages, whichever is quicker. The threads, and with them their connections, live through all
rounds of a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain
from threading import Barrier
from typing import Any

from measure import Loop, Measured, Use, by, interleaved
from subject import AsyncSubject, Subject
from turns import TURN, check, new_name, once, said_at, texts

THREADS, TASKS, LENGTH = 8, 64, 100
DISTINCT, SHARED = "turns a second, distinct sessions", "turns a second, one session"
EACH = {
    ("sqlite", "sync"): 5,
    ("sqlite", "async"): 1,
    ("redis", "sync"): 30,
    ("redis", "async"): 5,
    ("postgresql", "sync"): 15,
    ("postgresql", "async"): 2,
}
"""How many turns each worker does in a round, so that the limit takes about a tenth of a second."""
_PATIENCE = 300  # seconds until threads that wait for one that will not come give up


class _Crowd:
    """All workers of one subject."""

    def __init__(
        self, loop: Loop, pool: ThreadPoolExecutor, subject: Subject, work: str, each: int
    ) -> None:
        self._loop, self._pool, self._subject, self._each = loop, pool, subject, each
        tasks = isinstance(subject, AsyncSubject)
        self._workers = TASKS if tasks else THREADS
        self._alone = work == DISTINCT
        self._kept = 1 if tasks and not self._alone else 5  # turns of each worker in a session
        self._groups = max(1, each // self._kept)
        self._barrier = Barrier(THREADS, timeout=_PATIENCE)
        self._before = self._done = 0
        self._sessions: list[list[str]] = []
        self.turns = self._workers * self._each

    def fill(self) -> None:
        """Get the sessions of the next round ready: those there are, or new ones."""
        self._before, self._done = self._done, self._done + self._each
        if self._sessions and self._done <= self._groups * self._kept:
            return
        self._before, self._done = 0, self._each
        width = self._workers if self._alone else 1
        self._sessions = [
            [new_name(self._subject) for _ in range(width)] for _ in range(self._groups)
        ]
        for session in chain.from_iterable(self._sessions):
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
        group, turns = divmod(self._before + turn, self._kept)
        if self._alone:
            return once(self._subject, self._sessions[group][n], LENGTH + 2 * turns, TURN)
        place = LENGTH + 2 * (turns * self._workers + n)
        return _crowded(self._subject, self._sessions[group][0], place)

    def faults(self) -> str:
        """Tell what is wrong with the last sessions, if anything."""
        lost = strange = added = 0
        for group, sessions in enumerate(self._sessions):
            turns = min(self._kept, max(0, self._done - group * self._kept))
            wanted = texts(LENGTH + 2 * turns * (1 if self._alone else self._workers))
            for session in sessions:
                loaded = self._loop.run(self._subject.load(session, None))
                found = [self._subject.text(one) for one in loaded]
                there = set(found) & set(wanted)
                lost += len(wanted) - len(there)
                added += len(wanted) - LENGTH
                strange += len(found) - len(there)
        if strange:
            return f"{strange} messages twice, or never said"
        return f"lost {lost:,} of {added:,} messages" if lost else ""


def _crowded(subject: Subject, session: str, place: int) -> Any:
    """Do a turn where others' messages may come in at any time."""
    if isinstance(subject, AsyncSubject):
        return _acrowded(subject, session, place)
    _check(subject, subject.load(session, None))
    subject.append(session, texts(2, place))
    return None


async def _acrowded(subject: AsyncSubject, session: str, place: int) -> None:
    _check(subject, await subject.load(session, None))
    await subject.append(session, texts(2, place))


def _check(subject: Subject, loaded: Sequence[Any]) -> None:
    """Require what was there at the start, and one of the crowd's messages behind it."""
    if len(loaded) <= LENGTH:
        check(subject, loaded, LENGTH, None)
        return
    first, last = subject.text(loaded[0]), subject.text(loaded[-1])
    assert first == said_at(0), f"{subject.name}: not the first message"
    assert last == said_at(int(last[:6])), f"{subject.name}: not a message of the crowd's"


def crowds(
    loop: Loop,
    subjects: Sequence[Subject],
    work: str,
    mode: str,
    *,
    each: int,
    seconds: float,
    most: int,
    least: int,
) -> list[Measured]:
    """Measure all sync or all async subjects; the naive way has one connection, and is left out."""
    able = [
        one
        for one in subjects
        if isinstance(one, AsyncSubject) == (mode == "async") and one.family != "naive"
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        pairs = [(_Crowd(loop, pool, one, work, each), by(one, work, LENGTH)) for one in able]
        uses = [Use(measured, crowd.round, crowd.fill) for crowd, measured in pairs]
        interleaved(loop, uses, seconds=seconds, most=most, least=least, burst=1)
    for crowd, measured in pairs:
        measured.seconds = [taken / crowd.turns for taken in measured.seconds]
        if measured.seconds and not measured.note:
            measured.note = crowd.faults()
            house = measured.family in ("limit", "ours")
            assert not (house and measured.note), f"{measured.name}: {measured.note}"
    return [measured for _, measured in pairs]
