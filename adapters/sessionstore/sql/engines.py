"""The engines of one process: one for its threads, and one for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from sessionstore._runtime.event_loops import PerLoop
from sessionstore.sql.batches import Batches
from sessionstore.sql.gate import Gate

__all__ = ["Engines", "OfLoop"]

_OPEN = 0  # libpq's CONNECTION_OK


class Engines:
    """The engines that one process has made: one for its threads, and one for each event loop.

    Args:
        new_gate: Makes what stands before a pool; ``None`` where nothing does.

    Attributes:
        ready: It has found the tables: those in memory are not there after a fork.
        gate: What stands before the pool of the threads.
        of_threads: The engine of the threads; ``None`` until `blocking` makes it.
        of_loops: Those of the event loops.
        of_running_loop: Gives the engine of the running loop, if it has one.
    """

    def __init__(self, new_gate: Callable[[], Gate] | None) -> None:
        self.ready: bool = False
        self._new_gate = new_gate
        self.gate: Gate | None = new_gate() if new_gate else None
        self._lock = Lock()
        self.of_threads: Engine | None = None
        self.of_loops: PerLoop[OfLoop] = PerLoop(OfLoop.close, OfLoop.abandon)
        self.of_running_loop: Callable[[], OfLoop | None] = self.of_loops.here

    def look_again(self) -> None:
        """Have the tables looked for again at the next operation."""
        self.ready = False

    def blocking(self, make: Callable[[], Engine]) -> Engine:
        """Give the engine of the threads; the first call makes it."""
        with self._lock:
            if self.of_threads is None:
                self.of_threads = make()
            return self.of_threads

    def of_this_loop(self, make: Callable[[], AsyncEngine]) -> OfLoop:
        """Give the engine of the running loop; its first call makes it."""
        return self.of_loops.here() or self.of_loops.keep(
            OfLoop(make(), self._new_gate() if self._new_gate else None)
        )

    def all(self) -> list[Engine]:
        """Give those that there are."""
        threads = [] if self.of_threads is None else [self.of_threads]
        return [*threads, *(one.engine.sync_engine for one in self.of_loops.all())]

    @property
    def most(self) -> int | None:
        """How many connections they may open; ``None`` where the size of a pool is not known."""
        return None if self.gate is None else self.gate.size * max(1, len(self.all()))

    def dispose(self) -> None:
        """Close all engines."""
        with self._lock:
            of_threads, self.of_threads = self.of_threads, None
        if of_threads is not None:
            of_threads.dispose()
        self.of_loops.close()


class OfLoop:
    """The engine of one event loop.

    Args:
        engine: The engine.
        gate: What stands before its pool.

    Attributes:
        engine: The engine.
        gate: What stands before its pool.
        batches: What is done together with other work.
    """

    def __init__(self, engine: AsyncEngine, gate: Gate | None) -> None:
        self.engine = engine
        self.gate = gate
        self.batches: Batches = Batches()
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        sockets: set[Any] = set()
        event.listen(engine.sync_engine, "connect", partial(_note, self._drivers, sockets))
        # Of a circle that is collected, this comes first, before a connection in it warns: a weak
        # reference into it leads nowhere by then.
        self._dropped = weakref.finalize(self, _finish, sockets)
        self._dropped.atexit = False

    async def close(self) -> None:
        """Close the connections in order, on their loop."""
        await self.engine.dispose()
        self._dropped()

    def abandon(self) -> None:
        """Close the connections at once: their loop may not run any more."""
        self.engine.sync_engine.dispose(close=False)
        for driver in list(self._drivers):
            with suppress(Exception):
                _close_quietly(driver)
        self._dropped()


def _note(drivers: weakref.WeakSet[Any], sockets: set[Any], connection: Any, _: object) -> None:
    driver = connection.driver_connection
    if hasattr(driver, "pgconn"):  # knows no loop, and can be closed without one
        sockets.difference_update([each for each in sockets if each.status != _OPEN])
        sockets.add(driver.pgconn)
    with suppress(TypeError):  # not every driver's can be referred to weakly
        drivers.add(driver)


def _finish(sockets: set[Any]) -> None:
    for socket in sockets:
        socket.finish()


def _close_quietly(driver: Any) -> None:
    if hasattr(driver, "pgconn"):
        driver.pgconn.finish()
        return
    # Of aiosqlite, asyncpg, and others.
    end = getattr(driver, "stop", None) or getattr(driver, "terminate", driver.close)
    closing = end()
    if asyncio.iscoroutine(closing):
        closing.close()
