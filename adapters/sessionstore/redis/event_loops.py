"""What one event loop has of a store in Redis: a client of its own, which ends with the loop."""

from __future__ import annotations

import asyncio

from sessionstore.redis.async_batches import AsyncBatches
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.cluster_batches import AsyncNodes
from sessionstore.redis.making import AsyncClient, aclose_client
from sessionstore.redis.opened import Opened

__all__ = ["OfLoop"]


class OfLoop:
    """What one event loop has.

    Args:
        client: The client.
        permits: One for each request that may be under way.
        direct: The short way for single commands, where that is open.
        batches: How single commands go together, where they do.
        is_ours: The client is to be closed; else it is the caller's.
    """

    def __init__(
        self,
        client: AsyncClient,
        permits: asyncio.Semaphore,
        direct: AsyncDirect | None = None,
        batches: AsyncBatches | AsyncNodes | None = None,
        *,
        is_ours: bool = True,
    ) -> None:
        """Belong to the running loop."""
        self.client: AsyncClient = client
        self.permits: asyncio.Semaphore = permits
        self.direct: AsyncDirect | None = direct
        self.batches: AsyncBatches | AsyncNodes | None = batches
        self._loop = asyncio.get_running_loop()
        self._opened = Opened(client) if is_ours else None

    async def close(self) -> None:
        """Close the client in order, on its loop."""
        if self._opened is not None:
            await aclose_client(self.client)

    def abandon(self) -> None:
        """Close the client: on its loop, or without it where that runs no more."""
        if self._opened is None:
            return
        if self._loop.is_running():
            closing = self._loop.create_task(self.close())
            _closing.add(closing)  # a loop holds its tasks weakly
            closing.add_done_callback(_closing.discard)
        else:
            self._opened.abandon()


_closing: set[asyncio.Task[None]] = set()
