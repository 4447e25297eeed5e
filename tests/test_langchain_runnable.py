import asyncio
import pickle
import threading
import warnings
from contextlib import aclosing
from functools import partial

import pytest
from faults import FaultyStore
from hooked import HookedStore
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from langchain_sessionstore import SessionSaveError, with_session_history
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
    Window,
)

CONFIG = {"configurable": {"session_id": "s"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = {
        "memory": InMemorySessionStore,
        "sqlite": lambda: SQLiteSessionStore(tmp_path / "sessions.db"),
    }[request.param]()
    with made:
        yield made


def log(store, session_id="s"):
    return [(m.role, m.content) for m in store.get_messages(session_id)]


echo = RunnableLambda(lambda messages: " ".join(str(m.content) for m in messages))


def pieces(values):
    """Say each word of the last message on its own."""
    for messages in values:
        for word in messages[-1].content.split():
            yield AIMessageChunk(word, id="run-1")


async def apieces(values):
    async for messages in values:
        for chunk in pieces([messages]):
            yield chunk


# -- Shapes of input and output --------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["hi", HumanMessage("hi"), [HumanMessage("hi")], (HumanMessage("hi"),)]
)
def test_a_list_runnable_gets_the_history_before_the_new_messages(store, value):
    chain = with_session_history(echo, store)
    assert chain.invoke(value, CONFIG) == "hi"
    assert chain.invoke(value, CONFIG) == "hi hi hi"
    assert log(store) == [
        ("user", "hi"),
        ("assistant", "hi"),
        ("user", "hi"),
        ("assistant", "hi hi hi"),
    ]


def test_a_dict_with_a_history_key_keeps_its_input_as_it_is(store):
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be {mood}."), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    model = RunnableLambda(lambda value: AIMessage(f"{len(value.to_messages())} messages"))
    chain = with_session_history(
        prompt | model, store, input_messages_key="question", history_messages_key="history"
    )
    assert chain.invoke({"mood": "kind", "question": "a"}, CONFIG).content == "2 messages"
    assert chain.invoke({"mood": "kind", "question": "b"}, CONFIG).content == "4 messages"
    assert [content for _, content in log(store)] == ["a", "2 messages", "b", "4 messages"]


def test_a_dict_without_a_history_key_gets_all_under_the_input_key(store):
    runnable = RunnableLambda(lambda value: {"answer": f"{len(value['talk'])}{value['mark']}"})
    chain = with_session_history(runnable, store, input_messages_key="talk")
    assert chain.invoke({"talk": "a", "mark": "!"}, CONFIG) == {"answer": "1!"}
    assert chain.invoke({"talk": "b", "mark": "!"}, CONFIG) == {"answer": "3!"}


def test_a_dict_output_is_read_under_its_key(store):
    runnable = RunnableLambda(lambda _: {"messages": [AIMessage("x"), AIMessage("y")], "n": 2})
    chain = with_session_history(runnable, store, output_messages_key="messages")
    chain.invoke("a", CONFIG)
    assert [content for _, content in log(store)] == ["a", "x", "y"]


def test_a_runnable_that_gives_back_the_whole_history_adds_only_what_is_new(store):
    graph = RunnableLambda(
        lambda value: {"messages": [*value["messages"], AIMessage(f"a{len(value['messages'])}")]}
    )
    chain = with_session_history(
        graph, store, input_messages_key="messages", output_messages_key="messages"
    )
    chain.invoke({"messages": [HumanMessage("q")]}, CONFIG)
    chain.invoke({"messages": "r"}, CONFIG)
    assert [content for _, content in log(store)] == ["q", "a1", "r", "a3"]


def test_tool_calls_and_results_are_kept(store):
    call = {"name": "f", "args": {"x": 1}, "id": "c1"}
    turn = [AIMessage("", tool_calls=[call]), ToolMessage("2", tool_call_id="c1"), AIMessage("two")]
    chain = with_session_history(RunnableLambda(lambda _: turn), store)
    chain.invoke("a", CONFIG)
    stored = store.get_messages("s")
    assert [m.role for m in stored] == ["user", "assistant", "tool", "assistant"]
    assert stored[1].tool_calls == [call]
    assert stored[2].tool_call_id == "c1"


def test_the_same_answer_from_a_cache_is_kept_each_time_it_is_given(store):
    model = FakeListChatModel(responses=["yes", "no"], cache=InMemoryCache())
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    chain = with_session_history(
        prompt | model, store, input_messages_key="question", history_messages_key="history"
    )
    for _ in range(2):
        assert chain.invoke({"question": "sure?"}, CONFIG).content == "yes"
    assert [content for _, content in log(store)] == ["sure?", "yes", "sure?", "yes"]


def test_the_same_answer_is_kept_again_where_the_user_s_messages_have_ids(store):
    chain = with_session_history(RunnableLambda(lambda _: AIMessage("a", id="a1")), store)
    for turn in "12":
        chain.invoke([HumanMessage("q", id=f"q{turn}")], CONFIG)
    assert [content for _, content in log(store)] == ["q", "a", "q", "a"]


@pytest.mark.parametrize(
    "value", [[("human", "hi")], ["hi"], [{"role": "user", "content": "hi"}]], ids=repr
)
def test_every_form_of_a_message_that_langchain_takes_is_accepted(store, value):
    assert with_session_history(echo, store).invoke(value, CONFIG) == "hi"
    assert log(store)[0] == ("user", "hi")


def test_a_turn_sent_again_with_its_ids_is_kept_once(store):
    chain = with_session_history(RunnableLambda(lambda _: AIMessage("a", id="a1")), store)
    for _ in range(2):
        chain.invoke([HumanMessage("q", id="q1")], CONFIG)
    assert [content for _, content in log(store)] == ["q", "a"]


@pytest.mark.parametrize("given", [dict, list])
def test_a_turn_sent_again_sees_the_same_history_and_replaces_its_answer(store, given):
    count = iter("1234")
    seen = []

    def answer(value):
        history = value["history"] if given is dict else value
        seen.append([m.content for m in history])
        return f"a{next(count)}"

    keys = {"input_messages_key": "q", "history_messages_key": "history"} if given is dict else {}
    chain = with_session_history(RunnableLambda(answer), store, **keys)

    def ask(text):
        new = [HumanMessage(text, id=f"m-{text}")]
        return chain.invoke({"q": new} if given is dict else new, CONFIG)

    ask("q1")
    ask("q2")
    assert ask("q1") == "a3"
    own = [] if given is dict else ["q1"]
    assert seen[-1] == own
    assert [content for _, content in log(store)] == ["q1", "a3", "q2", "a2"]
    assert ask("q3") == "a4"
    assert seen[-1] == ["q1", "a3", "q2", "a2", *([] if given is dict else ["q3"])]


def test_a_stream_sent_again_after_it_broke_off_is_kept_whole(store):
    chain = with_session_history(RunnableGenerator(pieces, apieces), store)
    new = [HumanMessage("one two three", id="m1")]
    broken = chain.stream(new, CONFIG)
    next(broken)
    broken.close()
    assert log(store)[1] == ("assistant", "one")
    list(chain.stream(new, CONFIG))
    assert [content for _, content in log(store)] == ["one two three", "onetwothree"]
    broken = chain.stream(new, CONFIG)
    next(broken)
    broken.close()
    assert log(store)[1] == ("assistant", "onetwothree")


def test_steps_that_run_again_are_kept_beside_the_first_ones(store):
    call = {"name": "f", "args": {}, "id": "c1", "type": "tool_call"}

    def steps(_):
        return [
            AIMessage("", tool_calls=[call]),
            ToolMessage("2", tool_call_id="c1"),
            AIMessage("ok"),
        ]

    chain = with_session_history(RunnableLambda(steps), store)
    for _ in range(2):
        chain.invoke([HumanMessage("q", id="m1")], CONFIG)
    assert [m.role for m in store.get_messages("s")] == [
        "user",
        *["assistant", "tool", "assistant"] * 2,
    ]


# -- Each method ----------------------------------------------------------------------------------


def test_ainvoke_does_what_invoke_does(store):
    chain = with_session_history(echo, store)

    async def talk():
        return [await chain.ainvoke("a", CONFIG), await chain.ainvoke("b", CONFIG)]

    assert asyncio.run(talk()) == ["a", "a a b"]
    assert len(log(store)) == 4


def test_stream_passes_chunks_on_as_they_come_and_saves_the_whole(store):
    chain = with_session_history(RunnableGenerator(pieces, apieces), store)
    chunks = chain.stream("well hello there", CONFIG)
    assert next(chunks).content == "well"
    assert log(store) == []
    assert [chunk.content for chunk in chunks] == ["hello", "there"]
    assert log(store) == [("user", "well hello there"), ("assistant", "wellhellothere")]


def test_astream_does_what_stream_does(store):
    chain = with_session_history(RunnableGenerator(pieces, apieces), store)

    async def talk():
        return [chunk.content async for chunk in chain.astream("well hello", CONFIG)]

    assert asyncio.run(talk()) == ["well", "hello"]
    assert log(store) == [("user", "well hello"), ("assistant", "wellhello")]


def test_what_was_streamed_before_the_caller_left_is_kept(store):
    chain = with_session_history(RunnableGenerator(pieces, apieces), store)
    chunks = chain.stream("one two three", CONFIG)
    next(chunks)
    chunks.close()
    assert log(store) == [("user", "one two three"), ("assistant", "one")]


def test_closing_an_async_stream_saves_at_once(store):
    chain = with_session_history(RunnableGenerator(pieces, apieces), store)

    async def talk():
        async with aclosing(chain.astream("four five", CONFIG)) as chunks:
            async for _ in chunks:
                break
        return log(store)

    assert asyncio.run(talk()) == [("user", "four five"), ("assistant", "four")]


def test_a_cancelled_stream_is_saved_however_often_it_is_cancelled(store):
    async def slow(values):
        async for messages in values:
            yield AIMessageChunk(messages[-1].content, id="run-1")
            await asyncio.Event().wait()

    chain = with_session_history(RunnableGenerator(pieces, slow), store)

    async def talk():
        heard = asyncio.Event()

        async def listen():
            async for _ in chain.astream("four", CONFIG):
                heard.set()

        listener = asyncio.create_task(listen())
        await heard.wait()
        while not listener.done():
            listener.cancel()
            await asyncio.sleep(0)

    asyncio.run(talk())
    assert log(store) == [("user", "four"), ("assistant", "four")]


async def answered(chain):
    return await chain.ainvoke("six seven", CONFIG)


async def listened(chain):
    return [chunk async for chunk in chain.astream("six seven", CONFIG)]


@pytest.mark.parametrize("fault", [None, "down"])
@pytest.mark.parametrize("call", [answered, listened])
def test_a_turn_whose_caller_is_cancelled_while_it_is_saved_is_kept_whole(store, call, fault):
    faulty = FaultyStore(store)

    async def talk():
        saving, go_on = asyncio.Event(), asyncio.Event()

        async def wait():
            if faulty.requests == 1:  # the session was read
                saving.set()
                await go_on.wait()
                faulty.fault = lambda: fault

        faulty.asynchronously = wait
        chain = with_session_history(RunnableGenerator(pieces, apieces), faulty)
        caller = asyncio.create_task(call(chain))
        await saving.wait()
        for _ in range(3):
            caller.cancel()
            await asyncio.sleep(0)
        assert not caller.done()
        go_on.set()
        await asyncio.wait([caller])
        assert caller.cancelled()

    asyncio.run(talk())
    assert log(store) == ([] if fault else [("user", "six seven"), ("assistant", "sixseven")])


def test_cancelling_a_stream_raises_cancelled_error_though_its_save_fails():
    async def slow(values):
        async for _ in values:
            yield AIMessageChunk("four", id="run-1")
            await asyncio.Event().wait()

    async def talk():
        heard = asyncio.Event()

        async def listen():
            async for _ in with_session_history(RunnableGenerator(pieces, slow), Failing()).astream(
                "four", CONFIG
            ):
                heard.set()

        listener = asyncio.create_task(listen())
        await heard.wait()
        listener.cancel()
        await asyncio.wait([listener])
        assert listener.cancelled()

    asyncio.run(talk())


def test_closing_an_async_stream_raises_where_its_save_fails():
    async def talk():
        chain = with_session_history(RunnableGenerator(pieces, apieces), Failing())
        chunks = chain.astream("one two", CONFIG)
        await anext(chunks)
        with pytest.raises(SessionSaveError) as caught:
            await chunks.aclose()
        assert caught.value.answer.content == "one"

    asyncio.run(talk())


def test_an_unfinished_tool_call_is_not_kept(store):
    def call(_):
        args = {"name": "delete", "id": "c1", "index": 0}
        yield AIMessageChunk("I will.", tool_call_chunks=[{**args, "args": '{"path": "/etc'}])
        yield AIMessageChunk("", tool_call_chunks=[{**args, "name": None, "args": '/passwd"}'}])

    chunks = with_session_history(RunnableGenerator(call), store).stream("go", CONFIG)
    next(chunks)
    chunks.close()
    [_, answer] = store.get_messages("s")
    assert (answer.content, answer.tool_calls) == ("I will.", [])


def test_chunks_that_are_dicts_or_whole_messages_are_all_kept(store):
    def in_dicts(_):
        yield {"answer": "a1 "}
        yield {"answer": "a2"}

    def whole(_):
        yield AIMessage("b1")
        yield AIMessage("b2")

    assert (
        len(list(with_session_history(RunnableGenerator(in_dicts), store).stream("a", CONFIG))) == 2
    )
    assert len(list(with_session_history(RunnableGenerator(whole), store).stream("b", CONFIG))) == 2
    assert [content for _, content in log(store)] == ["a", "a1 a2", "b", "b1", "b2"]


def test_batch_and_abatch_keep_each_session_apart(store):
    chain = with_session_history(echo, store)
    configs = [{"configurable": {"session_id": f"s{n}"}} for n in range(4)]
    assert chain.batch(list("abcd"), configs) == list("abcd")
    assert asyncio.run(chain.abatch(list("efgh"), configs)) == [
        "a a e",
        "b b f",
        "c c g",
        "d d h",
    ]


def test_two_turns_at_once_are_both_kept_whole(store):
    both_read = threading.Barrier(2)

    def answer(messages):
        both_read.wait(10)
        return f"to {messages[-1].content}"

    chain = with_session_history(RunnableLambda(answer), store)
    chain.batch(["A", "B"], [CONFIG, CONFIG])
    said = [content for _, content in log(store)]
    assert said in (["A", "to A", "B", "to B"], ["B", "to B", "A", "to A"])


def test_a_runnable_nested_in_a_chain_gets_the_chains_config(store):
    chain = (
        RunnableLambda(str.upper) | with_session_history(echo, store) | RunnableLambda(str.lower)
    )
    assert chain.invoke("a", CONFIG) == "a"
    assert "".join(chain.stream("b", CONFIG)) == "a a b"
    assert len(log(store)) == 4


def test_keyword_arguments_reach_the_runnable(store):
    chain = with_session_history(RunnableLambda(lambda _, mark: mark), store)
    assert chain.invoke("a", CONFIG, mark="!") == "!"
    assert chain.bind(mark="?").invoke("a", CONFIG) == "?"


# -- What it needs and refuses -----------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [None, {}, {"configurable": {}}, {"configurable": {"user_id": "u"}}]
)
def test_a_missing_session_id_is_an_error_that_says_what_to_pass(store, config):
    chain = with_session_history(echo, store)
    with pytest.raises(InvalidSessionError, match="lacks session_id: pass config="):
        chain.invoke("a", config)
    with pytest.raises(InvalidSessionError, match="lacks session_id"):
        asyncio.run(chain.ainvoke("a", config))
    with pytest.raises(InvalidSessionError, match="lacks session_id"):
        next(chain.stream("a", config))


def test_user_scoped_needs_a_user_and_refuses_another_before_the_runnable_runs(store):
    ran = []
    chain = with_session_history(
        RunnableLambda(lambda _: ran.append(1) or "ok"), store, user_scoped=True
    )
    with pytest.raises(InvalidSessionError, match="user_id"):
        chain.invoke("a", CONFIG)
    chain.invoke("a", {"configurable": {"session_id": "s", "user_id": "alice"}})
    with pytest.raises(SessionAccessError):
        chain.invoke("b", {"configurable": {"session_id": "s", "user_id": "mallory"}})
    assert len(ran) == 1
    assert store.get("s").user_id == "alice"
    assert {spec.id for spec in chain.config_specs} == {"session_id", "user_id"}


async def reports(_):
    """Nobody would await this."""


class Reporter:
    async def __call__(self, _):
        """Nobody would await this either."""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"store": "sqlite:///x.db"}, TypeError),
        ({"store": None}, TypeError),
        ({"window": 5}, TypeError),
        ({"agent_id": ""}, InvalidSessionError),
        ({"on_save_error": 5}, TypeError),
        ({"on_save_error": reports}, TypeError),
        ({"on_save_error": partial(reports)}, TypeError),
        ({"on_save_error": Reporter()}, TypeError),
    ],
)
def test_wrong_keys_and_inputs_are_refused_before_anything_runs(options, error):
    with pytest.raises(error, match=r"must be|is empty"):
        with_session_history(echo, **{"store": InMemorySessionStore(), **options})


def test_a_plain_function_is_a_runnable_too(store):
    assert (
        with_session_history(lambda messages: messages[-1].content, store).invoke("a", CONFIG)
        == "a"
    )


def test_nothing_is_kept_where_the_runnable_raises(store):
    def fail(_):
        raise RuntimeError("no model today")

    with pytest.raises(RuntimeError, match="no model today"):
        with_session_history(RunnableLambda(fail), store).invoke("a", CONFIG)
    assert log(store) == []


@pytest.mark.parametrize(
    ("value", "options", "words"),
    [
        (5, {}, "int"),
        ({"x": "a", "y": "b"}, {}, "no key 'input'"),
        ("a", {"input_messages_key": "talk"}, "dict"),
        ("a", {"history_messages_key": "history"}, "dict"),
    ],
)
def test_an_input_of_no_known_shape_is_refused(store, value, options, words):
    with pytest.raises(InvalidMessageError, match=words):
        with_session_history(echo, store, **options).invoke(value, CONFIG)
    assert log(store) == []


class Failing(HookedStore):
    """A store that reads, and whose writes fail."""

    def before(self, operation):
        if operation.is_write:
            raise StoreUnavailableError("gone")


def test_a_failed_save_reaches_the_caller_with_the_answer():
    chain = with_session_history(echo, Failing())
    with pytest.raises(SessionSaveError) as caught:
        chain.invoke("a", CONFIG)
    assert caught.value.answer == "a"
    assert not caught.value.input_saved
    assert str(caught.value).startswith(
        "the turn could not be saved (the answer is in error.answer"
    )
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    assert isinstance(caught.value, SessionStoreError)

    with pytest.raises(SessionSaveError) as caught:
        asyncio.run(chain.ainvoke("b", CONFIG))
    assert caught.value.answer == "b"

    heard = []
    with pytest.raises(SessionSaveError) as caught:
        heard.extend(chain.stream("c", CONFIG))
    assert caught.value.answer == "c"

    results = chain.batch(["d", "e"], CONFIG, return_exceptions=True)
    assert [result.answer for result in results] == ["d", "e"]


def test_an_answer_of_no_known_shape_is_a_failed_save(store):
    with pytest.raises(SessionSaveError) as caught:
        with_session_history(RunnableLambda(lambda _: 5), store).invoke("a", CONFIG)
    assert caught.value.answer == 5
    assert "not int" in str(caught.value)
    assert log(store) == [("user", "a")]  # what the user said is kept all the same
    assert str(caught.value).startswith(
        "the answer could not be saved, but what the user said was ("
    )
    sent = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (sent.answer, sent.input_saved, str(sent)) == (5, True, str(caught.value))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("anwser", "the output has no key 'anwser': correct its output_messages_key"),
        (None, "the output has no key 'output': name its output_messages_key"),
    ],
)
def test_a_wrong_output_key_raises_and_keeps_what_the_user_said(store, key, hint):
    say = RunnableLambda(lambda _: {"answer": "secret", "sources": []})
    with pytest.raises(SessionSaveError, match=hint) as caught:
        with_session_history(say, store, output_messages_key=key).invoke("a", CONFIG)
    assert caught.value.input_saved
    assert "secret" not in str(caught.value)
    assert log(store) == [("user", "a")]


def nothing(values):
    yield from (value for value in values if value is None)


async def anothing(values):
    async for value in values:
        if value is None:
            yield value


@pytest.mark.parametrize(
    "runnable",
    [RunnableLambda(lambda _: None), RunnableGenerator(nothing, anothing)],
    ids=["None", "nothing"],
)
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_a_runnable_that_gives_no_answer_is_a_failed_save(store, runnable, how):
    chain = with_session_history(runnable, store)

    async def of_astream():
        return [chunk async for chunk in chain.astream("a", CONFIG)]

    calls = {
        "invoke": lambda: chain.invoke("a", CONFIG),
        "ainvoke": lambda: asyncio.run(chain.ainvoke("a", CONFIG)),
        "stream": lambda: list(chain.stream("a", CONFIG)),
        "astream": lambda: asyncio.run(of_astream()),
    }
    with pytest.raises(SessionSaveError, match="gave None, which is no answer") as caught:
        calls[how]()
    assert (caught.value.answer, caught.value.input_saved) == (None, True)
    assert log(store) == [("user", "a")]


def test_on_save_error_takes_the_failure_and_the_answer_is_given():
    failures = []
    chain = with_session_history(echo, Failing(), on_save_error=failures.append)
    assert chain.invoke("a", CONFIG) == "a"
    assert failures[0].answer == "a"
    assert isinstance(failures[0].__cause__, StoreUnavailableError)


def test_a_window_bounds_what_the_runnable_sees(store):
    chain = with_session_history(echo, store, window=Window(max_messages=2))
    for text in "abc":
        last = chain.invoke(text, CONFIG)
    assert last == "b a a b c"
    assert len(log(store)) == 6


def test_a_turn_costs_one_read_and_one_write():
    class Counting(HookedStore):
        def __init__(self):
            super().__init__()
            self.calls = []

        def before(self, operation):
            self.calls.append("write" if operation.is_write else "read")

    store = Counting()
    with_session_history(echo, store).invoke("a", CONFIG)
    assert store.calls == ["read", "write"]


def test_the_schemas_describe_input_and_output(store):
    chain = with_session_history(echo, store, input_messages_key="talk")
    assert set(chain.get_input_jsonschema()["properties"]) == {"talk"}
    assert chain.get_output_schema() is not None
    assert "array" in str(with_session_history(echo, store).get_input_jsonschema())


def test_with_session_history_raises_no_deprecation_warning(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_session_history(echo, store).invoke("a", CONFIG)
