"""A model, or a cache, that gives one message again and again: each turn keeps its answer."""

import asyncio
import warnings
from itertools import cycle

import pytest
from hooked import HookedStore
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda

from langchain_sessionstore import (
    SessionChatMessageHistory,
    session_history_factory,
    to_session_messages,
    with_session_history,
)
from sessionstore import InMemorySessionStore, Window
from sessionstore.operations import Append

CONFIG = {"configurable": {"session_id": "s"}}


def plain(store, window):
    return lambda session_id: SessionChatMessageHistory(session_id, store, window=window)


def from_factory(store, window):
    return session_history_factory(store, window=window)


def remembering(histories, model, store, window):
    if histories is with_session_history:
        return with_session_history(model, store, window=window)
    from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RunnableWithMessageHistory(model, histories(store, window))


def words(store):
    return [message.content for message in store.get_messages("s")]


@pytest.mark.parametrize("ids", [False, True], ids=["", "with ids"])
@pytest.mark.parametrize("window", [None, Window(max_messages=2)], ids=str)
@pytest.mark.parametrize("histories", [plain, from_factory, with_session_history])
def test_an_answer_that_a_cache_repeats_is_kept_in_each_turn(histories, window, ids):
    store = InMemorySessionStore()
    model = GenericFakeChatModel(messages=cycle([AIMessage("hi")]))
    chain = remembering(histories, model, store, window)
    for n in range(4):
        asked = [HumanMessage(f"q{n}", id=f"h{n}" if ids else None)]
        answer = asyncio.run(chain.ainvoke(asked, CONFIG)) if n % 2 else chain.invoke(asked, CONFIG)
        assert answer.content == "hi"
    assert words(store) == ["q0", "hi", "q1", "hi", "q2", "hi", "q3", "hi"]
    found = store.get_messages("s")
    assert len({message.id for message in found}) == 8


H1, H2 = HumanMessage("q1", id="h1"), HumanMessage("q2", id="h2")
A1, A2 = AIMessage("a1", id="a1"), AIMessage("a2", id="a2")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ([[H1, A1], [H1, A1]], ["q1", "a1"]),  # a retry
        ([[H1, A1], [H1, A2]], ["q1", "a1", "a2"]),  # the same question, another answer
        ([[H1], [H1, A1]], ["q1", "a1"]),
        ([[H1, A1], [H2], [H1, A2]], ["q1", "a1", "q2", "a2"]),
        ([[H1, A1], [A1]], ["q1", "a1"]),
        ([[H1, A1], [H1, A1, H2, A2]], ["q1", "a1", "q2", "a2"]),  # the whole conversation
        ([[H1, A1], [H1, A1, H2]], ["q1", "a1", "q2"]),
        ([[H1, A1], [A1, H2]], ["q1", "a1", "q2"]),
        ([[H1, A1, H2], [SystemMessage("s", id="s1"), H1]], ["q1", "a1", "q2", "s"]),
        ([[H1, H1, A1]], ["q1", "a1"]),  # a graph's answer begins with what it was asked
        ([[H1, A1], [H2, A1]], ["q1", "a1", "q2", "a1"]),
        ([[H1, A1], [HumanMessage("q2"), A1], [HumanMessage("q3"), A1]], "q1 a1 q2 a1 q3 a1"),
    ],
)
def test_messages_added_again_are_kept_once_except_an_answer_to_a_new_question(added, said):
    store = InMemorySessionStore()
    history = SessionChatMessageHistory("s", store)
    for turn in added:
        history.add_messages(turn)
    assert words(store) == (said.split() if isinstance(said, str) else said)
    again = InMemorySessionStore()
    history = SessionChatMessageHistory("s", again)
    for turn in added:
        asyncio.run(history.aadd_messages(turn))
    assert words(again) == words(store)


def test_only_a_repeated_answer_costs_a_second_step():
    class Counting(InMemorySessionStore):
        calls = 0

        def run(self, operation):
            self.calls += 1
            return super().run(operation)

    store = Counting()
    history = SessionChatMessageHistory("s", store)
    steps = []
    for turn in ([H1, A1], [H1, A1], [H1, H1, A2], [HumanMessage("q3"), AIMessage("a3")], [H2, A1]):
        before = store.calls
        history.add_messages(turn)
        steps.append(store.calls - before)
    assert steps == [1, 2, 2, 1, 3]


def test_a_question_deleted_in_the_meantime_does_no_harm():
    class Deleting(HookedStore):
        def after(self, operation, result):  # noqa: ARG002
            if isinstance(operation, Append):
                self.delete_messages(operation.session_id, ["h2"])

    store = Deleting()
    history = SessionChatMessageHistory("s", store)
    history.add_messages([H1, A1])
    history.add_messages([H2, A1])
    assert words(store) == ["q1", "a1"]


def test_a_runnable_that_returns_a_constant_keeps_each_answer():
    store = InMemorySessionStore()
    constant = AIMessage("hi", id="constant")
    chain = remembering(plain, RunnableLambda(lambda _: constant), store, None)
    for text in ("a", "b"):
        chain.invoke(text, CONFIG)
    assert words(store) == ["a", "hi", "b", "hi"]
    assert constant.id == "constant"


def test_a_retry_completes_a_turn_that_broke_off_before_its_answer():
    store = InMemorySessionStore()
    history = SessionChatMessageHistory("s", store)
    answer = AIMessage("hi", id="a")
    history.add_messages([H1, answer])
    store.append_messages("s", to_session_messages([H2, answer]))  # what its first step does
    for _ in range(2):
        history.add_messages([H2, answer])
        assert words(store) == ["q1", "hi", "q2", "hi"]
