"""Calls of a saver that are over in time, whether the saver's driver knows a timeout or not."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

__all__ = ["LateError", "acalled_in_time", "called_in_time"]

T = TypeVar("T")
_LATE = "the checkpointer gave no answer within the timeout"


class LateError(TimeoutError):
    """A call gave no answer within the timeout, and may still take effect.

    Args:
        is_over: Tells whether it has come to its end.

    Attributes:
        is_over: Tells whether it has come to its end.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        super().__init__(_LATE)
        self.is_over: Callable[[], bool] = is_over


class _Job:
    """A call that a thread makes for another one."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = copy_context().run, call
        self._over = Lock()
        self._over.acquire()  # released when it is over
        self._is_over = False
        self._result: Any = None
        self._error: BaseException | None = None

    def do(self) -> None:
        """Make the call."""
        run, call = self._call
        try:
            self._result = run(call)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        self._is_over = True
        self._over.release()

    def is_over(self) -> bool:
        """Tell whether it has come to its end."""
        return self._is_over

    def result(self, timeout: float) -> Any:
        """Wait for its end."""
        if not self._is_over_within(timeout):
            raise LateError(self.is_over)
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # its traceback holds this frame

    def _is_over_within(self, timeout: float) -> bool:
        try:
            return self._over.acquire(timeout=timeout)
        except BaseException as error:  # Ctrl-C: what it broke off is settled first, if it can be
            if not self._over.acquire(timeout=timeout):
                error.__cause__ = LateError(self.is_over)
            raise


class _Worker:
    """A thread that makes one call after the other. It never keeps a process from ending."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        Thread(target=self._work, name="langgraph_sessionstore", daemon=True).start()

    def give(self, job: _Job) -> None:
        """Have it make a call."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job.do()
            del job
            if len(_idle) >= _MOST_IDLE:
                return
            _idle.append(self)


def called_in_time(timeout: float, call: Callable[[], T]) -> T:
    """Make a call in another thread, which goes on alone where it is late.

    Ctrl-C waits for its end, too, as long again at most; where it is late then, the interrupt's
    ``__cause__`` is a `LateError`.

    Args:
        timeout: How long to wait for it, in seconds.
        call: The call.

    Returns:
        What it returns.

    Raises:
        TimeoutError: It is late.
    """
    job = _Job(call)
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.give(job)
    result: T = job.result(timeout)
    return result


async def acalled_in_time(timeout: float, call: Coroutine[Any, Any, T]) -> T:
    """Await a call, which is cancelled where it is late: nobody waits for the end of that.

    Who is cancelled waits for its end, as long again at most; where it is late then, the
    cancellation's ``__cause__`` is a `LateError`.

    Args:
        timeout: How long to wait for it, in seconds.
        call: The call.

    Returns:
        What it returns.

    Raises:
        TimeoutError: It is late.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait([task], timeout=timeout)
    except asyncio.CancelledError as error:
        task.cancel()
        await asyncio.wait([task], timeout=timeout)
        if not task.done():
            task.add_done_callback(_forget)
            error.__cause__ = LateError(task.done)
        raise
    if task.done():
        return task.result()
    task.add_done_callback(_forget)
    task.cancel()
    raise LateError(task.done)


def _forget(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody else asks for it


_MOST_IDLE = 32
_idle: deque[_Worker] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # their threads are the parent's
