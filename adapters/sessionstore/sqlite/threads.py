"""The threads that carry out async calls."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sessionstore.errors import StoreBusyError
from sessionstore.sqlite.calls import Call

__all__ = ["Lane"]

T = TypeVar("T")

_NO_THREAD = "no thread can be started: the process has too many, or is ending"


class Lane:
    """Some threads, and the calls that they are at or that wait for them.

    Args:
        threads: How many at most.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, "sessionstore-sqlite")
        self._calls: set[Call] = set()  # changed in one step each: it needs no lock

    def start(self, call: Call, work: Callable[[], T]) -> Future[T]:
        """Carry out a call as soon as a thread is free; note on it whether it has to wait for one.

        Raises:
            StoreBusyError: None can be started.
        """

        def carry_out() -> T:
            try:
                return work()
            finally:
                self._calls.discard(call)

        self._calls.add(call)
        call.queued = len(self._calls) > self._threads
        try:
            future = self._executor.submit(carry_out)
        except RuntimeError as error:
            call.give_up()  # the executor may have it in its queue all the same
            self._calls.discard(call)
            raise StoreBusyError(_NO_THREAD) from error
        if call.queued:
            future.add_done_callback(lambda _: self._calls.discard(call))
        return future

    def shut(self) -> None:
        """Take no more calls; those that are under way end."""
        self._executor.shutdown(wait=False)
