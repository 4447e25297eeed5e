"""All of the conformance suite where the tests run a part of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lighter import Checked

from sessionstore import DbSessionStore, SqliteAgentDb, SQLiteSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance, SharedStoreConformance


def open_sqlite(path: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(SqliteAgentDb(path), **options)


class TestMemoryConformance(Checked, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return SQLiteSessionStore


class TestFileConformance(Checked, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(SQLiteSessionStore, tmp_path / "sessions.db")


class TestDbConformance(Checked, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, str(tmp_path / "sessions.db"))
