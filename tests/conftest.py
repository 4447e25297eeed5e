from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    server = MariadbServer(str(mariadb_binary()))
    yield server
    server.stop()


@pytest.fixture
def schema() -> str:
    """Give the name of a schema of the test's own: cheaper than a database."""
    return f"test_{uuid.uuid4().hex[:12]}"
