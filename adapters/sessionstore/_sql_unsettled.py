"""Statements whose answer never came: they are ended before the process is told anything more.

A connection that is given up leaves a statement behind that a server may still carry out: one that
hung and goes on, or one to which a network brings it late. What came after it would be undone. So
the process of the server that had it is remembered, and whatever is asked of that database next
first sees to it that this process is gone: by then the statement has taken effect, or never will.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection

from sessionstore._call_deadline import called_by, deadline_after, remaining

__all__ = ["WHO", "Backend", "Place", "is_settled", "note", "settle"]

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
_PAUSE = "SELECT pg_sleep(0.005)"
_PATIENCE = 5.0
_lock = Lock()
_unsettled: dict[Place, set[Backend]] = {}


class Backend(NamedTuple):
    """A process of the server.

    Attributes:
        pid: Its number.
        began: When it began, in the server's words.
    """

    pid: int
    began: str


def note(place: Place, backend: Backend) -> None:
    """Remember a process that may still carry out what it was sent.

    Args:
        place: Its database.
        backend: The process.
    """
    with _lock:
        _unsettled.setdefault(place, set()).add(backend)


def is_settled(place: Place) -> bool:
    """Tell whether nothing is left to be seen to before a database is asked for more."""
    return place not in _unsettled


def settle(connection: Connection, place: Place) -> None:
    """End the processes that were remembered, and wait until they are gone.

    Args:
        connection: To the same database, in autocommit.
        place: The database.

    Raises:
        StoreTimeoutError: One does not end. It stays remembered.
    """
    for backend in tuple(_unsettled.get(place, ())):
        _end(connection, backend)
        with _lock:
            left: Any = _unsettled.get(place, set())
            left.discard(backend)
            if not left:
                _unsettled.pop(place, None)


def _end(connection: Connection, backend: Backend) -> None:
    deadline = deadline_after(_PATIENCE)
    statement = _END.format(int(backend.pid), backend.began.replace("'", ""))
    called_by(deadline, _end_by, connection, statement)


def _end_by(connection: Connection, statement: str) -> None:
    while connection.exec_driver_sql(statement).scalar():
        remaining(None)
        connection.exec_driver_sql(_PAUSE)
