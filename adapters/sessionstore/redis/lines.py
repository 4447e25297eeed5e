"""One command at a time, the shortest way: on connections of redis-py, past its clients and pools.

What those do around each command, for commands of every kind, takes as long as the command. So
connections wait here for the next command. Those of a loop are its pool's, which counts them as in
use, and closes them with itself. Those of threads are nobody else's: so one that Ctrl-C takes from
the thread that holds it, between any two steps, is closed when it is collected.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoPermissionError

from sessionstore._runtime.call_deadline import called_by
from sessionstore.redis.timed import SLOW, left

__all__ = ["MAJOR", "AsyncLines", "Lines"]

MAJOR = int(redis.__version__.split(".")[0])
"""The first number of redis-py's version."""

_PEEKS = 8  # the first whose asyncio connections tell whether they are fit without waiting
_FORGOTTEN = 15.0  # seconds after which what is between may have forgotten a connection
_LOST = (redis.ConnectionError, redis.TimeoutError)


def _is_bare(method: Any) -> bool:
    """Tell whether a method is redis-py's own, and not a tracer's around it."""
    return type(method) is FunctionType and method.__module__.startswith("redis.")


_Words = tuple[Any, ...]
_Line = tuple[Any, float]  # a connection, and since when it waits: 0 where it is new


def _patience() -> float:
    """Give how long a connection may take to show that it still leads somewhere."""
    most = left()
    return 0.5 if most is None else min(0.5, most / 4)


def _transaction(commands: Sequence[_Words]) -> list[_Words]:
    return [("MULTI",), *commands, ("EXEC",)]


def _results(replies: list[Any]) -> list[Any]:
    """Give what the commands of a transaction gave, or nothing where none may be made here."""
    if isinstance(replies[-1], list):
        return list(replies[-1])
    error = next(reply for reply in replies if isinstance(reply, Exception))
    refused = error is replies[0] or error is replies[-1]
    if refused or isinstance(error, NoPermissionError):
        return []
    raise error


class Lines:
    """Connections that wait for the next command of any thread.

    Args:
        client: Whose pool says what they are like.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._idle: list[_Line] = []
        self._open: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._transacts = True

    @staticmethod
    def are_possible() -> bool:
        """Tell whether nobody listens to redis-py's clients."""
        return _is_bare(redis.Redis.execute_command)

    def send(self, words: tuple[Any, ...]) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        line, since = self._take()
        try:
            line.send_packed_command(line.pack_command(*words))
            reply = line.read_response(disable_decoding=True)
        except redis.ResponseError:
            self._idle.append((line, time.monotonic()))
            raise
        except BaseException as error:
            line.disconnect()  # closed: its reply may be on the way, to be read by another
            if isinstance(error, _LOST):
                self._let_go_of_elders(since)
            raise
        self._idle.append((line, time.monotonic()))
        return reply

    def transact(self, commands: Sequence[_Words]) -> list[Any]:
        """Send commands that are carried out as one, in one round trip.

        Args:
            commands: The words of each.

        Returns:
            What each gave, or its error; nothing where an ACL or a proxy has no transactions.
        """
        if not self._transacts:
            return []
        (line, since), fine = self._take(), False
        try:
            packed = line.pack_commands(_transaction(commands))
            line.send_packed_command(packed)
            replies = [self._read(line) for _ in range(len(commands) + 2)]
            results = _results(replies)
            self._transacts = fine = bool(results)
        except _LOST:
            self._let_go_of_elders(since)
            raise
        finally:
            if fine:
                self._idle.append((line, time.monotonic()))
            else:  # a reply may be on the way, or the transaction not be over
                line.disconnect()
        return results

    def _read(self, line: Any) -> Any:
        try:
            return line.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    def close(self) -> None:
        """Close all, also those that other threads wait at."""
        for ref in self._open.valuerefs():
            if (line := ref()) is not None:
                line.disconnect()

    def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        self._let_go_of_elders(math.inf)

    def _let_go_of_elders(self, since: float) -> None:
        """Close those that wait for as long as one that proved to be dead."""
        for entry in [entry for entry in list(self._idle) if entry[1] <= since]:
            with suppress(ValueError):  # other threads take them, too
                self._idle.remove(entry)
                entry[0].disconnect()

    def _take(self) -> _Line:
        while True:
            try:
                line, since = self._idle.pop()
            except IndexError:
                return self._opened(), 0.0
            if self._is_fit(line, since):
                return line, since
            line.disconnect()

    def _opened(self) -> Any:
        line = self._pool.connection_class(**self._pool.connection_kwargs)
        self._open[id(line)] = line
        line.connect()
        return line

    def _is_fit(self, line: Any, since: float) -> bool:
        """Tell whether it is open, has nothing to be read, and is not forgotten on the way."""
        try:
            if line.can_read():
                return False
            if since + _FORGOTTEN < time.monotonic() and not line.health_check_interval:
                called_by(time.monotonic() + _patience(), _pinged, line)
        except redis.ResponseError:  # an ACL that does not permit it: it was answered
            return True
        except redis.RedisError:
            self._let_go_of_elders(since)
            return False
        except BaseException:
            line.disconnect()
            raise
        return True


class AsyncLines:
    """Connections that wait for the next command of one event loop.

    Args:
        client: Whose pool makes them.
        timeout: How long a command may take, in seconds; ``None`` is for as long as the call.
    """

    def __init__(self, client: AsyncRedis, timeout: float | None) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._timeout = timeout
        self._idle: list[_Line] = []
        self._transacts = True

    @staticmethod
    def are_possible() -> bool:
        """Tell whether the way is open, as above, and this Python has a timeout without a task."""
        way = MAJOR >= _PEEKS and hasattr(asyncio, "timeout")
        return way and _is_bare(AsyncRedis.execute_command)

    async def send(self, words: tuple[Any, ...]) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        line, since = None, 0.0
        try:
            async with asyncio.timeout(left(self._timeout)):  # type: ignore[attr-defined]
                line, since = await self._take()
                await line.send_packed_command(line.pack_command(*words))
                reply = await line.read_response(disable_decoding=True)
        except redis.ResponseError:
            if line is not None:  # else it was refused before it was one
                self._idle.append((line, time.monotonic()))
            raise
        except BaseException as error:
            await self._failed(line, since, error)
            if isinstance(error, asyncio.TimeoutError):
                raise redis.TimeoutError(SLOW) from None
            raise
        self._idle.append((line, time.monotonic()))
        return reply

    async def transact(self, commands: Sequence[_Words]) -> list[Any]:
        """Send commands that are carried out as one, as `Lines.transact` does."""
        if not self._transacts:
            return []
        line, since = None, 0.0
        try:
            async with asyncio.timeout(left(self._timeout)):  # type: ignore[attr-defined]
                line, since = await self._take()
                packed = line.pack_commands(_transaction(commands))
                await line.send_packed_command(packed)
                replies = [await self._read(line) for _ in range(len(commands) + 2)]
            results = _results(replies)
        except BaseException as error:
            await self._failed(line, since, error)
            if isinstance(error, asyncio.TimeoutError):
                raise redis.TimeoutError(SLOW) from None
            raise
        if not results:  # the transaction may not be over
            self._transacts = False
            await self._give_back(line)
        else:
            self._idle.append((line, time.monotonic()))
        return results

    async def _read(self, line: Any) -> Any:
        try:
            return await line.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    async def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        await self._let_go_of_elders(math.inf)

    async def _let_go_of_elders(self, since: float) -> None:
        elders = [entry for entry in self._idle if entry[1] <= since]
        self._idle[:] = [entry for entry in self._idle if entry[1] > since]
        for line, _ in elders:
            await self._give_back(line)

    async def _take(self) -> _Line:
        while self._idle:
            line, since = self._idle.pop()
            try:
                fit = await self._is_fit(line, since)
            except BaseException:
                await self._give_back(line)
                raise
            if fit:
                return line, since
            await self._give_back(line)
        return await self._pool.get_connection(), 0.0

    async def _is_fit(self, line: Any, since: float) -> bool:
        try:
            if await line.can_read():
                return False
            if since + _FORGOTTEN < time.monotonic() and not line.health_check_interval:
                async with asyncio.timeout(_patience()):  # type: ignore[attr-defined]
                    await line.send_command("PING", check_health=False)
                    await line.read_response()
        except redis.ResponseError:
            return True
        except (redis.RedisError, asyncio.TimeoutError):
            await self._let_go_of_elders(since)
            return False
        return True

    async def _failed(self, line: Any, since: float, error: BaseException) -> None:
        if line is None:
            return
        await self._give_back(line)
        if isinstance(error, (*_LOST, asyncio.TimeoutError)):
            await self._let_go_of_elders(since)

    async def _give_back(self, line: Any) -> None:
        await line.disconnect(nowait=True)
        await self._pool.release(line)


def _pinged(line: Any) -> None:
    line.send_command("PING", check_health=False)
    line.read_response()
