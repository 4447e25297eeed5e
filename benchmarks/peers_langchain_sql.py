"""langchain-community's SQL history, on SQLite and on PostgreSQL.

See `langchain_histories`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import peers
from langchain_core.messages import BaseMessage
from langchain_histories import AsyncHistories, Histories, Shared


class SQLHistory(Shared, Histories):
    """langchain-community's SQL history, on one engine.

    A load is one SELECT, in a transaction that is rolled back, by a column without an index; an
    append one INSERT of all, in a transaction. Sync and async have a table each. SQLite is as it
    is by default: a rollback journal, synchronous FULL.
    """

    name = "SQLChatMessageHistory (langchain-community)"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._engine = peers.engine(url)
        self._first = _sql_history(self._engine, "message_store")

    def close(self) -> None:
        self._engine.dispose()


class AsyncSQLHistory(Shared, AsyncHistories):
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


SUBJECTS = (
    SQLHistoryOnSQLite,
    SQLHistoryOnPostgres,
    AsyncSQLHistoryOnSQLite,
    AsyncSQLHistoryOnPostgres,
)
