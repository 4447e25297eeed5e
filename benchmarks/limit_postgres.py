"""The limit on PostgreSQL: psycopg 3 by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from by_hand import ByHand, oldest_first, rows_of
from subject import AsyncSubject

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
    ids, bodies = zip(*rows_of(texts), strict=True)
    return {
        "session": session,
        "count": len(ids),
        "ids": list(ids),
        "bodies": [body.decode() for body in bodies],
    }


class PostgresByHand(ByHand):
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
        return oldest_first(self._connection().execute(_LAST, (session, limit)))

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._connection().execute(_INSERT, _values(session, texts))

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


class AsyncPostgresByHand(AsyncSubject, ByHand):
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
            return oldest_first(await cursor.fetchall())
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
