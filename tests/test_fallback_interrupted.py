"""Ctrl-C within what a fallback knows: all or nothing, whoever tells of it then."""

from __future__ import annotations

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
from sessionstore.fallback import cache, cached, known, learning, queue
from sessionstore.testing.changes import Change, changes, content
from sessionstore.testing.interrupts import in_a_thread
from sessionstore.testing.samples import said

OURS = [table, session, cache, cached, known, learning, queue]
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
            getattr(store, change.method)("s", *change.args, **change.kwargs)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("down", [False, True], ids=["healthy", "in an outage"])
@pytest.mark.parametrize("number", range(8))
def test_a_write_that_is_interrupted_anywhere_is_the_same_to_all(number: int, down: bool) -> None:
    change, step = next(islice(changes(), number, None)), 1 + number % APART
    while True:
        primary = Switched(InMemorySessionStore())
        store = FallbackSessionStore(primary, retry_after=0)
        for done in islice(changes(), number):
            getattr(store, done.method)("s", *done.args, **done.kwargs)
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
