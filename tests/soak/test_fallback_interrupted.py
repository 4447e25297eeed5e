"""Ctrl-C within what a fallback knows: all or nothing, whoever tells of it then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import pytest
from instructions import interrupted_at

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore._in_memory import session, table
from sessionstore.fallback import (
    cache,
    cached,
    circuits,
    health,
    journal,
    known,
    learning,
    obsolete,
    queue,
    replay,
    resealing,
    routing,
    triage,
)
from sessionstore.testing.changes import Change, changes, content
from sessionstore.testing.interrupts import in_a_thread
from sessionstore.testing.samples import said

OURS = [table, session, cache, cached, known, learning, queue, resealing]
HOLDING = [*OURS, circuits, health, journal, obsolete, replay, routing, triage]
APART = 11  # instructions: which ones depends on the change


class Switched(WrapperSessionStore):
    down = False

    def run(self, operation: Any) -> Any:
        if self.down:
            raise StoreConnectionError("down")
        return super().run(operation)


def attempt(store: FallbackSessionStore, change: Change, step: int) -> bool:
    """Tell whether it was broken off."""
    try:
        with interrupted_at(step, OURS):
            getattr(store, change.method)(*change.args, **change.kwargs)
    except KeyboardInterrupt:
        return True
    return False


CASES = [(number, down) for number in range(9) for down in (False, True)]


# The last is of what is refused in an outage.
@pytest.mark.parametrize(("number", "down"), [*CASES, (13, False)])
def test_a_write_that_is_interrupted_anywhere_is_the_same_to_all(number: int, down: bool) -> None:
    change, step = next(islice(changes(), number, None)), 1 + number % APART
    while True:
        primary = Switched(InMemorySessionStore())
        store = FallbackSessionStore(primary, retry_after=0)
        for done in islice(changes(), number):
            getattr(store, done.method)(*done.args, **done.kwargs)
        before = content(primary.get("s"))
        primary.down = down
        interrupted = attempt(store, change, step)
        after = change.outcome(before)
        either = (before, after) if interrupted else (after,)
        primary.down = True
        known = content(store.get("s"))
        assert known in either
        assert in_a_thread(partial(store.append_message, "other", said("goes on"))) == 1
        primary.down = False
        assert store.recover()
        there = content(primary.get("s"))
        assert content(store.get("s")) == there
        # What the primary has taken, an interrupted caller's fallback may not know of.
        assert there in ([known] if down else either)
        if not interrupted:
            break
        step += APART
    assert step > 20


async def append(store: FallbackSessionStore) -> None:
    await store.aappend_message("s", said("b"))


async def recover(store: FallbackSessionStore) -> None:
    await store.arecover()


def is_broken_off(step: int, call: Callable[[], Any]) -> bool:
    """As in a notebook: whose event loop goes on."""
    loop = asyncio.new_event_loop()
    try:
        with interrupted_at(step, HOLDING):
            loop.run_until_complete(call())
    except KeyboardInterrupt:
        return True
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    return False


@pytest.mark.parametrize("call", [append, recover], ids=["append", "recover"])
@pytest.mark.parametrize("back", [False, True], ids=["in an outage", "when it is over"])
def test_an_async_call_that_is_interrupted_anywhere_holds_nothing(
    call: Callable[[FallbackSessionStore], Any], back: bool
) -> None:
    step, interrupted = 1, True
    while interrupted:
        primary = Switched(InMemorySessionStore())
        store = FallbackSessionStore(primary, retry_after=0)
        primary.down = True
        if back:
            store.append_message("s", said("a"))
        primary.down = not back
        interrupted = is_broken_off(step, partial(call, store))
        primary.down = False
        assert store.recover(), step
        assert not store.pending()
        texts = [message.content for message in store.get_messages("s")]
        assert texts in (["a"] * back, [*["a"] * back, "b"])
        step += APART
    assert step > 20


def test_a_write_that_is_interrupted_behind_its_journal_does_not_come_back() -> None:
    step, interrupted = 1, True
    while interrupted:
        primary = Switched(InMemorySessionStore())
        store = FallbackSessionStore(primary, retry_after=0)
        primary.down = True
        try:
            with interrupted_at(step, [journal]):
                store.append_message("s", said("a"))
            interrupted = False
        except KeyboardInterrupt:
            pass
        known = [message.content for message in store.get_messages("s")]
        primary.down = False
        assert store.recover()
        assert [message.content for message in store.get_messages("s")] == known, step
        step += 1
    assert step > 20
