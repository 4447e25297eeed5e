"""What others say in a session while an agent's turn waits for an approval."""

from __future__ import annotations

from typing import Annotated

import pytest
from checkpointed import Caller
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import Scripted, logged, watched

from langchain_sessionstore import SessionMiddleware, with_session_history
from sessionstore import InMemorySessionStore, SQLiteSessionStore, StoreConnectionError
from sessionstore.operations import Get, GetMessages

ALICE = {"configurable": {"thread_id": "s", "user_id": "alice"}}
MODES = pytest.mark.parametrize("on_mismatch", ["warn", "load"])


def decided(kind, **more):
    return Command(resume={"decisions": [{"type": kind, **more}]})


APPROVAL = decided("approve")


def edited(name):
    return decided("edit", edited_action={"name": name, "args": {"to": "carol"}})


@pytest.fixture
def store():
    with InMemorySessionStore() as made:
        yield made


@pytest.fixture(params=["invoke", "ainvoke"])
def run(request):
    require_interrupts(in_asyncio=request.param == "ainvoke")
    caller = Caller(request.param)
    yield caller
    caller.close()


@tool
def send(tool_call_id: Annotated[str, InjectedToolCallId], to: str = "bob") -> Command:
    """Send, and say so to the model."""
    notes = [HumanMessage("noted", id=f"{n}-{tool_call_id}") for n in "12"]
    result = ToolMessage(f"sent to {to}", tool_call_id=tool_call_id)
    return Command(update={"messages": [result, *notes]})


@tool
def post(to: str = "bob") -> str:
    """Post."""
    return f"posted to {to}"


def said(text, **more):
    return {"messages": [HumanMessage(text, **more)]}


def words(messages):
    return [message.content for message in messages]


def agent_of(store, *lines, before=(), saver=None, tools=(post,), **options):
    model = Scripted(lines=list(lines))
    review = HumanInTheLoopMiddleware({"send": True, "post": True})
    middleware = [*before, SessionMiddleware(store, **options), review]
    return create_agent(
        model, list(tools), middleware=middleware, checkpointer=saver or InMemorySaver()
    ), model


def chatted(store, *texts):
    """Have a chain answer in the session, as "re: ..."."""
    chain = with_session_history(
        RunnableLambda(lambda messages: AIMessage(f"re: {messages[-1].content}")), store
    )
    for text in texts:
        config = {"configurable": {"session_id": "s", "user_id": "alice"}}
        chain.invoke([HumanMessage(text)], config)


def call(number, name="post"):
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": f"c{number}"}])


def test_what_is_said_in_a_pause_is_warned_of_once(store, run, caplog):
    saver = InMemorySaver()
    run(agent_of(store, call(1), saver=saver)[0], said("1"), ALICE)
    chatted(store, "secret")
    agent, model = agent_of(store, "a", "b", saver=saver)  # another process
    run(agent, APPROVAL, ALICE)
    [record] = caplog.records
    assert "session 's' holds 6 messages, 2 of which" in record.getMessage()
    assert "(it holds 3, with what is said now)" in record.getMessage()
    run(agent, said("2"), ALICE)
    assert words(model.shown[-1]) == ["1", "", "posted to bob", "a", "2"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("decision", [APPROVAL, edited("post"), decided("reject")])
def test_the_thread_is_given_what_was_said_in_a_pause_at_its_next_turn(
    store, run, caplog, decision
):
    agent, model = agent_of(store, call(1), *"abc", on_mismatch="load")
    run(agent, said("1"), ALICE)
    chatted(store, "x", "y")
    run(agent, decision, ALICE)
    run(agent, said("2"), ALICE)
    given = ["x", "re: x", "y", "re: y"]
    question, asking, answer, *rest = model.shown[-1]
    assert [question.type, asking.type, answer.type] == ["human", "ai", "tool"]
    assert words(rest) == [*given, "a", "2"], "a result stays behind its call"
    chatted(store, "z")
    result = run(agent, said("3"), ALICE)
    assert words(model.shown[-1][3:]) == [*given, "a", "2", "b", "z", "re: z", "3"]
    held = sorted(message.id for message in logged(store) if message.type != "tool")
    assert sorted(m.id for m in result["messages"] if m.type != "tool") == held
    assert len(logged(store)) == len(result["messages"]), "nothing is saved twice"
    assert caplog.records == []


@MODES
def test_two_pauses_in_a_turn_are_looked_back_on_each(store, run, caplog, on_mismatch):
    agent, model = agent_of(store, call(1), call(2), *"abc", on_mismatch=on_mismatch)
    run(agent, said("1"), ALICE)
    chatted(store, "x")
    run(agent, APPROVAL, ALICE)
    chatted(store, "y")
    run(agent, APPROVAL, ALICE)
    run(agent, said("2"), ALICE)
    shown = words(model.shown[-1])
    if on_mismatch == "warn":
        assert [r.getMessage().split(", ")[1][:10] for r in caplog.records] == ["2 of which"] * 2
        assert shown == ["1", "", "posted to bob", "", "posted to bob", "a", "2"]
        return
    assert caplog.records == []
    both = ["x", "re: x"], ["y", "re: y"]
    assert shown == [*["1", "", "posted to bob"], *both[0], "", "posted to bob", *both[1], "a", "2"]


def test_nobody_looks_back_where_that_is_ignored(store, run, caplog, monkeypatch):
    agent, model = agent_of(store, call(1), "a", "b", on_mismatch="ignore")
    run(agent, said("1"), ALICE)
    chatted(store, "x")
    operations = watched(monkeypatch)
    run(agent, APPROVAL, ALICE)
    assert Get not in map(type, operations)
    assert not [one for one in operations if isinstance(one, GetMessages) and one.after]
    run(agent, said("2"), ALICE)
    assert words(model.shown[-1]) == ["1", "", "posted to bob", "a", "2"]
    assert caplog.records == []


# -- ... and no false alarm -----------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("decision", [APPROVAL, edited("send"), decided("reject")])
def test_what_the_turn_itself_summed_up_is_not_missed(store, run, caplog, on_mismatch, decision):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 3), keep=("messages", 1)
    )
    lines = [call(1, "send"), call(2, "send"), *"abc"]
    agent, model = agent_of(
        store, *lines, before=[summarize], tools=[send], on_mismatch=on_mismatch
    )
    for text in (said("1"), decision, APPROVAL, said("2"), said("3")):
        state = run(agent, text, ALICE)
    assert "SUMMARY" in words(model.shown[1])[0], "before the first look back"
    assert len(model.shown) == 5
    assert caplog.records == []
    assert len(state["messages"]) < 5, "nothing is given again"


@MODES
def test_nor_is_it_where_the_pause_is_not_gone_on_with(store, run, caplog, on_mismatch):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 3), keep=("messages", 1)
    )
    lines = [call(1, "send"), call(2, "send"), "a"]
    agent, model = agent_of(
        store, *lines, before=[summarize], tools=[send], on_mismatch=on_mismatch
    )
    for text in (said("1"), APPROVAL, said("2")):
        run(agent, text, ALICE)
    assert "sent to bob" in words(logged(store))
    assert "sent to bob" not in words(model.shown[-1])
    assert caplog.records == []


@MODES
def test_what_stands_behind_an_edit_is_not_missed(store, run, caplog, on_mismatch):
    agent, model = agent_of(store, "a", "b", call(1), "c", "d", on_mismatch=on_mismatch)
    run(agent, said("1", id="q1"), ALICE)
    run(agent, said("2"), ALICE)
    run(agent, said("one", id="q1"), ALICE)
    run(agent, APPROVAL, ALICE)
    run(agent, said("3"), ALICE)
    assert words(model.shown[-1]) == ["one", "", "posted to bob", "c", "3"]
    assert caplog.records == []


class FailsOnce(AgentMiddleware):
    """Fails behind the second answer, when that is saved."""

    answers = 0

    def _count(self):
        self.answers += 1
        if self.answers == 2:
            raise OSError("lost")

    def wrap_model_call(self, request, handler):
        answer = handler(request)
        self._count()
        return answer

    async def awrap_model_call(self, request, handler):
        answer = await handler(request)
        self._count()
        return answer


@MODES
def test_an_answer_of_the_turn_that_was_lost_is_not_missed(store, run, caplog, on_mismatch):
    fails = FailsOnce()
    agent, _ = agent_of(
        store, call(1), "lost", call(2), "a", "b", before=[fails], on_mismatch=on_mismatch
    )
    run(agent, said("1"), ALICE)
    with pytest.raises(OSError, match="lost"):
        run(agent, APPROVAL, ALICE)
    run(agent, None, ALICE)
    run(agent, APPROVAL, ALICE)
    result = run(agent, said("2"), ALICE)
    assert "lost" in words(logged(store))
    assert words(result["messages"]) == [
        "1",
        "",
        "posted to bob",
        "",
        "posted to bob",
        "a",
        "2",
        "b",
    ]
    assert caplog.records == []


# -- Failures -------------------------------------------------------------------------------------


class CannotLookBack(SQLiteSessionStore):
    """Can't be reached by whoever looks back."""

    is_away = True

    def run(self, operation):
        if self.is_away and isinstance(operation, GetMessages) and operation.after:
            raise StoreConnectionError("away")
        return super().run(operation)

    async def arun(self, operation):
        if self.is_away and isinstance(operation, GetMessages) and operation.after:
            raise StoreConnectionError("away")
        return await super().arun(operation)


@MODES
def test_where_nobody_can_look_back_the_turn_goes_on_and_the_next_one_looks(
    run, tmp_path, caplog, on_mismatch
):
    with CannotLookBack(tmp_path / "sessions.db") as store:
        agent, model = agent_of(store, call(1), "a", "b", "c", on_mismatch=on_mismatch)
        run(agent, said("1"), ALICE)
        chatted(store, "x")
        result = run(agent, APPROVAL, ALICE)
        assert words(result["messages"])[-1] == "a"
        assert caplog.records == []
        run(agent, said("2"), ALICE)
        given = ["x", "re: x"] if on_mismatch == "load" else []
        assert words(model.shown[-1]) == ["1", "", "posted to bob", *given, "a", "2"]
        run(agent, said("3"), ALICE)
        assert len(caplog.records) == (on_mismatch == "warn"), "once"


@MODES
def test_a_model_that_fails_after_a_pause_takes_nothing_away(store, run, caplog, on_mismatch):
    lines = [call(1), RuntimeError("overloaded"), "a", "b"]
    agent, model = agent_of(store, *lines, on_mismatch=on_mismatch)
    run(agent, said("1"), ALICE)
    chatted(store, "x")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, APPROVAL, ALICE)
    run(agent, said("2"), ALICE)
    run(agent, said("3"), ALICE)
    given = ["x", "re: x"] if on_mismatch == "load" else []
    assert words(model.shown[-1]) == ["1", "", "posted to bob", *given, "2", "a", "3"]
    assert len(caplog.records) == (on_mismatch == "warn"), "once"
