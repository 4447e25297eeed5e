from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore

from sessionstore import InMemorySessionStore, SQLiteSessionStore
from sessionstore.fallback import FallbackSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance, SharedStoreConformance


def over_sqlite(path: Path, **options: Any) -> FallbackSessionStore:
    return FallbackSessionStore(SQLiteSessionStore(path, **options))


class TestHealthy(SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(over_sqlite, tmp_path / "sessions.db")


class TestDown(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> FallbackSessionStore:
            primary = FaultyStore(InMemorySessionStore(**options))
            primary.go_down()
            return FallbackSessionStore(primary, retry_after=0)

        return opened


class TestFlapping(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> FallbackSessionStore:
            primary = FaultyStore(InMemorySessionStore(**options))
            faults = itertools.cycle(["down", None, "lost", None])
            primary.fault = lambda: next(faults)
            return FallbackSessionStore(primary, retry_after=0)

        return opened
