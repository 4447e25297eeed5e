"""The contract, where the primary is healthy, down, and going down and up at each request."""

from __future__ import annotations

import itertools

import pytest
from fallback_contract import GoingDownAndUp, Outage, faulty
from lighter import Lighter

from sessionstore import FallbackSessionStore, InMemorySessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance


class TestHealthy(Lighter, SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return lambda **options: FallbackSessionStore(InMemorySessionStore(**options))


class TestDownFromTheStart(Outage):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.repeat("down"))


class TestDownAndUpAtEachRequest(Lighter, GoingDownAndUp):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle(["down", None]))


class TestAnswersLost(Lighter, GoingDownAndUp):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle([None, "lost", None, "down", "lost"]))
