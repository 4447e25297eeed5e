"""Turns in two processes: a killed one's lease runs out, a stopped one's save is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from children import Child, Children, finished, stop_outside_a_write
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from scripted import Scripted, log
from turns import CONFIG, PATIENCE, Heard, talker
from warm import Warm

from langchain_sessionstore import SessionMiddleware, with_session_history
from sessionstore import SessionLeasedError, SQLiteSessionStore

CHAIN = """
    import asyncio, sys
    from langchain_core.runnables import RunnableLambda
    from langchain_sessionstore import TurnSupersededError, with_session_history
    from langchain_sessionstore.leases import renewed
    from sessionstore import SQLiteSessionStore

    path, way, mode, renewed._TURN_SECONDS = *sys.argv[1:4], float(sys.argv[4])

    def answer(_):
        print("runs", flush=True)
        input()
        return "late"

    store = SQLiteSessionStore(path)
    chain = with_session_history(RunnableLambda(answer), store, concurrent_turns=mode)
    config = {"configurable": {"session_id": "s"}}
    try:
        if way == "sync":
            chain.invoke("one", config)
        else:
            asyncio.run(chain.ainvoke("one", config))
        print("saved")
    except TurnSupersededError as error:
        print("superseded:", error.answer)
"""
AGENT = """
    import sys
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langchain_sessionstore import SessionMiddleware
    from langchain_sessionstore.testing import ScriptedChatModel, call_tool
    from sessionstore import SQLiteSessionStore

    @tool
    def work() -> str:
        "Work."
        print("runs", flush=True)
        input()

    path, threads = sys.argv[1:]
    with SqliteSaver.from_conn_string(threads) as saver:
        create_agent(
            ScriptedChatModel(call_tool("work")),
            [work],
            middleware=[SessionMiddleware(SQLiteSessionStore(path), concurrent_turns="reject")],
            checkpointer=saver,
        ).invoke(
            {"messages": [("user", "go")]},
            {"configurable": {"thread_id": "s"}},
            durability="sync",  # so that it is known how far it came
        )
"""
LEFT_OPEN = """
from langchain_core.runnables import RunnableLambda
from langchain_sessionstore import with_session_history
from sessionstore import InMemorySessionStore
chain = with_session_history(
    RunnableLambda(str), InMemorySessionStore(), concurrent_turns="wait"
)
chunks = chain.stream("one", {"configurable": {"session_id": "s"}})
next(chunks)
"""
SHORT, LONG = 0.5, 600.0


def runs(child: Child) -> None:
    assert child.stdout
    assert child.stdout.readline() == "runs\n"


def go_on(child: Child) -> str:
    assert child.stdin
    child.stdin.write("go on\n")
    child.stdin.flush()
    return finished(child)


def test_who_waits_for_a_killed_turn_goes_on_when_its_lease_runs_out(
    tmp_path: Path, warm: Warm
) -> None:
    path, heard = tmp_path / "sessions.db", Heard()
    store = SQLiteSessionStore(path)
    chain = with_session_history(talker(heard), store, concurrent_turns="wait", turn_wait=PATIENCE)
    with Children(warm) as children:
        child = children.start(CHAIN, path, "sync", "wait", SHORT)
        runs(child)
        child.kill()
        child.wait()
        chain.invoke("two", CONFIG)
    assert heard == [["two"]]
    assert log(store) == [("user", "two"), ("assistant", "Well, two!")]


@pytest.mark.parametrize(
    ("way", "mode"), [("async", "wait"), ("sync", "reject"), ("async", "supersede")]
)
def test_a_turn_that_was_stopped_past_its_time_writes_nothing(
    tmp_path: Path, warm: Warm, way: str, mode: str
) -> None:
    path = tmp_path / "sessions.db"
    store = SQLiteSessionStore(path)
    chain = with_session_history(talker([]), store, concurrent_turns="wait", turn_wait=PATIENCE)
    with Children(warm) as children:
        child = children.start(CHAIN, path, way, mode, SHORT)
        runs(child)
        stop_outside_a_write(child, path)
        try:
            chain.invoke("two", CONFIG)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        assert go_on(child) == "superseded: late\n"
    assert log(store) == [("user", "two"), ("assistant", "Well, two!")]


def test_a_turn_in_another_process_is_rejected_or_superseded(tmp_path: Path, warm: Warm) -> None:
    path = tmp_path / "sessions.db"
    store = SQLiteSessionStore(path)
    rejected, newer = (
        with_session_history(talker([]), store, concurrent_turns=mode)  # type: ignore[arg-type]
        for mode in ("reject", "supersede")
    )
    with Children(warm) as children:
        child = children.start(CHAIN, path, "sync", "wait", LONG)
        runs(child)
        with pytest.raises(SessionLeasedError):
            rejected.invoke("two", CONFIG)
        newer.invoke("three", CONFIG)
        assert go_on(child) == "superseded: late\n"
        child = children.start(CHAIN, path, "sync", "wait", LONG)
        runs(child)
        assert go_on(child) == "saved\n"
    rejected.invoke("four", CONFIG)
    words = [content for _, content in log(store)]
    assert words == ["three", "Well, three!", "one", "late", "four", "Well, four!"]


def test_an_agent_that_was_killed_goes_on_at_once(tmp_path: Path, warm: Warm) -> None:
    @tool
    def work() -> str:
        """Work."""
        return "done"

    path, threads = tmp_path / "sessions.db", str(tmp_path / "threads.db")
    with Children(warm) as children:
        child = children.start(AGENT, path, threads)
        runs(child)
        child.kill()
        child.wait()
    store = SQLiteSessionStore(path)
    config: Any = {"configurable": {"thread_id": "s", "session_id": "s"}}
    with SqliteSaver.from_conn_string(threads) as saver:
        memory = SessionMiddleware(store, concurrent_turns="reject")
        model = Scripted(lines=["end"])
        agent = create_agent(model, [work], middleware=[memory], checkpointer=saver)
        with pytest.raises(SessionLeasedError):
            with_session_history(model, store, concurrent_turns="reject").invoke("x", config)
        assert agent.invoke(None, config)["messages"][-1].content == "end"
    assert [content for _, content in log(store)][-2:] == ["done", "end"]
    with store.lease("s"):
        pass


def test_a_stream_that_is_open_does_not_keep_the_interpreter_from_its_end() -> None:
    subprocess.run([sys.executable, "-c", LEFT_OPEN], check=True, timeout=PATIENCE)
