"""How operations are carried out on an SQLite file through SQLAlchemy: settled, whatever happens.

Signals, and so Ctrl-C, reach the main thread alone, between any two steps of Python. So it has an
engine of its own: what an interrupted operation may have left there is thrown away as a whole.
An async operation runs in a thread that nothing interrupts. A caller that is cancelled waits for
that: it is told to end, and does so before it commits or after.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, RLock
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

from sessionstore._runtime.forks import at_fork
from sessionstore._runtime.interrupts import interrupt_behind
from sessionstore._runtime.settling import ended
from sessionstore.deadline import deadline_after
from sessionstore.errors import SessionStoreError
from sessionstore.sql.counting import counted_connections
from sessionstore.sql.file_calls import Call, is_busy
from sessionstore.sql.requests import Work
from sessionstore.sql.sqlite_attempt import attempt
from sessionstore.sql.sqlite_engine import KeptConnection
from sessionstore.sqlite.identity import FileTakenAwayError
from sessionstore.stats import StoreConnections

__all__ = ["SqliteRuns"]

_READERS = 4
_PATIENCE, _LOOKS = 1.0, 0.001  # seconds that a fork waits for what is at work, and between looks


class SqliteRuns:
    """What carries out the operations of one process on one SQLite database.

    Args:
        make: Makes an engine: one for the main thread, or one for all others. It keeps each
            connection of the main thread's in the list that it is given.
        timeout: How long a call may take, in seconds; ``None`` where the engine is the caller's.
        taken_away: Called where the path does not lead to the file any more that is open.
        in_memory: All is in one connection.
    """

    def __init__(
        self,
        make: Callable[[list[KeptConnection] | None], Engine],
        timeout: float | None,
        taken_away: Callable[[], object],
        *,
        in_memory: bool,
    ) -> None:
        self._make = make
        self._timeout = timeout
        self._taken_away = taken_away
        self._in_memory = in_memory
        self._turn = RLock()  # which tells who holds it, should that one be interrupted
        self._opening = Lock()
        self._main_at_work = RLock()
        self._main: Engine | None = None
        self._main_connections: list[KeptConnection] = []
        self._others: Engine | None = None
        self._lanes: dict[bool, ThreadPoolExecutor] = {}
        self._closed = False
        self._is_main_busy = self._halted = False
        if not in_memory:
            # SQLite remembers the locks of its process, and a child would take them for its own:
            # it would wait for a writer that it does not have, and hold no lock that others see.
            at_fork(before=self._halt, in_parent=self._go_on)

    # -- In the caller's thread -------------------------------------------------------------------

    def run(self, work: Work[Any]) -> Any:
        """Carry out some work in this thread.

        Raises:
            StoreBusyError: Others were in the way for too long.
            SQLAlchemyError: SQLite refuses.
        """
        call = Call(deadline_after(self._timeout))
        if not _is_main():
            return self._in_turn(work, call)
        handled = sys.exc_info()[1]  # by the caller: none of ours
        try:
            with self._main_at_work:
                self._is_main_busy = True
                try:
                    return self._in_turn(work, call, is_main=True)
                finally:
                    self._is_main_busy = False
        except BaseException as error:
            interrupt = interrupt_behind(error, handled)
            if interrupt is None:
                raise
            self._abandon()
            raise interrupt from None

    def _in_turn(self, work: Work[Any], call: Call, *, is_main: bool = False) -> Any:
        """Carry out some work; what is not a read of a file waits for its turn before."""
        alone = self._in_memory or not work.at_once or self._halted
        if alone and not self._turn.acquire(blocking=False):
            call.wait_for(self._turn)
        try:
            engine = self._main if is_main or self._in_memory else self._others
            return self._insist(engine or self.engine(), work, call)
        finally:
            if alone:
                with suppress(RuntimeError):  # an operation within this one was interrupted
                    self._turn.release()

    def _insist(self, engine: Engine, work: Work[Any], call: Call) -> Any:
        while True:
            try:
                return attempt(engine, work, call)
            except FileTakenAwayError:
                self._let_go()
                raise
            except Exception as error:
                if self._timeout is None or not is_busy(error):
                    raise
            call.pause()

    def engine(self) -> Engine:
        """Give the engine that this thread uses."""
        if self._in_memory or _is_main():
            if self._main is None:
                self._main = self._make(self._main_connections)
            return self._main
        with self._opening:
            if self._others is None:
                self._others = self._make(None)
            return self._others

    def _abandon(self) -> None:
        """Let go of all that an interrupted operation of this thread may hold."""
        if not self._in_memory:
            self._close_main()
        elif self._turn.acquire(blocking=False):  # else another thread is at work
            self._main = None  # with its pool, whose state nobody knows
            for connection in self._main_connections:
                connection.undo()
        with suppress(RuntimeError):
            while True:
                self._turn.release()

    def _let_go(self) -> None:
        """Close the connections that nobody uses: what they have open was taken away."""
        self._taken_away()
        with self._opening:
            others = self._others
        if others is not None:
            others.dispose()
        if self._main_at_work.acquire(blocking=False):
            try:
                self._close_main()
            finally:
                self._main_at_work.release()

    def _close_main(self) -> None:
        self._main = None
        while self._main_connections:
            self._main_connections[-1].end()
            self._main_connections.pop()

    # -- On an event loop -------------------------------------------------------------------------

    async def arun(self, work: Work[Any]) -> Any:
        """Carry out some work in a thread.

        Raises:
            StoreBusyError: Others were in the way for too long.
            SQLAlchemyError: SQLite refuses.
        """
        call = Call(deadline_after(self._timeout))
        future = self._lane(work).submit(self._in_thread, work, call)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Any] = loop.create_future()
        future.add_done_callback(partial(_hand_over, loop, waiting))
        with _timed(loop, waiting, call):
            try:
                return await waiting
            except asyncio.CancelledError:
                call.cancel()
                await _settled(future, call)
                raise

    async def arun_on(self, engine: AsyncEngine, work: Work[Any]) -> Any:
        """Carry out some work by an async driver."""
        call = Call(deadline_after(self._timeout), on_loop=True)
        doing = asyncio.ensure_future(
            greenlet_spawn(self._insist_on, engine.sync_engine, work, call)
        )
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            call.cancel()
            await ended(doing)
            if not doing.cancelled():
                doing.exception()  # nobody is there to hear it
            raise

    def _insist_on(self, engine: Engine, work: Work[Any], call: Call) -> Any:
        try:
            return self._insist(engine, work, call)
        except FileTakenAwayError:
            engine.dispose()
            raise

    def _lane(self, work: Work[Any]) -> ThreadPoolExecutor:
        alone = self._in_memory or not work.at_once
        with self._opening:
            if self._closed:
                raise SessionStoreError("this database is closed")
            if alone not in self._lanes:
                threads = 1 if alone else _READERS
                self._lanes[alone] = ThreadPoolExecutor(threads, "sessionstore-sqlite")
            return self._lanes[alone]

    def _in_thread(self, work: Work[Any], call: Call) -> Any:
        if not call.claim():
            return None
        return self._in_turn(work, call)

    # -- A fork -----------------------------------------------------------------------------------

    def _halt(self) -> None:
        """Before a fork: wait for what is at work, begin no more, and close the file."""
        self._halted = True
        until = time.monotonic() + _PATIENCE
        for lock in (self._main_at_work, self._turn):
            lock.acquire(timeout=max(0.0, until - time.monotonic()))
        if self._timeout is None:
            return  # the engine is the caller's
        others: Any = self._others
        if others is not None:
            while _is_used(others.pool) and time.monotonic() < until:
                time.sleep(_LOOKS)
            others.dispose()
        if not self._is_main_busy:
            self._close_main()

    def _go_on(self) -> None:
        """After a fork, in the parent."""
        self._halted = False
        for lock in (self._turn, self._main_at_work):
            with suppress(RuntimeError):  # it was not to be had
                lock.release()

    def connections(self, of_loops: Iterable[Engine]) -> StoreConnections:
        """Count those that are open.

        Args:
            of_loops: The engines of event loops.
        """
        main = 0 if self._main is None else len(self._main_connections)
        in_use = min(main, int(self._is_main_busy))
        others = [] if self._others is None else [self._others]
        return counted_connections([*others, *of_loops], idle=main - in_use, in_use=in_use)

    # -- The end ----------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Close the connections that nobody uses; what uses one closes it when it is done."""
        with self._opening:
            self._closed = True
            lanes, self._lanes = list(self._lanes.values()), {}
            engines, self._main, self._others = [self._main, self._others], None, None
        for lane in lanes:
            lane.shutdown(wait=False)
        for engine in filter(None, engines):
            engine.dispose()
        if self._in_memory:
            self._close_main()


def _is_used(pool: Any) -> bool:
    return isinstance(pool, QueuePool) and pool.checkedout() > 0


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _timed(
    loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[Any], call: Call
) -> Iterator[None]:
    """Let a call that no thread has begun by its deadline fail, and never begin."""
    if call.deadline is None:
        yield
        return

    def expire() -> None:
        if not waiting.done() and call.claim():
            waiting.set_exception(call.busy())

    timer = loop.call_later(call.deadline - time.monotonic(), expire)
    try:
        yield
    finally:
        timer.cancel()


def _hand_over(
    loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[Any], done: Future[Any]
) -> None:
    def deliver() -> None:
        if waiting.done():
            return
        error = done.exception()
        if error is None:
            waiting.set_result(done.result())
        else:
            waiting.set_exception(error)

    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(deliver)


async def _settled(future: Future[Any], call: Call) -> None:
    """Wait for the thread of a cancelled call to end, which it does soon, or never to begin."""
    if call.claim():
        return
    loop = asyncio.get_running_loop()
    while not future.done():
        ended: asyncio.Future[None] = loop.create_future()
        future.add_done_callback(partial(_tell_end, loop, ended))
        try:
            await ended
        except asyncio.CancelledError:
            # A cancel scope of anyio's cancels at each turn of the loop: leave the thread the time.
            time.sleep(0.001)  # noqa: ASYNC251


def _tell_end(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], _: Future[Any]) -> None:
    def deliver() -> None:
        if not ended.done():
            ended.set_result(None)

    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(deliver)
