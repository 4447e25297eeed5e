"""The connections that an event loop has opened, so that they can be closed without it.

A loop that was closed, or dropped, before its generators were ended closes no connection any more,
and each would warn when it is collected. So those of ours are known, and can be abandoned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import lru_cache, partial
from typing import Any

import redis.asyncio

from sessionstore.redis.making import AsyncClient, QuietCluster, sentinels_of
from sessionstore.redis.timed import left

__all__ = ["Opened"]


class Opened:
    """The connections that a client of the running loop has open.

    Args:
        client: One of ours, which has opened none yet.

    Attributes:
        connections: Those that are open.
    """

    def __init__(self, client: AsyncClient) -> None:
        """Note from now on what the client opens."""
        self.connections: set[Any] = set()
        self._client = client
        self._loop = asyncio.get_running_loop()
        if isinstance(client, redis.asyncio.RedisCluster):
            for node in client.nodes_manager.startup_nodes.values():
                kind: Any = node.connection_class
                node.connection_class = _noted(kind)
                node.connection_kwargs["opened"] = self
            options = client.connection_kwargs
            options |= {"connection_class": _noted(options["connection_class"]), "opened": self}
            return
        for one in (client, *sentinels_of(client)):
            pool = one.connection_pool
            pool.connection_class = _noted(pool.connection_class)
            pool.connection_kwargs["opened"] = self

    def abandon(self) -> None:
        """Close them without their loop, which runs no more."""
        if isinstance(self._client, QuietCluster):
            self._client.is_abandoned = True
        # A transport closes its socket by a call that its loop makes: this one makes no more.
        with suppress(AttributeError):  # uvloop's transports need none
            self._loop.call_soon = partial(  # type: ignore[method-assign,assignment]
                _call_now, self._loop
            )
        try:
            _carry_out(_disconnected(list(self.connections)))
        finally:
            with suppress(AttributeError):
                del self._loop.call_soon

    def collected(self, connection: Any) -> None:
        """Close them all before one that is open is collected, and would warn.

        They are collected with their loop then, in whatever order the collector likes: where one of
        its sockets or transports comes first, that has warned already. A reference that leads to a
        transport leads to its loop, so that nothing can be kept back to close them before.
        """
        if connection in self.connections and not self._loop.is_running():
            self.abandon()


async def _disconnected(connections: list[Any]) -> None:
    for connection in connections:
        with suppress(Exception):
            await connection.disconnect(nowait=True)


def _call_now(
    loop: asyncio.AbstractEventLoop,
    function: Callable[..., object],
    *args: Any,
    context: Context | None = None,
) -> None:
    if context is None:  # a transport's
        function(*args)
    elif loop.is_closed():
        context.run(function, *args)
    else:  # a task's step, which is for its loop to make when that runs again
        type(loop).call_soon(loop, function, *args, context=context)


def _carry_out(work: Coroutine[Any, Any, None]) -> None:
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
        def __init__(self, *, opened: Opened, **options: Any) -> None:
            super().__init__(**options)
            self.opened = opened

        async def connect(self) -> None:
            left()  # a Cluster's client may take a late call's cancellation for a node's failure
            self.opened.connections.add(self)
            await super().connect()

        if hasattr(kind, "connect_check_health"):  # not in redis-py 5

            async def connect_check_health(self, *args: Any, **options: Any) -> None:
                left()
                self.opened.connections.add(self)
                await super().connect_check_health(*args, **options)

        async def disconnect(self, *args: Any, **options: Any) -> None:
            try:
                await super().disconnect(*args, **options)
            finally:
                self.opened.connections.discard(self)

        def __del__(self, *args: Any, **options: Any) -> None:
            if hasattr(self, "opened"):
                self.opened.collected(self)
            super().__del__(*args, **options)

    Noted.__name__ = Noted.__qualname__ = kind.__name__
    return Noted
