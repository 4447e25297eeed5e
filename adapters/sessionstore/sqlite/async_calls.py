"""A call of an event loop: carried out in a thread, and settled when its caller gives up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from sessionstore.operations import Operation
from sessionstore.sqlite.carrying import carry_out_job
from sessionstore.sqlite.connections import Database
from sessionstore.sqlite.jobs import Job, Work, answer, is_long
from sessionstore.sqlite.watching import watch_of

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop

    from sessionstore.sqlite.threads import Lane

__all__ = ["acarry_out"]

T = TypeVar("T")

_A_LOOK = 0.001  # seconds


async def acarry_out(database: Database, work: Work[T], operation: Operation[T]) -> T:
    """Carry out an operation in a thread; a cancelled one is settled when this ends."""
    import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

    loop = asyncio.get_running_loop()
    call = database.call()  # the wait for the thread counts
    job = Job(call, work, operation)
    watch = watch_of(loop)
    over = _listened_to(job, loop)
    try:
        watch.add(job, over)
        database.start(job, _kind(operation), _lead)
        return await _outcome(job, over, loop)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):  # nothing can be awaited any more
        _settle(job)
        raise
    finally:
        watch.discard(job)


def _kind(operation: Operation[Any]) -> str:
    if operation.is_write:
        return "write"
    return "long read" if is_long(operation) else "read"


def _lead(database: Database, lane: Lane, job: Job[Any]) -> None:
    """Carry out an operation in this thread, and along with it those that wait."""
    done: list[Job[Any]] = []
    try:
        if job.operation.is_write:
            job.result = carry_out_job(database, job.twin(), database.waiting, done.extend)
        else:
            # Who comes later may have been told of a write that these reads do not see.
            once = [lane.waiting()] if _kind(job.operation) == "read" else []
            job.result = carry_out_job(
                database, job, lambda: once.pop() if once else (), done.extend
            )
    except BaseException as error:  # noqa: BLE001 - raised by the caller
        job.error = error
    answer([job, *done])


def _settle(job: Job[Any]) -> None:
    """Let a call that a thread carries out never begin, or else wait for its end."""
    job.call.give_up()
    while not (job.over or job.claim(job) or job.is_held(job)):
        time.sleep(_A_LOOK)


async def _outcome(job: Job[T], over: asyncio.Future[None], loop: AbstractEventLoop) -> T:
    """Wait for a call that a thread carries out, and settle it when the waiting is broken off.

    A call that still waits for its thread, its turn or a lock then never begins; one that is
    committing is waited for. So the outcome is settled when the caller goes on.

    Args:
        job: The call's.
        over: Done when the job is over, or its time is up.
        loop: The running loop.

    Returns:
        What the call gives.

    Raises:
        StoreUnavailableError: No thread was free in time.
    """
    import asyncio  # noqa: PLC0415 - as above

    try:
        await over
    except asyncio.CancelledError:
        job.call.give_up()
        await _settled(job, loop)
        raise
    if job.is_held(job):
        raise job.call.too_late()
    return job.outcome()


async def _settled(job: Job[Any], loop: AbstractEventLoop) -> None:
    from sessionstore._runtime.settling import ended  # noqa: PLC0415 - as asyncio

    again = _listened_to(job, loop)
    if not (job.over or job.claim(job) or job.is_held(job)):
        await ended(again)


def _listened_to(job: Job[Any], loop: AbstractEventLoop) -> asyncio.Future[None]:
    """Give what is done on the loop once the job is over."""
    over: asyncio.Future[None] = loop.create_future()
    job.listeners.append(over)
    return over
