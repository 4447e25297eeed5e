"""langchain-postgres's history.

See `langchain_histories`.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import peers
from langchain_histories import AsyncHistories, Histories

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

_TABLE = "chat_history"


class PostgresHistory(Histories):
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


class AsyncPostgresHistory(AsyncHistories):
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


SUBJECTS = (PostgresHistory, AsyncPostgresHistory)
