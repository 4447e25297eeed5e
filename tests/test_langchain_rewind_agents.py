"""`rewind_to` in agents: the log is rewound in the step that saves what the user says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from faults import FaultyStore
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from llama_index_stores import opened
from scripted import Scripted, calls, watched

from langchain_sessionstore import SessionMiddleware, with_session_history
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionMessage,
    SessionNotFoundError,
    SQLiteSessionStore,
    StoreConnectionError,
    Window,
)
from sessionstore.operations import Append, GetMessages, ReplaceMessage, Rewind, Several


def config(to=None, user="alice", **others):
    return {"configurable": {"session_id": "s", "user_id": user, "rewind_to": to, **others}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request):
    with opened(request.param, request) as made:
        yield made


@pytest.fixture
def memory():
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(agent, given, how, **options):
        return agent.invoke(given, how, **options)

    def in_a_loop(agent, given, how, **options):
        return asyncio.run(agent.ainvoke(given, how, **options))

    return sync if request.param == "sync" else in_a_loop


def given(*texts, id=None):
    return {"messages": [HumanMessage(text, id=id) for text in texts]}


def words(messages):
    return [message.content for message in messages]


def logged(store, session="s"):
    return words(store.get_messages(session))


@tool
def add() -> str:
    """Add."""
    return "2"


def agent_of(store, *lines, tools=(add,), saver=None, behind=(), window=None, **options):
    model = Scripted(lines=list(lines))
    ours = SessionMiddleware(store, window=window)
    made = create_agent(
        model, list(tools), middleware=[ours, *behind], checkpointer=saver, **options
    )
    return made, model


def said(store, turns=3):
    """Have a conversation of q0, a0, q1, a1 … with those ids."""
    log = []
    for n in range(turns):
        log += [SessionMessage("user", f"q{n}", id=f"q{n}")]
        log += [SessionMessage("assistant", f"a{n}", id=f"a{n}")]
    store.append_messages("s", log, user_id="alice")


@pytest.mark.parametrize("window", [None, Window(max_messages=2)])
def test_a_turn_runs_as_if_nothing_came_after_the_message(store, run, window):
    said(store, 5)
    agent, model = agent_of(store, calls("add"), "new!", "newer!", "last!", window=window)
    result = run(agent, given("new?"), config("a1"))
    seen = ["q1", "a1"] if window else ["q0", "a0", "q1", "a1"]
    assert words(model.shown[0]) == [*seen, "new?"]
    assert words(result["messages"]) == [*seen, "new?", "", "2", "new!"]
    assert logged(store) == ["q0", "a0", "q1", "a1", "new?", "", "2", "new!"]
    run(agent, given("newer?"), config("a1"))
    assert words(model.shown[-1]) == [*seen, "newer?"]
    assert logged(store) == ["q0", "a0", "q1", "a1", "newer?", "newer!"]
    run(agent, given("last?"), config())
    assert logged(store)[-3:] == ["newer!", "last?", "last!"]


def test_a_message_is_edited_and_its_answer_made_again_by_its_own_id(store, run):
    said(store)
    agent, model = agent_of(store, "edited!", "again!", "and again!", "first!")
    for expected in ("edited!", "again!"):
        run(agent, given("edited?", id="q1"), config("q1"))
        assert logged(store) == ["q0", "a0", "edited?", expected]
    run(agent, {"messages": []}, config("q1"))
    assert logged(store) == ["q0", "a0", "edited?", "and again!"]
    assert [words(shown) for shown in model.shown] == [["q0", "a0", "edited?"]] * 3
    run(agent, given("first?", id="q0"), config("q0"))
    assert logged(store) == ["first?", "first!"]


@pytest.mark.parametrize(
    ("messages", "to", "kinds"),
    [
        (given("new?"), "a0", [Rewind, Append]),
        (given("one?", "two?"), "a0", [Rewind, Append]),
        (given("edited?", id="q1"), "q1", [Rewind, ReplaceMessage]),
        (given("q1", id="q1"), "q1", [Rewind]),
        ({"messages": []}, "q1", [Rewind]),
    ],
    ids=["new", "two", "edit", "again", "nothing"],
)
def test_the_log_is_rewound_in_the_step_that_saves_the_input(monkeypatch, run, messages, to, kinds):
    memory = InMemorySessionStore()
    said(memory)
    asked = []
    agent, _ = agent_of(memory, lambda _: asked.append(len(done)) or AIMessage("new!"))
    done = watched(monkeypatch)
    run(agent, messages, config(to))
    [first, answer] = [each for each in done if each.is_write]
    assert isinstance(first, Several)
    assert [type(each) for each in first.operations] == kinds
    assert type(answer) is Append
    assert done.index(first) < asked[0] <= done.index(answer)


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_turn_is_rewound_on_a_server(request, kind, run):
    with opened(kind, request) as store:
        said(store, 5)
        agent, model = agent_of(store, "new!", "edited!", window=Window(max_messages=4))
        run(agent, given("new?"), config("a1"))
        run(agent, given("edited?", id="q1"), config("q1"))
        assert [words(shown) for shown in model.shown] == [
            ["q0", "a0", "q1", "a1", "new?"],
            ["q0", "a0", "edited?"],
        ]
        assert logged(store) == ["q0", "a0", "edited?", "edited!"]


def test_a_model_that_raises_has_what_the_user_said_in_the_log(store, run):
    said(store)
    agent, model = agent_of(store, RuntimeError("overloaded"), "new!")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, given("new?", id="q9"), config("a0"))
    assert logged(store) == ["q0", "a0", "new?"]
    run(agent, given("new?", id="q9"), config())
    assert words(model.shown[-1]) == ["q0", "a0", "new?"]
    assert logged(store) == ["q0", "a0", "new?", "new!"]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (config("nowhere"), SessionNotFoundError),
        (config("q0", session_id="none"), SessionNotFoundError),
        (config(""), InvalidMessageError),
        (config(7), InvalidMessageError),
        (config("q0", user="mallory"), SessionAccessError),
    ],
    ids=repr,
)
def test_what_can_not_be_rewound_is_refused_before_anything_is_written(store, run, how, error):
    said(store)
    before = store.get("s")
    agent, model = agent_of(store)
    with pytest.raises(error):
        run(agent, given("new?"), how)
    assert not model.shown
    assert store.get("s") == before
    assert store.get("none") is None


def test_a_step_that_fails_leaves_the_log_whole(run):
    faulty = FaultyStore(InMemorySessionStore())
    said(faulty)
    before = faulty.get("s")

    def fail(_):
        raise StoreConnectionError("away")

    faulty.before[Several] = fail
    agent, model = agent_of(faulty)
    with pytest.raises(StoreConnectionError):
        run(agent, given("new?"), config("a0"))
    assert not model.shown
    assert faulty.get("s") == before


def test_what_others_write_as_a_turn_is_read_is_not_seen(run):
    faulty = FaultyStore(InMemorySessionStore())
    said(faulty)

    def others(read):
        if read.after:  # between this read and the next
            del faulty.before[GetMessages]
            other = [Rewind("s", "a0"), Append("s", [SessionMessage("user", "other", id="o")])]
            faulty.afterwards = lambda: faulty.inner.run(other)

    faulty.before[GetMessages] = others
    agent, model = agent_of(faulty, "new!")
    run(agent, given("new?"), config("a0"))
    assert words(model.shown[0]) == ["q0", "a0", "new?"]
    assert logged(faulty) == ["q0", "a0", "new?", "new!"]


@dataclass
class Context:
    """Names the turn."""

    session_id: str
    user_id: str
    rewind_to: str | None = None


def test_the_message_may_be_named_in_the_context(memory, run):
    said(memory)
    agent, _ = agent_of(memory, "new!", "newer!", context_schema=Context)
    run(agent, given("new?"), {}, context=Context("s", "alice", "a0"))
    assert logged(memory) == ["q0", "a0", "new?", "new!"]
    with pytest.raises(InvalidSessionError, match="rewind_to"):
        run(agent, given("?"), config("q0"), context=Context("s", "alice", "a0"))


# -- What runs within the turn --------------------------------------------------------------------


def test_what_remembers_in_a_tool_does_not_rewind(memory, run):
    """An agent and a chain in it inherit the config, and the rewind that is carried out."""
    said(memory)
    inner, inner_model = agent_of(memory, "deep")
    chain = with_session_history(RunnableLambda(lambda _: "chained"), memory)

    def own(config):
        return {"configurable": {**config["configurable"], "session_id": "chain"}}

    in_a_loop = run.__name__ == "in_a_loop"

    @tool
    def ask(config: RunnableConfig) -> str:
        """Ask."""
        chain.invoke("in", own(config))
        return inner.invoke(given("in"), config)["messages"][-1].content

    @tool
    async def aask(config: RunnableConfig) -> str:
        """Ask."""
        await chain.ainvoke("in", own(config))
        return (await inner.ainvoke(given("in"), config))["messages"][-1].content

    agent, _ = agent_of(memory, calls("aask" if in_a_loop else "ask"), "new!", tools=[ask, aask])
    run(agent, given("new?"), config("a0"))
    assert logged(memory) == ["q0", "a0", "new?", "", "deep", "new!"]
    assert logged(memory, "chain") == ["in", "chained"]
    assert words(inner_model.shown[0]) == ["in"]


# -- With a checkpointer --------------------------------------------------------------------------


def test_with_a_checkpointer_it_is_refused_and_leaves_nothing(memory, run):
    agent, model = agent_of(memory, "a0", "a1", saver=InMemorySaver())
    run(agent, given("q0", id="q0"), config(thread_id="s"))
    before = memory.get("s")
    for sent in (given("other?"), given("edited?", id="q0")):
        with pytest.raises(InvalidSessionError, match="by its checkpoint_id"):
            run(agent, sent, config("q0", thread_id="s"))
    assert memory.get("s") == before
    result = run(agent, given("q1", id="q1"), config(thread_id="s"))
    assert words(model.shown[-1]) == ["q0", "a0", "q1"]
    assert words(result["messages"]) == logged(memory) == ["q0", "a0", "q1", "a1"]


def test_a_turn_that_goes_on_after_a_pause_refuses_it_before_the_tool_runs(memory):
    ran = []

    @tool
    def pay() -> str:
        """Pay."""
        ran.append(1)
        return "paid"

    approval = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
    agent, _ = agent_of(
        memory, calls("pay"), "done", tools=[pay], saver=InMemorySaver(), behind=[approval]
    )
    agent.invoke(given("q0", id="q0"), config(thread_id="s"))
    approved = Command(resume={"decisions": [{"type": "approve"}]})
    with pytest.raises(InvalidSessionError, match="checkpointer"):
        agent.invoke(approved, config("q0", thread_id="s"))
    assert not ran
    agent.invoke(None, config(thread_id="s"))
    assert (ran, logged(memory)) == ([1], ["q0", "", "paid", "done"])


# -- In an outage ---------------------------------------------------------------------------------


def test_a_turn_is_rewound_in_an_outage_and_replayed(tmp_path, run):
    with SQLiteSessionStore(tmp_path / "sessions.db") as inner:
        primary = FaultyStore(inner)
        with FallbackSessionStore(primary, retry_after=0.001) as store:
            said(store)
            store.get_messages("s", user_id="alice")
            primary.go_down()
            agent, model = agent_of(store, "new!", calls("add"), "edited!")
            run(agent, given("new?", id="q9"), config("a0"))
            run(agent, given("edited?", id="q9"), config("q9"))
            assert words(model.shown[0]) == ["q0", "a0", "new?"]
            assert words(model.shown[1]) == ["q0", "a0", "edited?"]
            inner.append_message("s", SessionMessage("user", "others'", id="o"))
            primary.come_back()
            assert store.recover()
            left = [text for text in logged(inner) if text != "others'"]
            assert left == ["q0", "a0", "edited?", "", "2", "edited!"]
            assert "others'" in logged(inner)
