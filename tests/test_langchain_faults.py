"""The faults of `RunnableWithMessageHistory` on `InMemoryChatMessageHistory`, closed by us.

Each test runs in three wirings: theirs, which has the fault (the test has to fail there), theirs
with our histories, and ours.
"""

import asyncio
import logging
import threading
import warnings
from dataclasses import dataclass
from itertools import chain as joined
from typing import Any

import pytest
from counting_agent import CountingModel, agent
from hooked import HookedStore
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_sessionstore import (
    SessionChatMessageHistory,
    SessionSaveError,
    session_history_factory,
    with_session_history,
)
from sessionstore import StoreUnavailableError
from sessionstore.operations import Append, Get, GetMessages

CONFIG = {"configurable": {"session_id": "s"}}
MESSAGES = {"input_messages_key": "messages", "output_messages_key": "messages"}


class CountingStore(HookedStore):
    """A store that counts its reads, and can be made to refuse its writes."""

    def __init__(self):
        super().__init__()
        self.reads = 0
        self.full = False

    def before(self, operation):
        self.reads += isinstance(operation, (Get, GetMessages))
        if self.full and isinstance(operation, Append):
            raise StoreUnavailableError("the disk is full")


@dataclass
class Wiring:
    name: str
    store: CountingStore
    history: Any

    def around(self, runnable, **options):
        if self.name == "ours":
            return with_session_history(runnable, self.store, **options)
        from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return RunnableWithMessageHistory(runnable, self.history, **options)

    def log(self):
        messages = self.history("s").messages
        return [(message.type, message.text) for message in messages]


def theirs():
    """Give InMemoryChatMessageHistory, which counts its reads on a store of ours' behalf."""
    from langchain_core.chat_history import InMemoryChatMessageHistory  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        history = InMemoryChatMessageHistory()
    return Wiring("theirs", CountingStore(), lambda session_id: history)  # noqa: ARG005


@pytest.fixture(
    params=[
        pytest.param("theirs", marks=pytest.mark.xfail(strict=True, raises=AssertionError)),
        "theirs on ours",
        "ours",
    ]
)
def wiring(request):
    if request.param == "theirs":
        return theirs()
    store = CountingStore()
    return Wiring(request.param, store, session_history_factory(store))


# -- Two turns at once in one session ----------------------------------------------------------


def whole(log):
    """Tell whether two turns are in a log after its first, each whole."""
    one = [("human", "A"), ("ai", "to A")]
    other = [("human", "B"), ("ai", "to B")]
    return log[2:] in (one + other, other + one)


def test_two_turns_at_once_in_threads_are_both_kept_whole(wiring):
    both_read = threading.Barrier(2)

    def answer(messages):
        if messages[-1].text != "0":
            both_read.wait(10)
        return f"to {messages[-1].text}"

    chain = wiring.around(RunnableLambda(answer))
    chain.invoke("0", CONFIG)
    turns = [threading.Thread(target=chain.invoke, args=(text, CONFIG)) for text in ("A", "B")]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    assert whole(wiring.log())


def test_two_turns_at_once_in_tasks_are_both_kept_whole(wiring):
    async def talk():
        both_read = asyncio.Event()
        waiting = []

        async def answer(messages):
            if messages[-1].text != "0":
                waiting.append(1)
                if len(waiting) == 2:
                    both_read.set()
                await asyncio.wait_for(both_read.wait(), 10)
            return f"to {messages[-1].text}"

        chain = wiring.around(RunnableLambda(lambda _: None, afunc=answer))
        await chain.ainvoke("0", CONFIG)
        await asyncio.gather(*(chain.ainvoke(text, CONFIG) for text in ("A", "B")))

    asyncio.run(talk())
    assert whole(wiring.log())


# -- Around a graph ----------------------------------------------------------------------------

EXPECTED = [
    [
        ("human", "look up x"),
        ("ai", ""),
        ("tool", "x is a letter"),
        ("ai", "3 messages, the last says x is a letter"),
    ],
    [("human", "b"), ("ai", "5 messages, the last says b")],
    [("human", "c"), ("ai", "7 messages, the last says c")],
]
SAID = ["look up x", "b", "c"]


def invoked(chain, value):
    return chain.invoke(value, CONFIG)


def ainvoked(chain, value):
    return asyncio.run(chain.ainvoke(value, CONFIG))


def streamed(chain, value):
    return list(chain.stream(value, CONFIG))


def astreamed(chain, value):
    async def listen():
        return [chunk async for chunk in chain.astream(value, CONFIG)]

    return asyncio.run(listen())


def batched(chain, value):
    return chain.batch([value], CONFIG)


def abatched(chain, value):
    return asyncio.run(chain.abatch([value], CONFIG))


METHODS = [invoked, ainvoked, streamed, astreamed, batched, abatched]


@pytest.mark.parametrize("call", METHODS)
def test_a_log_around_an_agent_grows_by_what_is_new(wiring, call):
    chain = wiring.around(agent(), **MESSAGES)
    for turn, text in enumerate(SAID, start=1):
        call(chain, {"messages": [HumanMessage(text)]})
        assert wiring.log() == list(joined.from_iterable(EXPECTED[:turn]))


def without_ids(messages):
    return [message.model_copy(update={"id": None}) for message in messages]


def with_other_ids(messages):
    return [
        message.model_copy(update={"id": f"{message.type}-{place}-of-{len(messages)}"})
        for place, message in enumerate(messages)
    ]


@pytest.mark.parametrize("call", METHODS)
@pytest.mark.parametrize("changed", [without_ids, with_other_ids])
def test_a_log_grows_by_what_is_new_where_the_graph_drops_or_changes_ids(wiring, changed, call):
    def graph(value):
        answer = AIMessage(f"{len(value['messages'])} messages")
        return {"messages": changed([*value["messages"], answer])}

    chain = wiring.around(RunnableLambda(graph), **MESSAGES)
    for text in "aab":
        call(chain, {"messages": [HumanMessage(text)]})
    assert wiring.log() == [
        ("human", "a"),
        ("ai", "1 messages"),
        ("human", "a"),
        ("ai", "3 messages"),
        ("human", "b"),
        ("ai", "5 messages"),
    ]


# -- A save that fails -------------------------------------------------------------------------

UNSAVED = [
    (invoked, "a"),
    (ainvoked, "a"),
    (streamed, "a"),
    (astreamed, "a"),
    (batched, "a"),
    (abatched, "a"),
]


@pytest.mark.parametrize(("call", "text"), UNSAVED)
def test_langchains_own_runnable_only_logs_a_failed_save(call, text, caplog):
    store = CountingStore()
    chain = Wiring("theirs on ours", store, session_history_factory(store)).around(
        RunnableLambda(lambda _: "answer")
    )
    store.full = True
    with caplog.at_level(logging.WARNING):
        assert call(chain, text) in ("answer", ["answer"])
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize(("call", "text"), UNSAVED)
def test_a_failed_save_raises_an_error_that_holds_the_answer(call, text):
    store = CountingStore()
    store.full = True
    chain = with_session_history(RunnableLambda(lambda _: "answer"), store)
    with pytest.raises(SessionSaveError, match="the disk is full") as caught:
        call(chain, text)
    assert caught.value.answer == "answer"
    assert isinstance(caught.value.__cause__, StoreUnavailableError)


@pytest.mark.parametrize(("call", "text"), UNSAVED)
def test_on_save_error_takes_a_failed_save_instead(call, text):
    store, failures = CountingStore(), []
    store.full = True
    chain = with_session_history(
        RunnableLambda(lambda _: "answer"), store, on_save_error=failures.append
    )
    assert call(chain, text) in ("answer", ["answer"])
    assert [failure.answer for failure in failures] == ["answer"]


def test_a_stream_ends_before_its_failed_save_is_raised():
    store = CountingStore()
    store.full = True
    chain = with_session_history(CountingModel(), store)
    heard = []
    with pytest.raises(SessionSaveError) as caught:
        heard.extend(chain.stream("hi", CONFIG))
    assert "".join(chunk.text for chunk in heard) == "1 messages, the last says hi"
    assert caught.value.answer.text == "1 messages, the last says hi"

    async def listen():
        async for chunk in chain.astream("hi", CONFIG):
            again.append(chunk)  # noqa: PERF401 - what came before the error counts

    again = []
    with pytest.raises(SessionSaveError):
        asyncio.run(listen())
    assert len(again) == len(heard)


@pytest.mark.parametrize("method", ["batch", "abatch"])
def test_a_failed_save_in_a_batch_fails_its_own_item_only(method):
    class Picky(CountingStore):
        def before(self, operation):
            if isinstance(operation, Append) and operation.session_id == "full":
                raise StoreUnavailableError("the disk is full")

    chain = with_session_history(RunnableLambda(lambda said: f"to {said[-1].text}"), Picky())
    configs = [{"configurable": {"session_id": name}} for name in ("one", "full", "two")]
    batch = {
        "batch": chain.batch,
        "abatch": lambda *args, **kwargs: asyncio.run(chain.abatch(*args, **kwargs)),
    }[method]
    one, full, two = batch(list("abc"), configs, return_exceptions=True)
    assert (one, two) == ("to a", "to c")
    assert isinstance(full, SessionSaveError)
    assert full.answer == "to b"
    with pytest.raises(SessionSaveError):
        batch(list("abc"), configs)


# -- Reads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", METHODS)
@pytest.mark.parametrize("name", ["theirs on a plain history", "theirs on ours", "ours"])
def test_a_turn_reads_the_session_once(name, call):
    store = CountingStore()
    history = {
        "theirs on a plain history": lambda session_id: SessionChatMessageHistory(
            session_id, store
        ),
    }.get(name, session_history_factory(store))
    call(Wiring(name, store, history).around(RunnableLambda(lambda _: "answer")), "hi")
    assert store.reads == (2 if name == "theirs on a plain history" else 1)
