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

from sessionstore.deadline import remaining
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
    class Timed(kind):  # type: ignore[misc]
        socket_timeout: Any
        socket_connect_timeout: Any

        connect = _all_or_nothing(kind.connect)
        if hasattr(kind, "connect_check_health"):  # not in redis-py 5
            connect_check_health = _all_or_nothing(kind.connect_check_health)

        def _connect(self) -> Any:  # a hook for subclasses
            most, first = self.socket_timeout, self.socket_connect_timeout
            try:
                self.socket_timeout, self.socket_connect_timeout = left(most), left(first)
                return _TimedSocket(super()._connect(), most)
            finally:
                self.socket_timeout, self.socket_connect_timeout = most, first

        if issubclass(kind, SentinelManagedConnection):

            def read_response(self, *args: Any, **options: Any) -> Any:
                try:
                    return super().read_response(*args, **options)
                except redis.ResponseError:
                    raise
                except BaseException:  # the reply may be on its way, to be read by another
                    self.disconnect()
                    raise

    Timed.__name__ = Timed.__qualname__ = kind.__name__
    return Timed


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
