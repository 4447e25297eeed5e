from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lighter import Checked

from sessionstore import DbSessionStore, SqliteAgentDb
from sessionstore.testing import OpenStore, SharedStoreConformance
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.arguments import ArgumentContract
from sessionstore.testing.content import ContentContract
from sessionstore.testing.sessions import SessionContract


def open_sqlite(path: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(SqliteAgentDb(path), **options)


class TestSqliteConformance(Checked, SharedStoreConformance):
    # Tried below, by the same statements and types.
    test_a_message_comes_back_equal = test_any_messages_come_back_equal = None
    test_metadata_comes_back_equal = test_any_metadata_comes_back_equal = None
    # 100,000 messages: the tables are those of SQLite's own store, which tries it.
    test_a_long_session_is_used_as_a_short_one = None

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, str(tmp_path / "sessions.db"))


class TestMemoryConformance(SessionContract, AppendContract, ContentContract, ArgumentContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return partial(open_sqlite, ":memory:")
