from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import Children, ended
from sqlite_files import outside, said
from warm import Warm

from sessionstore import SessionStore, SessionStoreError, SQLiteSessionStore
from sessionstore.operations import Append
from sessionstore.sqlite.async_calls import acarry_out
from sessionstore.sqlite.carrying import carry_out
from sessionstore.sqlite.transactions import Transaction
from sessionstore.sqlite.writing import append

# -- kill -9 ------------------------------------------------------------------------------------

APPEND = """
    import asyncio, sys
    from itertools import count
    from sessionstore import SessionMessage, SQLiteSessionStore

    path, mode, life = sys.argv[1:]
    store = SQLiteSessionStore(path)

    def batch(number):
        return [SessionMessage("user", "x" * 500, id=f"{life} {number} {n}") for n in range(3)]

    def sync():
        for number in count():
            store.append_messages("s", batch(number))
            print(number)

    async def tasks():
        for number in count():
            await store.aappend_messages("s", batch(number))
            print(number)

    sync() if mode == "sync" else asyncio.run(tasks())
"""


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_killed_process_loses_nothing_that_was_acknowledged(
    warm: Warm, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "sessions.db"
    lives = [lived(warm, path, mode, life) for life in range(25)]
    with SQLiteSessionStore(path) as store:
        log = [tuple(map(int, str(message.id).split())) for message in store.get_messages("s")]
    batches = [(life, number) for life, number, place in log if place == 0]
    assert log == [(*batch, place) for batch in batches for place in range(3)], "a batch is split"
    for life, acknowledged in enumerate(lives):
        kept = [number for of, number in batches if of == life]
        assert kept == list(range(len(kept))), "lost, twice, or out of order"
        # What was under way when the process was killed may be there, or not.
        assert len(kept) - acknowledged in (0, 1)
    assert [life for life, _ in batches] == sorted(life for life, _ in batches)
    with outside(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def lived(warm: Warm, path: Path, mode: str, life: int) -> int:
    """Let a process append until it is killed, and give how many appends it acknowledged."""
    with Children(warm) as children:
        child = children.start(APPEND, path, mode, life)
        assert child.stdout
        first = [child.stdout.readline() for _ in range(random.randint(1, 12))]  # noqa: S311
        child.kill()
        acknowledged = "".join([*first, ended(child)]).split()
    assert acknowledged == [str(number) for number in range(len(acknowledged))]
    return len(acknowledged)


# -- An error in the middle ---------------------------------------------------------------------


def broken_off(transaction: Transaction, operation: Append, *, error: BaseException) -> int:
    """Append, and fail when all is written but not yet committed."""
    append(transaction, operation)
    raise error


@pytest.mark.parametrize("error", [RuntimeError("of ours"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_halfway_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    broken, half = partial(broken_off, error=error), Append("s", [said("half", "half")])
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        for session_id in ("s", "t"):
            before = store.get("s")
            with pytest.raises(type(error)) as caught:
                carry_out(store._database, broken, half)
            assert caught.value is error
            with pytest.raises(type(error)):
                asyncio.run(acarry_out(store._database, broken, half))
            assert store.get("s") == before
            assert store.append_message(session_id, said("x")) == 1
            store.append_message("s", said("x"))


# -- A full disk --------------------------------------------------------------------------------

CALLS: dict[str, Callable[[SessionStore], Any]] = {
    "create": lambda store: store.create("new", messages=large()),
    "append": lambda store: store.append_messages("s", [said("first"), *large()]),
    "append to none": lambda store: store.append_messages("new", large()),
    "replace": lambda store: store.replace_message("s", said("x" * 200_000, "m")),
    "update": lambda store: store.update("s", messages=large(), metadata={"a": 2}),
    "metadata": lambda store: store.update("s", metadata={"a": "x" * 200_000}),
    "aappend": lambda store: asyncio.run(store.aappend_messages("s", large())),
    "acreate": lambda store: asyncio.run(store.acreate("new", messages=large())),
}


def large() -> list[Any]:
    return [said("x" * 50_000) for _ in range(4)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_full_disk_leaves_nothing_half_done(
    tmp_path: Path, call: Callable[[SessionStore], Any]
) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        before = store.create("s", messages=[said("m0", "m"), said("m1")], metadata={"a": 1})
        [connection] = store._database.idle()
        [[pages]] = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        for _ in range(2):
            with pytest.raises(SessionStoreError, match="full"):
                call(store)
            assert store.get("s") == before
            assert store.get("new") is None
        assert store.append_message("s", said("there is room for this")) == 1
        connection.execute("PRAGMA max_page_count = 1000000")
        call(store)
        assert store.get("s") != before or store.get("new") is not None


LIMITED = """
    import resource, sys
    from sessionstore import SessionMessage, SessionStoreError, SQLiteSessionStore

    with SQLiteSessionStore(sys.argv[1]) as store:
        store.create("s")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        for number in range(100):
            batch = [SessionMessage("user", "x" * 5000, id=f"{number} {n}") for n in range(3)]
            try:
                store.append_messages("s", batch)
            except SessionStoreError as error:
                assert len(store.get_messages("s")) == 3 * number
                break
            print(number)
"""


def test_a_file_that_may_not_grow_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with Children() as children:
        acknowledged = children.run(LIMITED, path).split()
    assert 5 < len(acknowledged) < 100
    with SQLiteSessionStore(path) as store:
        kept = [message.id for message in store.get_messages("s")]
        assert kept == [f"{number} {n}" for number in acknowledged for n in range(3)]
        assert store.append_message("s", said("goes on")) == 1


# -- fork ---------------------------------------------------------------------------------------

FORK = """
    import asyncio, os, sys, warnings
    from sessionstore import SessionMessage, SQLiteSessionStore

    # Python warns of any fork beside threads, such as those of the async calls.
    warnings.simplefilter("ignore", DeprecationWarning)
    path, used = sys.argv[1:]
    store = SQLiteSessionStore(path, timeout=60)

    def use(who):
        for number in range(10):
            for mode in ("sync", "async"):
                id = f"{who} {number} {mode}"
                message = SessionMessage("user", id, id=id)
                if mode == "sync":
                    assert store.append_message("s", message) == 1
                else:
                    assert asyncio.run(store.aappend_message("s", message)) == 1
                assert store.get_messages("s", before=id, limit=1) is not None
        asyncio.run(store.aget("s"))

    if used == "used":
        use("before")
    children = []
    for name in ("a", "b", "c"):
        child = os.fork()
        if child == 0:
            use(name)
            sys.exit()  # the way that runs what is to be run at exit
        children.append(child)
    use("parent")
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    use("after")
    store.close()
"""


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_store_is_used_before_and_after_a_fork(tmp_path: Path, used: str) -> None:
    path = tmp_path / "sessions.db"
    with Children() as children:
        children.run(FORK, path, used)
    with SQLiteSessionStore(path) as store:
        log = [str(message.id) for message in store.get_messages("s")]
    order = [f"{number} {mode}" for number in range(10) for mode in ("sync", "async")]
    everyone = ["a", "b", "c", "parent", "after", *(["before"] if used == "used" else [])]
    for who in everyone:
        assert [name.partition(" ")[2] for name in log if name.startswith(f"{who} ")] == order
    assert len(log) == len(order) * len(everyone)
    with outside(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_store_closed_before_a_fork_is_closed_in_the_child(tmp_path: Path) -> None:
    program = """
        import os, sys
        from sessionstore import SQLiteSessionStore, SessionStoreError

        store = SQLiteSessionStore(sys.argv[1])
        store.create("s")
        store.close()
        if os.fork() == 0:
            try:
                store.get("s")
            except SessionStoreError:
                os._exit(0)
            os._exit(1)
        assert os.wait()[1] == 0
    """
    with Children() as children:
        children.run(program, tmp_path / "sessions.db")


CHILD_WRITES_ON = """
    import os, sys
    from sessionstore import SessionMessage, SQLiteSessionStore

    def append(name, count=20):
        for number in range(count):
            id = f"{name} {number}"
            assert store.append_message("s", SessionMessage("user", id, id=id)) == 1

    store = SQLiteSessionStore(sys.argv[1], timeout=60)
    append("before")
    appended, closed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        append("child")
        os.write(appended[1], b"x")
        os.read(closed[0], 1)
        append("child on")
        os._exit(0)
    os.read(appended[0], 1)
    store.close()
    os.write(closed[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("kind", ["SQLiteSessionStore", "SqliteAgentDb"])
def test_a_child_writes_on_when_its_parent_has_closed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sessions.db"
    program = CHILD_WRITES_ON
    if kind == "SqliteAgentDb":
        program = program.replace(
            "SQLiteSessionStore(sys.argv[1]", f"DbSessionStore(db := {kind}(sys.argv[1])"
        )
        program = program.replace(", timeout=60", "").replace("store.close()", "db.close()")
        program = program.replace("SQLiteSessionStore", f"DbSessionStore, {kind}")
    with Children() as children:
        children.run(program, path)
    assert kept_by(path) == {
        name: [str(number) for number in range(20)] for name in ("before", "child", "child on")
    }


FORK_BESIDE_A_WRITER = """
    import os, sys, threading, warnings
    from sessionstore import SessionMessage, SQLiteSessionStore

    warnings.simplefilter("ignore", DeprecationWarning)

    def append(name, count):
        for number in range(count):
            id = f"{name} {number}"
            assert store.append_message("s", SessionMessage("user", id, id=id)) == 1

    store = SQLiteSessionStore(sys.argv[1], timeout=60, synchronous="NORMAL")
    threads = [threading.Thread(target=append, args=(f"thread{n}", 200)) for n in range(2)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(5):
        append(f"parent{number}", 5)
        child = os.fork()
        if child == 0:
            append(f"child{number}", 20)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    for thread in threads:
        thread.join()
"""


def test_a_fork_while_a_thread_writes_leaves_the_child_free(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with Children() as children:
        children.run(FORK_BESIDE_A_WRITER, path)
    counts = {name: len(numbers) for name, numbers in kept_by(path).items()}
    assert counts == {
        **{f"thread{number}": 200 for number in range(2)},
        **{f"parent{number}": 5 for number in range(5)},
        **{f"child{number}": 20 for number in range(5)},
    }


def kept_by(path: Path) -> dict[str, list[str]]:
    """Give the numbers that a sound file holds of each writer, in their order."""
    with outside(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept: dict[str, list[str]] = {}
    with SQLiteSessionStore(path) as store:
        for message in store.get_messages("s"):
            name, number = str(message.id).rsplit(" ", 1)
            kept.setdefault(name, []).append(number)
    return kept


def test_a_store_in_memory_is_refused_in_a_forked_child() -> None:
    program = """
        import os
        from sessionstore import SessionStoreError, SQLiteSessionStore

        store, unused = SQLiteSessionStore(), SQLiteSessionStore()
        store.create("s")
        if os.fork() == 0:
            unused.create("s")
            try:
                store.get("s")
            except SessionStoreError as error:
                os._exit("after the fork" not in str(error))
            os._exit(1)
        assert os.wait()[1] == 0
        assert store.get("s") is not None
    """
    with Children() as children:
        children.run(program)


FORK_BESIDE_A_STUCK_CALL = """
    import asyncio, os, sqlite3, sys, threading, time, warnings
    from sessionstore import SessionMessage, SessionStoreError, SQLiteSessionStore

    warnings.simplefilter("ignore", DeprecationWarning)
    path, how = sys.argv[1:]
    store, fresh = SQLiteSessionStore(path, timeout=0.3), SQLiteSessionStore(path, timeout=60)
    store.create("s")
    database = store._database

    def hold():  # for longer than a fork waits for it
        call = database.call()
        if how == "opening":
            database._opening.acquire()
        else:
            database.take(call, write=how == "writing")
        held.set()
        done.wait()
        database._opening.release() if how == "opening" else database.settle(call)

    held, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        said = []
        for call in (
            lambda: store.append_message("s", SessionMessage("user", "x")),
            lambda: asyncio.run(store.aget("s")),
        ):
            try:
                call()
            except SessionStoreError as error:
                said.append("after the fork" in str(error))
        fresh.append_message("s", SessionMessage("user", "of a child"))
        os._exit(said != ([] if how == "opening" else [True, True]))
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()
    store.append_message("s", SessionMessage("user", "of the parent"))
    print(store.get_messages("s")[-1].content)
"""


@pytest.mark.parametrize("how", ["reading", "writing", "opening"])
def test_a_fork_during_a_call_that_never_ends_leaves_no_child_waiting(
    tmp_path: Path, how: str
) -> None:
    """The child works, or is told; it never waits for what its parent's thread holds."""
    with Children() as children:
        output = children.run(FORK_BESIDE_A_STUCK_CALL, tmp_path / "sessions.db", how)
    assert output == "of the parent\n"
