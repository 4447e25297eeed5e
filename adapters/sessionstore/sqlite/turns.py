"""The turns that calls wait for: in order, and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sessionstore._runtime.interrupts import Deferred
from sessionstore.errors import SessionStoreError
from sessionstore.sqlite.calls import Call, GivenUpError
from sessionstore.sqlite.jobs import Job

__all__ = ["Slots"]


class Slots:
    """So many calls at once are let in; the others wait, in the order in which they came.

    A lock that is taken, and noted as taken in a next step, stays held when a Ctrl-C comes between
    the two. Here one step of a dictionary takes a place and notes whose it is, so that `leave` sets
    free what a call holds, wherever it was broken off, and may be called twice.

    Args:
        limit: How many at once.

    Attributes:
        inside: Who is in, by place.
        offers: What those who wait would do, by call, where whoever is in may do it for them.
    """

    def __init__(self, limit: int) -> None:
        self._places = range(limit)
        self._waiting: deque[Call] = deque()
        self.inside: dict[int, Call] = {}
        self.offers: dict[Call, Job[Any]] = {}

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

    def wait(
        self, call: Call, require_open: Callable[[], None], job: Job[Any] | None = None
    ) -> None:
        """Wait for a place, and take it, or until another call has carried out the job.

        Args:
            call: Who.
            require_open: Asked again and again; ends the wait by raising.
            job: What may be carried out by whoever is in.

        Raises:
            StoreBusyError: There was none within the call's time.
        """
        with Deferred(call.give_up):
            call.make_ready_to_rest()
            self._waiting.append(call)
            try:
                if job:
                    self.offers[call] = job
                while not (job and job.over) and not self._is_let_in(call):
                    _rest(call, require_open, job)
            finally:
                self.forget(call)
                self._wake_the_next()

    def forget(self, call: Call) -> None:
        """Let nobody wait for a call any more that waits itself, once or twice."""
        self.offers.pop(call, None)
        with suppress(ValueError):
            self._waiting.remove(call)

    def leave(self, call: Call) -> None:
        """Set free what a call holds, if anything, and let the next one in."""
        inside = self.inside
        for place, holder in dict(inside).items():
            if holder is call:
                inside.pop(place, None)
                if self._waiting:
                    self._wake_the_next()

    def _is_let_in(self, call: Call) -> bool:
        with suppress(IndexError):  # its job is done, just now
            return self._waiting[0] is call and self.enter(call, waited=True)
        return False

    def _wake_the_next(self) -> None:
        with suppress(IndexError):
            self._waiting[0].wake()


def _rest(call: Call, require_open: Callable[[], None], job: Job[Any] | None) -> None:
    try:
        require_open()
        call.rest()
    except BaseException as error:
        if job is None:
            raise
        # Whoever has begun with it is waited for: as for a commit of one's own.
        while not job.over and not job.claim(job):
            call.doze()
        if not (job.over and isinstance(error, (SessionStoreError, GivenUpError))):
            raise
