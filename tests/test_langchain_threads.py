"""A checkpointer's thread belongs to the session and the user that began it."""

from __future__ import annotations

import asyncio

import pytest
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from scripted import Scripted, calls

from langchain_sessionstore import SessionMiddleware
from sessionstore import InMemorySessionStore, SessionAccessError

ran = []


@tool
def ask() -> str:
    """Ask."""
    answer = interrupt("may I?")
    ran.append(answer)
    return str(answer)


async def heard(chunks):
    return [chunk async for chunk in chunks]


METHODS = {
    "invoke": lambda agent, given, config: agent.invoke(given, config),
    "ainvoke": lambda agent, given, config: asyncio.run(agent.ainvoke(given, config)),
    "stream": lambda agent, given, config: list(agent.stream(given, config)),
    "astream": lambda agent, given, config: asyncio.run(heard(agent.astream(given, config))),
}


@pytest.fixture(params=METHODS)
def call(request):
    require_interrupts(in_asyncio=request.param.startswith("a"))
    return METHODS[request.param]


def config(user, session, thread="t"):
    return {"configurable": {"session_id": session, "user_id": user, "thread_id": thread}}


ALICE, BOB = config("alice", "of alice"), config("bob", "of bob")


def said(text):
    return {"messages": [("user", text)]}


def agent_of(*lines, saver=None, store=None, user_scoped=True, tools=()):
    model = Scripted(lines=list(lines))
    middleware = SessionMiddleware(store or InMemorySessionStore(), user_scoped=user_scoped)
    saver = saver or InMemorySaver()
    return create_agent(model, list(tools), middleware=[middleware], checkpointer=saver), model


def test_a_thread_in_a_file_still_belongs_to_its_session_after_a_restart(tmp_path):
    store = InMemorySessionStore()
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        agent_of("noted", saver=saver, store=store)[0].invoke(said("my PIN is 1234"), ALICE)
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        agent, model = agent_of("1234", saver=saver, store=store)
        with pytest.raises(SessionAccessError):
            agent.invoke(said("my PIN?"), BOB)
        assert model.shown == []
        agent.invoke(said("my PIN?"), ALICE)


@pytest.mark.parametrize("user_scoped", [True, False])
def test_another_users_thread_is_refused_before_the_model_runs(call, user_scoped):
    agent, model = agent_of("noted", "1234", user_scoped=user_scoped)
    call(agent, said("my PIN is 1234"), ALICE)
    with pytest.raises(SessionAccessError) as caught:
        call(agent, said("what is my PIN?"), BOB)
    assert len(model.shown) == 1
    assert "alice" not in str(caught.value)


def test_a_thread_belongs_to_one_session_and_goes_on_with_it(call):
    agent, model = agent_of("noted", "again", "of another thread")
    call(agent, said("hello"), ALICE)
    call(agent, said("hello again"), ALICE)
    with pytest.raises(SessionAccessError):
        call(agent, said("hello"), config("alice", "another"))
    call(agent, said("hello"), config("alice", "another", "another thread"))
    assert len(model.shown) == 3


def test_another_user_who_resumes_is_refused_before_the_tool_runs(call):
    ran.clear()
    agent, model = agent_of(calls("ask"), "done", tools=[ask])
    call(agent, said("go"), ALICE)
    with pytest.raises(SessionAccessError):
        call(agent, Command(resume="by bob"), BOB)
    assert (ran, len(model.shown)) == ([], 1)
    call(agent, Command(resume="by alice"), ALICE)
    assert ran == ["by alice"]
    assert len(model.shown) == 2


def test_another_users_thread_is_refused_in_a_graph_around_the_agent(call):
    agent, model = agent_of("noted", "1234", saver=True)
    graph = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")
    around = graph.compile(checkpointer=InMemorySaver())
    call(around, said("my PIN is 1234"), ALICE)
    with pytest.raises(SessionAccessError):
        call(around, said("what is my PIN?"), BOB)
    assert len(model.shown) == 1


def test_a_runtime_context_that_names_another_is_refused_too():
    agent, model = agent_of("noted", "1234")
    thread = {"configurable": {"thread_id": "t"}}
    agent.invoke(
        said("my PIN is 1234"), thread, context={"session_id": "of alice", "user_id": "alice"}
    )
    with pytest.raises(SessionAccessError):
        agent.invoke(said("my PIN?"), thread, context={"session_id": "of bob", "user_id": "bob"})
    assert len(model.shown) == 1


def test_a_refused_resume_removes_nothing_from_the_thread():
    store = InMemorySessionStore()
    agent, _ = agent_of("hi", calls("ask"), "well", tools=[ask], store=store)
    thread = {"configurable": {"thread_id": "t"}}
    alice = {"session_id": "of alice", "user_id": "alice"}
    agent.invoke(said("hello"), thread, context=alice)
    agent.invoke(said("go"), thread, context=alice)
    with pytest.raises(SessionAccessError):
        agent.invoke(Command(resume="no"), thread, context={"session_id": "b", "user_id": "bob"})
    result = agent.invoke(said("never mind"), thread, context=alice)
    kept = ["hello", "hi", "go", "", "never mind", "well"]
    assert [message.content for message in result["messages"]] == kept
    assert [message.content for message in store.get_messages("of alice")] == kept


def unmark(agent, at=ALICE):
    """Make a thread as an older version left it: it says how far the log goes, but not whose."""
    state = agent.checkpointer.get_tuple(at).checkpoint["channel_values"]
    assert state["session_thread"] == ["of alice", "alice"]
    agent.update_state(at, {"session_thread": None})


def test_a_thread_of_an_older_version_belongs_to_its_session(call):
    agent, model = agent_of("noted", "again", "1234")
    call(agent, said("my PIN is 1234"), ALICE)
    unmark(agent)
    with pytest.raises(SessionAccessError):
        call(agent, said("my PIN?"), BOB)
    assert len(model.shown) == 1
    call(agent, said("it is me"), ALICE)
    assert len(model.shown) == 2
    with pytest.raises(SessionAccessError):
        call(agent, said("my PIN?"), BOB)


def test_a_thread_from_before_the_middleware_belongs_to_its_first_caller(call):
    saver = InMemorySaver()
    create_agent(Scripted(lines=["hi"]), [], checkpointer=saver).invoke(
        {"messages": [HumanMessage("hello")]}, ALICE
    )
    agent, model = agent_of("noted", "again", saver=saver)
    call(agent, said("more"), ALICE)
    with pytest.raises(SessionAccessError):
        call(agent, said("more"), BOB)
    assert len(model.shown) == 1


def test_a_thread_that_began_without_a_user_is_open_within_its_session(call):
    agent, model = agent_of("one", "two", user_scoped=False)
    nobody = {"configurable": {"session_id": "s", "thread_id": "t"}}
    call(agent, said("hello"), nobody)
    call(agent, said("hello"), config("bob", "s"))
    assert len(model.shown) == 2
