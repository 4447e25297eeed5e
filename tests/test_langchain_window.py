"""Windows in LangChain: counters of its kinds, and views that models are given."""

import asyncio
from functools import partial

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import RunnableLambda
from message_rules import check_anthropic, check_openai

from langchain_sessionstore import (
    SessionChatMessageHistory,
    langchain_token_counter,
    session_history_factory,
    to_langchain,
    to_session_messages,
    with_session_history,
)
from sessionstore import InMemorySessionStore, SQLiteSessionStore, Window
from sessionstore.window import INTERRUPTED
from sessionstore.window.turns import unfinished

CONFIG = {"configurable": {"session_id": "s"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = {
        "memory": InMemorySessionStore,
        "sqlite": lambda: SQLiteSessionStore(tmp_path / "sessions.db"),
    }[request.param]()
    with made:
        yield made


class Model(FakeListChatModel):
    """Counts a token for each word."""

    def get_num_tokens_from_messages(self, messages, tools=None):  # noqa: ARG002
        assert all(type(m).__module__.startswith("langchain_core") for m in messages)
        return sum(len(message.text.split()) for message in messages)


def fill(store, turns=10):
    history = SessionChatMessageHistory("s", store)
    for n in range(turns):
        history.add_messages([HumanMessage(f"question {n}"), AIMessage(f"answer {n}")])
    return history


def by_text(messages):
    return sum(len(message.text.split()) for message in messages)


def stored_words(messages):
    return sum(len(message.content.split()) for message in messages if message.role)


MODEL = Model(responses=["ok"])
COUNTERS = [
    MODEL,
    MODEL.get_num_tokens_from_messages,
    langchain_token_counter(MODEL),
    langchain_token_counter(by_text),
    stored_words,
]


@pytest.mark.parametrize("counter", COUNTERS)
def test_tokens_are_counted_by_models_functions_and_langchains_counter(store, counter):
    fill(store)
    window = Window(max_tokens=9, token_counter=counter)
    history = SessionChatMessageHistory("s", store, window=window)
    expected = ["question 8", "answer 8", "question 9", "answer 9"]
    assert [message.content for message in history.messages] == expected
    assert [message.content for message in asyncio.run(history.aget_messages())] == expected
    made = session_history_factory(store, window=window)
    assert [message.content for message in made("s").messages] == expected
    chain = with_session_history(RunnableLambda(lambda m: f"saw {len(m)}"), store, window=window)
    assert chain.invoke("question 10", CONFIG) == "saw 5"
    assert asyncio.run(chain.ainvoke("question 11", CONFIG)) == "saw 5"
    assert len(store.get_messages("s")) == 24


@pytest.mark.parametrize(
    "counter",
    [count_tokens_approximately, partial(count_tokens_approximately, chars_per_token=2.0)],
)
def test_langchains_own_counter_is_given_langchains_messages(store, counter):
    everything = fill(store).messages
    most = counter(everything[-4:])
    for limit, shown in ((most, 4), (most - 1, 2)):
        window = Window(max_tokens=limit, token_counter=counter)
        assert len(SessionChatMessageHistory("s", store, window=window).messages) == shown


@pytest.mark.parametrize("window", [20, {"max_messages": 20}, "all"])
def test_a_window_that_is_not_a_window_is_refused(store, window):
    for make in (
        lambda: SessionChatMessageHistory("s", store, window=window),
        lambda: session_history_factory(store, window=window)("s"),
        lambda: with_session_history(RunnableLambda(str), store, window=window),
    ):
        with pytest.raises(TypeError, match="must be a Window"):
            make()


# -- Calls ----------------------------------------------------------------------------------------

ASKED = AIMessage("", id="a", tool_calls=[{"id": "c", "name": "pay", "args": {}}])


def accepted(messages):
    stored = to_session_messages(messages)
    check_openai(stored)
    check_anthropic(stored)
    return AIMessage(f"{len(messages)}: {messages[-1].content}")


def pending(store):
    history = SessionChatMessageHistory("s", store, window=Window(max_messages=20))
    history.add_messages([SystemMessage("be kind"), HumanMessage("pay"), ASKED])
    return history


def test_a_token_counter_that_is_none_is_refused():
    with pytest.raises(TypeError, match="must be a function or a model, not int"):
        langchain_token_counter(3)


def test_a_pending_call_is_left_open(store):
    assert pending(store).messages[-1] == ASKED


@pytest.mark.parametrize("window", [None, Window(), Window(max_messages=4)])
@pytest.mark.parametrize("how", ["runnable", "factory"])
def test_new_input_after_a_pending_call_closes_it_for_the_model_only(store, how, window):
    before = pending(store).messages
    if how == "runnable":
        chain = with_session_history(RunnableLambda(accepted), store, window=window)
    else:
        from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

        with pytest.warns(match="deprecated"):
            chain = RunnableWithMessageHistory(
                RunnableLambda(accepted), session_history_factory(store, window=window)
            )
    assert chain.invoke("never mind", CONFIG).content == "5: never mind"
    assert asyncio.run(chain.ainvoke("go on", CONFIG)).content[1:] == ": go on"
    log = SessionChatMessageHistory("s", store).messages
    assert [message.type for message in log] == ["system", "human", "ai", *["human", "ai"] * 2]
    assert log[:3] == before


@pytest.mark.parametrize("window", [None, Window()])
def test_a_made_up_result_has_the_status_error(store, window):
    invalid = {"id": "d", "name": "pay", "args": "{", "error": None, "type": "invalid_tool_call"}
    history = pending(store)
    history.add_messages([HumanMessage("again"), AIMessage("", invalid_tool_calls=[invalid])])
    shown = []
    chain = with_session_history(
        RunnableLambda(lambda messages: shown.extend(messages) or "ok"), store, window=window
    )
    chain.invoke("never mind", CONFIG)
    results = [message for message in shown if message.type == "tool"]
    assert [message.status for message in results] == ["error", "error"]
    assert to_langchain(unfinished("r", ASKED.tool_calls[0])).status == "error"


def test_a_call_that_was_no_json_is_closed_where_no_other_tool_is_asked_for(store):
    invalid = {"id": "d", "name": "pay", "args": "{", "error": None, "type": "invalid_tool_call"}
    history = SessionChatMessageHistory("s", store)
    history.add_messages([HumanMessage("pay"), AIMessage("", invalid_tool_calls=[invalid])])
    shown = []
    chain = with_session_history(
        RunnableLambda(lambda messages: shown.extend(messages) or "ok"), store
    )
    chain.invoke("never mind", CONFIG)
    assert [message.type for message in shown] == ["human", "ai", "tool", "human"]
    assert [call["id"] for call in shown[1].tool_calls] == ["d"]
    assert not shown[1].invalid_tool_calls


def test_the_result_of_a_pending_call_goes_on_with_it(store):
    pending(store)
    chain = with_session_history(RunnableLambda(accepted), store, window=Window(max_messages=9))
    answer = chain.invoke([ToolMessage("paid", tool_call_id="c")], CONFIG)
    assert answer.content == "4: paid"
    log = SessionChatMessageHistory("s", store).messages
    assert [message.type for message in log] == ["system", "human", "ai", "tool", "ai"]


def test_what_a_graph_gives_back_of_a_view_is_not_kept_again(store):
    """Neither a result that was made up, nor a call that was given an id of its own."""
    history = pending(store)
    history.add_messages([HumanMessage("again"), ASKED.model_copy(update={"id": "b"})])
    seen = []

    def graph(messages):
        seen.extend(messages)
        return [*messages, AIMessage("done")]

    window = Window(max_messages=20)
    for text in ("one", "two"):
        with_session_history(RunnableLambda(graph), store, window=window).invoke(text, CONFIG)
    assert INTERRUPTED in [message.content for message in seen]
    log = SessionChatMessageHistory("s", store).messages
    assert [message.type for message in log] == [
        *("system", "human", "ai", "human", "ai"),
        *("human", "ai", "human", "ai"),
    ]
    assert [message.tool_calls for message in log if message.id in "ab"] == [ASKED.tool_calls] * 2


def test_a_call_without_an_id_is_closed_too(store):
    asked = AIMessage("", tool_calls=[{"id": None, "name": "pay", "args": {}}])
    SessionChatMessageHistory("s", store).add_messages([HumanMessage("pay"), asked])
    for window in (None, Window()):
        made = session_history_factory(store, window=window)
        assert [message.type for message in made("s").messages] == ["human", "ai", "tool"]
