"""The limit on Redis: redis-py's connections by hand, with hiredis, past its clients and pools."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import redis
from by_hand import ByHand, decoded, rows_of
from redis.asyncio import Redis as AsyncClient
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import parse_url
from redis.connection import Connection
from subject import AsyncSubject

_APPEND = """
for n = 1, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], ARGV[n], 1) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[n + 1])
  end
end
"""
_PLAIN: dict[str, Any] = {"socket_timeout": None, "protocol": 2}


def _script(url: str) -> Any:
    """Have the server keep the script, and give its name."""
    with redis.Redis.from_url(url) as client:
        return client.script_load(_APPEND)


def _read(session: str, limit: int | None) -> tuple[Any, ...]:
    return "LRANGE", f"{{{session}}}:messages", -limit if limit else 0, -1


def _write(script: Any, session: str, texts: Sequence[str]) -> tuple[Any, ...]:
    bodies = [part for row in rows_of(texts) for part in row]
    return "EVALSHA", script, 2, f"{{{session}}}:messages", f"{{{session}}}:ids", *bodies


class RedisByHand(ByHand):
    """A connection a thread: ``LRANGE``, and a script that knows the ids."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._script = _script(url)
        self._options = {**parse_url(url), **_PLAIN}
        self._mine = threading.local()
        self._opened: list[Connection] = []

    def _connection(self) -> Connection:
        if (connection := getattr(self._mine, "connection", None)) is None:
            connection = self._mine.connection = Connection(**self._options)
            self._opened.append(connection)
        return connection

    def _sent(self, words: tuple[Any, ...]) -> Any:
        connection = self._connection()
        connection.send_packed_command(connection.pack_command(*words), check_health=False)
        return connection.read_response(disable_decoding=True)

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return [decoded(body) for body in self._sent(_read(session, limit))]

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._sent(_write(self._script, session, texts))

    def close(self) -> None:
        for connection in self._opened:
            connection.disconnect()


class AsyncRedisByHand(AsyncSubject, ByHand):
    """The same in asyncio, with as many connections as commands are under way."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._script = _script(url)
        self._options = {**parse_url(url), **_PLAIN}
        self._idle: list[AsyncConnection] = []

    async def _sent(self, words: tuple[Any, ...]) -> Any:
        connection = self._idle.pop() if self._idle else AsyncConnection(**self._options)
        await connection.send_packed_command(connection.pack_command(*words), check_health=False)
        reply = await connection.read_response(disable_decoding=True)
        self._idle.append(connection)
        return reply

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return [decoded(body) for body in await self._sent(_read(session, limit))]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await self._sent(_write(self._script, session, texts))

    async def close(self) -> None:
        for connection in self._idle:
            await connection.disconnect()


class AsyncClientByHand(AsyncSubject, ByHand):
    """The same by redis-py's own client for asyncio, as a user would write it."""

    name = "by hand, redis-py's client"
    backend = "redis"

    def __init__(self, url: str) -> None:
        self._script = _script(url)
        # Its own default of 100 connections fails the calls of 256 tasks.
        self._client = AsyncClient.from_url(url, protocol=2, max_connections=1000)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        bodies = await self._client.execute_command(*_read(session, limit))
        return [decoded(body) for body in bodies]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await self._client.execute_command(*_write(self._script, session, texts))

    async def close(self) -> None:
        await self._client.aclose()
