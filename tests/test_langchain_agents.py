"""`SessionMiddleware` without a checkpointer: real agents over real stores."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import pytest
from children import Children
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
    after_model,
    before_model,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command
from pydantic import BaseModel
from scripted import CONFIG, Scripted, calls, counted, log, logged, require_acceptable, watched

from langchain_sessionstore import SessionMiddleware, to_langchain_messages
from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SQLiteSessionStore,
    Window,
)
from sessionstore.operations import Append, Get, ReplaceMessage, Several, Update
from sessionstore.window import INTERRUPTED

NOT_RUN = "This tool call was not run: its arguments were no valid JSON."


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "memory":
        made = InMemorySessionStore()
    elif request.param == "sqlite":
        made = SQLiteSessionStore(tmp_path / "sessions.db")
    else:
        url = request.getfixturevalue("redis_server").url
        made = RedisSessionStore(url, key_prefix=f"{uuid.uuid4()}:", timeout=20.0)
    with made:
        yield made


@pytest.fixture
def memory():
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def run(request):
    """Run one turn of an agent sync or async."""

    def sync(agent, text, config=CONFIG, **kwargs):
        return agent.invoke(given(text), config, **kwargs)

    def in_a_loop(agent, text, config=CONFIG, **kwargs):
        return asyncio.run(agent.ainvoke(given(text), config, **kwargs))

    return sync if request.param == "sync" else in_a_loop


def given(text):
    if isinstance(text, str):
        return {"messages": [("user", text)]}
    return {"messages": text if isinstance(text, list) else [text]}


def agent_of(store, *lines, tools=(), before=(), behind=(), window=None, **options):
    model = Scripted(lines=list(lines))
    middleware = [*before, SessionMiddleware(store, window=window), *behind]
    return create_agent(model, list(tools), middleware=middleware, **options), model


def words(messages):
    return [message.content for message in messages]


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


@tool
def fail() -> str:
    """Fail."""
    raise RuntimeError("broken")


# -- The main flows, over every store --------------------------------------------------------------


def test_a_turn_sees_the_turns_before_it_and_each_message_is_kept_once(store, run):
    agent, model = agent_of(store, calls("add", a=2), "three", "bye", tools=[add])
    first = run(agent, "2 + 1?")
    second = run(agent, "thanks")
    assert logged(store)[:4] == first["messages"]
    assert logged(store) == second["messages"] == [*model.shown[-1], second["messages"][-1]]
    assert log(store) == [
        ("user", "2 + 1?"),
        ("assistant", ["add"]),
        ("tool", "3"),
        ("assistant", "three"),
        ("user", "thanks"),
        ("assistant", "bye"),
    ]


def test_parallel_results_stand_in_the_order_of_their_calls(store, run):
    second_is_done = threading.Event()

    @tool
    def slow() -> str:
        """Wait for the other."""
        assert second_is_done.wait(20)
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
                seen.extend(log(store))
                second_is_done.set()
            return result

        async def awrap_tool_call(self, request, handler):
            result = await handler(request)
            if request.tool_call["name"] == "quick":
                seen.extend(await asyncio.to_thread(log, store))
                second_is_done.set()
            return result

    seen: list[Any] = []
    agent, _ = agent_of(
        store, calls("slow", "quick"), "done", tools=[slow, quick], before=[Watch()]
    )
    result = run(agent, "go")
    assert seen[-1] == ("tool", "quick"), "a result waits for its neighbour"
    assert log(store)[2:4] == [("tool", "slow"), ("tool", "quick")]
    assert logged(store) == result["messages"]


def test_a_tool_that_raises_loses_nothing_and_the_next_turn_goes_on(store, run):
    agent, model = agent_of(store, calls("add"), calls("fail"), "I am back.", tools=[add, fail])
    with pytest.raises(RuntimeError, match="broken"):
        run(agent, "go")
    assert log(store)[1:] == [("assistant", ["add"]), ("tool", "2"), ("assistant", ["fail"])]
    run(agent, "and now?")
    assert words(model.shown[-1]) == ["go", "", "2", "", INTERRUPTED, "and now?"]
    assert log(store)[4:] == [("user", "and now?"), ("assistant", "I am back.")]


def test_a_tool_that_raises_does_not_break_off_what_is_saved_beside_it():
    raised = asyncio.Event()

    class Slow(InMemorySessionStore):
        async def arun(self, operation):
            if saving.is_set():
                await asyncio.wait_for(raised.wait(), 20)
            return await super().arun(operation)

    @tool
    async def quick() -> str:
        """Be first."""
        saving.set()
        return "quick"

    @tool
    async def break_down() -> str:
        """Raise while the other's result is on its way to the store."""
        await asyncio.wait_for(saving.wait(), 20)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.1, raised.set)
        raise RuntimeError("broken")

    saving = asyncio.Event()
    store = Slow()
    agent, _ = agent_of(store, calls("quick", "break_down"), tools=[quick, break_down])
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(agent.ainvoke(given("go"), CONFIG))
    assert log(store)[2:] == [("tool", "quick")]


@pytest.mark.parametrize("given_id", ["m1", None])
def test_a_turn_whose_model_raised_is_tried_again_and_adds_nothing_twice(store, run, given_id):
    agent, model = agent_of(store, calls("add"), RuntimeError("overloaded"), "two", tools=[add])
    message = HumanMessage("1 + 1?", id=given_id)  # LangGraph gives it an id if it has none
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, message)
    assert log(store) == [("user", "1 + 1?"), ("assistant", ["add"]), ("tool", "2")]
    result = run(agent, message)
    assert words(model.shown[-1]) == ["1 + 1?", "", "2"], "what was done is not done again"
    assert log(store)[3:] == [("assistant", "two")]
    assert logged(store) == result["messages"]


def test_a_turn_that_was_answered_is_answered_the_same_when_it_is_sent_again(store, run):
    agent, model = agent_of(store, "one", calls("add"), "two", "three", tools=[add])
    run(agent, HumanMessage("1", id="m1"))
    second = run(agent, HumanMessage("2", id="m2"))
    assert run(agent, HumanMessage("2", id="m2"))["messages"] == second["messages"]
    assert words(run(agent, HumanMessage("1", id="m1"))["messages"]) == ["1", "one"]
    assert words(run(agent, second["messages"])["messages"]) == words(second["messages"])
    assert len(model.shown) == 3, "the model was asked again"
    assert logged(store) == second["messages"]
    run(agent, "3")
    assert words(logged(store)) == ["1", "one", "2", "", "2", "two", "3", "three"]


def test_a_turn_that_failed_before_another_is_tried_again_by_itself(memory, run):
    agent, model = agent_of(memory, RuntimeError("overloaded"), "two", "one")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, HumanMessage("1", id="m1"))
    run(agent, HumanMessage("2", id="m2"))
    run(agent, HumanMessage("1", id="m1"))
    assert words(model.shown[-1]) == ["1"]
    assert words(logged(memory)) == ["1", "2", "two", "one"]


def test_a_call_whose_arguments_were_no_json_is_closed_in_the_view(memory, run):
    refused = {"name": "add", "args": '{"a": ', "id": "c-bad", "error": None}
    bad = AIMessage("", invalid_tool_calls=[{**refused, "type": "invalid_tool_call"}])
    both = calls("add")
    both.invalid_tool_calls = bad.invalid_tool_calls
    agent, model = agent_of(memory, bad, both, "ok", tools=[add])
    run(agent, "1")
    kept = logged(memory)
    run(agent, "2")
    assert words(model.shown[1]) == ["1", "", NOT_RUN, "2"]
    assert Counter(words(model.shown[2])) == Counter(["1", "2", "2", "", "", NOT_RUN, NOT_RUN])
    assert logged(memory)[: len(kept)] == kept
    assert [m.invalid_tool_calls for m in logged(memory) if m.type == "ai"][:2] == [
        bad.invalid_tool_calls
    ] * 2


def test_another_users_session_is_refused_before_the_model_runs(store, run):
    agent, model = agent_of(store, "hi", "no")
    run(agent, "mine", {"configurable": {"session_id": "s", "user_id": "alice"}})
    with pytest.raises(SessionAccessError):
        run(agent, "x", {"configurable": {"session_id": "s", "user_id": "mallory"}})
    assert len(model.shown) == 1
    assert store.get("s").user_id == "alice"
    assert len(log(store)) == 2


def test_two_turns_at_once_are_both_kept_whole(store):
    both = threading.Barrier(2)

    def answer(messages):
        both.wait(20)
        return f"to {messages[-1].content}"

    agent, _ = agent_of(store, "zero", answer, answer)
    agent.invoke(given("0"), CONFIG)
    turns = [threading.Thread(target=agent.invoke, args=(given(t), CONFIG)) for t in "AB"]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    require_acceptable(logged(store))
    assert Counter(words(logged(store))) == Counter(["0", "zero", "A", "B", "to A", "to B"])


def test_two_turns_with_tools_at_once_on_one_event_loop_are_both_kept_whole(store):
    async def both():
        agent, _ = agent_of(store, *[answer] * 4, tools=[add])
        await asyncio.gather(*(agent.ainvoke(given(t), CONFIG) for t in "AB"))

    def answer(messages):
        if messages[-1].type == "tool":
            return "done"
        call = {"name": "add", "args": {}, "id": f"call-{messages[-1].content}"}
        return AIMessage("", tool_calls=[call])

    asyncio.run(both())
    said = log(store)
    assert Counter(map(str, said)) == Counter(
        map(
            str,
            [("user", "A"), ("user", "B"), ("tool", "2"), ("tool", "2")]
            + [("assistant", ["add"]), ("assistant", "done")] * 2,
        )
    )
    require_acceptable(to_langchain_messages(Window().load(store, "s")))


# -- What it costs ---------------------------------------------------------------------------------


def test_a_turn_costs_one_read_and_each_step_one_write(memory, run, monkeypatch):
    operations = watched(monkeypatch)
    agent, _ = agent_of(
        memory, calls("add", "add2"), calls("add"), "ok", tools=[add, tool("add2")(add.func)]
    )
    run(agent, "go")
    # What the user said, three answers, three results.
    asked = counted(operations)
    writes = asked[Append] + asked[ReplaceMessage]
    late = asked[ReplaceMessage]  # a result that overtook its neighbour took its place first
    assert (asked[Get], writes - late, late <= 1) == (1, 7, True)
    assert set(asked) <= {Get, Append, ReplaceMessage}


def test_a_turn_with_a_window_begins_in_one_step(memory, run, monkeypatch):
    operations = watched(monkeypatch)
    model = Scripted(lines=["one", "two"])
    sessions = SessionMiddleware(memory, window=Window(max_messages=20))
    agent = create_agent(model, middleware=[sessions])
    run(agent, "1")
    run(agent, "2")
    assert counted(operations) == {Several: 2, Append: 2}
    assert words(model.shown[-1]) == ["1", "one", "2"]
    assert words(logged(memory)) == ["1", "one", "2", "two"]


def test_a_view_whose_messages_are_replaced_between_two_pages_is_read_again(run):
    class Replaced(InMemorySessionStore):
        """Somebody else replaces all messages as the first page was read."""

        replaced = False

        def _after(self, operation):
            if isinstance(operation, Several) and not self.replaced:
                self.replaced = True
                said = [SessionMessage("user", "other"), SessionMessage("assistant", "answer")]
                InMemorySessionStore.run(self, Update("s", messages=said))

        def run(self, operation):
            result = super().run(operation)
            self._after(operation)
            return result

        async def arun(self, operation):
            result = await super().arun(operation)
            self._after(operation)
            return result

    store = Replaced()
    store.append_messages("s", [SessionMessage("user", "x" * 50) for _ in range(300)])
    window = Window(max_tokens=100_000, token_counter=len)
    model = Scripted(lines=["hello"])
    run(create_agent(model, middleware=[SessionMiddleware(store, window=window)]), "Hi!")
    assert words(model.shown[-1])[:2] == ["other", "answer"]


# -- Streams ---------------------------------------------------------------------------------------


def streamed(agent, text, stream_mode, mode):
    if mode == "sync":
        return list(agent.stream(given(text), CONFIG, stream_mode=stream_mode))

    async def chunks():
        return [c async for c in agent.astream(given(text), CONFIG, stream_mode=stream_mode)]

    return asyncio.run(chunks())


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_streams_show_what_is_new_and_save_it(memory, mode):
    agent, _ = agent_of(memory, "one two", calls("add"), "three four", tools=[add])
    agent.invoke(given("first"), CONFIG)
    pieces = streamed(agent, "second", "messages", mode)
    # LangChain streams an agent's model in asyncio from Python 3.11 on.
    whole = mode == "async" and sys.version_info < (3, 11)
    answer = ["three four"] if whole else ["three", " four"]
    assert [p.content for p, _ in pieces if p.content] == ["2", *answer]
    assert words(logged(memory)) == ["first", "one two", "second", "", "2", "three four"]
    shown = {piece.id for piece, _ in pieces}
    assert shown <= {message.id for message in memory.get_messages("s")}, "or RemoveMessage"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_values_hold_the_view_and_updates_hold_the_steps(memory, mode):
    agent, _ = agent_of(memory, "one", "two", "three")
    agent.invoke(given("first"), CONFIG)
    values = streamed(agent, "second", "values", mode)
    assert words(values[-1]["messages"]) == ["first", "one", "second", "two"]
    assert json.loads(json.dumps(asdict(values[-1]["session_turn"])))["session_id"] == "s"
    assert "two" not in repr(values[-1]["session_turn"])
    updates = streamed(agent, "third", "updates", mode)
    assert [next(iter(update)) for update in updates] == [
        "SessionMiddleware.before_agent",
        "model",
        "SessionMiddleware.after_agent",
    ]
    assert words(logged(memory)) == ["first", "one", "second", "two", "third", "three"]


# -- Whose session ---------------------------------------------------------------------------------


def test_without_a_session_nothing_runs(memory, run):
    agent, model = agent_of(memory, "hi")
    for config in ({}, {"configurable": {"user_id": "alice"}}):
        with pytest.raises(InvalidSessionError, match="session_id"):
            run(agent, "hi", config)
    with pytest.raises(InvalidSessionError, match="session_id is empty"):
        run(agent, "hi", {"configurable": {"session_id": ""}})
    assert not model.shown
    assert not memory.list_sessions().sessions


def test_session_id_takes_precedence_over_thread_id(memory, run):
    agent, _ = agent_of(memory, "a", "b")
    run(agent, "hi", {"configurable": {"thread_id": "t"}})
    run(agent, "hi", {"configurable": {"thread_id": "t", "session_id": "s"}})
    assert len(log(memory, "t")) == len(log(memory, "s")) == 2


@dataclass
class Context:
    session_id: str
    user_id: str


@pytest.mark.parametrize("kind", [dict, Context])
def test_the_runtime_context_may_name_session_and_user(memory, run, kind):
    agent, _ = agent_of(memory, "a", calls("add"), "b", tools=[add], context_schema=kind)
    run(agent, "hi", None, context=kind(session_id="s", user_id="alice"))
    run(agent, "ho", None, context=kind(session_id="s", user_id="alice"))
    assert (len(log(memory)), memory.get("s").user_id) == (6, "alice")
    with pytest.raises(SessionAccessError):
        run(agent, "hi", None, context=kind(session_id="s", user_id="mallory"))


@pytest.mark.parametrize("key", ["session_id", "user_id"])
def test_a_config_and_a_context_that_name_different_sessions_are_refused(memory, run, key):
    agent, model = agent_of(memory, "hi", "ho", context_schema=dict)
    here = {"session_id": "s", "user_id": "alice"}
    with pytest.raises(InvalidSessionError, match=f"each name another {key}"):
        run(agent, "x", {"configurable": here}, context={**here, key: "mallory"})
    assert not model.shown
    assert memory.get("s") is None
    run(agent, "x", {"configurable": here}, context=here)
    assert memory.get("s").user_id == "alice"


@pytest.mark.parametrize("config", [{"session_id": "s"}, {"session_id": "s", "userid": "bob"}])
def test_a_user_scoped_agent_refuses_a_call_without_a_user(memory, run, config):
    model = Scripted(lines=["hi", "ho"])
    sessions = SessionMiddleware(memory, user_scoped=True)
    agent = create_agent(model, middleware=[sessions], context_schema=dict)
    run(agent, "mine", {"configurable": {"session_id": "s", "user_id": "alice"}})
    with pytest.raises(InvalidSessionError, match=r'user_scoped: give it .*"user_id"'):
        run(agent, "whose?", {"configurable": config})
    with pytest.raises(SessionAccessError):
        run(agent, "whose?", {"configurable": {"session_id": "s", "user_id": "bob"}})
    assert len(model.shown) == 1
    assert words(logged(memory)) == ["mine", "hi"]
    run(agent, "mine", {"configurable": {"session_id": "s"}}, context={"user_id": "alice"})


def test_an_agent_in_a_tool_may_name_another_session_than_the_context_around_it(memory, run):
    sessions = SessionMiddleware(memory, user_scoped=True)
    inner = create_agent(Scripted(lines=["one"]), middleware=[sessions], context_schema=dict)

    @tool
    def ask() -> str:
        """Ask."""
        return run(inner, "q", {"configurable": {"session_id": "sub"}})["messages"][-1].content

    model = Scripted(lines=[calls("ask"), "ok"])
    outer = create_agent(model, [ask], middleware=[sessions], context_schema=dict)
    outer.invoke(given("go"), context={"session_id": "s", "user_id": "alice"})
    assert words(logged(memory)) == ["go", "", "one", "ok"]
    assert words(logged(memory, "sub")) == ["q", "one"]
    assert memory.get("sub").user_id == "alice"


def test_the_repr_shows_the_store(memory):
    assert repr(SessionMiddleware(memory)) == f"SessionMiddleware({memory!r})"


def test_a_new_session_gets_the_agents_name(memory, run):
    model = Scripted(lines=["hi"] * 3)
    for session_id, agent_id, name in [("a", "x", "y"), ("b", None, "y"), ("c", None, None)]:
        middleware = SessionMiddleware(memory, agent_id=agent_id)
        agent = create_agent(model, middleware=[middleware], name=name)
        run(agent, "hi", {"configurable": {"session_id": session_id}})
    assert [memory.get(s).agent_id for s in "abc"] == ["x", "y", "default"]


def test_invalid_arguments_of_the_middleware_are_refused():
    for wrong in ({"store": "sqlite:///x"}, {"store": InMemorySessionStore(), "window": 5}):
        with pytest.raises(TypeError):
            SessionMiddleware(**wrong)
    with pytest.raises(InvalidSessionError):
        SessionMiddleware(InMemorySessionStore(), agent_id="")


# -- Agents within agents --------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, {"configurable": {"session_id": "sub"}}])
def test_an_agent_in_a_tool_has_a_session_of_its_own(memory, run, config):
    inner, inner_model = agent_of(
        memory, calls("add"), "found", "found more", tools=[add], name="researcher"
    )

    @tool
    def ask(question: str) -> str:
        """Ask."""
        return inner.invoke(given(question), config)["messages"][-1].content

    @tool
    async def aask(question: str) -> str:
        """Ask."""
        return (await inner.ainvoke(given(question), config))["messages"][-1].content

    name = "ask" if "sync" in str(run) and "loop" not in str(run) else "aask"
    outer, _ = agent_of(
        memory, calls(name, question="q"), "ok", calls(name, question="r"), "ok", tools=[ask, aask]
    )
    alice = {"configurable": {"session_id": "s", "user_id": "alice"}}
    run(outer, "go", alice)
    run(outer, "again", alice)
    assert [role for role, _ in log(memory)] == ["user", "assistant", "tool", "assistant"] * 2
    results = [m for m in memory.get_messages("s") if m.role == "tool"]
    assert [m.content for m in results] == ["found", "found more"]
    first = [("user", "q"), ("assistant", ["add"]), ("tool", "2"), ("assistant", "found")]
    then = [("user", "r"), ("assistant", "found more")]
    if config:
        assert log(memory, "sub") == [*first, *then]
        assert words(inner_model.shown[-1]) == ["q", "", "2", "found", "r"]
        return
    sessions = [memory.get(f"{result.id}/researcher") for result in results]
    assert [log(memory, session.id) for session in sessions] == [first, then]
    assert {session.user_id for session in sessions} == {"alice"}
    assert {session.agent_id for session in sessions} == {"researcher"}


def test_an_agent_two_tools_deep_writes_to_neither_session_around_it(memory):
    def asking(agent):
        @tool
        async def ask() -> str:
            """Ask."""
            return (await agent.ainvoke(given("q")))["messages"][-1].content

        return ask

    deepest, _ = agent_of(memory, "deep", name="deepest")
    middle, _ = agent_of(memory, calls("ask"), "mid", tools=[asking(deepest)], name="middle")
    outer, _ = agent_of(memory, calls("ask"), "out", tools=[asking(middle)])
    asyncio.run(outer.ainvoke(given("go"), CONFIG))
    sessions = {s.agent_id: s for s in memory.list_sessions().sessions}
    assert {name: s.message_count for name, s in sessions.items()} == {
        "default": 4,
        "middle": 4,
        "deepest": 2,
    }


# -- Beside other middleware -----------------------------------------------------------------------


def both_orders(function):
    return pytest.mark.parametrize("place", ["before", "behind"])(function)


@both_orders
def test_a_message_replaced_in_the_state_is_replaced_in_the_log(memory, run, place):
    @after_model
    def redact(state, runtime):  # noqa: ARG001
        last = state["messages"][-1]
        if "secret" in str(last.content):
            return {"messages": [last.model_copy(update={"content": "[redacted]"})]}
        return None

    agent, _ = agent_of(memory, "a secret", **{place: [redact]})
    result = run(agent, "tell me")
    assert log(memory) == [("user", "tell me"), ("assistant", "[redacted]")]
    assert logged(memory) == result["messages"]


@both_orders
def test_a_summary_is_for_the_model_and_the_log_keeps_the_originals(memory, run, place):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 4), keep=("messages", 1)
    )
    agent, model = agent_of(
        memory, "a1", "a2", calls("add"), "a3", tools=[add], **{place: [summarize]}
    )
    for text in ("q1", "q2", "q3"):
        result = run(agent, text)
    assert "SUMMARY" in words(model.shown[-1])[0]
    assert words(result["messages"]) != words(logged(memory))
    assert words(logged(memory)) == ["q1", "a1", "q2", "a2", "q3", "", "2", "a3"]
    agent, model = agent_of(memory, "a4")
    run(agent, "q4")
    assert "SUMMARY" in words(model.shown[0])[0]
    assert words(model.shown[0])[1:] == ["", "2", "a3", "q4"]


@both_orders
def test_trimming_the_state_takes_nothing_from_the_log(memory, run, place):
    @before_model
    def trim(state, runtime):  # noqa: ARG001
        kept = [m for m in state["messages"] if m.type == "human"][-1:]
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *kept]}

    agent, model = agent_of(memory, "a1", calls("add"), "a2", tools=[add], **{place: [trim]})
    run(agent, "q1")
    run(agent, "q2")
    assert words(model.shown[-1]) == ["q2"]
    assert words(logged(memory)) == ["q1", "a1", "q2", "", "2", "a2"]


@both_orders
def test_what_other_middleware_says_at_the_end_is_kept(memory, run, place):
    agent, model = agent_of(memory, **{place: [before_model(can_jump_to=["end"])(stop_now)]})
    run(agent, "q1")
    assert not model.shown
    assert log(memory) == [("user", "q1"), ("assistant", "No more.")]


def stop_now(state, runtime):  # noqa: ARG001
    return {"messages": [AIMessage("No more.")], "jump_to": "end"}


@both_orders
def test_calls_blocked_by_a_limit_on_tool_calls_are_logged_with_their_results(memory, run, place):
    limit = ToolCallLimitMiddleware(run_limit=1, exit_behavior="continue")
    agent, _ = agent_of(
        memory, calls("add", "add2"), "ok", tools=[add, tool("add2")(add.func)], **{place: [limit]}
    )
    result = run(agent, "go")
    require_acceptable(logged(memory))
    assert Counter(words(logged(memory))) == Counter(words(result["messages"]))
    assert len(log(memory)) == 5


@both_orders
def test_a_model_that_is_retried_answers_once(memory, run, place):
    retry = ModelRetryMiddleware(initial_delay=0.0, jitter=False)
    agent, _ = agent_of(memory, RuntimeError("busy"), "hello", **{place: [retry]})
    run(agent, "hi")
    assert log(memory) == [("user", "hi"), ("assistant", "hello")]


class Answers(AgentMiddleware):
    """Answers the call of one tool itself."""

    def wrap_tool_call(self, request, handler):
        if request.tool_call["name"] == "fail":
            return ToolMessage("not today", tool_call_id=request.tool_call["id"], name="fail")
        return handler(request)

    async def awrap_tool_call(self, request, handler):
        if request.tool_call["name"] == "fail":
            return self.wrap_tool_call(request, handler)
        return await handler(request)


@both_orders
@pytest.mark.parametrize("names", [("fail", "add"), ("add", "fail")])
def test_a_result_that_other_middleware_gave_has_its_place_too(memory, run, place, names):
    agent, _ = agent_of(memory, calls(*names), "ok", tools=[add, fail], **{place: [Answers()]})
    result = run(agent, "go")
    require_acceptable(logged(memory))
    assert words(logged(memory)) == words(result["messages"])


# -- Tools and structured output -------------------------------------------------------------------


class Answer(BaseModel):
    """An answer."""

    value: int


@pytest.mark.parametrize("with_tool", [False, True])
def test_structured_output_made_by_a_tool_is_logged(memory, run, with_tool):
    lines = [calls("add"), calls("Answer", value=2)] if with_tool else [calls("Answer", value=2)]
    agent, _ = agent_of(
        memory,
        *lines,
        "bye",
        tools=[add] if with_tool else [],
        response_format=ToolStrategy(Answer),
    )
    result = run(agent, "go")
    assert result["structured_response"] == Answer(value=2)
    assert logged(memory) == result["messages"]
    assert len(log(memory)) == (5 if with_tool else 3)


def test_structured_output_that_is_tried_again_is_logged_with_each_try(memory, run):
    agent, _ = agent_of(
        memory,
        AIMessage("", tool_calls=[{"name": "Answer", "args": {"value": "x"}, "id": "1"}]),
        AIMessage("", tool_calls=[{"name": "Answer", "args": {"value": 3}, "id": "2"}]),
        response_format=ToolStrategy(Answer),
    )
    result = run(agent, "go")
    assert result["structured_response"] == Answer(value=3)
    assert logged(memory) == result["messages"]
    assert len(log(memory)) == 5


def test_structured_output_made_by_the_provider_is_logged(memory, run):
    agent, _ = agent_of(memory, '{"value": 4}', response_format=ProviderStrategy(Answer))
    result = run(agent, "go")
    assert result["structured_response"] == Answer(value=4)
    assert log(memory) == [("user", "go"), ("assistant", '{"value": 4}')]


def test_the_result_of_a_tool_that_returns_directly_ends_the_log(memory, run):
    direct = tool("direct", return_direct=True)(add.func)
    agent, model = agent_of(memory, calls("direct"), "bye", tools=[direct])
    run(agent, "go")
    assert log(memory)[-1] == ("tool", "2")
    run(agent, "thanks")
    assert words(model.shown[-1]) == ["go", "", "2", "thanks"]


def test_a_command_that_a_tool_returns_is_logged(memory, run):
    @tool
    def note(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Note."""
        said = [ToolMessage("noted", tool_call_id=tool_call_id), HumanMessage("go on")]
        return Command(update={"messages": said})

    agent, _ = agent_of(memory, calls("note"), "ok", tools=[note])
    result = run(agent, "go")
    assert words(logged(memory)) == ["go", "", "noted", "go on", "ok"]
    assert logged(memory) == result["messages"]


# -- The view --------------------------------------------------------------------------------------


def test_a_window_limits_what_a_turn_sees(memory, run):
    agent, model = agent_of(memory, *"abc", window=Window(max_messages=2))
    for text in "123":
        run(agent, text)
    assert words(model.shown[-1]) == ["2", "b", "3"]
    assert len(log(memory)) == 6


def test_system_messages_stand_in_front(memory, run):
    agent, model = agent_of(memory, "a", "b")
    for text in "12":
        run(agent, [SystemMessage("Be kind."), HumanMessage(text)])
    assert words(model.shown[-1]) == ["Be kind.", "1", "a", "2"]


def test_metadata_that_others_keep_with_a_message_stays(memory, run):
    kept = SessionMessage("user", "hello", id="1", metadata={"rating": 5}, extra={"x": {"y": 1}})
    memory.append_message("s", kept)
    agent, _ = agent_of(memory, "hi")
    run(agent, HumanMessage("hello", id="1"))
    assert memory.get_messages("s")[0] == kept
    assert log(memory) == [("user", "hello"), ("assistant", "hi")]


def test_messages_that_somebody_deletes_in_the_middle_stay_deleted(memory, run):
    @tool
    def forget() -> str:
        """Forget."""
        memory.update("s", messages=[])
        return "gone"

    agent, _ = agent_of(memory, calls("forget"), "ok", tools=[forget])
    run(agent, "go")
    assert log(memory) == [("tool", "gone"), ("assistant", "ok")]


def test_the_callers_messages_get_an_id_and_are_not_changed_otherwise(memory, run):
    agent, _ = agent_of(memory, "a", "b")
    run(agent, "q")
    message = HumanMessage("hello", name="al")
    run(agent, message)
    assert message == HumanMessage("hello", name="al", id=message.id)


# -- What it stands on -----------------------------------------------------------------------------

ALONE = """
    import sys
    import langchain_core.chat_history, langchain_core.runnables.history

    from langchain.agents import create_agent
    from langchain_core.language_models import FakeListChatModel

    del langchain_core.chat_history.BaseChatMessageHistory
    for name in [n for n in sys.modules if n.startswith("langchain_sessionstore")]:
        del sys.modules[name]
    sys.modules["langchain_core.runnables.history"] = None

    from langchain_sessionstore import SessionMiddleware
    from sessionstore import InMemorySessionStore

    store = InMemorySessionStore()
    model = FakeListChatModel(responses=["hi"])
    agent = create_agent(model, middleware=[SessionMiddleware(store)])
    agent.invoke({"messages": [("user", "hello")]}, {"configurable": {"session_id": "s"}})
    print(len(store.get_messages("s")), "langchain_sessionstore.history" in sys.modules)
"""


def test_the_middleware_uses_nothing_that_langchain_has_deprecated():
    with Children() as children:
        assert children.run(ALONE) == "2 False\n"


MISSING = """
    import sys

    sys.modules["langchain"] = None
    import langchain_sessionstore
    try:
        langchain_sessionstore.SessionMiddleware
    except ImportError as error:
        print(error)
"""


def test_without_langchain_the_import_error_says_what_to_install():
    with Children() as children:
        hint = "SessionMiddleware needs LangChain's agents: pip install 'langchain>=1.2.11'\n"
        assert children.run(MISSING) == hint
