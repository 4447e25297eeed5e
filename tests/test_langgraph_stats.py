"""What a checkpointer with a fallback counts: its own calls, whoever answers them."""

from __future__ import annotations

import asyncio

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer
from sessionstore import OutageError

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def test_the_calls_of_a_checkpointer_are_counted_by_method():
    saver = Cut()
    with FallbackCheckpointer(saver, retry_after=30) as checkpointer:
        there = checkpointer.put(CONFIG, empty_checkpoint(), {}, {})
        saver.is_away = True
        checkpointer.put_writes(there, [("log", 1)], "task")
        asyncio.run(checkpointer.aput_writes(there, [("log", 2)], "other task"))
        assert len(list(checkpointer.list(CONFIG))) == 1
        checkpointer.get_tuple(CONFIG)
        with pytest.raises(OutageError):
            checkpointer.prune(["t"])
        stats = checkpointer.stats()
        assert stats.operations == {
            "put": 1,
            "put_writes": 2,
            "list": 1,
            "get_tuple": 1,
            "prune": 1,
        }
        assert stats.errors == {"OutageError": 1}
        assert (stats.fallbacks, stats.journaled, stats.pending) == (1, 2, 2)
        saver.is_away = False
        assert checkpointer.recover()
        assert checkpointer.stats().operations == stats.operations
