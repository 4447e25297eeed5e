"""Some work is tried again where that is safe, and its last error is one of a store's."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from sessionstore._runtime.interrupts import interrupt_behind
from sessionstore.deadline import deadline_after
from sessionstore.sql.errors import (
    cause,
    is_disconnect,
    is_read_only,
    is_safe_to_repeat,
    translated,
)
from sessionstore.sql.in_time import TooLittleTimeError
from sessionstore.sql.requests import Work

__all__ = ["ainsist", "insist"]

_TRIES = 10  # with their pauses they take about a second
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25  # seconds
_FAILURES = (SQLAlchemyError, OSError, asyncio.TimeoutError, TooLittleTimeError)


def insist(once: Callable[[Work[Any]], Any], work: Work[Any]) -> Any:
    """Carry out some work, and try again where it took no effect and may do better now.

    Args:
        once: Carries it out, once.
        work: What to do.

    Returns:
        The work's reply.

    Raises:
        SessionStoreError: What the driver's error amounts to, with that as its cause.
    """
    tries, handled = None, sys.exc_info()[1]
    while True:
        try:
            return once(work)
        except _FAILURES as error:
            tries = tries or _Tries(handled)
            tries.note(error)
        if pause := tries.pause():  # out here, as its error would have SQLAlchemy's behind it
            time.sleep(pause)


async def ainsist(once: Callable[[Work[Any]], Awaitable[Any]], work: Work[Any]) -> Any:
    """Async twin of `insist`."""
    tries, handled = None, sys.exc_info()[1]
    while True:
        try:
            return await once(work)
        except _FAILURES as error:
            tries = tries or _Tries(handled)
            tries.note(error)
        if pause := tries.pause():
            await asyncio.sleep(pause)


class _Tries:
    """How some work has failed so far, and whether it may be tried again.

    Args:
        handled: What the caller was handling before: none of its errors.
    """

    def __init__(self, handled: BaseException | None) -> None:
        self._handled = handled
        self._number = 0
        self._reconnected = False
        self._pause = 0.0
        self._failure: Exception | None = None

    def note(self, error: Exception) -> None:
        """Note how a try has failed: raises the interrupt that broke it off, if one did."""
        # Else a Ctrl-C that broke the connection off would be taken for a lost one.
        if interrupt := interrupt_behind(error, self._handled):
            raise interrupt from None
        # A lost connection shows here only where the work was undone, or is repeatable; and a
        # server that says that it is read-only may be one that another has replaced.
        reconnects = not self._reconnected and (is_disconnect(error) or is_read_only(error))
        self._reconnected = self._reconnected or reconnects
        self._pause = 0.0 if reconnects else _pause(self._number)
        self._number += 1
        again = reconnects or (self._number < _TRIES and is_safe_to_repeat(error))
        if not again or not _has_time(self._pause):
            self._failure = translated(error)
            self._failure.__cause__ = cause(error)

    def pause(self) -> float:
        """Give how long to wait before the next try, or raise what is to be told of the last."""
        failure, self._failure = self._failure, None
        if failure is None:
            return self._pause
        try:
            raise failure
        finally:
            del failure  # an error's traceback holds this frame: they would wait for the gc


def _pause(number: int) -> float:
    """Give how long to wait after a conflict: longer each time, and never as long as others do."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2**number))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _has_time(seconds: float) -> bool:
    deadline = deadline_after(None)
    return deadline is None or time.monotonic() + seconds < deadline
