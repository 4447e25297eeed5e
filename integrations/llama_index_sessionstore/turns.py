"""`Turns`: one caller at a time works off the queue of a session.

LlamaIndex's `Memory` reads the active messages, decides without a pause which of them to archive,
archives "the n oldest", hands its memory blocks what it has *read*, and may go on so for several
rounds. Where two do that at once, some messages are handed out twice and some never. So a caller
who reads the whole queue has a turn. It ends at once where no archiving follows; else when the list
that was read is released, which is when `Memory` is done with it, and at the latest with the task.

Who has added messages just before, as a `Memory` that is put into has, waits for such a turn to
end. Who only reads does not: they read beside it, and wait only should they archive then.

A memory block may use the memory that calls it: tasks that a caller starts take turns among
themselves, within the caller's.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from threading import RLock
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage

from llama_index_sessionstore.marks import Mark
from sessionstore.integration import at_fork

__all__ = ["Queue", "Turn", "Turns"]

_mine: ContextVar[Mapping[Any, Turn]] = ContextVar("turns", default={})  # noqa: B039 - never changed
_added: ContextVar[tuple[Turns, str, int] | None] = ContextVar("added", default=None)


class Queue(list[ChatMessage]):
    """The active messages of a session, as they were read. While it is kept, a turn may last."""

    __slots__ = ("__weakref__",)


class Turn:
    """A caller's turn with one session.

    Attributes:
        outer: The turn within which this one is.
        ids: The ids of the messages that were read and that this caller has not archived yet.
        mark: How far the session was archived when they were read.
        over: The turn has ended.
        lasts: Archiving has begun.
        beside: What was read was read while another's turn lasted: theirs is not over yet.
        until: When it ends for those who wait, whatever the caller does.
    """

    def __init__(self, turns: Turns, outer: Turn | None) -> None:
        self.outer = outer
        self.ids: list[str] = []
        self.mark: Mark = Mark()
        self.over: bool = False
        self.lasts: bool = False
        self.beside: bool = False
        self.until: float = 0.0
        self._turns = turns
        self._place: _Place = ""
        self._queue: weakref.ref[Queue] | None = None
        task = asyncio.current_task()
        self._task = weakref.ref(task) if task else None

    def taken(self, place: _Place, *, beside: bool) -> None:
        """Note whose queue this turn is from, or whether it runs beside the queue."""
        self._place, self.beside = place, beside
        self.until = time.monotonic() + self._turns.patience

    def is_callers(self) -> bool:
        """Tell whether this is the caller's own turn, not that of a task which has started them."""
        task = asyncio.current_task()
        return task is not None and self._task is not None and self._task() is task

    def holds(self) -> bool:
        """Tell whether what was read is still to be worked off: even where others have gone on."""
        return not self.over or (self.lasts and self._is_kept())

    def read(self, mark: Mark, ids: Iterable[str], messages: Iterable[ChatMessage]) -> Queue:
        """Give the caller what was read: the turn is theirs until they pause without archiving."""
        self.ids, self.mark = list(ids), mark
        queue = Queue(messages)
        self._queue = weakref.ref(queue)
        asyncio.get_running_loop().call_soon(self._pause)
        return queue

    async def begin(self) -> None:
        """Keep the turn, from the first archiving on, for as long as what was read is kept."""
        self.until = time.monotonic() + self._turns.patience
        queue = self._queue() if self._queue else None
        if queue is not None and not self.lasts:
            self.lasts = True
            self._turns.wake(self._place)
            weakref.finalize(queue, self.end).atexit = False
            task = asyncio.current_task()
            if task is not None:  # an error that is kept keeps what was read
                task.add_done_callback(self._end_with_task)
        while self.beside:
            await self._turns.take(self._place, self)

    def went_on(self) -> None:
        """Note that a step is done; it is the last one if what was read is released already."""
        self.until = time.monotonic() + self._turns.patience
        if not self._is_kept():
            self.end()

    def end(self) -> None:
        """Let the next one in."""
        self._turns.leave(self._place, self)
        with suppress(RuntimeError):  # there is no loop in the thread that released it
            task = self._task() if self._task else None
            if task is not None and task.get_loop() is asyncio.get_running_loop():
                task.remove_done_callback(self._end_with_task)

    def _is_kept(self) -> bool:
        return self._queue is not None and self._queue() is not None

    def _pause(self) -> None:
        if not self.lasts:
            self.end()

    def _end_with_task(self, _: object) -> None:
        self.lasts = False
        self.end()


_Place: TypeAlias = "str | Turn"


class Turns:
    """The turns of the callers of one store, in all threads and event loops of this process.

    Args:
        patience: How many seconds after its last step a turn ends for those who wait, should
            somebody keep what was read for longer.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience: float = patience
        self._start()
        at_fork(in_child=self._start)  # whose callers are its own

    def _start(self) -> None:
        # Reentrant, since the garbage collector may release a list, and so end a turn, in here.
        self._lock = RLock()
        self._held: dict[_Place, Turn] = {}
        self._waiting: dict[_Place, deque[asyncio.Future[None]]] = {}

    def mine(self, session_id: str) -> Turn | None:
        """Give the turn that the caller has, or that the one on whose behalf they act has."""
        turn = self._last(session_id)
        while turn is not None and turn.over:
            turn = turn.outer
        return turn

    def read_by_caller(self, session_id: str) -> Turn | None:
        """Give the turn in which the caller has read what they are to archive now."""
        turn = self._last(session_id)
        return turn if turn is not None and turn.is_callers() and turn.holds() else None

    def added(self, session_id: str) -> None:
        """Note that the caller has added messages: they may read to archive, whoever waits."""
        _added.set(self._by_caller(session_id))

    async def enter(self, session_id: str) -> Turn:
        """Wait for the caller's turn; one that they have ends, since they read again.

        Who has not added messages since they read last does not wait for one that lasts.
        """
        reads = _added.get() != self._by_caller(session_id)
        _added.set(None)
        turn = None
        while turn is None:
            outer = self.mine(session_id)
            if outer is not None and outer.is_callers():
                outer.end()
                continue
            turn = await self.take(outer or session_id, Turn(self, outer), reads=reads)
        others = {key: t for key, t in _mine.get().items() if not t.over}
        _mine.set({**others, (self, session_id): turn})
        return turn

    def leave(self, place: _Place, turn: Turn) -> None:
        """End a turn, and wake those who wait: the first of them to come gets the next one."""
        with self._lock:
            turn.over = True
            if self._held.get(place) is not turn:
                return
            self._held.pop(place, None)
        self.wake(place)

    def wake(self, place: _Place) -> None:
        """Wake those who wait, to look again."""
        with self._lock:
            waiting = self._waiting.pop(place, ())
        for waiter in waiting:
            _wake(waiter)

    async def take(self, place: _Place, turn: Turn, *, reads: bool = False) -> Turn | None:
        """Take the turn, or wait until somebody ends theirs.

        Args:
            place: Whose line it is.
            turn: The turn to take.
            reads: It may be beside one that lasts.
        """
        waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.setdefault(place, deque()).append(waiter)
            held = self._held.get(place)  # last: to wait first would miss a turn that ends just now
            if held is None or (reads and held.lasts):
                self._held.setdefault(place, turn)
                turn.taken(place, beside=held is not None)
                self._wait_no_more(place, waiter)
                return turn
        try:
            await asyncio.wait_for(waiter, max(held.until - time.monotonic(), 0.0))
        except asyncio.TimeoutError:
            if held.until <= time.monotonic():
                held.end()
        finally:
            with self._lock:
                self._wait_no_more(place, waiter)
        return None

    def _by_caller(self, session_id: str) -> tuple[Turns, str, int]:
        return self, session_id, id(asyncio.current_task())  # the tasks that it starts add nothing

    def _last(self, session_id: str) -> Turn | None:
        return _mine.get().get((self, session_id))

    def _wait_no_more(self, place: _Place, waiter: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(place)
        if waiting is not None:
            if waiter in waiting:
                waiting.remove(waiter)
            if not waiting:
                self._waiting.pop(place, None)


def _wake(waiter: asyncio.Future[None]) -> None:
    try:
        waiter.get_loop().call_soon_threadsafe(_set, waiter)
    except RuntimeError:  # its loop is closed: it is not waiting any more
        return


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
