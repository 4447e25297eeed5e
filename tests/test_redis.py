"""The conformance suite on every topology, and on the oldest server there is."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
from servers.redis import binaries

from sessionstore import RedisSessionStore
from sessionstore.testing import OpenStore, SharedStoreConformance

TOPOLOGIES = ["redis_server", "redis_cluster", "redis_guarded"]
if len(binaries()) > 1:  # where there is one server only, it is the first already
    TOPOLOGIES.append("old_redis_server")


class TestConformance(SharedStoreConformance):
    prunes = False

    @pytest.fixture(params=TOPOLOGIES)
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        server = request.getfixturevalue(request.param)
        return partial(RedisSessionStore, server.url, key_prefix=f"{uuid.uuid4()}:")

    def expiring(self, seconds: float) -> dict[str, Any]:
        return {"ttl_seconds": seconds}


class TestOldProtocol(TestConformance):
    """The same over RESP2, which redis-py 8 no longer speaks by default."""

    @pytest.fixture(params=TOPOLOGIES[:2])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        server = request.getfixturevalue(request.param)
        return partial(RedisSessionStore, f"{server.url}?protocol=2", key_prefix=f"{uuid.uuid4()}:")
