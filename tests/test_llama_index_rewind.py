"""Sessions that are rewound or forked in the store, as LlamaIndex's memories see them."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index_stores import Loop, opened

from llama_index_sessionstore import AsyncSessionChatStore, SessionChatStore
from sessionstore import SessionMessage
from sessionstore.operations import Rewind, Update

ARCHIVED = MessageStatus.ARCHIVED


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request):
    with opened(request.param, request) as made:
        yield made


@pytest.fixture
def run():
    loop = Loop()
    yield loop
    loop.close()


def said(messages):
    return [message.content for message in messages]


def hold(store, count=10):
    messages = [SessionMessage("user", str(n), id=f"m{n}") for n in range(count)]
    store.append_messages("s", messages, user_id="dora")


def numbers(first, last):
    return [str(n) for n in range(first, last)]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_buffer_sees_its_session_rewound_and_forked(store, run, mode):
    chat_store = SessionChatStore(store, user_id="dora")
    hold(store)

    def buffer(key):
        memory = ChatMemoryBuffer.from_defaults(chat_store=chat_store, chat_store_key=key)
        if mode == "sync":
            return memory.put, memory.get
        return lambda m: run(memory.aput(m)), lambda: run(memory.aget())

    put, get = buffer("s")
    fork = store.fork("s", at="m2", user_id="dora").id
    store.rewind("s", to="m5", user_id="dora")
    assert said(get()) == numbers(0, 6)
    put(ChatMessage("new"))
    assert said(get()) == [*numbers(0, 6), "new"]
    put, get = buffer(fork)
    put(ChatMessage("other"))
    assert said(get()) == ["0", "1", "2", "other"]
    assert said(chat_store.get_messages("s")) == [*numbers(0, 6), "new"]


def test_a_memory_sees_its_session_rewound_and_forked(store, run):
    """What is archived stays so in both, as far as it is there."""
    hold(store)
    chat_store = AsyncSessionChatStore(store, user_id="dora")
    memory = Memory.from_defaults(session_id="s", chat_store=chat_store)
    run(chat_store.archive_oldest_messages("s", 4))
    fork = store.fork("s", at="m6", user_id="dora").id
    store.rewind("s", to="m5", user_id="dora")
    assert said(run(memory.aget())) == ["4", "5"]
    run(memory.aput(ChatMessage("new")))
    assert said(run(memory.aget())) == ["4", "5", "new"]
    assert said(run(chat_store.get_messages("s", ARCHIVED))) == numbers(0, 4)
    assert said(run(chat_store.get_messages(fork))) == ["4", "5", "6"]
    assert said(run(chat_store.archive_oldest_messages(fork, 2))) == ["4", "5"]
    assert run(chat_store.count_messages("s")) == 3


def test_a_session_rewound_into_what_is_archived(store, run):
    """That stays archived; in one step with the rewind, or a fork, all may be active again."""
    hold(store)
    chat_store = AsyncSessionChatStore(store, user_id="dora")
    run(chat_store.archive_oldest_messages("s", 6))
    everything = {"llama_index": None}
    fork = store.fork("s", at="m3", user_id="dora", metadata=everything).id
    assert said(run(chat_store.get_messages(fork))) == numbers(0, 4)
    store.rewind("s", to="m3", user_id="dora")
    assert run(chat_store.get_messages("s")) == []
    assert said(run(chat_store.get_messages("s", ARCHIVED))) == numbers(0, 4)
    store.run([Rewind("s", "m2", "dora"), Update("s", None, everything, "dora")])
    assert said(run(chat_store.get_messages("s"))) == numbers(0, 3)
    assert run(chat_store.count_messages("s", ARCHIVED)) == 0


def test_what_was_rewound_as_a_memory_archives_is_handed_to_nobody(store, run):
    hold(store)
    chat_store = AsyncSessionChatStore(store, user_id="dora")

    async def archive():
        queue = await chat_store.get_messages("s")
        store.rewind("s", to="m1", user_id="dora")  # as another process may, between the two
        store.append_message("s", SessionMessage("user", "new"), user_id="dora")
        return said(await chat_store.archive_oldest_messages("s", 5)), queue

    assert run(archive())[0] == ["0", "1"]
    assert said(run(chat_store.get_messages("s"))) == ["new"]
