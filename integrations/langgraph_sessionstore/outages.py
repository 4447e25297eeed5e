"""What tells an outage: the errors by which drivers say that their server is away."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
from collections.abc import Iterator

from sessionstore import (
    OutageError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnavailableError,
)

__all__ = ["is_late", "is_outage", "is_refusal", "unavailable"]

# By name, since a driver that is not installed can't be imported: module, and class.
_AWAY = {
    ("psycopg", "OperationalError"),
    ("psycopg", "InterfaceError"),
    ("psycopg2", "OperationalError"),
    ("psycopg2", "InterfaceError"),
    ("asyncpg", "PostgresConnectionError"),
    ("asyncpg", "CannotConnectNowError"),
    ("asyncpg", "AdminShutdownError"),
    ("asyncpg", "CrashShutdownError"),
    ("asyncpg", "TooManyConnectionsError"),
    ("redis", "ConnectionError"),
    ("redis", "TimeoutError"),
    ("redis", "ClusterDownError"),
    ("valkey", "ConnectionError"),
    ("valkey", "TimeoutError"),
    ("pymongo", "ConnectionFailure"),
    ("pymysql", "InterfaceError"),
    ("mysql", "InterfaceError"),
    ("sqlalchemy", "OperationalError"),
    ("sqlalchemy", "InterfaceError"),
    ("sqlalchemy", "TimeoutError"),
    ("botocore", "EndpointConnectionError"),
    ("botocore", "ConnectTimeoutError"),
    ("botocore", "ReadTimeoutError"),
    ("httpx", "TransportError"),
    ("grpc", "RpcError"),
}
# A wrong password is no outage, though redis-py says so.
_THERE = {("redis", "AuthenticationError"), ("redis", "AuthorizationError")}
# asyncpg says by one class that a connection is closed, and that an argument is wrong.
_ASYNCPG, _CLOSED = ("asyncpg", "InterfaceError"), "connection is closed"
# MySQL's drivers say by one class that the server is away, that a lock is in the way, and that
# there is no such column: the number tells.
_MYSQL = {(name, "OperationalError") for name in ("pymysql", "MySQLdb", "mysql", "asyncmy")}
_MYSQL_AWAY = {1040, 1053, 1152, 1158, 1159, 1160, 1161, 1927, *range(2001, 2008), 2013, 2014, 2055}
_SQLALCHEMY = ("sqlalchemy", "DBAPIError")
_READ_ONLY = {
    ("psycopg", "ReadOnlySqlTransaction"),
    ("redis", "ReadOnlyError"),
    ("redis", "OutOfMemoryError"),
}
# It may be this thread alone that it does not answer for in time: a locked row, say.
_LATE = {
    ("builtins", "TimeoutError"),
    ("asyncio", "TimeoutError"),
    ("concurrent", "TimeoutError"),
    ("psycopg", "QueryCanceled"),
    ("redis", "TimeoutError"),
    ("sessionstore", "StoreTimeoutError"),
    ("botocore", "ReadTimeoutError"),
    ("httpx", "TimeoutException"),
}
# The server answers, and says that a lock, a conflict or a limit of the caller's own is in the way.
_BUSY_STATES = ("40", "55P03", "25P03")
# It will never take this: it is too large, say.
_LIMIT_STATES = ("54",)
# Of SQLite, by the number of the error's kind: SQLITE_ERROR, SQLITE_READONLY; before Python 3.11,
# which has none, by what it says.
_MISTAKEN = (1, 8)
_MISTAKES = ("no such", "syntax error", "has no column", "already exists", "readonly", "supplied")
_REFUSALS = {"DataError", "IntegrityError", "NotSupportedError"}
_TIMEOUTS = (OSError, asyncio.TimeoutError, concurrent.futures.TimeoutError)


def is_outage(error: BaseException) -> bool:
    """Tell whether an error says that a saver's server can't be reached, or gives no answer.

    It knows psycopg and its pool, asyncpg, SQLite, redis-py, PyMongo, SQLAlchemy, the drivers of
    MySQL, the stores of this package, and the standard library's errors of networks and time. What
    the server refuses though it is there is none: a lock, a conflict.

    Args:
        error: What a saver raised.

    Returns:
        Whether the fallback is to answer.
    """
    return any(map(_is_outage, _chain(error)))


def is_refusal(error: BaseException) -> bool:
    """Tell whether an error says that a call will never be taken, however often it is tried."""
    if isinstance(error, (TypeError, ValueError, LookupError)):
        return True
    return _state(error).startswith(_LIMIT_STATES) or any(
        name in _REFUSALS for _, name in _names(error)
    )


def _state(error: BaseException) -> str:
    # psycopg2 has another name for it.
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def is_late(error: BaseException) -> bool:
    """Tell whether there was no answer in time, which may be so of one thread alone."""
    return any(map(_is_late, _chain(error)))


def unavailable(error: BaseException, saver: str) -> StoreUnavailableError:
    """Make the error by which a store says what a saver's says."""
    reason = type(error).__name__
    names = {name for each in _chain(error) for name in _names(each)}
    if names & _READ_ONLY:
        return StoreReadOnlyError(f"{saver} takes no writes: {reason}, see the cause")
    if is_late(error):
        return StoreTimeoutError(f"{saver} gave no answer in time: {reason}, see the cause")
    return StoreConnectionError(f"{saver} is unavailable: {reason}, see the cause")


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, StoreUnavailableError):
        return not isinstance(error, (StoreBusyError, OutageError))
    if isinstance(error, sqlite3.OperationalError):
        return not _is_mistaken(error)
    if isinstance(error, _TIMEOUTS):
        return True
    names = set(_names(error))
    return bool(names & _READ_ONLY) or (not _is_there(error, names) and _is_away(error, names))


def _is_mistaken(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return any(mistake in str(error) for mistake in _MISTAKES)
    return code & 0xFF in _MISTAKEN


def _is_there(error: BaseException, names: set[tuple[str, str]]) -> bool:
    """Tell whether the server has answered, or the error's cause is to tell."""
    if _SQLALCHEMY in names and error.__cause__ is not None:
        return True
    return bool(names & _THERE) or _state(error).startswith(_BUSY_STATES + _LIMIT_STATES)


def _is_away(error: BaseException, names: set[tuple[str, str]]) -> bool:
    if names & _MYSQL:
        return error.args[:1] != () and error.args[0] in _MYSQL_AWAY
    if _ASYNCPG in names:
        return _CLOSED in str(error)
    return bool(names & _AWAY)


def _is_late(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error)
    return any(name in _LATE for name in _names(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _names(error: BaseException) -> Iterator[tuple[str, str]]:
    for kind in type(error).__mro__:
        yield kind.__module__.partition(".")[0], kind.__name__
