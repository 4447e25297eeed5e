"""LangChain's messages the naive way, which one writes first.

Rows of LangChain's own JSON, ``json.loads`` and ``messages_from_dict``, on the driver.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
import redis
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from subject import Subject


def _dumped(texts: Sequence[str]) -> list[str]:
    kinds = (HumanMessage, AIMessage)
    return [json.dumps(message_to_dict(kinds[n % 2](text))) for n, text in enumerate(texts)]


class _Naive(Subject):
    name = "driver, json.loads, messages_from_dict"
    family = "naive"

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        raise NotImplementedError

    def load(self, session: str, limit: int | None) -> list[BaseMessage]:
        return messages_from_dict([json.loads(body) for body in self._read(session, limit)])


class NaiveSQLite(_Naive):
    """A table of rows of LangChain's JSON, and no more."""

    backend = "sqlite"

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id TEXT, message TEXT)"
        )
        self._connection.execute("CREATE INDEX of_session ON message_store (session_id)")

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        query = "SELECT message FROM message_store WHERE session_id = ? ORDER BY id DESC LIMIT ?"
        rows = self._connection.execute(query, (session, -1 if limit is None else limit))
        return [body for (body,) in rows][::-1]

    def append(self, session: str, texts: Sequence[str]) -> None:
        with self._connection:
            self._connection.executemany(
                "INSERT INTO message_store (session_id, message) VALUES (?, ?)",
                [(session, body) for body in _dumped(texts)],
            )

    def close(self) -> None:
        self._connection.close()


class NaiveRedis(_Naive):
    """A list of LangChain's JSON."""

    backend = "redis"

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        bodies: Any = self._client.lrange(f"naive:{session}", -limit if limit else 0, -1)
        return list(bodies)

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._client.rpush(f"naive:{session}", *_dumped(texts))

    def close(self) -> None:
        self._client.close()


class NaivePostgres(_Naive):
    """A table of rows of LangChain's JSON, through one connection."""

    backend = "postgresql"

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS naive"
            " (id bigserial PRIMARY KEY, session_id text, message text)"
        )
        self._connection.execute("CREATE INDEX IF NOT EXISTS of_naive ON naive (session_id, id)")

    def _read(self, session: str, limit: int | None) -> Iterable[str | bytes]:
        query = "SELECT message FROM naive WHERE session_id = %s ORDER BY id DESC LIMIT %s"
        rows = self._connection.execute(query, (session, limit)).fetchall()
        return [body for (body,) in rows][::-1]

    def append(self, session: str, texts: Sequence[str]) -> None:
        self._connection.execute(
            "INSERT INTO naive (session_id, message) SELECT %s, unnest(%s::text[])",
            (session, _dumped(texts)),
        )

    def close(self) -> None:
        self._connection.close()
