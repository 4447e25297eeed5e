"""A call of an event loop: carried out in a thread, and settled when its caller gives up."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sessionstore._runtime.interrupts import Deferred
from sessionstore.operations import Operation
from sessionstore.sqlite.calls import Call
from sessionstore.sqlite.connections import Database
from sessionstore.sqlite.transactions import Work, carry_out

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

__all__ = ["acarry_out"]

T = TypeVar("T")


async def acarry_out(database: Database, work: Work[T], operation: Operation[T]) -> T:
    """Carry out an operation in a thread; a cancelled one is settled when this ends."""
    call = database.call()  # the wait for the thread counts
    future: Future[T] | None = None
    try:
        with Deferred(call.give_up):
            future = database.start(
                call, operation.is_write, partial(carry_out, database, work, operation, call)
            )
        return await _outcome(call, future)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):  # nothing can be awaited any more
        if future:
            _settle(call, future)
        raise


def _settle(call: Call, future: Future[T]) -> None:
    """Let a call that a thread carries out never begin, or else wait for its end."""
    call.give_up()
    if not future.cancel():
        future.exception()  # waits


async def _outcome(call: Call, future: Future[T]) -> T:
    """Wait for a call that a thread carries out, and settle it when the waiting is broken off.

    A call that still waits for its thread, its turn or a lock then never begins; one that is
    committing is waited for. So the outcome is settled when the caller goes on.

    Args:
        call: The call.
        future: What `Lane.start` gave.

    Returns:
        What the call gives.

    Raises:
        StoreUnavailableError: No thread was free in time.
    """
    import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

    from sessionstore._runtime.settling import ended  # noqa: PLC0415 - as asyncio

    loop = asyncio.get_running_loop()
    # Where a thread is free, none has to look whether it comes in time.
    timer = loop.call_later(call.left(), future.cancel) if call.queued else None
    try:
        await _end_of(future, loop)
    except asyncio.CancelledError:
        call.give_up()
        if not future.cancel():
            await ended(_end_of(future, loop, words=2))
        raise
    finally:
        if timer:
            timer.cancel()
    if future.cancelled():
        raise call.too_late()
    return future.result()


def _end_of(future: Future[Any], loop: AbstractEventLoop, words: int = 1) -> asyncio.Future[None]:
    """Give what is done on the loop once the thread is.

    Args:
        future: What the thread does.
        loop: The loop.
        words: How often the loop is told: a Ctrl-C may come upon one, and whoever is settling waits
            for no other.
    """
    over: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            for _again in range(words):
                loop.call_soon_threadsafe(end)

    future.add_done_callback(tell)
    return over
