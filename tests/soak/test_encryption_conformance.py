"""The conformance suite on every store with all that it holds encrypted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import empty
from lighter import Checked, Lighter, Shorter
from servers import redis as redis_servers
from servers.postgres import PostgresServer
from servers.redis import Server

from sessionstore import (
    DbSessionStore,
    EncryptedSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
)
from sessionstore.testing import OpenStore, SessionStoreConformance, SharedStoreConformance

KEYS = {"new": bytes(range(32)), "old": bytes(32)}


def sealed_file(path: Path, **options: Any) -> EncryptedSessionStore:
    return EncryptedSessionStore(SQLiteSessionStore(path, **options), KEYS)


def sealed_db(path: str, **options: Any) -> EncryptedSessionStore:
    return EncryptedSessionStore(DbSessionStore(SqliteAgentDb(path), **options), KEYS)


def sealed_postgres(url: str, schema: str, **options: Any) -> EncryptedSessionStore:
    db = PostgresAgentDb(url, schema=schema)
    return EncryptedSessionStore(DbSessionStore(db, **options), KEYS)


def sealed_redis(url: str, prefix: str, **options: Any) -> EncryptedSessionStore:
    store = RedisSessionStore(url, key_prefix=prefix, timeout=redis_servers.PATIENCE, **options)
    return EncryptedSessionStore(store, KEYS)


class TestInMemory(Checked, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> EncryptedSessionStore:
            return EncryptedSessionStore(InMemorySessionStore(**options), KEYS)

        return opened


class TestSQLite(Checked, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(sealed_file, tmp_path / "sessions.db")


class TestSqliteAgentDb(Lighter, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(sealed_db, str(tmp_path / "sessions.db"))


@pytest.fixture(scope="module")
def kept(postgres: PostgresServer) -> Iterator[PostgresAgentDb]:
    with PostgresAgentDb(postgres.url(), schema="sealed") as db:
        DbSessionStore(db).ping()
        yield db


class TestPostgres(Lighter, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, postgres: PostgresServer, kept: PostgresAgentDb) -> OpenStore:
        empty(kept)
        return partial(sealed_postgres, postgres.url(), "sealed")


class TestRedis(Shorter, SharedStoreConformance):
    prunes = False

    @pytest.fixture
    def open_store(self, redis_server: Server) -> OpenStore:
        prefix = f"sessionstore:{uuid.uuid4()}:"
        return partial(sealed_redis, redis_server.url, prefix)

    def expiring(self, seconds: float) -> dict[str, Any]:
        return {"ttl_seconds": seconds}


class TestOverAFallback(Shorter, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> EncryptedSessionStore:
            return EncryptedSessionStore(
                FallbackSessionStore(InMemorySessionStore(**options)), KEYS
            )

        return opened


class TestUnderAFallback(Lighter, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> FallbackSessionStore:
            return FallbackSessionStore(
                EncryptedSessionStore(InMemorySessionStore(**options), KEYS)
            )

        return opened
