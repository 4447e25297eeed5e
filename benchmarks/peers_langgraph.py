"""LangGraph's checkpointers: a session is a thread, and its state all of its messages.

At their cheapest, to their advantage: what a graph does with its checkpointer in a turn that is
saved once, at its end (``durability="exit"``), without the graph, its reducer and its tasks' own
writes. A turn reads the newest checkpoint and puts a new one: all messages, each time, and every
older checkpoint stays. An append that follows no load reads first, for the same reason.

Who puts last wins: two turns of one session at once lose messages, as they do in LangGraph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

import peers
from subject import AsyncSubject, Subject

_SETTINGS = {"autocommit": True, "prepare_threshold": 0}


class _Thread:
    """What a turn knows of its session, and the checkpoint it makes of that."""

    def __init__(self) -> None:
        from langchain_core.messages import AIMessage, HumanMessage
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph.checkpoint.base.id import uuid6

        self._roles = HumanMessage, AIMessage
        self._empty, self._id = empty_checkpoint, uuid6
        self._read: ContextVar[tuple[str, Any] | None] = ContextVar("read", default=None)

    def note(self, session: str, found: Any) -> Sequence[Any]:
        """Keep what was read until this turn's append, and give its messages."""
        self._read.set((session, found))
        return found.checkpoint["channel_values"]["messages"] if found else []

    def noted(self, session: str) -> tuple[Any, ...]:
        """Give, once, what this turn has read of this session; nothing when it has not."""
        read, _ = self._read.get(), self._read.set(None)
        return read[1:] if read and read[0] == session else ()

    def following(
        self, session: str, found: Any, texts: Sequence[str], version: Callable[[Any, None], Any]
    ) -> tuple[Any, Any, Any, Any]:
        """Give what to put."""
        before = found.checkpoint if found else self._empty()
        step = found.metadata["step"] + 1 if found else 0
        versions = {"messages": version(before["channel_versions"].get("messages"), None)}
        messages = [*before["channel_values"].get("messages", ())]
        messages += peers.alternately(texts, *self._roles)
        after = {
            **before,
            "v": 4,  # as graphs write it: what is older is read with one SELECT more
            "id": str(self._id(clock_seq=step)),
            "ts": datetime.now(timezone.utc).isoformat(),
            "channel_values": {"messages": messages},
            "channel_versions": versions,
        }
        metadata: dict[str, Any] = {"source": "loop", "step": step, "parents": {}}
        return found.config if found else _config(session), after, metadata, versions


def _config(session: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": session, "checkpoint_ns": ""}}


class _Savers(Subject):
    family = "langgraph"
    has_window = False
    _saver: Any

    def __init__(self) -> None:
        self._thread = _Thread()

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        found = self._saver.get_tuple(_config(session))
        return self._thread.note(session, found)

    def append(self, session: str, texts: Sequence[str]) -> None:
        noted = self._thread.noted(session)
        found = noted[0] if noted else self._saver.get_tuple(_config(session))
        version = self._saver.get_next_version
        self._saver.put(*self._thread.following(session, found, texts, version))

    def fill(self, session: str, texts: Sequence[str]) -> None:
        self.append(session, texts)


class _AsyncSavers(AsyncSubject):
    family = "langgraph"
    has_window = False

    def __init__(self) -> None:
        self._thread, self._saver = _Thread(), peers.Once(self._open)

    async def _open(self) -> Any:
        raise NotImplementedError

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        found = await (await self._saver()).aget_tuple(_config(session))
        return self._thread.note(session, found)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        saver, noted = await self._saver(), self._thread.noted(session)
        found = noted[0] if noted else await saver.aget_tuple(_config(session))
        version = saver.get_next_version
        await saver.aput(*self._thread.following(session, found, texts, version))

    async def fill(self, session: str, texts: Sequence[str]) -> None:
        await self.append(session, texts)

    async def close(self) -> None:
        await (await self._saver()).conn.close()


class SQLiteSavers(_Savers):
    """`SqliteSaver`, on one connection under its lock: WAL, synchronous FULL.

    A load is two SELECTs, of the newest checkpoint and of its pending writes; an append one INSERT.
    """

    name = "SqliteSaver (langgraph)"
    backend = "sqlite"
    needs = "langgraph-checkpoint-sqlite"

    def __init__(self, url: str) -> None:
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver

        super().__init__()
        self._saver = SqliteSaver(sqlite3.connect(url, check_same_thread=False))

    def close(self) -> None:
        self._saver.conn.close()


class AsyncSQLiteSavers(_AsyncSavers):
    """The same in asyncio, with aiosqlite."""

    name = "AsyncSqliteSaver (langgraph)"
    backend = "sqlite"
    needs = "langgraph-checkpoint-sqlite"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def _open(self) -> Any:
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        return AsyncSqliteSaver(await aiosqlite.connect(self._url))


class PostgresSavers(_Savers):
    """`PostgresSaver`, on psycopg's pool, under its own lock: one call at a time.

    A load is one SELECT of the newest checkpoint, its blobs and pending writes; an append one
    pipeline with two INSERTs, of the messages' blob and the checkpoint. Connections commit by
    themselves and prepare all, as its documentation has it.
    """

    name = "PostgresSaver (langgraph)"
    backend = "postgresql"
    needs = "langgraph-checkpoint-postgres"

    def __init__(self, url: str) -> None:
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        super().__init__()
        settings = {**_SETTINGS, "row_factory": dict_row}
        pool = ConnectionPool(url, max_size=peers.CONNECTIONS, open=True, kwargs=settings)
        self._saver = PostgresSaver(pool)  # type: ignore[arg-type]
        self._saver.setup()

    def close(self) -> None:
        self._saver.conn.close()


class AsyncPostgresSavers(_AsyncSavers):
    """The same in asyncio, with psycopg's pool for asyncio."""

    name = "AsyncPostgresSaver (langgraph)"
    backend = "postgresql"
    needs = "langgraph-checkpoint-postgres"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def _open(self) -> Any:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool

        settings = {**_SETTINGS, "row_factory": dict_row}
        pool: Any = AsyncConnectionPool(
            self._url, max_size=peers.CONNECTIONS, open=False, kwargs=settings
        )
        await pool.open()
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        return saver


SUBJECTS = (SQLiteSavers, AsyncSQLiteSavers, PostgresSavers, AsyncPostgresSavers)
