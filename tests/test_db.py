from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary

from sessionstore import AgentDb, DbSessionStore, SqliteAgentDb
from sessionstore.testing import OpenStore, SessionStoreConformance, SharedStoreConformance


def open_database(url: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(AgentDb(url), **options)


def open_sqlite(path: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(SqliteAgentDb(path), **options)


if mariadb_binary():

    class TestMariadbConformance(SharedStoreConformance):
        @pytest.fixture
        def open_store(self, mariadb: MariadbServer, schema: str) -> OpenStore:
            mariadb.execute(f"CREATE DATABASE {schema}")
            return partial(open_database, mariadb.url(schema))


class TestSqliteConformance(SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, str(tmp_path / "sessions.db"))


class TestMemoryConformance(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return partial(open_sqlite, ":memory:")
