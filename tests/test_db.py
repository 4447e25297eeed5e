from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lighter import Checked

from sessionstore import DbSessionStore, SqliteAgentDb
from sessionstore.testing import OpenStore
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.arguments import ArgumentContract
from sessionstore.testing.cancelling import CancelContract
from sessionstore.testing.concurrency import ConcurrencyContract
from sessionstore.testing.content import ContentContract
from sessionstore.testing.lifetime import RestartContract
from sessionstore.testing.processes import ProcessContract
from sessionstore.testing.sessions import SessionContract
from sessionstore.testing.several import SeveralContract


def open_sqlite(path: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(SqliteAgentDb(path), **options)


class TestSqliteConformance(
    Checked,
    AppendContract,
    SeveralContract,
    ConcurrencyContract,
    CancelContract,
    RestartContract,
    ProcessContract,
):
    """What a file can do otherwise than a server; the soak tests run the whole suite."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, str(tmp_path / "sessions.db"))


class TestMemoryConformance(SessionContract, ContentContract, ArgumentContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return partial(open_sqlite, ":memory:")
