"""One command at a time, the shortest way, on the connections of one event loop.

See `sessionstore.redis.direct`, which does it for threads.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis

from sessionstore.deadline import until
from sessionstore.redis import direct
from sessionstore.redis.async_batches import Asked
from sessionstore.redis.direct import (
    LOST,
    Idle,
    in_transaction,
    is_bare,
    leads_to_master,
    patience,
    results_of,
)
from sessionstore.redis.making import MAJOR
from sessionstore.redis.requests import Words
from sessionstore.redis.timed import SLOW, left

try:
    from hiredis import pack_command as _pack  # redis-py's own, for asyncio, is many times as slow
except ImportError:
    _pack = None  # type: ignore[assignment]

__all__ = ["AsyncDirect"]

_PEEKS = 8  # the first whose asyncio connections tell whether they are fit without waiting


class AsyncDirect:
    """Connections that wait for the next command of one event loop.

    Args:
        client: Whose pool makes them.
        timeout: How long a command may take, in seconds; ``None`` is for as long as the call.
    """

    def __init__(self, client: AsyncRedis, timeout: float | None) -> None:
        """Take none yet."""
        self._pool: Any = client.connection_pool
        self._timeout = timeout
        self._idle: list[Idle] = []
        self._transacts = True

    @staticmethod
    def is_possible() -> bool:
        """Tell whether the way is open, as above, and this Python has a timeout without a task."""
        way = MAJOR >= _PEEKS and hasattr(asyncio, "timeout")
        return way and is_bare(AsyncRedis.execute_command)

    @property
    def idle(self) -> int:
        """How many connections wait for the next command."""
        return len(self._idle)

    async def send(self, words: Words) -> Any:
        """Send one command, and give its reply; an error of the server is raised."""
        connection, since = None, 0.0
        try:
            async with asyncio.timeout(left(self._timeout)):  # type: ignore[attr-defined]
                connection, since = await self._take()
                await connection.send_packed_command(packed(connection, words))
                reply = await connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            if connection is not None:  # else it was refused before it was one
                self._idle.append((connection, time.monotonic()))
            raise
        except BaseException as error:
            await self._failed(connection, since, error)
            if isinstance(error, asyncio.TimeoutError):
                raise redis.TimeoutError(SLOW) from None
            raise
        self._idle.append((connection, time.monotonic()))
        return reply

    async def together(self, batch: list[Asked], *, is_fresh: bool) -> None:
        """Send the commands of several callers, and answer each as its reply comes."""
        connection, since = None, 0.0
        last = max(asked.ends for asked in batch)
        try:
            with until(last if last < math.inf else None):
                async with asyncio.timeout(left(self._timeout)):  # type: ignore[attr-defined]
                    connection, since = await self._take(is_fresh=is_fresh)
                    await connection.send_packed_command(
                        b"".join([packed(connection, asked.command.words) for asked in batch])
                    )
                    for asked in batch:
                        asked.answer(await self._read(connection))
        except BaseException as error:
            await self._failed(connection, since, error)
            if isinstance(error, asyncio.TimeoutError):
                raise redis.TimeoutError(SLOW) from None
            raise
        self._idle.append((connection, time.monotonic()))

    async def transact(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands that are carried out as one, as `Direct.transact` does."""
        if not self._transacts:
            return []
        connection, since = None, 0.0
        try:
            async with asyncio.timeout(left(self._timeout)):  # type: ignore[attr-defined]
                connection, since = await self._take()
                packed = connection.pack_commands(in_transaction(commands))
                await connection.send_packed_command(packed)
                replies = [await self._read(connection) for _ in range(len(commands) + 2)]
            results = results_of(replies)
        except BaseException as error:
            await self._failed(connection, since, error)
            if isinstance(error, asyncio.TimeoutError):
                raise redis.TimeoutError(SLOW) from None
            raise
        if not results:  # the transaction may not be over
            self._transacts = False
            await self._give_back(connection)
        else:
            self._idle.append((connection, time.monotonic()))
        return results

    async def _read(self, connection: Any) -> Any:
        try:
            return await connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error.with_traceback(None)

    async def let_go(self) -> None:
        """Close those that wait: they lead to a server that is no longer the right one."""
        await self._let_go_of_elders(math.inf)

    async def _let_go_of_elders(self, since: float) -> None:
        elders = [entry for entry in self._idle if entry[1] <= since]
        self._idle[:] = [entry for entry in self._idle if entry[1] > since]
        for connection, _ in elders:
            await self._give_back(connection)

    async def _take(self, *, is_fresh: bool = False) -> Idle:
        while self._idle and not is_fresh:
            connection, since = self._idle.pop()
            try:
                fit = await self._is_fit(connection, since)
            except BaseException:
                await self._give_back(connection)
                raise
            if fit:
                return connection, since
            await self._give_back(connection)
        return await self._pool.get_connection(), 0.0

    async def _is_fit(self, connection: Any, since: float) -> bool:
        try:
            if await connection.can_read() or not leads_to_master(self._pool, connection):
                return False
            if since + direct.FORGOTTEN < time.monotonic() and not connection.health_check_interval:
                async with asyncio.timeout(patience()):  # type: ignore[attr-defined]
                    await connection.send_command("PING", check_health=False)
                    await connection.read_response()
        except redis.ResponseError:
            return True
        except (redis.RedisError, asyncio.TimeoutError):
            await self._let_go_of_elders(since)
            return False
        return True

    async def _failed(self, connection: Any, since: float, error: BaseException) -> None:
        if connection is None:
            return
        await self._give_back(connection)
        if isinstance(error, (*LOST, asyncio.TimeoutError)):
            await self._let_go_of_elders(since)

    async def _give_back(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


def packed(connection: Any, words: Words) -> bytes:
    """Give a command's bytes."""
    return b"".join(connection.pack_command(*words)) if _pack is None else bytes(_pack(words))
