"""All of the contract that an outage leaves, where the primary goes down and up at each request."""

from __future__ import annotations

import itertools

import pytest
from fallback_contract import GoingDownAndUp, faulty
from lighter import Checked

from sessionstore.testing import OpenStore


class TestDownAndUpAtEachRequest(Checked, GoingDownAndUp):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle(["down", None]))


class TestAnswersLost(Checked, GoingDownAndUp):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle([None, "lost", None, "down", "lost"]))
