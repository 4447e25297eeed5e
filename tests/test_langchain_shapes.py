"""`with_session_history` beside `RunnableWithMessageHistory`: the same results, the same history.

Where they differ by intent, the test says how and why.
"""

import asyncio
import warnings
from collections import defaultdict
from functools import partial

import pytest
from counting_agent import CountingModel
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
)
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import (
    ConfigurableFieldSpec,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)

from langchain_sessionstore import session_history_factory, with_session_history
from sessionstore import InMemorySessionStore


class Theirs:
    """`RunnableWithMessageHistory` over `InMemoryChatMessageHistory`."""

    def __init__(self):
        self.histories = defaultdict(self._history)

    def _history(self):
        from langchain_core.chat_history import InMemoryChatMessageHistory  # noqa: PLC0415

        return _quietly(InMemoryChatMessageHistory)

    def get(self, session_id, user_id=None):  # noqa: ARG002
        return self.histories[session_id]

    def wrap(self, runnable, *, user_scoped=False, **options):
        from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

        if user_scoped:
            options["history_factory_config"] = [
                ConfigurableFieldSpec(id=key, annotation=str, default="", is_shared=True)
                for key in ("session_id", "user_id")
            ]
            return _quietly(RunnableWithMessageHistory, runnable, self.get, **options)

        def get(session_id):
            return self.get(session_id)

        return _quietly(RunnableWithMessageHistory, runnable, get, **options)


class Ours:
    """`with_session_history`."""

    def __init__(self):
        store = InMemorySessionStore()
        self.get = session_history_factory(store)
        self.wrap = partial(with_session_history, store=store)


class TheirsOnOurs(Theirs):
    """`RunnableWithMessageHistory` over histories of ours."""

    def __init__(self):
        self.get = session_history_factory(InMemorySessionStore())


def _quietly(cls, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return cls(*args, **kwargs)


def plain(value):
    """Give what counts of a result: ids are new in each run, and chunks are messages."""
    if isinstance(value, BaseMessage):
        if isinstance(value, BaseMessageChunk):
            value = message_chunk_to_message(value)
        return (value.type, value.content, getattr(value, "tool_calls", None))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "to_messages"):
        return plain(value.to_messages())
    return value


# -- The methods -------------------------------------------------------------------------------


def config(session_id="s"):
    return {"configurable": {"session_id": session_id, "user_id": "alice"}}


def invoke(chain, value):
    return chain.invoke(value, config())


def ainvoke(chain, value):
    return asyncio.run(chain.ainvoke(value, config()))


def by_key(chunks):
    """Put the chunks of branches that ran beside each other in one order."""
    return sorted(chunks, key=lambda chunk: list(chunk) if isinstance(chunk, dict) else [])


def stream(chain, value):
    return by_key(chain.stream(value, config()))


def astream(chain, value):
    async def listen():
        return by_key([chunk async for chunk in chain.astream(value, config())])

    return asyncio.run(listen())


def batch(chain, value):
    return chain.batch([value, value], [config(), config("t")])


def abatch(chain, value):
    return asyncio.run(chain.abatch([value, value], [config(), config("t")]))


def batch_as_completed(chain, value):
    return sorted(chain.batch_as_completed([value, value], [config(), config("t")]), key=str)


METHODS = [invoke, ainvoke, stream, astream, batch, abatch, batch_as_completed]


# -- The shapes --------------------------------------------------------------------------------


def text_of(value):
    """Say all that came in, in one line."""
    if isinstance(value, dict):
        return " ".join(f"{key}:{text_of(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list):
        return "+".join(map(text_of, value))
    return value.text if isinstance(value, BaseMessage) else str(value)


def answering(shape):
    return lambda: RunnableLambda(lambda value: shape(text_of(value)))


def words(values):
    for value in values:
        for word in text_of(value).split("+"):
            yield f"{word} "


async def awords(values):
    async for value in values:
        for word in words([value]):
            yield word


def prompted():
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be {mood}."), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    return prompt | CountingModel()


QUESTION = {"input_messages_key": "question", "history_messages_key": "history"}
TALK = {"input_messages_key": "talk"}
ASKED = {"mood": "kind", "question": "why"}

SHAPES = {
    # From a list, in each form that an input has
    "string to string": (answering(str), {}, "hi"),
    "message to string": (answering(str), {}, HumanMessage("hi")),
    "list to string": (answering(str), {}, [HumanMessage("hi"), HumanMessage("you")]),
    "tuple to string": (answering(str), {}, (HumanMessage("hi"),)),
    "dict of one key to string": (answering(str), {}, {"any": "hi"}),
    "dict with 'input' to string": (answering(str), {}, {"input": "hi", "more": 1}),
    # To each form that an output has
    "to message": (answering(AIMessage), {}, "hi"),
    "to list": (answering(lambda text: [AIMessage(text), AIMessage("more")]), {}, "hi"),
    "to dict of one key": (answering(lambda text: {"any": text}), {}, "hi"),
    "to dict with 'output'": (answering(lambda text: {"output": text, "n": 1}), {}, "hi"),
    "to dict with a key": (
        answering(lambda text: {"said": AIMessage(text), "n": 1}),
        {"output_messages_key": "said"},
        "hi",
    ),
    "to dict with a list": (
        answering(lambda text: {"said": [AIMessage(text), AIMessage("more")], "n": 1}),
        {"output_messages_key": "said"},
        "hi",
    ),
    # From dicts
    "dict to string": (answering(str), TALK, {"talk": "hi", "mood": "kind"}),
    "dict of messages to dict": (
        answering(lambda text: {"said": AIMessage(text), "n": 1}),
        {**TALK, "output_messages_key": "said"},
        {"talk": [HumanMessage("hi")]},
    ),
    "dict with history to message": (answering(AIMessage), QUESTION, ASKED),
    "dict of a message with history": (
        answering(str),
        QUESTION,
        {**ASKED, "question": HumanMessage("why")},
    ),
    # Models, chains and generators
    "model": (CountingModel, {}, [HumanMessage("hi")]),
    "model, from a string": (CountingModel, {}, "hi"),
    "prompt | model": (prompted, QUESTION, ASKED),
    "prompt | model | parser": (lambda: prompted() | StrOutputParser(), QUESTION, ASKED),
    "prompt | model in a dict": (
        lambda: RunnableParallel(said=prompted()),
        {**QUESTION, "output_messages_key": "said"},
        ASKED,
    ),
    "generator": (lambda: RunnableGenerator(words, awords), {}, "hi"),
    "for a user": (answering(str), {"user_scoped": True}, "hi"),
}

NESTED = {
    "alone": lambda chain: chain,
    "in the middle": lambda chain: (
        RunnablePassthrough() | chain | RunnableLambda(lambda v: ["after", v])
    ),
    "beside another": lambda chain: RunnableParallel(chain=chain, input=RunnablePassthrough()),
    "with fallbacks": lambda chain: chain.with_fallbacks([RunnableLambda(lambda _: "fallback")]),
    "as a fallback": lambda chain: RunnableLambda(lambda _: 1 / 0).with_fallbacks([chain]),
    "with retries": lambda chain: chain.with_retry(stop_after_attempt=2),
    "with a config": lambda chain: chain.with_config(run_name="named", tags=["tag"]),
    "picked": lambda chain: RunnablePassthrough.assign(said=chain).pick("said"),
    "mapped": lambda chain: RunnableLambda(lambda value: [value]) | chain.map(),
}
TAKE_DICTS = ("picked",)


def outcome(wiring, shape, wrapped, method):
    """Give the results of two turns, and what was kept."""
    runnable, options, value = SHAPES[shape]
    chain = NESTED[wrapped](wiring.wrap(runnable(), **options))
    results = [plain(method(chain, value)) for _ in range(2)]
    user = {"user_id": "alice"} if options.get("user_scoped") else {}
    return results, [plain(wiring.get(session, **user).messages) for session in "st"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_runnable_method_gives_and_keeps_the_same_as_langchains(shape, method):
    results = outcome(Theirs(), shape, "alone", method)
    assert outcome(Ours(), shape, "alone", method) == results
    assert outcome(TheirsOnOurs(), shape, "alone", method) == results
    assert results[1][0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrapped", [name for name in NESTED if name != "alone"])
def test_nested_in_a_chain_it_gives_and_keeps_the_same_as_langchains(wrapped, method):
    shapes = ["prompt | model"] if wrapped in TAKE_DICTS else ["prompt | model", "model"]
    for shape in shapes:
        results = outcome(Theirs(), shape, wrapped, method)
        assert outcome(Ours(), shape, wrapped, method) == results
        assert results[1][0]


# -- What is seen while it runs ----------------------------------------------------------------

WIRINGS = [Theirs, Ours]


class Recorder(BaseCallbackHandler):
    """Keeps what each run reported, by the run's name."""

    raise_error = True

    def __init__(self):
        self.names = {}
        self.parents = {}
        self.reported = []

    def _report(self, what, run_id, value):
        self.reported.append((self.names[run_id], what, plain(value)))

    def _start(self, run_id, parent_run_id, name, value):
        self.names[run_id] = name
        self.parents[run_id] = parent_run_id
        self._report("start", run_id, value)

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name, **_):  # noqa: ARG002
        self._start(run_id, parent_run_id, name, inputs)

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, tags, **_):  # noqa: ARG002
        self._start(run_id, parent_run_id, "model", [*messages, sorted(tags)])

    def on_llm_new_token(self, token, *, run_id, **_):
        self._report("token", run_id, token)

    def on_llm_end(self, response, *, run_id, **_):
        self._report("end", run_id, response.generations[0][0].message)

    def on_chain_end(self, outputs, *, run_id, **_):
        self._report("end", run_id, outputs)

    def on_chain_error(self, error, *, run_id, **_):
        self._report("error", run_id, repr(error))

    def of(self, *names):
        return [event for event in self.reported if event[0] in names]

    def roots(self):
        return [run_id for run_id, parent in self.parents.items() if parent is None]

    def is_under(self, run_id, root):
        while run_id is not None and run_id != root:
            run_id = self.parents[run_id]
        return run_id == root


def traced(wiring, call, runnable, options, value):
    chain, recorder = wiring().wrap(runnable, **options), Recorder()
    reported = {**config(), "callbacks": [recorder], "tags": ["mine"], "run_name": "turn"}
    for _ in range(2):
        call(chain.with_config(reported), value)
    return recorder


@pytest.mark.parametrize("call", [invoke, ainvoke, stream, astream])
def test_the_inner_runnable_is_traced_as_in_langchains(call):
    theirs, ours = (traced(wiring, call, prompted(), QUESTION, ASKED) for wiring in WIRINGS)
    for inside in ("ChatPromptTemplate", "model"):
        assert ours.of(inside) == theirs.of(inside)
        assert len(ours.of(inside)) > 3
    # Theirs has runs of its own between the turn's and the runnable's.
    assert len(ours.names) < len(theirs.names)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("call", [invoke, ainvoke, stream, astream])
def test_each_turn_is_one_tree_with_its_input_and_output(wiring, call):
    recorder = traced(wiring, call, CountingModel(), {}, "hi")
    assert [recorder.names[root] for root in recorder.roots()] == ["turn", "turn"]
    assert all(
        any(recorder.is_under(run, root) for root in recorder.roots()) for run in recorder.names
    )
    *_, (_, what, answer) = recorder.of("turn")
    assert what == "end"
    assert answer == ("ai", "3 messages, the last says hi", [])


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_failure_is_traced_up_to_the_root(wiring):
    def fail(_):
        raise ValueError("no model today")

    recorder = Recorder()
    chain = wiring().wrap(RunnableLambda(fail))
    with pytest.raises(ValueError, match="no model today"):
        chain.invoke("hi", {**config(), "callbacks": [recorder], "run_name": "turn"})
    assert recorder.of("turn")[-1][1:] == ("error", "ValueError('no model today')")
    assert recorder.of("fail")[-1][1:] == ("error", "ValueError('no model today')")


def passed_on(chunks):
    yield from chunks


async def apassed_on(chunks):
    async for chunk in chunks:
        yield chunk


AROUND = [
    lambda chain: chain,
    lambda chain: RunnablePassthrough() | chain | RunnableGenerator(passed_on, apassed_on),
    lambda chain: chain.with_config(run_name="named"),
]


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("around", AROUND)
def test_a_chunk_is_passed_on_before_the_next_one_is_made(wiring, around):
    made = []

    def one_by_one(_):
        for text in "abc":
            made.append(text)
            yield AIMessageChunk(text)

    async def a_one_by_one(values):
        async for value in values:
            for chunk in one_by_one(value):
                yield chunk

    async def listen():
        return [(chunk.text, made.copy()) async for chunk in chain.astream("hi", config())]

    chain = around(wiring().wrap(RunnableGenerator(one_by_one, a_one_by_one)))
    expected = [("a", ["a"]), ("b", ["a", "b"]), ("c", ["a", "b", "c"])]
    assert [(chunk.text, made.copy()) for chunk in chain.stream("hi", config())] == expected
    made.clear()
    assert asyncio.run(listen()) == expected


def events(wiring, runnable, options, value, **choice):
    async def listen():
        chain = wiring().wrap(runnable, **options)
        return [event async for event in chain.astream_events(value, config(), **choice)]

    return asyncio.run(listen())


def test_astream_events_of_the_model_are_the_same_as_langchains():
    def reported(wiring):
        return [
            (event["event"], plain(event["data"]))
            for event in events(
                wiring, prompted(), QUESTION, ASKED, include_names=["CountingModel"]
            )
        ]

    assert reported(Ours) == reported(Theirs)
    assert [kind for kind, _ in reported(Ours)].count("on_chat_model_stream") > 3


def test_astream_events_of_the_whole_are_the_same_as_langchains():
    def reported(wiring):
        root, *_ = everything = events(wiring, prompted(), QUESTION, ASKED)
        return [
            (event["event"], plain(event["data"]))
            for event in everything
            if event["run_id"] == root["run_id"]
        ]

    assert reported(Ours) == reported(Theirs)


@pytest.mark.filterwarnings("ignore:astream_log is deprecated")
def test_astream_log_ends_in_the_same_state_as_langchains():
    async def reported(wiring):
        last = None
        async for patch in wiring().wrap(prompted(), **QUESTION).astream_log(ASKED, config()):
            last = patch if last is None else last + patch
        return plain(last.state["final_output"]), plain(last.state["streamed_output"])

    ours, theirs = (asyncio.run(reported(wiring)) for wiring in (Ours, Theirs))
    assert ours == theirs
    assert ours[0][0] == "ai"


# -- What it says of itself --------------------------------------------------------------------

KEYED = [{}, TALK, QUESTION, {"user_scoped": True}]


@pytest.mark.parametrize("options", KEYED, ids=str)
def test_the_config_specs_are_the_same_as_langchains(options):
    ours, theirs = (wiring().wrap(CountingModel(), **options) for wiring in WIRINGS)
    reported = [
        {(spec.id, spec.annotation, spec.is_shared) for spec in chain.config_specs}
        for chain in (ours, theirs)
    ]
    assert reported[0] == reported[1]
    keys = [set(chain.get_config_jsonschema()["properties"]) for chain in (ours, theirs)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("options", KEYED, ids=str)
def test_the_input_schema_is_the_same_as_langchains(options):
    theirs, ours = (
        wiring().wrap(CountingModel(), **options).get_input_jsonschema() for wiring in WIRINGS
    )
    # Ours says of a dict's messages, with and without a history key, that a text will do:
    # it does in both.
    assert ours.keys() - {"$defs", "title"} == theirs.keys() - {"$defs", "title"}
    assert ours.get("properties", {}).keys() == theirs.get("properties", {}).keys()
    assert ours.get("required") == theirs.get("required")
    assert ours["type"] == theirs["type"]


def test_the_output_schema_is_that_of_the_runnable():
    runnable = prompted() | StrOutputParser()
    ours, theirs = (wiring().wrap(runnable, **QUESTION) for wiring in (Ours, Theirs))
    assert ours.get_output_jsonschema()["type"] == "string"
    # Theirs has the output of the runnable that loads its history: a dict of anything.
    assert theirs.get_output_jsonschema().get("type") != "string"


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("options", [{}, {"user_scoped": True}], ids=str)
@pytest.mark.parametrize("call", ["invoke", "stream", "batch"])
def test_a_config_without_its_keys_is_refused_before_anything_runs(wiring, options, call):
    model = CountingModel()
    chain = wiring().wrap(model, **options)
    value = ["hi"] if call == "batch" else "hi"
    with pytest.raises(ValueError, match="session_id"):
        list(getattr(chain, call)(value, {"configurable": {}}))
    assert model.seen == []
