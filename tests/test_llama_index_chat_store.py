"""`SessionChatStore` beside LlamaIndex's own `SimpleChatStore`, and in what LlamaIndex builds."""

import asyncio
import threading
import uuid

import pytest
from hooked import HookedStore
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.chat_engine import CondensePlusContextChatEngine, SimpleChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index_stores import KINDS, Counting, Loop, opened

from llama_index_sessionstore import SessionChatStore
from llama_index_sessionstore import chat_store as chat_store_module
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SessionStoreError,
)
from sessionstore.operations import ListSessions


@pytest.fixture(params=KINDS)
def store(request):
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def run():
    loop = Loop()
    yield loop
    loop.close()


def said(messages):
    return [message.content for message in messages]


ASYNC = {"add_message": "async_add_message"}


def either(run, mode):
    """Call a chat store's method sync or async."""

    def call(chat_store, name, *args):
        if mode == "sync":
            return getattr(chat_store, name)(*args)
        return run(getattr(chat_store, ASYNC.get(name, f"a{name}"))(*args))

    return call


# -- Beside SimpleChatStore -----------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "a{*}\n🙂"])
messages = st.builds(
    ChatMessage,
    st.text("xyz", max_size=2),
    role=st.sampled_from(["user", "assistant", "system", "tool"]),
    additional_kwargs=st.just({}) | st.just({"tool_call_id": "c1"}),
)
places = st.integers(-7, 7)


class SideBySide(RuleBasedStateMachine):
    """LlamaIndex's store and ours, sync and async: each call has the same outcome in all three."""

    store = run = None

    @initialize()
    def begin(self):
        self.agents = [uuid.uuid4().hex, uuid.uuid4().hex]
        ours = [SessionChatStore(self.store, agent_id=agent) for agent in self.agents]
        self.all = [
            (SimpleChatStore(), either(self.run, "sync"), ""),
            (ours[0], either(self.run, "sync"), f"{self.agents[0]} "),
            (ours[1], either(self.run, "async"), f"{self.agents[1]} "),
        ]

    def same(self, name, key, *args):
        """Call a method of all; an argument that is a function is given what the store holds."""
        outcomes = []
        for chat_store, call, prefix in self.all:
            held = [*call(chat_store, "get_messages", prefix + key)]
            given = [arg(held) if callable(arg) else arg for arg in args]
            try:
                outcome = call(chat_store, name, prefix + key, *given)
            except (IndexError, SessionStoreError) as error:
                outcome = type(error)
            outcomes.append([*outcome] if isinstance(outcome, list) else outcome)
        assert outcomes[0] == outcomes[1] == outcomes[2]

    @rule(key=keys, given=st.lists(messages, max_size=5))
    def set(self, key, given):
        self.same("set_messages", key, lambda _: [*given])

    @rule(key=keys, picked=st.lists(st.integers(0, 9), max_size=6), new=st.lists(messages))
    def set_what_was_read(self, key, picked, new):
        self.same(
            "set_messages",
            key,
            lambda held: [*(held[at % len(held)] for at in picked if held), *new],
        )

    @rule(key=keys, message=messages)
    def add(self, key, message):
        self.same("add_message", key, message)

    @rule(key=keys, place=st.integers(0, 9), message=messages)
    def add_what_was_read(self, key, place, message):
        self.same("add_message", key, lambda held: held[place % len(held)] if held else message)

    @rule(key=keys, place=places)
    def delete_one(self, key, place):
        self.same("delete_message", key, place)

    @rule(key=keys)
    def delete_last(self, key):
        self.same("delete_last_message", key)

    @rule(key=keys)
    def delete_all(self, key):
        self.same("delete_messages", key)

    @rule(key=keys)
    def read(self, key):
        self.same("get_messages", key)

    @invariant()
    def keys_are_the_same(self):
        if hasattr(self, "all"):
            found = [
                {key.removeprefix(prefix) for key in call(chat_store, "get_keys")}
                for chat_store, call, prefix in self.all
            ]
            assert found[0] == found[1] == found[2]


def test_every_call_has_the_same_outcome_as_in_simple_chat_store(store, run):
    machine = type("Machine", (SideBySide,), {"store": store, "run": staticmethod(run)})
    many = isinstance(store, InMemorySessionStore)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20 if many else 4,
            stateful_step_count=25 if many else 15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


class NoneForTheLast(SimpleChatStore):
    """A version that gives ``None`` for the last message of an empty history."""

    def delete_last_message(self, key):
        return self.store[key].pop() if self.store.get(key) else None


class NoneBeforeTheOldest(NoneForTheLast):
    """A version that gives ``None`` for a negative index out of range, too."""

    def delete_message(self, key, idx):
        held = self.store.get(key, [])
        return held.pop(idx) if -len(held) <= idx < len(held) else None


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("version", [SimpleChatStore, NoneForTheLast, NoneBeforeTheOldest])
def test_deleting_from_an_empty_session_does_what_the_installed_version_does(
    monkeypatch, run, mode, version
):
    monkeypatch.setattr(chat_store_module, "SimpleChatStore", version)
    call = either(run, mode)
    ours = SessionChatStore(InMemorySessionStore())

    def outcome(chat_store, *args):
        try:
            return call(chat_store, *args)
        except IndexError:
            return IndexError

    for held in ([], [ChatMessage("a"), ChatMessage("b")]):
        for args in (("delete_message", -3), ("delete_message", 2), ("delete_last_message",)):
            for chat_store in (theirs := version(), ours):
                chat_store.set_messages("s", [*held])
            name, *places = args
            assert outcome(ours, name, "s", *places) == outcome(theirs, name, "s", *places)


def test_a_message_that_is_set_twice_is_there_twice():
    chat_store = SessionChatStore(InMemorySessionStore())
    chat_store.add_message("s1", ChatMessage("Hello!"))
    [read] = chat_store.get_messages("s1")
    chat_store.set_messages("s1", [read, ChatMessage("And again:"), read])
    assert said(chat_store.get_messages("s1")) == ["Hello!", "And again:", "Hello!"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_message_is_deleted_at_any_position_of_a_long_session(run, mode):
    store = Counting()
    call = either(run, mode)
    store.append_messages("s", [SessionMessage("user", str(n), id=str(n)) for n in range(500)])
    chat_store = SessionChatStore(store)
    rest = [str(n) for n in range(500)]
    for place in (-1, 0, 3, -4, 250, -251, 493, 470, 10, -480):
        store.forget()
        assert call(chat_store, "delete_message", "s", place).content == rest.pop(place)
        distance = min(place % 500, -place % 500)
        assert store.handed <= distance + 12
    assert call(chat_store, "delete_message", "s", 490) is None
    with pytest.raises(IndexError):
        call(chat_store, "delete_message", "s", -491)
    store.forget()
    call(chat_store, "delete_last_message", "s")
    call(chat_store, "add_message", "s", ChatMessage("x"))
    assert (store.handed, store.written) == (1, 1)
    assert said(call(chat_store, "get_messages", "s")) == [*rest[:-1], "x"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_each_message_is_returned_to_one_of_many_that_delete_the_last(store, mode):
    chat_store = SessionChatStore(store)
    for n in range(24):
        chat_store.add_message("s", ChatMessage(str(n)))
    taken = []

    def take():
        loop = Loop()
        delete = either(loop, mode)
        taken.extend(delete(chat_store, "delete_last_message", "s").content for _ in range(4))
        loop.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(n) for n in range(8, 24)]
    assert said(chat_store.get_messages("s")) == [str(n) for n in range(8)]


def test_async_methods_call_the_stores_async_side(store, run, monkeypatch):
    chat_store, under_way = SessionChatStore(store), []
    sync, asynchronous = type(store).run, type(store).arun

    async def arun(self, operation):
        under_way.append(operation)
        return await asynchronous(self, operation)

    def run_at_once(self, operation):
        # A store in memory waits for nothing: its own `arun` calls `run`.
        if not isinstance(self, InMemorySessionStore) or operation is not under_way.pop():
            pytest.fail("a blocking call")
        return sync(self, operation)

    monkeypatch.setattr(type(store), "arun", arun)
    monkeypatch.setattr(type(store), "run", run_at_once)
    monkeypatch.setattr(asyncio, "to_thread", lambda *_: pytest.fail("a hop to a thread"))
    hello = ChatMessage("Hello!")
    call = either(run, "async")
    assert call(chat_store, "set_messages", "s", [hello]) is None
    assert call(chat_store, "add_message", "s", hello) is None
    assert call(chat_store, "get_messages", "s") == [hello, hello]
    assert call(chat_store, "delete_message", "s", 0) == hello
    assert call(chat_store, "get_keys") == ["s"]
    assert call(chat_store, "delete_last_message", "s") == hello
    assert call(chat_store, "delete_messages", "s") == []


# -- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_get_keys_gives_the_sessions_of_its_agent_and_user_only(redis_server, run, mode):
    mine, other = uuid.uuid4().hex, uuid.uuid4().hex
    with (
        RedisSessionStore(redis_server.url, key_prefix=f"{mine}:") as store,
        RedisSessionStore(redis_server.url, key_prefix=f"{other}:") as others,
        redis_server.client() as client,
    ):
        client.set(f"{mine}:note", "x")
        client.rpush("chat_store:s9", "x")
        SessionChatStore(others).add_message("theirs", ChatMessage("x"))
        SessionChatStore(store, agent_id="helper").add_message("helper's", ChatMessage("x"))
        SessionChatStore(store, user_id="bob").add_message("bob's", ChatMessage("x"))
        SessionChatStore(store, user_id="alice").add_message("alice's", ChatMessage("x"))
        call = either(run, mode)
        assert set(call(SessionChatStore(store), "get_keys")) == {"bob's", "alice's"}
        assert call(SessionChatStore(store, user_id="bob"), "get_keys") == ["bob's"]
        assert call(SessionChatStore(store, agent_id="helper"), "get_keys") == ["helper's"]


class Busy(HookedStore):
    """A store in which somebody writes to the oldest sessions between two pages of a list."""

    def after(self, operation, result):  # noqa: ARG002
        if isinstance(operation, ListSessions) and operation.cursor is None:
            for n in range(5):
                self.append_message(f"s{n}", SessionMessage("user", "x", id="again"))


def test_get_keys_gives_all_sessions_though_some_are_written_to_meanwhile(run):
    store = Busy()
    for n in range(1500):
        store.append_message(f"s{n}", SessionMessage("user", "x", id="1"))
    chat_store = SessionChatStore(store)
    for mode in ("sync", "async"):
        keys = either(run, mode)(chat_store, "get_keys")
        assert (len(keys), set(keys)) == (1500, {f"s{n}" for n in range(1500)})


# -- Owners and mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_another_users_session_is_closed_to_every_method(store, run, mode):
    call = either(run, mode)
    SessionChatStore(store, user_id="alice").add_message("s", ChatMessage("mine"))
    mallory = SessionChatStore(store, user_id="mallory")
    for name, args in {
        "set_messages": [[]],
        "get_messages": [],
        "add_message": [ChatMessage("x")],
        "delete_messages": [],
        "delete_message": [0],
        "delete_last_message": [],
    }.items():
        with pytest.raises(SessionAccessError):
            call(mallory, name, "s", *args)
    assert call(mallory, "get_keys") == []
    assert said(SessionChatStore(store).get_messages("s")) == ["mine"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_message_that_can_not_be_stored_changes_nothing(store, run, mode):
    call = either(run, mode)
    chat_store = SessionChatStore(store)
    chat_store.add_message("s", ChatMessage("first"))
    bad = ChatMessage("", additional_kwargs={"x": object()})
    for name, given in (("add_message", bad), ("set_messages", [ChatMessage("a"), bad])):
        with pytest.raises(InvalidMessageError):
            call(chat_store, name, "s", given)
    assert said(chat_store.get_messages("s")) == ["first"]


def test_a_store_that_is_no_session_store_is_refused():
    with pytest.raises(TypeError, match="must be a SessionStore, not str"):
        SessionChatStore("redis://localhost")
    with pytest.raises(TypeError, match="must be a SessionStore, not dict"):
        SessionChatStore().bind({})


# -- In LlamaIndex's memories, engines and agents -------------------------------------------------


def memory_of(store, key="s", **options):
    options = {"token_limit": 1000, "tokenizer_fn": str.split, **options}
    return ChatMemoryBuffer.from_defaults(
        chat_store=SessionChatStore(store), chat_store_key=key, **options
    )


def test_a_buffer_shows_the_last_messages_and_keeps_all(store, run):
    memory = memory_of(store, token_limit=4)
    for n in range(3):
        memory.put(ChatMessage(f"question {n}"))
        run(memory.aput(ChatMessage(f"answer {n}", role="assistant")))
    assert said(memory.get()) == said(run(memory.aget())) == ["question 2", "answer 2"]
    assert len(memory.get_all()) == len(run(memory.aget_all())) == 6
    memory.set([ChatMessage("anew")])
    run(memory.aput_messages([ChatMessage("and on")]))
    assert said(memory.get()) == ["anew", "and on"]
    run(memory.areset())
    assert memory.get() == []


def test_a_summary_takes_the_place_of_what_it_sums_up(store):
    memory = ChatSummaryMemoryBuffer.from_defaults(
        chat_store=SessionChatStore(store, user_id="alice"),
        chat_store_key="s",
        llm=MockLLM(max_tokens=2),
        token_limit=4,
        tokenizer_fn=str.split,
    )
    for n in range(3):
        memory.put(ChatMessage(f"question {n}"))
        memory.put(ChatMessage(f"answer {n}", role="assistant"))
    summary, *rest = memory.get()
    assert (summary.role, said(rest)) == ("system", ["question 2", "answer 2"])
    assert memory.get_all() == [summary, *rest]
    assert store.get("s").user_id == "alice"


# LlamaIndex asks for a loop where there is none: Python 3.12 and later warn it.
@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
def test_chat_engines_keep_their_turns_in_the_store(store, run):
    simple = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory_of(store, "simple"))
    index = VectorStoreIndex.from_documents(
        [Document(text="Cats purr.")], embed_model=MockEmbedding(embed_dim=2)
    )
    condensing = CondensePlusContextChatEngine.from_defaults(
        index.as_retriever(), llm=MockLLM(max_tokens=3), memory=memory_of(store, "condensing")
    )
    for key, engine in (("simple", simple), ("condensing", condensing)):
        first = str(engine.chat("Do cats purr?"))
        second = str(run(engine.achat("And dogs?")))
        shown = said(memory_of(store, key).get())
        assert shown == ["Do cats purr?", first, "And dogs?", second]
    engine = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory_of(store, "simple"))
    assert len(engine.chat_history) == 4


def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}."


CALL = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Ulm"})


def in_ulm(messages, **_):
    if messages[-1].role == "tool":
        return ChatMessage(f"It is {messages[-1].content}", role="assistant")
    return ChatMessage(role="assistant", blocks=[CALL])


def calling():
    return MockFunctionCallingLLM(response_generator=in_ulm, is_chat_model=True)


def function_agent():
    return FunctionAgent(llm=calling(), tools=[weather], streaming=False)


def workflow():
    agent = FunctionAgent(
        name="forecaster", description="x", llm=calling(), tools=[weather], streaming=False
    )
    return AgentWorkflow(agents=[agent], root_agent="forecaster")


def making_agents(test):
    """Let a test make agents: LlamaIndex looks at all their attributes, the deprecated ones too."""
    for version in ("20", "211"):
        category = f"pydantic.warnings.PydanticDeprecatedSince{version}"
        test = pytest.mark.filterwarnings(f"ignore:.*attribute.*deprecated:{category}")(test)
    return test


@making_agents
@pytest.mark.parametrize("made", [function_agent, workflow])
def test_agents_keep_calls_and_results(store, run, made):
    async def ask():
        await made().run("Weather?", memory=memory_of(store))
        return await made().run("And now?", memory=memory_of(store))

    answer = str(run(ask()))
    assert answer == "It is Sunny in Ulm."
    shown = memory_of(store).get()
    assert [message.role.value for message in shown] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ] * 2
    assert shown[1].blocks == [CALL]
    assert shown[2].additional_kwargs["tool_call_id"] == "c1"
    [stored] = store.get("s", limit=3).messages[:1]
    assert stored.tool_calls == [{"id": "c1", "name": "weather", "args": {"city": "Ulm"}}]


class Scripted(MockLLM):
    """A model that thinks aloud, as ReAct wants it."""

    def _generate_text(self, length):
        raise AssertionError(length)

    async def astream_chat(self, messages, **_):
        [text] = (await self.achat(messages),)

        async def whole():
            yield text

        return whole()

    async def achat(self, messages, **_):
        seen = any("Observation:" in (message.content or "") for message in messages[-1:])
        text = (
            "Thought: I can answer.\nAnswer: Sunny."
            if seen
            else 'Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Ulm"}'
        )
        return ChatResponse(message=ChatMessage(text, role="assistant"), delta=text)


@making_agents
@pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning")
def test_a_react_agent_keeps_its_turns_in_the_store(store, run):
    async def ask():
        agent = ReActAgent(llm=Scripted(), tools=[weather])
        first = await agent.run("Weather?", memory=memory_of(store))
        return str(first), str(await agent.run("And now?", memory=memory_of(store)))

    assert run(ask()) == ("Sunny.", "Sunny.")
    shown = said(memory_of(store).get())
    assert (shown[0], "And now?" in shown) == ("Weather?", True)
