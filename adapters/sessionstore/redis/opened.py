"""The connections that an event loop has opened, so that they can be closed without it.

A loop that was closed, or dropped, before its generators were ended closes no connection any more,
and each would warn when it is collected. So those of ours are known, and can be abandoned.
"""

from __future__ import annotations

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
        The connections, from now on.
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


def abandon(client: AsyncClient, opened: set[Any]) -> None:
    """Close the connections of a client without its loop.

    Args:
        client: The client.
        opened: What `note_connections` gave.
    """
    if isinstance(client, QuietCluster):
        client.is_abandoned = True
    for connection in list(opened):
        connection.abandon()


@lru_cache
def _noted(kind: type[Any]) -> type[Any]:
    class Noted(kind):  # type: ignore[misc]
        transport: Any = None
        is_abandoned = False

        def __init__(self, *, opened: set[Any], **options: Any) -> None:
            super().__init__(**options)
            self.opened = opened

        @property
        def is_connected(self) -> bool:
            return bool(super().is_connected) and not self.is_abandoned

        async def _connect(self) -> None:  # a hook for subclasses
            await super()._connect()
            self.transport = self._writer.transport
            self.opened.add(self)

        async def disconnect(self, *args: Any, **options: Any) -> None:
            try:
                await super().disconnect(*args, **options)
            finally:
                self.opened.discard(self)

        def abandon(self) -> None:
            self.is_abandoned = True
            # asyncio has no public way to close a socket whose loop runs no more.
            if sock := getattr(self.transport, "_sock", None):
                sock.close()
                self.transport._sock, self.transport._closing = None, True  # noqa: SLF001

        def __del__(self) -> None:
            if not self.is_abandoned:
                super().__del__()

    Noted.__name__ = Noted.__qualname__ = kind.__name__
    return Noted
