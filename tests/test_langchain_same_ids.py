"""Ids that come again in agents: answers of a cache, and calls that are numbered from the start."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, before_model, hook_config
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from scripted import Scripted, log, logged, require_acceptable

from langchain_sessionstore import SessionMiddleware
from sessionstore import InMemorySessionStore, SQLiteSessionStore, Window

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield InMemorySessionStore()
        return
    with SQLiteSessionStore(tmp_path / "sessions.db") as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(agent, *messages):
        return agent.invoke({"messages": list(messages)}, CONFIG)

    def in_a_loop(agent, *messages):
        return asyncio.run(agent.ainvoke({"messages": list(messages)}, CONFIG))

    return sync if request.param == "sync" else in_a_loop


def words(messages):
    return [message.content for message in messages]


@before_model
def trim(state, runtime):  # noqa: ARG001
    last = [m for m in state["messages"] if m.type == "human"][-1:]
    return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *last]}


# -- Answers of a cache ----------------------------------------------------------------------------


class LastOnly(AgentMiddleware):
    """Asks the model the last question alone, so that a cache knows it."""

    def wrap_model_call(self, request, handler):
        return handler(request.override(messages=request.messages[-1:]))

    async def awrap_model_call(self, request, handler):
        return await handler(request.override(messages=request.messages[-1:]))


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
@pytest.mark.parametrize("how", ["window", "trim", "whole"])
def test_an_answer_from_a_cache_is_kept_each_time_it_is_given(store, run, saver, how):
    model = FakeListChatModel(responses=["yes", "no", "maybe"], cache=InMemoryCache())
    window = Window(max_messages=1) if how == "window" else None
    others = [trim] if how == "trim" else [LastOnly()]
    agent = create_agent(
        model,
        middleware=[SessionMiddleware(store, window=window), *others],
        checkpointer=saver and saver(),
    )
    # Alike in text, which is what a cache goes by.
    for number, text in enumerate(["sure?", "really?", "sure?"]):
        result = run(agent, HumanMessage(text, id=f"m{number}"))
        assert words(result["messages"])[-2:] == [text, "no" if text == "really?" else "yes"]
    assert words(logged(store)) == ["sure?", "yes", "really?", "no", "sure?", "yes"]
    require_acceptable(logged(store))


def test_an_answer_from_a_cache_that_calls_tools_is_kept_each_time(store, run):
    call = {"name": "add", "args": {}, "id": "call_0"}
    asking = AIMessage("", tool_calls=[call], id="a1")
    lines = [asking, AIMessage("two", id="a2"), asking, AIMessage("two", id="a2")]
    ours = SessionMiddleware(store, window=Window(max_messages=1))
    agent = create_agent(Scripted(lines=lines), [add], middleware=[ours])
    agent_turns = [run(agent, HumanMessage("1 + 1?", id=f"m{n}")) for n in range(2)]
    assert words(logged(store)) == ["1 + 1?", "", "2", "two"] * 2
    assert logged(store)[4:] == agent_turns[1]["messages"][-4:]
    assert asking.id == "a1", "the cache's own message was changed"


def test_an_answer_given_twice_in_one_turn_is_kept_twice(store, run):
    class Again(AgentMiddleware):
        @hook_config(can_jump_to=["model"])
        def after_model(self, state, runtime):  # noqa: ARG002
            return {"jump_to": "model"} if len(state["messages"]) < 3 else None

    same = AIMessage("yes", id="a1")
    agent = create_agent(
        Scripted(lines=[same, same]), middleware=[SessionMiddleware(store), Again()]
    )
    result = run(agent, HumanMessage("sure?"))
    assert words(logged(store)) == words(result["messages"]) == ["sure?", "yes", "yes"]


class Same(BaseChatModel):
    """Gives one answer with one id, as a cache does."""

    @property
    def _llm_type(self):
        return "same"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):  # noqa: ARG002
        said = AIMessage("yes", id="a1")
        return ChatResult(generations=[ChatGeneration(message=said)])


@pytest.mark.parametrize("window", [None, Window(max_messages=1)])
@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
def test_a_stream_shows_a_cached_answer_once(store, window, saver):
    ours = SessionMiddleware(store, window=window)
    agent = create_agent(Same(), middleware=[ours], checkpointer=saver and saver())
    for number in range(3):
        given = {"messages": [HumanMessage("sure?", id=f"m{number}")]}
        pieces = list(agent.stream(given, CONFIG, stream_mode="messages"))
        assert words(piece for piece, _ in pieces if piece.type == "ai") == ["yes"]
    assert words(logged(store)) == ["sure?", "yes"] * 3


def test_an_answer_that_is_given_again_after_a_crash_is_kept_once(store, run):
    """The turn went as far as the answer, whose cache gives it again."""

    class Fails(AgentMiddleware):
        def after_model(self, state, runtime):  # noqa: ARG002
            if failing:
                raise RuntimeError(failing.pop())

    failing = ["broken"]
    model = FakeListChatModel(responses=["yes", "no"], cache=InMemoryCache())
    agent = create_agent(
        model, middleware=[SessionMiddleware(store), Fails()], checkpointer=InMemorySaver()
    )
    with pytest.raises(RuntimeError, match="broken"):
        run(agent, HumanMessage("sure?", id="m1"))
    assert words(logged(store)) == ["sure?", "yes"]
    if run.__name__ == "sync":
        agent.invoke(None, CONFIG)
        assert words(logged(store)) == ["sure?", "yes"]


# -- Calls that are numbered from the start ---------------------------------------------------


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
@pytest.mark.parametrize("window", [None, Window(max_messages=20)])
def test_parallel_results_stand_in_the_order_of_their_calls_in_each_turn(store, run, saver, window):
    @tool
    def slow() -> str:
        """Wait for the other."""
        assert quick_is_saved.wait(20)
        return "slow"

    @tool
    def quick() -> str:
        """Be first."""
        return "quick"

    class Watch(AgentMiddleware):
        """Outside of the session's middleware: what went by here is saved."""

        def wrap_tool_call(self, request, handler):
            result = handler(request)
            if request.tool_call["name"] == "quick":
                quick_is_saved.set()
            return result

        async def awrap_tool_call(self, request, handler):
            result = await handler(request)
            if request.tool_call["name"] == "quick":
                quick_is_saved.set()
            return result

    quick_is_saved = threading.Event()
    asking = [
        {"name": name, "args": {}, "id": f"call_{n}"} for n, name in enumerate(["slow", "quick"])
    ]
    turn = [AIMessage("", tool_calls=asking), "done"]
    agent = create_agent(
        Scripted(lines=turn * 3),
        [slow, quick],
        middleware=[Watch(), SessionMiddleware(store, window=window)],
        checkpointer=saver and saver(),
    )
    for number in range(3):
        quick_is_saved.clear()
        run(agent, HumanMessage(f"go {number}"))
        assert log(store)[-3:] == [("tool", "slow"), ("tool", "quick"), ("assistant", "done")]
    assert len(log(store)) == 15
