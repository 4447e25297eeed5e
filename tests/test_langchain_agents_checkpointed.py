"""`SessionMiddleware` beside a checkpointer: the log mirrors the state."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from inspect import signature

import pytest
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from scripted import Scripted, calls, counted, log, logged, require_acceptable, watched

from langchain_sessionstore import SessionMiddleware
from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    SessionAccessError,
    SQLiteSessionStore,
)
from sessionstore.operations import Append, Get, GetMessages
from sessionstore.window import INTERRUPTED

CONFIG = {"configurable": {"thread_id": "s"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = {
        "memory": InMemorySessionStore,
        "sqlite": lambda: SQLiteSessionStore(tmp_path / "sessions.db"),
    }[request.param]()
    with made:
        yield made


@pytest.fixture(params=["sync", "async"])
def mode(request):
    return request.param


@pytest.fixture
def run(mode):
    def sync(agent, given, config=CONFIG):
        return agent.invoke(given, config)

    def in_a_loop(agent, given, config=CONFIG):
        return asyncio.run(agent.ainvoke(given, config))

    return sync if mode == "sync" else in_a_loop


@pytest.fixture
def pausing(mode):
    require_interrupts(in_asyncio=mode == "async")


def said(text):
    return {"messages": [("user", text)]}


def words(messages):
    return [message.content for message in messages]


def agent_of(store, *lines, tools=(), before=(), behind=(), saver=None):
    model = Scripted(lines=list(lines))
    agent = create_agent(
        model,
        list(tools),
        middleware=[*before, SessionMiddleware(store), *behind],
        checkpointer=saver or InMemorySaver(),
    )
    return agent, model


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


@tool
def send(to: str = "bob") -> str:
    """Send."""
    return f"sent to {to}"


both_orders = pytest.mark.parametrize("place", ["before", "behind"])


def test_the_log_mirrors_the_state_and_is_loaded_once(store, run, monkeypatch):
    agent, model = agent_of(store, calls("add"), "two", "bye", tools=[add])
    run(agent, said("1 + 1?"))
    operations = watched(monkeypatch, type(store))
    result = run(agent, said("thanks"))
    monkeypatch.undo()
    looked = [one for one in operations if isinstance(one, (Get, GetMessages))]
    assert [one.limit for one in looked] == [1], "whether there is something new"
    assert logged(store) == result["messages"] == [*model.shown[-1], result["messages"][-1]]
    assert words(logged(store)) == ["1 + 1?", "", "2", "two", "thanks", "bye"]


def test_a_turn_sends_only_what_is_new_to_the_store(store, run, monkeypatch):
    agent, _ = agent_of(store, *"abc")
    run(agent, said("1"))
    run(agent, said("2"))
    operations = watched(monkeypatch, type(store))
    run(agent, said("3"))
    sent = [one.messages for one in operations if isinstance(one, Append)]
    assert [words(messages) for messages in sent] == [["3"], ["c"]]


def test_a_thread_from_before_the_middleware_is_logged_whole(store, run):
    saver = InMemorySaver()
    plain = create_agent(Scripted(lines=["a", "b"]), checkpointer=saver)
    run(plain, said("1"))
    run(plain, said("2"))
    agent, _ = agent_of(store, "c", saver=saver)
    result = run(agent, said("3"))
    assert words(logged(store)) == ["1", "a", "2", "b", "3", "c"]
    assert logged(store) == result["messages"]


def test_an_imported_conversation_is_logged_whole(store, run):
    agent, _ = agent_of(store, "a", "b")
    run(agent, {"messages": [HumanMessage("x"), AIMessage("y"), HumanMessage("z")]})
    run(agent, said("w"))
    assert words(logged(store)) == ["x", "y", "z", "a", "w", "b"]


@pytest.mark.usefixtures("pausing")
def test_a_turn_whose_model_raised_can_be_resumed(store, run):
    agent, _ = agent_of(store, calls("add"), RuntimeError("overloaded"), "two", tools=[add])
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, said("1 + 1?"))
    assert words(logged(store)) == ["1 + 1?", "", "2"]
    result = run(agent, None)
    assert words(logged(store)) == ["1 + 1?", "", "2", "two"]
    assert logged(store) == result["messages"]


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="LangGraph gives the config there")
def test_on_python_3_10_a_resumed_async_turn_says_what_it_needs(store):
    agent, _ = agent_of(store, RuntimeError("overloaded"), "two")
    with pytest.raises(RuntimeError, match="overloaded"):
        asyncio.run(agent.ainvoke(said("1"), CONFIG))
    with pytest.raises(InvalidSessionError, match=r"Python 3\.11"):
        asyncio.run(agent.ainvoke(None, CONFIG))


def test_a_turn_that_was_answered_is_answered_the_same_when_it_is_sent_again(store, run):
    agent, model = agent_of(store, "one", calls("add"), "two", "three", tools=[add])
    run(agent, said("1"))
    again = {"messages": [HumanMessage("2", id="m2")]}
    second = run(agent, again)
    assert run(agent, again)["messages"] == second["messages"]
    assert len(model.shown) == 3, "the model was asked again"
    assert logged(store) == second["messages"]
    run(agent, said("3"))
    assert words(logged(store)) == ["1", "one", "2", "", "2", "two", "3", "three"]


def test_a_turn_that_was_not_answered_is_asked_again(store, run):
    agent, _ = agent_of(store, RuntimeError("overloaded"), "one")
    again = {"messages": [HumanMessage("1", id="m1")]}
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, again)
    run(agent, again)
    assert words(logged(store)) == ["1", "one"]


def test_a_call_that_a_tool_left_open_is_closed_in_what_the_model_is_sent(store, run):
    @tool
    def fail() -> str:
        """Fail."""
        raise RuntimeError("broken")

    agent, model = agent_of(store, calls("fail"), "ok", tools=[fail])
    with pytest.raises(RuntimeError, match="broken"):
        run(agent, said("go"))
    state = run(agent, said("what happened?"))
    assert words(model.shown[-1]) == ["go", "", INTERRUPTED, "what happened?"]
    assert words(state["messages"]) == ["go", "", "what happened?", "ok"]
    assert logged(store) == state["messages"]


def test_the_turn_after_one_that_raised_is_logged_behind_it(store, run):
    agent, _ = agent_of(store, RuntimeError("overloaded"), "hi", "ho")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, said("1"))
    run(agent, said("2"))
    result = run(agent, said("3"))
    assert words(logged(store)) == ["1", "2", "hi", "3", "ho"]
    assert logged(store) == result["messages"]


def test_another_user_is_refused_before_the_model_runs(store, run):
    agent, model = agent_of(store, "hi", "no")
    run(agent, said("mine"), {"configurable": {"thread_id": "s", "user_id": "alice"}})
    for given in (said("x"), {"messages": []}):
        with pytest.raises(SessionAccessError):
            run(agent, given, {"configurable": {"thread_id": "s", "user_id": "mallory"}})
    assert len(model.shown) == 1


@pytest.mark.usefixtures("pausing")
def test_another_user_who_goes_on_after_a_pause_is_refused_before_the_tool_runs(store, run):
    ran, reported = [], []
    agent = create_agent(
        Scripted(lines=[calls("pay"), "done"]),
        [tool("pay", description="Pay.")(lambda: ran.append(1))],
        middleware=[SessionMiddleware(store, on_save_error=reported.append)],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    run(agent, said("go"), {"configurable": {"thread_id": "s", "user_id": "alice"}})
    with pytest.raises(SessionAccessError):
        run(agent, None, {"configurable": {"thread_id": "s", "user_id": "mallory"}})
    assert (ran, reported) == ([], [])


@both_orders
def test_a_summary_is_for_the_model_and_the_log_keeps_the_originals(store, run, place):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 4), keep=("messages", 1)
    )
    agent, model = agent_of(
        store, "a1", "a2", calls("add"), "a3", "a4", tools=[add], **{place: [summarize]}
    )
    for text in ("q1", "q2", "q3", "q4"):
        run(agent, said(text))
    assert "SUMMARY" in words(model.shown[-1])[0]
    assert words(logged(store)) == ["q1", "a1", "q2", "a2", "q3", "", "2", "a3", "q4", "a4"]


def test_a_summary_stays_out_of_the_log_where_all_that_the_log_knew_is_summed_up(store, run):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 5), keep=("messages", 2)
    )
    lines = ["a1", calls("add"), RuntimeError("overloaded"), "a3"]
    agent, _ = agent_of(store, *lines, tools=[add], before=[summarize])
    run(agent, said("q1"))
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, said("q2"))
    state = agent.get_state(CONFIG).values
    assert state["session_mark"] not in {message.id for message in state["messages"]}
    run(agent, said("q3"))
    assert words(logged(store)) == ["q1", "a1", "q2", "", "2", "q3", "a3"]


def test_what_is_removed_from_the_state_stays_in_the_log(store, run):
    agent, _ = agent_of(store, "a", "b", "c")
    state = run(agent, said("1"))
    agent.update_state(CONFIG, {"messages": [RemoveMessage(m.id) for m in state["messages"]]})
    assert words(run(agent, said("2"))["messages"]) == ["2", "b"]
    assert words(logged(store)) == ["1", "a", "2", "b"]


# -- A human in the loop ---------------------------------------------------------------------------


def reviewed(store, *lines, place, tools=(send, add), **options):
    review = HumanInTheLoopMiddleware({"send": True}, **options)
    saver = InMemorySaver()
    agent, _ = agent_of(store, *lines, tools=tools, saver=saver, **{place: [review]})
    return agent


def resumed(run, agent, *decisions):
    return run(agent, Command(resume={"decisions": list(decisions)}))


@both_orders
@pytest.mark.usefixtures("pausing")
def test_a_call_that_waits_for_approval_is_logged(store, run, place):
    agent = reviewed(store, calls("send"), "done", place=place)
    run(agent, said("go"))
    assert log(store) == [("user", "go"), ("assistant", ["send"])]
    result = resumed(run, agent, {"type": "approve"})
    assert logged(store) == result["messages"]
    assert log(store)[2:] == [("tool", "sent to bob"), ("assistant", "done")]


@both_orders
@pytest.mark.usefixtures("pausing")
def test_a_call_that_waits_is_closed_for_the_model_when_something_else_is_said(store, run, place):
    agent = reviewed(store, calls("send"), lambda shown: words(shown)[2], place=place)
    run(agent, said("go"))
    result = run(agent, said("never mind"))
    assert words(result["messages"]) == ["go", "", "never mind", INTERRUPTED]
    assert logged(store) == result["messages"]


@both_orders
@pytest.mark.usefixtures("pausing")
def test_a_call_that_was_edited_is_replaced_in_the_log(store, run, place):
    agent = reviewed(store, calls("add", "send", to="bob"), "done", "bye", place=place)
    run(agent, said("go"))
    edit = {"type": "edit", "edited_action": {"name": "send", "args": {"to": "eve"}}}
    result = resumed(run, agent, edit)
    kept = store.get_messages("s")
    assert [m.role for m in kept] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [c["args"] for c in kept[1].tool_calls] == [{"to": "bob"}, {"to": "eve"}]
    assert [c["id"] for c in kept[1].tool_calls] == ["c-add", "c-send"]
    assert "sent to eve" in str(kept[3].content)
    assert words(logged(store)) == words(result["messages"])
    result = run(agent, said("thanks"))
    assert words(logged(store)) == words(result["messages"])
    assert store.get_messages("s")[1].tool_calls[1]["args"] == {"to": "eve"}


@both_orders
@pytest.mark.usefixtures("pausing")
def test_an_edit_is_in_the_log_before_the_tool_runs(store, run, place):
    @tool
    def fragile(to: str) -> str:
        """Break down."""
        raise RuntimeError(to)

    review = HumanInTheLoopMiddleware({"fragile": True})
    agent, _ = agent_of(store, calls("fragile", to="bob"), tools=[fragile], **{place: [review]})
    run(agent, said("go"))
    edit = {"type": "edit", "edited_action": {"name": "fragile", "args": {"to": "eve"}}}
    with pytest.raises(RuntimeError, match="eve"):
        resumed(run, agent, edit)
    assert store.get_messages("s")[1].tool_calls[0]["args"] == {"to": "eve"}


@both_orders
@pytest.mark.usefixtures("pausing")
def test_a_rejected_call_is_logged_with_the_rejection_as_its_result(store, run, place):
    agent = reviewed(store, calls("send", "add"), "as you like", place=place)
    run(agent, said("go"))
    result = resumed(run, agent, {"type": "reject", "message": "no"})
    require_acceptable(logged(store))
    assert Counter(words(logged(store))) == Counter(words(result["messages"]))
    assert [role for role, _ in log(store)] == ["user", "assistant", "tool", "tool", "assistant"]


@pytest.mark.skipif(
    "interrupt_mode" not in signature(HumanInTheLoopMiddleware).parameters,
    reason="this LangChain has no interrupt_mode yet",
)
@both_orders
@pytest.mark.usefixtures("pausing")
@pytest.mark.parametrize("decision", [{"type": "approve"}, {"type": "reject", "message": "no"}])
def test_calls_that_are_reviewed_one_by_one_are_logged_as_decided(store, run, place, decision):
    agent = reviewed(store, calls("send", "add"), "done", place=place, interrupt_mode="per_call")
    run(agent, said("go"))
    # The call that waits has its place already, before the result beside it.
    assert [role for role, _ in log(store)] == ["user", "assistant", "tool", "tool"]
    result = run(agent, Command(resume=decision))
    require_acceptable(logged(store))
    assert words(logged(store)) == words(result["messages"])


@pytest.mark.usefixtures("pausing")
def test_a_tool_that_interrupts_runs_again_and_is_logged_once(store, run):
    @tool
    def ask() -> str:
        """Ask."""
        return f"they said {interrupt('well?')}"

    agent, _ = agent_of(store, calls("ask", "add"), "ok", tools=[ask, add])
    run(agent, said("go"))
    result = run(agent, Command(resume="yes"))
    assert words(logged(store)) == ["go", "", "they said yes", "2", "ok"]
    assert logged(store) == result["messages"]


@pytest.mark.usefixtures("pausing")
def test_a_state_that_is_updated_while_it_waits_is_mirrored(store, run):
    model = Scripted(lines=[calls("send", to="bob"), "done"])
    agent = create_agent(
        model,
        [send],
        middleware=[SessionMiddleware(store)],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    state = run(agent, said("go"))
    call = {"name": "send", "args": {"to": "eve"}, "id": "c-send", "type": "tool_call"}
    edited = state["messages"][-1].model_copy(update={"tool_calls": [call]})
    agent.update_state(CONFIG, {"messages": [edited]})
    result = run(agent, None)
    assert logged(store) == result["messages"]
    assert store.get_messages("s")[1].tool_calls[0]["args"] == {"to": "eve"}
    assert words(logged(store)) == ["go", "", "sent to eve", "done"]


@pytest.mark.usefixtures("pausing")
def test_steps_after_a_pause_cost_one_write_each(run, monkeypatch):
    store = InMemorySessionStore()
    agent = reviewed(store, calls("send"), calls("add"), calls("add"), "ok", place="behind")
    run(agent, said("go"))
    operations = watched(monkeypatch)
    resumed(run, agent, {"type": "approve"})
    # The tool and the model find out each what is there, and what others said meanwhile; then it is
    # one write a step.
    assert counted(operations) == {Append: 2 + 6, GetMessages: 3}


# -- Agents within agents --------------------------------------------------------------------------


def test_an_agent_in_a_tool_remembers_in_the_session_that_it_is_given():
    store = InMemorySessionStore()
    inner_model = Scripted(lines=["one", "two"])
    inner = create_agent(inner_model, middleware=[SessionMiddleware(store)])

    @tool
    async def ask(question: str) -> str:
        """Ask."""
        config = {"configurable": {"session_id": "sub"}}
        return (await inner.ainvoke(said(question), config))["messages"][-1].content

    lines = [calls("ask", question="q1"), "ok", calls("ask", question="q2"), "ok"]
    outer, _ = agent_of(store, *lines, tools=[ask])
    for text in "12":
        asyncio.run(outer.ainvoke(said(text), CONFIG))
    assert words(inner_model.shown[-1]) == ["q1", "one", "q2"]
    assert words(logged(store, "sub")) == ["q1", "one", "q2", "two"]
    assert words(logged(store)) == ["1", "", "one", "ok", "2", "", "two", "ok"]
