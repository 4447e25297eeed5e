"""The engines of one process: one for its threads, and one for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Engines"]


class Engines:
    """The engines that one process has made: one for its threads, and one for each event loop.

    Attributes:
        pid: The process.
        ready: It has found the tables: those in memory are not there after a fork.
        turn: SQLite lets writers in by chance, not in turn: those of one process queue up here.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ready = False
        self.turn = Lock()
        self._lock = Lock()
        self._blocking: Engine | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _OfLoop] = {}

    def blocking(self, make: Callable[[], Engine]) -> Engine:
        with self._lock:
            if self._blocking is None:
                self._blocking = make()
            return self._blocking

    async def of_this_loop(self, make: Callable[[], AsyncEngine]) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._dispose_loops(lambda loop: loop.is_closed())
            self._loops[loop] = mine = _OfLoop(make())
            await mine.begin(partial(self._loops.pop, loop, None))
        return self._loops[loop].engine

    async def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop in self._loops:
            await self._loops[loop].end()

    def dispose(self) -> None:
        if self.pid != os.getpid():
            return
        with self._lock:
            blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.dispose()
        self._dispose_loops(lambda _: True)

    def _dispose_loops(self, condition: Callable[[asyncio.AbstractEventLoop], bool]) -> None:
        for loop in list(self._loops):
            if condition(loop) and (mine := self._loops.pop(loop, None)):
                mine.abandon()


class _OfLoop:
    """The engine of one event loop, closed when that ends."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        drivers = self._drivers

        def note(connection: Any, _: object) -> None:
            with suppress(TypeError):  # not every driver's can be referred to weakly
                drivers.add(connection.driver_connection)

        event.listen(engine.sync_engine, "connect", note)

    async def begin(self, forget: Callable[[], object]) -> None:
        # A loop that ends in order, as that of asyncio.run does, closes its generators first:
        # the only word of its end that a loop gives.
        self._lifetime = self._live(forget)
        await anext(self._lifetime)

    async def end(self) -> None:
        await self._lifetime.aclose()

    async def _live(self, forget: Callable[[], object]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            forget()
            await self.engine.dispose()

    def abandon(self) -> None:
        """Close the connections without their loop, which has ended or is another thread's."""
        self.engine.sync_engine.dispose(close=False)
        for driver in list(self._drivers):
            with suppress(Exception):
                _close_quietly(driver)


def _close_quietly(driver: Any) -> None:
    if hasattr(driver, "pgconn"):
        driver.pgconn.finish()
        return
    closing = getattr(driver, "terminate", driver.close)()
    if asyncio.iscoroutine(closing):
        closing.close()
