"""The contract in an outage, over a fallback that is a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fallback_contract import GoingDownAndUp, Outage, faulty
from lighter import Checked

from sessionstore import SQLiteSessionStore
from sessionstore.testing import OpenStore

Files = Callable[[], SQLiteSessionStore]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    numbers = itertools.count()
    return lambda: SQLiteSessionStore(tmp_path / f"{next(numbers)}.db", synchronous="NORMAL")


class TestDownFromTheStart(Checked, Outage):
    @pytest.fixture
    def open_store(self, files: Files) -> OpenStore:
        return faulty(lambda: itertools.repeat("down"), files)


class TestDownAndUpAtEachRequest(Checked, GoingDownAndUp):
    @pytest.fixture
    def open_store(self, files: Files) -> OpenStore:
        return faulty(lambda: itertools.cycle(["down", None]), files)


class TestAnswersLost(Checked, GoingDownAndUp):
    @pytest.fixture
    def open_store(self, files: Files) -> OpenStore:
        return faulty(lambda: itertools.cycle([None, "lost", None, "down", "lost"]), files)
