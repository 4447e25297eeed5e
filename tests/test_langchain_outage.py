"""Chains and agents go on while the store's primary is down, and it has all of it afterwards."""

import asyncio

import pytest
from faults import FaultyStore
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from scripted import CONFIG, Scripted, calls, log
from servers.process import free_port

from langchain_sessionstore import SessionMiddleware, SessionSaveError, with_session_history
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SQLiteSessionStore,
    StoreUnavailableError,
    Window,
)

USER = {"configurable": {"session_id": "s", "user_id": "alice"}}


@pytest.fixture
def primary(tmp_path):
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        yield FaultyStore(store)


@pytest.fixture
def store(primary):
    with FallbackSessionStore(primary, retry_after=0.001) as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(runnable, given, config=CONFIG):
        return runnable.invoke(given, config)

    def in_a_loop(runnable, given, config=CONFIG):
        return asyncio.run(runnable.ainvoke(given, config))

    return sync if request.param == "sync" else in_a_loop


def add() -> str:
    """Add."""
    return "2"


def said(text):
    return {"messages": [HumanMessage(text, id=f"m-{text}")]}


def agent_of(store, *lines):
    model = Scripted(lines=list(lines))
    return create_agent(model, [add], middleware=[SessionMiddleware(store)]), model


def words(messages):
    return [message.content for message in messages]


def test_an_agent_goes_on_in_an_outage_and_all_is_replayed(primary, store, run):
    agent, model = agent_of(store, "a1", calls("add"), "a2", "a3")
    run(agent, said("q1"), USER)
    primary.go_down()
    run(agent, said("q2"), USER)
    assert store.is_degraded()
    assert words(model.shown[1]) == ["q1", "a1", "q2"]
    assert len(primary.inner.get_messages("s")) == 2
    mallory = {"configurable": {"session_id": "s", "user_id": "mallory"}}
    with pytest.raises(StoreUnavailableError, match="the owner of this session is not known"):
        run(agent, said("x"), mallory)
    primary.fault = lambda: None
    assert store.recover()
    expected = ["q1", "a1", "q2", "", "2", "a2"]
    assert words(primary.inner.get_messages("s")) == expected
    assert primary.inner.get("s").user_id == "alice"
    run(agent, said("q3"), USER)
    assert words(primary.inner.get_messages("s")) == [*expected, "q3", "a3"]


@pytest.mark.parametrize("window", [None, Window(max_messages=100)], ids=["all", "a window"])
def test_an_agent_remembers_in_an_outage_what_was_said_before_it(primary, store, run, window):
    old = [SessionMessage(role, f"old {n}") for n in range(10) for role in ("user", "assistant")]
    primary.inner.append_messages("s", old, user_id="alice")
    model = Scripted(lines=["a1", "a2"])
    agent = create_agent(model, middleware=[SessionMiddleware(store, window=window)])
    run(agent, said("q1"), USER)
    primary.go_down()
    run(agent, said("q2"), USER)
    assert [len(shown) for shown in model.shown] == [21, 23]
    assert words(model.shown[-1])[-3:] == ["q1", "a1", "q2"]
    with pytest.raises((SessionAccessError, StoreUnavailableError)):  # a window tells no owner
        store.get("s", user_id="bob")


@pytest.mark.parametrize("tool_is_on", [True, False])
def test_an_outage_that_begins_or_ends_in_a_tool_loses_nothing(primary, store, run, tool_is_on):
    def turn() -> str:
        """Turn the primary."""
        primary.fault = (lambda: "down") if tool_is_on else (lambda: None)
        return "turned"

    model = Scripted(lines=[calls("turn"), "done"])
    agent = create_agent(model, [turn], middleware=[SessionMiddleware(store)])
    if not tool_is_on:
        primary.go_down()
    run(agent, said("go"))
    primary.fault = lambda: None
    assert store.recover()
    assert log(primary.inner) == [
        ("user", "go"),
        ("assistant", ["turn"]),
        ("tool", "turned"),
        ("assistant", "done"),
    ]


def test_a_write_whose_reply_is_lost_is_kept_once(primary, store, run):
    agent, _ = agent_of(store, calls("add"), "a1")
    primary.lose_answers()
    run(agent, said("q1"))
    primary.fault = lambda: None
    assert store.recover()
    assert words(primary.inner.get_messages("s")) == ["q1", "", "2", "a1"]


def test_a_chain_goes_on_in_an_outage_and_all_is_replayed(primary, store, run):
    count = RunnableLambda(lambda messages: f"{len(messages)} messages")
    chain = with_session_history(count, store, user_scoped=True)
    assert run(chain, "one", USER) == "1 messages"
    primary.go_down()
    assert run(chain, "two", USER) == "3 messages"
    assert "".join(chain.stream("three", USER)) == "5 messages"
    primary.fault = lambda: None
    assert store.recover()
    said = words(primary.inner.get_messages("s"))
    assert said == ["one", "1 messages", "two", "3 messages", "three", "5 messages"]


def test_an_agent_starts_while_its_primary_was_never_there(run):
    nobody = RedisSessionStore(f"redis://127.0.0.1:{free_port()}", timeout=2.0)
    with FallbackSessionStore(nobody, fallback=InMemorySessionStore()) as store:
        agent, model = agent_of(store, "a1", "a2")
        run(agent, said("q1"))
        run(agent, said("q2"))
        assert words(model.shown[-1]) == ["q1", "a1", "q2"]
        chain = with_session_history(RunnableLambda(lambda messages: str(len(messages))), store)
        assert run(chain, "q3") == "5"
        assert len(store.pending()) == 5


# -- Without a fallback ----------------------------------------------------------------------------

TURN = [("user", "go"), ("assistant", ["add"]), ("tool", "2"), ("assistant", "done")]


def on_its_own(primary, *lines, on_save_error=None, **options):
    sessions = SessionMiddleware(primary, on_save_error=on_save_error)
    return create_agent(Scripted(lines=list(lines)), [add], middleware=[sessions], **options)


@pytest.mark.parametrize("fault", ["down", "lost"])
@pytest.mark.parametrize("saved", [2, 3, 4])
def test_a_failed_save_of_an_answer_is_tried_again(primary, run, saved, fault):
    primary.script(*[None] * saved, fault)
    result = run(on_its_own(primary, calls("add"), "done"), said("go"))
    assert words(result["messages"]) == ["go", "", "2", "done"]
    assert log(primary.inner) == TURN


@pytest.mark.parametrize(
    ("saved", "answer"), [(2, ("ai", "")), (3, ("tool", "2")), (4, ("ai", "done"))]
)
def test_a_failed_save_gives_the_caller_the_answer(primary, run, saved, answer):
    primary.script(*[None] * saved, then="down")
    with pytest.raises(SessionSaveError, match="the store is down") as caught:
        run(on_its_own(primary, calls("add"), "done"), said("go"))
    assert (caught.value.answer.type, caught.value.answer.content) == answer
    assert caught.value.input_saved
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    assert log(primary.inner) == TURN[: saved - 1]


@pytest.mark.parametrize("saved", [0, 1])
def test_a_failure_before_anything_ran_raises_the_stores_own_error(primary, run, saved):
    failures = []
    agent = on_its_own(primary, "done", on_save_error=failures.append)
    primary.script(*[None] * saved, then="down")
    with pytest.raises(StoreUnavailableError):
        run(agent, said("go"))
    assert failures == []


def test_with_on_save_error_an_agent_goes_on_to_its_end(primary, run):
    failures = []
    agent = on_its_own(primary, calls("add"), "done", on_save_error=failures.append)
    primary.script(None, None, then="down")
    assert words(run(agent, said("go"))["messages"]) == ["go", "", "2", "done"]
    assert [failure.answer.content for failure in failures] == ["", "2", "done", "done"]
    assert log(primary.inner) == TURN[:1]


@pytest.mark.parametrize("faults", range(2, 10))
@pytest.mark.parametrize("saved", [2, 3, 4])
def test_what_could_not_be_saved_is_saved_by_a_later_step(primary, run, saved, faults):
    failures = []
    agent = on_its_own(primary, calls("add"), "done", on_save_error=failures.append)
    primary.script(*[None] * saved, *["down"] * faults)
    run(agent, said("go"))
    assert failures
    reported_at_the_end = len(failures) > 1 and failures[-1].answer is failures[-2].answer
    assert log(primary.inner) == (TURN[: saved - 1] if reported_at_the_end else TURN)


@pytest.mark.parametrize("saved", [1, 2, 3])
def test_with_a_checkpointer_the_next_turn_saves_what_could_not_be_saved(primary, run, saved):
    failures = []
    agent = on_its_own(
        primary,
        *(calls("add"), "done", "welcome"),
        on_save_error=failures.append,
        checkpointer=InMemorySaver(),
    )
    primary.script(None, *[None] * saved, then="down")  # the view is read first
    thread = {"configurable": {"thread_id": "s"}}
    run(agent, said("go"), thread)
    assert failures
    primary.come_back()
    run(agent, said("thanks"), thread)
    assert log(primary.inner) == [*TURN, ("user", "thanks"), ("assistant", "welcome")]


@pytest.mark.parametrize("begins_before", [True, False])
def test_a_tool_that_runs_beside_a_failed_save_does_not_hide_it(primary, begins_before):
    a_failed = asyncio.Event()
    failures = []

    def report(failure):
        failures.append(failure)
        primary.come_back()
        a_failed.set()

    async def a() -> str:
        """Give what is not saved."""
        primary.go_down()
        return "A"

    async def b() -> str:
        """Be saved after that, in a state without A."""
        await a_failed.wait()
        return "B"

    class Away(AgentMiddleware):
        """Takes the store away before the next step."""

        async def abefore_model(self, state, runtime):  # noqa: ARG002
            if state["messages"][-1].content == "B":
                primary.script("down", "down")

        async def awrap_tool_call(self, request, handler):
            if request.tool_call["name"] == "b" and not begins_before:
                await a_failed.wait()
            return await handler(request)

    sessions = SessionMiddleware(primary, on_save_error=report)
    model = Scripted(lines=[calls("a", "b"), "done"])
    agent = create_agent(model, [a, b], middleware=[Away(), sessions])
    state = asyncio.run(agent.ainvoke(said("go"), USER))
    assert words(state["messages"]) == ["go", "", "A", "B", "done"]
    assert [failure.answer.content for failure in failures] == ["A"]
    assert words(primary.inner.get_messages("s")) == ["go", "", "A", "B", "done"]


class Redacts(AgentMiddleware):
    """Changes what a tool gave, while the store is away."""

    def __init__(self, store):
        self.store = store

    def before_model(self, state, runtime):  # noqa: ARG002
        last = state["messages"][-1]
        if last.type != "tool" or last.content == "*":
            return None
        self.store.go_down()
        return {"messages": [last.model_copy(update={"content": "*"})]}


def test_a_change_that_can_not_be_saved_after_a_tool_ran_is_reported(primary, run):
    failures = []

    def report(failure):
        failures.append(failure.answer.content)
        primary.come_back()

    sessions = SessionMiddleware(primary, on_save_error=report)
    model = Scripted(lines=[calls("add"), "done"])
    agent = create_agent(model, [add], middleware=[sessions, Redacts(primary)])
    assert words(run(agent, said("go"))["messages"]) == ["go", "", "*", "done"]
    assert failures == ["*"]
    assert words(primary.inner.get_messages("s")) == ["go", "", "*", "done"]


def test_a_change_that_can_not_be_saved_after_a_tool_ran_ends_the_turn_with_it(primary, run):
    model = Scripted(lines=[calls("add"), "done"])
    sessions = SessionMiddleware(primary)
    agent = create_agent(model, [add], middleware=[sessions, Redacts(primary)])
    with pytest.raises(SessionSaveError, match="the store is down") as caught:
        run(agent, said("go"))
    assert caught.value.answer.content == "*"
    assert isinstance(caught.value.__cause__, StoreUnavailableError)


def test_on_save_error_is_a_plain_function(primary):
    async def report(_):
        """Nobody would await this."""

    with pytest.raises(TypeError, match="plain function"):
        SessionMiddleware(primary, on_save_error=report)
