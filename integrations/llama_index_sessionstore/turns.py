"""`Turns`: one caller at a time works off the queue of a session.

LlamaIndex's `Memory` reads the active messages, decides without a pause which of them to archive,
archives "the n oldest", hands its memory blocks what it has *read*, and may go on so for several
rounds. Where two do that at once, some messages are handed out twice and some never. So a caller
who reads the whole queue has a turn. It ends at once where no archiving follows; else when the list
that was read is let go of, which is when `Memory` is done with it.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from threading import RLock
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

__all__ = ["Queue", "Turn", "Turns"]

_mine: ContextVar[Mapping[Any, Turn]] = ContextVar("turns", default={})  # noqa: B039 - never changed


class Queue(list[ChatMessage]):
    """The active messages of a session, as they were read. While it is kept, a turn may last."""

    __slots__ = ("__weakref__",)


class Turn:
    """A caller's turn with one session.

    Attributes:
        ids: The ids of the messages that were read and that this caller has not archived yet.
        lasts: The caller archives: the turn ends when they let go of what they have read.
        over: The turn has ended.
        until: When it ends for those who wait, whatever the caller does.
    """

    def __init__(self, turns: Turns, session_id: str) -> None:
        self._turns = turns
        self._session_id = session_id
        self.lasts: bool = False
        self.ids: list[str] = []
        self.over: bool = False
        self.until: float = time.monotonic() + turns.patience

    def read(self, ids: Iterable[str], messages: Iterable[ChatMessage]) -> Queue:
        """Give the caller what was read: the turn is theirs until they pause without archiving."""
        self.ids = list(ids)
        queue = Queue(messages)
        self._queue = weakref.ref(queue)
        asyncio.get_running_loop().call_soon(self._pause)
        return queue

    def archiving(self) -> None:
        """Keep the turn for as long as the caller keeps what was read."""
        self.until = time.monotonic() + self._turns.patience
        queue = self._queue()
        if queue is not None and not self.lasts:
            self.lasts = True
            weakref.finalize(queue, self.end).atexit = False

    def archived(self) -> None:
        """End the turn, if the caller has let go of what was read already."""
        if self._queue() is None:
            self.end()

    def end(self) -> None:
        """Let the next one in."""
        self._turns.leave(self._session_id, self)

    def _pause(self) -> None:
        if not self.lasts:
            self.end()


class Turns:
    """The turns of the callers of one store, in all threads and event loops of this process.

    Args:
        patience: How many seconds after its last step a turn ends for those who wait, should
            somebody keep what was read for longer.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience: float = patience
        # Reentrant, since the garbage collector may let go of a list, and so end a turn, in here.
        self._lock = RLock()
        self._held: dict[str, Turn] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def mine(self, session_id: str) -> Turn | None:
        """Give the turn that the caller has, or that the one on whose behalf they act has."""
        turn = _mine.get().get((self, session_id))
        return turn if turn and not turn.over else None

    async def enter(self, session_id: str) -> Turn:
        """Wait for the caller's turn."""
        while True:
            turn = Turn(self, session_id)
            with self._lock:
                held = self._held.get(session_id)
                if held is None:
                    self._held[session_id] = turn
                    break
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.setdefault(session_id, deque()).append(waiter)
            await self._wait(session_id, held, waiter)
        others = {key: t for key, t in _mine.get().items() if not t.over}
        _mine.set({**others, (self, session_id): turn})
        return turn

    async def _wait(self, session_id: str, held: Turn, waiter: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(waiter, max(held.until - time.monotonic(), 0.0))
        except asyncio.TimeoutError:
            if held.until <= time.monotonic():
                held.end()
        finally:
            with self._lock:
                waiting = self._waiting.get(session_id)
                if waiting and waiter in waiting:
                    waiting.remove(waiter)

    def leave(self, session_id: str, turn: Turn) -> None:
        """End a turn, and wake those who wait: the first of them to come gets the next one."""
        with self._lock:
            turn.over = True
            if self._held.get(session_id) is not turn:
                return
            del self._held[session_id]
            waiting = self._waiting.pop(session_id, ())
        for waiter in waiting:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    try:
        waiter.get_loop().call_soon_threadsafe(_set, waiter)
    except RuntimeError:  # its loop is closed: it waits no more
        return


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
