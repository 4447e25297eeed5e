"""Batches that something breaks off: a kill, a fork, a Ctrl-C in the thread that leads one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from children import Children
from instructions import interrupted_at
from sqlite_files import outside, said
from sqlite_killed import lives
from warm import Warm

from sessionstore import SQLiteSessionStore
from sessionstore.operations import Append
from sessionstore.sqlite import batches, carrying, jobs, turns
from sessionstore.sqlite.carrying import carry_out
from sessionstore.sqlite.transactions import Transaction
from sessionstore.sqlite.writing import append
from sessionstore.testing.waiting import wait_until


def test_a_process_killed_in_the_middle_of_batches_loses_nothing_that_was_acknowledged(
    warm: Warm, tmp_path: Path
) -> None:
    lives(warm, tmp_path / "sessions.db", 5)


# -- Ctrl-C in the one who carries out others' operations -----------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(tmp_path / "sessions.db", timeout=60, synchronous="NORMAL") as store:
        store.create("s")
        yield store


FOLLOWED = """
    import signal, sys, threading
    from sessionstore import SessionMessage, SQLiteSessionStore
    from sessionstore.operations import Append
    from sessionstore.sqlite.carrying import carry_out
    from sessionstore.sqlite.writing import append
    from sessionstore.testing.waiting import wait_until

    store = SQLiteSessionStore(sys.argv[1], timeout=60)
    store.create("s")
    main, pressed, answers = threading.get_ident(), [], []

    def leads(transaction, operation):
        added = append(transaction, operation)
        wait_until(lambda: len(store._database.waiting()) == 8)
        return added

    def presses(transaction, operation):
        if threading.get_ident() == main:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return append(transaction, operation)

    def follow(number):
        wait_until(lambda: store._database.in_use())
        work = presses if number == 3 else append
        operation = Append("s", [SessionMessage("user", f"{number}")])
        answers.append(carry_out(store._database, work, operation))

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        carry_out(store._database, leads, Append("s", [SessionMessage("user", "leader")]))
    except KeyboardInterrupt:
        print("interrupted")
    assert not any(call.thread == main for call in store._database._users.values())
    for thread in threads:
        thread.join()
    assert not store._database.in_use()
    assert answers == [1] * 8
    print(len(pressed))
    print(*sorted(message.content for message in store.get_messages("s")))
"""


def test_a_leader_that_is_interrupted_leaves_nobody_behind(tmp_path: Path) -> None:
    with Children() as children:
        output = children.run(FOLLOWED, tmp_path / "sessions.db")
    assert output == "interrupted\n1\n0 1 2 3 4 5 6 7\n"


MODULES = {"batches": [batches], "carrying": [carrying], "jobs": [jobs], "turns": [turns]}


@pytest.mark.parametrize("modules", MODULES.values(), ids=MODULES.keys())
def test_wherever_a_leader_is_interrupted_the_others_are_answered(
    store: SQLiteSessionStore, modules: list[ModuleType]
) -> None:
    database, step, interrupted = store._database, 1, True

    def leads(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        followers.extend(pool.submit(store.append_message, "s", said("x")) for _ in range(2))
        wait_until(lambda: len(database.waiting()) == 2)
        return added

    kept = 0
    with ThreadPoolExecutor(2) as pool:
        while interrupted:
            followers: list[Future[int]] = []
            added = 0
            try:
                with interrupted_at(step, modules):
                    added = carry_out(database, leads, Append("s", [said("x", f"{step}")]))
                interrupted = False
            except KeyboardInterrupt:
                pass
            assert not any(c.thread == threading.get_ident() for c in database._users.values())
            assert [follower.result(60) for follower in followers] == [1] * len(followers)
            wait_until(lambda: not database.in_use())
            ids = [message.id for message in store.get_messages("s", limit=5)]
            kept += len(followers) + (f"{step}" in ids)
            assert f"{step}" in ids or not added
            assert not database._writing.inside
            assert not database.waiting()
            step += 1
        assert len(store.get_messages("s")) == kept
    assert step > 3


def test_wherever_a_follower_is_interrupted_it_is_settled(store: SQLiteSessionStore) -> None:
    database, step, interrupted = store._database, 1, True

    def leads(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        inside.set()
        goes_on.wait()
        return added

    def let_go() -> None:
        wait_until(lambda: bool(database.waiting()) or step_is_over.is_set())
        goes_on.set()

    with ThreadPoolExecutor(2) as pool:
        while interrupted:
            inside, goes_on, step_is_over = (threading.Event() for _ in range(3))
            leader = pool.submit(carry_out, database, leads, Append("s", [said("x")]))
            inside.wait()
            releaser = pool.submit(let_go)
            added = 0
            try:
                with interrupted_at(step, [carrying, turns]):
                    added = store.append_message("s", said("x", f"{step}"))
                interrupted = False
            except KeyboardInterrupt:
                pass
            step_is_over.set()
            assert leader.result(60) == 1
            releaser.result(60)
            ids = [message.id for message in store.get_messages("s", limit=3)]
            assert (f"{step}" in ids) or not added
            wait_until(lambda: not database.in_use())
            assert not database._writing.inside
            assert not database.waiting()
            step += 1
    assert step > 10


BOMBARD = """
    import sys, threading
    from bombarded import Bombarded
    from sessionstore import SessionMessage, SQLiteSessionStore

    store = SQLiteSessionStore(sys.argv[1], timeout=60, synchronous="NORMAL")
    store.create("s")
    acknowledged, interrupted, number = [], 0, 0

    def append(id):
        assert store.append_message("s", SessionMessage("user", "x", id=id)) == 1
        acknowledged.append(id)

    def write(writer):
        for number in range(300):
            append(f"{writer} {number}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    bombarded = Bombarded(0.004)
    while interrupted <= 5 or any(thread.is_alive() for thread in threads):
        interrupted += bombarded.breaks_off(lambda: append(f"main {number}"), 8)
        number += 1
    bombarded.stop()
    for thread in threads:
        thread.join()
    assert not store._database.in_use()
    assert not store._database._writing.inside
    ids = [message.id for message in store.get_messages("s")]
    assert len(set(ids)) == len(ids)
    assert not set(acknowledged) - set(ids)
    assert len([id for id in ids if not id.startswith("main")]) == 1200
"""


def test_a_bombarded_leader_loses_nothing_of_the_others(tmp_path: Path) -> None:
    with Children() as children:
        children.run(BOMBARD, tmp_path / "sessions.db")


# -- A fork with operations waiting ---------------------------------------------------------------

FORK = """
    import asyncio, os, sys, threading, warnings
    from sessionstore import SessionMessage, SQLiteSessionStore

    warnings.simplefilter("ignore", DeprecationWarning)
    store = SQLiteSessionStore(sys.argv[1], timeout=60, synchronous="NORMAL")
    asyncio.run(store.aping())  # imports what else would be imported during a fork

    def message(name):
        return SessionMessage("user", "x", id=name)

    def thread(writer):
        for number in range(100):
            assert store.append_message("s", message(f"thread{writer} {number}")) == 1

    async def task(writer):
        for number in range(20):
            assert await store.aappend_message("s", message(f"task{writer} {number}")) == 1

    async def tasks():
        await asyncio.gather(*map(task, range(32)))

    threads = [threading.Thread(target=thread, args=(writer,)) for writer in range(4)]
    threads.append(threading.Thread(target=asyncio.run, args=(tasks(),)))
    for one in threads:
        one.start()
    children = []
    for number in range(5):
        while not store._database.waiting() and any(one.is_alive() for one in threads):
            pass
        child = os.fork()
        if child == 0:
            clean = not (store._database.waiting() or store._database._writing.inside)
            for n in range(10):
                store.append_message("s", message(f"child{number} {n}"))
                asyncio.run(store.aappend_message("s", message(f"achild{number} {n}")))
            os._exit(not clean)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    for one in threads:
        one.join()
"""


def test_a_fork_with_operations_waiting_loses_none_and_leaves_the_child_clean(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    with Children() as children:
        children.run(FORK, path)
    with outside(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept: dict[str, list[Any]] = {}
    with SQLiteSessionStore(path) as store:
        for message in store.get_messages("s"):
            name, number = str(message.id).rsplit(" ", 1)
            kept.setdefault(name, []).append(int(number))
    assert kept == {
        **{f"thread{n}": list(range(100)) for n in range(4)},
        **{f"task{n}": list(range(20)) for n in range(32)},
        **{f"{kind}{n}": list(range(10)) for n in range(5) for kind in ("child", "achild")},
    }
