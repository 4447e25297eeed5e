"""One call of an SQLite store: how long it may wait, and the turns that it waits for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from sessionstore._runtime.interrupts import Deferred
from sessionstore.deadline import deadline_after
from sessionstore.errors import StoreBusyError, StoreTimeoutError, StoreUnavailableError
from sessionstore.sqlite.errors import BUSY

__all__ = ["Call", "GivenUpError", "Slots"]

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
        queued: It waits for a thread.
        thread: Which thread carries it out.
        over: It has ended; what it still holds was left behind.
    """

    __slots__ = (
        "_began",
        "_outer",
        "_path",
        "_seconds",
        "_tries",
        "_waker",
        "given_up",
        "over",
        "queued",
        "thread",
    )

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = min(seconds, _LONGEST)
        self._outer = deadline_after(None)
        self._began = time.monotonic()
        self._tries = 0
        self._waker: Lock | None = None
        self.given_up: bool = False
        self.queued: bool = False
        self.thread: int = 0
        self.over: bool = False

    def restart(self) -> None:
        """Count the timeout from now on: for each batch of a call that is done in batches."""
        self._began = time.monotonic()
        self._tries = 0

    def give_up(self) -> None:
        """Let it end without effect, unless its commit has begun. Takes no lock."""
        self.given_up = True

    def left(self) -> float:
        """Give how many seconds it may still wait."""
        end = self._began + self._seconds
        if self._outer is not None:
            end = min(end, self._outer)
        return max(0.0, end - time.monotonic())

    def pause(self) -> None:
        """Wait a little, longer each time, before something is tried again.

        Raises:
            StoreBusyError: The time is up.
        """
        time.sleep(min(self._still_left(), _PAUSES[min(self._tries, len(_PAUSES) - 1)]))
        self._tries += 1

    def rest(self) -> None:
        """Wait until it is woken, but not for long.

        Raises:
            StoreBusyError: The time is up.
        """
        if self._waker is None:
            self._waker = Lock()
            self._waker.acquire()
        self._waker.acquire(timeout=min(self._still_left(), _SLICE))

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

    def _still_left(self) -> float:
        if self.given_up:
            raise GivenUpError
        left = self.left()
        if not left:
            raise self.busy()
        return left


class Slots:
    """So many calls at once are let in; the others wait, in the order in which they came.

    A lock that is taken, and noted as taken in a next step, stays held when a Ctrl-C comes between
    the two. Here one step of a dictionary takes a place and notes whose it is, so that `leave` sets
    free what a call holds, wherever it was broken off, and may be called twice.

    Args:
        limit: How many at once.

    Attributes:
        inside: Who is in, by place.
    """

    def __init__(self, limit: int) -> None:
        self._places = range(limit)
        self._waiting: deque[Call] = deque()
        self.inside: dict[int, Call] = {}

    def enter(self, call: Call, *, waited: bool = False) -> bool:
        """Take a place; tell whether there was one, and nobody who waits for it already.

        Args:
            call: Who.
            waited: Nobody has waited for longer than this call.
        """
        if self._waiting and not waited:
            return False
        inside = self.inside
        for place in self._places:
            if place not in inside and inside.setdefault(place, call) is call:
                return True
        return False

    def wait(self, call: Call, require_open: Callable[[], None]) -> None:
        """Wait for a place, and take it.

        Args:
            call: Who.
            require_open: Asked again and again; ends the wait by raising.

        Raises:
            StoreBusyError: There was none within the call's time.
        """
        with Deferred(call.give_up):
            self._waiting.append(call)
            try:
                while self._waiting[0] is not call or not self.enter(call, waited=True):
                    require_open()
                    call.rest()
            finally:
                self._waiting.remove(call)
                self._wake_the_next()

    def leave(self, call: Call) -> None:
        """Set free what a call holds, if anything, and let the next one in."""
        inside = self.inside
        for place, holder in list(inside.items()):
            if holder is call:
                inside.pop(place, None)
                if self._waiting:
                    self._wake_the_next()

    def _wake_the_next(self) -> None:
        with suppress(IndexError):
            self._waiting[0].wake()
