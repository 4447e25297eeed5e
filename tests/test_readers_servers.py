"""Readers, on servers that hold what no library writes, and change while they are read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from read_in import apart
from redis_modules import with_modules

from sessionstore.transfer.readers import READERS, Unreadable

MESSAGES = {
    "langchain-redis-community": {"type": "human", "data": {"content": "Hi"}},
    "llama-index-redis": {"role": "user", "content": "Hi"},
}
IS_LANGCHAIN = "langchain-redis-community"


@pytest.fixture
def client(redis_server: Any) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as made:
        yield made


def reading_of(name: str, client: Any, prefix: str) -> Any:
    named = {"key_prefix": prefix} if name == IS_LANGCHAIN else {"match": f"{prefix}*"}
    return READERS[name](client, **named)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_client_that_decodes_reads_on_behind_what_is_no_text(name: str, client: Any) -> None:
    prefix, good = f"{uuid.uuid4().hex}:", json.dumps(MESSAGES[name])
    client.rpush(f"{prefix}a", b"secret \xff", good)
    client.rpush(prefix.encode() + b"\xff\xfe", good)
    client.rpush(f"{prefix}é", good)
    sessions, unreadable = apart(reading_of(name, client, prefix))
    start = 0 if name == IS_LANGCHAIN else len(prefix)
    assert sorted(key[start:] for key in sessions) == ["a", "é"]
    assert [[it.content for it in session.messages] for session in sessions.values()] == [
        ["Hi"]
    ] * 2
    assert len(unreadable) == 2
    assert "secret" not in str(unreadable)


@pytest.mark.parametrize("name", MESSAGES)
def test_keys_that_are_gone_or_others_meanwhile_are_no_sessions(name: str, client: Any) -> None:
    prefix = f"{uuid.uuid4().hex}:"
    names = [f"{prefix}{number}" for number in range(3)]
    for key in names:
        client.rpush(key, json.dumps(MESSAGES[name]))
    reading = reading_of(name, client, prefix)
    first = next(reading)
    gone, other = [key for key in names if not key.endswith(first.id)]
    client.delete(gone, other)
    client.set(other, "secret")
    [left] = reading
    assert isinstance(left, Unreadable)
    assert other in left.where
    assert "secret" not in left.why


def test_documents_that_are_gone_or_others_meanwhile_are_no_sessions() -> None:
    with with_modules() as url, redis.Redis.from_url(url, decode_responses=True) as client:
        for session in "abc":
            document = json.dumps(MESSAGES[IS_LANGCHAIN])
            client.execute_command("JSON.SET", f"chat:{session}:1", "$", document)
        reading = READERS["langchain-redis"](client)
        first = next(reading)
        gone, other = [f"chat:{session}:1" for session in "abc" if session != first.id]
        client.delete(gone, other)
        client.rpush(other, "secret")
        [left] = reading
    assert isinstance(left, Unreadable)
    assert other in left.where


def test_a_time_that_python_does_not_know_is_no_time(postgres: Any) -> None:
    table, url = f"t{uuid.uuid4().hex}", postgres.url()
    times = [
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "20000-01-01",
        "2024-05-01 12:00:00+02",
        None,
    ]
    with psycopg.connect(url) as db:
        db.execute(
            f"CREATE TABLE {table} (id serial, session_id uuid, message jsonb, "
            "created_at timestamptz)"
        )
        for time in times:
            db.execute(
                f"INSERT INTO {table} (session_id, message, created_at) VALUES (%s, %s, %s)",
                (uuid.UUID(int=1), json.dumps(MESSAGES[IS_LANGCHAIN]), time),
            )
    for driver in ("psycopg", "asyncpg"):
        named = url.replace("postgresql:", f"postgresql+{driver}:")
        sessions, unreadable = apart(READERS["langchain-postgres"](named, table=table))
        assert not unreadable
        [session] = sessions.values()
        assert session.message_count == len(times)
        assert str(session.messages[4].created_at) == "2024-05-01 10:00:00+00:00"
