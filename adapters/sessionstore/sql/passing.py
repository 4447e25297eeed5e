"""Leaving the gate before a pool with what a call has shown of the database."""

from __future__ import annotations

import asyncio

from sqlalchemy.exc import SQLAlchemyError

from sessionstore._runtime.tickets import Ticket
from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.sql.errors import is_answer, is_timeout, translated
from sessionstore.sql.gate import Gate
from sessionstore.sql.in_time import TooLittleTimeError

__all__ = ["leave_failed"]

_SHOWING = (SQLAlchemyError, OSError, asyncio.TimeoutError, StoreTimeoutError)


def leave_failed(gate: Gate, place: Ticket, began: float | None, error: BaseException) -> None:
    """Leave a gate after a call that failed.

    Args:
        gate: The gate.
        place: What it gave on entering.
        began: When the call began to wait there; ``None`` where it did not wait.
        error: How the call ended.

    Raises:
        StoreConnectionError: The call had too little time left, after a wait here in which nobody
            was answered: that is the database's fault.
    """
    answered = in_time = True
    try:
        if isinstance(error, _SHOWING):
            answered, in_time = is_answer(error), not is_timeout(error)
            if not answered:
                gate.failed(str(translated(error)))
        elif not isinstance(error, SessionStoreError):
            answered = False
    finally:
        gate.leave(place, answered=answered, in_time=in_time)
    if isinstance(error, TooLittleTimeError) and began is not None:
        gate.require_answer(began)
