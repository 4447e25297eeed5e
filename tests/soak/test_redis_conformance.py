"""The conformance suite on every server, topology and protocol there is.

By a user who may do what the page on Redis lists, and nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import pytest
from lighter import Checked
from servers import redis as redis_servers
from servers.permissions import permitted

from sessionstore import RedisSessionStore
from sessionstore.testing import OpenStore, SharedStoreConformance

STARTS = {
    "single": redis_servers.single,
    "cluster": redis_servers.cluster,
    "guarded": redis_servers.guarded,
}


@pytest.fixture(scope="session", params=product(STARTS, redis_servers.binaries()), ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    topology, name = request.param
    with STARTS[topology](name) as server:
        yield server


class TestConformance(Checked, SharedStoreConformance):
    prunes = False

    @pytest.fixture(params=[2, 3])
    def open_store(self, server: Any, request: pytest.FixtureRequest) -> OpenStore:
        url = f"{permitted(server)}?protocol={request.param}"
        prefix = f"sessionstore:{uuid.uuid4()}:"
        return partial(RedisSessionStore, url, key_prefix=prefix, timeout=redis_servers.PATIENCE)

    def expiring(self, seconds: float) -> dict[str, Any]:
        return {"ttl_seconds": seconds}
