"""`stats`: what is counted, what happened to a fallback, and that none of it is lost."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from faults import FaultyStore
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    FallbackStats,
    InMemorySessionStore,
    SessionStoreError,
    StoreConnectionError,
    StoreEvent,
    StoreStats,
    StoreTimeoutError,
)
from sessionstore.fallback.events import Events
from sessionstore.runner import counted
from sessionstore.stats import Tally
from sessionstore.testing import FlakySessionStore

HELLO = {"role": "user", "content": "My secret.", "id": "m1"}


# -- Counting -------------------------------------------------------------------------------------


def test_a_stats_object_is_a_frozen_copy() -> None:
    store = InMemorySessionStore()
    before = store.stats()
    store.get("s")
    assert before == StoreStats()
    with pytest.raises(AttributeError):
        before.pending = 1  # type: ignore[misc]
    store.stats().operations["Get"] = 7
    assert store.stats().operations == {"Get": 1}
    assert msgspec.json.decode(msgspec.json.encode(store.stats()), type=StoreStats) == store.stats()


def test_stores_count_each_for_itself() -> None:
    one, other = InMemorySessionStore(), InMemorySessionStore()
    one.get("s")
    assert (one.stats().operations, other.stats().operations) == ({"Get": 1}, {})


def test_what_is_cancelled_or_interrupted_is_no_error() -> None:
    class Waiting(InMemorySessionStore):
        @counted
        async def arun(self, operation: Any) -> Any:
            await asyncio.sleep(60)
            return operation

        @counted
        def run(self, operation: Any) -> Any:
            raise KeyboardInterrupt(operation)

    async def main() -> None:
        task = asyncio.ensure_future(store.aget("s"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    store = Waiting()
    asyncio.run(main())
    with pytest.raises(KeyboardInterrupt):
        store.get("s")
    assert store.stats() == StoreStats(operations={"Get": 2})


def test_no_count_is_lost_among_threads_that_change_at_each_step() -> None:
    tally, kinds = Tally(), [type(f"K{n}", (), {}) for n in range(3)]
    gate = threading.Barrier(8)

    def count() -> None:
        gate.wait()
        for n in range(3000):
            tally.add(kinds[n % 3])

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads):
        seen.append(sum(tally.counts({}).values()))
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert tally.counts({}) == {"K0": 8000, "K1": 8000, "K2": 8000}
    assert tally.counts({kinds[0]: "K1"}) == {"K1": 16000, "K2": 8000}


def test_a_count_of_two_that_begin_at_once_is_two() -> None:
    class Raced(dict[type, Any]):
        def get(self, kind: type, _: Any = None) -> Any:
            found = super().get(kind)
            if found is None and not raced:
                raced.append(kind)
                tally.add(kind)  # another thread, between two steps of this one
            return found

    raced: list[type] = []
    tally = Tally()
    tally._left = Raced()
    tally.add(int)
    assert tally.counts({}) == {"int": 2}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_on_by_itself() -> None:
    store = FallbackSessionStore(InMemorySessionStore())
    store.get("s")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.get("s")
            code = store.stats().operations != {"Get": 2}
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.stats().operations == {"Get": 1}
    store.close()


# -- A fallback -----------------------------------------------------------------------------------


def kinds(store: FallbackSessionStore) -> list[tuple[str, str, int]]:
    return [(event.kind, event.error, event.count) for event in store.stats().events]


def test_a_fallback_tells_since_when_it_is_degraded_and_what_happened() -> None:
    primary = FlakySessionStore()
    with FallbackSessionStore(primary, retry_after=0) as store:
        started = datetime.now(timezone.utc)
        primary.go_down()
        for number in range(5):
            store.append_message(f"s{number}", HELLO, user_id="alice")
        stats = store.stats()
        assert isinstance(stats, FallbackStats)
        assert stats.is_degraded
        assert stats.degraded_since is not None
        assert started <= stats.degraded_since <= datetime.now(timezone.utc)
        assert store.stats().degraded_since == stats.degraded_since
        assert (stats.pending, stats.operations, stats.errors) == (5, {"Append": 5}, {})
        assert kinds(store) == [("degraded", "StoreConnectionError", 1)]
        primary.come_back()
        assert store.recover()
        stats = store.stats()
        assert (stats.is_degraded, stats.degraded_since, stats.pending) == (False, None, 0)
        assert kinds(store)[1:] == [("recovered", "", 1), ("replayed", "", 5)]
        times = [event.at for event in stats.events]
        assert times == sorted(times)
        assert times[0].utcoffset() == timedelta(0)
        shown = f"{stats!r}{msgspec.json.encode(stats)!r}"
        assert not [word for word in ("secret", "alice", "s0", "m1") if word in shown]


def test_what_the_fallback_answers_is_no_error_and_what_the_caller_is_told_is() -> None:
    primary = FlakySessionStore()
    with FallbackSessionStore(primary, retry_after=60, retry_cap=60) as store:
        primary.go_down()
        store.get("s")
        with pytest.raises(SessionStoreError):
            store.append_message("s", HELLO, expected_version=1)
        assert store.stats().errors == {"OutageError": 1}
        assert primary.stats().errors == {}  # a wrapper's own failures are not its store's
        primary.come_back()


def test_a_rejected_write_and_a_slow_session_are_events() -> None:
    stage = Stage(retry_after=3600, retry_cap=3600)
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"), user_id="eve")
    stage.primary.come_back()
    stage.primary.inner.append_messages("s", said("b"), user_id="alice")
    assert stage.store.recover()
    stats = stage.store.stats()
    assert (stats.rejected, len(stage.store.rejected())) == (1, 1)
    assert kinds(stage.store)[1:] == [("recovered", "", 1), ("rejected", "SessionAccessError", 1)]
    for name in ("slow", "slower"):
        stage.primary.slow = {name: StoreTimeoutError("late")}
        stage.store.append_messages(name, said("a"))
        stage.store.get("s", user_id="alice")  # somebody is answered
    assert kinds(stage.store)[3:] == [("slow_session", "StoreTimeoutError", 2)]
    stage.primary.come_back()


def test_a_long_replay_does_not_push_the_outage_out_of_sight() -> None:
    primary = FlakySessionStore()
    with FallbackSessionStore(primary, retry_after=0) as store:
        primary.go_down()
        for number in range(300):
            store.append_message(f"s{number}", HELLO)
        primary.come_back()
        assert store.recover()
        assert kinds(store) == [
            ("degraded", "StoreConnectionError", 1),
            ("recovered", "", 1),
            ("replayed", "", 300),
        ]


def test_there_are_a_hundred_events_at_most() -> None:
    events = Events()
    for number in range(200):
        events.add("degraded", f"E{number}")
    assert [event.error for event in events.all()] == [f"E{n}" for n in range(100, 200)]
    events.add("rejected", "A")
    events.add("rejected", "B", 2)
    events.add("rejected", "B", 3)
    assert [(one.error, one.count) for one in events.all()[-2:]] == [("A", 1), ("B", 5)]
    assert pickle.loads(pickle.dumps(events.all())) == events.all()  # noqa: S301 - our own


def test_a_fallback_within_a_fallback_tells_of_itself() -> None:
    inner = FlakySessionStore()
    middle = FallbackSessionStore(inner, retry_after=60, retry_cap=60)
    with FallbackSessionStore(middle) as store:
        inner.go_down()
        store.append_message("s", HELLO)
        assert (store.stats().is_degraded, store.wrapped.stats().is_degraded) == (False, True)
        assert store.wrapped.stats().pending == 1
        inner.come_back()


def test_an_error_of_a_store_that_is_not_ours_is_counted_by_its_class() -> None:
    class OwnError(StoreConnectionError):
        pass

    class Own(InMemorySessionStore):
        @counted
        def run(self, operation: Any) -> Any:
            raise OwnError(str(operation))

    store = Own()
    for _ in range(2):
        with pytest.raises(OwnError):
            store.ping()
    assert store.stats() == StoreStats(operations={"Ping": 2}, errors={"OwnError": 2})


def test_a_store_that_does_not_count_tells_of_nothing() -> None:
    store = FaultyStore(InMemorySessionStore())
    store.get("s")
    assert store.stats() == StoreStats()
    assert store.inner.stats().operations == {"Get": 1}


def test_an_event_says_what_and_when() -> None:
    now = datetime.now(timezone.utc)
    assert StoreEvent(now, "recovered") == StoreEvent(at=now, kind="recovered", error="", count=1)
