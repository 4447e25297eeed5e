"""The newest and the oldest Redis that there are, as parameters of a fixture."""

from __future__ import annotations

import pytest
from servers import redis as redis_servers

# Where there is one only, it is the first already.
VERSIONS = [
    "redis_server",
    pytest.param("old_redis_server", marks=pytest.mark.soak),
][: len(redis_servers.binaries()) or 1]
