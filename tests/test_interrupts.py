"""Ctrl-C on the stores: all or nothing, and nothing held.

Not on PostgreSQL at every moment: SQLAlchemy's pool keeps its own lock where one comes while it is
taken. What is ours to keep there is in test_sql_unsettled.py, and for memory in test_memory.py.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest
from servers import redis as redis_servers
from servers.redis import Server as RedisServer

from sessionstore import (
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
)
from sessionstore.testing import InterruptContract, OpenStore


class TestSqliteFile(InterruptContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(SQLiteSessionStore, tmp_path / "sessions.db", synchronous="NORMAL")


class TestSqliteInMemory(InterruptContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return SQLiteSessionStore


class TestSqliteAgentDb(InterruptContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: DbSessionStore(SqliteAgentDb(tmp_path / "sessions.db"))


class TestFallback(InterruptContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return lambda: FallbackSessionStore(InMemorySessionStore())


class TestRedis(InterruptContract):
    @pytest.fixture
    def open_store(self, redis_server: RedisServer) -> OpenStore:
        return partial(
            RedisSessionStore,
            redis_server.url,
            key_prefix=f"{uuid.uuid4()}:",
            timeout=redis_servers.PATIENCE,
        )
