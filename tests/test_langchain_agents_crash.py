"""`SessionMiddleware` when the process is killed in the middle of a tool."""

from __future__ import annotations

import pytest
from children import Children, ended
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from scripted import CONFIG, Scripted, calls, log, logged, require_acceptable

from langchain_sessionstore import SessionMiddleware
from sessionstore import SQLiteSessionStore
from sessionstore.window import INTERRUPTED

TURN = """
    import asyncio, os, sys, time
    from scripted import CONFIG, Scripted, calls
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import HumanMessage
    from langchain_sessionstore import SessionMiddleware
    from sessionstore import SQLiteSessionStore

    path, colour, names = sys.argv[1:]

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
    if colour == "sync":
        agent.invoke(given, CONFIG)
    else:
        asyncio.run(agent.ainvoke(given, CONFIG))
"""


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("names", ["endless", "quick endless", "endless quick"])
@pytest.mark.parametrize("again", [False, True])
def test_what_was_made_is_there_and_the_session_goes_on(tmp_path, colour, names, again):
    path = tmp_path / "sessions.db"
    with Children() as children:
        child = children.start(TURN, path, colour, names)
        assert child.stdout
        said = {child.stdout.readline() for _ in names.split()}
        child.kill()
        assert not ended(child)
    assert said == {"running\n"} | ({"saved\n"} if "quick" in names else set())
    with SQLiteSessionStore(path) as store:
        made = [("user", "go"), ("assistant", names.split())]
        results = [("tool", "quick")] if "quick" in names else []
        place = [("tool", INTERRUPTED)] if names == "endless quick" else []
        assert log(store) == [*made, *place, *results]
        model = Scripted(lines=[calls("quick"), "done"])
        agent = create_agent(model, [quick], middleware=[SessionMiddleware(store)])
        new = HumanMessage("go", id="m1") if again else HumanMessage("still there?", id="m2")
        result = agent.invoke({"messages": [new]}, CONFIG)
        closed = [("tool", {"quick": "quick", "endless": INTERRUPTED}[n]) for n in names.split()]
        first = [(m.type, m.content) for m in model.shown[0] if m.type == "tool"]
        assert sorted(first) == sorted(closed)
        added = [] if again else [("user", "still there?")]
        answer = [("assistant", ["quick"]), ("tool", "quick"), ("assistant", "done")]
        assert log(store) == [*made, *place, *results, *added, *answer]
        assert result["messages"][-1].content == "done"
        if place:
            require_acceptable(logged(store))


def quick() -> str:
    """Be quick."""
    return "quick"
