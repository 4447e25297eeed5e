"""Operations that wait at the same moment share a transaction, and each is as if it were alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import outside, said, write_lock

from sessionstore import (
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    SQLiteSessionStore,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
)
from sessionstore.deadline import until
from sessionstore.operations import Append, Get
from sessionstore.rows.sessions import Records
from sessionstore.sqlite import batches
from sessionstore.sqlite.async_calls import acarry_out
from sessionstore.sqlite.calls import Call
from sessionstore.sqlite.carrying import carry_out
from sessionstore.sqlite.connections import FileConnection
from sessionstore.sqlite.jobs import Job
from sessionstore.sqlite.reading import get
from sessionstore.sqlite.threads import Lane
from sessionstore.sqlite.transactions import Transaction
from sessionstore.sqlite.writing import append
from sessionstore.testing.waiting import wait_until

BRIEF, LONG = 0.2, 60.0
MANY = 64
Write = Callable[[SQLiteSessionStore], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch ends early because this machine is slow."""
    monkeypatch.setattr(batches, "_LONGEST", LONG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(path, timeout=LONG) as store:
        store.append_message("theirs", said("first", "m"), user_id="somebody")
        yield store


@contextmanager
def traced(store: SQLiteSessionStore) -> Iterator[list[str]]:
    """Note the statements of the connections that there are."""
    statements: list[str] = []
    connections = store._database.idle()
    for connection in connections:
        connection.set_trace_callback(statements.append)
    yield statements
    for connection in connections:
        connection.set_trace_callback(None)


@contextmanager
def turn_held(store: SQLiteSessionStore) -> Iterator[None]:
    """Keep all writers waiting for their turn."""
    call = store._database.call()
    store._database.take(call, write=True)
    try:
        yield
    finally:
        store._database.settle(call)


def queued(store: SQLiteSessionStore, threads: int, tasks: int = 0) -> None:
    """Wait until so many writes wait for the writer; one task is among those in threads."""

    def there() -> bool:
        return len(store._database.waiting()) == threads + tasks

    wait_until(there)


async def together(
    store: SQLiteSessionStore, path: Path, writes: list[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Do all at once: they wait for the file, and then go along with the first of them."""
    with write_lock(path):
        tasks = [asyncio.ensure_future(write) for write in writes]
        await asyncio.to_thread(queued, store, len(tasks) - 1)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def gathered(writes: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*writes, return_exceptions=True)


def texts(store: SQLiteSessionStore, session_id: str) -> list[Any]:
    return [message.content for message in store.get_messages(session_id)]


# -- They do go together --------------------------------------------------------------------------


def test_writes_of_tasks_that_wait_share_one_commit(store: SQLiteSessionStore, path: Path) -> None:
    with traced(store) as statements:
        writes = [store.aappend_message(f"s{n}", said("x")) for n in range(MANY)]
        assert asyncio.run(together(store, path, writes)) == [1] * MANY
    assert statements.count("COMMIT") == 1
    assert [texts(store, f"s{n}") for n in range(MANY)] == [["x"]] * MANY


def test_writes_of_threads_that_wait_share_one_commit(store: SQLiteSessionStore) -> None:
    with ThreadPoolExecutor(8) as pool, traced(store) as statements:
        with turn_held(store):
            writes = [pool.submit(store.append_message, "s", said(f"{n}")) for n in range(8)]
            queued(store, 8)
        assert [write.result() for write in writes] == [1] * 8
    assert statements.count("COMMIT") == 1
    assert sorted(texts(store, "s")) == [f"{n}" for n in range(8)]


def test_threads_and_tasks_share_one_commit(store: SQLiteSessionStore) -> None:
    async def main() -> None:
        with turn_held(store):
            writes = [pool.submit(store.append_message, "s", said(f"{n}")) for n in range(4)]
            await asyncio.to_thread(queued, store, 4)
            tasks = [
                asyncio.ensure_future(store.aappend_message("t", said(f"{n}"))) for n in range(8)
            ]
            await asyncio.to_thread(queued, store, 4, 8)
        assert await asyncio.gather(*tasks) == [1] * 8
        assert [write.result() for write in writes] == [1] * 4

    with ThreadPoolExecutor(4) as pool, traced(store) as statements:
        asyncio.run(main())
    assert statements.count("COMMIT") == 1
    assert texts(store, "t") == [f"{n}" for n in range(8)]


def test_a_caller_alone_sets_no_savepoint(store: SQLiteSessionStore) -> None:
    with traced(store) as statements:
        store.append_message("s", said("x"))
        asyncio.run(store.aappend_message("s", said("y")))
    assert statements.count("COMMIT") == 2
    assert not any("SAVEPOINT" in statement for statement in statements)


def test_reads_of_tasks_that_wait_share_one_transaction(store: SQLiteSessionStore) -> None:
    goes_on = threading.Event()

    def slow(transaction: Transaction, operation: Get) -> Any:
        found = get(transaction, operation)
        goes_on.wait()
        return found

    async def main() -> None:
        first = asyncio.ensure_future(acarry_out(store._database, slow, Get("theirs", limit=1)))
        await asyncio.to_thread(wait_until, lambda: store._database.in_use() == 1)
        reads = [
            asyncio.ensure_future(store.aget_messages("theirs", limit=1)) for _ in range(MANY - 1)
        ]
        refused = asyncio.ensure_future(store.aget("theirs", limit=1, user_id="nobody"))
        await asyncio.sleep(0)
        goes_on.set()
        assert [len(found) for found in await asyncio.gather(*reads)] == [1] * (MANY - 1)
        with pytest.raises(SessionAccessError):
            await refused
        assert await first == expected

    expected = store.get("theirs", limit=1)
    with traced(store) as statements:
        asyncio.run(main())
    assert statements.count("BEGIN") == 2, "the first, and all that waited meanwhile"


def test_a_read_of_a_whole_history_keeps_no_other_waiting(store: SQLiteSessionStore) -> None:
    goes_on = threading.Event()

    def slow(transaction: Transaction, operation: Get) -> Any:
        goes_on.wait()
        return get(transaction, operation)

    async def main() -> None:
        whole = [
            asyncio.ensure_future(acarry_out(store._database, slow, Get("theirs")))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        for _ in range(5):
            assert len(await asyncio.wait_for(store.aget_messages("theirs", limit=1), LONG)) == 1
        assert not any(read.done() for read in whole)
        goes_on.set()
        await asyncio.gather(*whole)

    asyncio.run(main())


def test_a_large_append_goes_alone(store: SQLiteSessionStore, path: Path) -> None:
    sizes = [1, 1, 300_000, 1, 400_000, 1]
    writes = [store.aappend_message(f"s{n}", said("x" * size)) for n, size in enumerate(sizes)]
    with traced(store) as statements:
        assert asyncio.run(together(store, path, writes)) == [1] * 6
    assert statements.count("COMMIT") == 3
    assert [len(texts(store, f"s{n}")[0]) for n in range(6)] == sizes


def test_a_batch_is_bounded(
    store: SQLiteSessionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST", MANY - 1)
    writes = [store.aappend_message(f"s{n}", said("x")) for n in range(3 * MANY)]
    with traced(store) as statements:
        assert asyncio.run(together(store, path, writes)) == [1] * 3 * MANY
    assert statements.count("COMMIT") == 3


def test_a_batch_is_bounded_in_bytes(store: SQLiteSessionStore, path: Path) -> None:
    writes = [store.aappend_message(f"s{n}", said("x" * 200_000)) for n in range(15)]
    with traced(store) as statements:
        assert asyncio.run(together(store, path, writes)) == [1] * 15
    assert statements.count("COMMIT") == 3


# -- One that fails, fails alone ------------------------------------------------------------------


async def unexpected(store: SQLiteSessionStore) -> None:
    def broken(transaction: Transaction, operation: Append) -> int:
        append(transaction, operation)
        raise RuntimeError("of ours")

    await acarry_out(store._database, broken, Append("failed", [said("half")]))


FAILURES: dict[str, tuple[Write, type[Exception]]] = {
    "conflict": (
        lambda store: store.aappend_messages("failed", [said("x")], expected_version=7),
        SessionConflictError,
    ),
    "another's": (
        lambda store: store.aappend_message("theirs", said("x"), user_id="nobody"),
        SessionAccessError,
    ),
    "there already": (lambda store: store.acreate("theirs"), SessionExistsError),
    "no session": (lambda store: store.aupdate("failed", metadata={}), SessionNotFoundError),
    "no message": (
        lambda store: store.areplace_message("theirs", said("x", "none")),
        SessionNotFoundError,
    ),
    "unexpected": (unexpected, RuntimeError),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
@pytest.mark.parametrize("place", [0, 31, 63])
def test_one_of_many_fails_alone(
    store: SQLiteSessionStore, path: Path, failure: tuple[Write, type[Exception]], place: int
) -> None:
    fails, kind = failure
    before = store.get("theirs")
    writes = [store.aappend_message(f"s{n}", said("x")) for n in range(MANY - 1)]
    writes.insert(place, fails(store))
    outcomes = asyncio.run(together(store, path, writes))
    assert type(outcomes.pop(place)) is kind
    assert outcomes == [1] * (MANY - 1)
    assert [texts(store, f"s{n}") for n in range(MANY - 1)] == [["x"]] * (MANY - 1)
    assert store.get("theirs") == before
    assert store.get("failed") is None


@pytest.mark.parametrize("place", [0, 2])
def test_one_that_breaks_as_it_is_encoded_fails_alone(
    store: SQLiteSessionStore, path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    def encoded(job: Job[Any], messages: Any) -> Records:
        if job.operation.session_id == "failed":
            raise RuntimeError("of ours")
        return usual(job, messages)

    usual = Job.encoded
    monkeypatch.setattr(Job, "encoded", encoded)
    writes = [store.aappend_message("s", said(f"{n}")) for n in range(4)]
    writes.insert(place, store.aappend_message("failed", said("x")))
    outcomes = asyncio.run(together(store, path, writes) if place else gathered(writes))
    assert isinstance(outcomes.pop(place), RuntimeError)
    assert outcomes == [1] * 4
    assert store.get("failed") is None


def test_what_one_did_before_it_failed_is_undone(store: SQLiteSessionStore, path: Path) -> None:
    def broken(transaction: Transaction, operation: Append) -> int:
        append(transaction, operation)
        raise SessionConflictError("too late")

    writes = [store.aappend_message("s", said(f"{n}")) for n in range(3)]
    fails = acarry_out(store._database, broken, Append("s", [said("half")]))
    outcomes = asyncio.run(together(store, path, [*writes, fails]))
    assert isinstance(outcomes[3], SessionConflictError)
    assert texts(store, "s") == ["0", "1", "2"]


def test_one_that_finds_no_room_fails_alone(store: SQLiteSessionStore, path: Path) -> None:
    """SQLite undoes the whole transaction then."""
    [connection] = store._database.idle()
    [[pages]] = connection.execute("PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    writes = [store.aappend_message(f"s{n}", said("x")) for n in range(9)]
    writes.insert(4, store.aappend_message("failed", said("x" * 200_000)))
    outcomes = asyncio.run(together(store, path, writes))
    assert "full" in str(outcomes.pop(4))
    assert outcomes == [1] * 9
    assert store.get("failed") is None
    assert [texts(store, f"s{n}") for n in range(9)] == [["x"]] * 9


@contextmanager
def commits_failing(monkeypatch: pytest.MonkeyPatch, times: int) -> Iterator[list[str]]:
    failed: list[str] = []

    def execute(connection: FileConnection, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and len(failed) < times:
            failed.append(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return sqlite3.Connection.execute(connection, sql, *args)

    with monkeypatch.context() as patch:
        patch.setattr(FileConnection, "execute", execute, raising=False)
        yield failed


def test_when_the_commit_fails_each_is_tried_alone(
    store: SQLiteSessionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = [store.aappend_message("s", said("x")) for _ in range(10)]
    with commits_failing(monkeypatch, 1) as failed:
        assert asyncio.run(together(store, path, writes)) == [1] * 10
    assert failed == ["COMMIT"]
    assert texts(store, "s") == ["x"] * 10


def test_when_no_commit_succeeds_each_has_an_error_of_its_own(
    store: SQLiteSessionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = [store.aappend_message("s", said("x")) for _ in range(10)]
    with commits_failing(monkeypatch, 1000):
        outcomes = asyncio.run(together(store, path, writes))
    assert {type(outcome) for outcome in outcomes} == {StoreConnectionError}
    assert len(set(map(id, outcomes))) == 10
    assert store.get("s") is None
    assert store.append_message("s", said("next")) == 1


def test_when_the_commit_fails_each_thread_is_tried_alone(
    store: SQLiteSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(8) as pool, commits_failing(monkeypatch, 3):
        with turn_held(store):
            writes = [pool.submit(store.append_message, "s", said(f"{n}")) for n in range(8)]
            queued(store, 8)
        outcomes = [write.exception() or write.result() for write in writes]
    assert outcomes.count(1) == 6
    assert len(texts(store, "s")) == 6


def test_when_the_file_is_taken_away_each_has_an_error_of_its_own(
    store: SQLiteSessionStore, path: Path
) -> None:
    def taken(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        os.rename(path, f"{path}.old")
        return added

    takes = acarry_out(store._database, taken, Append("s", [said("x")]))
    writes = [store.aappend_message("s", said("x")) for _ in range(5)]
    outcomes = asyncio.run(together(store, path, [takes, *writes]))
    assert all("read before you try it again" in str(outcome) for outcome in outcomes)
    assert all(isinstance(outcome, SessionStoreError) for outcome in outcomes)
    assert len(set(map(id, outcomes))) == 6
    assert store.append_message("s", said("next")) == 1


# -- Nobody waits for longer, and nobody lands late -----------------------------------------------


def test_threads_whose_time_is_up_leave_before_they_are_begun(path: Path) -> None:
    with SQLiteSessionStore(path, timeout=BRIEF) as store, ThreadPoolExecutor(8) as pool:
        store.create("s")
        with turn_held(store):
            writes = [pool.submit(store.append_message, "s", said("late")) for _ in range(8)]
            errors = [write.exception(LONG) for write in writes]
        assert {type(error) for error in errors} == {StoreBusyError}
        assert store.append_message("s", said("next")) == 1
        assert texts(store, "s") == ["next"]
        assert not store._database.waiting()


def test_a_call_that_is_put_back_when_its_time_is_up_ends(path: Path) -> None:
    """Also one that found a thread free, and was taken along by another caller's."""
    started: list[Job[Any]] = []

    async def main() -> None:
        call = asyncio.ensure_future(store.aappend_message("s", said("late")))
        await asyncio.sleep(0)
        [job] = started
        assert job.claim(store)
        await asyncio.wait([call], timeout=2 * BRIEF)
        assert not call.done(), "whoever has begun with it is waited for"
        job.put_back(alone=True)
        with pytest.raises(StoreBusyError):
            await asyncio.wait_for(call, LONG)

    with SQLiteSessionStore(path, timeout=BRIEF) as store:
        store._database.start = lambda job, *_: started.append(job)  # type: ignore[method-assign]
        asyncio.run(main())


def test_those_whose_deadline_is_sooner_end_sooner(path: Path) -> None:
    async def main() -> None:
        with write_lock(path):
            first = asyncio.ensure_future(store.aappend_message("s", said("x")))
            await asyncio.sleep(0)
            with until(time.monotonic() + BRIEF):
                later = [asyncio.ensure_future(store.aappend_message("s", said("y"))) for _ in "12"]
            for call in later:
                with pytest.raises(StoreTimeoutError):
                    await asyncio.wait_for(call, LONG / 2)
            assert not first.done()
        assert await first == 1

    with SQLiteSessionStore(path, timeout=LONG) as store:
        store.create("s")
        asyncio.run(main())
        assert texts(store, "s") == ["x"]


def test_those_that_are_cancelled_are_left_out(store: SQLiteSessionStore, path: Path) -> None:
    """Every second one: with the first of them, who would carry out the others', and without."""

    async def main(start: int) -> None:
        with write_lock(path):
            tasks = [
                asyncio.ensure_future(store.aappend_message(f"s{start}", said(f"{n}")))
                for n in range(MANY)
            ]
            await asyncio.to_thread(queued, store, MANY - 1)
            for task in tasks[start::2]:
                task.cancel()
            await asyncio.wait(tasks[start::2])
            assert all(task.cancelled() for task in tasks[start::2])
        assert await asyncio.gather(*tasks[1 - start :: 2]) == [1] * (MANY // 2)

    for start in (0, 1):
        asyncio.run(main(start))
        kept = texts(store, f"s{start}")
        assert kept == [f"{n}" for n in range(1 - start, MANY, 2)]


def test_those_that_are_cancelled_at_any_moment_are_settled(store: SQLiteSessionStore) -> None:
    async def main(number: int) -> None:
        tasks = [
            asyncio.ensure_future(store.aappend_message(f"s{number}", said("x", f"{n}")))
            for n in range(MANY)
        ]
        await asyncio.sleep(0.0002 * number)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        kept = {message.id for message in await store.aget_messages(f"s{number}")}
        for n, task in enumerate(tasks):
            assert task.cancelled() or task.result() == 1
            assert task.cancelled() or f"{n}" in kept
            assert not task.cancelled() or n % 2 == 0
        await asyncio.sleep(0.005)
        assert {message.id for message in await store.aget_messages(f"s{number}")} == kept
        assert not store._database.in_use()

    for number in range(30):
        asyncio.run(main(number))


def test_a_leader_that_is_cancelled_undoes_its_own_and_nothing_of_the_others(
    store: SQLiteSessionStore,
) -> None:
    """It is cancelled when its own work is done, while it carries out another's."""
    tasks: list[asyncio.Future[Any]] = []
    loop: Any = None
    first: Any = None
    cancelled, goes_on = threading.Event(), threading.Event()

    def cancelling(transaction: Transaction, operation: Append) -> int:
        if not cancelled.is_set():
            loop.call_soon_threadsafe(tasks[0].cancel)
            wait_until(lambda: first.given_up)
            cancelled.set()
        return append(transaction, operation)

    def slow(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        goes_on.wait()
        return added

    async def main() -> None:
        nonlocal loop, first
        loop, database = asyncio.get_running_loop(), store._database
        call = database.call
        first = database.call()
        database.call = lambda: first
        tasks.append(asyncio.ensure_future(acarry_out(database, slow, Append("s", [said("no")]))))
        await asyncio.sleep(0)
        database.call = call
        tasks.append(
            asyncio.ensure_future(acarry_out(database, cancelling, Append("s", [said("1")])))
        )
        tasks.append(asyncio.ensure_future(store.aappend_message("s", said("2"))))
        await asyncio.to_thread(queued, store, 2)
        goes_on.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [1, 1]

    asyncio.run(main())
    assert cancelled.is_set()
    assert sorted(texts(store, "s")) == ["1", "2"]


def test_a_closed_store_refuses_those_that_wait(store: SQLiteSessionStore) -> None:
    def closing(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        queued(store, 3)
        threading.Thread(target=store.close).start()
        wait_until(lambda: store._database.closed)
        return added

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(carry_out, store._database, closing, Append("s", [said("last")]))
        wait_until(lambda: store._database.in_use() == 1)
        others = [pool.submit(store.append_message, "s", said("late")) for _ in range(3)]
        assert first.result() == 1
        errors = [other.exception() for other in others]
    assert all("closed" in str(error) for error in errors)


def test_a_closed_store_refuses_the_tasks_that_wait(store: SQLiteSessionStore, path: Path) -> None:
    async def main() -> list[Any]:
        with write_lock(path):
            tasks = [asyncio.ensure_future(store.aappend_message("s", said("x"))) for _ in range(9)]
            await asyncio.to_thread(queued, store, 8)
            store._database.shut()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *outcomes = asyncio.run(main())
    assert all("closed" in str(outcome) for outcome in outcomes)
    with SQLiteSessionStore(path) as again:
        assert len(again.get_messages("s")) == (first == 1), "it had begun, or not"


def test_the_file_is_sound_and_free_afterwards(store: SQLiteSessionStore, path: Path) -> None:
    writes = [store.aappend_message(f"s{n % 7}", said("x")) for n in range(MANY)]
    asyncio.run(together(store, path, writes))
    assert not store._database.in_use()
    assert not store._database._writing.inside
    with outside(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_large_write_is_carried_out_though_its_thread_ends_while_another_looks_at_it() -> None:
    led: list[Job[Any]] = []
    lane = Lane(1, lambda _, job: led.append(job))
    lane._at_work[0] = me = object()  # its thread, between two jobs

    class Looked(Job[Any]):
        """Something goes on right after it was looked at, once."""

        __slots__ = ("meanwhile",)

        def is_claimed(self) -> bool:
            claimed, meanwhile = super().is_claimed(), self.meanwhile
            self.meanwhile = lambda: None
            meanwhile()
            return claimed

    small, large = (Looked(Call("f", LONG), append, Append("s", [said("x")])) for _ in range(2))
    small.claim("who took it along")
    large.alone = True  # it goes along with nobody
    lane._jobs.extend([small, large])
    small.meanwhile = lane._jobs.popleft  # the thread takes it
    large.meanwhile = lambda: lane._serve(0, me)  # finds nothing, and ends
    assert lane.waiting() == []
    wait_until(lambda: bool(led))
    lane.shut()
    assert led == [large]
