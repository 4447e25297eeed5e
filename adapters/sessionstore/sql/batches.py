"""Work that is under way on an event loop at the same moment is done together, in batches."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias

from sessionstore._runtime.settling import ended
from sessionstore.deadline import deadline_after, until
from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.sql.direct import Query
from sessionstore.sql.errors import cause, translated
from sessionstore.sql.requests import Batchable, Work

__all__ = ["Batches"]

_Carry: TypeAlias = Callable[[Work[Any]], Awaitable[Any]]

_FEW = 2  # go each by itself where no more are under way
_AT_ONCE = 3  # batches
_MOST = 32  # works in a batch
_PATIENCE = 0.25  # seconds to wait for a batch; what is left after that goes alone
_LARGE = 0.25  # of a batch: what fills more of it goes alone
_GRACE = 1.0  # seconds in which a batch must end that a cancelled caller waits for
_ALONE: Any = object()


class Batches:
    """The work of one event loop: who comes alone goes alone, and a crowd goes in batches.

    Nothing waits for company. What comes while batches are on their way waits for one of them to
    end; and as none waits for a lock on a session, that is soon. Else it goes alone.
    """

    def __init__(self) -> None:
        self._alone = 0
        self._waiting: deque[_One] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._next: asyncio.Handle | None = None
        self._patience: asyncio.Handle | None = None

    async def carry_out(self, work: Work[Any], carry: _Carry) -> object:
        """Carry out some work once, alone or together with other work.

        Args:
            work: What to do: one that is `Batchable`.
            carry: Carries out some work alone.

        Returns:
            The work's reply.
        """
        batchable = work.batchable
        if batchable and (self._alone >= _FEW or self._batches or self._waiting):
            reply = await self._joined(_One(work, batchable, carry))
            if reply is not _ALONE:
                return reply
        self._alone += 1
        try:
            return await carry(work)
        finally:
            self._alone -= 1

    async def _joined(self, one: _One) -> object:
        if one.size > _LARGE or one.left() < _PATIENCE:
            return _ALONE
        self._waiting.append(one)
        self._look_soon()
        try:
            reply, error = await one.reply
        except asyncio.CancelledError:
            if one.batch is not None:
                await one.batch.left_by_one()
            raise
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame: together they would wait for the gc
        return reply

    def _look_soon(self) -> None:
        """Look at those who wait, when all that is ready to run has run, or a batch has ended."""
        loop = asyncio.get_running_loop()
        if len(self._batches) < _AT_ONCE:
            self._next = self._next or loop.call_soon(self._look, context=Context())
        elif self._patience is None:
            self._patience = loop.call_later(_PATIENCE, self._lose_patience, context=Context())

    def _look(self) -> None:
        self._next = None
        while self._waiting and len(self._batches) < _AT_ONCE:
            group = self._group()
            if len(group) > 1:
                self._begin(group)
            else:
                _leave_alone(group)
        if self._waiting:
            self._look_soon()

    def _group(self) -> list[_One]:
        """Take out the first of those who wait, and all that can be done together with it."""
        group: list[_One] = []
        others: deque[_One] = deque()
        room = _Room()
        for one in self._waiting:
            if not one.reply.done():  # else its caller was cancelled
                (group if room.takes(one) else others).append(one)
        self._waiting = others
        return group

    def _begin(self, group: list[_One]) -> None:
        task = asyncio.get_running_loop().create_task(_carry_out_together(group))
        batch = _Batch(task, len(group))
        for one in group:
            one.batch = batch
        self._batches.add(task)
        task.add_done_callback(partial(self._end, group))

    def _end(self, group: list[_One], task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if not task.cancelled():
            task.exception()  # a Ctrl-C, which the loop has told of
        _leave_alone(group)
        if self._waiting:
            self._look_soon()

    def _lose_patience(self) -> None:
        self._patience = None
        longest = time.monotonic() - _PATIENCE
        _leave_alone([one for one in self._waiting if one.since <= longest])
        self._waiting = deque([one for one in self._waiting if not one.reply.done()])
        if self._waiting:
            self._look_soon()


class _Room:
    """What a batch still has room for."""

    def __init__(self) -> None:
        self._kind: Batchable | None = None
        self._sessions: set[object] = set()
        self._count, self._size = 0, 0.0

    def takes(self, one: _One) -> bool:
        """Tell whether there is room for some work, and note that it has come in."""
        kind = self._kind = self._kind or one.batchable
        if one.batchable is not kind or self._count == _MOST or self._size + one.size > 1:
            return False
        if kind.one_a_session and one.work.session in self._sessions:
            return False
        self._sessions.add(one.work.session)
        self._count, self._size = self._count + 1, self._size + one.size
        return True


class _One:
    """Some work that waits for a batch, and then for its reply.

    Args:
        work: The work.
        carry: Carries out some work alone.

    Attributes:
        batch: What it is in; ``None`` while it waits.
        reply: Its reply, or ``_ALONE``; and the error that it has failed with.
        since: When it came.
    """

    def __init__(self, work: Work[Any], batchable: Batchable, carry: _Carry) -> None:
        self.work, self.batchable, self.carry = work, batchable, carry
        self.size = batchable.size(work.run.values)
        self.since = time.monotonic()
        self.deadline = deadline_after(None)
        self.batch: _Batch | None = None
        self.reply: asyncio.Future[tuple[object, Exception | None]]
        self.reply = asyncio.get_running_loop().create_future()

    def left(self) -> float:
        """Give how many seconds the call still has."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def tell(self, reply: object, error: Exception | None = None) -> None:
        """Give it its reply, or the error that it has failed with, unless it has one."""
        if not self.reply.done():
            self.reply.set_result((reply, error))

    def fail(self, error: Exception) -> None:
        """Tell of a batch that failed: it goes alone where it has the time, and that may help."""
        is_late = isinstance(error, StoreTimeoutError)
        if self.left() > 0 and (is_late or not isinstance(error, SessionStoreError)):
            self.tell(_ALONE)
            return
        self.tell(None, _copied(error))


def _copied(error: Exception) -> SessionStoreError:
    """Make an error of a call's own: each is raised in a task of its own."""
    if not isinstance(error, SessionStoreError):
        own, reason = translated(error), cause(error)
    else:
        own, reason = type(error)(*error.args), error.__cause__
    own.__cause__ = reason
    return own


class _Batch:
    def __init__(self, task: asyncio.Task[None], callers: int) -> None:
        self._task, self._callers = task, callers

    async def left_by_one(self) -> None:
        """Wait until all is settled for a caller that was cancelled: the others still want it."""
        self._callers -= 1
        if self._callers:
            asyncio.get_running_loop().call_later(_GRACE, self._task.cancel)
        else:
            self._task.cancel()
        await ended(self._task)


async def _carry_out_together(group: list[_One]) -> None:
    first = group[0]
    batchable = first.batchable
    deadlines = [one.deadline for one in group if one.deadline is not None]
    try:
        values = batchable.values([one.work.run.values for one in group])
        work: Work[Any] = Work(Query(batchable.statement, values), at_once=True, repeatable=True)
        with until(min(deadlines, default=None)):
            rows = await first.carry(work)
        replies = batchable.replies(rows, len(group))
        for one, reply in zip(group, replies, strict=True):
            one.tell(_ALONE if reply is None else reply)
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        for one in group:
            one.fail(error)


def _leave_alone(some: Iterable[_One]) -> None:
    """Have some work sent alone, as far as it has no reply."""
    for one in some:
        one.tell(_ALONE)
