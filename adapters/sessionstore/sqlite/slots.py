"""Places that calls take by turns, so that a Ctrl-C between any two steps leaves none held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sessionstore._runtime.interrupts import Deferred
from sessionstore.sqlite.calls import Call

__all__ = ["Slots"]


class Slots:
    """So many calls at once are let in; the others wait, in the order in which they came.

    A lock that is taken, and noted as taken in a next step, stays held when a Ctrl-C comes between
    the two. Here one step of a dictionary takes a place and notes whose it is, so that `leave` sets
    free what a call holds, wherever it was broken off, and may be called twice.

    Args:
        limit: How many at once.
    """

    def __init__(self, limit: int) -> None:
        self._places = range(limit)
        self._inside: dict[int, Call] = {}
        self._waiting: deque[Call] = deque()

    def enter(self, call: Call, require_open: Callable[[], None]) -> None:
        """Take a place, or wait for one.

        Args:
            call: Who.
            require_open: Asked again and again while it waits; ends the wait by raising.

        Raises:
            StoreBusyError: There was none within the call's time.
        """
        if self._waiting or not self._take(call):
            with Deferred(call.give_up):
                self._wait(call, require_open)

    def leave(self, call: Call) -> None:
        """Set free what a call holds, if anything, and let the next one in."""
        inside = self._inside
        for place, holder in list(inside.items()):
            if holder is call:
                inside.pop(place, None)
                if self._waiting:
                    self._wake_the_next()

    def holders(self) -> list[Call]:
        """Give those that are in."""
        return list(self._inside.values())

    def _take(self, call: Call) -> bool:
        inside = self._inside
        for place in self._places:
            if place not in inside and inside.setdefault(place, call) is call:
                return True
        return False

    def _wait(self, call: Call, require_open: Callable[[], None]) -> None:
        self._waiting.append(call)
        try:
            while not (self._waiting[0] is call and self._take(call)):
                require_open()
                call.rest()
        finally:
            self._waiting.remove(call)
            self._wake_the_next()

    def _wake_the_next(self) -> None:
        with suppress(IndexError):
            self._waiting[0].wake()
