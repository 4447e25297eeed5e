from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from conftest import empty
from lighter import Checked
from servers.pgbouncer import PgBouncer
from servers.pgbouncer import binary as pgbouncer_binary
from servers.postgres import PostgresServer

from sessionstore import DbSessionStore, PostgresAgentDb
from sessionstore.testing import OpenStore, SharedStoreConformance


def open_bounced(url: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(PostgresAgentDb(url, schema="bounced"), **options)


if pgbouncer_binary():

    @pytest.fixture(scope="module")
    def bouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
        bouncer = PgBouncer(postgres)
        yield bouncer
        bouncer.stop()

    @pytest.fixture(scope="module")
    def kept(postgres: PostgresServer) -> Iterator[PostgresAgentDb]:
        with PostgresAgentDb(postgres.url(), schema="bounced") as db:
            DbSessionStore(db).ping()
            yield db

    class TestPgBouncerConformance(Checked, SharedStoreConformance):
        @pytest.fixture
        def open_store(
            self, postgres: PostgresServer, bouncer: PgBouncer, kept: PostgresAgentDb
        ) -> OpenStore:
            empty(kept)
            return partial(open_bounced, postgres.url(port=bouncer.port))
