"""`with_session_history` around graphs: whatever is streamed of them, and calls left open."""

import asyncio
from contextlib import aclosing

import pytest
from counting_agent import CountingModel, agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda

from langchain_sessionstore import SessionSaveError, session_history_factory, with_session_history
from sessionstore import InMemorySessionStore, Window
from sessionstore.window import INTERRUPTED

CONFIG = {"configurable": {"session_id": "s"}}
MESSAGES = {"input_messages_key": "messages", "output_messages_key": "messages"}
TURNS = [
    ("user", "look up x"),
    ("assistant", ""),
    ("tool", "x is a letter"),
    ("assistant", "3 messages, the last says x is a letter"),
    ("user", "b"),
    ("assistant", "5 messages, the last says b"),
]


@pytest.fixture
def store():
    return InMemorySessionStore()


def log(store):
    return [(message.role, message.content) for message in store.get_messages("s")]


def asked(text):
    return {"messages": [HumanMessage(text)]}


MODES = [
    {},
    *({"stream_mode": mode} for mode in ("values", "updates", "messages", "custom", "debug")),
    {"stream_mode": ["updates", "messages", "custom"]},
    {"stream_mode": "updates", "subgraphs": True},
    {"stream_mode": ["values"], "version": "v2"},
    {"stream_mode": "values", "output_keys": ["messages"]},
]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("method", ["stream", "astream"])
def test_whatever_is_streamed_of_a_graph_the_log_grows_by_what_is_new(store, method, options):
    chain = with_session_history(agent(), store, **MESSAGES)

    async def listen(value):
        return [chunk async for chunk in chain.astream(value, CONFIG, **options)]

    for text in ("look up x", "b"):
        if method == "stream":
            list(chain.stream(asked(text), CONFIG, **options))
        else:
            asyncio.run(listen(asked(text)))
    assert log(store) == TURNS


def test_custom_stream_output_of_a_graph_is_no_answer(store):
    def node(value):
        from langgraph.config import get_stream_writer  # noqa: PLC0415

        get_stream_writer()("half done")
        return {"messages": [AIMessage(f"to {value['messages'][-1].text}")]}

    from langgraph.graph import MessagesState, StateGraph  # noqa: PLC0415

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.set_entry_point("node")
    chain = with_session_history(graph.compile(), store, **MESSAGES)
    assert list(chain.stream(asked("a"), CONFIG, stream_mode="custom")) == ["half done"]
    assert log(store) == [("user", "a"), ("assistant", "to a")]


def test_a_graph_that_fails_keeps_nothing(store):
    def fail(_):
        raise RuntimeError("no model today")

    chain = with_session_history(agent(middleware=[]) | RunnableLambda(fail), store, **MESSAGES)
    with pytest.raises(RuntimeError, match="no model today"):
        list(chain.stream(asked("a"), CONFIG))
    assert log(store) == []


def test_streamed_steps_of_a_graph_inside_a_chain_are_refused_with_a_hint(store):
    chain = with_session_history(RunnableLambda(dict) | agent(), store, **MESSAGES)
    with pytest.raises(SessionSaveError, match="stream_mode='values'") as caught:
        list(chain.stream(asked("a"), CONFIG))
    assert "model" in caught.value.answer
    assert log(store) == [("user", "a")]


def test_streamed_states_of_a_graph_inside_a_chain_are_an_answer(store):
    graph = agent().bind(stream_mode="values")
    chain = with_session_history(RunnableLambda(dict) | graph, store, **MESSAGES)
    for text in ("look up x", "b"):
        list(chain.stream(asked(text), CONFIG))
    assert log(store) == TURNS


def test_leaving_a_streamed_graph_raises_nothing_and_keeps_the_users_message(store):
    chain = with_session_history(agent(), store, **MESSAGES)
    chunks = chain.stream(asked("look up x"), CONFIG)
    next(chunks)
    chunks.close()

    async def leave():
        async with aclosing(chain.astream(asked("look up x"), CONFIG)) as chunks:
            async for _ in chunks:
                break

    asyncio.run(leave())
    assert log(store) == [("user", "look up x")] * 2


def test_whole_messages_streamed_before_the_caller_left_are_kept(store):
    chain = with_session_history(agent(), store, **MESSAGES)
    chunks = chain.stream(asked("look up x"), CONFIG, stream_mode="values")
    for chunk in chunks:
        if chunk["messages"][-1].type == "tool":
            break
    chunks.close()
    assert log(store) == TURNS[:3]
    chain.invoke(asked("b"), CONFIG)
    assert log(store)[3:] == [("user", "b"), ("assistant", "4 messages, the last says b")]


# -- Calls without a result --------------------------------------------------------------------

CALLS = [{"name": "look_up", "args": {}, "id": id_} for id_ in ("c1", "c2")]


def given(store, new, window):
    """Tell what the model is given with new messages, and what the log was before and after."""
    before = log(store)
    model = CountingModel()
    with_session_history(model, store, window=window).invoke(new, CONFIG)
    assert log(store)[: len(before)] == before
    assert INTERRUPTED not in [text for _, text in log(store)]
    return [
        (message.type, getattr(message, "tool_call_id", None) or message.text)
        for message in model.seen[0]
    ]


@pytest.mark.parametrize("window", [None, Window(), Window(max_messages=2)], ids=str)
def test_a_pending_call_is_closed_for_the_model_when_the_user_goes_on(store, window):
    history = session_history_factory(store)("s")
    history.add_messages([HumanMessage("q"), AIMessage("", tool_calls=CALLS)])
    calls = [("human", "q"), ("ai", ""), ("tool", "c1"), ("tool", "c2")]
    assert given(store, "go on", window)[-5:] == [*calls, ("human", "go on")]


@pytest.mark.parametrize("window", [None, Window()], ids=str)
def test_an_approved_call_gets_its_result_and_the_other_call_is_closed(store, window):
    history = session_history_factory(store)("s")
    history.add_messages([HumanMessage("q"), AIMessage("", tool_calls=CALLS)])
    result = ToolMessage("done", tool_call_id="c1")
    assert given(store, [result], window) == [
        ("human", "q"),
        ("ai", ""),
        ("tool", "c2"),
        ("tool", "c1"),
    ]
    assert store.get_messages("s")[-2].tool_call_id == "c1"


def test_calls_interrupted_in_an_earlier_turn_are_closed_too(store):
    history = session_history_factory(store)("s")
    history.add_messages(
        [
            HumanMessage("q"),
            AIMessage("", tool_calls=CALLS),
            ToolMessage("done", tool_call_id="c1"),
            HumanMessage("r"),
        ]
    )
    assert given(store, "go on", None) == [
        ("human", "q"),
        ("ai", ""),
        ("tool", "c1"),
        ("tool", "c2"),
        ("human", "r"),
        ("human", "go on"),
    ]


def test_a_pending_call_is_left_open_where_nothing_new_is_said(store):
    history = session_history_factory(store)("s")
    history.add_messages([HumanMessage("q"), AIMessage("", tool_calls=CALLS)])
    assert given(store, [], None) == [("human", "q"), ("ai", "")]


def test_a_graph_that_gives_back_a_closed_call_adds_no_result_to_the_log(store):
    history = session_history_factory(store)("s")
    history.add_messages([HumanMessage("q"), AIMessage("", tool_calls=CALLS)])
    with_session_history(agent(), store, **MESSAGES).invoke(asked("go on"), CONFIG)
    assert log(store)[2:] == [("user", "go on"), ("assistant", "5 messages, the last says go on")]


# -- Answers that look like what was given -----------------------------------------------------


def test_an_answer_that_repeats_what_was_said_is_an_answer(store):
    parrot = with_session_history(
        RunnableLambda(lambda messages: HumanMessage(messages[-1].text)), store
    )
    parrot.invoke("a", CONFIG)
    parrot.invoke("a", CONFIG)
    assert log(store) == [("user", "a")] * 4


def test_a_graph_that_gives_back_the_end_of_the_conversation_adds_what_is_new(store):
    def forgetful(messages):
        return [HumanMessage(messages[-1].text), AIMessage(f"a{len(messages)}")]

    chain = with_session_history(RunnableLambda(forgetful), store)
    for _ in range(3):
        chain.invoke("q", CONFIG)
    assert [text for _, text in log(store)] == ["q", "a1", "q", "a3", "q", "a5"]


def test_the_last_of_the_streamed_states_without_ids_is_the_answer(store):
    def states(values):
        for messages in values:
            said = [message.model_copy(update={"id": None}) for message in messages]
            yield {"messages": said}
            yield {"messages": [*said, AIMessage("one")]}
            yield {"messages": [*said, AIMessage("one"), AIMessage("two")]}

    chain = with_session_history(RunnableGenerator(states), store, output_messages_key="messages")
    for _ in range(2):
        list(chain.stream("q", CONFIG))
    assert [text for _, text in log(store)] == ["q", "one", "two"] * 2


class Host(Runnable):
    """Runs a graph for itself, and answers in words of its own; no run of its own is traced."""

    def invoke(self, value, config=None, **_):
        agent().invoke({"messages": value}, config)
        return "in my own words"

    def stream(self, value, config=None, **_):
        yield self.invoke(value, config)


def test_the_outcome_of_an_inner_run_is_not_the_answer(store):
    assert list(with_session_history(Host(), store).stream("q", CONFIG)) == ["in my own words"]
    assert log(store) == [("user", "q"), ("assistant", "in my own words")]


def test_chunks_of_a_stream_without_an_end_event_are_added_up(store):
    def words(_):
        yield {"answer": AIMessageChunk("a")}
        yield {"answer": AIMessageChunk("b")}

    list(with_session_history(RunnableGenerator(words), store).stream("q", CONFIG))
    assert log(store) == [("user", "q"), ("assistant", "ab")]
