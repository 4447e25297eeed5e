"""The one table from what SQLAlchemy and its drivers raise to the errors of a store."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeAlias

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sessionstore._runtime.reasons import reason_of
from sessionstore.errors import (
    InvalidMessageError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
)

__all__ = [
    "FOREIGN",
    "cause",
    "is_answer",
    "is_disconnect",
    "is_missing_table",
    "is_read_only",
    "is_safe_to_repeat",
    "is_timeout",
    "is_unprepared",
    "translated",
]

_Meaning: TypeAlias = tuple[type[SessionStoreError], str]

_GONE = (StoreConnectionError, "the database can't be reached")
_STOPPING = (StoreConnectionError, "the database is stopping or starting: try again")
_TOO_MANY = (StoreBusyError, "the database takes no more connections")
_READ_ONLY = (StoreReadOnlyError, "the database is read-only: a standby, or set so")
_NOT_REACHED = (StoreConnectionError, "the database can't be reached within its timeout")
_SLOW = (StoreTimeoutError, "the database did not answer within its timeout")
_LOCKED = (StoreBusyError, "timed out waiting for a lock in the database")
_CONFLICT = (StoreBusyError, "this conflicted with concurrent writes: try again")
_TAKEN = (SessionStoreError, "the database has another row with this key already: see the cause")
_REFUSED = (SessionStoreError, "a constraint on the tables refuses this: see the cause")
_FAILING = (StoreConnectionError, "the disk or the server of the database fails: look at its log")
_SHORT = (StoreBusyError, "the database is short of memory or another resource: try again")
_NO_ROOM = (StoreReadOnlyError, "the disk of the database is full: free some space")
_FULL = (SessionStoreError, "the disk of the database is full: free some space")
_FORBIDDEN = (SessionStoreError, "the database refuses this for lack of permission: grant it")
_LOGIN = (
    SessionStoreError,
    "the database refuses the login: look at its user and password, and at its pg_hba.conf",
)
_LOCKED_OUT = (SessionStoreError, "this database is set to let nobody in: ALLOW_CONNECTIONS")
_TLS = (SessionStoreError, "TLS with the database fails: look at sslmode and at its certificates")
_MISSET = (SessionStoreError, "the database refuses a parameter of the connection: see the cause")
_UNKNOWN = (SessionStoreError, "there is no database of this name: create it")
_EXISTS = (
    SessionStoreError,
    "some tables exist, but not the one with their version: drop them, or restore it",
)
_MISSING = (SessionStoreError, "a table of sessionstore is missing, or was changed: restore it")
_NO_LEASES = (
    SessionStoreError,
    "no table of leases: run store.setup() as a user who may create it, or AgentDb.ddl()",
)
_TOO_BIG = (InvalidMessageError, "a message is too big for this database")
FOREIGN = "the database's encoding lacks some characters: its encoding must be UTF8"
"""The error for a database whose encoding lacks characters."""
_FOREIGN = (SessionStoreError, FOREIGN)
_UNPREPARED = (
    StoreBusyError,
    "the server has lost prepared statements, as behind a pooler: prepared_statements=False",
)
_OTHER = (SessionStoreError, "the database refuses to work: see the cause")

# By SQLSTATE, or by its class: from PostgreSQL's drivers.
_BY_STATE: dict[str, _Meaning] = {
    "08": _GONE,
    "22021": _FOREIGN,
    "22P05": _FOREIGN,
    "23": _REFUSED,
    "23505": _TAKEN,
    "25006": _READ_ONLY,
    "25P03": _SLOW,
    "25P04": _SLOW,
    "26000": _UNPREPARED,
    "28": _LOGIN,
    "3D000": _UNKNOWN,
    "3F000": _MISSING,
    "40": _CONFLICT,
    "40003": _GONE,  # nobody knows whether it was done
    "42501": _FORBIDDEN,
    "42703": _MISSING,
    "42P01": _MISSING,
    "42P05": _UNPREPARED,
    "42P06": _EXISTS,
    "42P07": _EXISTS,
    "42P10": _MISSING,
    "53100": _NO_ROOM,
    "53300": _TOO_MANY,
    "53": _SHORT,
    "54000": _TOO_BIG,
    "55000": _LOCKED_OUT,
    "55P03": _LOCKED,
    "57014": _SLOW,
    "57P04": _UNKNOWN,
    "57": _STOPPING,
    "58": _FAILING,
}
# By error number: from MySQL's and MariaDB's drivers.
_BY_NUMBER: dict[int, _Meaning] = {
    1007: _EXISTS,
    1020: _CONFLICT,
    1021: _NO_ROOM,
    1037: _SHORT,
    1040: _TOO_MANY,
    1041: _SHORT,
    1043: _GONE,
    1044: _FORBIDDEN,
    1045: _LOGIN,
    1047: _STOPPING,  # a node of a Galera cluster that is not ready
    1049: _UNKNOWN,
    1050: _EXISTS,
    1053: _STOPPING,
    1054: _MISSING,
    1062: _TAKEN,
    1061: _EXISTS,
    1114: _NO_ROOM,
    1129: _GONE,
    1130: _LOGIN,
    1142: _FORBIDDEN,
    1143: _FORBIDDEN,
    1146: _MISSING,
    1153: _TOO_BIG,
    1158: _GONE,
    1159: _GONE,
    1160: _GONE,
    1161: _GONE,
    1203: _TOO_MANY,
    1205: _LOCKED,
    1206: _SHORT,
    1213: _CONFLICT,
    1226: _TOO_MANY,
    1290: _READ_ONLY,
    1317: _SLOW,
    1412: _CONFLICT,
    1615: _CONFLICT,
    1637: _SHORT,
    1698: _LOGIN,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1927: _GONE,
    1969: _SLOW,
    2002: _GONE,
    2003: _GONE,
    2005: _GONE,
    2006: _GONE,
    2013: _GONE,
    2014: _GONE,
    2026: _TLS,
    2055: _GONE,
    3024: _SLOW,
    3572: _LOCKED,
    3819: _REFUSED,
    4031: _GONE,
    4025: _REFUSED,
}
# By a part of the message: SQLite's.
_BY_WORDS: tuple[tuple[str, _Meaning], ...] = (
    ("locked", _LOCKED),
    ("readonly", _READ_ONLY),
    ("unable to open", (StoreConnectionError, "the SQLite file can't be opened")),
    ("disk I/O error", _FAILING),
    ("is full", _FULL),
    ("string or blob too big", _TOO_BIG),
    ("not a database", (SessionStoreError, "this file is damaged, or no SQLite file at all")),
    ("malformed", (SessionStoreError, "the SQLite file is damaged: restore it from a backup")),
    ("UNIQUE constraint", _TAKEN),
    ("constraint failed", _REFUSED),
    ("no such table", _MISSING),
    ("no such column", _MISSING),
)
# Those in which PostgreSQL, PgBouncer and libpq refuse a connection, which has no SQLSTATE. What
# passes by itself comes first: of several hosts, one may be starting and another not know us.
_BY_REFUSAL: tuple[tuple[str, _Meaning], ...] = (
    ("too many clients", _TOO_MANY),
    ("too many connections", _TOO_MANY),
    ("remaining connection slots", _TOO_MANY),
    ("no more connections allowed", _TOO_MANY),
    ("query_wait_timeout", _TOO_MANY),
    ("session is read-only", _READ_ONLY),
    ("in hot standby mode", _READ_ONLY),
    ("starting up", _STOPPING),
    ("shutting down", _STOPPING),
    ("in recovery mode", _STOPPING),
    ("statement timeout expired", _SLOW),
    ("timeout expired", _NOT_REACHED),
    ("does not support SSL", _TLS),
    ("rejected SSL upgrade", _TLS),
    ("certificate", _TLS),
    ("sslmode", _TLS),
    ("password authentication failed", _LOGIN),
    ("no password supplied", _LOGIN),
    ("authentication failed for user", _LOGIN),
    ("pg_hba.conf", _LOGIN),
    ("no such user", _LOGIN),
    ("role ", _LOGIN),
    ("permission denied", _FORBIDDEN),
    ("not currently accepting connections", _LOCKED_OUT),
    ("no such database", _UNKNOWN),
    ("invalid port number", _MISSET),
    ("invalid integer value", _MISSET),
    ("invalid value for parameter", _MISSET),
    ("unrecognized configuration parameter", _MISSET),
    ('database "" does not exist', _UNKNOWN),
)
_PROTOCOL = "08P01"  # what PgBouncer says whatever the matter is
_AN_OPTION = 1290  # the server runs with an option for which it refuses: mostly --read-only
_UNDECODED = "Could not decode to UTF-8"
_A_NAME = re.compile('"[^"]*"')
_LEASES = re.compile(r"leases\b")  # no other table's name ends so


def translated(error: Exception) -> SessionStoreError:
    """Give the store's error for SQLAlchemy's; never with a value, a URL or a password in it.

    Args:
        error: What SQLAlchemy raised.

    Returns:
        The error to raise, from `cause` of the same error.
    """
    meaning = _meaning(error)
    kind, words = meaning
    reason = reason_of(error) if meaning is _GONE else ""
    return kind(f"{words}: {reason}" if reason else words)


def cause(error: Exception) -> BaseException:
    """Give the driver's own error: SQLAlchemy's may quote the parameters of a statement.

    PostgreSQL's details beside the message are taken out, as they may quote a row.
    """
    driver = error.orig or error if isinstance(error, DBAPIError) else error
    if str(driver).startswith(_UNDECODED):  # sqlite3 quotes what it can't decode
        driver.args = (_UNDECODED,)
    message = getattr(getattr(driver, "diag", None), "message_primary", None)
    if message:  # psycopg, psycopg2
        driver.args = (message,)
    holder: Any
    for holder in (driver, driver.__cause__):
        if getattr(holder, "detail", None):  # asyncpg
            holder.detail = None
            driver.args = holder.args  # SQLAlchemy 2.0 puts the detail in, too
    return driver


def is_disconnect(error: Exception) -> bool:
    """Tell whether the connection was lost, be it before or after the database did the work.

    One that was given up for being slow is not: another try would be as slow.
    """
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost and _meaning(error) is not _SLOW


def is_read_only(error: Exception) -> bool:
    """Tell whether a server refused a write as read-only: another may be the primary by now."""
    return _meaning(error) is _READ_ONLY


def is_timeout(error: Exception) -> bool:
    """Tell whether a call ended for its time, by the server's clock or here."""
    return issubclass(_meaning(error)[0], StoreTimeoutError)


def is_answer(error: Exception) -> bool:
    """Tell whether the error is an answer of the database, which thus can be reached."""
    if not issubclass(_meaning(error)[0], (StoreConnectionError, StoreTimeoutError)):
        return not isinstance(error, PoolTimeoutError)
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    return _state(error.orig) is not None


def is_missing_table(error: Exception) -> bool:
    """Tell whether a table of the store, or its schema, is missing."""
    return _meaning(error) is _MISSING


def is_safe_to_repeat(error: Exception) -> bool:
    """Tell whether a transaction was undone because of another, and may succeed now."""
    # What is there already was made by another, after this transaction had begun to look.
    return _meaning(error) in (_CONFLICT, _EXISTS, _TAKEN, _UNPREPARED)


def is_unprepared(error: DBAPIError) -> bool:
    """Tell whether a connection's prepared statements are of no use any more, and so it neither.

    They are not on the server, or a column that they give has another type than before.
    """
    return getattr(error.orig, "sqlstate", None) in ("0A000", "26000", "42P05")


def _meaning(error: Exception) -> _Meaning:
    if isinstance(error, StoreTimeoutError):
        return StoreTimeoutError, str(error)
    if isinstance(error, PoolTimeoutError):
        return StoreBusyError, "all connections of the pool are in use: try again"
    if isinstance(error, (OSError, asyncio.TimeoutError)):  # on Python 3.10 no OSError
        return _refusal(error) or _GONE
    return _of_driver(error) if isinstance(error, DBAPIError) else _OTHER


def _of_driver(error: DBAPIError) -> _Meaning:
    meaning = _by_driver(error)
    if meaning is _MISSING and _LEASES.search(str(error.orig).partition("\n")[0]):
        return _NO_LEASES  # an older release has made the others
    return meaning


def _by_driver(error: DBAPIError) -> _Meaning:
    state = _state(error.orig)
    if isinstance(state, int):
        if state == _AN_OPTION and "read" not in str(error.orig):
            return _OTHER
        return _BY_NUMBER.get(state, _GONE if error.connection_invalidated else _OTHER)
    if state == _PROTOCOL:
        return _refusal(error.orig) or _GONE
    if isinstance(state, str):
        return _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or _OTHER
    return _by_words(error)


def _state(driver: Any) -> Any:
    """Give what a server said in a code: an SQLSTATE, or MySQL's number."""
    number = driver.args[0] if driver is not None and driver.args else None
    if isinstance(number, int):
        return number
    return getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)


def _by_words(error: DBAPIError) -> _Meaning:
    if type(error.orig).__module__ == "sqlite3":
        words = str(error.orig)
        meanings = (meaning for sign, meaning in _BY_WORDS if sign in words)
        return next(meanings, _GONE if error.connection_invalidated else _OTHER)
    # What is left of PostgreSQL's drivers without an SQLSTATE is a connection that failed.
    is_lost = error.connection_invalidated or isinstance(error, OperationalError)
    return _refusal(error.orig) or (_GONE if is_lost else _OTHER)


def _refusal(error: BaseException | None) -> _Meaning | None:
    words = _A_NAME.sub('""', str(error))  # a database may be named as an error is worded
    return next((meaning for sign, meaning in _BY_REFUSAL if sign in words), None)
