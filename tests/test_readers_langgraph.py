"""Threads of LangGraph's checkpointers, written by the savers, and read without them."""

from __future__ import annotations

import json
import pickle
import sqlite3
import sys
import uuid
from datetime import datetime, timedelta, timezone

import msgspec
import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_samples import MESSAGES, same
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from read_in import all_of, apart, store_of

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore.transfer.readers import READERS, SourceError


class State(MessagesState):
    """The messages, and what else a state may hold."""

    other: object


def chatting(saver, messages, other=None):
    graph = StateGraph(State)
    graph.add_node("answer", lambda _: {"messages": messages, "other": other})
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def chatted(saver, thread, messages, other=None):
    """Run two turns, and give the messages that the thread then has."""
    config = {"configurable": {"thread_id": thread}}
    graph = chatting(saver, messages, other)
    for asked in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(asked, id=f"{thread} {asked}")]}, config)
    return graph.get_state(config).values["messages"]


ANSWERS = [
    *[it for it in MESSAGES if it.id != "m2"],
    ToolMessage("x", tool_call_id="c9", id="bytes", artifact={"raw": b"\xc4\x00", "at": (1, 2)}),
    AIMessage("x", id="dates", additional_kwargs={"raw": [b"hi"]}),
]


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "old.db"
    with SqliteSaver.from_conn_string(str(place)) as saver:
        kept = {
            thread: chatted(saver, thread, ANSWERS, {"when": datetime.now(timezone.utc)})
            for thread in ("b", "a 🐈:'*")
        }
    return place, kept


def comparable(messages):
    """Give messages as JSON has them: tuples are lists there."""
    for message in messages:
        if getattr(message, "artifact", None) == {"raw": b"\xc4\x00", "at": (1, 2)}:
            message.artifact = {"raw": b"\xc4\x00", "at": [1, 2]}
    return messages


def test_messages_of_a_file_of_checkpoints_come_back_equal(file):
    place, kept = file
    for reading in (place, f"sqlite:///{place}"):
        store = store_of(READERS["langgraph-sqlite"](reading))
        for thread, messages in kept.items():
            read = SessionChatMessageHistory(thread, store).messages
            assert same(read, comparable(messages))
    first, second = (all_of(READERS["langgraph-sqlite"](place)) for _ in range(2))
    assert first == second
    session = first["b"]
    assert session.created_at < session.updated_at
    assert datetime.now(timezone.utc) - session.updated_at < timedelta(hours=1)


def test_messages_of_a_database_of_checkpoints_come_back_equal(postgres):
    name = f"old_{uuid.uuid4().hex}"
    url = postgres.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET search_path TO {name}")
        connection.row_factory = psycopg.rows.dict_row
        saver = PostgresSaver(connection)
        saver.setup()
        kept = {thread: chatted(saver, thread, ANSWERS) for thread in ("b", "a 🐈:'*")}
    sign = "&" if "?" in url else "?"
    place = f"{url}{sign}options=-csearch_path%3D{name}"
    store = store_of(READERS["langgraph-postgres"](place))
    for thread, messages in kept.items():
        assert same(SessionChatMessageHistory(thread, store).messages, comparable(messages))
    with pytest.raises(SourceError, match="no table checkpoints"):
        list(READERS["langgraph-postgres"](f"{url}{sign}options=-csearch_path%3Dpg_catalog"))


def stored(place, *checkpoints):
    with sqlite3.connect(place) as db:
        db.execute(
            "CREATE TABLE checkpoints (thread_id, checkpoint_ns, checkpoint_id, type, checkpoint)"
        )
        rows = [(f"t{n}", "", "1", *it) for n, it in enumerate(checkpoints)]
        db.executemany("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)", rows)
    db.close()
    return place


def packed(messages):
    return "msgpack", msgspec.msgpack.encode({"channel_values": {"messages": messages}})


def named(code, *values):
    return msgspec.msgpack.Ext(code, msgspec.msgpack.encode(values))


class Bomb:
    """What says so when it is loaded."""

    def __reduce__(self):
        return (exec, ("import sys; sys.exploded = True",))


def deep_extension():
    inner = b"\x90"
    for _ in range(2_000):
        inner = msgspec.msgpack.encode(msgspec.msgpack.Ext(0, inner))
    return inner


DATA = {"type": "human", "content": "good"}
HOSTILE = [
    ("pickle", pickle.dumps(Bomb())),
    ("msgpack+aes", b"secret"),
    ("msgpack", b""),
    ("msgpack", b"\xc1"),
    ("msgpack", b"\x91" * 100_000),
    ("msgpack", deep_extension()),
    ("json", b"{"),
    ("json", "secret"),
    (None, None),
    ("msgpack", msgspec.msgpack.encode([1])),
    ("msgpack", msgspec.msgpack.encode({"channel_values": "secret"})),
    ("msgpack", msgspec.msgpack.encode({"channel_values": {"other": 1}})),
    packed("secret"),
]


def test_what_is_no_checkpoint_is_named_and_nothing_is_executed(tmp_path):
    place = stored(tmp_path / "old.db", *HOSTILE)
    sessions, unreadable = apart(READERS["langgraph-sqlite"](place))
    assert sessions == {}
    wanted = sorted(f"checkpoints, thread 't{n}'" for n in range(len(HOSTILE)))
    assert sorted(it.where for it in unreadable) == wanted
    assert not [it for it in unreadable if "secret" in it.where + it.why]
    assert not hasattr(sys, "exploded")
    [pickled] = [it.why for it in unreadable if "'t0'" in it.where]
    assert "never loaded" in pickled


def test_no_class_that_a_checkpoint_names_is_imported(tmp_path):
    messages = [
        named(5, "langchain_core.messages.human", "HumanMessage", DATA, "model_validate_json"),
        named(5, "this", "HumanMessage", DATA, "model_validate_json"),
        named(3, "this", "x", "secret", "y"),
        named(1, "builtins", "exec", ["import sys; sys.exploded = True"]),
        named(6, "numpy"),
        named(99, "secret"),
    ]
    place = stored(tmp_path / "old.db", packed(messages))
    sessions, unreadable = apart(READERS["langgraph-sqlite"](place))
    assert [it.content for it in sessions["t0"].messages] == ["good", "good"]
    assert len(unreadable) == 4
    assert not hasattr(sys, "exploded")
    assert "this" not in sys.modules


def test_checkpoints_in_json_of_old_versions_are_read(tmp_path):
    from langchain_core.load import dumpd  # noqa: PLC0415

    message = AIMessage("good", id="m1", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c"}])
    raw = msgspec.json.encode({"channel_values": {"messages": [dumpd(message)]}})
    assert JsonPlusSerializer().loads_typed(("json", raw))["channel_values"]["messages"] == [
        message
    ]
    store = store_of(READERS["langgraph-sqlite"](stored(tmp_path / "old.db", ("json", raw))))
    assert SessionChatMessageHistory("t0", store).messages == [message]


def test_what_is_no_file_of_checkpoints_is_refused(tmp_path):
    place = tmp_path / "old.db"
    with pytest.raises(SourceError, match=r"no such SQLite file: .*old\.db"):
        list(READERS["langgraph-sqlite"](place))
    with pytest.raises(SourceError, match="the URL of something else") as raised:
        list(READERS["langgraph-sqlite"]("postgresql://u:secret@h/d"))
    assert "secret" not in str(raised.value)
    sqlite3.connect(place).close()
    place.write_bytes(b"no database" * 1000)
    with pytest.raises(SourceError, match="no SQLite database"):
        list(READERS["langgraph-sqlite"](place))
    place.unlink()
    with sqlite3.connect(place) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    with pytest.raises(SourceError, match="no table checkpoints"):
        list(READERS["langgraph-sqlite"](place))


def test_a_row_that_no_saver_writes_is_named_and_the_rest_is_read(tmp_path):
    held = json.dumps({"channel_values": {"messages": [{"type": "human", "content": "Hi"}]}})
    with sqlite3.connect(tmp_path / "odd.db") as db:
        db.execute(
            "CREATE TABLE checkpoints (thread_id, checkpoint_ns, checkpoint_id, type, checkpoint)"
        )
        add = "INSERT INTO checkpoints VALUES ({}, '', {}, 'json', {})"
        not_text = "CAST(x'736563726574ff' AS TEXT)"
        db.execute(add.format("NULL", "'1'", "'{}'"))
        db.execute(add.format("'a'", "NULL", "'{}'"))
        db.execute(add.format("'b'", "'1'", not_text))
        db.execute(add.format(not_text, "'1'", "'{}'"))
        db.execute(add.format("'c'", not_text, "'{}'"))
        db.execute(add.format("'z'", "'1'", "?"), [held])
    db.close()
    sessions, unreadable = apart(READERS["langgraph-sqlite"](tmp_path / "odd.db"))
    assert list(sessions) == ["z"]
    assert len(unreadable) == 5
    assert not [it for it in unreadable if "secret" in it.why]
