"""The limit on SQLite: `sqlite3` by hand."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from by_hand import ByHand, oldest_first, rows_of
from subject import AsyncSubject


class SQLiteByHand(ByHand):
    """`sqlite3`, a connection a thread; WAL, a full sync at each commit.

    Writers of one process wait for each other in a lock: in SQLite's own way of waiting they would
    sleep, and often for longer than the file is in use.
    """

    backend = "sqlite"
    synchronous = "FULL"

    def __init__(self, url: str) -> None:
        self._path = url
        self._writing = threading.Lock()
        self._mine = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._connection().executescript(
            "CREATE TABLE IF NOT EXISTS messages (position INTEGER PRIMARY KEY, session TEXT,"
            " id TEXT, body BLOB, UNIQUE (session, id));"
            "CREATE INDEX IF NOT EXISTS of_session ON messages (session, position)"
        )

    def _connection(self) -> sqlite3.Connection:
        if (connection := getattr(self._mine, "connection", None)) is None:
            connection = sqlite3.connect(
                self._path, timeout=60, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            self._mine.connection = connection
            self._opened.append(connection)
        return connection

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return oldest_first(
            self._connection().execute(
                "SELECT body FROM messages WHERE session = ? ORDER BY position DESC LIMIT ?",
                (session, -1 if limit is None else limit),
            )
        )

    def append(self, session: str, texts: Sequence[str]) -> None:
        rows = [(session, *row) for row in rows_of(texts)]
        connection = self._connection()
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    "INSERT OR IGNORE INTO messages (session, id, body) VALUES (?, ?, ?)", rows
                )
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


class SQLiteNormalByHand(SQLiteByHand):
    """The same, without a sync at each commit."""

    name = "by hand (NORMAL)"
    synchronous = "NORMAL"


class AsyncSQLiteByHand(AsyncSubject, ByHand):
    """`SQLiteByHand`, one hop an operation: to the thread that writes, or to the one that reads.

    More that read are slower: they keep the interpreter from the one that writes.
    """

    backend = "sqlite"
    kind = SQLiteByHand

    def __init__(self, url: str) -> None:
        self._blocking = self.kind(url)
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        loading = self._reader.submit(self._blocking.load, session, limit)
        return await asyncio.wrap_future(loading)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await asyncio.wrap_future(self._writer.submit(self._blocking.append, session, texts))

    async def close(self) -> None:
        for threads in (self._reader, self._writer):
            threads.shutdown()
        self._blocking.close()


class AsyncSQLiteNormalByHand(AsyncSQLiteByHand):
    """The same, without a sync at each commit."""

    name = "by hand (NORMAL)"
    kind = SQLiteNormalByHand
