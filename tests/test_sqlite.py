from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sessionstore import SQLiteSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance, SharedStoreConformance


class TestFileConformance(SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(SQLiteSessionStore, tmp_path / "sessions.db")


class TestMemoryConformance(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return SQLiteSessionStore
