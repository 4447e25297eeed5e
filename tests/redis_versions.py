"""The Redis servers that there are, by the names of their fixtures."""

from __future__ import annotations

import pytest
from servers import redis as redis_servers

# The newest and the oldest. Where there is one only, it is the first already.
VERSIONS = [
    "redis_server",
    pytest.param("old_redis_server", marks=pytest.mark.soak),
][: len(redis_servers.binaries()) or 1]

# One server, a Cluster, and an older master under Sentinels.
TOPOLOGIES = ["redis_server", "redis_cluster", "old_redis_guarded"]
