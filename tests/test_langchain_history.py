import asyncio
import threading

import pytest
from hooked import HookedStore
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage
from langchain_core.runnables import ConfigurableFieldSpec, RunnableLambda

from langchain_sessionstore import SessionChatMessageHistory, session_history_factory
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SQLiteSessionStore,
    Window,
)
from sessionstore.operations import GetMessages


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = {
        "memory": InMemorySessionStore,
        "sqlite": lambda: SQLiteSessionStore(tmp_path / "sessions.db"),
    }[request.param]()
    with made:
        yield made


def words(messages):
    return [message.content for message in messages]


def test_what_is_added_is_read_back(store):
    history = SessionChatMessageHistory("s", store)
    turn = [HumanMessage("Hello!", id="1", name="alice"), AIMessage("Hi.", id="2")]
    history.add_messages(turn)
    history.add_messages(turn)
    assert history.messages == turn
    assert SessionChatMessageHistory("s", store).messages == turn
    assert str(history) == "Human: Hello!\nAI: Hi."


def test_the_async_methods_do_the_same(store):
    async def talk():
        history = SessionChatMessageHistory("s", store)
        await history.aadd_messages([HumanMessage("Hello!", id="1")])
        said = await history.aget_messages()
        await history.aclear()
        await SessionChatMessageHistory("nowhere", store).aclear()
        return said, await history.aget_messages()

    said, after = asyncio.run(talk())
    assert said == [HumanMessage("Hello!", id="1")]
    assert after == []


def test_messages_without_an_id_are_each_added_and_left_untouched(store):
    history = SessionChatMessageHistory("s", store)
    hello = HumanMessage("Hello!")
    history.add_messages([hello])
    history.add_messages([hello])
    assert words(history.messages) == ["Hello!", "Hello!"]
    assert hello.id is None


def test_the_convenience_methods_of_the_base_class_work(store):
    history = SessionChatMessageHistory("s", store)
    history.add_user_message("a")
    history.add_ai_message("b")
    history.add_message(SystemMessage("c"))
    assert words(history.messages) == ["a", "b", "c"]


def test_clear_removes_the_messages_and_keeps_owner_and_metadata(store):
    history = SessionChatMessageHistory("s", store, user_id="alice", agent_id="helper")
    history.clear()
    history.add_user_message("a")
    store.update("s", metadata={"title": "t"})
    history.clear()
    session = store.get("s")
    assert (session.messages, session.metadata, session.user_id, session.agent_id) == (
        [],
        {"title": "t"},
        "alice",
        "helper",
    )


def test_assigning_messages_replaces_them(store):
    history = SessionChatMessageHistory("s", store)
    history.messages = [HumanMessage("a")]
    history.messages = [HumanMessage("b"), AIMessage("c")]
    assert words(history.messages) == ["b", "c"]


def test_another_users_session_is_closed_to_all_methods(store):
    SessionChatMessageHistory("s", store, user_id="alice").add_user_message("mine")
    mallory = SessionChatMessageHistory("s", store, user_id="mallory")
    attempts = [
        lambda: mallory.messages,
        lambda: mallory.add_user_message("x"),
        mallory.clear,
        lambda: asyncio.run(mallory.aget_messages()),
    ]
    for attempt in attempts:
        with pytest.raises(SessionAccessError):
            attempt()
    assert words(SessionChatMessageHistory("s", store).messages) == ["mine"]


def test_a_batch_with_a_message_that_cannot_be_stored_adds_none(store):
    history = SessionChatMessageHistory("s", store)
    with pytest.raises(InvalidMessageError):
        history.add_messages([HumanMessage("a"), HumanMessage("b", x={1, 2})])
    assert history.messages == []


def test_a_window_shows_the_last_turns_and_the_log_keeps_all(store):
    history = SessionChatMessageHistory("s", store, window=Window(max_messages=2))
    for n in range(3):
        history.add_messages([HumanMessage(f"q{n}"), AIMessage(f"a{n}")])
    assert words(history.messages) == ["q2", "a2"]
    assert words(asyncio.run(history.aget_messages())) == ["q2", "a2"]
    assert len(store.get_messages("s")) == 6


def test_a_repr_quotes_no_message(store):
    history = SessionChatMessageHistory("s", store)
    history.add_user_message("a secret")
    assert "secret" not in repr(history)
    assert "'s'" in repr(history)


# -- In RunnableWithMessageHistory, as it stands ---------------------------------------------------


def remembering(runnable, store, **options):
    from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

    with pytest.warns(match="RunnableWithMessageHistory is deprecated"):
        return RunnableWithMessageHistory(runnable, session_history_factory(store), **options)


CONFIG = {"configurable": {"session_id": "s"}}


def test_the_factory_fits_a_plain_runnable_with_message_history(store):
    chain = remembering(RunnableLambda(lambda messages: f"{len(messages)} messages"), store)
    assert chain.invoke("one", CONFIG) == "1 messages"
    assert asyncio.run(chain.ainvoke("two", CONFIG)) == "3 messages"
    assert words(SessionChatMessageHistory("s", store).messages) == [
        "one",
        "1 messages",
        "two",
        "3 messages",
    ]


def test_the_factory_takes_a_user_too(store):
    specs = [
        ConfigurableFieldSpec(id=key, annotation=str, default="")
        for key in ("session_id", "user_id")
    ]
    chain = remembering(RunnableLambda(lambda _: "ok"), store, history_factory_config=specs)
    chain.invoke("one", {"configurable": {"session_id": "s", "user_id": "alice"}})
    assert store.get("s").user_id == "alice"


def test_two_turns_at_once_are_both_kept_whole(store):
    both_read = threading.Barrier(2)

    def answer(messages):
        both_read.wait(10)
        return f"to {messages[-1].content}"

    chain = remembering(RunnableLambda(answer), store)
    SessionChatMessageHistory("s", store).add_messages([HumanMessage("0"), AIMessage("to 0")])
    turns = [threading.Thread(target=chain.invoke, args=(text, CONFIG)) for text in ("A", "B")]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    said = words(SessionChatMessageHistory("s", store).messages)
    assert said in (
        ["0", "to 0", "A", "to A", "B", "to B"],
        ["0", "to 0", "B", "to B", "A", "to A"],
    )


def test_an_answer_given_again_is_kept_again_and_a_whole_conversation_is_not(store):
    chain = remembering(RunnableLambda(lambda _: AIMessage("a", id="a1")), store)
    for text in ("q", "q"):
        chain.invoke(text, CONFIG)
    everything = remembering(
        RunnableLambda(lambda value: {"all": [*value["all"], AIMessage("new")]}),
        store,
        input_messages_key="all",
    )
    everything.invoke({"all": [HumanMessage("r", id="r1")]}, CONFIG)
    said = words(SessionChatMessageHistory("s", store).messages)
    assert said == ["q", "a", "q", "a", "r", "new"]


def test_one_call_reads_the_session_once():
    class Counting(HookedStore):
        reads = 0

        def before(self, operation):
            self.reads += isinstance(operation, GetMessages)

    store = Counting()
    remembering(RunnableLambda(lambda _: "ok"), store).invoke("one", CONFIG)
    assert store.reads == 1


def test_a_message_that_removes_another_is_refused(store):
    history = SessionChatMessageHistory("s", store)
    history.add_messages([HumanMessage("Hello!", id="m1")])
    both = [AIMessage("Hi."), RemoveMessage("m1")]
    with pytest.raises(InvalidMessageError, match=r"use store\.delete_messages"):
        history.add_messages(both)
    with pytest.raises(InvalidMessageError, match=r"use store\.delete_messages"):
        asyncio.run(history.aadd_messages(both))
    assert words(history.messages) == ["Hello!"]


@pytest.mark.parametrize("message", [HumanMessage("Hello!"), AIMessage("Hi.", id="m1")])
def test_a_single_message_in_place_of_a_list_is_refused_with_a_hint(store, message):
    history = SessionChatMessageHistory("s", store)
    with pytest.raises(InvalidMessageError, match=r"^messages must be a list.*give \[message\]$"):
        history.add_messages(message)
    with pytest.raises(InvalidMessageError, match=r"give \[message\]$"):
        asyncio.run(history.aadd_messages(message))
    with pytest.raises(InvalidMessageError, match=r"give \[message\]$"):
        history.messages = message
    assert history.messages == []


def test_a_factorys_history_that_was_not_read_adds_all_it_is_given(store):
    turns = [HumanMessage("yes"), AIMessage("ok")] * 2
    get_session_history = session_history_factory(store)
    get_session_history("s").add_messages(turns)
    asyncio.run(get_session_history("s").aadd_messages(turns))
    assert words(get_session_history("s").messages) == ["yes", "ok"] * 4


def test_a_factorys_history_shows_what_was_changed_through_it(store):
    def in_a_loop(call):
        return lambda *args: asyncio.run(call(*args))

    history = session_history_factory(store)("s")
    for add, clear in (
        (history.add_messages, history.clear),
        (in_a_loop(history.aadd_messages), in_a_loop(history.aclear)),
    ):
        assert history.messages == []
        add([HumanMessage("x")])
        assert words(history.messages) == ["x"]
        clear()
        assert asyncio.run(history.aget_messages()) == []
    history.messages = [HumanMessage("y")]
    assert words(history.messages) == ["y"]
    history.messages = [HumanMessage("z")]
    assert words(history.messages) == ["z"]


@pytest.mark.parametrize(
    ("store", "options", "error"),
    [
        ("sqlite:///x", {}, TypeError),
        (InMemorySessionStore(), {"window": 5}, TypeError),
        (InMemorySessionStore(), {"agent_id": ""}, InvalidSessionError),
    ],
)
def test_a_factory_refuses_invalid_arguments_at_once(store, options, error):
    with pytest.raises(error, match=r"must be|is empty"):
        session_history_factory(store, **options)


def test_a_factorys_history_shows_its_session_and_store_in_its_repr(store):
    assert repr(session_history_factory(store)("s")).endswith(f"History('s', {store!r})")


@pytest.mark.parametrize("session_id", ["", None, 5, "x" * 513, "\ud800"])
def test_an_invalid_session_id_is_refused_when_the_history_is_made(store, session_id):
    with pytest.raises(InvalidSessionError, match="session_id"):
        SessionChatMessageHistory(session_id, store)
    with pytest.raises(InvalidSessionError, match="session_id"):
        session_history_factory(store)(session_id)


@pytest.mark.parametrize("ids", [{"user_id": ""}, {"user_id": 5}, {"agent_id": ""}])
def test_an_invalid_user_or_agent_is_refused_when_the_history_is_made(store, ids):
    with pytest.raises(InvalidSessionError, match=next(iter(ids))):
        SessionChatMessageHistory("s", store, **ids)
    if "user_id" in ids:
        with pytest.raises(InvalidSessionError, match="user_id"):
            session_history_factory(store)("s", **ids)
