from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from instructions import interrupted_at
from msgspec.structs import replace
from sqlite_files import outside, said, write_lock

from sessionstore import SessionMessage, SQLiteSessionStore
from sessionstore.operations import Reseal
from sessionstore.sqlite import async_calls, threads, watching
from sessionstore.testing.waiting import wait_until

LONG = 60.0
LAST = 0.05  # no step of ours follows this wait, unless the machine is busy: then it grows

FIRST = said("first", "m")
WRITES: dict[str, Callable[[SQLiteSessionStore], Coroutine[Any, Any, Any]]] = {
    "create": lambda store: store.acreate("new"),
    "append": lambda store: store.aappend_message("s", said("late")),
    "replace": lambda store: store.areplace_message("s", said("late", "m")),
    "delete_messages": lambda store: store.adelete_messages("s", ["m"]),
    "rewind": lambda store: store.arewind("s", to=None),
    "reseal": lambda store: store.arun(Reseal("s", [FIRST], [replace(FIRST, content="late")])),
    "update": lambda store: store.aupdate("s", messages=[said("late")]),
    "delete": lambda store: store.adelete("s"),
    "prune": lambda store: store.aprune_expired(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    with SQLiteSessionStore(path) as store:
        store.create("s", messages=[FIRST])
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(path, retention_days=1, timeout=LONG) as store:
        yield store


def begun(store: SQLiteSessionStore) -> bool:
    return bool(store._database.in_use())


async def waits(task: asyncio.Task[Any], condition: Callable[[], bool]) -> None:
    while not condition():
        assert not task.done()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_write_that_is_cancelled_before_its_lock_never_begins(
    path: Path, store: SQLiteSessionStore, write: Callable[[SQLiteSessionStore], Any]
) -> None:
    async def main() -> None:
        with write_lock(path):
            task = asyncio.ensure_future(write(store))
            await waits(task, lambda: begun(store))
            task.cancel()
            # The lock is held on: it does not wait for it.
            done, _ = await asyncio.wait([task], timeout=LONG / 2)
            assert task in done
            assert task.cancelled()
            assert not begun(store)
        assert await store.aget("s") == before
        assert await store.aget("new") is None
        assert await store.aappend_message("s", said("next", "next")) == 1

    before = store.get("s")
    asyncio.run(main())
    assert [message.id for message in store.get_messages("s")] == ["m", "next"]


def test_a_cancelled_write_never_lands_after_another_stores_write(
    path: Path, store: SQLiteSessionStore
) -> None:
    async def main(other: SQLiteSessionStore) -> None:
        for number in range(10):
            with write_lock(path):
                update = store.aupdate("s", messages=[said("late")])
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(update, 0.001 * number)
            assert await other.aappend_message("s", said("new", f"{number}")) == 1

    with SQLiteSessionStore(path) as other:
        asyncio.run(main(other))
    found = [message.id for message in store.get_messages("s")]
    assert found == ["m", *map(str, range(10))]


def test_a_write_cancelled_again_and_again_never_lands(
    path: Path, store: SQLiteSessionStore
) -> None:
    async def main() -> None:
        with write_lock(path):
            task = asyncio.ensure_future(store.aappend_message("s", said("late")))
            await waits(task, lambda: begun(store))
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()
            assert not begun(store)

    asyncio.run(main())
    assert len(store.get_messages("s")) == 1


def test_writes_cancelled_behind_another_writer_never_land(
    path: Path, store: SQLiteSessionStore
) -> None:
    async def main() -> None:
        with write_lock(path):
            first = asyncio.ensure_future(store.aappend_message("s", said("first in line")))
            await waits(first, lambda: begun(store))
            others = [
                asyncio.ensure_future(store.aappend_message("s", said("late"))) for _ in range(20)
            ]
            await asyncio.sleep(0)
            for other in others:
                other.cancel()
            done, _ = await asyncio.wait(others, timeout=LONG / 2)
            assert len(done) == 20
            assert not first.done()
        assert await first == 1

    asyncio.run(main())
    assert [message.content for message in store.get_messages("s")] == ["first", "first in line"]


def test_a_write_cancelled_before_it_began_never_lands(store: SQLiteSessionStore) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(store.aappend_message("s", said("late")))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert len(store.get_messages("s")) == 1


def test_a_write_that_is_cancelled_while_it_works_is_settled(
    store: SQLiteSessionStore,
) -> None:
    """Wherever it is met: all of it is there, or nothing, and nothing comes later."""
    large = [SessionMessage("user", "x", id=f"{n}") for n in range(3000)]

    async def main() -> set[bool]:
        seen = set()
        for number in range(30):
            await store.aupdate("s", messages=[said("old", "old")])
            task = asyncio.ensure_future(store.aupdate("s", messages=large))
            await asyncio.sleep(0.001 * number)
            task.cancel()
            await asyncio.wait([task])
            assert not begun(store)
            kept = len(await store.aget_messages("s"))
            assert kept in (1, 3000)
            assert task.cancelled() or kept == 3000
            seen.add(kept == 1)
            assert len(store.get_messages("s")) == kept
        return seen

    assert True in asyncio.run(main())


def test_a_write_of_a_closed_event_loop_never_lands(path: Path, store: SQLiteSessionStore) -> None:
    loop = asyncio.new_event_loop()
    with write_lock(path):
        coroutine = store.aappend_message("s", said("late"))
        task = loop.create_task(coroutine)
        while not begun(store):
            loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        coroutine.close()  # as the garbage collector does
        assert not begun(store)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        del task
    assert len(store.get_messages("s")) == 1
    assert store.append_message("s", said("next")) == 1


def test_a_cancelled_read_gives_its_connection_back(store: SQLiteSessionStore) -> None:
    async def main() -> None:
        await store.aappend_messages("s", [said("x" * 100) for _ in range(5000)])
        for number in range(20):
            task = asyncio.ensure_future(store.aget_messages("s"))
            await asyncio.sleep(0.0005 * number)
            task.cancel()
            await asyncio.wait([task])
            assert not begun(store)

    asyncio.run(main())


def test_a_cancelled_async_writer_does_not_end_the_turn_of_a_sync_writer(
    path: Path, store: SQLiteSessionStore
) -> None:
    async def main() -> None:
        with write_lock(path):
            thread = threading.Thread(target=store.append_message, args=("s", said("sync")))
            thread.start()
            wait_until(lambda: begun(store))
            task = asyncio.ensure_future(store.aappend_message("s", said("late")))
            await waits(task, lambda: bool(store._database._writing._waiting))
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=LONG / 2)
            assert task in done
            assert thread.is_alive()
        thread.join()

    asyncio.run(main())
    assert [message.content for message in store.get_messages("s")] == ["first", "sync"]
    with outside(path) as connection:
        connection.execute("BEGIN IMMEDIATE")  # nobody holds it


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:coroutine")  # it comes before some are awaited
@pytest.mark.parametrize("module", [async_calls, threads, watching])
def test_an_interrupted_call_is_settled_when_its_caller_goes_on(
    path: Path, store: SQLiteSessionStore, module: ModuleType
) -> None:
    before, step, interrupted, last = store.get("s"), 1, True, LAST
    while interrupted:
        loop = asyncio.new_event_loop()
        with write_lock(path):
            write = loop.create_task(store.aappend_message("s", said("late")))
            loop.call_later(last, write.cancel)
            try:
                with interrupted_at(step, [module]):
                    loop.run_until_complete(write)
            except asyncio.CancelledError:
                interrupted, last, step = step <= 20 and last < LONG, 4 * last, step - 3
            except KeyboardInterrupt:
                if not write.done():  # it came upon a callback of the loop
                    loop.run_until_complete(asyncio.wait([write]))
            assert not begun(store), step
            assert write.cancelled() or isinstance(write.exception(), KeyboardInterrupt)
        loop.close()
        again = asyncio.wait_for(store.aappend_messages("s", store.get_messages("s")), LONG)
        assert asyncio.run(again) == 0, "the thread that writes still comes"
        assert store.get("s") == before
        step += 3
    assert step > 20
