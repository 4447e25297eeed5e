from __future__ import annotations

from typing import Any

import pytest

from sessionstore import InMemorySessionStore
from sessionstore.encryption import EncryptedSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance

KEY = bytes(range(32))


class TestConformance(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> EncryptedSessionStore:
            return EncryptedSessionStore(InMemorySessionStore(**options), KEY)

        return opened
