"""The threads that carry out async calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

from sessionstore._runtime.interrupts import Deferred
from sessionstore.errors import StoreBusyError
from sessionstore.sqlite.jobs import Job, answer

__all__ = ["Lane"]

_NO_THREAD = "no thread can be started: the process has too many, or is ending"
_MOST = 256  # operations that may go along with one


class Lane:
    """Some threads, and the operations that wait for them.

    A thread goes on until none waits: with many at once, there is not a hop for each.

    Args:
        threads: How many at most.
        lead: Carries out an operation that waited, and perhaps others that wait along with it.
    """

    def __init__(self, threads: int, lead: Callable[[Lane, Job[Any]], None]) -> None:
        self._places = range(threads)
        self._lead = lead
        self._executor = ThreadPoolExecutor(threads, "sessionstore-sqlite")
        # Changed in one step each: they need no lock.
        self._jobs: deque[Job[Any]] = deque()
        self._at_work: dict[int, object] = {}

    def start(self, job: Job[Any]) -> None:
        """Carry out an operation as soon as a thread is free.

        Raises:
            StoreBusyError: None can be started.
        """
        job.requeue = self._put_back
        self._jobs.append(job)
        try:
            self._hire()
        except StoreBusyError:
            job.claim(self)
            self._refuse_those_left()
            raise

    def waiting(self) -> list[Job[Any]]:
        """Give those that wait, the oldest first, but not all where they are many."""
        jobs = self._jobs
        with suppress(IndexError, RuntimeError):  # another thread has changed it meanwhile
            while jobs and jobs[0].is_claimed():
                first = jobs.popleft()
                if not first.is_claimed():  # it was not the same one any more
                    self._put_back(first)  # its thread may have ended when it found none
            return [job for job in islice(jobs, _MOST) if job.may_go_along()]
        return []

    def shut(self) -> None:
        """Take no more calls; those that are under way end."""
        self._executor.shutdown(wait=False)

    def _put_back(self, job: Job[Any]) -> None:
        self._jobs.appendleft(job)
        try:
            self._hire()
        except StoreBusyError:
            self._refuse_those_left()

    def _hire(self) -> None:
        """Have one more thread look after those that wait, if there is one more."""
        for place in self._places:
            if place not in self._at_work:
                me = object()
                with Deferred(_go_on):
                    if self._at_work.setdefault(place, me) is me:
                        self._begin(place, me)
                        return

    def _begin(self, place: int, me: object) -> None:
        try:
            self._executor.submit(self._serve, place, me)
        except RuntimeError as error:
            self._at_work.pop(place, None)  # the executor may have it in its queue all the same
            raise StoreBusyError(_NO_THREAD) from error
        except BaseException:
            self._at_work.pop(place, None)
            raise

    def _serve(self, place: int, me: object) -> None:
        while self._at_work.get(place) is me:
            try:
                while self._jobs:
                    self._lead_the_next()
            finally:
                self._at_work.pop(place, None)
            # One may have come in between, when this thread seemed to be at work still.
            if self._jobs:
                self._at_work.setdefault(place, me)

    def _lead_the_next(self) -> None:
        try:
            job = self._jobs.popleft()
        except IndexError:  # another thread took the last one
            return
        if job.claim(object()):
            self._lead(self, job)

    def _refuse_those_left(self) -> None:
        """Answer those that nobody will come to."""
        while self._jobs and not self._at_work:
            with suppress(IndexError):
                job = self._jobs.popleft()
                if job.claim(self):
                    job.error = StoreBusyError(_NO_THREAD)
                    answer([job])


def _go_on() -> None:
    """Hire to the end: it waits for nothing."""
