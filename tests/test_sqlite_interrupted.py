from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import BuiltinFunctionType, FrameType

import pytest
from children import Children
from sqlite_files import write_lock

from sessionstore import SessionMessage, SQLiteSessionStore
from sessionstore._runtime.interrupts import Deferred, _get_handler, _set_handler

BOMBARD = """
    import gc, random, sys, threading, time
    from itertools import count
    from bombarded import Bombarded
    from sessionstore import SessionMessage, SQLiteSessionStore

    path, rounds, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    store = SQLiteSessionStore(path, timeout=30, synchronous="NORMAL")
    other = SQLiteSessionStore(path, timeout=30, synchronous="NORMAL")
    store.create("s")

    def work():
        global acknowledged
        store.get_messages("s", limit=10)
        acknowledged = store.append_messages("s", batch) == 3
        store.list_sessions()
        store.update("s", metadata={"a": number})
        time.sleep(0.001)

    bombarded = Bombarded(0.0006)
    interrupted = 0
    for number in count():
        if number >= rounds and interrupted > 30:
            break
        batch = [SessionMessage("user", "x", id=f"{number} {n}") for n in range(3)]
        acknowledged = False
        interrupted += bombarded.breaks_off(work, random.randint(1, most))
        found = [m.id for m in store.get_messages("s", limit=3)]
        there = found == [m.id for m in batch]
        assert there or not any(m.id in found for m in batch), found
        assert there or not acknowledged
        assert not store._database.in_use()
        assert not store._database._writing.inside
        assert not store._database._reading.inside
        thread = threading.Thread(target=store.get, args=("s",))
        thread.start()
        thread.join()
        other.update("s", metadata={"b": number})
    bombarded.stop()
    store.close()
    other.close()
    gc.collect()
"""


@pytest.mark.soak
@pytest.mark.parametrize("most", [1, 8], ids=["one Ctrl-C", "some at once"])
def test_a_bombarded_store_does_all_or_nothing_and_holds_nothing(tmp_path: Path, most: int) -> None:
    path = tmp_path / "sessions.db"
    with Children() as children:
        children.run(BOMBARD, path, 300, most)
    with SQLiteSessionStore(path) as store:
        ids = [str(message.id).split() for message in store.get_messages("s")]
    batches = [number for number, place in ids if place == "0"]
    assert ids == [[number, place] for number in batches for place in "012"]
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.db"]


WAIT = """
    import os, signal, sys, threading
    from sessionstore import SessionMessage, SQLiteSessionStore

    store = SQLiteSessionStore(sys.argv[1], timeout=60)
    if sys.argv[2] == "turn":
        call = store._database.call()
        store._database.take(call, write=True)
    try:
        print("ready", flush=True)
        store.append_message("s", SessionMessage("user", "late"))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    if sys.argv[2] == "turn":
        store._database.settle(call)
    assert not store._database.in_use()
    input()
    print(store.append_message("s", SessionMessage("user", "next")))
"""


@pytest.mark.parametrize("what", ["lock", "turn"])
def test_ctrl_c_ends_the_wait_for_others(tmp_path: Path, what: str) -> None:
    path = tmp_path / "sessions.db"
    with SQLiteSessionStore(path) as store:
        store.create("s")
    with Children() as children:
        with write_lock(path):
            child = children.start(WAIT, path, what)
            assert child.stdout
            assert child.stdin
            assert child.stdout.readline() == "ready\n"
            child.send_signal(2)
            assert child.stdout.readline() == "interrupted\n"
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "1\n"
    with SQLiteSessionStore(path) as store:
        assert [message.content for message in store.get_messages("s")] == ["next"]


@pytest.mark.parametrize("held", ["a reader's place", "the writer's turn", "a connection"])
def test_what_one_call_left_behind_is_settled_by_the_next_of_its_thread(held: str) -> None:
    """Where a second Ctrl-C came while the first one's call was settled, and then a third."""
    with SQLiteSessionStore(timeout=0.2) as store:  # in memory: there is one connection
        store.create("s")
        database = store._database
        left = database.call()
        if held == "a connection":
            database.take(left, write=True).execute("BEGIN IMMEDIATE")
        else:
            (database._reading if "reader" in held else database._writing).enter(left)
        left.thread, left.over = threading.get_ident(), True
        assert store.append_message("s", SessionMessage("user", "next")) == 1
        assert not database.in_use()
        assert not database._reading.inside
        assert not database._writing.inside


def test_handlers_are_looked_up_without_a_detour_through_enums() -> None:
    for function, name in ((_get_handler, "getsignal"), (_set_handler, "signal")):
        assert isinstance(function, BuiltinFunctionType)
        assert function.__name__ == name
    assert _get_handler(signal.SIGINT) is signal.getsignal(signal.SIGINT)


def test_ctrl_c_comes_through_again_where_another_signal_cut_a_block_short() -> None:
    def block() -> None:
        with Deferred(lambda: None):
            pass

    class CutShort(Exception):  # noqa: N818 - as a handler of SIGALRM raises it
        pass

    def raises_as_it_leaves(frame: FrameType, _event: str, _: object) -> None:
        if frame.f_code is Deferred.__exit__.__code__:
            raise CutShort

    before = sys.gettrace()
    sys.settrace(raises_as_it_leaves)
    try:
        with pytest.raises(CutShort):
            block()
    finally:
        sys.settrace(before)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
