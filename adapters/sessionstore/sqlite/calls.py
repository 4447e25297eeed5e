"""One call of an SQLite store: how long it may wait, and whether it is still wanted."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock

from sessionstore.deadline import deadline_after
from sessionstore.errors import StoreBusyError, StoreTimeoutError, StoreUnavailableError
from sessionstore.sqlite.errors import BUSY

__all__ = ["Call", "GivenUpError"]

_SLICE = 0.02  # seconds: no wait is longer without a look whether the caller has given up
_LONGEST = 2_000_000.0  # seconds: locks take no more
_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.015, _SLICE)


class GivenUpError(BaseException):
    """The caller has given up: nothing is done for it any more.

    Not an `Exception`, so that no flow takes it for a failure of the backend.
    """


class Call:
    """How long a call may wait for others, all its waits together, and whether it is still wanted.

    Args:
        path: The file, as errors name it.
        seconds: The timeout. A deadline of the call that this one is part of is kept to, too.

    Attributes:
        given_up: It ends without effect, unless its commit has begun.
        deadline: When its time is up, of `time.monotonic`.
        thread: Which thread carries it out.
        over: It has ended; what it still holds was left behind.
    """

    __slots__ = (
        "_outer",
        "_path",
        "_seconds",
        "_tries",
        "_waker",
        "deadline",
        "given_up",
        "over",
        "thread",
    )

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = min(seconds, _LONGEST)
        self._outer = deadline_after(None)
        self._tries = 0
        self._waker: Lock | None = None
        self.deadline: float = self._end()
        self.given_up: bool = False
        self.thread: int = 0
        self.over: bool = False

    def restart(self) -> None:
        """Count the timeout from now on: for each batch of a call that is done in batches."""
        self._tries = 0
        self.deadline = self._end()

    def give_up(self) -> None:
        """Let it end without effect, unless its commit has begun. Takes no lock."""
        self.given_up = True

    def left(self) -> float:
        """Give how many seconds it may still wait."""
        return max(0.0, self.deadline - time.monotonic())

    def pause(self) -> None:
        """Wait a little, longer each time, before something is tried again.

        Raises:
            StoreBusyError: The time is up.
        """
        time.sleep(min(self._still_left(), _PAUSES[min(self._tries, len(_PAUSES) - 1)]))
        self._tries += 1

    def make_ready_to_rest(self) -> None:
        """Let it be woken from now on, also before it rests."""
        if self._waker is None:
            waker = Lock()
            waker.acquire()
            self._waker = waker

    def rest(self) -> None:
        """Wait until it is woken, but not for long.

        Raises:
            StoreBusyError: The time is up.
        """
        self.doze(self._still_left())

    def doze(self, seconds: float = _SLICE) -> None:
        """Wait until it is woken, but not for long, and whatever its time."""
        self.make_ready_to_rest()
        if self._waker:
            self._waker.acquire(timeout=min(seconds, _SLICE))

    def wake(self) -> None:
        """End its rest."""
        if self._waker:
            with suppress(RuntimeError):  # it is awake
                self._waker.release()

    def acquire(self, lock: Lock) -> None:
        """Take a lock.

        Raises:
            StoreBusyError: The time is up.
        """
        while not lock.acquire(timeout=min(_SLICE, self.left())):
            self._still_left()

    def busy(self) -> StoreBusyError:
        """Give the error of a call whose time is up."""
        return StoreBusyError(BUSY.format(self._path))

    def too_late(self) -> StoreUnavailableError:
        """Give the error of a call that never began: late by itself, or for that it is part of."""
        if self._outer is not None and self._outer <= time.monotonic():
            return StoreTimeoutError("the call's time is up")
        return self.busy()

    def _end(self) -> float:
        end = time.monotonic() + self._seconds
        return end if self._outer is None else min(end, self._outer)

    def _still_left(self) -> float:
        if self.given_up:
            raise GivenUpError
        left = self.left()
        if not left:
            raise self.busy()
        return left
