"""The stores that LlamaIndex's chat stores are tried on: each kind there is, on real servers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hooked import HookedStore

from sessionstore import (
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionStore,
    SQLiteSessionStore,
)
from sessionstore.operations import Append, DeleteMessages, Get, GetMessages, Update

KINDS = ["memory", "sqlite", "redis", "postgres", "fallback"]
_FIXTURES = {"redis": "redis_server", "fallback": "redis_server", "postgres": "postgres"}


@contextmanager
def opened(kind: str, request: Any) -> Iterator[SessionStore]:
    """Open an empty store of one kind, on a server that the tests share."""
    server = request.getfixturevalue(_FIXTURES[kind]) if kind in _FIXTURES else None
    prefix = f"{uuid.uuid4().hex}:"
    if kind == "memory":
        store: SessionStore = InMemorySessionStore()
    elif kind == "sqlite":
        store = SQLiteSessionStore(request.getfixturevalue("tmp_path") / "sessions.db")
    elif kind == "postgres":
        db = PostgresAgentDb(server.url(), schema=request.getfixturevalue("schema"))
        with db, DbSessionStore(db) as store:
            yield store
        return
    else:
        store = RedisSessionStore(server.url, key_prefix=prefix)
        store = FallbackSessionStore(store) if kind == "fallback" else store
    with store:
        yield store


class Counting(HookedStore):
    """A store that counts what it is asked for, and the messages that it hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.handed = 0
        self.written = 0

    def before(self, operation: Any) -> None:
        self.requests.append(_NAMES.get(type(operation), "other"))
        self.written += len(getattr(operation, "messages", None) or ())

    def after(self, operation: Any, result: Any) -> None:
        if not isinstance(operation, DeleteMessages):
            messages = getattr(result, "messages", result)
            self.handed += len(messages) if isinstance(messages, list) else 0

    def forget(self) -> None:
        self.requests, self.handed, self.written = [], 0, 0


class Loop:
    """An event loop for a test's calls, one after the other.

    LlamaIndex's sync methods take the thread's, too: they would make one that nobody closes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)

    def __call__(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        asyncio.set_event_loop(None)


_NAMES: dict[type, str] = {
    Get: "get",
    GetMessages: "get_messages",
    Append: "append",
    Update: "update",
    DeleteMessages: "delete_messages",
}
