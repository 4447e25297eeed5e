"""Calls that are cancelled: guarantee 9, for the async methods."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from itertools import islice

from sessionstore.errors import SessionExistsError, SessionNotFoundError
from sessionstore.operations import AcquireLease, ReleaseLease
from sessionstore.store import SessionStore
from sessionstore.testing.changes import Change, changes, content
from sessionstore.testing.concurrency import in_a_loop
from sessionstore.testing.modes import OpenStore, StoreSuite
from sessionstore.testing.samples import said

__all__ = ["CancelContract"]

ROUNDS, LEASES = 80, 30
OTHERS = 4


class CancelContract(StoreSuite):
    """When a cancelled call comes back, it took effect or it never will."""

    def test_a_cancelled_call_is_settled(self, open_store: OpenStore) -> None:
        """Whenever it is cancelled: what is read next stays, and what is written next is last."""
        self.require_support("cancellation")

        async def main(store: SessionStore) -> None:
            chance = random.Random(0)  # noqa: S311 - when to cancel is no secret
            usual = await _usual(store)
            for number, change in enumerate(islice(changes(), ROUNDS)):
                before = await store.aget("s")
                await _cancelled(store, change, chance.uniform(0, 2 * usual))
                after = await store.aget("s")
                assert content(after) in (content(before), change.outcome(content(before)))
                if number % 2:  # what still lands would do so between these
                    await store.aappend_message("other", said("hello"))
                    assert await store.aget("s") == after
                await _require_last(store, number)

        async def beside_others(store: SessionStore) -> None:
            over = asyncio.Event()
            writers = [asyncio.ensure_future(_write_on(store, n, over)) for n in range(OTHERS)]
            try:
                await main(store)
            finally:
                over.set()
                await asyncio.gather(*writers)

        in_a_loop(open_store, beside_others)

    def test_a_lease_whose_taking_was_cancelled_can_be_given_back(
        self, open_store: OpenStore
    ) -> None:
        """Whenever it is cancelled: nobody has it afterwards, and nobody is given it later."""
        self.require_support("leases", "cancellation")

        async def main(store: SessionStore) -> None:
            chance = random.Random(0)  # noqa: S311 - when to cancel is no secret
            usual = await _usual(store)
            for number in range(LEASES):
                asked = AcquireLease("s", 600, holder=str(number))
                change = Change("run", (asked,), {}, lambda before: before)
                await _cancelled(store, change, chance.uniform(0, 2 * usual))
                await store.arun(ReleaseLease("s", str(number)))
                async with store.lease("s"):
                    pass

        in_a_loop(open_store, main)

    def test_a_lease_is_given_back_however_often_its_holder_is_cancelled(
        self, open_store: OpenStore
    ) -> None:
        """As a scope of anyio's does, and so Starlette's where a browser goes away."""
        self.require_support("leases", "cancellation")

        async def main(store: SessionStore) -> None:
            entered = asyncio.Event()

            async def turn() -> None:
                async with store.lease("s", seconds=600):
                    entered.set()
                    await asyncio.Event().wait()

            turning = asyncio.ensure_future(turn())
            await entered.wait()
            while not turning.done():
                turning.cancel()
                await asyncio.sleep(0)
            assert turning.cancelled()
            async with store.lease("s"):
                pass

        in_a_loop(open_store, main)


async def _usual(store: SessionStore) -> float:
    times = []
    for number in range(5):
        start = time.perf_counter()
        await store.aappend_message("other", said(f"{number}"))
        times.append(time.perf_counter() - start)
    return min(times)


async def _cancelled(store: SessionStore, change: Change, seconds: float) -> None:
    """Begin a write, and cancel it after a while."""
    method = getattr(store, f"a{change.method}")
    call = asyncio.ensure_future(method(*change.args, **change.kwargs))
    end = time.perf_counter() + seconds
    while not call.done() and time.perf_counter() < end:  # noqa: ASYNC110 - at any turn of the loop
        await asyncio.sleep(0)
    call.cancel()
    # The write that this one builds on was cancelled, too, and so was never done.
    with suppress(asyncio.CancelledError, SessionNotFoundError, SessionExistsError):
        await call


async def _require_last(store: SessionStore, number: int) -> None:
    """Write once more: it comes after all that was cancelled, and is not undone by it."""
    last = said("last", f"last {number}")
    before = await store.aget_messages("s")
    assert await store.aappend_message("s", last) == 1
    assert await store.aget_messages("s") == [*before, last]
    assert await store.adelete_messages("s", [str(last.id)]) == [last.id]
    if not before:
        await store.adelete("s")


async def _write_on(store: SessionStore, number: int, over: asyncio.Event) -> None:
    """Keep the store busy: write to another session until the end."""
    while not over.is_set():
        await store.aappend_message(f"of {number}", said("hello"))
        await asyncio.sleep(0)
