"""LangChain's chat histories: langchain-community's, langchain-redis's and langchain-postgres's.

None reads a window: each reads the whole session. A history is bound to a session, so web services
make one for each request; here that costs nothing, see `peers.bound`. What it costs them: the SQL
history asks the catalogue for its table, the Redis ones connect and ask ``INFO`` or ``FT.INFO``.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import peers
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from peers import STACK
from subject import AsyncSubject, Subject

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

_TABLE = "chat_history"


class _Histories(Subject):
    family = "langchain"
    has_window = False

    def _history(self, session: str) -> contextlib.AbstractContextManager[BaseChatMessageHistory]:
        raise NotImplementedError

    def load(self, session: str, limit: int | None) -> Sequence[BaseMessage]:
        with self._history(session) as history:
            return history.messages

    def append(self, session: str, texts: Sequence[str]) -> None:
        with self._history(session) as history:
            history.add_messages(_messages(texts))


class _AsyncHistories(AsyncSubject):
    family = "langchain"
    has_window = False

    def _history(
        self, session: str
    ) -> contextlib.AbstractAsyncContextManager[BaseChatMessageHistory]:
        raise NotImplementedError

    async def load(self, session: str, limit: int | None) -> Sequence[BaseMessage]:
        async with self._history(session) as history:
            return await history.aget_messages()

    async def append(self, session: str, texts: Sequence[str]) -> None:
        async with self._history(session) as history:
            await history.aadd_messages(_messages(texts))


def _messages(texts: Sequence[str]) -> list[BaseMessage]:
    return peers.alternately(texts, HumanMessage, AIMessage)


class _Shared:
    """Histories that share their connections, and all but their IDs."""

    _first: Any

    def _history(self, session: str) -> contextlib.nullcontext[Any]:
        return contextlib.nullcontext(peers.bound(self._first, session))


# -- langchain-community -------------------------------------------------------------------------


class SQLHistory(_Shared, _Histories):
    """langchain-community's SQL history, on one engine.

    A load is one SELECT, in a transaction that is rolled back, by a column without an index; an
    append one INSERT of all, in a transaction. Each colour has its own table. SQLite is as it is by
    default: a rollback journal, synchronous FULL.
    """

    name = "SQLChatMessageHistory (langchain-community)"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._engine = peers.engine(url)
        self._first = _sql_history(self._engine, "message_store")

    def close(self) -> None:
        self._engine.dispose()


class AsyncSQLHistory(_Shared, _AsyncHistories):
    """The same in asyncio, with aiosqlite or asyncpg."""

    name = "SQLChatMessageHistory (langchain-community)"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._engine = peers.async_engine(url)
        self._first = _sql_history(self._engine, "message_store_of_tasks")
        self._make_table = peers.Once(self._first.aget_messages)

    async def load(self, session: str, limit: int | None) -> Sequence[BaseMessage]:
        await self._make_table()
        return await super().load(session, limit)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await self._make_table()
        await super().append(session, texts)

    async def close(self) -> None:
        await self._engine.dispose()


def _sql_history(engine: Any, table: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.chat_message_histories import SQLChatMessageHistory

    return SQLChatMessageHistory("", table, connection=engine)


class SQLHistoryOnSQLite(SQLHistory):
    """In a file."""

    backend = "sqlite"


class SQLHistoryOnPostgres(SQLHistory):
    """With psycopg."""

    backend = "postgresql"


class AsyncSQLHistoryOnSQLite(AsyncSQLHistory):
    """In a file."""

    backend = "sqlite"


class AsyncSQLHistoryOnPostgres(AsyncSQLHistory):
    """With asyncpg."""

    backend = "postgresql"


class RedisHistory(_Shared, _Histories):
    """langchain-community's Redis history, on one client.

    A load is one LRANGE of all; an append one LPUSH for each message.
    """

    name = "RedisChatMessageHistory (langchain-community)"
    backend = "redis"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._first = _redis_history(url)

    def close(self) -> None:
        self._first.redis_client.close()


class AsyncRedisHistory(_Shared, _AsyncHistories):
    """The same in asyncio: the sync client, in asyncio's threads, as LangChain does it."""

    name = "RedisChatMessageHistory (langchain-community), in threads"
    backend = "redis"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._first = _redis_history(url)

    async def close(self) -> None:
        self._first.redis_client.close()


def _redis_history(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.chat_message_histories import RedisChatMessageHistory

    return RedisChatMessageHistory("", url)


# -- langchain-redis -----------------------------------------------------------------------------


class SearchHistory(_Shared, _Histories):
    """langchain-redis's history: it needs RediSearch and RedisJSON, see `redis_stack`.

    A load is one FT.SEARCH, of 10,000 messages at most; an append one pipeline with a JSON.SET for
    each message, which the index takes in before it answers. Over RESP2: with what redis-py
    speaks by default, a second history fails on the index of the first.
    """

    name = "RedisChatMessageHistory (langchain-redis)"
    backend = "redis"
    needs = "langchain-redis"
    server = STACK

    def __init__(self, url: str) -> None:
        self._first = _search_history()

    def close(self) -> None:
        self._first.redis_client.close()


class AsyncSearchHistory(_Shared, _AsyncHistories):
    """The same in asyncio: the sync client, in asyncio's threads, as LangChain does it."""

    name = "RedisChatMessageHistory (langchain-redis), in threads"
    backend = "redis"
    needs = "langchain-redis"
    server = STACK

    def __init__(self, url: str) -> None:
        self._first = _search_history()

    async def close(self) -> None:
        self._first.redis_client.close()


def _search_history() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_redis import RedisChatMessageHistory

        return RedisChatMessageHistory("first", os.environ[STACK], protocol=2)


# -- langchain-postgres --------------------------------------------------------------------------


class PostgresHistory(_Histories):
    """langchain-postgres's history, on psycopg's pool.

    Its connections commit by themselves, so a load is one SELECT without a transaction; an append
    is one pipeline with an INSERT for each message. Its IDs are UUIDs.
    """

    name = "PostgresChatMessageHistory (langchain-postgres)"
    backend = "postgresql"
    needs = "langchain-postgres"

    def __init__(self, url: str) -> None:
        from langchain_postgres import PostgresChatMessageHistory
        from psycopg_pool import ConnectionPool

        self._pool = ConnectionPool(
            url, max_size=peers.CONNECTIONS, open=True, kwargs={"autocommit": True}
        )
        self._make = PostgresChatMessageHistory
        with self._pool.connection() as connection:
            self._make.create_tables(connection, _TABLE)

    @contextlib.contextmanager
    def _history(self, session: str) -> Any:
        with self._pool.connection() as connection:
            yield self._make(_TABLE, _uuid(session), sync_connection=connection)

    def close(self) -> None:
        self._pool.close()


class AsyncPostgresHistory(_AsyncHistories):
    """The same in asyncio, with psycopg's pool for asyncio."""

    name = "PostgresChatMessageHistory (langchain-postgres)"
    backend = "postgresql"
    needs = "langchain-postgres"

    def __init__(self, url: str) -> None:
        from langchain_postgres import PostgresChatMessageHistory

        PostgresHistory(url).close()  # it makes the table
        self._make, self._url = PostgresChatMessageHistory, url
        self._pool = peers.Once(self._open)

    async def _open(self) -> AsyncConnectionPool[AsyncConnection]:
        from psycopg_pool import AsyncConnectionPool

        pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            self._url, max_size=peers.CONNECTIONS, open=False, kwargs={"autocommit": True}
        )
        await pool.open()
        return pool

    @contextlib.asynccontextmanager
    async def _history(self, session: str) -> Any:
        async with (await self._pool()).connection() as connection:
            yield self._make(_TABLE, _uuid(session), async_connection=connection)

    async def close(self) -> None:
        await (await self._pool()).close()


def _uuid(session: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, session))


SUBJECTS = (
    SQLHistoryOnSQLite,
    SQLHistoryOnPostgres,
    AsyncSQLHistoryOnSQLite,
    AsyncSQLHistoryOnPostgres,
    RedisHistory,
    AsyncRedisHistory,
    SearchHistory,
    AsyncSearchHistory,
    PostgresHistory,
    AsyncPostgresHistory,
)
