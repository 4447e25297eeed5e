"""Calls that are answered late, or while the outage begins: what came after them stays."""

from __future__ import annotations

import _thread
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from savers import Cut
from servers.process import wait_until

from langgraph_sessionstore import FallbackCheckpointer
from langgraph_sessionstore.in_time import LateError
from langgraph_sessionstore.late import LateCalls
from langgraph_sessionstore.requests import SaverRequest
from sessionstore import OutageError

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def put(saver, config):
    return saver.put(config, empty_checkpoint(), {}, {})


@pytest.fixture
def saver():
    return Cut()


@contextmanager
def slow_once(saver, method, *, does_first):
    """Have a saver's next call of a method wait for the end of the block."""
    call, begun, goes_on, over = getattr(saver, method), *(threading.Event() for _ in range(3))

    def slow(*args):
        setattr(saver, method, call)
        result = call(*args) if does_first else None
        begun.set()
        goes_on.wait(60)
        result = result or call(*args)
        over.set()
        return result

    setattr(saver, method, slow)
    try:
        yield begun
    finally:
        goes_on.set()
        assert over.wait(60)


def test_a_late_put_does_not_bring_a_deleted_thread_back(saver):
    with FallbackCheckpointer(saver, timeout=1, retry_after=0) as checkpointer:
        with slow_once(saver, "put", does_first=False):
            put(checkpointer, CONFIG)
            wait_until(checkpointer.recover, "it does not recover")
            checkpointer.delete_thread("t")
        wait_until(checkpointer.recover, "it does not recover")
        assert saver.get_tuple(CONFIG) is None


def test_late_writes_do_not_take_the_place_of_newer_ones(saver):
    with FallbackCheckpointer(saver, timeout=1, retry_after=0) as checkpointer:
        there = put(checkpointer, CONFIG)
        with slow_once(saver, "put_writes", does_first=False):
            checkpointer.put_writes(there, [("__resume__", "old")], "task")
            checkpointer.recover()
            checkpointer.put_writes(there, [("__resume__", "new")], "task")
        wait_until(checkpointer.recover, "it does not recover")
        assert saver.get_tuple(there).pending_writes == [("task", "__resume__", "new")]


def test_what_the_primary_took_as_the_outage_began_survives_a_crash(saver, tmp_path):
    def around():
        journal = f"sqlite:///{tmp_path}/journal.db"
        return FallbackCheckpointer(saver, fallback=journal, unknown="raise", retry_after=30)

    with around() as checkpointer, ThreadPoolExecutor(1) as pool:
        first = put(checkpointer, CONFIG)
        with slow_once(saver, "put", does_first=True) as begun:
            second = pool.submit(put, checkpointer, first)
            assert begun.wait(60)
            saver.is_away = True
            checkpointer.put_writes(first, [("log", 1)], "task")
        second.result()
    with around() as checkpointer:
        assert checkpointer.get_tuple(CONFIG).config == second.result()
        saver.is_away = False
        assert checkpointer.recover()
        assert saver.get_tuple(first).pending_writes == [("task", "log", 1)]


def test_a_deletion_is_not_done_twice(saver, monkeypatch):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        saver.is_away = True
        deleted = put(checkpointer, CONFIG)
        checkpointer.delete_thread("t")
        ours = put(checkpointer, CONFIG)
        saver.is_away = False

        take = saver.put

        def cut(asked, checkpoint, *args):
            if checkpoint["id"] == ours["configurable"]["checkpoint_id"]:
                raise ConnectionError
            return take(asked, checkpoint, *args)

        monkeypatch.setattr(saver, "put", cut)
        assert not checkpointer.recover()
        monkeypatch.undo()
        theirs = put(saver, CONFIG)
        assert checkpointer.recover()
        assert saver.get_tuple(ours)
        assert saver.get_tuple(theirs)
        assert saver.get_tuple(deleted) is None


def test_writes_that_the_primary_gave_are_not_taken_twice(saver):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        there = put(checkpointer, CONFIG)
        writes = [("__resume__", ["yes"]), ("log", 1), ("word", 2)]
        saver.put_writes(there, writes, "task")
        checkpointer.get_tuple(CONFIG)
        saver.is_away = True
        checkpointer.put_writes(there, writes, "task")
        assert len(checkpointer.get_tuple(CONFIG).pending_writes) == 3
        saver.is_away = False
        assert checkpointer.recover()


def test_a_late_put_is_not_the_latest_over_newer_ones(saver):
    with FallbackCheckpointer(saver, timeout=1, retry_after=0) as checkpointer:
        with slow_once(saver, "put", does_first=False):
            older = put(checkpointer, CONFIG)
            wait_until(checkpointer.recover, "it does not recover")
            newer = put(checkpointer, older)
        assert [each.config for each in saver.list(CONFIG)] == [newer, older]
        assert checkpointer.get_tuple(CONFIG).config == newer


def test_a_late_deletion_does_not_delete_what_was_put_after_it(saver):
    with FallbackCheckpointer(saver, timeout=1, retry_after=0, retry_cap=0) as checkpointer:
        older = put(checkpointer, CONFIG)
        with slow_once(saver, "delete_thread", does_first=False):
            checkpointer.delete_thread("t")
            assert checkpointer.get_tuple(CONFIG) is None
            newer = put(checkpointer, CONFIG)
            assert not checkpointer.recover()
            assert saver.get_tuple(newer) is None
        wait_until(checkpointer.recover, "it does not recover")
        assert saver.get_tuple(older) is None
        assert saver.get_tuple(CONFIG).config == newer
        assert checkpointer.rejected() == []


def test_a_deletion_that_is_replayed_leaves_what_others_have_put_since(saver, caplog):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        there = put(checkpointer, CONFIG)
        saver.is_away = True
        checkpointer.delete_thread("t")
        saver.is_away = False
        theirs = put(saver, there)
        assert checkpointer.recover()
        assert saver.get_tuple(CONFIG).config == theirs
        [call] = checkpointer.rejected()
        assert "others have gone on with it" in caplog.text
        getattr(saver, call.method)(*call.arguments())
        assert checkpointer.get_tuple(CONFIG) is None


def test_nothing_is_pruned_before_a_late_put(saver, monkeypatch):
    def prune(threads, **_):
        for each in threads:
            saver.delete_thread(each)

    monkeypatch.setattr(saver, "prune", prune)
    with FallbackCheckpointer(saver, timeout=1, retry_after=0, retry_cap=0) as checkpointer:
        with slow_once(saver, "put", does_first=False):
            put(checkpointer, CONFIG)
            wait_until(checkpointer.recover, "it does not recover")
            with pytest.raises(OutageError):
                checkpointer.prune(["t"], strategy="delete")
        wait_until(checkpointer.recover, "it does not recover")
        checkpointer.prune(["t"], strategy="delete")
        assert saver.get_tuple(CONFIG) is None


def test_a_put_that_ctrl_c_broke_off_does_not_bring_a_deleted_thread_back(saver):
    with FallbackCheckpointer(saver, timeout=1, retry_after=0, retry_cap=0) as checkpointer:
        with slow_once(saver, "put", does_first=False) as begun:
            threading.Thread(target=lambda: begun.wait(60) and _thread.interrupt_main()).start()
            with pytest.raises(KeyboardInterrupt):
                put(checkpointer, CONFIG)
            checkpointer.delete_thread("t")
        wait_until(checkpointer.recover, "it does not recover")
        assert saver.get_tuple(CONFIG) is None


def test_a_cancelled_put_does_not_bring_a_deleted_thread_back():
    class Deaf(Cut):
        async def aput(self, *args):
            while not goes_on.is_set():
                try:
                    begun.set()
                    await goes_on.wait()
                except asyncio.CancelledError:
                    pass
            result = self.put(*args)
            over.set()
            return result

    async def run():
        async with FallbackCheckpointer(saver, timeout=0.2, retry_after=0) as checkpointer:
            call = asyncio.ensure_future(checkpointer.aput(CONFIG, empty_checkpoint(), {}, {}))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await checkpointer.adelete_thread("t")
            waiting = len(checkpointer.pending())
            goes_on.set()
            await over.wait()
            assert waiting == 1
            while not await checkpointer.arecover():
                pass
            assert saver.get_tuple(CONFIG) is None

    saver, (begun, goes_on, over) = Deaf(), (asyncio.Event() for _ in range(3))
    asyncio.run(run())


def test_many_late_calls_make_no_late_deletion_forgotten():
    late = LateCalls()
    late.note(SaverRequest("delete_thread", ("t",)), LateError(lambda: False))
    for n in range(5_000):
        config = {"configurable": {"thread_id": f"other {n}", "checkpoint_ns": ""}}
        late.note(SaverRequest("put", (config, {}, {}, {})), LateError(lambda: True))
    with pytest.raises(TimeoutError, match="may still take effect"):
        late.require_none_before(SaverRequest("put", (CONFIG, {}, {}, {})))
