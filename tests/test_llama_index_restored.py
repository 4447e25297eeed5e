"""Chat stores, memories and workflow contexts that come out of a dump, and go on."""

import asyncio
import copy
import enum
import gc
import json
import pickle
import uuid

import pytest
from children import Children
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer, Memory
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    InputRequiredEvent,
    JsonSerializer,
)
from llama_index_stores import Loop
from pydantic import BaseModel, ValidationError
from workflows.context.serializers import PickleSerializer

from llama_index_sessionstore import AsyncSessionChatStore, SessionChatStore, register_store
from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    SessionAccessError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
    open_store,
)

BOTH = pytest.mark.parametrize("cls", [SessionChatStore, AsyncSessionChatStore])
MEMORIES = [ChatMemoryBuffer, ChatSummaryMemoryBuffer, Memory]


@pytest.fixture
def run():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def store():
    with SQLiteSessionStore() as store:
        yield store


@pytest.fixture
def name():
    return f"store-{uuid.uuid4().hex}"


def said(messages):
    return [message.content for message in messages]


def memory_of(cls, store, key="s", **options):
    if cls is Memory:
        chat_store = AsyncSessionChatStore(store, **options)
        return Memory.from_defaults(session_id=key, chat_store=chat_store, token_limit=500)
    chat_store = SessionChatStore(store, **options)
    return cls.from_defaults(chat_store=chat_store, chat_store_key=key, token_limit=500)


def chat_store_of(memory):
    return memory.sql_store if isinstance(memory, Memory) else memory.chat_store


def from_elsewhere(dump):
    """Give a dump as another process would have made it, which has signed nothing here."""
    if "chat_store" in dump:
        return {**dump, "chat_store": from_elsewhere(dump["chat_store"])}
    return {**dump, "binding": "0123.4567"}


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - made here


def through_pickle_serializer(value):
    return PickleSerializer().deserialize(PickleSerializer().serialize(value))


def through_json_serializer(value):
    return JsonSerializer().deserialize(JsonSerializer().serialize(value))


# -- A workflow's context -------------------------------------------------------------------------


def making_agents(test):
    """Let a test make agents: LlamaIndex looks at all their attributes, the deprecated ones too."""
    for version in ("20", "211"):
        category = f"pydantic.warnings.PydanticDeprecatedSince{version}"
        test = pytest.mark.filterwarnings(f"ignore:.*attribute.*deprecated:{category}")(test)
    return test


def agent():
    model = MockFunctionCallingLLM(
        response_generator=lambda *_, **__: ChatMessage("Yes.", role="assistant"),
        is_chat_model=True,
    )
    return FunctionAgent(llm=model, tools=[], streaming=False)


async def dumped(memory, serializer):
    """Let an agent have its first turn, and dump its context as JSON."""
    context = Context(agent())
    await agent().run("one", ctx=context, memory=memory)
    return json.dumps(context.to_dict(serializer=serializer()))


def restored(dump, serializer):
    return Context.from_dict(agent(), json.loads(dump), serializer=serializer())


async def as_it_is(context, _):
    return await agent().run("two", ctx=context)


async def bound(context, memory):
    chat_store = chat_store_of(await context.store.get("memory"))
    chat_store.bind(chat_store_of(memory)._store, user_id="alice")
    return await agent().run("two", ctx=context)


async def with_a_memory(context, memory):
    return await agent().run("two", ctx=context, memory=memory)


async def with_a_memory_in_its_place(context, memory):
    await context.store.set("memory", None)
    return await agent().run("two", ctx=context, memory=memory)


@making_agents
@pytest.mark.parametrize("going_on", [as_it_is, bound, with_a_memory, with_a_memory_in_its_place])
@pytest.mark.parametrize(
    ("cls", "serializer"),
    [(cls, PickleSerializer) for cls in MEMORIES]
    + [(cls, JsonSerializer) for cls in MEMORIES if cls is not Memory],
)
def test_a_restored_context_goes_on(run, store, cls, serializer, going_on):
    memory = memory_of(cls, store, user_id="alice")

    async def talk():
        dump = await dumped(memory, serializer)
        await going_on(restored(dump, serializer), memory)

    run(talk())
    assert said(store.get_messages("s")) == ["one", "Yes.", "two", "Yes."]
    assert store.get("s").user_id == "alice"


@making_agents
@pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key")
def test_a_memory_that_json_cannot_hold_can_be_given_again(run, store):
    memory = memory_of(Memory, store)

    async def talk():
        dump = await dumped(memory, JsonSerializer)
        await with_a_memory(restored(dump, JsonSerializer), memory)

    run(talk())
    assert said(store.get_messages("s")) == ["one", "Yes.", "two", "Yes."]


ELSEWHERE = """
    import asyncio, json, sys, warnings
    from workflows.context.serializers import PickleSerializer
    from llama_index.core.storage.chat_store.loading import RECOGNIZED_CHAT_STORES
    from llama_index_sessionstore import register_store
    assert "SessionChatStore" in RECOGNIZED_CHAT_STORES
    from sessionstore import SessionStoreError, SQLiteSessionStore
    from test_llama_index_restored import JsonSerializer, agent, chat_store_of, restored

    async def refused(dump, serializer):
        memory = await restored(dump, serializer).store.get("memory")
        try:
            await memory.aget_all()
        except SessionStoreError as error:
            return f"{type(error).__name__}: {error}"

    async def main(path, dumps):
        serializers = {kind.__name__: kind for kind in (JsonSerializer, PickleSerializer)}
        dumps = [(dump, serializers[kind]) for kind, dump in json.loads(dumps)]
        with SQLiteSessionStore(path) as store:
            for dump, serializer in dumps:
                assert "register_store('main', store)" in await refused(dump, serializer)
            for dump, serializer in dumps:
                context = restored(dump, serializer)
                chat_store_of(await context.store.get("memory")).bind(store, user_id="alice")
                await agent().run("bound", ctx=context)
            register_store("main", store)
            for dump, serializer in dumps:
                assert "InvalidSessionError" in await refused(dump, serializer)
            register_store("main", store, trust_dumps=True)
            for dump, serializer in dumps:
                await agent().run("found", ctx=restored(dump, serializer))

    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.soak
@making_agents
def test_a_context_goes_on_in_another_process(run, tmp_path):
    ways = [(cls, PickleSerializer) for cls in MEMORIES] + [(ChatMemoryBuffer, JsonSerializer)]
    with SQLiteSessionStore(tmp_path / "sessions.db") as store, Children() as children:
        register_store("main", store)

        async def talk():
            for cls, serializer in ways:
                memory = memory_of(cls, store, user_id="alice", key=cls.__name__)
                yield serializer.__name__, await dumped(memory, serializer)

        async def collected():
            return [way async for way in talk()]

        dumps = json.dumps(run(collected()))
        children.run(ELSEWHERE, tmp_path / "sessions.db", dumps)
        for cls in (ChatSummaryMemoryBuffer, Memory):
            session = store.get(cls.__name__)
            assert said(session.messages) == ["one", "Yes.", "bound", "Yes.", "found", "Yes."]
            assert session.user_id == "alice"
        buffered = said(store.get_messages("ChatMemoryBuffer"))
        assert (buffered.count("bound"), buffered.count("found")) == (2, 2)


async def approve(ctx: Context, question: str) -> str:
    """Ask somebody."""
    asked = InputRequiredEvent(prefix=question)
    answer = await ctx.wait_for_event(HumanResponseEvent, waiter_id=question, waiter_event=asked)
    return answer.response


def asking(messages, **_):
    if messages[-1].role == "tool":
        return ChatMessage(f"They say {messages[-1].content}", role="assistant")
    call = ToolCallBlock(tool_call_id="c1", tool_name="approve", tool_kwargs={"question": "?"})
    return ChatMessage(role="assistant", blocks=[call])


def waiting_agent():
    model = MockFunctionCallingLLM(response_generator=asking, is_chat_model=True)
    return FunctionAgent(name="asker", description="x", llm=model, tools=[approve], streaming=False)


def waiting_workflow():
    return AgentWorkflow(agents=[waiting_agent()], root_agent="asker")


@making_agents
@pytest.mark.parametrize("made", [waiting_agent, waiting_workflow])
@pytest.mark.parametrize(
    ("cls", "serializer"), [(Memory, PickleSerializer), (ChatMemoryBuffer, JsonSerializer)]
)
def test_a_context_that_waits_for_a_human_goes_on(run, store, made, cls, serializer):
    async def talk():
        asker = made()
        running = asker.run(
            "Delete it", ctx=Context(asker), memory=memory_of(cls, store, user_id="alice")
        )
        async for event in running.stream_events():
            if isinstance(event, InputRequiredEvent):
                break
        dump = json.dumps(running.ctx.to_dict(serializer=serializer()))
        await running.cancel_run()
        asker = made()
        context = Context.from_dict(asker, json.loads(dump), serializer=serializer())
        running = asker.run(ctx=context)
        context.send_event(HumanResponseEvent(response="yes"))
        await running

    run(talk())
    held = SessionChatStore(store, user_id="alice").get_messages("s")
    assert said(held) == ["Delete it", None, "yes", "They say yes"]


# -- Dumps, pickles and copies --------------------------------------------------------------------

SECRET = "hunter2"  # noqa: S105 - that no dump may show


@pytest.mark.parametrize("cls", MEMORIES)
def test_a_dump_has_no_secret(cls, name):
    url = f"redis://user:{SECRET}@127.0.0.1:1/0"
    with open_store(url, fallback=None) as closed:
        register_store(name, closed)
        memory = memory_of(cls, closed, agent_id="helper", user_id="alice")
        texts = [
            str(shown(value))
            for value in (memory, chat_store_of(memory))
            for shown in (
                *(repr, str, pickle.dumps, BaseModel.model_dump, BaseModel.model_dump_json),
                *(lambda it: it.to_dict(), lambda it: json.dumps(it.to_dict(), default=str)),
            )
        ]
    for text in texts:
        assert SECRET not in text
        assert "127.0.0.1" not in text
    assert name in str(chat_store_of(memory).to_dict())


@pytest.mark.parametrize("cls", [ChatMemoryBuffer, ChatSummaryMemoryBuffer])
@pytest.mark.parametrize("known_by", ["nothing", "another binding", "a name that is not known"])
def test_a_chat_store_of_an_unknown_dump_works_once_it_is_bound(cls, known_by, name):
    old, store = InMemorySessionStore(), InMemorySessionStore()
    dump = memory_of(cls, old, agent_id="helper", user_id="alice").to_dict()
    dump = dump if known_by == "nothing" else from_elsewhere(dump)
    dump["chat_store"]["store_name"] = name if "name" in known_by else None
    if known_by == "nothing":
        del dump["chat_store"]["binding"]
    loaded = cls.from_string(json.dumps(dump))
    expected = rf"register_store\('{name}', store\)" if "name" in known_by else "names none"
    for _ in range(2):
        with pytest.raises(SessionStoreError, match=expected) as caught:
            loaded.put(ChatMessage("Hello!"))
        assert "bind(store)" in str(caught.value)
        with pytest.raises(InvalidSessionError, match="user_id="):
            loaded.chat_store.bind(store)
    loaded.chat_store.bind(store, user_id="alice")
    loaded.put(ChatMessage("Hello!"))
    assert (loaded.chat_store_key, loaded.token_limit) == ("s", 500)
    assert (loaded.chat_store.agent_id, loaded.chat_store.user_id) == ("helper", "alice")
    assert said(loaded.get()) == ["Hello!"]
    assert (store.get("s").agent_id, store.get("s").user_id) == ("helper", "alice")
    assert "Hello" not in json.dumps(loaded.to_dict())
    assert said(cls.from_dict(loaded.to_dict()).get()) == ["Hello!"]


THROUGH = {
    "model_validate": lambda it: type(it).model_validate(it.model_dump()),
    "model_validate_json": lambda it: type(it).model_validate_json(it.model_dump_json()),
    "from_dict": lambda it: type(it).from_dict(it.to_dict()),
    "pickle": through_pickle,
    "PickleSerializer": through_pickle_serializer,
    "JsonSerializer": through_json_serializer,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda it: it.model_copy(deep=True),
}


@BOTH
@pytest.mark.parametrize("way", THROUGH)
def test_a_chat_store_comes_back_with_its_store_and_user(store, cls, way):
    chat_store = cls(store, agent_id="helper", user_id="alice")
    for loaded in (
        THROUGH[way](chat_store),
        THROUGH[way](THROUGH[way](chat_store)),
    ):
        assert type(loaded) is cls
        assert loaded._bound is store
        assert (loaded.agent_id, loaded.user_id) == ("helper", "alice")


@BOTH
def test_a_dump_of_a_later_version_is_loaded(store, cls):
    loaded = cls.model_validate({**cls(store).model_dump(), "later": {"x": 1}})
    assert loaded._bound is store


@BOTH
@pytest.mark.parametrize(
    "written", [{"user_id": ""}, {"user_id": 5}, {"agent_id": ["hunter2"]}, {"agent_id": "\ud800"}]
)
def test_a_damaged_dump_is_refused(store, cls, written):
    with pytest.raises(ValidationError) as caught:
        cls.model_validate({**cls(store).model_dump(), **written})
    assert "hunter2" not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    "written",
    [
        {"store_name": {}, "binding": 7},
        {"store_name": "x y: hunter2", "binding": "\ud800.\ud800"},
        {"store_name": "", "binding": "."},
        {"store_name": None, "binding": None},
    ],
)
def test_a_dump_with_a_forged_binding_has_no_store(store, cls, written):
    loaded = cls.model_validate({**cls(store).model_dump(), **written})
    with pytest.raises(SessionStoreError, match="names none") as caught:
        loaded._bound  # noqa: B018
    assert "hunter2" not in str(caught.value)


def test_a_pickle_of_another_process_needs_its_user_given(store):
    chat_store = AsyncSessionChatStore.model_validate(
        from_elsewhere(AsyncSessionChatStore(store, user_id="alice").model_dump())
    )
    loaded = through_pickle(chat_store)
    with pytest.raises(InvalidSessionError, match="user_id="):
        loaded.bind(store)
    loaded.bind(store, user_id="alice")
    assert loaded.user_id == "alice"
    with pytest.raises(TypeError, match="must be a SessionStore, not dict"):
        loaded.bind({})


@BOTH
@pytest.mark.parametrize("private", [None, {}, {"_guesses": {}}])
def test_a_pickle_of_an_older_version_is_bound_to_its_store(store, cls, private):
    loaded = cls()
    fields = {"agent_id": "default", "user_id": None}
    loaded.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_fields_set__": set(),
            "__pydantic_extra__": None,
            "__pydantic_private__": private,
        }
    )
    with pytest.raises(SessionStoreError, match="names none"):
        loaded._bound  # noqa: B018
    assert loaded.to_dict()["binding"] is None
    loaded.bind(store)
    assert loaded._bound is store


def test_from_dict_binds_the_store_that_it_is_given(store):
    dump = from_elsewhere(SessionChatStore(store, user_id="alice").to_dict())
    assert SessionChatStore.from_dict(dump, store=store, user_id="bob").user_id == "bob"
    with pytest.raises(InvalidSessionError, match="user_id="):
        SessionChatStore.from_dict(dump, store=store)


# -- A dump does not choose its user --------------------------------------------------------------

CALLS = {
    SessionChatStore: {
        "set_messages": [[ChatMessage("x")]],
        "get_messages": [],
        "add_message": [ChatMessage("x")],
        "delete_messages": [],
        "delete_message": [0],
        "delete_last_message": [],
        "aset_messages": [[ChatMessage("x")]],
        "aget_messages": [],
        "async_add_message": [ChatMessage("x")],
        "adelete_messages": [],
        "adelete_message": [0],
        "adelete_last_message": [],
    },
    AsyncSessionChatStore: {
        "get_messages": [],
        "count_messages": [],
        "add_message": [ChatMessage("x")],
        "add_messages": [[ChatMessage("x")]],
        "set_messages": [[ChatMessage("x")]],
        "delete_message": [0],
        "delete_messages": [],
        "delete_oldest_messages": [1],
        "archive_oldest_messages": [1],
    },
}


@pytest.fixture
def alices(store):
    store.create("s", user_id="alice", messages=[SessionMessage("user", "my PIN is 1234")])
    yield store
    assert said(store.get_messages("s")) == ["my PIN is 1234"]


def first_call(run, chat_store, method, *args):
    called = getattr(chat_store, method)("s", *args)
    return run(called) if asyncio.iscoroutine(called) else called


@pytest.mark.parametrize(
    "call",
    [(cls, method, args) for cls, calls in CALLS.items() for method, args in calls.items()],
)
@pytest.mark.parametrize("written", ["alice", None])
def test_a_user_that_was_written_into_a_dump_is_not_believed(run, alices, name, call, written):
    cls, method, args = call
    register_store(name, alices)
    dump = {**cls(alices, user_id="bob").model_dump(), "user_id": written}
    if written is None:  # whoever checks users has registered or bound one
        register_store(name, alices, user_id="bob")
    expected = SessionAccessError if written is None else InvalidSessionError
    with pytest.raises(expected):
        first_call(run, cls.model_validate(dump), method, *args)
    loaded = cls.model_validate(dump)
    loaded.bind(alices, user_id="bob")
    with pytest.raises(SessionAccessError):
        first_call(run, loaded, method, *args)
    assert loaded.user_id == "bob"
    loaded.bind(alices)  # another store keeps the user that was handed in
    with pytest.raises(SessionAccessError):
        first_call(run, loaded, method, *args)


@pytest.mark.parametrize(
    "call",
    [(cls, method, args) for cls, calls in CALLS.items() for method, args in calls.items()],
)
@pytest.mark.parametrize("is_bound", [True, False])
def test_a_dump_that_names_no_user_reaches_no_session_with_an_owner(
    run, alices, name, call, is_bound
):
    cls, method, args = call
    if not is_bound:
        register_store(name, alices)
    dump = {**from_elsewhere(cls(alices, user_id="bob").model_dump()), "user_id": None}
    loaded = cls.model_validate(dump)
    if is_bound:
        loaded.bind(alices)
    for _ in range(2):  # and what this process dumps and signs again is no better
        with pytest.raises(SessionAccessError):
            first_call(run, loaded, method, *args)
        loaded = cls.model_validate(loaded.model_dump())


@pytest.mark.parametrize(
    "call",
    [(cls, method, args) for cls, calls in CALLS.items() for method, args in calls.items()],
)
def test_a_dump_that_names_no_user_goes_on_with_sessions_without_an_owner(run, store, name, call):
    cls, method, args = call
    register_store(name, store)
    dump = from_elsewhere(cls(store).model_dump())
    store.create("alice's", user_id="alice", messages=[SessionMessage("user", "x")])
    for sessions in ([], ["s"]):  # one that it makes itself, and one that is there
        for session_id in sessions:
            store.append_messages(session_id, [SessionMessage("user", text) for text in "ab"])
        loaded = cls.model_validate(dump)
        first_call(run, loaded, method, *args)
        again = cls.model_validate(loaded.model_dump())
        first_call(run, again, method, *args)
        found = store.get("s")
        assert found is None or found.user_id is None
        keys = again.get_keys()
        keys = run(keys) if asyncio.iscoroutine(keys) else keys
        assert set(keys) <= {"s"}
        store.delete("s")


@BOTH
def test_the_user_of_a_registration_overrides_the_dumps(alices, name, cls):
    dump = cls(alices, user_id="mallory").model_dump()
    register_store(name, alices, user_id="alice")
    loaded = cls.model_validate({**from_elsewhere(dump), "store_name": name})
    assert (loaded._bound, loaded.user_id) == (alices, "alice")
    register_store(name, alices, user_id=None)
    loaded = cls.model_validate({**from_elsewhere(dump), "store_name": name})
    assert (loaded._bound, loaded.user_id) == (alices, None)


@BOTH
@pytest.mark.parametrize("registered_first", [True, False])
def test_the_user_of_a_registration_overrides_a_signed_dumps_too(
    alices, name, cls, registered_first
):
    if registered_first:
        register_store(name, alices)
    dump = cls(alices, user_id="alice").model_dump()
    register_store(name, alices, user_id="bob")
    for written in (dump, {**dump, "store_name": None}):
        loaded = cls.model_validate(written)
        assert (loaded._bound, loaded.user_id) == (alices, "bob")
    register_store(name, alices, user_id=None)
    loaded = cls.model_validate(dump)
    assert (loaded._bound, loaded.user_id) == (alices, "alice")


@BOTH
def test_dumps_are_trusted_where_the_registration_says_so(alices, name, cls):
    register_store(name, alices, trust_dumps=True)
    for user in ("alice", None):
        loaded = cls.model_validate(from_elsewhere(cls(alices, user_id=user).model_dump()))
        assert (loaded._bound, loaded.user_id) == (alices, user)


@BOTH
def test_a_binding_signed_here_is_not_valid_for_another_store(store, cls):
    dump = cls(store, user_id="alice").model_dump()
    signed = cls(InMemorySessionStore(), user_id="bob").model_dump()["binding"]
    mixed = dump["binding"].split(".")[0] + "." + signed.split(".")[1]
    loaded = cls.model_validate({**dump, "user_id": "bob", "binding": mixed})
    with pytest.raises(SessionStoreError, match="names none"):
        loaded._bound  # noqa: B018


# -- Names ----------------------------------------------------------------------------------------


def test_a_dump_names_the_store_whenever_it_was_registered(store, name):
    before = SessionChatStore(store)
    assert before.to_dict()["store_name"] is None
    register_store(name, store)
    assert before.to_dict()["store_name"] == SessionChatStore(store).to_dict()["store_name"] == name


def test_a_name_that_is_taken_gets_the_new_store(store, name):
    register_store(name, InMemorySessionStore())
    loaded = SessionChatStore.from_dict({"store_name": name})
    register_store(name, store)
    loaded.add_message("s", ChatMessage("Hello!"))
    assert said(store.get_messages("s")) == ["Hello!"]


@pytest.mark.parametrize("first_is_kept", [True, False])
def test_a_store_that_was_reopened_under_its_name_is_found(tmp_path, name, first_is_kept):
    first = SQLiteSessionStore(tmp_path / "sessions.db")
    register_store(name, first)
    memory = memory_of(ChatMemoryBuffer, first, user_id="alice")
    memory.put(ChatMessage("Hello!"))
    dump = memory.to_string()
    first.close()
    if not first_is_kept:
        del memory, first
        gc.collect()
    with SQLiteSessionStore(tmp_path / "sessions.db") as second:
        register_store(name, second)
        loaded = ChatMemoryBuffer.from_string(dump)
        assert said(loaded.get_all()) == ["Hello!"]
        assert loaded.chat_store.user_id == "alice"


class Named(InMemorySessionStore):
    """A store of an application's own, which is equal to others of its name."""

    def __eq__(self, other):
        return type(other) is Named

    def __hash__(self):
        return 1


class Unhashable(InMemorySessionStore):
    def __eq__(self, other):
        return type(other) is Unhashable

    __hash__ = None


@pytest.mark.parametrize("made", [Named, Unhashable])
def test_a_dump_finds_its_own_store_and_not_an_equal_one(made):
    memories = [memory_of(ChatMemoryBuffer, made()) for _ in range(2)]
    memories[0].put(ChatMessage("Hello!"))
    dumps = [memory.to_string() for memory in memories]
    loaded = [ChatMemoryBuffer.from_string(dump) for dump in dumps]
    assert [said(memory.get_all()) for memory in loaded] == [["Hello!"], []]


@pytest.mark.parametrize("bad", ["", "a b", "x" * 101, "é", "main\n"])
def test_invalid_names_are_refused(store, bad):
    with pytest.raises(ValueError, match="ASCII letters"):
        register_store(bad, store)


def test_invalid_registrations_are_refused(store):
    with pytest.raises(TypeError, match="must be a SessionStore, not str"):
        register_store("main", "redis://localhost")
    with pytest.raises(TypeError, match="name must be a string, not SQLiteSessionStore"):
        register_store(store, store)
    with pytest.raises(InvalidSessionError, match="user_id is empty"):
        register_store("main", store, user_id="")
    with pytest.raises(ValueError, match="trust_dumps"):
        register_store("main", store, user_id="alice", trust_dumps=True)


# -- Made with ids that can't be ------------------------------------------------------------------


class Name(str, enum.Enum):
    ALICE = "alice"


@BOTH
def test_an_id_that_is_an_enum_is_its_text(store, cls):
    chat_store = cls(store, agent_id=Name.ALICE, user_id=Name.ALICE)
    assert type(chat_store.agent_id) is type(chat_store.user_id) is str
    assert THROUGH["from_dict"](chat_store)._bound is store
    chat_store.bind(store, user_id=Name.ALICE)
    assert type(chat_store.user_id) is str


@BOTH
@pytest.mark.parametrize("field", ["agent_id", "user_id"])
@pytest.mark.parametrize("bad", ["", 5, "x" * 513])
def test_invalid_ids_are_refused(store, cls, field, bad):
    with pytest.raises(InvalidSessionError, match=field):
        cls(store, **{field: bad})
    if field == "user_id":
        with pytest.raises(InvalidSessionError, match=field):
            cls(store).bind(store, user_id=bad)
