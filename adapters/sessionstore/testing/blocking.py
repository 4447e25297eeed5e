"""Async calls that have to wait, for the backend or for another process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from sessionstore.errors import StoreUnavailableError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.concurrency import in_a_loop
from sessionstore.testing.halting import Writers, needs_fork, spread
from sessionstore.testing.modes import OpenStore, StoreSuite
from sessionstore.testing.samples import conversation, said

__all__ = ["WaitContract"]

PLACES = 6
BEATS = 20
ENOUGH = 2
_MOMENT = 0.1  # seconds
_LONG = 2.0  # seconds; a busy server has answered by then

CALLS: dict[str, Callable[[SessionStore], Awaitable[object]]] = {
    "acreate": lambda store: store.acreate("new"),
    "aget": lambda store: store.aget("s"),
    "aget_messages": lambda store: store.aget_messages("s", limit=2),
    "aappend_messages": lambda store: store.aappend_messages("s", [said("more")]),
    "areplace_message": lambda store: store.areplace_message("s", said("better", "m0")),
    "adelete_messages": lambda store: store.adelete_messages("s", ["m1"]),
    "aupdate": lambda store: store.aupdate("s", metadata={"a": 1}),
    "alist_sessions": lambda store: store.alist_sessions(),
    "adelete": lambda store: store.adelete("new"),
}


class WaitContract(StoreSuite):
    """While an async call waits, its event loop goes on; and it may be cancelled."""

    patience: ClassVar[float] = 10.0
    """For how many seconds an event loop has to stand still until it is taken to be blocked."""

    def test_async_calls_leave_the_loop_free(self, open_store: OpenStore) -> None:
        """What another store has just written has to be fetched: meanwhile the loop takes turns."""
        self.require_support("nonblocking_async")

        async def main(store: SessionStore) -> None:
            for name, call in CALLS.items():
                other.append_message("s", said("of another store"))
                assert await _lets_others_run(call(store)), f"{name} keeps the event loop"

        with open_store() as other:
            other.create("s", messages=conversation(3))
            in_a_loop(open_store, main)

    @needs_fork
    def test_an_async_call_that_waits_leaves_the_loop_free(self, open_store: OpenStore) -> None:
        """A process halts in a write, and goes on only when this loop has run for a while."""
        self.require_support("nonblocking_async", "processes")

        async def main(go_on: Callable[[], None], store: SessionStore) -> None:
            call = asyncio.ensure_future(store.aappend_message("t", said("hello")))
            await _beats()
            go_on()
            assert await call == 1

        with Writers(open_store, self.patience) as writers:
            for step in spread(writers.count_steps(), PLACES):
                with writers.halted(step) as go_on:
                    in_a_loop(open_store, partial(main, go_on))
                assert not writers.gave_up, "the event loop stands still while a call waits"

    @needs_fork
    def test_a_call_cancelled_while_it_waits_is_settled(self, open_store: OpenStore) -> None:
        """Where it comes back while a writer halts, it writes nothing after that."""
        self.require_support("cancellation", "nonblocking_async", "processes")
        waited = 0
        with Writers(open_store, self.patience) as writers:
            for step in spread(writers.count_steps(), PLACES):
                cancelling = _Cancelling()
                with writers.halted(step) as go_on:
                    in_a_loop(open_store, partial(cancelling.run, go_on))  # its threads end with it
                with open_store() as store:
                    if cancelling.seen is not None:
                        found = store.get_messages("u")
                        assert found == cancelling.seen, "a cancelled call wrote later"
                    store.delete("u")
                waited += cancelling.waited
                if waited == ENOUGH or writers.gave_up:
                    return


class _Cancelling:
    """Two calls that meet a halted process, of which one is cancelled.

    Attributes:
        waited: Whether the halted process kept the other one from writing, all the while.
        seen: What the cancelled one has done, if it came back nevertheless, as read before the
            halted process went on: nothing, where that keeps readers out, too. Else ``None``.
    """

    waited = False
    seen: list[SessionMessage] | None = None

    async def run(self, go_on: Callable[[], None], store: SessionStore) -> None:
        other = asyncio.ensure_future(store.aappend_message("t", said("waits")))
        call = asyncio.ensure_future(store.aappend_message("u", said("late")))
        await asyncio.wait([other], timeout=_MOMENT)
        call.cancel()
        await asyncio.wait([call], timeout=_MOMENT)
        self.waited = not other.done()
        # One that was done before it was cancelled gives what it did.
        reading = asyncio.ensure_future(store.aget_messages("u"))
        if self.waited and call.cancelled():
            await asyncio.wait([reading], timeout=_LONG)
            self.seen = reading.result() if reading.done() else []
        go_on()
        await asyncio.wait([reading])
        with suppress(asyncio.CancelledError):
            await call
        with suppress(StoreUnavailableError):
            await other


async def _lets_others_run(call: Awaitable[object]) -> bool:
    ran: list[Any] = []
    asyncio.get_running_loop().call_soon(ran.append, True)
    await call
    return bool(ran)


async def _beats() -> None:
    for _ in range(BEATS):
        await asyncio.sleep(0)
