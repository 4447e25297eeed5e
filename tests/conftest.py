"""The servers that tests share: started at first use, once in each test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import redis as redis_servers

OLDEST = list(redis_servers.binaries())[-1:]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis_servers.Server]:
    with redis_servers.single() as server:
        yield server


@pytest.fixture(scope="session")
def old_redis_server() -> Iterator[redis_servers.Server]:
    with redis_servers.single(*OLDEST) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[redis_servers.Cluster]:
    with redis_servers.cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def old_redis_guarded() -> Iterator[redis_servers.Guarded]:
    with redis_servers.guarded(*OLDEST) as guarded:
        yield guarded
