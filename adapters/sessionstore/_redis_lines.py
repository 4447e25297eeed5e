"""One command at a time, the shortest way: on connections of redis-py, past its clients and pools.

What those do around each command, for commands of every kind, takes as long as the command. So
connections that the pool has made wait here for the next command; the pool counts them as in use,
and closes them with itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoPermissionError

__all__ = ["MAJOR", "AsyncLines", "Lines"]

MAJOR = int(redis.__version__.split(".")[0])
"""The first number of redis-py's version."""

_PLAIN_POOLS = 6  # the first redis-py whose pools are asked for a connection without a command
_PEEKS = 8  # the first whose asyncio connections tell whether they are fit without waiting
_SLOW = "the server did not answer within the timeout"


def _is_bare(method: Any) -> bool:
    """Tell whether a method is redis-py's own, and not a tracer's around it."""
    return type(method) is FunctionType and method.__module__.startswith("redis.")


_Words = tuple[Any, ...]


def _transaction(commands: Sequence[_Words]) -> list[_Words]:
    return [("MULTI",), *commands, ("EXEC",)]


def _results(replies: list[Any]) -> list[Any] | None:
    """Give what the commands of a transaction gave, or nothing where none may be made here."""
    if isinstance(replies[-1], list):
        return replies[-1]
    error = next(reply for reply in replies if isinstance(reply, Exception))
    refused = error is replies[0] or error is replies[-1]
    if refused or isinstance(error, NoPermissionError):
        return None
    raise error


class Lines:
    """Connections that wait for the next command of any thread.

    Args:
        client: Whose pool makes them.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._idle: list[Any] = []
        self._transacts = True

    @staticmethod
    def are_possible() -> bool:
        """Tell whether this redis-py knows the way, and nobody listens to its clients."""
        return MAJOR >= _PLAIN_POOLS and _is_bare(redis.Redis.execute_command)

    def send(self, words: tuple[Any, ...]) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        line = self._take()
        try:
            line.send_packed_command(line.pack_command(*words))
            reply = line.read_response(disable_decoding=True)
        except redis.ResponseError:
            self._idle.append(line)
            raise
        except BaseException:
            self._give_back(line)  # closed: its reply may be on the way, to be read by another
            raise
        self._idle.append(line)
        return reply

    def transact(self, commands: Sequence[_Words]) -> list[Any] | None:
        """Send commands that are carried out as one, in one round trip.

        Args:
            commands: The words of each.

        Returns:
            What each gave, or its error; ``None`` where an ACL or a proxy has no transactions.
        """
        if not self._transacts:
            return None
        line, fine = self._take(), False
        try:
            line.send_packed_command(line.pack_commands(_transaction(commands)))
            replies = [self._read(line) for _ in range(len(commands) + 2)]
            results = _results(replies)
            self._transacts = fine = results is not None
        finally:
            if fine:
                self._idle.append(line)
            else:  # a reply may be on the way, or the transaction not be over
                self._give_back(line)
        return results

    def _read(self, line: Any) -> Any:
        try:
            return line.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        with suppress(IndexError):  # other threads take them, too
            while True:
                self._give_back(self._idle.pop())

    def _take(self) -> Any:
        try:
            line = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        try:
            if not line.can_read():  # neither closed by the server nor with a word of it
                return line
        except redis.RedisError:
            pass
        self._give_back(line)
        return self._pool.get_connection()

    def _give_back(self, line: Any) -> None:
        line.disconnect()
        self._pool.release(line)


class AsyncLines:
    """Connections that wait for the next command of one event loop.

    Args:
        client: Whose pool makes them.
        timeout: How long a command may take, in seconds; ``None`` is for good.
    """

    def __init__(self, client: AsyncRedis, timeout: float | None) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._timeout = timeout
        self._idle: list[Any] = []
        self._transacts = True

    @staticmethod
    def are_possible() -> bool:
        """Tell whether the way is open, as above, and this Python has a timeout without a task."""
        way = MAJOR >= _PEEKS and hasattr(asyncio, "timeout")
        return way and _is_bare(AsyncRedis.execute_command)

    async def send(self, words: tuple[Any, ...]) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        line = await self._take()
        try:
            async with asyncio.timeout(self._timeout):  # type: ignore[attr-defined]
                await line.send_packed_command(line.pack_command(*words))
                reply = await line.read_response(disable_decoding=True)
        except redis.ResponseError:
            self._idle.append(line)
            raise
        except asyncio.TimeoutError:
            await self._give_back(line)
            raise redis.TimeoutError(_SLOW) from None
        except BaseException:
            await self._give_back(line)
            raise
        self._idle.append(line)
        return reply

    async def transact(self, commands: Sequence[_Words]) -> list[Any] | None:
        """Send commands that are carried out as one, as `Lines.transact` does."""
        if not self._transacts:
            return None
        line, fine = await self._take(), False
        try:
            async with asyncio.timeout(self._timeout):  # type: ignore[attr-defined]
                await line.send_packed_command(line.pack_commands(_transaction(commands)))
                replies = [await self._read(line) for _ in range(len(commands) + 2)]
            results = _results(replies)
            self._transacts = fine = results is not None
        except asyncio.TimeoutError:
            raise redis.TimeoutError(_SLOW) from None
        finally:
            if fine:
                self._idle.append(line)
            else:
                await self._give_back(line)
        return results

    async def _read(self, line: Any) -> Any:
        try:
            return await line.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    async def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        while self._idle:
            await self._give_back(self._idle.pop())

    async def _take(self) -> Any:
        if self._idle:
            line = self._idle.pop()
            try:
                if not await line.can_read():
                    return line
            except redis.RedisError:
                pass
            await self._give_back(line)
        line = await self._pool.get_connection()
        # One timeout for the whole of a command: redis-py's own makes a task of each half.
        line.socket_timeout = None
        return line

    async def _give_back(self, line: Any) -> None:
        line.socket_timeout = self._timeout
        await line.disconnect(nowait=True)
        await self._pool.release(line)
