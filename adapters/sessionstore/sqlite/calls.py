"""One call of an SQLite store: how long it may wait, and how it ends when its caller gives up."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from sessionstore._runtime.call_deadline import deadline_after
from sessionstore.errors import StoreBusyError, StoreTimeoutError, StoreUnavailableError
from sessionstore.sqlite.errors import BUSY

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

__all__ = ["Call", "GivenUpError", "outcome", "settle"]

T = TypeVar("T")

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
    """

    __slots__ = (
        "_deadline",
        "_outer",
        "_path",
        "_seconds",
        "_tries",
        "_waker",
        "given_up",
        "queued",
        "thread",
    )

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = min(seconds, _LONGEST)
        self._outer = deadline_after(None)
        self._waker: Lock | None = None
        self.given_up: bool = False
        self.queued: bool = False
        self.thread: int = 0
        self.restart()

    def restart(self) -> None:
        """Count the timeout from now on: for each batch of a call that is done in batches."""
        own = time.monotonic() + self._seconds
        self._deadline = own if self._outer is None else min(own, self._outer)
        self._tries = 0

    def give_up(self) -> None:
        """Let it end without effect, unless its commit has begun. Takes no lock."""
        self.given_up = True

    def require_wanted(self) -> None:
        """Raise `GivenUpError` once the caller has given up."""
        if self.given_up:
            raise GivenUpError

    def left(self) -> float:
        """Give how many seconds it may still wait."""
        return max(0.0, self._deadline - time.monotonic())

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
        self.require_wanted()
        left = self.left()
        if not left:
            raise self.busy()
        return left


def settle(call: Call, future: Future[T]) -> None:
    """Let a call that a thread carries out never begin, or else wait for its end."""
    call.give_up()
    if not future.cancel():
        future.exception()  # waits


async def outcome(call: Call, future: Future[T]) -> T:
    """Wait for a call that a thread carries out, and settle it when the waiting is broken off.

    A call that still waits for its thread, its turn or a lock then never begins; one that is
    committing is waited for. So the outcome is settled when the caller goes on.

    Args:
        call: The call.
        future: What `Lane.start` gave.

    Returns:
        What the call gives.

    Raises:
        StoreUnavailableError: No thread was free in time.
    """
    import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

    from sessionstore._runtime.settling import ended  # noqa: PLC0415 - as asyncio

    loop = asyncio.get_running_loop()
    # Where a thread is free, none has to look whether it comes in time.
    timer = loop.call_later(call.left(), future.cancel) if call.queued else None
    try:
        await _end_of(future, loop)
    except asyncio.CancelledError:
        call.give_up()
        if not future.cancel():
            await ended(_end_of(future, loop))
        raise
    except GeneratorExit:  # the loop is gone: nothing can be awaited
        settle(call, future)
        raise
    finally:
        if timer:
            timer.cancel()
    if future.cancelled():
        raise call.too_late()
    return future.result()


def _end_of(future: Future[Any], loop: AbstractEventLoop) -> asyncio.Future[None]:
    over: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(end)

    future.add_done_callback(tell)
    return over
