"""One command at a time, the shortest way: on connections of redis-py, past its clients and pools.

What those do around each command, for commands of every kind, takes as long as the command. So
connections wait here for the next command. Those of a loop are its pool's, which counts them as in
use, and closes them with itself. Those of threads are nobody else's: so one that Ctrl-C takes from
the thread that holds it, between any two steps, is closed when it is collected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import redis
from redis.exceptions import NoPermissionError

from sessionstore.deadline import called_by
from sessionstore.redis.requests import Words
from sessionstore.redis.timed import left

__all__ = [
    "FORGOTTEN",
    "LOST",
    "Direct",
    "Idle",
    "in_transaction",
    "is_bare",
    "leads_to_master",
    "patience",
    "results_of",
]

FORGOTTEN = 15.0
"""Seconds after which what is between may have forgotten a connection."""

LOST = (redis.ConnectionError, redis.TimeoutError)
"""What says that a connection leads nowhere."""

Idle: TypeAlias = tuple[Any, float]
"""A connection, and since when it waits: 0 where it is new."""


def is_bare(method: Any) -> bool:
    """Tell whether a method is redis-py's own, and not a tracer's around it."""
    return type(method) is FunctionType and method.__module__.startswith("redis.")


def leads_to_master(pool: Any, connection: Any) -> bool:
    """Tell whether a connection leads to what the Sentinels, if there are any, last named."""
    master = getattr(pool, "master_address", None)
    return master is None or master == (connection.host, connection.port)


def patience() -> float:
    """Give how long a connection may take to show that it still leads somewhere."""
    most = left()
    return 0.5 if most is None else min(0.5, most / 4)


def in_transaction(commands: Sequence[Words]) -> list[Words]:
    """Give commands with those around them that make them one transaction."""
    return [Words(("MULTI",)), *commands, Words(("EXEC",))]


def results_of(replies: list[Any]) -> list[Any]:
    """Give what the commands of a transaction gave, or nothing where none may be made here."""
    if isinstance(replies[-1], list):
        return list(replies[-1])
    error = next(reply for reply in replies if isinstance(reply, Exception))
    refused = error is replies[0] or error is replies[-1]
    if refused or isinstance(error, NoPermissionError):
        return []
    raise error


class Direct:
    """Connections that wait for the next command of any thread.

    Args:
        client: Whose pool says what they are like.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._idle: list[Idle] = []
        self._open: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._transacts = True

    @staticmethod
    def is_possible() -> bool:
        """Tell whether nobody listens to redis-py's clients."""
        return is_bare(redis.Redis.execute_command)

    @property
    def idle(self) -> int:
        """How many wait for the next command."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """How many there are, those in use included."""
        return len(self._open)

    def send(self, words: Words) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        connection, since = self._take()
        try:
            connection.send_packed_command(connection.pack_command(*words))
            reply = connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            self._idle.append((connection, time.monotonic()))
            raise
        except BaseException as error:
            self._end(connection)  # closed: its reply may be on the way, to be read by another
            if isinstance(error, LOST):
                self._let_go_of_elders(since)
            raise
        self._idle.append((connection, time.monotonic()))
        return reply

    def transact(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands that are carried out as one, in one round trip.

        Args:
            commands: The words of each.

        Returns:
            What each gave, or its error; nothing where an ACL or a proxy has no transactions.
        """
        if not self._transacts:
            return []
        (connection, since), fine = self._take(), False
        try:
            packed = connection.pack_commands(in_transaction(commands))
            connection.send_packed_command(packed)
            replies = [self._read(connection) for _ in range(len(commands) + 2)]
            results = results_of(replies)
            self._transacts = fine = bool(results)
        except LOST:
            self._let_go_of_elders(since)
            raise
        finally:
            if fine:
                self._idle.append((connection, time.monotonic()))
            else:  # a reply may be on the way, or the transaction not be over
                self._end(connection)
        return results

    def _read(self, connection: Any) -> Any:
        try:
            return connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    def close(self) -> None:
        """Close all, also those that other threads wait at."""
        for ref in self._open.valuerefs():
            if (connection := ref()) is not None:
                connection.disconnect()

    def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        self._let_go_of_elders(math.inf)

    def _let_go_of_elders(self, since: float) -> None:
        """Close those that wait for as long as one that proved to be dead."""
        for entry in [entry for entry in list(self._idle) if entry[1] <= since]:
            with suppress(ValueError):  # other threads take them, too
                self._idle.remove(entry)
                self._end(entry[0])

    def _take(self) -> Idle:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return self._opened(), 0.0
            try:
                # What is closed, or has a reply of another, is not.
                fit = not connection.can_read() and leads_to_master(self._pool, connection)
                if fit and since + FORGOTTEN < time.monotonic():
                    fit = self._leads_somewhere(connection)
            except redis.RedisError:
                self._let_go_of_elders(since)
                fit = False
            except BaseException:
                self._end(connection)
                raise
            if fit:
                return connection, since
            self._end(connection)

    def _end(self, connection: Any) -> None:
        """Close one, and count it no more: an error may keep it alive for long."""
        connection.disconnect()
        self._open.pop(id(connection), None)

    def _opened(self) -> Any:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        self._open[id(connection)] = connection
        try:
            connection.connect()
        except BaseException:
            self._end(connection)
            raise
        return connection

    @staticmethod
    def _leads_somewhere(connection: Any) -> bool:
        """Tell whether a connection is not forgotten on the way."""
        if connection.health_check_interval:  # redis-py asks by itself
            return True
        try:
            called_by(time.monotonic() + patience(), _pinged, connection)
        except redis.ResponseError:  # an ACL that does not permit it: it was answered
            return True
        return True


def _pinged(connection: Any) -> None:
    connection.send_command("PING", check_health=False)
    connection.read_response()
