"""What one event loop has of a store in Redis: a client of its own, which ends with the loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeAlias

from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.making import AsyncClient, aclose_client
from sessionstore.redis.opened import abandon, note_connections

__all__ = ["OfLoop", "close_elsewhere"]

_FOR_GOOD = 10.0**8  # seconds: three years

_Forget: TypeAlias = Callable[[asyncio.AbstractEventLoop], None]


class OfLoop:
    """What one event loop has.

    The loop holds this, and no store does: so it goes with the loop, also one that was dropped
    without being closed, and takes its connections with it.

    Args:
        loop: The loop.
        client: The client.
        permits: One for each request that may be under way.
        direct: The short way for single commands, where that is open.

    Attributes:
        lifetime: Ends, and closes the client with itself; ``None`` where it is the caller's.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: AsyncClient,
        permits: asyncio.Semaphore,
        direct: AsyncDirect | None = None,
    ) -> None:
        """Be held by the loop alone."""
        self.loop: asyncio.AbstractEventLoop = loop
        self.client: AsyncClient = client
        self.permits: asyncio.Semaphore = permits
        self.direct: AsyncDirect | None = direct
        self.lifetime: AsyncGenerator[None, None] | None = None
        self.pid: int = os.getpid()
        self._is_open = [True]
        self._opened: set[Any] = set()
        self._stay()
        _all.add(self)

    def own(self, forget: _Forget) -> AsyncGenerator[None, None]:
        """Close the client when the loop ends.

        Args:
            forget: A method to call at the loop's end, unless its object is gone by then.

        Returns:
            What is to be begun, on the loop.
        """
        self._opened = note_connections(self.client)
        reference = weakref.WeakMethod(forget)
        self.lifetime = _lifetime(self.loop, self.client, reference, self._is_open)
        return self.lifetime

    def abandon(self) -> None:
        """Close the sockets of a loop that was closed, or dropped, before its generators ended."""
        if self.lifetime is None:
            return
        self._is_open.clear()  # so that its end waits for nothing
        with suppress(StopIteration, StopAsyncIteration, RuntimeError):
            self.lifetime.aclose().send(None)
        abandon(self.loop, self.client, self._opened)

    def _stay(self) -> None:
        self.loop.call_later(_FOR_GOOD, self._stay, context=Context())

    def __del__(self) -> None:
        """Close what the loop has left open."""
        if os.getpid() == self.pid:
            self.abandon()


async def _lifetime(
    loop: asyncio.AbstractEventLoop,
    client: AsyncClient,
    forget: weakref.WeakMethod[_Forget],
    is_open: list[bool],
) -> AsyncGenerator[None, None]:
    """Close a client when its loop ends: before that, a loop closes its generators.

    A store that is dropped unclosed drops this, too, and then its loop closes it. So this must
    not hold the store: both would be collected as one heap, the connections among it.
    """
    try:
        yield
    finally:
        if (call := forget()) is not None:
            call(loop)
        if is_open:
            await aclose_client(client)


def close_elsewhere(of_loop: OfLoop) -> None:
    """Have another loop close what it has, when it runs.

    Args:
        of_loop: What it has.
    """
    lifetime, loop = of_loop.lifetime, of_loop.loop
    if lifetime is None:
        return
    if loop.is_closed():
        of_loop.abandon()
        return

    async def end() -> None:
        await lifetime.aclose()

    ending: list[asyncio.Task[None]] = []  # a loop holds its tasks weakly
    with suppress(RuntimeError):  # closed in this very moment
        loop.call_soon_threadsafe(lambda: ending.append(loop.create_task(end())))


def _abandon_all() -> None:
    """Close what loops have that were never closed: as a process ends, each would complain."""
    for of_loop in list(_all):
        if of_loop.pid == os.getpid() and not of_loop.loop.is_running():
            of_loop.abandon()


_all: weakref.WeakSet[OfLoop] = weakref.WeakSet()
atexit.register(_abandon_all)
