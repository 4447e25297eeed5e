"""LangGraph's savers for PostgreSQL, on pools that outlive an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

_CONNECTIONS: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": 0,
    "row_factory": dict_row,
    "connect_timeout": 5,
}
_POOL: dict[str, Any] = {"min_size": 1, "max_size": 8, "open": False, "reconnect_timeout": 1}


@contextmanager
def postgres_saver(url: str, timeout: float = 30.0) -> Iterator[PostgresSaver]:
    """Give a saver whose pool throws broken connections away."""
    check = ConnectionPool.check_connection
    pool = ConnectionPool(url, kwargs=_CONNECTIONS, check=check, timeout=timeout, **_POOL)
    with pool:
        saver = PostgresSaver(pool)
        saver.setup()
        yield saver


@asynccontextmanager
async def async_postgres_saver(
    url: str, timeout: float = 30.0
) -> AsyncIterator[AsyncPostgresSaver]:
    """Async twin of `postgres_saver`."""
    check = AsyncConnectionPool.check_connection
    pool = AsyncConnectionPool(url, kwargs=_CONNECTIONS, check=check, timeout=timeout, **_POOL)
    async with pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        yield saver
