"""All of the conformance suite on SQLite in memory: the tests run it whole on a file."""

from __future__ import annotations

import pytest
from lighter import Checked

from sessionstore import SQLiteSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance


class TestMemoryConformance(Checked, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return SQLiteSessionStore
