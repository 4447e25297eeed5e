"""The connections that an event loop has opened, so that they can be closed without it.

A loop that was closed, or dropped, before its generators were ended closes no connection any more,
and each would warn when it is collected. So those of ours are known, and can be abandoned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import redis.asyncio

from sessionstore.redis.making import AsyncClient, QuietCluster, sentinels_of

__all__ = ["abandon", "note_connections"]


def note_connections(client: AsyncClient) -> set[Any]:
    """Note the connections that a client will open.

    Args:
        client: One of ours, which has opened none yet.

    Returns:
        Those that are open, from now on.
    """
    opened: set[Any] = set()
    if isinstance(client, redis.asyncio.RedisCluster):
        for node in client.nodes_manager.startup_nodes.values():
            kind: Any = node.connection_class
            node.connection_class = _noted(kind)
            node.connection_kwargs["opened"] = opened
        options = client.connection_kwargs
        options |= {"connection_class": _noted(options["connection_class"]), "opened": opened}
        return opened
    for one in (client, *sentinels_of(client)):
        pool = one.connection_pool
        pool.connection_class = _noted(pool.connection_class)
        pool.connection_kwargs["opened"] = opened
    return opened


def abandon(loop: asyncio.AbstractEventLoop, client: AsyncClient, opened: set[Any]) -> None:
    """Close the connections of a loop that runs no more.

    Args:
        loop: The loop.
        client: Its client.
        opened: What `note_connections` gave.
    """
    if isinstance(client, QuietCluster):
        client.is_abandoned = True
    # A transport closes its socket by a call that its loop makes: this one makes no more.
    with suppress(AttributeError):  # uvloop's transports need none
        loop.call_soon = _call_now  # type: ignore[method-assign,assignment]
    for connection in list(opened):
        with suppress(Exception):
            _end(connection.disconnect(nowait=True))
    with suppress(AttributeError):
        del loop.call_soon


def _call_now(function: Callable[..., object], *args: Any, **_: Any) -> None:
    function(*args)


def _end(work: Any) -> None:
    """Carry out what waits for nothing, and only wants a loop to be there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        other = asyncio.new_event_loop()
        try:
            other.run_until_complete(work)
        finally:
            other.close()
    else:
        with suppress(StopIteration):
            work.send(None)
        work.close()


@lru_cache
def _noted(kind: type[Any]) -> type[Any]:
    class Noted(kind):  # type: ignore[misc]
        def __init__(self, *, opened: set[Any], **options: Any) -> None:
            super().__init__(**options)
            self.opened = opened

        async def connect(self) -> None:
            self.opened.add(self)
            await super().connect()

        if hasattr(kind, "connect_check_health"):  # not in redis-py 5

            async def connect_check_health(self, *args: Any, **options: Any) -> None:
                self.opened.add(self)
                await super().connect_check_health(*args, **options)

        async def disconnect(self, *args: Any, **options: Any) -> None:
            try:
                await super().disconnect(*args, **options)
            finally:
                self.opened.discard(self)

    Noted.__name__ = Noted.__qualname__ = kind.__name__
    return Noted
