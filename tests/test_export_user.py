"""Handing a user's data over: sessions as an export has them, and the messages of threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from canary import WORD, sing
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from savers import Cut

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.testing import FlakySessionStore
from sessionstore.transfer import ExportReceipt, aexport_user, export_user, import_sessions

Export = Callable[..., ExportReceipt]


@pytest.fixture(params=["sync", "async"])
def export(request: pytest.FixtureRequest) -> Export:
    if request.param == "sync":
        return export_user
    return lambda *args, **named: asyncio.run(aexport_user(*args, **named))


def conversation(saver: Any) -> Any:
    class State(MessagesState):
        mood: str

    graph = StateGraph(State)
    graph.add_node("answer", lambda _: {"messages": [AIMessage("Hi!")], "mood": "good"})
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def test_all_sessions_of_a_user_are_in_the_file_and_nobody_else_s(
    tmp_path: Path, export: Export
) -> None:
    with SQLiteSessionStore(tmp_path / "s.db") as store:
        sing(store)
        receipt = export(store, "alice", tmp_path / "alice.jsonl.gz")
        assert (receipt.complete, receipt.report.copied) == (True, 4)
        copy = InMemorySessionStore()
        assert import_sessions(tmp_path / "alice.jsonl.gz", copy).complete
        infos = copy.list_sessions().sessions
        assert {info.id for info in infos} == {f"{WORD}-{number}" for number in range(4)}
        for info in infos:
            assert copy.get_messages(info.id) == store.get_messages(info.id)


def test_the_messages_of_their_threads_are_in_a_file_of_their_own(
    tmp_path: Path, export: Export
) -> None:
    saver, store = InMemorySaver(), InMemorySessionStore()
    for thread_id, user_id in {"chat": None, "hers": "alice", "his": "bob"}.items():
        named = {"thread_id": thread_id, **({"user_id": user_id} if user_id else {})}
        said: Any = {"messages": [HumanMessage(f"Hello from {thread_id}")]}
        conversation(saver).invoke(said, {"configurable": named})
    store.create("chat", user_id="alice")
    receipt = export(
        store,
        "alice",
        tmp_path / "sessions.jsonl",
        checkpointer=saver,
        threads_file=tmp_path / "threads.jsonl",
    )
    assert (receipt.complete, receipt.threads, receipt.thread_messages) == (True, 2, 4)
    lines = [json.loads(line) for line in (tmp_path / "threads.jsonl").read_text().splitlines()]
    assert {line["thread_id"]: line["messages"][0]["content"] for line in lines} == {
        "hers": "Hello from hers",
        "chat": "Hello from chat",
    }
    assert lines[0]["other_channels"] == ["mood"]
    assert msgspec.json.decode(receipt.json(), type=ExportReceipt) == receipt
    assert "2 threads with 4 messages" in str(receipt)
    assert "Hello" not in str(receipt) + repr(receipt)


def test_what_is_not_in_the_files_is_told(tmp_path: Path, export: Export) -> None:
    primary, saver = FlakySessionStore(InMemorySessionStore()), Cut()
    with FallbackSessionStore(primary, retry_after=0) as store:
        primary.go_down()
        store.append_message("trip", {"role": "user", "content": "Hello!"}, user_id="alice")
        files = {"checkpointer": saver, "threads_file": tmp_path / "threads.jsonl"}
        with pytest.raises(StoreUnavailableError):
            export(store, "alice", tmp_path / "alice.jsonl", **files)
        assert list(tmp_path.iterdir()) == []
        primary.come_back()
        primary.wrapped.create("trip", user_id="bob")
        saver.is_away = True
        receipt = export(store, "alice", tmp_path / "alice.jsonl", **files)
        found = [(trace.what, trace.left) for trace in receipt.traces]
        assert found == [("rejected writes", 1), ("threads", 1)]
        assert not receipt.complete
        assert "see rejected()" in str(receipt)


def test_what_is_no_json_is_told_and_keeps_no_other_thread(tmp_path: Path, export: Export) -> None:
    saver, store = InMemorySaver(), InMemorySessionStore()
    for thread_id in ("odd", "plain"):
        said: Any = {"messages": [HumanMessage("Hello!")]}
        conversation(saver).invoke(
            said, {"configurable": {"thread_id": thread_id, "user_id": "alice"}}
        )
    odd = saver.get_tuple({"configurable": {"thread_id": "odd"}})
    assert odd
    message = AIMessage("Hi!", additional_kwargs={"raw": b"\xff"})
    odd.checkpoint["channel_values"]["messages"] = [message]
    odd.checkpoint["id"] = "ffff"
    versions = {"messages": odd.checkpoint["channel_versions"]["messages"]}
    saver.put(odd.config, odd.checkpoint, odd.metadata, versions)
    files = {"checkpointer": saver, "threads_file": tmp_path / "threads.jsonl"}
    receipt = export(store, "alice", tmp_path / "alice.jsonl", **files)
    assert (receipt.threads, receipt.complete) == (1, False)


@pytest.mark.parametrize("named", [{"checkpointer": InMemorySaver()}, {"threads_file": "x"}])
def test_a_checkpointer_and_its_file_go_together(named: Any, export: Export) -> None:
    with pytest.raises(TypeError):
        export(InMemorySessionStore(), "alice", "unused", **named)
