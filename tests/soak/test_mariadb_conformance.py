from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from conftest import empty
from lighter import Checked
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary

from sessionstore import AgentDb, DbSessionStore
from sessionstore.testing import OpenStore, SharedStoreConformance


def open_database(url: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(AgentDb(url), **options)


if mariadb_binary():

    @pytest.fixture(scope="module")
    def kept(mariadb: MariadbServer) -> Iterator[AgentDb]:
        mariadb.execute("CREATE OR REPLACE DATABASE kept")  # other tests may come between its own
        with AgentDb(mariadb.url("kept")) as db:
            DbSessionStore(db).ping()
            yield db

    class TestMariadbConformance(Checked, SharedStoreConformance):
        @pytest.fixture
        def open_store(self, mariadb: MariadbServer, kept: AgentDb) -> OpenStore:
            empty(kept)
            return partial(open_database, mariadb.url("kept"))
