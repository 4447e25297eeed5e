"""The conformance suite on Redis; and on a Cluster, and on the oldest server there is, its core."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
from lighter import Lighter, Shorter
from servers import redis as redis_servers
from servers.permissions import permitted

from sessionstore import RedisSessionStore
from sessionstore.testing import OpenStore, SharedStoreConformance
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.crowds import CrowdContract
from sessionstore.testing.forking import ForkContract
from sessionstore.testing.listing import ListContract

# Both ends of what is supported: the old server is met through Sentinels, and over RESP2, which
# redis-py no longer speaks by default. Everywhere it is the user who may do what the page on Redis
# lists for it, and nothing else. All of the suite on all combinations is in the soak.
LEGS = {"redis_server": "", "redis_cluster": "", "old_redis_guarded": "?protocol=2"}


def opened(request: pytest.FixtureRequest) -> OpenStore:
    url = permitted(request.getfixturevalue(request.param)) + LEGS[request.param]
    return partial(
        RedisSessionStore,
        url,
        key_prefix=f"sessionstore:{uuid.uuid4()}:",
        timeout=redis_servers.PATIENCE,
    )


class TestConformance(Shorter, SharedStoreConformance):
    prunes = False

    @pytest.fixture(params=["redis_server"])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        return opened(request)

    def expiring(self, seconds: float) -> dict[str, Any]:
        return {"ttl_seconds": seconds}


@pytest.mark.soak
class TestElsewhere(Lighter, AppendContract, ListContract, ForkContract, CrowdContract):
    """What a topology or a protocol changes most."""

    @pytest.fixture(params=["redis_cluster", "old_redis_guarded"])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        return opened(request)
