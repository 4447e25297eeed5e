"""Who may use a connection of a pool now: in turn, in time, and no session more than its share."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from threading import Event, Lock

from sessionstore._call_deadline import deadline_after
from sessionstore.errors import (
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
)

__all__ = ["Gate"]

_SHARES = 3  # how many sessions that are stuck it takes to use a pool up


class Gate:
    """Stands before a pool, so that whoever passes finds a connection there or opens one.

    A pool by itself waits for a time of its own, whatever is left of the call; calls on one
    session that is locked would use it up for everybody; and it can't tell whether the others
    that use it are answered.

    Args:
        size: How many may pass at a time.
        timeout: How long a call waits at most, in seconds.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self._size = size
        self._share = max(1, size // _SHARES)
        self._timeout = timeout
        self._lock = Lock()
        self._in_use = 0
        self._sessions: dict[Hashable, _OfSession] = {}
        self._waiting: deque[_Waiting] = deque()
        self._answered = float("-inf")
        self._failure = ""

    def try_enter(self, session: Hashable | None) -> bool:
        """Pass, if that is possible at once.

        Args:
            session: What the call is about; ``None`` for no one session. Reads and writes of one
                are two: who reads does not wait for a lock.

        Returns:
            Whether it was; then `leave` must follow.
        """
        with self._lock:
            return self._enter(session)

    def enter(self, session: Hashable | None) -> None:
        """Pass as soon as it is possible.

        Args:
            session: As for `try_enter`.

        Raises:
            StoreUnavailableError: It was not, in time.
        """
        granted = Event()
        waiting = self._queued(session, granted.set)
        if waiting is None:
            return
        try:
            granted.wait(waiting.left())
        except BaseException:
            self._withdraw(waiting)
            raise
        self._require_granted(waiting)

    async def aenter(self, session: Hashable | None) -> None:
        """Async twin of `enter`."""
        granted = asyncio.Event()
        waiting = self._queued(session, granted.set)
        if waiting is None:
            return
        try:
            await asyncio.wait_for(granted.wait(), waiting.left())
        except asyncio.TimeoutError:
            pass
        except BaseException:
            self._withdraw(waiting)
            raise
        self._require_granted(waiting)

    def leave(self, session: Hashable | None, *, answered: bool, in_time: bool = True) -> None:
        """Let the next one pass.

        Args:
            session: As it was given on entering.
            answered: The database has answered.
            in_time: It was not for its time that the call ended.
        """
        with self._lock:
            now = time.monotonic()
            if answered:
                self._answered = now
            self._in_use -= 1
            if session is not None:
                mine = self._sessions[session]
                mine.answered = now if answered and in_time else mine.answered
                mine.in_use -= 1
                if not mine.in_use:
                    del self._sessions[session]
            if self._waiting:
                self._grant_next()

    def failed(self, words: str) -> None:
        """Note why the database could not be reached, for those who wait in vain.

        Args:
            words: Nothing that is secret.
        """
        self._failure = words

    def _enter(self, session: Hashable | None) -> bool:
        if self._in_use >= self._size:
            return False
        if session is not None:
            mine = self._sessions.setdefault(session, _OfSession())
            if mine.in_use >= self._share:
                return False
            mine.in_use += 1
        self._in_use += 1
        return True

    def _queued(self, session: Hashable | None, wake: Callable[[], object]) -> _Waiting | None:
        with self._lock:
            if self._enter(session):
                return None
            waiting = _Waiting(session, wake, deadline_after(self._timeout))
            self._waiting.append(waiting)
            return waiting

    def _grant_next(self) -> None:
        for waiting in self._waiting:
            if self._enter(waiting.session):
                self._waiting.remove(waiting)
                waiting.granted = True
                waiting.wake()
                return

    def _withdraw(self, waiting: _Waiting) -> None:
        with self._lock:
            if not waiting.granted:
                self._waiting.remove(waiting)
                return
        self.leave(waiting.session, answered=False)

    def _require_granted(self, waiting: _Waiting) -> None:
        with self._lock:
            if waiting.granted:
                return
            self._waiting.remove(waiting)
            refusal = self._refusal(waiting)
        raise refusal

    def _refusal(self, waiting: _Waiting) -> SessionStoreError:
        mine = self._sessions.get(waiting.session)
        if mine is not None and self._share <= mine.in_use < self._size:
            if mine.answered >= waiting.half():
                return StoreBusyError("too many calls on this session at once: try again")
            return StoreTimeoutError("the calls on this session before this one got no answer")
        if self._answered >= waiting.half():
            return StoreBusyError("all connections of the pool are in use: try again")
        last = f"; the last failure: {self._failure}" if self._failure else ""
        words = "all connections of the pool are in use, and the database answers nobody"
        return StoreConnectionError(words + last)


class _OfSession:
    __slots__ = ("answered", "in_use")

    def __init__(self) -> None:
        self.in_use = 0
        self.answered = float("-inf")


class _Waiting:
    __slots__ = ("_deadline", "granted", "session", "since", "wake")

    def __init__(
        self, session: Hashable | None, wake: Callable[[], object], deadline: float | None
    ) -> None:
        self.session, self.wake, self._deadline = session, wake, deadline
        self.since, self.granted = time.monotonic(), False

    def half(self) -> float:
        """Give the middle of the time that it has waited.

        Who waits when the database falls silent began a moment before: somebody was answered then.
        """
        return (self.since + time.monotonic()) / 2

    def left(self) -> float | None:
        """Give how long it may still wait."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
