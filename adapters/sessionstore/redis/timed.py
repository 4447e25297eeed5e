"""Connections of redis-py whose waits end with the call that they work for.

redis-py gives each receive its own timeout, so that an answer that trickles may take for ever. The
sockets of these connections ask before each wait how much of the call is left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import redis
from redis.connection import ConnectionPool
from redis.sentinel import SentinelManagedConnection

from sessionstore._runtime.call_deadline import remaining
from sessionstore.errors import StoreTimeoutError

__all__ = ["SLOW", "TimedPool", "left", "let_time"]

SLOW = "the server did not answer within the timeout"

_PASSED_ON = (
    "close",
    "fileno",
    "getpeercert",
    "getpeername",
    "getsockname",
    "getsockopt",
    "gettimeout",
    "pending",
    "setblocking",
    "setsockopt",
    "shutdown",
)
_NOT_WAITED_FOR = 16_384  # bytes that the kernel takes at once, where no others are on their way
_EXACT = 0.01  # seconds by which a socket may wait longer: to set its timeout is a system call


def left(most: float | None = None) -> float | None:
    """Give how long the call that is under way may still take, as `remaining` does.

    Args:
        most: How long this step may take.

    Raises:
        redis.TimeoutError: Nothing is left.
    """
    try:
        return remaining(most)
    except StoreTimeoutError:
        raise redis.TimeoutError(SLOW) from None


class _TimedSocket:
    """A socket that waits no longer than the call may take."""

    def __init__(self, plain: Any, most: float | None) -> None:
        self._plain = plain
        self._most = most
        self._timeout = plain.gettimeout()
        for name in _PASSED_ON:  # to ask for each when it is called takes as long as a command
            if (method := getattr(plain, name, None)) is not None:
                setattr(self, name, method)

    def settimeout(self, seconds: float | None) -> None:
        self._plain.settimeout(seconds)
        self._timeout = seconds

    def recv(self, *args: Any) -> Any:
        self._limit()
        return self._plain.recv(*args)

    def recv_into(self, *args: Any) -> Any:
        self._limit()
        return self._plain.recv_into(*args)

    def sendall(self, data: Any, *args: Any) -> Any:
        if len(data) > _NOT_WAITED_FOR:
            self._limit()
        return self._plain.sendall(data, *args)

    def _limit(self) -> None:
        now = self._timeout
        if now == 0:  # only looks whether something is there
            return
        try:
            wanted = remaining(self._most)
        except StoreTimeoutError:
            raise TimeoutError(SLOW) from None
        if wanted is None or now is None or not wanted <= now <= wanted + _EXACT:
            self.settimeout(wanted)


def _all_or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Close what an interrupt left half open: the reply to a greeting may be on its way."""

    def opened(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except BaseException:
            self.disconnect()
            raise

    return opened


@lru_cache
def _timed(kind: type[Any]) -> type[Any]:
    def connect(self: Any) -> Any:
        most, first = self.socket_timeout, self.socket_connect_timeout
        try:
            self.socket_timeout, self.socket_connect_timeout = left(most), left(first)
            return _TimedSocket(kind._connect(self), most)  # noqa: SLF001 - a hook for subclasses
        finally:
            self.socket_timeout, self.socket_connect_timeout = most, first

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return kind.read_response(self, *args, **options)
        except redis.ResponseError:
            raise
        except BaseException:  # the reply may be on its way: redis-py would have it read by another
            self.disconnect()
            raise

    methods: dict[str, Any] = {"_connect": connect, "__module__": __name__}
    for name in ("connect", "connect_check_health"):  # redis-py 5 has the first alone
        if hasattr(kind, name):
            methods[name] = _all_or_nothing(getattr(kind, name))
    if issubclass(kind, SentinelManagedConnection):
        methods["read_response"] = read_response
    return type(kind.__name__, (kind,), methods)


class TimedPool(ConnectionPool):
    """The same for a Cluster's client, which makes a pool for each node."""

    def __init__(
        self, connection_class: Callable[..., Any] = redis.Connection, **kwargs: Any
    ) -> None:
        """Make connections of this kind end with their calls."""
        kwargs.pop("ssl", None)  # which its kind says, too
        super().__init__(connection_class=_timed(connection_class), **kwargs)


def let_time(pool: Any) -> None:
    """Make the connections that a pool will open end with their calls.

    Args:
        pool: One of redis-py, which has opened none yet.
    """
    pool.connection_class = _timed(pool.connection_class)
