"""Statements whose reply never came: they are ended before anything else is sent to their database.

A connection that is given up leaves a statement behind that a server may still carry out: one that
hung and goes on, or one to which a network brings it late. What came after it would be undone. So
the process of the server that had it is remembered, and whatever is asked of that database next
first sees to it that this process is gone: by then the statement has taken effect, or never will.
"""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sessionstore._runtime.fork_locks import fork_safe_rlock
from sessionstore.deadline import called_by, deadline_after, remaining

__all__ = ["UNSETTLED", "WHO", "Backend", "Place", "note", "settle"]

Place: TypeAlias = tuple[str, ...]
"""What a database is known by in this process: its address, its name, the user."""

WHO = (
    "SELECT pid, CAST(extract(epoch FROM backend_start) AS text)"
    " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
"""Gives the columns of `Backend`. A number alone may be another's on another server, or later."""
_END = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = {}"
    " AND CAST(extract(epoch FROM backend_start) AS text) = '{}'"
)
_IS_THERE = _END.replace("pg_terminate_backend(pid)", "*")
_PAUSE = "SELECT pg_sleep(0.005)"
_PATIENCE = 5.0
_OWN_END = 3.0  # seconds in which one that can't be ended ends by itself, or is forgotten
_FORBIDDEN = "42501"
_NOT_ENDED = (
    "the database lets its user call no pg_terminate_backend: what a lost connection had sent may "
    "take effect late. Grant EXECUTE on it"
)
_logger = logging.getLogger("sessionstore")
_warned: set[Place] = set()
# The collector may come in while it is held, and end a statement that was left under way.
_lock = fork_safe_rlock()
_waited_until: dict[Backend, float] = {}


class Backend(NamedTuple):
    """A process of the server.

    Attributes:
        pid: Its number.
        began: When it began, in the server's words.
    """

    pid: int
    began: str


UNSETTLED: dict[Place, set[Backend]] = {}
"""What is left to be seen to, by database: before that is asked for more."""


def note(place: Place, backend: Backend) -> None:
    """Remember a process that may still carry out what it was sent.

    Args:
        place: Its database.
        backend: The process.
    """
    with _lock:
        UNSETTLED.setdefault(place, set()).add(backend)


def settle(connection: Connection, place: Place) -> None:
    """End the processes that were remembered, and wait until they are gone.

    Where the database does not let its user end them, their own end is waited for, no longer than
    such a statement may take, as is whether they can be seen at all.

    Args:
        connection: To the same database, in autocommit.
        place: The database.

    Raises:
        StoreTimeoutError: One does not end. It stays remembered.
    """
    for backend in list(UNSETTLED.get(place, ())):
        called_by(deadline_after(_PATIENCE), _end, connection, place, backend)
        with _lock:
            left: Any = UNSETTLED.get(place, set())
            left.discard(backend)
            if not left:
                UNSETTLED.pop(place, None)


def _end(connection: Connection, place: Place, backend: Backend) -> None:
    try:
        while _counted(connection, _END, backend):
            _pause(connection)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _FORBIDDEN:
            raise
        connection.rollback()
        _await_end(connection, place, backend)


def _await_end(connection: Connection, place: Place, backend: Backend) -> None:
    if place not in _warned:
        _warned.add(place)
        _logger.warning(_NOT_ENDED)
    until = _waited_until.setdefault(backend, time.monotonic() + _OWN_END)
    while _counted(connection, _IS_THERE, backend) and time.monotonic() < until:
        _pause(connection)
    _waited_until.pop(backend, None)


def _counted(connection: Connection, statement: str, backend: Backend) -> int:
    named = statement.format(int(backend.pid), backend.began.replace("'", ""))
    return int(connection.exec_driver_sql(named).scalar() or 0)


def _pause(connection: Connection) -> None:
    remaining(None)
    connection.exec_driver_sql(_PAUSE)
