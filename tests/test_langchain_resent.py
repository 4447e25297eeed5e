"""Clients that send an agent more than what is new, or nothing."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Scripted, calls, logged

from langchain_sessionstore import SessionMiddleware, with_session_history
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionMessage,
    Window,
)

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s"}}


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=["invoke", "ainvoke"])
def run(request):
    def invoke(agent, *messages):
        return agent.invoke({"messages": list(messages)}, CONFIG)

    def ainvoke(agent, *messages):
        return asyncio.run(agent.ainvoke({"messages": list(messages)}, CONFIG))

    return locals()[request.param]


def human(text, id="u0"):
    return HumanMessage(text, id=id)


def words(messages):
    return [message.content for message in messages]


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


def agent_of(store, *lines, window=None, saver=None, tools=()):
    model = Scripted(lines=list(lines))
    ours = SessionMiddleware(store, window=window)
    return create_agent(model, list(tools), middleware=[ours], checkpointer=saver), model


def test_a_history_that_is_sent_again_is_shown_as_the_window_says(store, run):
    agent, model = agent_of(store, "a0", "a1", "a2", "a3", window=Window(max_messages=2))
    mine = [SystemMessage("Be short.", id="s")]
    for number in range(4):
        mine.append(human(f"q{number}", f"u{number}"))
        result = run(agent, *mine)
        mine.append(result["messages"][-1])
    assert words(model.shown[2]) == ["Be short.", "q1", "a1", "q2"]
    assert words(model.shown[3]) == ["Be short.", "q2", "a2", "q3"]
    assert words(result["messages"]) == ["Be short.", "q2", "a2", "q3", "a3"]
    assert logged(store) == mine


def test_of_resent_messages_older_than_the_window_only_an_edit_counts(store, run):
    agent, model = agent_of(store, "a0", "a1", "a2", "a3", "a4", window=Window(max_messages=2))
    for number in range(3):
        run(agent, human(f"q{number}", f"u{number}"))
    run(agent, human("q0"), human("new", "u3"))
    assert words(model.shown[-1]) == ["q2", "a2", "new"]
    run(agent, human("Q0"), AIMessage("mine", id="m"), human("newer", "u4"))
    assert words(model.shown[-1]) == ["new", "a3", "mine", "newer"]
    log = ["Q0", "a0", "q1", "a1", "q2", "a2", "new", "a3", "mine", "newer", "a4"]
    assert words(logged(store)) == log


def test_a_whole_history_with_nothing_new_is_answered_as_before(store, run):
    agent, model = agent_of(store, "a0", "a1", "a2", window=Window(max_messages=2))
    for number in range(3):
        run(agent, human(f"q{number}", f"u{number}"))
    before = logged(store)
    result = run(agent, *before)
    assert words(result["messages"]) == ["q2", "a2"]
    assert len(model.shown) == 3
    assert logged(store) == before


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
def test_a_call_without_messages_gives_the_last_answer(store, run, saver):
    agent, model = agent_of(store, "a0", "a1", saver=saver and saver())
    with pytest.raises(InvalidSessionError, match="without a message"):
        run(agent)
    assert (model.shown, store.get("s")) == ([], None)
    run(agent, human("q0"))
    for _ in range(2):
        assert words(run(agent)["messages"]) == ["q0", "a0"]
    assert len(model.shown) == 1
    assert words(logged(store)) == ["q0", "a0"]


def test_a_call_without_messages_answers_an_unanswered_question(store, run):
    store.append_message("s", SessionMessage("user", "q0"))
    agent, _ = agent_of(store, "a0")
    assert words(run(agent)["messages"]) == words(logged(store)) == ["q0", "a0"]


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
def test_a_changed_system_message_is_replaced_in_the_log(store, run, saver):
    agent, model = agent_of(store, "a0", "a1", "a2", saver=saver and saver())
    run(agent, SystemMessage("Be kind.", id="s"), human("q0"))
    result = run(agent, SystemMessage("Be short.", id="s"), human("q1", "u1"))
    assert words(model.shown[-1]) == ["Be short.", "q0", "a0", "q1"]
    assert logged(store) == result["messages"]
    assert words(run(agent, SystemMessage("Be frank.", id="s"))["messages"])[-1] == "a1"
    run(agent, human("q2", "u2"))
    assert words(logged(store)) == ["Be frank.", "q0", "a0", "q1", "a1", "q2", "a2"]
    assert words(model.shown[-1]) == words(logged(store))[:-1]


def test_a_refused_callers_system_message_is_undone_in_the_thread(store):
    agent, model = agent_of(store, "a0", "a1", saver=InMemorySaver())
    alice, mallory = (
        {"configurable": {**CONFIG["configurable"], "user_id": name}}
        for name in ("alice", "mallory")
    )
    agent.invoke({"messages": [SystemMessage("Be kind.", id="s"), human("q0")]}, alice)
    with pytest.raises(SessionAccessError):
        agent.invoke({"messages": [SystemMessage("Be rude.", id="s")]}, mallory)
    agent.invoke({"messages": [human("q1", "u1")]}, alice)
    assert words(model.shown[-1]) == ["Be kind.", "q0", "a0", "q1"]
    assert words(logged(store)) == ["Be kind.", "q0", "a0", "q1", "a1"]


def test_an_edit_of_the_last_turn_with_a_new_question_drops_the_old_answer(store, run):
    steps = (calls("add"), "a1")
    agent, model = agent_of(store, "a0", *steps, "a2", "a3", tools=[add])
    run(agent, human("q0"))
    run(agent, human("q1", "u1"))
    for _ in range(2):
        result = run(agent, human("Q1", "u1"), human("q2", "u2"))
        assert words(result["messages"]) == ["q0", "a0", "Q1", "q2", "a2"]
    assert words(model.shown[-1]) == ["q0", "a0", "Q1", "q2"]
    assert logged(store) == result["messages"]
    run(agent, human("Q0"), human("q3", "u3"))
    assert words(logged(store)) == ["Q0", "a0", "Q1", "q2", "a2", "q3", "a3"]


def test_the_answer_to_an_edit_of_an_earlier_turn_stays(store, run):
    agent, _ = agent_of(store, "a0", "a1", "b0", "a2")
    run(agent, human("q0"))
    run(agent, human("q1", "u1"))
    run(agent, human("Q0"))
    run(agent, human("Q1", "u1"), human("q2", "u2"))
    assert words(logged(store)) == ["Q0", "a0", "Q1", "b0", "q2", "a2"]


def test_an_edit_with_a_new_question_that_can_not_be_stored_drops_nothing(store, run):
    agent, model = agent_of(store, "a0")
    run(agent, human("q0"))
    with pytest.raises(InvalidMessageError):
        run(agent, human("\ud800"), human("q1", "u1"))
    assert words(logged(store)) == ["q0", "a0"]
    assert len(model.shown) == 1


def test_a_chain_drops_the_old_answer_of_an_edit_with_a_new_question(store):
    model = Scripted(lines=["a0", "a1", "a2"])
    chain = with_session_history(model, store)
    chain.invoke([human("q0")], CONFIG)
    chain.invoke([human("Q0"), human("q1", "u1")], CONFIG)
    assert words(model.shown[-1]) == ["Q0", "q1"]
    assert words(logged(store)) == ["Q0", "q1", "a1"]


def test_a_changed_answer_is_replaced_in_the_log_by_the_owner_only(store):
    agent, model = agent_of(store, "a0", "a1", "a2", saver=InMemorySaver())
    alice, mallory = (
        {"configurable": {**CONFIG["configurable"], "user_id": name}}
        for name in ("alice", "mallory")
    )
    answer = agent.invoke({"messages": [human("q0")]}, alice)["messages"][-1]
    with pytest.raises(SessionAccessError):
        agent.invoke({"messages": [AIMessage("evil", id=answer.id)]}, mallory)
    agent.invoke({"messages": [human("q1", "u1")]}, alice)
    assert words(model.shown[-1]) == ["q0", "a0", "q1"]
    mine = AIMessage("A0", id=answer.id)
    result = agent.invoke({"messages": [mine, human("q2", "u2")]}, alice)
    assert words(result["messages"]) == words(logged(store))
    assert words(logged(store)) == ["q0", "A0", "q1", "a1", "q2", "a2"]
