"""LangChain's histories, written by the libraries themselves, and read without them."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
import uuid

import psycopg
import pytest
import redis
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, messages_from_dict
from langchain_samples import MESSAGES, same
from read_in import all_of, apart, database_of_others, foreign, store_of
from redis_modules import with_modules
from servers.mariadb import binary as mariadb_binary
from sqlalchemy import create_engine

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore.errors import InvalidSessionError, SessionStoreError
from sessionstore.transfer.readers import READERS, SourceError
from sessionstore.transfer.readers.tables import opened


def history_of(reading, session_id):
    return SessionChatMessageHistory(session_id, store_of(reading)).messages


@pytest.fixture(params=["message_store", 'old "chat"; DROP TABLE x'])
def written(request, tmp_path):
    with foreign():
        from langchain_community.chat_message_histories import SQLChatMessageHistory  # noqa: PLC0415

        url = f"sqlite:///{tmp_path}/old.db"
        histories = {}
        for session_id in ("b", "a", "B 🐈:'*"):
            history = SQLChatMessageHistory(session_id, request.param, connection=url)
            histories[session_id] = history
        for message in MESSAGES:
            for history in histories.values():
                history.add_message(message)
        kept = {session_id: history.messages for session_id, history in histories.items()}
        for history in histories.values():
            history.session_maker.remove()
            history.engine.dispose()
        return url, request.param, kept


def test_messages_of_langchain_sql_come_back_equal(written, tmp_path):
    url, table, kept = written
    for place in (url, tmp_path / "old.db", url.replace("sqlite:", "sqlite+aiosqlite:")):
        store = store_of(READERS["langchain-sql"](place, table=table))
        assert len(store.list_sessions().sessions) == len(kept)
        for session_id, messages in kept.items():
            assert same(SessionChatMessageHistory(session_id, store).messages, messages)
    assert [path.name for path in tmp_path.iterdir()] == ["old.db"]


def test_a_second_reading_gives_the_same_ids(written):
    url, table, _ = written
    first, second = (
        all_of(READERS["langchain-sql"](url, table=table, user_id="alice", agent_id="old"))
        for _ in range(2)
    )
    for session_id, session in first.items():
        assert (session.user_id, session.agent_id) == ("alice", "old")
        ids = [message.id for message in session.messages]
        assert ids == [message.id for message in second[session_id].messages]
        assert len(set(ids)) == len(ids)


def test_what_old_versions_wrote_is_read(tmp_path):
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    old = [
        {"type": "human", "data": {"content": "Hi", "additional_kwargs": {}, "example": False}},
        {"type": "ai", "data": {"content": "", "additional_kwargs": {"tool_calls": calls}}},
    ]
    place = rows_in(tmp_path, *[("s", json.dumps(row)) for row in old])
    asked, answered = history_of(READERS["langchain-sql"](place), "s")
    assert asked == HumanMessage("Hi", id=asked.id)
    with foreign():
        assert answered == AIMessage(**old[1]["data"], id=answered.id)
    assert answered.tool_calls == [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]


def rows_in(folder, *rows):
    place = folder / "rows.db"
    with sqlite3.connect(place) as db:
        db.execute("CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id, message)")
        db.executemany("INSERT INTO message_store (session_id, message) VALUES (?, ?)", rows)
    db.close()
    return place


def wrapped(**data):
    return json.dumps({"type": "ai", "data": data})


HOSTILE = [
    None,
    "",
    "{",
    "[]",
    "7",
    "[" * 100_000,
    '{"a":' * 5_000,
    '{"type": "ai"}',
    '{"type": ["ai"], "data": {}}',
    '{"type": "pirate", "data": {"content": "secret"}}',
    wrapped(),
    wrapped(content=7),
    wrapped(content=[7]),
    wrapped(content="secret", id=7),
    wrapped(content="secret", id="x" * 600),
    wrapped(content="secret", tool_calls={"name": "secret"}),
    wrapped(content="secret", tool_calls=[{"name": "f", "args": "secret", "id": "c"}]),
    wrapped(content="secret", invalid_tool_calls=["secret"]),
    wrapped(content="secret", additional_kwargs=["secret"]),
    wrapped(content="\ud800"),
    wrapped(content="secret", more=[[[]]] and json.loads("[" * 80 + "]" * 80)),
    json.dumps({"type": "tool", "data": {"content": "secret"}}),
    json.dumps({"type": "chat", "data": {"content": "secret"}}),
]


def test_what_is_no_message_is_named_and_the_rest_is_read(tmp_path):
    good = json.dumps({"type": "human", "data": {"content": "good"}})
    rows = [("s", raw) for raw in HOSTILE]
    place = rows_in(tmp_path, *rows, ("s", good), (None, good), ("", good), ("x" * 600, good))
    sessions, unreadable = apart(READERS["langchain-sql"](place))
    assert list(sessions) == ["s"]
    assert [message.content for message in sessions["s"].messages] == ["good"]
    rows_named = [it.where for it in unreadable if it.where.startswith("message_store, row")]
    assert rows_named == [f"message_store, row {n}" for n in range(1, len(HOSTILE) + 1)]
    assert len(unreadable) == len(HOSTILE) + 3
    assert not [it for it in unreadable if "secret" in it.where + it.why]


def test_a_message_that_is_there_twice_is_read_twice(tmp_path):
    row = ("s", json.dumps({"type": "human", "data": {"content": "again", "id": "m1"}}))
    place = rows_in(tmp_path, row, row)
    session = all_of(READERS["langchain-sql"](place))["s"]
    assert [message.id for message in session.messages] == ["m1", "langchain-sql-2"]


def test_a_message_that_is_named_as_another_ones_place_takes_no_others_id(tmp_path):
    named = {"type": "human", "data": {"content": "first", "id": "langchain-sql-2"}}
    nameless = {"type": "human", "data": {"content": "second"}}
    place = rows_in(tmp_path, ("s", json.dumps(named)), ("s", json.dumps(nameless)))
    kept = store_of(READERS["langchain-sql"](place)).get_messages("s")
    assert [message.content for message in kept] == ["first", "second"]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(SourceError, match="no such SQLite file"):
        list(READERS["langchain-sql"](tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    place = rows_in(tmp_path)
    with pytest.raises(SourceError, match="no table old"):
        list(READERS["langchain-sql"](place, table="old"))
    with pytest.raises(SourceError, match="no column none"):
        list(READERS["langchain-sql"](place, message_column="none"))
    with pytest.raises(InvalidSessionError, match="user_id"):
        READERS["langchain-sql"](place, user_id="")
    (tmp_path / "no.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SessionStoreError):
        list(READERS["langchain-sql"](tmp_path / "no.db"))


def test_one_session_is_in_memory_at_a_time(tmp_path):
    row = json.dumps({"type": "human", "data": {"content": "x" * 10_000}})
    place = rows_in(tmp_path, *[(f"s{n}", row) for n in range(200) for _ in range(10)])
    reading = READERS["langchain-sql"](place)
    tracemalloc.start()
    try:
        seen = sum(session.message_count for session in reading)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 2_000
    assert peak < 10_000_000  # half of what is there; a page of rows is five


@pytest.mark.skipif(not mariadb_binary(), reason="there is no mariadbd here")
def test_ids_that_a_collation_takes_for_the_same_are_sessions_of_their_own(mariadb, schema):
    mariadb.execute(f"CREATE DATABASE {schema}")
    url = mariadb.url(schema)
    row = json.dumps({"type": "human", "data": {"content": "Hi"}})
    engine = create_engine(url)
    with engine.begin() as connection:
        ids = "session_id TEXT COLLATE utf8mb4_general_ci"
        columns = f"id INTEGER PRIMARY KEY AUTO_INCREMENT, {ids}, message TEXT"
        connection.exec_driver_sql(f"CREATE TABLE message_store ({columns})")
        for session_id in ("a", "A", "a", "\u00e4", "A", "a "):
            add = "INSERT INTO message_store (session_id, message) VALUES (%s, %s)"
            connection.exec_driver_sql(add, (session_id, row))
    engine.dispose()
    sessions = all_of(READERS["langchain-sql"](url))
    counts = {session_id: session.message_count for session_id, session in sessions.items()}
    assert counts == {"a": 2, "A": 2, "\u00e4": 1, "a ": 1}


def test_a_column_of_sqlite_that_knows_no_case_mixes_no_sessions(tmp_path):
    made = sqlite3.connect(tmp_path / "old.db")
    made.execute("CREATE TABLE message_store (id INTEGER, session_id COLLATE NOCASE, message)")
    for place, session_id in enumerate("AaAa"):
        message = json.dumps({"type": "human", "data": {"content": str(place)}})
        made.execute("INSERT INTO message_store VALUES (?, ?, ?)", (place, session_id, message))
    made.commit()
    made.close()
    found = all_of(READERS["langchain-sql"](tmp_path / "old.db"))
    told = {name: [it.content for it in session.messages] for name, session in found.items()}
    assert told == {"A": ["0", "2"], "a": ["1", "3"]}


def test_a_file_is_opened_for_reading_only(tmp_path):
    with opened(rows_in(tmp_path)) as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM message_store").scalar() == 0
    with (
        pytest.raises(SessionStoreError),
        opened(tmp_path / "rows.db") as connection,
    ):
        connection.exec_driver_sql("CREATE TABLE other (x)")


# -- PostgreSQL -----------------------------------------------------------------------------------


def test_messages_of_langchain_postgres_come_back_equal(postgres):
    with database_of_others(postgres) as url:
        with psycopg.connect(url) as connection:
            query = "SELECT message, created_at FROM old_chats ORDER BY id"
            rows = connection.execute(query).fetchall()
        kept, session_id = messages_from_dict([row for row, _ in rows]), str(uuid.UUID(int=7))
        assert len(kept) == len(MESSAGES)
        store = store_of(READERS["langchain-postgres"](url, table="old_chats"))
        assert same(SessionChatMessageHistory(session_id, store).messages, kept)
        asyncpg = url.replace("postgresql:", "postgresql+asyncpg:")
        session = all_of(READERS["langchain-postgres"](asyncpg, table="old_chats"))[session_id]
        assert (session.created_at, session.updated_at) == (rows[0][1], rows[-1][1])
        reading = READERS["langchain-postgres"](url, table="old_chats")
        assert next(reading).id == session_id
        reading.close()  # which leaves no cursor open
        with pytest.raises(SourceError, match="no table chat_history"):
            list(READERS["langchain-postgres"](url))


def test_messages_of_langchain_sql_come_back_equal_from_postgres(postgres):
    with foreign():
        from langchain_community.chat_message_histories import SQLChatMessageHistory  # noqa: PLC0415

        url, table = postgres.url(), f"old_{uuid.uuid4().hex}"
        driver = url.replace("postgresql:", "postgresql+psycopg:")
        history = SQLChatMessageHistory("s", table, connection=driver)
        history.add_messages(MESSAGES)
        kept = history.messages
        history.session_maker.remove()
        history.engine.dispose()
    assert same(history_of(READERS["langchain-sql"](url, table=table), "s"), kept)


# -- Redis ----------------------------------------------------------------------------------------


def test_messages_of_langchain_communitys_redis_come_back_equal(redis_server):
    prefix = f"old*[{uuid.uuid4().hex}]:"
    with foreign():
        from langchain_community.chat_message_histories import RedisChatMessageHistory  # noqa: PLC0415

        kept = {}
        for session_id in ("a", "b:c"):
            history = RedisChatMessageHistory(session_id, redis_server.url, key_prefix=prefix)
            history.add_messages(MESSAGES)
            kept[session_id] = history.messages
            history.redis_client.close()
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(f"{prefix}not a list", "x")
        client.lpush("another's", "x")
        client.lpush(f"{prefix}broken", b"\xff", "{")
        for place in (redis_server.url, client):
            reading = READERS["langchain-redis-community"](place, key_prefix=prefix)
            sessions, unreadable = apart(reading)
            assert sorted(sessions) == ["a", "b:c"]
            assert len(unreadable) == 2
        assert client.ping()  # what was given is not closed
        client.delete(f"{prefix}broken")
        store = store_of(READERS["langchain-redis-community"](client, key_prefix=prefix))
    for session_id, messages in kept.items():
        assert same(SessionChatMessageHistory(session_id, store).messages, messages)


def test_messages_of_langchain_redis_come_back_equal():
    """As far as it keeps them: it drops ids and tool calls."""
    with with_modules() as url, foreign():
        from langchain_redis import RedisChatMessageHistory  # noqa: PLC0415

        old_protocol = redis.Redis.from_url(url, protocol=2)  # it takes no other as it is
        kept = {}
        for session_id in ("a", "b:c"):
            history = RedisChatMessageHistory(session_id, redis_client=old_protocol)
            history.add_messages([it for it in MESSAGES if it.type in ("human", "ai", "tool")])
            kept[session_id] = [it for it in history.messages if isinstance(it.content, str)]
        old_protocol.close()
        store = store_of(READERS["langchain-redis"](url))
        with redis.Redis.from_url(url) as client:
            client.execute_command("JSON.SET", "chat:broken:1", "$", '{"type": "secret"}')
        sessions, unreadable = apart(READERS["langchain-redis"](url))
    assert sorted(sessions) == ["a", "b:c"]
    assert [it.why for it in unreadable] == ["a message's data is not a JSON object"]
    for session_id, messages in kept.items():
        read = SessionChatMessageHistory(session_id, store).messages
        assert same([it for it in read if isinstance(it.content, str)], messages)
        assert len(read) == len(messages) + 2  # lists of blocks, which its index does not find


def test_redis_that_is_not_there_is_said():
    with pytest.raises(SessionStoreError):
        list(READERS["langchain-redis-community"]("redis://localhost:1"))
    with pytest.raises(SourceError, match="not a URL of Redis"):
        list(READERS["langchain-redis"]("http://localhost"))


def test_chunks_are_read_as_the_full_messages_that_they_are(tmp_path):
    chunk = AIMessageChunk("Hel", id="m1", response_metadata={"a": 1})
    row = json.dumps({"type": chunk.type, "data": chunk.model_dump()})
    place = rows_in(tmp_path, ("s", row))
    expected = AIMessage("Hel", id="m1", response_metadata={"a": 1})
    assert history_of(READERS["langchain-sql"](place), "s") == [expected]


ROW = json.dumps({"type": "human", "data": {"content": "Hi"}})


def foreign_table(folder, ids, rows):
    """Make a table of another's hand, with whatever in its columns."""
    with sqlite3.connect(folder / "odd.db") as db:
        db.execute(f"CREATE TABLE message_store (id, session_id {ids}, message)")
        db.executemany("INSERT INTO message_store VALUES (?, ?, CAST(? AS TEXT))", rows)
    db.close()
    return folder / "odd.db"


def test_text_that_is_not_utf8_is_named_and_the_rest_is_read(tmp_path):
    rows = [(1, "a", b"secret \xff"), (2, "a", ROW.encode()), ("secret" * 99, "a", "{}")]
    place = foreign_table(tmp_path, "TEXT", rows)
    sessions, unreadable = apart(READERS["langchain-sql"](place))
    assert [it.content for it in sessions["a"].messages] == ["Hi"]
    assert unreadable[0].where == "message_store, row 1"
    assert len(unreadable[1].where) < 120
    assert not [it for it in unreadable if "secret" in it.why]


def test_ids_that_a_collation_of_sqlite_takes_for_the_same_are_two_sessions(tmp_path):
    rows = [(number, "aA"[number % 2], ROW) for number in range(6)]
    sessions = all_of(READERS["langchain-sql"](foreign_table(tmp_path, "COLLATE NOCASE", rows)))
    assert {key: it.message_count for key, it in sessions.items()} == {"a": 3, "A": 3}


def test_a_file_damaged_behind_its_first_rows_is_an_error_of_ours(tmp_path):
    place = foreign_table(tmp_path, "TEXT", [(n, "a", ROW + " " * 2_000) for n in range(3_000)])
    with sqlite3.connect(place) as db:
        db.execute("CREATE INDEX ordered ON message_store (session_id COLLATE BINARY, id)")
    db.close()
    damaged = bytearray(place.read_bytes())
    half = len(damaged) // 8192 * 4096
    damaged[half : half + 200 * 4096] = b"\xff" * 200 * 4096
    place.write_bytes(damaged)
    with pytest.raises(SessionStoreError):
        list(READERS["langchain-sql"](place))
