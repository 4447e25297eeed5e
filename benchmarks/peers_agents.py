"""The OpenAI Agents SDK's sessions, all for asyncio; each reads a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peers
from subject import AsyncSubject


class _Sessions(AsyncSubject):
    family = "openai-agents"
    needs = "openai-agents"

    async def _session(self, session: str) -> Any:
        raise NotImplementedError

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await (await self._session(session)).get_items(limit)  # type: ignore[no-any-return]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        items = peers.alternately(texts, _said_by("user"), _said_by("assistant"))
        await (await self._session(session)).add_items(items)

    def text(self, message: Any) -> str:
        return str(message["content"])


def _said_by(role: str) -> Any:
    return lambda text: {"role": role, "content": text}


class SQLiteSessions(_Sessions):
    """The SDK's `SQLiteSession`: sqlite3 in asyncio's threads, one at a time for a file.

    A load is one SELECT by an index; an append INSERTs the session, its messages and UPDATEs the
    session, in one transaction. WAL, synchronous FULL. Its users make an object for each request,
    which opens the file twice and looks for its tables: here they share the first one's
    connections, see `peers.bound`.
    """

    name = "SQLiteSession (openai-agents)"
    backend = "sqlite"

    def __init__(self, url: str) -> None:
        from agents import SQLiteSession

        self._first = SQLiteSession("", url)

    async def _session(self, session: str) -> Any:
        return peers.bound(self._first, session)

    async def close(self) -> None:
        self._first.close()


class SQLAlchemySessions(_Sessions):
    """The SDK's `SQLAlchemySession`, on one engine.

    A load is one SELECT by an index, sorted, in a transaction that is rolled back; an append is a
    SELECT and one more to lock the session (on SQLite an UPDATE), an INSERT for each message and an
    UPDATE of the session, in one transaction. On SQLite WAL, synchronous FULL. Its users make an
    object for each request, with tables that SQLAlchemy compiles again: here they share the first
    one's, see `peers.bound`.
    """

    name = "SQLAlchemySession (openai-agents)"

    def __init__(self, url: str) -> None:
        from agents.extensions.memory import SQLAlchemySession

        self._engine = peers.async_engine(url)
        self._made = SQLAlchemySession("", engine=self._engine, create_tables=True)
        self._first = peers.Once(self._open)

    async def _open(self) -> Any:
        await self._made.get_items()  # makes the tables
        return self._made

    async def _session(self, session: str) -> Any:
        return peers.bound(await self._first(), session)

    async def close(self) -> None:
        await self._engine.dispose()


class SQLAlchemySessionsOnSQLite(SQLAlchemySessions):
    """With aiosqlite."""

    backend = "sqlite"


class SQLAlchemySessionsOnPostgres(SQLAlchemySessions):
    """With asyncpg, its own choice."""

    backend = "postgresql"


class RedisSessions(_Sessions):
    """The SDK's `RedisSession`, one for each session, on one client.

    A load is one LRANGE, of the last messages if so asked; an append is WATCH, two TYPEs and a
    transaction: four round trips on one connection. Each has a lock of its own, without which its
    writers only meet in WATCH, and try again and again.
    """

    name = "RedisSession (openai-agents)"
    backend = "redis"

    def __init__(self, url: str) -> None:
        from agents.extensions.memory import RedisSession
        from redis.asyncio import Redis

        self._client = Redis.from_url(url)
        self._make = RedisSession
        self._made: dict[str, Any] = {}

    async def _session(self, session: str) -> Any:
        if session not in self._made:
            self._made[session] = self._make(session, redis_client=self._client)
        return self._made[session]

    async def close(self) -> None:
        await self._client.aclose()


SUBJECTS = (
    SQLiteSessions,
    SQLAlchemySessionsOnSQLite,
    SQLAlchemySessionsOnPostgres,
    RedisSessions,
)
