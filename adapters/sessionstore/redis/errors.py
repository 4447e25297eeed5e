"""What redis-py raises, in the words of `sessionstore.errors`: one table."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Iterable
from importlib import import_module
from typing import NamedTuple, TypeAlias

from redis import exceptions as driver

from sessionstore._runtime.reasons import reason_of
from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
)

__all__ = [
    "TRANSLATED",
    "NobodyAnsweredError",
    "hint_of_tls",
    "is_demoted",
    "is_of_full_pool",
    "may_have_been_lost",
    "not_permitted",
    "translated",
]

_Kinds: TypeAlias = tuple[type[Exception], ...]


def _of_multi(*names: str) -> _Kinds:
    """Give a `MultiDBClient`'s own errors, which derive from none of redis-py's."""
    try:
        module = import_module("redis.multidb.exception")
    except ImportError:  # before redis-py 7
        return ()
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


_UNHEALTHY = _of_multi("InitialHealthCheckFailedError")
_UNDECIDED = _of_multi(
    "NoValidDatabaseException", "TemporaryUnavailableException", "UnhealthyDatabaseException"
)

TRANSLATED: _Kinds = (
    *_UNHEALTHY,
    *_UNDECIDED,
    driver.RedisError,
    driver.RedisClusterException,  # is no RedisError, nor are those that derive from it
    OSError,
    asyncio.TimeoutError,
    UnicodeError,
)
"""What a call of redis-py may raise that is not a fault of ours."""


class NobodyAnsweredError(driver.ConnectionError):
    """No connection got free in time, and nobody was answered meanwhile.

    Args:
        last: The error that the last one with a connection got; ``None`` without one.
    """

    def __init__(self, last: str | None) -> None:
        """Keep the last error."""
        super().__init__(_NOBODY_ANSWERED)
        self.last = last


_NOBODY_ANSWERED = "no connection to Redis got free in time, and nobody was answered meanwhile"
_FULL = ("Too many connections", "No connection available")
_FULL_KINDS: tuple[type[Exception], ...] = (
    (driver.MaxConnectionsError,) if hasattr(driver, "MaxConnectionsError") else ()
)
_REFUSED = re.compile(r" to run the '([a-z|_]+)' command")
_NOT_PERMITTED = (
    "Redis does not permit this user what the store needs: its keys, EVALSHA, EVAL, and the "
    "commands in its scripts"
)


class _Row(NamedTuple):
    kind: type[SessionStoreError]
    words: str
    signs: tuple[str, ...] = ()
    errors: tuple[type[Exception], ...] = ()


# The first row that fits counts. By sign too, since redis-py takes some signs off, leaves others
# on, and a script of an older server puts its own words in front.
_TABLE = (
    _Row(
        SessionStoreError,
        "Redis refuses the user name or password: look at the URL's, or the client's",
        (
            "WRONGPASS",
            "NOAUTH",
            "invalid username-password pair",
            "invalid password",
            "without any password configured",
            "Authentication required",
        ),
        (driver.AuthenticationError, driver.AuthenticationWrongNumberOfArgsError),
    ),
    _Row(
        SessionStoreError,
        "Redis's certificate is not to be trusted: look at ssl_ca_certs, and at the host's name",
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
    ),
    _Row(
        SessionStoreError,
        "what answers there does not speak TLS: write redis:// in place of rediss://",
        ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure"),
    ),
    _Row(
        SessionStoreError,
        "what answers there does not speak Redis's protocol: if it is TLS, write rediss://",
        ("Protocol error", "Protocol Error"),
        (driver.InvalidResponse,),
    ),
    _Row(
        SessionStoreError,
        _NOT_PERMITTED,
        ("NOPERM", "has no permissions", "The user executing the script"),
        (driver.NoPermissionError, driver.AuthorizationError),
    ),
    _Row(
        SessionStoreError,
        "Redis has no database of this number: look at the end of the URL",
        ("DB index is out of range", "invalid DB index", "SELECT is not allowed"),
    ),
    _Row(
        SessionStoreError,
        "this Redis is a Cluster: name it with redis+cluster://, or pass a RedisCluster",
        ("CROSSSLOT", "MOVED ", "hash to the same slot", "non local key"),
        (driver.ClusterCrossSlotError, driver.CrossSlotTransactionError, driver.MovedError)
        if hasattr(driver, "CrossSlotTransactionError")
        else (driver.ClusterCrossSlotError, driver.MovedError),
    ),
    _Row(
        SessionStoreError,
        "this Redis is no Cluster: name it with redis://; or its ACL lacks +cluster",
        ("Cluster mode is not enabled", "cluster support disabled"),
    ),
    _Row(
        CorruptMessageError,
        "a key of the store, or of this session, holds what the store did not write",
        ("WRONGTYPE",),
        (UnicodeError,),
    ),
    _Row(
        InvalidMessageError,
        "this is too large for Redis: look at its limits for a request and for one value",
        ("invalid bulk length", "invalid multibulk length", "string exceeds maximum"),
    ),
    _Row(
        StoreConnectionError,
        "Redis is still loading its data",
        ("LOADING",),
        (driver.BusyLoadingError,),
    ),
    _Row(
        StoreReadOnlyError,
        "Redis can't be written to: it is a replica, or has too few of them",
        ("READONLY", "NOREPLICAS"),
        (driver.ReadOnlyError,),
    ),
    _Row(
        StoreReadOnlyError,
        "Redis is out of memory, or can't save to its disk",
        ("OOM", "MISCONF"),
        (driver.OutOfMemoryError,),
    ),
    _Row(StoreBusyError, "Redis is busy with a script", ("BUSY", "UNKILLABLE")),
    _Row(
        StoreBusyError,
        "Redis has no connection left for this client",
        ("max number of clients", *_FULL),
        _FULL_KINDS,
    ),
    _Row(
        StoreBusyError,
        "the Redis Cluster is moving this session to another node",
        ("TRYAGAIN", "ASK "),
        (driver.TryAgainError,),
    ),
    _Row(StoreConnectionError, _NOBODY_ANSWERED, (), (NobodyAnsweredError,)),
    _Row(
        StoreConnectionError,
        "too few databases of the MultiDBClient answer for its initial_health_check_policy",
        (),
        _UNHEALTHY,
    ),
    _Row(
        StoreConnectionError,
        "no database of the MultiDBClient can be reached, or its fail-over is under way",
        (),
        _UNDECIDED,
    ),
    _Row(
        StoreConnectionError,
        "the Redis Cluster, or this part of it, is down",
        ("CLUSTERDOWN", "MASTERDOWN", "slots are not covered"),
        (driver.ClusterError, driver.AskError, driver.SlotNotCoveredError),
    ),
    _Row(
        StoreTimeoutError,
        "Redis did not answer in time",
        (),
        (driver.TimeoutError, TimeoutError, asyncio.TimeoutError),
    ),
    _Row(
        StoreConnectionError,
        "Redis can't be reached, or closed the connection",
        ("cannot be connected",),
        (driver.ConnectionError, OSError),
    ),
)


def translated(error: BaseException, session_id: str | None = None) -> SessionStoreError:
    """Give our error for one of redis-py's. Its own words, which may quote data, stay out.

    Args:
        error: One of `TRANSLATED`.
        session_id: The session that was worked on, if it was one.

    Returns:
        The error to raise from it.
    """
    row, error = _row_of(error)
    if row is None:
        return SessionStoreError("Redis refuses this: see the cause")
    kind, words = row.kind, row.words
    if words is _NOT_PERMITTED and (refused := _REFUSED.findall(str(error))):
        return kind(not_permitted(refused))
    if isinstance(error, NobodyAnsweredError) and error.last is not None:
        return kind(f"{words}; the last error was: {error.last}")
    if row is _LOST:
        reason = reason_of(error) or (_NO_MASTER if _NO_MASTER_FOUND in str(error) else "")
        return kind(f"{words}: {reason}" if reason else words)
    named = kind is CorruptMessageError and session_id is not None
    return kind(f"session {session_id!r}: {words}" if named else words)


def _row_of(error: BaseException) -> tuple[_Row | None, BaseException]:
    """Give the row that fits, and the error that it fits: a Cluster's may hide another."""
    if isinstance(error, driver.RedisClusterException) and error.__cause__:
        error = error.__cause__  # what no node of the Cluster could be reached for
    text = str(error)
    for row in _TABLE:
        if isinstance(error, row.errors) or any(sign in text for sign in row.signs):
            return row, error
    return None, error


_LOST = _TABLE[-1]
_NO_MASTER_FOUND = "No master found"
_NO_MASTER = "no Sentinel that answers knows a master of this name"


def hint_of_tls(error: BaseException, is_tls: bool) -> str:
    """Say what a server that never answered may lack: TLS, or a client's.

    Args:
        error: One of `TRANSLATED`.
        is_tls: Whether the client speaks it.

    Returns:
        The end of an error's words; ``""`` where there is nothing to be said.
    """
    row, error = _row_of(error)
    if is_tls and row is not None and row.kind is StoreTimeoutError:
        return "; if it speaks no TLS, write redis:// in place of rediss://"
    if not is_tls and row is _LOST and reason_of(error) in _CUT_OFF:
        return "; if it speaks TLS, write rediss:// in place of redis://"
    return ""


_CUT_OFF = {
    "Connection closed by server",
    *(os.strerror(code) for code in (errno.ECONNRESET, errno.EPIPE)),
}


def not_permitted(commands: Iterable[str]) -> str:
    """Say what the ACL lacks.

    Args:
        commands: Names of commands.

    Returns:
        The words of an error.
    """
    lacking = " ".join(f"+{command.lower()}" for command in commands)
    return f"Redis does not permit this user what the store needs: its ACL lacks {lacking}"


def is_of_full_pool(error: BaseException) -> bool:
    """Tell whether redis-py's own pool has no connection left."""
    return isinstance(error, _FULL_KINDS) or any(sign in str(error) for sign in _FULL)


def is_demoted(error: BaseException) -> bool:
    """Tell whether a server was a master once, and no longer is."""
    return isinstance(error, driver.ReadOnlyError) or "READONLY" in str(error)


def may_have_been_lost(error: BaseException) -> bool:
    """Tell whether a connection broke: the request, or the answer to it, went with it.

    After a timeout there is no time left to try again; a server that refuses has answered.
    """
    return _row_of(error)[0] is _LOST
