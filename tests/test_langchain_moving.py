"""The loops of the documentation copy what LangChain's old histories stored, out of servers."""

import json
import sys
import uuid
from functools import partial

import pytest
import sqlalchemy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_to_dict
from pages import PAGES, program
from redis import Redis

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore import InMemorySessionStore

CALL = {"name": "f", "args": {"x": 1}, "id": "c1", "type": "tool_call"}
TALK = [
    HumanMessage("Hello!"),
    AIMessage("", tool_calls=[CALL], id="a1"),
    ToolMessage("two", tool_call_id="c1"),
    AIMessage([{"type": "text", "text": "Two."}], response_metadata={"model_name": "m"}),
]
ROWS = [json.dumps(message_to_dict(message)) for message in TALK]
PREFIX = f"old-{uuid.uuid4()}:"
FIRST, SECOND = sorted(str(uuid.uuid4()) for _ in range(2))


# The page of each, and what its part of the loop does without.
LOOPS = {
    "redis": ("redis_chat_message_history", "redis_sessions", "sqlalchemy"),
    "sqlite": ("sql_chat_message_history", "sql_sessions", "redis"),
    "postgres": ("postgres_chat_message_history", "postgres_sessions", "redis"),
}


@pytest.fixture
def loop(old, monkeypatch):
    page, reader, needless = LOOPS[old]
    blocks = program(PAGES[f"guides/moving/{page}"].read_text(encoding="utf-8"))
    names = {}
    with monkeypatch.context() as without:
        without.setitem(sys.modules, needless, None)  # each part has the extra that it needs
        for function in ("copy", reader):
            [code] = [block.code for block in blocks if f"def {function}(" in block.code]
            exec(code, names)  # noqa: S102 - as its readers do
    return names


def in_redis(loop, server):
    """Write as langchain-community 0.4's RedisChatMessageHistory does."""
    with Redis.from_url(server.url) as client:
        for session_id in (FIRST, SECOND):
            for row in ROWS:
                client.lpush(f"{PREFIX}{session_id}", row)
    return loop["redis_sessions"](server.url, PREFIX)


def in_table(read, url, table, types):
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE TABLE {table} ({types})"))
        for row in ROWS:
            for session_id in (FIRST, SECOND):
                connection.execute(
                    sqlalchemy.text(
                        f"INSERT INTO {table} (session_id, message) VALUES (:id, :row)"
                    ),
                    {"id": session_id, "row": row},
                )
    return read(table)


# As SQLChatMessageHistory of langchain-community 0.4 and PostgresChatMessageHistory of
# langchain-postgres 0.0.19 make their tables.
SQL = "id INTEGER PRIMARY KEY, session_id TEXT, message TEXT"
POSTGRES = (
    "id SERIAL PRIMARY KEY, session_id UUID NOT NULL, message JSONB NOT NULL, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW()"
)


@pytest.mark.parametrize("old", ["redis", "sqlite", "postgres"])
def test_sessions_are_copied_whole_and_once(old, loop, request, tmp_path, schema):
    read = {
        "redis": lambda: in_redis(loop, request.getfixturevalue("redis_server")),
        "sqlite": lambda: in_table(
            partial(loop["sql_sessions"], url := f"sqlite:///{tmp_path}/old.db"),
            url,
            "message_store",
            SQL,
        ),
        "postgres": lambda: in_table(
            partial(loop["postgres_sessions"], url := request.getfixturevalue("postgres").url()),
            url.replace("://", "+psycopg://", 1),
            f"chat_history_{schema}",
            POSTGRES,
        ),
    }[old]
    store = InMemorySessionStore()
    sessions = list(read())
    copied = partial(loop["copy"], sessions, store)
    copied()
    copied()
    assert sorted(session_id for session_id, _ in sessions) == [FIRST, SECOND]
    for session_id in (FIRST, SECOND):
        messages = SessionChatMessageHistory(session_id, store).messages
        assert [message.model_copy(update={"id": None}) for message in messages] == [
            message.model_copy(update={"id": None}) for message in TALK
        ]
        assert messages[1].id == "a1"
