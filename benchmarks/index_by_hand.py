"""The limits of a list: a user's newest sessions, from an index by hand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

import psycopg
import redis

PAGE = 50
_METADATA = json.dumps({"title": "t"})
_TABLE = (
    "CREATE TABLE listed (id TEXT PRIMARY KEY, owner TEXT, updated BIGINT, messages BIGINT,"
    " metadata TEXT)"
)
_INDEX = "CREATE INDEX of_owner ON listed (owner, updated)"
_SELECT = (
    "SELECT id, owner, updated, messages, metadata FROM listed WHERE owner = {0}"
    " ORDER BY updated DESC LIMIT 50"
)
_NEWEST = """
local found = {}
for n, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, 49)) do
  found[n] = redis.call('HMGET', id, 'id', 'owner', 'updated', 'messages', 'metadata')
end
return found
"""


def _rows(count: int, users: int) -> Iterable[tuple[str, str, int, int, str]]:
    return ((f"listed-{n}", f"user-{n % users}", n, 2, _METADATA) for n in range(count))


class SQLiteIndex:
    """A table, and an index of its owners and times."""

    def __init__(self, url: str, count: int, users: int) -> None:
        self._connection = sqlite3.connect(url)
        with self._connection:
            self._connection.execute(_TABLE)
            self._connection.execute(_INDEX)
            insert = "INSERT INTO listed VALUES (?, ?, ?, ?, ?)"
            self._connection.executemany(insert, _rows(count, users))

    def page(self, user: str) -> list[Any]:
        """Give a user's newest sessions."""
        rows = self._connection.execute(_SELECT.format("?"), (user,)).fetchall()
        return [(*row[:4], json.loads(row[4])) for row in rows]

    def close(self) -> None:
        """Leave the file."""
        self._connection.close()


class PostgresIndex:
    """The same in PostgreSQL."""

    def __init__(self, url: str, count: int, users: int) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._connection.execute(_TABLE)
        self._connection.execute(_INDEX)
        with self._connection.cursor().copy("COPY listed FROM STDIN") as copy:
            for row in _rows(count, users):
                copy.write_row(row)
        self._connection.execute("ANALYZE listed")

    def page(self, user: str) -> list[Any]:
        """Give a user's newest sessions."""
        rows = self._connection.execute(_SELECT.format("%s").encode(), (user,)).fetchall()
        return [(*row[:4], json.loads(row[4])) for row in rows]

    def close(self) -> None:
        """Leave the server."""
        self._connection.close()


class RedisIndex:
    """A sorted set a user, and a hash a session, in one round trip."""

    def __init__(self, url: str, count: int, users: int) -> None:
        self._client = redis.Redis.from_url(url)
        self._newest = self._client.register_script(_NEWEST)
        pipeline = self._client.pipeline(transaction=False)
        for n, (session, owner, updated, messages, metadata) in enumerate(_rows(count, users), 1):
            fields = {
                "id": session,
                "owner": owner,
                "updated": updated,
                "messages": messages,
                "metadata": metadata,
            }
            pipeline.hset(session, mapping=fields)
            pipeline.zadd(f"by-hand:{owner}", {session: updated})
            if n % 1000 == 0:
                pipeline.execute()
        pipeline.execute()

    def page(self, user: str) -> list[Any]:
        """Give a user's newest sessions."""
        rows: Any = self._newest(keys=[f"by-hand:{user}"])
        return [(*row[:4], json.loads(row[4])) for row in rows]

    def close(self) -> None:
        """Leave the server."""
        self._client.close()


INDEXES = {"sqlite": SQLiteIndex, "redis": RedisIndex, "postgresql": PostgresIndex}
