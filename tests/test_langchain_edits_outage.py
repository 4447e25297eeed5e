"""An edit while the store's primary is down, and one whose write's answer is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from faults import FaultyStore
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Scripted, calls

from langchain_sessionstore import SessionMiddleware, with_session_history
from sessionstore import (
    FallbackSessionStore,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
)

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s", "user_id": "alice"}}


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
    def sync(runnable, given):
        return runnable.invoke(given, CONFIG)

    def in_a_loop(runnable, given):
        return asyncio.run(runnable.ainvoke(given, CONFIG))

    return sync if request.param == "sync" else in_a_loop


def add() -> str:
    """Add."""
    return "2"


def human(text, id):
    return HumanMessage(text, id=id)


def agent_of(store, saver, *lines):
    """Give what takes one message, and answers with its lines."""
    model = Scripted(lines=list(lines))
    agent = create_agent(model, [add], middleware=[SessionMiddleware(store)], checkpointer=saver)
    return RunnableLambda(lambda message: {"messages": [message]}) | agent


def chain_of(store, _, *lines):
    answers = iter(lines)
    chain = with_session_history(RunnableLambda(lambda _: next(answers)), store)
    return RunnableLambda(lambda message: [message]) | chain


def words(store):
    return [message.content for message in store.get_messages("s")]


makers = pytest.mark.parametrize(
    ("make", "saver"),
    [(agent_of, None), (agent_of, InMemorySaver), (chain_of, None)],
    ids=["agent", "checkpointed", "chain"],
)


@makers
def test_an_edit_in_an_outage_is_replayed_in_order(primary, store, run, make, saver):
    first = calls("add") if make is agent_of else "a0"
    lines = [first, "a1", "a2", "a1'", "a3"] if make is agent_of else ["a1", "a2", "a2'", "a3"]
    runnable = make(store, saver and saver(), *lines)
    run(runnable, human("q1", "m1"))
    run(runnable, human("q2", "m2"))
    primary.go_down()
    run(runnable, human("q2'", "m2"))
    assert store.is_degraded()
    kept = ["q1", "", "2", "a1"] if make is agent_of else ["q1", "a1"]
    answer = "a1'" if make is agent_of else "a2'"
    assert words(store) == [*kept, "q2'", answer]
    assert words(primary.inner) == [*kept, "q2", "a2"]
    primary.fault = lambda: None
    assert store.recover()
    assert words(primary.inner) == [*kept, "q2'", answer]
    run(runnable, human("q3", "m3"))
    assert words(primary.inner) == [*kept, "q2'", answer, "q3", "a3"]


@makers
def test_an_edit_of_an_earlier_turn_in_an_outage_is_replayed(primary, store, run, make, saver):
    runnable = make(store, saver and saver(), "a1", "a2", "a1'")
    run(runnable, human("q1", "m1"))
    run(runnable, human("q2", "m2"))
    primary.go_down()
    run(runnable, human("q1'", "m1"))
    primary.fault = lambda: None
    assert store.recover()
    assert words(primary.inner) == ["q1'", "a1", "q2", "a2", "a1'"]


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["alone", "checkpointed"])
@pytest.mark.parametrize("fault", ["down", "lost"])
@pytest.mark.parametrize("fails_at", range(5))
def test_an_edit_that_broke_off_is_finished_when_it_is_sent_again(
    primary, run, saver, fails_at, fault
):
    """Without a fallback, whichever of its calls to the store took effect or not."""
    answers = ["new 1", "new 2", "new 3"]
    runnable = agent_of(primary, saver and saver(), "old", *answers)
    run(runnable, human("q1", "m1"))
    primary.script(*[None] * fails_at, fault, "down")
    for _ in range(3):
        with suppress(SessionStoreError):
            result = run(runnable, human("q1'", "m1"))
            break
    question, *rest = words(primary.inner)
    assert question == "q1'"
    assert set(rest) <= set(answers), "the old answer is there"
    assert rest[-1] == result["messages"][-1].content
    assert len(rest) == 1 or (saver and fault == "lost"), "the checkpointer knows nothing of it"


@makers
def test_an_edit_succeeds_while_others_delete_what_it_reads(primary, run, make, saver):
    """What a page of the log goes on from is deleted before the next page is read."""
    runnable = make(primary, saver and saver(), "a1", "a1'")
    run(runnable, human("q1", "m1"))
    more = [SessionMessage("user", "more", id=f"x{n}") for n in range(60)]
    primary.append_messages("s", more)

    def look_out():
        log = primary.inner.get_messages("s")
        if log[0].content == "q1" and len(log) > 50 and primary.requests > 1:
            primary.inner.delete_messages("s", [log[-50].id])

    primary.requests = 0
    primary.fault = look_out
    run(runnable, human("q1'", "m1"))
    assert words(primary.inner)[:2] == ["q1'", "a1"]
    assert words(primary.inner)[-1] == "a1'"
