"""Work that is under way on an event loop at the same moment is done together, in batches."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

from sessionstore._runtime.settling import ended
from sessionstore.deadline import until
from sessionstore.sql.batch_members import (
    ALONE,
    PATIENCE,
    Carry,
    Member,
    answer,
    chosen,
    joint,
    leave,
    refuse,
)
from sessionstore.sql.batching import Batchable
from sessionstore.sql.requests import Work

__all__ = ["Batches"]

_AT_ONCE = 3  # batches
_GRACE = 1.0  # seconds in which a batch must end that a cancelled caller waits for


class Batches:
    """The work of one event loop: who comes alone goes alone, and a crowd goes in batches.

    Nothing waits for company. What comes while batches are on their way waits for one of them to
    end; and as none waits for a lock on a session, that is soon. Else it goes alone.

    A Ctrl-C may break off any step here, and the loop may go on: so each caller looks after itself
    every now and then, and one that no batch has, or none any more, goes alone.
    """

    def __init__(self) -> None:
        self._waiting: list[Member] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._has_news = False

    def are_busy(self) -> bool:
        """Tell whether some work is in a batch, or waits for one."""
        return bool(self._waiting or self._under_way)

    async def join(self, work: Work[Any], batchable: Batchable, carry: Carry) -> object:
        """Have some work done together with other work.

        Args:
            work: What to do: a `Query`.
            batchable: How.
            carry: Carries out some work alone.

        Returns:
            The work's reply; `ALONE` where it must be carried out alone.
        """
        one = Member(work, batchable, carry)
        if not one.may_join():
            return ALONE
        self._waiting.append(one)
        self._tell_news()
        try:
            while one.told is None:
                await asyncio.wait([one.woken], timeout=PATIENCE)
                if one.batch is None or one.batch.done():
                    one.tell(ALONE)
        except asyncio.CancelledError:
            one.tell(ALONE)
            if one.batch is not None:
                await _left_by_one(one.batch)
            raise
        except BaseException:  # Ctrl-C, and the loop may go on
            if one.batch is not None:
                one.batch.cancel()
            raise
        return one.reply()

    def _tell_news(self) -> None:
        """Have a look taken at those who wait, when all that is ready to run has run."""
        self._has_news = True
        asyncio.get_running_loop().call_soon(self._look, context=Context())

    def _look(self) -> None:
        if not self._has_news:
            return
        self._has_news = False
        self._under_way = {task for task in self._under_way if not task.done()}
        while len(self._under_way) < _AT_ONCE and (group := chosen(self._waiting)):
            if len(group) == 1:
                leave(group)
            else:
                self._begin(group)
        self._waiting = [one for one in self._waiting if one.waits()]

    def _begin(self, group: list[Member]) -> None:
        task = asyncio.get_running_loop().create_task(_carry_out_together(group))
        for one in group:
            one.batch = task
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # a Ctrl-C, which the loop has told of
        if self._waiting:
            self._tell_news()


async def _carry_out_together(group: list[Member]) -> None:
    try:
        work, deadline = joint(group)
        with until(deadline):
            rows = await group[0].carry(work)
        answer(group, rows)
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        refuse(group, error)
    finally:
        leave(group)


async def _left_by_one(batch: asyncio.Task[None]) -> None:
    """Wait until all is settled for a caller that was cancelled: the others still want it."""
    asyncio.get_running_loop().call_later(_GRACE, batch.cancel)
    await ended(batch)
