"""A pause that a refused caller ended: his decision is not carried out."""

from __future__ import annotations

import asyncio
import sys

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import Scripted, calls, logged

from langchain_sessionstore import SessionMiddleware
from sessionstore import InMemorySessionStore, SessionAccessError

ALICE, MALLORY = (
    {"configurable": {"thread_id": "s", "session_id": "s", "user_id": name}}
    for name in ("alice", "mallory")
)
EDIT = {"name": "send", "args": {"to": "mallory"}}
ASYNC = pytest.param(
    "ainvoke",
    marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="LangGraph gives no config there"),
)


@pytest.fixture(params=["invoke", ASYNC])
def run(request):
    def invoke(agent, given, config=ALICE):
        return agent.invoke(given, config)

    def ainvoke(agent, given, config=ALICE):
        return asyncio.run(agent.ainvoke(given, config))

    return locals()[request.param]


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture
def sent():
    return []


@pytest.fixture(params=["before", "behind"])
def agent_of(request, store, sent):
    @tool
    def send(to: str) -> str:
        """Send it."""
        sent.append(to)
        if to == "broken" and len(sent) == 1:
            raise RuntimeError("no line")
        return "sent"

    def make(*lines):
        reviewed = HumanInTheLoopMiddleware(interrupt_on={"send": True})
        ours = SessionMiddleware(store)
        middleware = [ours, reviewed] if request.param == "before" else [reviewed, ours]
        model = Scripted(lines=list(lines))
        return create_agent(model, [send], middleware=middleware, checkpointer=InMemorySaver())

    return make


def said(text, id):
    return {"messages": [HumanMessage(text, id=id)]}


def decided(kind, **more):
    return Command(resume={"decisions": [{"type": kind, **more}]})


@pytest.mark.parametrize(
    "decisions",
    [
        (decided("approve"), decided("reject", message="no")),
        (decided("edit", edited_action=EDIT), decided("approve")),
        (decided("reject", message="no"), decided("approve")),
    ],
    ids=["approve", "edit", "reject"],
)
def test_a_refused_callers_decision_on_a_paused_call_is_not_carried_out(
    agent_of, run, store, sent, decisions
):
    (his, hers), call = decisions, calls("send", to="bob")
    agent = agent_of(call, "as you wish", calls("send", to="eve"), "done")
    run(agent, said("Send it.", "u1"))
    with pytest.raises(SessionAccessError):
        run(agent, his, MALLORY)
    for given in (hers, None):
        with pytest.raises(SessionAccessError, match="a new message"):
            run(agent, given)
    assert sent == []
    run(agent, said("Never mind.", "u2"))
    run(agent, said("Send it to Eve.", "u3"))
    run(agent, decided("approve"))
    assert sent == ["eve"]
    assert [m.content for m in logged(store) if m.type == "tool"] == ["sent"]


def test_the_owners_decision_stands_after_a_refused_call(agent_of, run, sent):
    agent = agent_of(calls("send", to="broken"), "done")
    run(agent, said("Send it.", "u1"))
    with pytest.raises(RuntimeError):
        run(agent, decided("approve"))
    with pytest.raises(SessionAccessError):
        run(agent, None, MALLORY)
    assert run(agent, None)["messages"][-1].content == "done"
    assert sent == ["broken", "broken"]
