"""`SessionMiddleware` and a message that JSON can't hold: it alone is not in the log."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import after_model, before_model
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import Scripted, calls, log
from servers.process import wait_until

from langchain_sessionstore import SessionMiddleware, SessionSaveError
from sessionstore import InMemorySessionStore, InvalidMessageError

CONFIG = {"configurable": {"thread_id": "s"}}
NAN = {"logprob": float("nan")}


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(agent, text):
        return agent.invoke(said(text), CONFIG)["messages"][-1].content

    def in_a_loop(agent, text):
        return asyncio.run(agent.ainvoke(said(text), CONFIG))["messages"][-1].content

    return sync if request.param == "sync" else in_a_loop


@pytest.fixture(params=["alone", "checkpointer"])
def saver(request):
    return None if request.param == "alone" else InMemorySaver()


def said(*texts):
    return {"messages": [m if isinstance(m, HumanMessage) else HumanMessage(m) for m in texts]}


def cutting(store, lines):
    """Give a tool whose result can't be stored, which comes after that of a call beside it.

    What has not begun when its save fails LangGraph cancels.
    """
    beside = any("add" in names_of(line) and "cut" in names_of(line) for line in lines)

    @tool
    def cut() -> str:
        """Cut an emoji in two."""
        if beside:
            wait_until(lambda: ("tool", "2") in log(store), "the other call has its result")
        return "\ud83d"

    return cut


def names_of(line):
    return [call["name"] for call in line.tool_calls] if isinstance(line, AIMessage) else []


@tool
def add() -> str:
    """Add."""
    return "2"


@tool
def note(tool_call_id: str = "c-note") -> Command:
    """Note."""
    return Command(
        update={
            "messages": [
                ToolMessage("noted", tool_call_id=tool_call_id),
                HumanMessage("lost", additional_kwargs=NAN),
                HumanMessage("kept"),
            ]
        }
    )


def agent_of(store, *lines, saver=None, behind=(), reported=None):
    sessions = SessionMiddleware(store, on_save_error=reported)
    return create_agent(
        Scripted(lines=list(lines)),
        [cutting(store, lines), add, note],
        middleware=[sessions, *behind],
        checkpointer=saver,
    )


def with_nan(message):
    message.response_metadata = NAN
    return message


LOST = {
    "answer": (with_nan(calls("add")), [("tool", "2")]),
    "result": (calls("cut"), [("assistant", ["cut"])]),
    "beside": (
        calls("add", "cut"),
        [("assistant", ["add", "cut"]), ("tool", "2")],
    ),
    "command": (
        calls("note"),
        [("assistant", ["note"]), ("tool", "noted"), ("user", "kept")],
    ),
}


@pytest.mark.parametrize("lost", LOST)
def test_an_unstorable_message_is_reported_once_and_the_rest_is_kept(store, run, saver, lost):
    reported = []
    line, kept = LOST[lost]
    agent = agent_of(
        store, line, calls("add"), "done", "two", saver=saver, reported=reported.append
    )
    assert run(agent, "go") == "done"
    turn = [("user", "go"), *kept, ("assistant", ["add"]), ("tool", "2"), ("assistant", "done")]
    assert log(store) == turn
    assert run(agent, "thanks") == "two"
    assert log(store) == [*turn, ("user", "thanks"), ("assistant", "two")]
    assert [type(error.__cause__) for error in reported] == [InvalidMessageError]
    assert reported[0].answer.content in ("", "\ud83d", "lost")


@pytest.mark.parametrize("lost", LOST)
def test_without_on_save_error_the_turn_ends_and_the_next_one_goes_on(store, run, saver, lost):
    line, kept = LOST[lost]
    agent = agent_of(store, line, "two", "three", saver=saver)
    with pytest.raises(SessionSaveError) as caught:
        run(agent, "go")
    assert isinstance(caught.value.__cause__, InvalidMessageError)
    assert run(agent, "again") == "two"
    assert run(agent, "thanks") == "three"
    first = [] if lost == "answer" else kept
    assert log(store) == [
        *[("user", "go"), *first],
        *[("user", "again"), ("assistant", "two"), ("user", "thanks"), ("assistant", "three")],
    ]


@after_model
def spoil(state, runtime):  # noqa: ARG001
    last = state["messages"][-1]
    if last.content != "spoilt":
        return None
    return {"messages": [AIMessage("more", id="more", additional_kwargs=NAN)]}


@pytest.mark.parametrize("reports", [True, False])
def test_an_unstorable_message_of_other_middleware_locks_no_thread(store, run, caplog, reports):
    reported = []
    agent = agent_of(
        store,
        *("spoilt", "two", "three"),
        saver=InMemorySaver(),
        behind=[spoil],
        reported=reported.append if reports else None,
    )
    if reports:
        assert run(agent, "go") == "more"
    else:
        with pytest.raises(SessionSaveError) as caught:
            run(agent, "go")
        assert caught.value.answer.content == "more"
    assert run(agent, "again") == "two"
    assert run(agent, "thanks") == "three"
    assert len(reported) == reports
    assert caplog.text.count("'more' can't be stored") == (not reports)
    assert [said for _, said in log(store)] == ["go", "spoilt", "again", "two", "thanks", "three"]


@pytest.mark.parametrize("reports", [True, False])
def test_an_unstorable_message_of_the_user_is_refused_and_locks_no_thread(
    store, run, saver, reports
):
    reported = []
    lines = ["two", "three"]
    agent = agent_of(store, *lines, saver=saver, reported=reported.append if reports else None)
    for _ in range(2):
        with pytest.raises(InvalidMessageError):
            run(agent, HumanMessage("go", id="m1", additional_kwargs=NAN))
    assert (reported, log(store)) == ([], [])
    assert run(agent, "again") == "two"
    assert run(agent, "thanks") == "three"
    assert [said for _, said in log(store)] == ["again", "two", "thanks", "three"]


def test_a_message_that_becomes_storable_is_logged(store, run):
    @before_model
    def mend(state, runtime):  # noqa: ARG001
        last = state["messages"][-1]
        if last.content != "\ud83d":
            return None
        return {"messages": [last.model_copy(update={"content": "mended"})]}

    reported = []
    agent = agent_of(store, calls("cut"), "done", behind=[mend], reported=reported.append)
    assert run(agent, "go") == "done"
    assert log(store)[1:] == [("assistant", ["cut"]), ("tool", "mended"), ("assistant", "done")]
    assert len(reported) == 1


def test_a_message_that_becomes_unstorable_stays_in_the_log_as_it_was(store, run):
    @after_model
    def spoil_it(state, runtime):  # noqa: ARG001
        last = state["messages"][-1]
        return {"messages": [last.model_copy(update={"response_metadata": NAN})]}

    reported = []
    agent = agent_of(
        store, "one", "two", saver=InMemorySaver(), behind=[spoil_it], reported=reported.append
    )
    run(agent, "go")
    run(agent, "again")
    assert [said for _, said in log(store)] == ["go", "one", "again", "two"]
    assert len(reported) == 2
