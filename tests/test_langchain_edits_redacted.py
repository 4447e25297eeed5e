"""A retry of what middleware redacted or added to since is no edit, and what an edit spares."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    PIIMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, HumanMessageChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import Scripted, calls, logged

from langchain_sessionstore import SessionMiddleware, with_session_history
from langchain_sessionstore.sameness import says_the_same
from sessionstore import InMemorySessionStore, InvalidMessageError, SessionMessage

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s"}}


class Retrieval(AgentMiddleware):
    """Adds what it found to the question, as LangChain's pages on retrieval do it."""

    def before_model(self, state, runtime):  # noqa: ARG002
        last = state["messages"][-1]
        if last.type != "human":
            return None
        more = [{"type": "text", "text": f"{last.text}\n\nContext: a@b.org"}]
        return {"messages": [last.model_copy(update={"content": more})]}


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=[False, True], ids=["alone", "checkpointed"])
def saver(request):
    return InMemorySaver() if request.param else None


@tool
def look() -> str:
    """Look."""
    return "found"


def words(store):
    return [str(message.text) for message in logged(store)]


def agent_of(store, saver, middleware=(), lines=("one", "two", "three")):
    model = Scripted(lines=list(lines))
    ours = SessionMiddleware(store)
    agent = create_agent(model, middleware=[ours, *middleware], checkpointer=saver)

    def run(*given):
        goes_on = given == (None,)
        result = agent.invoke(None if goes_on else {"messages": list(given)}, CONFIG)
        return result["messages"][-1].content

    return run, model


def human(text, id="m1"):
    return HumanMessage(text, id=id)


@pytest.mark.parametrize("edit", ["Write to x@y.org", None])
@pytest.mark.parametrize("other", [PIIMiddleware("email"), Retrieval()], ids=["pii", "retrieval"])
def test_a_retry_of_a_redacted_message_gives_its_answer(store, saver, other, edit):
    run, model = agent_of(store, saver, [other])
    assert run(human("Mail a@b.org")) == "one"
    if edit:
        assert run(human(edit)) == "two"
    kept, asked = words(store), len(model.shown)
    blocks = [{"type": "text", "text": edit or "Mail a@b.org"}]
    for again in (human(edit or "Mail a@b.org"), human(blocks)):
        assert run(again) == ("two" if edit else "one")
        assert (words(store), len(model.shown)) == (kept, asked)
    assert run(human("Mail nobody")) == ("three" if edit else "two"), "an edit still is one"
    assert len(words(store)) == 2


def test_a_resent_conversation_brings_back_nothing_that_was_redacted(store, saver):
    run, _ = agent_of(store, saver, [PIIMiddleware("email")])
    run(human("Mail a@b.org"))
    run(human("Mail a@b.org"), AIMessage("one", id=logged(store)[1].id), human("Done?", "m2"))
    assert words(store) == ["Mail [REDACTED_EMAIL]", "one", "Done?", "two"]
    assert "a@b.org" not in repr(store.get_messages("s"))


@pytest.mark.parametrize("other", [PIIMiddleware("email"), Retrieval()], ids=["pii", "retrieval"])
def test_a_turn_resumed_after_a_failure_is_recognized_when_it_is_sent_again(store, other):
    lines = [RuntimeError("overloaded"), "one", "two"]
    run, model = agent_of(store, InMemorySaver(), [other], lines)
    with pytest.raises(RuntimeError, match="overloaded"):
        run(human("Mail a@b.org"))
    assert run(None) == "one"
    kept = words(store)
    assert (run(human("Mail a@b.org")), words(store), len(model.shown)) == ("one", kept, 2)


def test_an_earlier_edit_resumed_after_a_failure_is_recognized(store):
    lines = ["one", "two", RuntimeError("overloaded"), "three", "four"]
    run, _ = agent_of(store, InMemorySaver(), (), lines)
    run(human("q1"))
    run(human("q2", "m2"))
    with pytest.raises(RuntimeError, match="overloaded"):
        run(human("q1'"))
    run(None)
    assert words(store) == ["q1'", "one", "q2", "two", "three"]
    run, model = agent_of(store, None)
    assert (run(human("q1'")), len(model.shown)) == ("three", 0)


def test_an_earlier_edit_resumed_after_an_approval_is_recognized(store):
    review = HumanInTheLoopMiddleware(interrupt_on={"look": True})
    model = Scripted(lines=["one", "two", calls("look"), "three"])
    ours = SessionMiddleware(store)
    agent = create_agent(model, [look], middleware=[ours, review], checkpointer=InMemorySaver())
    for question in (human("q1"), human("q2", "m2"), human("q1'")):
        agent.invoke({"messages": [question]}, CONFIG)
    agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    assert words(store) == ["q1'", "one", "q2", "two", "", "found", "three"]
    run, model = agent_of(store, None)
    assert (run(human("q1'")), len(model.shown)) == ("three", 0)


def test_a_chains_edit_that_is_sent_to_an_agent_keeps_its_answer(store):
    answers = iter(["Paris", "Madrid"])
    chain = with_session_history(RunnableLambda(lambda _: next(answers)), store)
    for text in ("Capital of France?", "Capital of Spain?"):
        chain.invoke([human(text)], CONFIG)
    run, model = agent_of(store, None)
    assert (run(human("Capital of Spain?")), len(model.shown)) == ("Madrid", 0)
    assert words(store) == ["Capital of Spain?", "Madrid"]


def test_an_edit_deletes_no_system_messages(store, saver):
    run, _ = agent_of(store, saver)
    run(human("hi"))
    store.append_message("s", SessionMessage("system", "Speak French from now on."))
    run(human("hello"))
    assert words(store) == ["hello", "Speak French from now on.", "two"]


def test_a_tuple_in_a_block_is_the_same_as_a_list():
    one, other = ([{"type": "x", "at": at}] for at in ((1, 2), [1, 2]))
    assert says_the_same(HumanMessage(one), HumanMessage(other))


def test_a_chunk_that_says_the_same_is_no_edit(store):
    answers = iter(["one", "two", "three"])
    chain = with_session_history(RunnableLambda(lambda _: next(answers)), store)
    chain.invoke([human("hi")], CONFIG)
    chain.invoke([human("bye", "m2")], CONFIG)
    chain.invoke([HumanMessageChunk("hi", id="m1")], CONFIG)
    assert words(store) == ["hi", "three", "bye", "two"], "as for a retry"


def test_blocks_that_are_not_valid_unicode_are_refused(store, saver):
    run, _ = agent_of(store, saver)
    run(human("hi"))
    with pytest.raises(InvalidMessageError):
        run(human([{"type": "text", "text": "half an emoji \ud83d"}]))
    assert words(store) == ["hi", "one"]


def test_the_answer_to_an_earlier_turns_edit_does_not_answer_the_last_turn(store):
    run, model = agent_of(store, None, (), ["a1", "a2", "a1'", "a2'"])
    run(human("q1"))
    run(human("q2", "m2"))
    run(human("q1'"))
    assert (run(human("q2", "m2")), len(model.shown)) == ("a2", 3)
    assert words(store) == ["q1'", "a1", "q2", "a2", "a1'"]
    assert run(human("q2'", "m2")) == "a2'"
    assert words(store) == ["q1'", "a1", "q2'", "a1'", "a2'"]
    assert (run(human("q1'")), len(model.shown)) == ("a1'", 4)


def test_a_second_edit_in_a_resent_conversation_keeps_its_answer(store):
    run, model = agent_of(store, None)
    run(human("q1"))
    run(human("q1'"))
    run(human("q1''"), logged(store)[1], human("q2", "m2"))
    assert words(store) == ["q1''", "two", "q2", "three"]
    assert (run(human("q1''")), len(model.shown)) == ("two", 3)
