from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from children import Children
from sqlite_files import files_of, outside, said, write_lock

from sessionstore import SessionStore, SQLiteSessionStore, StoreBusyError, StoreTimeoutError
from sessionstore.deadline import until
from sessionstore.operations import Append, Get, GetMessages, Operation
from sessionstore.sqlite.async_calls import acarry_out
from sessionstore.sqlite.calls import Call
from sessionstore.sqlite.transactions import Transaction
from sessionstore.sqlite.turns import Slots
from sessionstore.sqlite.writing import append
from sessionstore.testing.waiting import wait_until

BRIEF = 0.2
LONG = 60.0

READS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda store: store.get("s"),
    "get_messages": lambda store: store.get_messages("s", limit=1),
    "list_sessions": lambda store: store.list_sessions(),
    "ping": lambda store: store.ping(),
    "aget": lambda store: asyncio.run(store.aget("s")),
    "aget_messages": lambda store: asyncio.run(store.aget_messages("s", limit=1)),
    "alist_sessions": lambda store: asyncio.run(store.alist_sessions()),
    "aping": lambda store: asyncio.run(store.aping()),
}

WRITES: dict[str, Callable[[SessionStore], Any]] = {
    "create": lambda store: store.acreate("new"),
    "append": lambda store: store.aappend_message("s", said("new")),
    "replace": lambda store: store.areplace_message("s", said("new", "m")),
    "update": lambda store: store.aupdate("s", metadata={"a": 1}),
    "delete": lambda store: store.adelete("s"),
    "prune": lambda store: store.aprune_expired(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    with SQLiteSessionStore(path) as store:
        store.create("s", messages=[said("first", "m")])
    return path


def in_a_loop(twin: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    return lambda *args: asyncio.run(twin(*args))


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_readers_do_not_wait_for_a_writer(path: Path, read: Callable[[SessionStore], Any]) -> None:
    with write_lock(path), SQLiteSessionStore(path, timeout=BRIEF) as store:
        read(store)


def test_async_readers_do_not_wait_for_queued_writers(path: Path) -> None:
    async def main() -> None:
        async with SQLiteSessionStore(path, timeout=LONG) as store:
            with write_lock(path):
                writes = [
                    asyncio.ensure_future(store.aappend_message("s", said(f"{number}")))
                    for number in range(64)
                ]
                for _ in range(3):
                    found = await asyncio.wait_for(store.aget_messages("s"), LONG / 2)
                    assert [message.content for message in found] == ["first"]
                assert len((await asyncio.wait_for(store.alist_sessions(), LONG / 2)).sessions) == 1
                assert not any(write.done() for write in writes)
            assert await asyncio.gather(*writes) == [1] * 64
            assert len(await store.aget_messages("s")) == 65

    asyncio.run(main())


def test_a_busy_writer_gives_up_after_its_timeout(path: Path) -> None:
    with SQLiteSessionStore(path, timeout=BRIEF) as store:
        before = store.get("s")
        with write_lock(path):
            for write in (store.append_message, in_a_loop(store.aappend_message)):
                start = time.monotonic()
                with pytest.raises(StoreBusyError, match="busy"):
                    write("s", said("x"))
                assert time.monotonic() - start >= BRIEF
        assert store.get("s") == before
        assert store.append_message("s", said("x")) == 1


def test_writers_in_a_queue_give_up_together(path: Path) -> None:
    async def main() -> None:
        async with SQLiteSessionStore(path, timeout=BRIEF) as store:
            with write_lock(path):
                writes = [store.aappend_message("s", said("x")) for _ in range(100)]
                together = asyncio.gather(*writes, return_exceptions=True)
                outcomes = await asyncio.wait_for(together, 100 * BRIEF / 2)
            assert {type(outcome) for outcome in outcomes} == {StoreBusyError}
            assert await store.aappend_message("s", said("x")) == 1
            assert len(await store.aget_messages("s")) == 2

    asyncio.run(main())


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_async_write_does_not_hold_its_loop_up(
    path: Path, write: Callable[[SessionStore], Any]
) -> None:
    async def main() -> None:
        async with SQLiteSessionStore(path, retention_days=1, timeout=LONG) as store:
            with write_lock(path):
                task = asyncio.ensure_future(write(store))
                # If the loop stood still, it would not come to the end of the lock.
                for _ in range(10):
                    await asyncio.sleep(0.005)
                    assert not task.done()
            await asyncio.wait_for(task, LONG / 2)

    asyncio.run(main())


def test_async_calls_in_memory_do_not_hold_their_loop_up() -> None:
    async def main() -> None:
        async with SQLiteSessionStore(timeout=LONG) as store:
            await store.acreate("s")
            database = store._database
            call = database.call()
            database.take(call, write=False)
            tasks = [asyncio.ensure_future(call) for call in (store.aget("s"), store.adelete("s"))]
            for _ in range(10):
                await asyncio.sleep(0.005)
                assert not any(task.done() for task in tasks)
            database.settle(call)
            await asyncio.wait_for(asyncio.gather(*tasks), LONG / 2)

    asyncio.run(main())


def test_waiting_writers_hold_no_connections(path: Path) -> None:
    with SQLiteSessionStore(path, timeout=LONG) as store:
        database = store._database
        threads = [
            threading.Thread(target=store.append_message, args=("s", said(f"{number}")))
            for number in range(30)
        ]
        with write_lock(path):
            for thread in threads:
                thread.start()
            wait_until(lambda: database.in_use() == 1)
            store.get("s")
            assert len(database.idle()) + database.in_use() == 2
        for thread in threads:
            thread.join()
        assert len(store.get_messages("s")) == 31


def test_a_call_keeps_to_the_deadline_of_the_call_that_it_is_part_of(path: Path) -> None:
    async def awaited() -> None:
        with until(time.monotonic() + BRIEF):
            await store.aappend_message("s", said("x"))

    with SQLiteSessionStore(path, timeout=LONG) as store, write_lock(path):
        for write in (lambda: store.append_message("s", said("x")), lambda: asyncio.run(awaited())):
            start = time.monotonic()
            with until(time.monotonic() + BRIEF), pytest.raises(StoreBusyError):
                write()
            assert BRIEF <= time.monotonic() - start < LONG / 2


def test_an_async_call_that_is_late_when_it_comes_does_not_wait_for_a_thread(path: Path) -> None:
    """For its own time it is the file that was busy; for that of a call around it, too late."""

    async def main(store: SQLiteSessionStore) -> None:
        async def write() -> None:
            await store.aappend_message("s", said("x"))

        with write_lock(path):
            first = asyncio.create_task(write())
            await asyncio.to_thread(wait_until, lambda: store._database.in_use() == 1)
            start = time.monotonic()
            for late in (start - 1, start + BRIEF):
                with until(late), pytest.raises(StoreTimeoutError):
                    await write()
            assert time.monotonic() - start < LONG / 2
        await first

    with SQLiteSessionStore(path, timeout=LONG) as store:
        asyncio.run(main(store))


def test_all_waits_of_a_call_share_its_timeout(path: Path) -> None:
    """For its turn, and then for SQLite's lock."""
    with SQLiteSessionStore(path, timeout=3 * BRIEF) as store, write_lock(path):
        call = store._database.call()
        store._database.take(call, write=True)
        threading.Timer(2 * BRIEF, store._database.settle, [call]).start()
        start = time.monotonic()
        with pytest.raises(StoreBusyError):
            store.append_message("s", said("x"))
        assert 3 * BRIEF <= time.monotonic() - start < 5 * BRIEF


def test_the_wait_for_a_thread_counts(path: Path) -> None:
    """Where the one before does not wait, but works on for longer."""
    goes_on = threading.Event()

    def slow(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        goes_on.wait()
        return added

    async def main() -> None:
        async with SQLiteSessionStore(path, timeout=BRIEF) as store:
            first = asyncio.ensure_future(
                acarry_out(store._database, slow, Append("s", [said("slow")]))
            )
            others = [store.aappend_message("s", said("late")) for _ in range(3)]
            outcomes = await asyncio.gather(*others, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StoreBusyError}
            assert not first.done()
            goes_on.set()
            await first
            assert [m.content for m in await store.aget_messages("s")] == ["first", "slow"]

    asyncio.run(main())


def test_waiting_calls_are_served_in_the_order_of_their_arrival() -> None:
    slots, order = Slots(1), list[str]()
    first, second, third = (Call("a file", LONG) for _ in range(3))

    def come_second() -> None:
        assert not slots.enter(second)
        slots.wait(second, bool)
        order.append("second")
        slots.leave(second)

    assert slots.enter(first)
    thread = threading.Thread(target=come_second)
    thread.start()
    wait_until(lambda: bool(slots._waiting))
    slots.leave(first)
    if not slots.enter(third):
        slots.wait(third, bool)
    order.append("third")
    thread.join()
    assert order == ["second", "third"]


def test_calls_that_come_in_the_midst_of_it_do_not_keep_one_from_leaving() -> None:
    slots, calls = Slots(16), [Call("a file", LONG) for _ in range(8)]
    assert all(slots.enter(call) for call in calls)
    with at_each_collection(lambda: slots.enter(Call("a file", LONG))):
        for call in calls:
            slots.leave(call)
    assert not set(calls) & set(slots.inside.values())


@contextmanager
def at_each_collection(work: Callable[[], object]) -> Iterator[None]:
    """Do as another thread may that comes to run while Python collects.

    Before 3.12 it collects whenever something is made, also in the midst of a built-in function.
    """
    no_more_at_hand = [(n, n) for n in range(10_000)]  # Python keeps pairs for the next ones

    def collects(phase: str, _: object) -> None:
        if phase == "start":
            work()

    usual = gc.get_threshold()
    gc.callbacks.append(collects)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(collects)
        del no_more_at_hand


def test_the_number_of_readers_at_once_is_bounded(path: Path) -> None:
    with SQLiteSessionStore(path, timeout=BRIEF) as store:
        database = store._database
        calls = [database.call() for _ in range(16)]
        for call in calls:
            database.take(call, write=False)
        with pytest.raises(StoreBusyError, match="busy"):
            store.get("s")
        assert store.append_message("s", said("the writer goes on")) == 1
        for call in calls:
            database.settle(call)
        assert len(store.get_messages("s")) == 2
        assert len(database.idle()) == 8


def test_each_batch_of_a_prune_has_the_whole_timeout(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteSessionStore(path, retention_days=1, timeout=LONG) as store:
        for number in range(101):
            store.create(f"old {number}")
        with outside(path) as connection:
            connection.execute("UPDATE sessionstore_sessions SET updated_at = 1")
        begun: list[Call] = []
        restart = Call.restart
        monkeypatch.setattr(Call, "restart", lambda call: begun.append(call) or restart(call))
        assert store.prune_expired() == 102
        assert len(begun) == 2, "once after each batch"


@pytest.mark.soak
def test_a_large_session_is_pruned_in_slices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by nobody between them, and no call by its id pays for it."""
    lefts: list[int] = []
    with (
        SQLiteSessionStore(path, retention_days=1) as store,
        SQLiteSessionStore(path) as keeper,
        outside(path) as connection,
    ):
        for session_id, count in (("large", 25_000), ("again", 10_001), ("s", 2)):
            keeper.append_messages(session_id, [said(f"{n}") for n in range(count)])
        connection.execute("UPDATE sessionstore_sessions SET updated_at = 1")
        assert store.append_message("again", said("new")) == 1

        def watched(transaction: Transaction, commit: Any = Transaction.commit_batch) -> None:
            commit(transaction)
            count = connection.execute("SELECT count(*) FROM sessionstore_messages")
            lefts.extend(*count.fetchall())
            assert [info.id for info in keeper.list_sessions().sessions][:1] == ["again"]
            large = keeper.get("large")
            assert large is None or len(large.messages) == 25_000

        monkeypatch.setattr(Transaction, "commit_batch", watched)
        assert store.prune_expired() == 3
        assert max(before - left for before, left in pairwise([35_005, *lefts])) <= 10_000
        assert lefts[-1] == 1
        assert [info.id for info in keeper.list_sessions().sessions] == ["again"]
        assert [message.content for message in keeper.get_messages("again")] == ["new"]


def test_the_wait_for_another_thread_that_opens_the_file_ends_at_the_timeout(path: Path) -> None:
    with SQLiteSessionStore(path, timeout=BRIEF) as store:
        with store._database._opening, pytest.raises(StoreBusyError, match="busy"):
            store.get("s")
        assert store.get("s") is not None


def test_a_new_file_that_another_process_has_locked_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with (
        write_lock(path, "EXCLUSIVE"),
        SQLiteSessionStore(path, timeout=BRIEF) as store,
        pytest.raises(StoreBusyError, match="busy"),
    ):
        store.create("s")
    with SQLiteSessionStore(path) as store:
        assert store.get("s") is None


OPEN = """
    import sys
    from sessionstore import SessionMessage, SQLiteSessionStore

    print("ready")
    input()
    with SQLiteSessionStore(sys.argv[1], timeout=60) as store:
        store.append_message("s", SessionMessage("user", sys.argv[2], id=sys.argv[2]))
        print(len(store.get_messages("s")))
"""


@pytest.mark.soak
def test_many_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with Children() as children:
        counts = children.start_together(20, OPEN, path)
    assert max(map(int, counts)) == 20
    with SQLiteSessionStore(path) as store:
        assert {m.content for m in store.get_messages("s")} == {str(n) for n in range(20)}
    with outside(path) as connection:
        assert connection.execute("SELECT version FROM sessionstore_schema").fetchall() == [(1,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


WRITE = """
    import asyncio, sys
    from concurrent.futures import ThreadPoolExecutor
    from sessionstore import SessionMessage, SQLiteSessionStore

    path, process = sys.argv[1:]

    def batch(*name):
        name = " ".join(map(str, name))
        return [SessionMessage("user", f"{name} {n}", id=f"{name} {n}") for n in range(2)]

    def write(thread):
        for number in range(10):
            assert store.append_messages("s", batch(process, thread, number)) == 2
            assert len(store.get_messages("s", limit=2)) == 2

    async def awrite(task):
        for number in range(10):
            assert await store.aappend_messages("s", batch(process, task, number)) == 2
            assert len(await store.aget_messages("s", limit=2)) == 2

    async def tasks():
        await asyncio.gather(*map(awrite, (4, 5, 6, 7)))

    print("ready")
    input()
    with SQLiteSessionStore(path, timeout=60) as store, ThreadPoolExecutor() as threads:
        works = [*(threads.submit(write, thread) for thread in range(4))]
        works.append(threads.submit(asyncio.run, tasks()))
        for work in works:
            work.result()
"""


def test_processes_with_threads_and_tasks_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with Children() as children:
        children.start_together(4, WRITE, path)
    with SQLiteSessionStore(path) as store:
        log = [str(message.content).rsplit(" ", 1) for message in store.get_messages("s")]
    batches = [name for name, place in log if place == "0"]
    assert log == [[name, place] for name in batches for place in "01"]
    for writer in {name.rsplit(" ", 1)[0] for name in batches}:
        numbers = [name.rsplit(" ", 1)[1] for name in batches if name.startswith(f"{writer} ")]
        assert numbers == [str(number) for number in range(10)]
    assert len(batches) == 4 * 8 * 10


WRITE_ONE = """
    import sys
    from sessionstore import SessionMessage, SQLiteSessionStore

    with SQLiteSessionStore(sys.argv[1]) as store:
        store.append_message("s", SessionMessage("user", "of another process"))
"""


def test_another_store_of_this_process_does_not_release_our_locks(path: Path) -> None:
    with SQLiteSessionStore(path) as store, Children() as children:
        store.append_message("s", said("ours"))
        # To open and close the file in any other way than SQLite's would release them.
        with SQLiteSessionStore(path) as other:
            other.append_message("s", said("the other's"))
        children.run(WRITE_ONE, path)
        assert "sessions.db-wal" in files_of(path)
        store.append_message("s", said("ours again"))
        texts = [message.content for message in store.get_messages("s")]
    assert texts == ["first", "ours", "the other's", "of another process", "ours again"]
    with SQLiteSessionStore(path) as store:
        assert len(store.get_messages("s")) == 5


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_list_that_only_reads_waits_for_no_writer(path: Path, mode: str) -> None:
    reads: list[Operation[Any]] = [Get("new"), GetMessages("new")]
    with SQLiteSessionStore(path, timeout=0) as store:
        store.append_message("new", said("hello"))
        with write_lock(path):
            found = store.run(reads) if mode == "sync" else asyncio.run(store.arun(reads))
            assert [len(found[0].messages), len(found[1])] == [1, 1]
            with pytest.raises(StoreBusyError):
                store.run([*reads, Append("new", [said("x")])])
