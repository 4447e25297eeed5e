"""Turns of an agent in one session at once: the lease goes from hook to hook, and over a pause."""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any

import pytest
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
)
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, interrupt
from scripted import Scripted, calls, log, watched
from turns import PATIENCE

from langchain_sessionstore import (
    SessionMiddleware,
    SessionSaveError,
    TurnSupersededError,
    with_session_history,
)
from langchain_sessionstore.leases import renewed as lease_of_turns
from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    OutageError,
    SessionLeasedError,
    SessionStore,
)
from sessionstore.operations import AcquireLease, RenewLease
from sessionstore.testing import FlakySessionStore
from sessionstore.testing.waiting import wait_until

CONFIG: Any = {"configurable": {"session_id": "s", "thread_id": "s"}}
OUTAGE = OutageError("it is away")

Run = Callable[..., Any]


@pytest.fixture
def store() -> SessionStore:
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(mode: str) -> Run:
    if mode == "sync":
        return lambda agent, given: agent.invoke(given, CONFIG)
    return lambda agent, given: asyncio.run(agent.ainvoke(given, CONFIG))


@pytest.fixture
def _pausing(mode: str) -> None:
    require_interrupts(in_asyncio=mode == "async")


@pytest.fixture
def _renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease lasts as long as ever, so that a slow machine loses none."""
    monkeypatch.setattr(lease_of_turns, "_RENEWED_EACH", 1 / 3000)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not is_renewing())


def is_renewing() -> bool:
    return any(thread.name == "sessionstore-renewals" for thread in threading.enumerate())


def is_quiet(store: SessionStore) -> bool:
    """Tell whether no lease is renewed just now."""
    before = store.stats().operations.get("RenewLease")
    threading.Event().wait(0.1)
    return store.stats().operations.get("RenewLease") == before


def is_free(store: SessionStore) -> bool:
    try:
        with store.lease("s"):
            return True
    except SessionLeasedError:
        return False


def lose(store: SessionStore) -> None:
    store.lease("s", take_over=True).__enter__()


def said(text: str) -> Any:
    return {"messages": [("user", text)]}


def words_of(store: SessionStore) -> list[Any]:
    return [message.content for message in store.get_messages("s")]


def last(turn: Any) -> str:
    return str(turn["messages"][-1].content)


def agent_of(
    store: SessionStore,
    *lines: Any,
    tools: Any = (),
    behind: Any = (),
    before: Any = (),
    turns: Any = "reject",
    **options: Any,
) -> Any:
    kept = {key: options.pop(key) for key in ("on_save_error", "turn_wait") if key in options}
    memory = SessionMiddleware(store, concurrent_turns=turns, **kept)
    model = Scripted(lines=list(lines))
    return create_agent(model, list(tools), middleware=[*before, memory, *behind], **options)


def pausing_agent(store: SessionStore, saver: Any, *lines: Any, **options: Any) -> Any:
    approval = HumanInTheLoopMiddleware(interrupt_on={"send": True})
    return agent_of(store, *lines, tools=[send], behind=[approval], checkpointer=saver, **options)


def approve(*_: Any) -> Command[Any]:
    return Command(resume={"decisions": [{"type": "approve"}]})


@tool
def send(to: str = "bob") -> str:
    """Send."""
    return f"sent to {to}"


class Held:
    """An answer of a model that comes when it may."""

    def __init__(self) -> None:
        self.runs, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, _: Any) -> str:
        self.runs.set()
        assert self.may_go_on.wait(PATIENCE)
        return "first"


def test_a_turn_waits_for_the_one_before_it(run: Run, store: SessionStore) -> None:
    held = Held()
    first = agent_of(store, held, turns="wait")
    second = agent_of(store, lambda messages: f"{len(messages)} messages", turns="wait")
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run, first, said("one"))
        assert held.runs.wait(PATIENCE)
        two = pool.submit(run, second, said("two"))
        wait_until(lambda: "SessionLeasedError" in store.stats().errors)
        assert log(store) == [("user", "one")]
        held.may_go_on.set()
        assert (last(one.result()), last(two.result())) == ("first", "3 messages")
    assert [content for _, content in log(store)] == ["one", "first", "two", "3 messages"]
    assert is_free(store)


@pytest.mark.parametrize("terms", [{"turn_wait": 0.05, "turns": "wait"}, {"turns": "reject"}])
def test_a_turn_beside_another_is_refused_before_anything_runs(
    run: Run, store: SessionStore, terms: Any
) -> None:
    agent = agent_of(store, "one", **terms)
    with store.lease("s"), pytest.raises(SessionLeasedError) as refused:
        run(agent, said("hi"))
    assert refused.value.seconds_left
    assert log(store) == []
    assert last(run(agent, said("hi"))) == "one"
    assert is_free(store)


def test_nothing_is_saved_of_what_follows_a_lost_lease(run: Run, store: SessionStore) -> None:
    def overtaken(_: Any) -> str:
        lose(store)
        return "late"

    agent = agent_of(store, overtaken)
    with pytest.raises(TurnSupersededError, match="superseded") as superseded:
        run(agent, said("hi"))
    assert superseded.value.answer.content == "late"
    assert superseded.value.input_saved
    assert log(store) == [("user", "hi")]


def test_a_tools_result_is_not_saved_after_a_lost_lease(run: Run, store: SessionStore) -> None:
    @tool
    def slow() -> str:
        """Take long."""
        lose(store)
        return "done"

    errors: list[SessionSaveError] = []
    agent = agent_of(store, calls("slow"), "end", tools=[slow], on_save_error=errors.append)
    assert last(run(agent, said("hi"))) == "end"
    assert {type(error) for error in errors} == {TurnSupersededError}
    assert log(store) == [("user", "hi"), ("assistant", ["slow"])]


def test_what_fails_gives_the_lease_back(run: Run, store: SessionStore) -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise KeyError

    for line in (ValueError("no"), calls("fail")):
        with pytest.raises((ValueError, KeyError)):
            run(agent_of(store, line, tools=[fail]), said("hi"))
        assert is_free(store)


@pytest.mark.parametrize("begins", ["before", "after"])
def test_a_tool_that_fails_leaves_the_lease_to_those_beside_it(
    store: SessionStore, begins: str
) -> None:
    has_begun, failed = threading.Event(), threading.Event()

    @tool
    def fail() -> str:
        """Fail."""
        if begins == "before":
            assert has_begun.wait(PATIENCE)
        raise KeyError

    @tool
    def slow() -> str:
        """Take long."""
        has_begun.set()
        assert failed.wait(PATIENCE)
        return "done"

    class InFront(AgentMiddleware[Any, Any]):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            if request.tool_call["name"] == "slow" and begins == "after":
                wait_until(lambda: is_free(store))
            try:
                return handler(request)
            except KeyError:
                failed.set()
                raise

    agent = agent_of(store, calls("slow", "fail"), tools=[slow, fail], before=[InFront()])
    with pytest.raises(KeyError):
        agent.invoke(said("hi"), CONFIG)
    wait_until(lambda: ("tool", "done") in log(store))
    wait_until(lambda: is_free(store))


def test_what_tries_again_takes_the_lease_again(run: Run, store: SessionStore) -> None:
    again = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    agent = agent_of(store, ValueError("no"), "yes", before=[again])
    assert last(run(agent, said("hi"))) == "yes"
    assert log(store) == [("user", "hi"), ("assistant", "yes")]
    assert is_free(store)


@pytest.mark.usefixtures("_renewed_often")
def test_a_lease_is_renewed_while_a_model_or_a_tool_runs(
    run: Run, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = watched(monkeypatch)

    def until_renewed(*_: Any) -> Any:
        del given[:]
        wait_until(lambda: [type(each) for each in given].count(RenewLease) > 2)

    @tool
    def slow() -> str:
        """Take long."""
        until_renewed()
        return "done"

    class Behind(AgentMiddleware[Any, Any]):
        def before_model(self, *_: Any) -> None:
            wait_until(lambda: is_quiet(store))

    agent = agent_of(
        store,
        lambda messages: until_renewed(messages) or calls("slow"),
        "end",
        tools=[slow],
        behind=[Behind()],
    )
    assert last(run(agent, said("hi"))) == "end"
    assert is_free(store)


@pytest.mark.usefixtures("_renewed_often")
def test_a_lease_that_was_lost_between_two_steps_is_noticed_before_the_next(
    run: Run, store: SessionStore
) -> None:
    class Behind(AgentMiddleware[Any, Any]):
        def after_model(self, *_: Any) -> None:
            wait_until(lambda: is_quiet(store))
            lose(store)
            threading.Event().wait(0.03)  # so that a renewal is due

    agent = agent_of(store, calls("send"), tools=[send], behind=[Behind()])
    with pytest.raises(SessionLeasedError):
        run(agent, said("hi"))
    assert log(store) == [("user", "hi"), ("assistant", ["send"])]


@pytest.mark.parametrize("end", ["left", "too many steps", "a hook that raises"])
def test_who_ends_between_two_steps_holds_no_lease(
    mode: str, store: SessionStore, end: str
) -> None:
    class Behind(AgentMiddleware[Any, Any]):
        def after_model(self, *_: Any) -> None:
            if end == "a hook that raises":
                raise KeyError

    agent = agent_of(store, *9 * [calls("send")], tools=[send], behind=[Behind()])
    config = {**CONFIG, "recursion_limit": 6}

    def turn() -> None:
        chunks = agent.stream(said("hi"), config, stream_mode="updates")
        with suppress(KeyError, GraphRecursionError):
            for _ in chunks:
                if end == "left":
                    return

    async def aturn() -> None:
        chunks = agent.astream(said("hi"), config, stream_mode="updates")
        with suppress(KeyError, GraphRecursionError):
            async with aclosing(chunks):
                async for _ in chunks:
                    if end == "left":
                        return

    if mode == "sync":
        turn()
    else:
        asyncio.run(aturn())
    gc.collect()
    wait_until(lambda: is_free(store))


# -- Over a pause ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_pausing")
def test_a_turn_that_goes_on_takes_its_own_lease_over(run: Run, store: SessionStore) -> None:
    saver = InMemorySaver()
    agent = pausing_agent(store, saver, calls("send"), "sent")
    run(agent, said("send it"))
    assert not is_free(store)
    assert last(run(agent, approve())) == "sent"
    assert log(store)[-1] == ("assistant", "sent")
    assert is_free(store)


@pytest.mark.usefixtures("_pausing")
def test_a_turn_goes_on_in_another_process_and_only_once(run: Run, store: SessionStore) -> None:
    saver, held = InMemorySaver(), Held()
    run(pausing_agent(store, saver, calls("send")), said("send it"))
    others = [pausing_agent(store, saver, line) for line in (held, "second")]
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(run, others[0], approve())
        assert held.runs.wait(PATIENCE)
        with pytest.raises(SessionLeasedError):
            run(agent_of(store, "beside"), said("meanwhile"))
        with pytest.raises(SessionLeasedError):
            run(others[1], approve())
        held.may_go_on.set()
        assert last(one.result()) == "first"
    assert log(store)[-1] == ("assistant", "first")
    assert is_free(store)


@pytest.mark.usefixtures("_pausing")
def test_tools_that_go_on_at_once_after_a_pause_share_the_lease(
    run: Run, store: SessionStore
) -> None:
    both = threading.Barrier(2)

    @tool
    def ask(what: str) -> str:
        """Ask."""
        answer = interrupt(what)
        both.wait(PATIENCE)
        return f"{what}: {answer}"

    two: Any = calls("ask", "ask")
    two.tool_calls[0].update(id="c-1", args={"what": "a"})
    two.tool_calls[1].update(id="c-2", args={"what": "b"})
    saver = InMemorySaver()
    agent = agent_of(store, two, "end", tools=[ask], checkpointer=saver)
    paused = agent.invoke(said("hi"), CONFIG)
    assert is_free(store)  # a tool's pause is seen
    answers = {one.id: "yes" for one in paused["__interrupt__"]}
    if run(agent, Command(resume=answers))["messages"][-1].content == "end":
        assert ("tool", "a: yes") in log(store)
    assert is_free(store)


@pytest.mark.usefixtures("_pausing")
def test_who_says_something_new_instead_is_not_locked_out(run: Run, store: SessionStore) -> None:
    saver = InMemorySaver()
    agent = pausing_agent(store, saver, calls("send"), "never mind", "more")
    run(agent, said("send it"))
    assert not is_free(store)
    assert last(run(agent, said("leave it"))) == "never mind"
    assert last(run(agent, said("go on"))) == "more"
    assert is_free(store)


def test_who_fails_outside_of_a_step_does_not_lock_the_thread(
    run: Run, store: SessionStore
) -> None:
    class Behind(AgentMiddleware[Any, Any]):
        fails = True

        def before_model(self, *_: Any) -> None:
            if self.fails:
                raise KeyError

    behind = Behind()
    agent = agent_of(store, "yes", behind=[behind], checkpointer=InMemorySaver())
    with pytest.raises(KeyError):
        run(agent, said("hi"))
    assert not is_free(store)
    behind.fails = False
    assert last(run(agent, said("hi"))) == "yes"


def test_a_turn_on_a_thread_that_runs_waits_or_is_refused(run: Run, store: SessionStore) -> None:
    saver, held = InMemorySaver(), Held()
    refused, waiting = (
        agent_of(store, "second", "third", tools=[send], checkpointer=saver, turns=turns)
        for turns in ("reject", "wait")
    )
    first = agent_of(store, "zero", calls("send"), held, tools=[send], checkpointer=saver)
    run(first, said("nothing"))
    again = {"messages": [HumanMessage("two", id="q2")]}  # LangGraph keeps what was refused, too
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run, first, said("one"))
        assert held.runs.wait(PATIENCE)
        for _ in range(2):  # one that was refused is not taken for the turn that runs
            with pytest.raises(SessionLeasedError):
                run(refused, again)
        errors = store.stats().errors["SessionLeasedError"]
        two = pool.submit(run, waiting, again)
        wait_until(lambda: store.stats().errors["SessionLeasedError"] > errors)
        held.may_go_on.set()
        assert last(one.result()) == "first"
        words = [message.content for message in two.result()["messages"]]
    whole = ["nothing", "zero", "one", "", "sent to bob", "first", "two", "second"]
    assert words == whole
    assert words_of(store) == whole
    words = [message.content for message in run(waiting, said("more"))["messages"]]
    assert words == [*whole, "more", "third"]
    assert words_of(store) == words
    assert is_free(store)


def test_a_turn_that_waited_sees_what_a_chain_said(run: Run, store: SessionStore) -> None:
    agent = agent_of(store, "one", "two", checkpointer=InMemorySaver(), turns="wait")
    run(agent, said("first"))
    held = Held()
    chain = with_session_history(Scripted(lines=[held]), store, concurrent_turns="wait")
    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(chain.invoke, "beside", CONFIG)
        assert held.runs.wait(PATIENCE)
        turn = pool.submit(run, agent, said("second"))
        wait_until(lambda: "SessionLeasedError" in store.stats().errors)
        held.may_go_on.set()
        beside.result()
        words = [message.content for message in turn.result()["messages"]]
    assert words == ["first", "one", "beside", "first", "second", "two"]
    assert words_of(store) == words


# -- Turns within turns ----------------------------------------------------------------------------


@pytest.mark.parametrize("turns", ["wait", "reject"])
def test_a_chain_and_an_agent_within_each_other_are_one_turn(
    run: Run, store: SessionStore, turns: Any
) -> None:
    @tool
    def ask() -> str:
        """Ask a chain that remembers in the same session."""
        chain = with_session_history(Scripted(lines=["inner"]), store, concurrent_turns=turns)
        return str(chain.invoke("in", CONFIG).content)

    agent = agent_of(store, calls("ask"), "end", tools=[ask], turns=turns)
    chain = with_session_history(
        agent,
        store,
        concurrent_turns=turns,
        input_messages_key="messages",
        output_messages_key="messages",
    )
    assert last(run(chain, said("hi"))) == "end"
    assert ("assistant", "inner") in log(store)
    assert ("tool", "inner") in log(store)
    assert is_free(store)


# -- What can't be ---------------------------------------------------------------------------------


def test_in_an_outage_no_turn_has_a_lease(run: Run) -> None:
    store = FlakySessionStore()
    store.fail_next(None, error=OUTAGE, on=AcquireLease)
    with pytest.raises(OutageError):
        run(agent_of(store, "one"), said("hi"))
    assert log(store) == []


def test_turns_that_need_no_lease_ask_for_none(
    run: Run, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_of(store, "one", turns="interleave", checkpointer=InMemorySaver())
    with store.lease("s"):
        given = watched(monkeypatch)
        state = run(agent, said("hi"))
        assert not {AcquireLease, RenewLease} & set(map(type, given))
    assert "session_lease" not in agent.get_state(CONFIG).values
    assert state["messages"]


def test_an_agents_state_can_be_copied_while_its_turn_runs(store: SessionStore) -> None:
    class Behind(AgentMiddleware[Any, Any]):
        def before_model(self, state: Any, *_: Any) -> None:
            copy.deepcopy(state)

    agent = agent_of(store, "one", behind=[Behind()])
    assert last(agent.invoke(said("hi"), CONFIG)) == "one"


@pytest.mark.parametrize("turns", ["supersede", "queue", None])
def test_agents_supersede_nothing(store: SessionStore, turns: Any) -> None:
    with pytest.raises(InvalidSessionError, match="concurrent_turns"):
        SessionMiddleware(store, concurrent_turns=turns)
    with pytest.raises(InvalidSessionError, match="turn_wait"):
        SessionMiddleware(store, turn_wait=-1)
