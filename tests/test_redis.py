"""The conformance suite on every topology, and on the oldest server there is."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
from lighter import Lighter
from servers import permissions
from servers import redis as redis_servers

from sessionstore import RedisSessionStore
from sessionstore.testing import OpenStore, SharedStoreConformance

# Both ends of what is supported: the old server is met through Sentinels, and over RESP2, which
# redis-py no longer speaks by default. Everywhere it is the user who may do what the page on Redis
# lists for it, and nothing else. All combinations are in the soak.
PATIENCE = 20.0  # a busy machine is no fault of the store
LEGS = {"redis_server": "", "redis_cluster": "", "old_redis_guarded": "?protocol=2"}


def opened(request: pytest.FixtureRequest) -> OpenStore:
    server = request.getfixturevalue(request.param)
    commands = permissions.ALWAYS
    if isinstance(server, redis_servers.Cluster):
        nodes, commands = server.servers, [*commands, *permissions.MORE]
    elif isinstance(server, redis_servers.Guarded):
        nodes = [server.master, server.replica]
    else:
        nodes, commands = [server], [*commands, "multi", "exec", "copy"]
    url = permissions.permit(server.url, nodes, commands) + LEGS[request.param]
    return partial(
        RedisSessionStore, url, key_prefix=f"sessionstore:{uuid.uuid4()}:", timeout=PATIENCE
    )


class TestConformance(SharedStoreConformance):
    prunes = False

    @pytest.fixture(params=["redis_server"])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        return opened(request)

    def expiring(self, seconds: float) -> dict[str, Any]:
        return {"ttl_seconds": seconds}


class TestElsewhere(Lighter, TestConformance):
    @pytest.fixture(params=["redis_cluster", "old_redis_guarded"])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        return opened(request)
