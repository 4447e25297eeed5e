"""The limits: the same work by hand, on the driver alone, as lean as it goes.

Each keeps what a store promises of it: an append is durable as the backend has it, atomic, in one
order for all readers, in one round trip, and adds nothing when its ids are there already; reading
the last messages costs the same in a long session as in a short one. There is no owner, no version,
no index to list sessions from, no expiry, no check of what comes in, and no error is translated.

`NaiveSQLite`, `NaiveRedis` and `NaivePostgres` are the way to LangChain's messages that one writes
first: rows of LangChain's own JSON, ``json.loads`` and ``messages_from_dict``.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import redis
import redis.asyncio
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from subject import AsyncSubject, Subject

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def _rows(texts: Sequence[str]) -> list[tuple[str, bytes]]:
    """Give each message's id and its JSON."""
    now = time.time()
    return [
        (message_id, _encode({"role": role, "content": text, "id": message_id, "created_at": now}))
        for text, role, message_id in (
            (text, ("user", "assistant")[n % 2], uuid4().hex) for n, text in enumerate(texts)
        )
    ]


def _oldest_first(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [_decode(body) for (body,) in rows][::-1]


class _ByHand(Subject):
    name = "by hand"
    family = "limit"

    def text(self, message: Any) -> str:
        return str(message["content"])


# -- SQLite ------------------------------------------------------------------------------------


class SQLiteByHand(_ByHand):
    """`sqlite3`, a connection a thread; WAL, a full sync at each commit."""

    backend = "sqlite"
    synchronous = "FULL"

    def __init__(self, url: str) -> None:
        self._path = url
        self._mine = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._connection().executescript(
            "CREATE TABLE IF NOT EXISTS messages (position INTEGER PRIMARY KEY, session TEXT,"
            " id TEXT, body BLOB, UNIQUE (session, id));"
            "CREATE INDEX IF NOT EXISTS of_session ON messages (session, position)"
        )

    def _connection(self) -> sqlite3.Connection:
        if (connection := getattr(self._mine, "connection", None)) is None:
            connection = sqlite3.connect(
                self._path, timeout=60, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            self._mine.connection = connection
            self._opened.append(connection)
        return connection

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return _oldest_first(
            self._connection().execute(
                "SELECT body FROM messages WHERE session = ? ORDER BY position DESC LIMIT ?",
                (session, -1 if limit is None else limit),
            )
        )

    def append(self, session: str, texts: Sequence[str]) -> None:
        rows = [(session, *row) for row in _rows(texts)]
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT OR IGNORE INTO messages (session, id, body) VALUES (?, ?, ?)", rows
            )
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


class SQLiteNormalByHand(SQLiteByHand):
    """The same, without a sync at each commit."""

    name = "by hand (NORMAL)"
    synchronous = "NORMAL"


class AsyncSQLiteByHand(AsyncSubject, _ByHand):
    """`SQLiteByHand`, one hop to a thread for each operation."""

    backend = "sqlite"
    kind = SQLiteByHand

    def __init__(self, url: str) -> None:
        self._blocking = self.kind(url)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await asyncio.to_thread(self._blocking.load, session, limit)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await asyncio.to_thread(self._blocking.append, session, texts)

    async def close(self) -> None:
        self._blocking.close()


class AsyncSQLiteNormalByHand(AsyncSQLiteByHand):
    """The same, without a sync at each commit."""

    name = "by hand (NORMAL)"
    kind = SQLiteNormalByHand


# -- Redis -------------------------------------------------------------------------------------

_APPEND = """
for n = 1, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], ARGV[n], 1) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[n + 1])
  end
end
"""


def _keys(session: str) -> tuple[str, str]:
    return f"{{{session}}}:messages", f"{{{session}}}:ids"


class RedisByHand(_ByHand):
    """`redis.Redis` with hiredis: ``LRANGE``, and a script that knows the ids."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._append = self._client.register_script(_APPEND)

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        bodies: Any = self._client.lrange(_keys(session)[0], -limit if limit else 0, -1)
        return [_decode(body) for body in bodies]

    def append(self, session: str, texts: Sequence[str]) -> None:
        arguments = [part for row in _rows(texts) for part in row]
        self._append(keys=_keys(session), args=arguments)

    def close(self) -> None:
        self._client.close()


class AsyncRedisByHand(AsyncSubject, _ByHand):
    """The same by `redis.asyncio.Redis`."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)
        self._append = self._client.register_script(_APPEND)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        bodies: Any = await self._client.lrange(_keys(session)[0], -limit if limit else 0, -1)
        return [_decode(body) for body in bodies]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        arguments = [part for row in _rows(texts) for part in row]
        await self._append(keys=_keys(session), args=arguments)

    async def close(self) -> None:
        await self._client.aclose()


# -- PostgreSQL --------------------------------------------------------------------------------

_TABLES = (
    "CREATE TABLE IF NOT EXISTS by_hand_sessions (id text PRIMARY KEY, next bigint NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS by_hand (session text, position bigint, id text, body text,"
        " PRIMARY KEY (session, position), UNIQUE (session, id))"
    ),
)
# The session's own row makes its writers take turns: without that lock, an older place could be
# committed behind a newer one that a reader has seen.
_INSERT = """
WITH turn AS (
    INSERT INTO by_hand_sessions (id, next) VALUES (%(session)s, %(count)s)
    ON CONFLICT (id) DO UPDATE SET next = by_hand_sessions.next + %(count)s
    RETURNING next - %(count)s AS start
)
INSERT INTO by_hand (session, position, id, body)
SELECT %(session)s, turn.start + new.place, new.id, new.body
FROM turn, unnest(%(ids)s::text[], %(bodies)s::text[]) WITH ORDINALITY AS new (id, body, place)
ON CONFLICT (session, id) DO NOTHING
"""
_LAST = "SELECT body FROM by_hand WHERE session = %s ORDER BY position DESC LIMIT %s"


def _values(session: str, texts: Sequence[str]) -> dict[str, Any]:
    ids, bodies = zip(*_rows(texts), strict=True)
    return {
        "session": session,
        "count": len(ids),
        "ids": list(ids),
        "bodies": [body.decode() for body in bodies],
    }


class PostgresByHand(_ByHand):
    """`psycopg`, a connection a thread, statements prepared from the first on."""

    backend = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self._mine = threading.local()
        self._opened: list[psycopg.Connection] = []
        for table in _TABLES:
            self._connection().execute(table)

    def _connection(self) -> psycopg.Connection:
        if (connection := getattr(self._mine, "connection", None)) is None:
            connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=0)
            self._mine.connection = connection
            self._opened.append(connection)
        return connection

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return _oldest_first(self._connection().execute(_LAST, (session, limit)))

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._connection().execute(_INSERT, _values(session, texts))

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


class AsyncPostgresByHand(AsyncSubject, _ByHand):
    """The same by `psycopg.AsyncConnection`, 15 of them, the last that was given back first."""

    backend = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: asyncio.LifoQueue[psycopg.AsyncConnection] = asyncio.LifoQueue()
        self._opened: list[psycopg.AsyncConnection] = []

    async def _take(self) -> psycopg.AsyncConnection:
        if self._idle.empty() and len(self._opened) < 15:
            self._opened.append(None)  # type: ignore[arg-type]  # its place, while it is opened
            place = len(self._opened) - 1
            connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, prepare_threshold=0
            )
            self._opened[place] = connection
            if place == 0:
                for table in _TABLES:
                    await connection.execute(table)
            return connection
        return await self._idle.get()

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        connection = await self._take()
        try:
            cursor = await connection.execute(_LAST, (session, limit))
            return _oldest_first(await cursor.fetchall())
        finally:
            self._idle.put_nowait(connection)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        values = _values(session, texts)
        connection = await self._take()
        try:
            await connection.execute(_INSERT, values)
        finally:
            self._idle.put_nowait(connection)

    async def close(self) -> None:
        for connection in self._opened:
            await connection.close()


# -- LangChain's messages, the naive way ---------------------------------------------------------


def _dumped(texts: Sequence[str]) -> list[str]:
    kinds = (HumanMessage, AIMessage)
    return [json.dumps(message_to_dict(kinds[n % 2](text))) for n, text in enumerate(texts)]


class _Naive(Subject):
    name = "driver, json.loads, messages_from_dict"
    family = "naive"

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        raise NotImplementedError

    def load(self, session: str, limit: int | None) -> list[BaseMessage]:
        return messages_from_dict([json.loads(body) for body in self._read(session, limit)])


class NaiveSQLite(_Naive):
    """A table of rows of LangChain's JSON, and no more."""

    backend = "sqlite"

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id TEXT, message TEXT)"
        )
        self._connection.execute("CREATE INDEX of_session ON message_store (session_id)")

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        query = "SELECT message FROM message_store WHERE session_id = ? ORDER BY id DESC LIMIT ?"
        rows = self._connection.execute(query, (session, -1 if limit is None else limit))
        return [body for (body,) in rows][::-1]

    def append(self, session: str, texts: Sequence[str]) -> None:
        with self._connection:
            self._connection.executemany(
                "INSERT INTO message_store (session_id, message) VALUES (?, ?)",
                [(session, body) for body in _dumped(texts)],
            )

    def close(self) -> None:
        self._connection.close()


class NaiveRedis(_Naive):
    """A list of LangChain's JSON."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        bodies: Any = self._client.lrange(f"naive:{session}", -limit if limit else 0, -1)
        return list(bodies)

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._client.rpush(f"naive:{session}", *_dumped(texts))

    def close(self) -> None:
        self._client.close()


class NaivePostgres(_Naive):
    """A table of rows of LangChain's JSON, through one connection."""

    backend = "postgresql"

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS naive"
            " (id bigserial PRIMARY KEY, session_id text, message text)"
        )
        self._connection.execute("CREATE INDEX IF NOT EXISTS of_naive ON naive (session_id, id)")

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        query = "SELECT message FROM naive WHERE session_id = %s ORDER BY id DESC LIMIT %s"
        rows = self._connection.execute(query, (session, limit)).fetchall()
        return [body for (body,) in rows][::-1]

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._connection.execute(
            "INSERT INTO naive (session_id, message) SELECT %s, unnest(%s::text[])",
            (session, _dumped(texts)),
        )

    def close(self) -> None:
        self._connection.close()


LIMITS: dict[str, tuple[type[Subject], ...]] = {
    "sqlite": (SQLiteByHand, AsyncSQLiteByHand, NaiveSQLite),
    "redis": (RedisByHand, AsyncRedisByHand, NaiveRedis),
    "postgresql": (PostgresByHand, AsyncPostgresByHand, NaivePostgres),
}
