"""LlamaIndex's chat stores, written by the library itself, and read without it."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import psycopg
import pytest
import redis
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import Memory
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index_samples import MESSAGES, OPENAI_CALL
from read_in import all_of, apart, database_of_others, foreign, store_of

from llama_index_sessionstore import AsyncSessionChatStore, SessionChatStore
from sessionstore.transfer.readers import READERS, SourceError

PERSISTED = Path(__file__).parent / "data" / "simple_chat_store.json"
OLD = [
    {"role": "user", "content": "Hi", "additional_kwargs": {}},
    {"role": "assistant", "content": None, "additional_kwargs": {"tool_calls": [OPENAI_CALL]}},
]


def same(session_id, store, messages):
    read = SessionChatStore(store).get_messages(session_id)
    assert [it.model_dump() for it in read] == [it.model_dump() for it in messages]
    assert read == messages
    return True


def test_messages_of_a_simple_chat_store_come_back_equal():
    """From a file that the library wrote: see `tests/data/write_simple_chat_store.py`."""
    kept = SimpleChatStore.from_persist_path(str(PERSISTED))
    assert sorted(kept.get_keys()) == ["a 🐈:'*", "b", "none"]
    assert len(kept.get_messages("b")) == len(MESSAGES)
    store = store_of(READERS["llama-index-json"](PERSISTED))
    for session_id in kept.get_keys():
        assert same(session_id, store, kept.get_messages(session_id))
    first, second = (all_of(READERS["llama-index-json"](PERSISTED)) for _ in range(2))
    assert first == second


def test_what_old_versions_wrote_is_read(tmp_path):
    place = tmp_path / "old.json"
    for text in (json.dumps({"store": {"s": OLD}}), json.dumps(json.dumps({"store": {"s": OLD}}))):
        place.write_text(text)
        kept = SimpleChatStore.from_persist_path(str(place)).get_messages("s")
        assert same("s", store_of(READERS["llama-index-json"](place)), kept)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '"secret"', "{}", '{"store": []}', '{"a":' * 9_000, "[" * 90_000]
)
def test_what_is_no_chat_store_is_refused(tmp_path, text):
    place = tmp_path / "no.json"
    place.write_text(text)
    with pytest.raises(SourceError, match="not what SimpleChatStore"):
        list(READERS["llama-index-json"](place))


HOSTILE = [
    None,
    7,
    [],
    "secret",
    {"type": "human", "data": {"content": "secret"}},  # LangChain's
    {"role": 7, "content": "secret"},
    {"role": "", "content": "secret"},
    {"content": {"secret": 1}},
    {"additional_kwargs": ["secret"]},
    {"blocks": "secret", "additional_kwargs": 7},
    {"blocks": ["secret"]},
    {"blocks": [{"block_type": ["secret"]}]},
    {"blocks": [{"block_type": "text", "text": 7}]},
    {"blocks": [{"block_type": "text", "text": "secret", "": "secret"}], "role": 7},
    {"blocks": [{"block_type": "tool_call", "tool_name": 7}]},
    {"blocks": [{"block_type": "tool_call", "tool_name": "f", "tool_call_id": 7}]},
    {"blocks": [{"block_type": "citable", "content": ["secret"]}]},
    {"blocks": [{"block_type": "citation", "cited_content": "secret"}]},
    {"blocks": [], "additional_kwargs": {"a": json.loads("[" * 80 + "]" * 80)}},
]


def test_what_is_no_message_is_named_and_the_rest_is_read(tmp_path):
    place = tmp_path / "chat_store.json"
    good = {"role": "user", "content": "good"}
    store = {"s": [*HOSTILE, good], "t": "secret", "": [good]}
    place.write_text(json.dumps({"store": store}))
    sessions, unreadable = apart(READERS["llama-index-json"](place))
    assert [message.content for message in sessions["s"].messages] == ["good"]
    named = [it.where for it in unreadable]
    messages = [f"key 's', message {n}" for n in range(len(HOSTILE))]
    assert named == [*messages, "key 't'", "key ''"]
    assert not [it for it in unreadable if "secret" in it.where + it.why]


def test_messages_of_the_redis_store_come_back_equal(redis_server):
    with foreign():
        from llama_index.storage.chat_store.redis import RedisChatStore  # noqa: PLC0415
    prefix = uuid.uuid4().hex
    with redis.Redis.from_url(redis_server.url) as client:
        written = RedisChatStore(redis_client=client, aredis_client=object())
        written.set_messages(f"{prefix} a:b", MESSAGES)
        kept = written.get_messages(f"{prefix} a:b")
        client.rpush(f"{prefix} others", "secret")
    sessions, unreadable = apart(READERS["llama-index-redis"](redis_server.url, match=f"{prefix}*"))
    assert list(sessions) == [f"{prefix} a:b"]
    assert len(unreadable) == 1
    store = store_of(READERS["llama-index-redis"](redis_server.url, match=f"{prefix} a:*"))
    assert same(f"{prefix} a:b", store, kept)


@pytest.mark.parametrize("table", ["old_json", "old_jsonb"])
def test_messages_of_the_postgres_store_come_back_equal(postgres, table):
    with database_of_others(postgres) as url:
        with psycopg.connect(url) as connection:
            query = f"SELECT value FROM {table} WHERE key = 'a'"
            [[rows]] = connection.execute(query).fetchall()
        kept = [ChatMessage.model_validate(row) for row in rows]
        assert len(kept) == len(MESSAGES)
        store = store_of(READERS["llama-index-postgres"](url, table=table))
    assert same("a", store, kept)
    assert same("none", store, [])


@pytest.mark.parametrize("name", ["llama_index_memory", 'old "chat"'])
def test_messages_of_the_sql_store_come_back_equal(tmp_path, name):
    async def write():
        url = f"sqlite+aiosqlite:///{tmp_path}/old.db"
        written = SQLAlchemyChatStore(name, url)
        for session_id in ("a", "b"):
            await written.add_messages(session_id, MESSAGES)
        await written.archive_oldest_messages("b", 3)
        kept = await written.get_messages("a")
        active = await written.get_messages("b", MessageStatus.ACTIVE)
        archived = await written.get_messages("b", MessageStatus.ARCHIVED)
        await written._async_engine.dispose()
        return kept, active, archived

    async def check(store, active, archived):
        read = AsyncSessionChatStore(store)
        assert await read.get_messages("b", MessageStatus.ACTIVE) == active
        assert await read.get_messages("b", MessageStatus.ARCHIVED) == archived

    kept, active, archived = asyncio.run(write())
    assert len(archived) == 3
    store = store_of(READERS["llama-index-sql"](tmp_path / "old.db", table=name))
    assert same("a", store, kept)
    asyncio.run(check(store, active, archived))
    session = all_of(READERS["llama-index-sql"](tmp_path / "old.db", table=name))["b"]
    times = [message.created_at for message in session.messages]
    assert times == sorted(times)
    assert session.metadata.keys() == {"llama_index"}


def test_what_a_memory_has_written_is_read(tmp_path):
    async def write():
        memory = Memory.from_defaults(
            session_id="s",
            async_database_uri=f"sqlite+aiosqlite:///{tmp_path}/memory.db",
        )
        await memory.aput_messages(MESSAGES[:2])
        kept = await memory.aget_all()
        await memory.sql_store._async_engine.dispose()
        return kept

    kept = asyncio.run(write())
    assert same("s", store_of(READERS["llama-index-sql"](tmp_path / "memory.db")), kept)
