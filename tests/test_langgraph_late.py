"""Calls that are answered late, or while the outage begins: what came after them stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from savers import Cut
from servers.process import wait_until

from langgraph_sessionstore import FallbackCheckpointer

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
