"""What Python's garbage collector ends while the thread that it comes upon holds a lock."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from langchain_sessionstore.leases.renewing import Renewer, _Held
from llama_index_sessionstore.turns import Turns
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SessionNotFoundError,
    StoreConnectionError,
)
from sessionstore._runtime.tickets import ticket
from sessionstore.fallback.entries import decode_entry
from sessionstore.fallback.queue import Arrival, PendingQueue
from sessionstore.sql import unsettled
from sessionstore.sql.deadline import Clock
from sessionstore.sql.gate import Gate
from sessionstore.testing import FlakySessionStore
from sessionstore.testing.interrupts import in_a_thread

PLACE = ("a database",)


class Collecting(dict[Any, Any]):
    """The collector comes in whenever this is looked at."""

    def get(self, *args: Any) -> Any:
        gc.collect()
        return super().get(*args)

    def setdefault(self, *args: Any) -> Any:
        gc.collect()
        return super().setdefault(*args)

    def pop(self, *args: Any) -> Any:
        gc.collect()
        return super().pop(*args)


@pytest.fixture(autouse=True)
def _collects_only_when_told() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def away() -> Iterator[FallbackSessionStore]:
    """A store whose primary is away."""
    primary = FlakySessionStore()
    primary.go_down()
    with FallbackSessionStore(primary, fallback=InMemorySessionStore()) as store:
        yield store


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_append_that_a_closed_loop_has_left_does_not_hold_up_a_fallback() -> None:
    hangs, reached = False, asyncio.Event()

    class Away(InMemorySessionStore):
        def run(self, operation: Any) -> Any:
            raise StoreConnectionError(f"away: {operation.about}")

        async def arun(self, operation: Any) -> Any:
            return self.run(operation)

    class Hanging(InMemorySessionStore):
        async def arun(self, operation: Any) -> Any:
            if hangs:
                reached.set()
                await asyncio.get_running_loop().create_future()
            return await super().arun(operation)

    async def leave() -> None:
        task = asyncio.ensure_future(store.aappend_message("left", SessionMessage("user", "x")))
        await reached.wait()
        task.get_loop().set_exception_handler(lambda *_: None)

    store = FallbackSessionStore(Away(), fallback=Hanging())
    store.append_message("s", SessionMessage("user", "a"))
    hangs = True
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    del loop
    hangs = False
    store._parts.journal._waiting = Collecting(store._parts.journal._waiting)
    assert in_a_thread(lambda: store.append_message("new", SessionMessage("user", "b"))) == 1
    assert [write.session_id for write in store.pending()] == ["s", "new"]
    store.close()


def test_an_append_that_the_collector_ends_waits_for_nothing_more() -> None:
    class Pausing(InMemorySessionStore):
        async def arun(self, operation: Any) -> Any:
            await asyncio.sleep(0)
            return await super().arun(operation)

    async def main() -> None:
        primary = FlakySessionStore()
        primary.go_down()
        async with FallbackSessionStore(primary, fallback=Pausing()) as store:
            await store.aappend_message("s", SessionMessage("user", "a"))
            call = store.aappend_message("s", SessionMessage("user", "b"))
            call.send(None)
            call.close()
            assert store._parts.journal.has_voids
            await store.aappend_message("s", SessionMessage("user", "c"))
            assert not store._parts.journal.has_voids
            assert len(store.pending()) == 2

    asyncio.run(main())


def test_writes_that_are_taken_over_stay_though_their_sessions_queue_ends_just_then(
    away: FallbackSessionStore,
) -> None:
    away.append_message("other", SessionMessage("user", "x"))
    journal = away._parts.journal
    entry = decode_entry(journal._bodies()[0][1][0])
    left = Arrival("a", b"", show=bool, stamp=int, held=ticket())
    queue = journal._expect("s", left, lambda: None)
    ending = [lambda: journal._arrived(queue, left)]

    class Ending(dict[str, PendingQueue]):
        def get(self, *args: Any) -> Any:
            found = super().get(*args)
            while ending:
                ending.pop()()
            return found

    journal._queues = Ending(journal._queues)
    journal.adopt("s", ["theirs"], [entry])
    assert [len(bodies) for _, bodies in journal._bodies()] == [1, 1]
    assert "theirs" not in journal.obsolete
    assert journal.size == 2


def test_a_call_that_fails_as_the_collector_ends_it_leaves_the_lock_of_another() -> None:
    store, failed = InMemorySessionStore(), []
    enter = store._table._enter

    def fail(session: Any) -> None:
        enter(session)
        if not failed:
            failed.append(True)
            with pytest.raises(SessionNotFoundError):
                store.update("none", metadata={})

    store._table._enter = fail  # type: ignore[method-assign]
    assert store.append_message("s", SessionMessage("user", "a")) == 1
    assert failed


def test_a_write_that_comes_in_as_its_sessions_queue_ends_is_replayed_all_the_same(
    away: FallbackSessionStore,
) -> None:
    away.append_message("s", SessionMessage("user", "a"))
    journal = away._parts.journal
    queue = journal.claim("s")
    assert queue is not None
    batch = journal.next_batch(queue)
    assert batch is not None
    journal.mark_done(queue, batch)
    queue.done.clear()
    coming = [lambda: away.append_message("s", SessionMessage("user", "b"))]

    class Coming(dict[str, None]):
        def pop(self, *args: Any) -> Any:
            while coming:
                coming.pop()()
            return super().pop(*args)

    journal._waiting = Coming()
    assert not journal.release(queue)
    assert journal.waiting() == ["s"]


def test_a_write_that_comes_in_as_a_queue_is_given_up_stays_and_is_replayed(
    away: FallbackSessionStore,
) -> None:
    away.append_message("s", SessionMessage("user", "a"))
    journal = away._parts.journal
    queue, ended = journal._queues["s"], journal._ended
    coming = [lambda: away.append_message("s", SessionMessage("user", "b"))]

    def come(session_id: str) -> None:
        ended(session_id)
        while coming:
            coming.pop()()

    journal._ended = come
    assert journal._give_up(queue) == 1
    assert (journal.size, len(away.pending()), journal.waiting()) == (1, 1, ["s"])


def test_a_call_may_end_in_the_list_of_obsolete_journals_while_a_queue_ends_elsewhere() -> None:
    store = FallbackSessionStore(InMemorySessionStore(), fallback=InMemorySessionStore())
    journal = store._parts.journal

    class Ending(dict[str, None]):
        def update(self, *args: Any) -> None:
            while collected:
                collected.pop()()
            super().update(*args)

    def add(name: str) -> None:
        with journal._lock:  # as a queue that ends does
            journal.obsolete.add([name])

    def collect() -> None:
        other.start()
        other.join(0.1)
        assert not journal.owns("c")

    other = threading.Thread(target=add, args=["b"], daemon=True)
    collected = [collect]
    found = journal.obsolete._journals = Ending()
    in_a_thread(lambda: journal.obsolete.add(["a"]))
    other.join(5)
    assert list(found) == ["a", "b"]
    store.close()


@pytest.mark.parametrize("when", ["before it has one", "as it is woken"])
def test_a_place_is_not_kept_for_a_call_that_the_collector_ends_just_then(when: str) -> None:
    gate, first = Gate(1, 5.0), ticket()

    class Ending(dict[Any, Any]):
        def __setitem__(self, place: Any, session: Any) -> None:
            super().__setitem__(place, session)
            gate._withdraw(left)

    assert gate.try_enter("s", first)
    left = gate._queued("t", ticket(), bool)
    if when == "before it has one":
        gate._inside = Ending(gate._inside)
    else:
        left.wake = lambda: gate._withdraw(left)
    gate.leave(first, answered=True)
    assert (gate.used, list(gate._waiting)) == (0, [])


def test_a_place_that_becomes_free_before_a_call_waits_for_it_is_its_own() -> None:
    gate, first, second = Gate(1, 5.0), ticket(), ticket()

    class Leaving(dict[Any, Any]):
        def get(self, *args: Any) -> Any:
            gate.leave(first, answered=True)
            return super().get(*args)

    assert gate.try_enter("s", first)
    gate._answers_on = Leaving()
    assert gate._queued("t", second, bool).granted
    assert (gate.used, list(gate._waiting)) == (1, [])


def test_a_call_is_given_its_place_just_as_it_begins_to_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, first = Gate(1, 5.0), ticket()
    waiter = threading.Thread(target=lambda: gate.enter("t", ticket()), daemon=True)
    wait = threading.Condition.wait

    def collect(condition: threading.Condition, timeout: float | None = None) -> bool:
        if threading.current_thread() is waiter:
            gate.leave(first, answered=True)
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", collect)
    assert gate.try_enter("s", first)
    waiter.start()
    waiter.join(0.1)
    in_a_thread(lambda: gate.leave(first, answered=True))
    waiter.join(5)
    assert not waiter.is_alive()


def test_a_stream_that_was_left_gives_its_lease_back_in_the_midst_of_the_gate() -> None:
    gate = Gate(4, 5.0)
    released: list[bool] = []

    def pass_by(session: str) -> bool:
        place = ticket()
        passed = gate.try_enter(session, place)
        gate.leave(place, answered=True)
        return passed

    def stream() -> Iterator[None]:
        try:
            yield
        finally:
            released.append(pass_by("the lease"))

    left: list[Any] = [stream()]
    next(left[0])
    left.append(left)
    del left
    gate._answers_on = Collecting()
    assert in_a_thread(lambda: pass_by("s"))
    assert released == [True]
    assert gate.used == 0


def test_a_statement_that_was_left_is_noted_while_another_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    clock.place, clock.backend = PLACE, unsettled.Backend(1, "then")
    connection = SimpleNamespace(transaction_status=TransactionStatus.ACTIVE)

    def wait() -> Iterator[None]:
        try:
            yield
        except BaseException:
            clock.note_unless_settled(connection)
            raise

    left: list[Any] = [wait()]
    next(left[0])
    left.append(left)
    del left
    monkeypatch.setattr(unsettled, "UNSETTLED", Collecting())
    other = unsettled.Backend(2, "then")
    in_a_thread(lambda: unsettled.note(PLACE, other))
    assert unsettled.UNSETTLED[PLACE] == {clock.backend, other}


def test_a_turn_may_give_its_lease_back_just_as_it_is_found_dropped() -> None:
    renewer = Renewer(InMemorySessionStore())

    def is_collected() -> None:
        renewer.drop("h")

    renewer._held["h"] = _Held(is_collected, lambda: None)  # type: ignore[arg-type]
    assert renewer._dropped() == []


def test_a_turn_that_ends_as_what_was_read_is_released_ends_once() -> None:
    turns = Turns()

    class Releasing(dict[Any, Any]):
        def get(self, key: Any, *args: Any) -> Any:
            found = super().get(key, *args)
            if found is not None:
                super().pop(key)  # as the collector does that releases it here
            return found

    async def main() -> None:
        turns._held, turns._waiting = Releasing(), Releasing()
        turn = await turns.enter("s")
        turns._held["s"] = turn
        turns.leave("s", turn)
        waiter = asyncio.get_running_loop().create_future()
        turns._waiting["s"] = deque([waiter])
        turns._wait_no_more("s", waiter)

    asyncio.run(main())
    assert not turns._held
    assert not turns._waiting
