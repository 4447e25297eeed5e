"""Opening a connection within the time of a call, whatever the driver and the network do."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from sessionstore.errors import StoreTimeoutError

__all__ = ["TOO_LATE", "TooLittleTimeError", "in_time", "left"]

T = TypeVar("T")

TOO_LATE = "connection timeout expired"
"""In libpq's words."""


class TooLittleTimeError(StoreTimeoutError):
    """A call had too little of its time left to open a connection in: nobody is to blame."""


def left(end: float | None) -> float | None:
    """Give how many seconds are left until a time of `time.monotonic`, and never less than 0."""
    return None if end is None else max(0.0, end - time.monotonic())


def in_time(opening: Callable[[], T], end: float | None, too_late: Callable[[str], Exception]) -> T:
    """Open a connection; a driver that takes too long is left to itself, in a thread.

    It counts its own timeout for each host in full seconds, and for the look-up of a name not at
    all.

    Args:
        opening: What opens it.
        end: When it must be there, of `time.monotonic`; ``None`` for whenever it is.
        too_late: What makes the error to raise when it is not, of its words.

    Returns:
        The connection.

    Raises:
        Exception: What opening it raises, or what ``too_late`` makes.
    """
    if end is None:
        return opening()
    attempt: concurrent.futures.Future[T] = concurrent.futures.Future()
    Thread(target=_open, args=(opening, attempt), daemon=True).start()
    try:
        return attempt.result(left(end))
    except concurrent.futures.TimeoutError:
        if attempt.cancel():
            raise too_late(TOO_LATE) from None
        return attempt.result()
    except BaseException:  # interrupted, perhaps with the connection there already
        if not attempt.cancel() and attempt.exception() is None:
            _close(attempt.result())
        raise
    finally:
        del attempt  # an error's traceback holds this frame


def _open(opening: Callable[[], T], attempt: concurrent.futures.Future[T]) -> None:
    try:
        made = opening()
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        _tell(partial(attempt.set_exception, error))
        return
    if not _tell(partial(attempt.set_result, made)):
        _close(made)


def _close(made: Any) -> None:
    made.close()


def _tell(telling: Callable[[], None]) -> bool:
    try:
        telling()
    except concurrent.futures.InvalidStateError:  # nobody waits any more
        return False
    return True
