"""Async calls whose time is up before a thread has begun with them are ended."""

from __future__ import annotations

import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

from sessionstore.sqlite.jobs import Job

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop

__all__ = ["watch_of"]

_SLICE = 0.02  # seconds: how late a call is told, where many are


class Watch:
    """Ends the calls of one event loop in time, with one timer for all of them.

    It outlives them: a caller who comes when it runs still needs no other.

    Args:
        loop: The event loop.

    Attributes:
        loop: As given.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop: weakref.ref[AbstractEventLoop] = weakref.ref(loop)
        self._calls: dict[Job[Any], asyncio.Future[None]] = {}
        self._due = math.inf

    def add(self, job: Job[Any], over: asyncio.Future[None]) -> None:
        """End a call when its time is up.

        Args:
            job: The call's.
            over: Done then, with the job claimed, unless somebody else has claimed it.
        """
        self._calls[job] = over
        if job.call.deadline < self._due:
            self._set(over.get_loop(), job.call.deadline, job.call.left())

    def discard(self, job: Job[Any]) -> None:
        """Watch a call no more."""
        self._calls.pop(job, None)

    def _set(self, loop: AbstractEventLoop, due: float, seconds: float) -> None:
        loop.call_later(seconds, self._look, loop, due)
        self._due = due

    def _look(self, loop: AbstractEventLoop, due: float) -> None:
        if due != self._due:
            return  # another timer came before this one
        self._due = math.inf
        try:
            for job, over in dict(self._calls).items():
                if not job.call.left() and job.claim(job) and not over.done():
                    over.set_result(None)
                if job.over or job.is_held(job):
                    self.discard(job)
        finally:  # one that somebody is at may be put back
            left = [job.call for job in self._calls]
            if left:
                call = min(left, key=lambda call: call.deadline)
                self._set(loop, call.deadline, max(call.left(), _SLICE))


_here = threading.local()


def watch_of(loop: AbstractEventLoop) -> Watch:
    """Give the watch of the running loop.

    Args:
        loop: The loop that runs in this thread.
    """
    watch: Watch | None = getattr(_here, "watch", None)
    if watch is None or watch.loop() is not loop:
        watch = _here.watch = Watch(loop)
    return watch
