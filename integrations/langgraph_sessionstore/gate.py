"""`Gate`: who waits for a saver that serves one at a time does not wait for its timeout again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from langgraph.checkpoint.base import BaseCheckpointSaver

from langgraph_sessionstore.late import LateCalls
from langgraph_sessionstore.outages import is_late
from langgraph_sessionstore.requests import SaverRequest, asend_to, send_to
from sessionstore.integration import at_fork

__all__ = ["Gate", "NotServedError", "met_outage"]

_LOCK = type(Lock())


class NotServedError(Exception):
    """A call waited behind another one, and that one has met an outage: see the cause."""


def met_outage(error: Exception) -> Exception:
    """Give the error that a call has met, or the one before it for which it waited."""
    cause = error.__cause__
    return cause if isinstance(error, NotServedError) and isinstance(cause, Exception) else error


class Gate:
    """Asks a saver.

    LangGraph's savers serve one call at a time: the others wait for a lock. When the primary goes
    away, each of those would wait for its timeout in turn. Here they wait in front of the saver,
    and fail with the one that was before them.

    Args:
        saver: The saver: its lock tells how it serves.
        is_outage: Tells which errors say that it is away.
        timeout: How long a call may take, in seconds; ``None`` for as long as it likes.
    """

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        is_outage: Callable[[Exception], bool],
        timeout: float | None,
    ) -> None:
        lock = getattr(saver, "lock", None)
        self._is_serial = isinstance(lock, _LOCK)
        self._is_serial_async = isinstance(lock, asyncio.Lock)
        self._is_outage = is_outage
        self.timeout: float | None = timeout
        self._late_calls = LateCalls()
        self._lock = Lock()
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )
        self._failures = 0
        self._late = 0
        at_fork(in_child=self.renew)
        self._error: Exception | None = None

    def is_away(self, error: Exception) -> bool:
        """Tell whether an error says that the saver is away."""
        return isinstance(error, NotServedError) or self._is_outage(error)

    def send(
        self, saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None
    ) -> Any:
        """Carry out a request."""
        self._late_calls.require_none_before(request)
        if not self._is_serial:
            return self._send(saver, request, timeout)
        seen = self._failures
        with self._lock:
            self._require_served(seen)
            try:
                reply = self._send(saver, request, timeout)
            except Exception as error:
                self._note(error)
                raise
            self._late = 0
            return reply

    async def asend(
        self, saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None
    ) -> Any:
        """Async twin of `send`."""
        self._late_calls.require_none_before(request)
        if not self._is_serial_async:
            return await self._asend(saver, request, timeout)
        seen = self._failures
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            self._require_served(seen)
            try:
                reply = await self._asend(saver, request, timeout)
            except Exception as error:
                self._note(error)
                raise
            self._late = 0
            return reply

    def _send(
        self, saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None
    ) -> Any:
        try:
            return send_to(saver, request, timeout)
        except BaseException as error:
            self._late_calls.note(request, error)
            raise

    async def _asend(
        self, saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None
    ) -> Any:
        try:
            return await asend_to(saver, request, timeout)
        except BaseException as error:
            self._late_calls.note(request, error)
            raise

    def renew(self) -> None:
        """Have nobody wait: in a forked child."""
        self._lock = Lock()
        self._late_calls = LateCalls()

    def _require_served(self, seen: int) -> None:
        if self._failures != seen:
            raise NotServedError("the call before this one has met an outage") from self._error

    def _note(self, error: Exception) -> None:
        if not self._is_outage(error):
            return
        self._late = self._late + 1 if is_late(error) else 0
        if self._late != 1:  # one that is late may be so by itself
            self._error = error
            self._failures += 1
