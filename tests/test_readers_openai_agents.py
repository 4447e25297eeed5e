"""Sessions of the OpenAI Agents SDK, written by the SDK itself, and read without it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from agents.extensions.memory import SQLAlchemySession
from agents.memory import SQLiteSession
from agents_sdk import called, given, said, thought
from read_in import all_of, apart, store_of

from openai_agents_sessionstore import SessionStoreSession
from sessionstore.transfer.readers import READERS

ITEMS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is this? 🐈"},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look:"},
            {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "low"},
        ],
    },
    thought("Hm."),
    said("Let me look."),
    called("c1", word="a"),
    called("c2", word="b"),
    given("c1", "one"),
    given("c2", [{"type": "input_text", "text": "two"}]),
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    said("Done.", "msg_2"),
]


def items_of(store, session_id):
    return asyncio.run(SessionStoreSession(session_id, store).get_items())


def test_items_of_a_sqlite_session_come_back_equal(tmp_path):
    async def write():
        for session_id in ("b", "a 🐈:'*"):
            session = SQLiteSession(session_id, tmp_path / "old.db")
            for item in ITEMS:
                await session.add_items([item])
            session.close()

    asyncio.run(write())
    store = store_of(READERS["openai-agents"](tmp_path / "old.db"))
    for session_id in ("b", "a 🐈:'*"):
        assert items_of(store, session_id) == ITEMS
        # As the SDK's own items are stored when it writes through us.
        stored = store.get(session_id)
        assert [it.role for it in stored.messages] == [
            *("system", "user", "user", "assistant", "tool", "tool", "assistant")
        ]
    first, second = (all_of(READERS["openai-agents"](tmp_path / "old.db")) for _ in range(2))
    assert first == second
    assert datetime.now(timezone.utc) - first["b"].created_at < timedelta(hours=1)


def test_items_of_an_sqlalchemy_session_come_back_equal(postgres):
    table = f'old "{uuid.uuid4().hex}"'
    url = postgres.url().replace("postgresql:", "postgresql+psycopg:")

    async def write():
        session = SQLAlchemySession.from_url(
            "s",
            url=url,
            create_tables=True,
            sessions_table=f"s{table}",
            messages_table=table,
        )
        await session.add_items(ITEMS)
        await session.engine.dispose()

    asyncio.run(write())
    assert items_of(store_of(READERS["openai-agents"](url, table=table)), "s") == ITEMS


HOSTILE = [
    "",
    "{",
    "[" * 100_000,
    "7",
    "[]",
    "{}",
    '{"secret": 1}',
    '{"role": 7}',
    '{"role": ["secret"], "content": "secret"}',
    '{"__enc__": 1, "payload": "secret"}',
]
# What looks like an item comes back as it is, whatever it holds.
ODD = [
    {"role": "user", "content": 7},
    {"role": "user"},
    {"role": "assistant", "content": [{"type": "output_text"}, {}]},
    {"type": "reasoning", "summary": 7, "content": [7]},
    {"type": {"x": []}, "role": "assistant", "content": "x"},
    {"type": "function_call", "call_id": 7, "name": [], "arguments": None},
    {"type": "function_call_output", "call_id": 7, "output": "x"},
    {"type": "function_call_output", "call_id": "c", "output": [7]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "[" * 9_000},
]


def test_what_is_no_item_is_named_and_the_rest_is_read(tmp_path):
    asyncio.run(write_one(tmp_path))
    with sqlite3.connect(tmp_path / "old.db") as db:
        add = "INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)"
        db.executemany(add, [("s", raw) for raw in HOSTILE])
        db.executemany(add, [("odd", json.dumps(item)) for item in ODD])
    db.close()
    sessions, unreadable = apart(READERS["openai-agents"](tmp_path / "old.db"))
    named = [f"agent_messages, row {n}" for n in range(2, len(HOSTILE) + 2)]
    assert [it.where for it in unreadable] == named
    assert not [it for it in unreadable if "secret" in it.where + it.why]
    store = store_of(iter(sessions.values()))
    assert items_of(store, "s") == [ITEMS[0]]
    assert items_of(store, "odd") == ODD


async def write_one(folder):
    session = SQLiteSession("s", folder / "old.db")
    await session.add_items(ITEMS[:1])
    session.close()


@pytest.mark.parametrize("name", ["x", "agent_sessions"])
def test_a_table_that_is_no_items_is_refused(tmp_path, name):
    asyncio.run(write_one(tmp_path))
    with pytest.raises(ValueError, match="has no"):
        list(READERS["openai-agents"](tmp_path / "old.db", table=name))
