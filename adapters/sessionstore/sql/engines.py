"""The engines of one process: one for its threads, and one for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from sessionstore.sql.gate import Gate

__all__ = ["Engines", "OfLoop"]

_NEVER = 10.0 * 365 * 86400  # seconds
_OPEN = 0  # libpq's CONNECTION_OK


class Engines:
    """The engines that one process has made: one for its threads, and one for each event loop.

    Args:
        new_gate: Makes what stands before a pool; ``None`` where nothing does.

    Attributes:
        pid: The process.
        ready: It has found the tables: those in memory are not there after a fork.
        gate: What stands before the pool of the threads.
        of_threads: The engine of the threads; ``None`` until `blocking` makes it.
    """

    def __init__(self, new_gate: Callable[[], Gate] | None) -> None:
        self.pid: int = os.getpid()
        self.ready: bool = False
        self._new_gate = new_gate
        self.gate: Gate | None = new_gate() if new_gate else None
        self._lock = Lock()
        self.of_threads: Engine | None = None
        # A loop that nobody has closed, but nobody knows any more, must be free to go.
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[OfLoop]] = (
            weakref.WeakKeyDictionary()
        )

    def look_again(self) -> None:
        """Have the tables looked for again at the next operation."""
        self.ready = False

    def blocking(self, make: Callable[[], Engine]) -> Engine:
        """Give the engine of the threads; the first call makes it."""
        with self._lock:
            if self.of_threads is None:
                self.of_threads = make()
            return self.of_threads

    async def of_this_loop(self, make: Callable[[], AsyncEngine]) -> OfLoop:
        """Give the engine of the running loop; its first call makes it."""
        mine = self.of_running_loop()
        if mine is None:
            loop = asyncio.get_running_loop()
            self._dispose_loops(lambda loop: loop.is_closed())
            mine = OfLoop(make(), self._new_gate() if self._new_gate else None)
            self._loops[loop] = weakref.ref(mine)
            await mine.begin(partial(self._forget, weakref.ref(loop)))
        return mine

    def of_running_loop(self) -> OfLoop | None:
        """Give the engine of the running loop, if it has one."""
        found = self._loops.get(asyncio.get_running_loop())
        return None if found is None else found()

    async def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the engine of a loop that is running, if it has one."""
        if mine := self._of(loop):
            await mine.end()

    def dispose(self) -> None:
        """Close all engines, unless they are a parent process's."""
        if self.pid != os.getpid():
            return
        with self._lock:
            of_threads, self.of_threads = self.of_threads, None
        if of_threads is not None:
            of_threads.dispose()
        self._dispose_loops(lambda _: True)

    def _of(self, loop: asyncio.AbstractEventLoop) -> OfLoop | None:
        found = self._loops.get(loop)
        return None if found is None else found()

    def _forget(self, named: weakref.ref[asyncio.AbstractEventLoop]) -> None:
        loop = named()
        if loop is not None:
            self._loops.pop(loop, None)

    def _dispose_loops(self, condition: Callable[[asyncio.AbstractEventLoop], bool]) -> None:
        for loop in list(self._loops):
            if condition(loop):
                mine = self._of(loop)
                self._loops.pop(loop, None)
                if mine is not None:
                    mine.abandon()


class OfLoop:
    """The engine of one event loop, closed when that ends.

    It is held by its loop alone, and ends with it, be that closed in order, closed at once, or
    never closed and no longer known to anybody.

    Attributes:
        engine: The engine.
        gate: What stands before its pool.
    """

    def __init__(self, engine: AsyncEngine, gate: Gate | None) -> None:
        self.engine = engine
        self.gate = gate
        self._pid = os.getpid()
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        sockets: set[Any] = set()
        event.listen(engine.sync_engine, "connect", partial(_note, self._drivers, sockets))
        # A collected circle has lost its weak references by the time of this: see `abandon`.
        self._dropped = weakref.finalize(self, _finish, sockets, self._pid)
        self._dropped.atexit = False

    async def begin(self, forget: Callable[[], object]) -> None:
        """Bind it to the running loop; ``forget`` is called when that ends."""
        loop = asyncio.get_running_loop()
        anchor = _Anchor(self)
        self._anchor = weakref.ref(anchor)
        loop.call_later(_NEVER, anchor.__repr__)
        # A loop that ends in order, as that of asyncio.run does, closes its generators first:
        # the only word of its end that a loop gives.
        self._lifetime = _live(weakref.ref(loop), weakref.ref(self), forget)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=None)  # it would hold the loop, and has nothing to do
        try:
            begun = anext(self._lifetime)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        await begun

    async def end(self) -> None:
        """Close the connections, as at the end of the loop."""
        await self._lifetime.aclose()

    async def dispose(self) -> None:
        """Close the connections on their loop."""
        await self.engine.dispose()
        self._let_go()

    def abandon(self) -> None:
        """Close the connections without their loop, which has ended or is another thread's."""
        self.engine.sync_engine.dispose(close=False)
        for driver in list(self._drivers):
            with suppress(Exception):
                _close_quietly(driver)
        self._let_go()

    def _let_go(self) -> None:
        self._dropped()
        anchor = self._anchor()
        if anchor is not None:
            anchor.held = None

    def __del__(self) -> None:
        """Close what its loop has left open."""
        if self._dropped.alive and self._pid == os.getpid():
            self.abandon()


class _Anchor:
    """Holds what a loop is to hold for as long as it lives, by a call that never comes."""

    def __init__(self, held: OfLoop) -> None:
        self.held: OfLoop | None = held


async def _live(
    loop: weakref.ref[asyncio.AbstractEventLoop],
    mine: weakref.ref[OfLoop],
    forget: Callable[[], object],
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        forget()
        of_loop = mine()
        if of_loop is not None and _is_running(loop()):
            await of_loop.dispose()


def _is_running(loop: asyncio.AbstractEventLoop | None) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _note(drivers: weakref.WeakSet[Any], sockets: set[Any], connection: Any, _: object) -> None:
    driver = connection.driver_connection
    if hasattr(driver, "pgconn"):  # knows no loop, and can be closed without one
        sockets.difference_update([each for each in sockets if each.status != _OPEN])
        sockets.add(driver.pgconn)
    with suppress(TypeError):  # not every driver's can be referred to weakly
        drivers.add(driver)


def _finish(sockets: set[Any], pid: int) -> None:
    if pid == os.getpid():
        for socket in sockets:
            socket.finish()


def _close_quietly(driver: Any) -> None:
    if hasattr(driver, "pgconn"):
        driver.pgconn.finish()
        return
    closing = getattr(driver, "terminate", driver.close)()
    if asyncio.iscoroutine(closing):
        closing.close()
