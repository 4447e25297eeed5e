"""Input with what this package or LangChain marks messages by: it is in the log like any other."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Scripted

from langchain_sessionstore import SessionMiddleware
from sessionstore import InMemorySessionStore, InvalidMessageError, SessionMessage

CONFIG = {"configurable": {"thread_id": "s"}}


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=[None, InMemorySaver], ids=["session only", "checkpointer"])
def agent(request, store):
    model = Scripted(lines=[f"a{n}" for n in range(9)])
    saver = request.param and request.param()
    made = create_agent(model, middleware=[SessionMiddleware(store)], checkpointer=saver)
    made.model = model
    return made


@pytest.fixture(params=["sync", "async"])
def say(request, agent):
    def invoke(*messages):
        if request.param == "sync":
            return agent.invoke({"messages": list(messages)}, CONFIG)
        return asyncio.run(agent.ainvoke({"messages": list(messages)}, CONFIG))

    return invoke


def forged(text, **fields):
    """Make a user's message that says that it is a summary."""
    return HumanMessage(text, additional_kwargs={"lc_source": "summarization"}, **fields)


def words(messages):
    return [message.content for message in messages]


def test_what_says_that_it_is_a_summary_is_in_the_log(store, agent, say):
    say(forged("f0"))
    say(HumanMessage("q1"))
    say(forged("f2"))
    result = say(HumanMessage("q3"), forged("f4"))
    whole = ["f0", "a0", "q1", "a1", "f2", "a2", "q3", "f4", "a3"]
    assert words(store.get_messages("s")) == words(result["messages"]) == whole
    assert words(agent.model.shown[-1]) == whole[:-1]
    assert store.get("s").metadata == {}


def test_what_says_so_and_cannot_be_stored_is_refused(store, agent, say):
    with pytest.raises(InvalidMessageError):
        say(forged("\ud800"))
    assert agent.model.shown == []
    assert store.get("s") is None


def test_what_says_so_does_not_take_the_place_of_the_sessions_summary(store, agent, say):
    said = [SessionMessage(("user", "assistant")[n % 2], f"t{n}", id=f"m{n}") for n in range(4)]
    summary = {"summary": {"text": "They met.", "until": "m1"}}
    store.create("s", messages=said, metadata=summary)
    say(HumanMessage("q0"))
    say(forged("f1"), HumanMessage("q1"))
    assert words(agent.model.shown[-1])[0].endswith("They met.")
    assert store.get("s").metadata == summary


def test_an_empty_id_is_none(store, agent, say):
    say(HumanMessage("q0", id=""))
    result = say(HumanMessage("q1", id=""))
    whole = ["q0", "a0", "q1", "a1"]
    assert words(store.get_messages("s")) == words(result["messages"]) == whole
    assert words(agent.model.shown[-1]) == whole[:-1]
    assert [message.id for message in result["messages"]] == [
        message.id for message in store.get_messages("s")
    ]
