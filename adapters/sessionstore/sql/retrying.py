"""Some work is tried again where that is safe, and its last error is one of a store's."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError

from sessionstore._runtime.call_deadline import deadline_after
from sessionstore._runtime.interrupts import interrupt_behind
from sessionstore.sql.errors import (
    cause,
    is_disconnect,
    is_read_only,
    is_safe_to_repeat,
    translated,
)
from sessionstore.sql.requests import Pause, SqlFlow, Work

__all__ = ["retried"]

T = TypeVar("T")

_TRIES = 10  # with their pauses they take about a second
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25  # seconds


def retried(work: Work[T]) -> SqlFlow[T]:
    """Carry out some work, and try again where it took no effect and may do better now.

    Args:
        work: What to do.

    Returns:
        The work's reply.

    Raises:
        SessionStoreError: What the driver's error amounts to, with that as its cause.
    """
    reconnected, handled = False, sys.exc_info()[1]
    for number in range(_TRIES):
        try:
            return cast("T", (yield work))
        except (SQLAlchemyError, OSError, asyncio.TimeoutError) as error:
            # Else a Ctrl-C that broke the connection off would be taken for a lost one.
            if interrupt := interrupt_behind(error, handled):
                raise interrupt from None
            # A lost connection shows here only where the work was undone, or is repeatable; and a
            # server that says that it is read-only may be one that another has replaced.
            reconnects = not reconnected and (is_disconnect(error) or is_read_only(error))
            reconnected = reconnected or reconnects
            pause = 0.0 if reconnects else _pause(number)
            again = reconnects or (number + 1 < _TRIES and is_safe_to_repeat(error))
            failure = not again or not _has_time(pause)
            told, driver = translated(error), cause(error)
        if failure:  # out here, as the error would have SQLAlchemy's, which holds parameters
            raise told from driver
        if pause:
            yield Pause(pause)
    raise AssertionError  # the last try returns or raises


def _pause(number: int) -> float:
    """Give how long to wait after a conflict: longer each time, and never as long as others do."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2**number))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _has_time(seconds: float) -> bool:
    deadline = deadline_after(None)
    return deadline is None or time.monotonic() + seconds < deadline
