"""Many calls at once on a store in Redis."""

from __future__ import annotations

import asyncio
from typing import Any

from servers.proxy import Proxy

from sessionstore import RedisSessionStore
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.testing.samples import said

CROWD = 64
SHARE = AsyncDirect.is_possible()  # not before Python 3.11 and redis-py 8


def through(proxy: Proxy, prefix: str, **options: Any) -> RedisSessionStore:
    return RedisSessionStore(f"redis://127.0.0.1:{proxy.port}", key_prefix=prefix, **options)


async def crowd_of(store: RedisSessionStore, text: str = "x") -> list[Any]:
    """Append to as many sessions at once; give what each call gave."""
    calls = [store.aappend_message(f"s{n}", said(text, f"{text}{n}")) for n in range(CROWD)]
    return await asyncio.gather(*calls, return_exceptions=True)
