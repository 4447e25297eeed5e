"""Erasing a user from LangGraph's checkpointers: the threads that are theirs, and no others."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canary import WORD, files_with
from graphs import approval
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from postgres_savers import postgres_saver
from savers import Cut, CutFile
from servers.postgres import PostgresServer

from langgraph_sessionstore import FallbackCheckpointer
from sessionstore import InMemorySessionStore, SQLiteSessionStore
from sessionstore.transfer import ErasureReceipt, aerase_user, erase_user

Erase = Callable[..., ErasureReceipt]


@pytest.fixture(params=["sync", "async"])
def erase(request: pytest.FixtureRequest) -> Erase:
    if request.param == "sync":
        return erase_user
    return lambda *args, **named: asyncio.run(aerase_user(*args, **named))


def config(thread_id: str, user_id: str | None = None) -> dict[str, Any]:
    named = {} if user_id is None else {"user_id": user_id}
    return {"configurable": {"thread_id": thread_id, **named}}


CALL = r"\"role\":\"langgraph\""  # with what a call is journaled, in JSON in JSON
THREADS = {"chat": None, "theirs": "alice", "chat-2": "bob", "bobs": "bob", "open": None}
"""Threads, and the user that each was run for; "chat" and "chat-2" are sessions of Alice's."""


def run_graphs(saver: Any) -> None:
    graph = approval().compile(checkpointer=saver)
    for thread_id, user_id in THREADS.items():
        graph.invoke({"log": [f"{WORD} of {user_id}"]}, config(thread_id, user_id))


def threads(saver: Any) -> set[str]:
    return {each.config["configurable"]["thread_id"] for each in saver.list(None)}


def sessions() -> InMemorySessionStore:
    store = InMemorySessionStore()
    for session_id in ("chat", "chat-2", "chat-3"):
        store.create(session_id, user_id="alice")
    return store


def require_hers_are_gone(receipt: ErasureReceipt, saver: Any, count: int = 2) -> None:
    assert threads(saver) == {"chat-2", "bobs", "open"}
    assert (receipt.sessions, receipt.threads) == (3, count)
    assert receipt.checkpointer
    [left] = receipt.left  # a thread of Bob's has the name of a session of Alice's
    assert (left.left, left.what) == (1, "threads")
    assert "another user's" in left.why


def test_threads_in_memory_are_erased(erase: Erase) -> None:
    saver = InMemorySaver()
    run_graphs(saver)
    store = sessions()
    require_hers_are_gone(erase(store, "alice", checkpointer=saver), saver)
    again = erase(store, "alice", checkpointer=saver)
    assert (again.threads, again.complete) == (0, True)


def test_a_thread_of_another_user_stays_also_where_a_later_run_named_nobody(erase: Erase) -> None:
    saver = InMemorySaver()
    graph = approval().compile(checkpointer=saver)
    for user_id in ("bob", None):
        graph.invoke({"log": [WORD]}, config("chat-2", user_id))
    receipt = erase(sessions(), "alice", checkpointer=saver)
    assert threads(saver) == {"chat-2"}
    assert (receipt.threads, receipt.complete) == (0, False)


def test_threads_in_a_file_are_erased_by_a_saver_that_is_only_sync(
    tmp_path: Path, erase: Erase
) -> None:
    connection = sqlite3.connect(tmp_path / "graphs.db", check_same_thread=False)
    saver = SqliteSaver(connection)
    run_graphs(saver)
    receipt = erase(sessions(), "alice", checkpointer=saver)
    require_hers_are_gone(receipt, saver)
    assert any(trace.where == "SqliteSaver" for trace in receipt.kept)
    connection.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="LangGraph's interrupts need it in asyncio")
def test_threads_are_erased_by_a_saver_that_is_only_async(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "graphs.db")) as saver:
            graph = approval().compile(checkpointer=saver)
            for thread_id, user_id in THREADS.items():
                await graph.ainvoke({"log": [WORD]}, config(thread_id, user_id))
            receipt = await aerase_user(sessions(), "alice", checkpointer=saver)
            left = {each.config["configurable"]["thread_id"] async for each in saver.alist(None)}
            assert left == {"chat-2", "bobs", "open"}
            assert receipt.threads == 2

    asyncio.run(main())


def test_threads_in_postgresql_are_erased(postgres: PostgresServer, erase: Erase) -> None:
    with postgres_saver(postgres.url()) as saver:
        for thread_id in threads(saver):
            saver.delete_thread(thread_id)
        run_graphs(saver)
        require_hers_are_gone(erase(sessions(), "alice", checkpointer=saver), saver)
        for thread_id in threads(saver):
            saver.delete_thread(thread_id)


def test_threads_of_an_outage_are_erased_with_their_journal(tmp_path: Path, erase: Erase) -> None:
    saver, path = CutFile(tmp_path / "graphs.db"), tmp_path / "outage.db"
    with FallbackCheckpointer(saver, fallback=SQLiteSessionStore(path), retry_after=0) as made:
        saver.is_away = True
        run_graphs(made)
        assert "outage.db-wal" in files_with(tmp_path, CALL)
        receipt = erase(sessions(), "alice", checkpointer=made)
        assert not receipt.complete
        assert any("journaled writes" in trace.what for trace in receipt.left)
        saver.is_away = False
        store = sessions()
        # The deletions were journaled, too.
        require_hers_are_gone(erase(store, "alice", checkpointer=made), saver, 0)
        assert files_with(tmp_path, CALL) == set()
        made.delete_thread("chat-2")
        assert erase(store, "alice", checkpointer=made).complete
    saver.close()


def test_what_a_checkpointer_has_set_aside_of_a_thread_is_erased(tmp_path: Path) -> None:
    class Refuses(Cut):
        refuses = False

        def put(self, *args: Any) -> Any:
            if self.refuses:
                raise ValueError("never")
            return super().put(*args)

    saver, path = Refuses(), tmp_path / "outage.db"
    with FallbackCheckpointer(saver, fallback=SQLiteSessionStore(path), retry_after=0) as made:
        saver.is_away = True
        approval().compile(checkpointer=made).invoke({"log": [WORD]}, config("chat"))
        saver.is_away, saver.refuses = False, True
        made.recover()
        assert made.rejected()
        assert files_with(tmp_path, CALL)
        saver.refuses = False
        approval().compile(checkpointer=made).invoke({"log": ["again"]}, config("chat"))
        receipt = erase_user(sessions(), "alice", checkpointer=made)
        assert receipt.complete
        assert made.rejected() == []
        assert files_with(tmp_path, CALL) == set()


def test_a_checkpointer_that_fails_is_told_and_keeps_no_session(erase: Erase) -> None:
    saver = Cut()
    run_graphs(saver)
    saver.is_away = True
    store = sessions()
    receipt = erase(store, "alice", checkpointer=saver)
    assert (receipt.sessions, receipt.complete) == (3, False)
    assert [trace.why for trace in receipt.left] == ["ConnectionError: run it again"]
