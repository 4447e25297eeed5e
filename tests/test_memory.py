from __future__ import annotations

import pytest

from sessionstore import InMemorySessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance


class TestConformance(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return InMemorySessionStore
