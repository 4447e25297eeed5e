"""One call on an SQLite file: when it must be over, and whether its caller still waits for it."""

from __future__ import annotations

import asyncio
import random
import time
from threading import Lock, RLock

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.util import await_only

from sessionstore.errors import StoreBusyError

__all__ = ["SLICE", "Call", "CallCancelledError", "is_busy"]

SLICE = 0.05
"""Seconds: no wait is longer without a look at whether the call is still wanted."""
_BUSY = "other writers held the SQLite file for longer than the timeout"


class CallCancelledError(Exception):
    """Nobody waits for the call any more: what it did is undone. It reaches no caller."""


class Call:
    """What a call and the thread or task that does its work tell each other.

    Args:
        deadline: The time, of `time.monotonic`, by which it must be over; ``None`` for never.
        on_loop: It waits on an event loop, in a greenlet of SQLAlchemy's.
    """

    def __init__(self, deadline: float | None, *, on_loop: bool = False) -> None:
        self.deadline = deadline
        self._on_loop = on_loop
        self._is_cancelled = False
        self._claim = Lock()

    def claim(self) -> bool:
        """Tell whether the caller may begin it, or give it up: only the first one may."""
        return self._claim.acquire(blocking=False)

    def cancel(self) -> None:
        """Let it end soon: it takes effect only if it is being committed already."""
        self._is_cancelled = True

    def require_wanted(self) -> None:
        """Go on only if the caller still waits.

        Raises:
            CallCancelledError: It does not.
        """
        if self._is_cancelled:
            raise CallCancelledError

    def wait_for(self, turn: RLock) -> None:
        """Take a turn as soon as it is free.

        Raises:
            StoreBusyError: Others had it for too long.
            CallCancelledError: The caller does not wait any more.
        """
        while not turn.acquire(timeout=self.slice()):
            if self.is_late():
                raise self.busy()

    def slice(self) -> float:
        """Give how long to wait before the next look at the time.

        Raises:
            CallCancelledError: The caller does not wait any more.
        """
        self.require_wanted()
        left = SLICE if self.deadline is None else self.deadline - time.monotonic()
        return max(0.0, min(left, SLICE))

    def busy(self) -> StoreBusyError:
        """Give what to raise where others were in the way for too long."""
        return StoreBusyError(_BUSY)

    def is_late(self) -> bool:
        """Tell whether its time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def pause(self) -> None:
        """Wait a little for others, unless the time is up.

        Raises:
            StoreBusyError: It is.
            CallCancelledError: The caller does not wait any more.
        """
        if self.is_late():
            raise self.busy()
        seconds = min(self.slice(), random.uniform(0.001, 0.01))  # noqa: S311 - nothing secret
        if self._on_loop:
            await_only(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)
        self.require_wanted()


def is_busy(error: Exception) -> bool:
    """Tell whether others stood in the way of what SQLite was to do, so that it did nothing."""
    if isinstance(error, PoolTimeoutError):
        return True
    words = str(error.orig if isinstance(error, DBAPIError) else error)
    return "locked" in words and "locking protocol" not in words
