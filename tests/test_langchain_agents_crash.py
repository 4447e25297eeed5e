"""`SessionMiddleware` when the process is killed in the middle of a tool."""

from __future__ import annotations

import sys

import pytest
from children import Children, ended
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from scripted import CONFIG, Scripted, calls, log, logged, require_acceptable

from langchain_sessionstore import SessionMiddleware
from sessionstore import SQLiteSessionStore
from sessionstore.window import INTERRUPTED

PENDING = "This tool call has given no result yet."

TURN = """
    import asyncio, os, sys, time
    from scripted import CONFIG, Scripted, calls
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import HumanMessage
    from langchain_sessionstore import SessionMiddleware
    from sessionstore import SQLiteSessionStore

    path, mode, names = sys.argv[1:]

    def say(result):
        os.write(1, b"saved\\n")
        return result

    class Tell(AgentMiddleware):
        def wrap_tool_call(self, request, handler):
            return say(handler(request))

        async def awrap_tool_call(self, request, handler):
            return say(await handler(request))

    def quick() -> str:
        '''Be quick.'''
        return "quick"

    def endless() -> str:
        '''Never end.'''
        os.write(1, b"running\\n")
        time.sleep(600)

    store = SQLiteSessionStore(path)
    model = Scripted(lines=[calls(*names.split())])
    agent = create_agent(model, [quick, endless], middleware=[Tell(), SessionMiddleware(store)])
    given = {"messages": [HumanMessage("go", id="m1")]}
    if mode == "sync":
        agent.invoke(given, CONFIG)
    else:
        asyncio.run(agent.ainvoke(given, CONFIG))
"""


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("names", ["endless", "quick endless", "endless quick"])
@pytest.mark.parametrize("again", [False, True])
def test_after_a_crash_all_that_was_made_is_logged_and_the_session_goes_on(
    warm, tmp_path, mode, names, again
):
    path = tmp_path / "sessions.db"
    with Children(warm) as children:
        child = children.start(TURN, path, mode, names)
        assert child.stdout
        said = {child.stdout.readline() for _ in names.split()}
        child.kill()
        assert not ended(child)
    assert said == {"running\n"} | ({"saved\n"} if "quick" in names else set())
    with SQLiteSessionStore(path) as store:
        made = [("user", "go"), ("assistant", names.split())]
        results = [("tool", "quick")] if "quick" in names else []
        place = [("tool", PENDING)] if names == "endless quick" else []
        assert log(store) == [*made, *place, *results]
        model = Scripted(lines=[calls("quick"), "done"])
        agent = create_agent(model, [quick], middleware=[SessionMiddleware(store)])
        new = HumanMessage("go", id="m1") if again else HumanMessage("still there?", id="m2")
        result = agent.invoke({"messages": [new]}, CONFIG)
        closed = [("tool", {"quick": "quick", "endless": INTERRUPTED}[n]) for n in names.split()]
        first = [(m.type, m.content) for m in model.shown[0] if m.type == "tool"]
        assert first == closed
        added = [] if again else [("user", "still there?")]
        answer = [("assistant", ["quick"]), ("tool", "quick"), ("assistant", "done")]
        assert log(store) == [*made, *place, *results, *added, *answer]
        assert result["messages"][-1].content == "done"
        if place:
            require_acceptable(logged(store))


def quick() -> str:
    """Be quick."""
    return "quick"


# -- With a checkpointer that survives, too --------------------------------------------------------

CHECKPOINTED = """
    import asyncio, os, sys, time
    from scripted import Scripted, calls
    from langchain.agents import create_agent
    from langchain_sessionstore import SessionMiddleware
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from sessionstore import SQLiteSessionStore

    folder, mode, names, life = sys.argv[1:]
    config = {"configurable": {"thread_id": "s"}}
    path = f"{folder}/checkpoints.db"

    def quick() -> str:
        '''Be quick.'''
        os.write(1, b"quick\\n")
        return "quick"

    def endless() -> str:
        '''End in the second life.'''
        os.write(1, b"running\\n")
        time.sleep(600 if life == "first" else 0)
        return "ended"

    def agent_of(saver):
        model = Scripted(lines=[calls(*names.split())] if life == "first" else ["done", "bye"])
        sessions = SessionMiddleware(SQLiteSessionStore(f"{folder}/sessions.db"))
        return create_agent(model, [quick, endless], middleware=[sessions], checkpointer=saver)

    def said(text):
        return {"messages": [("user", text)]}

    turns = [said("go")] if life == "first" else [None, said("thanks")]

    async def in_a_loop():
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            agent = agent_of(saver)
            return [await agent.ainvoke(turn, config, durability="sync") for turn in turns]

    def in_a_thread():
        with SqliteSaver.from_conn_string(path) as saver:
            agent = agent_of(saver)
            return [agent.invoke(turn, config, durability="sync") for turn in turns]

    states = in_a_thread() if mode == "sync" else asyncio.run(in_a_loop())
    print([message.content for message in states[-1]["messages"]])
"""


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("names", ["endless", "quick endless", "endless quick"])
def test_after_a_crash_a_checkpointed_turn_goes_on_and_each_message_is_logged_once(
    warm, tmp_path, mode, names
):
    if mode == "async" and sys.version_info < (3, 11):
        pytest.skip("LangGraph's turns go on in asyncio from Python 3.11 on")
    with Children(warm) as children:
        child = children.start(CHECKPOINTED, tmp_path, mode, names, "first")
        assert child.stdout
        while child.stdout.readline() != "running\n":
            pass
        child.kill()
        ended(child)
        said = children.run(CHECKPOINTED, tmp_path, mode, names, "second")
    results = [("tool", {"quick": "quick", "endless": "ended"}[name]) for name in names.split()]
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        assert log(store) == [
            ("user", "go"),
            ("assistant", names.split()),
            *results,
            ("assistant", "done"),
            ("user", "thanks"),
            ("assistant", "bye"),
        ]
        assert said.endswith(f"{[message.content for message in logged(store)]}\n")
