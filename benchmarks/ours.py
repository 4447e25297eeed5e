"""Ours: each store, bare and through what its users wire it into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from subject import AsyncSubject, Subject

from langchain_sessionstore import SessionChatMessageHistory
from llama_index_sessionstore import AsyncSessionChatStore, SessionChatStore
from sessionstore import (
    DbSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionMessage,
    SessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
    Window,
)

_ROLES = ("user", "assistant")
_KINDS = (HumanMessage, AIMessage)


def opened(backend: str, url: str, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> SessionStore:
    """Give the store of a backend, as its users open it."""
    if backend == "memory":
        return InMemorySessionStore()
    if backend == "sqlite":
        return SQLiteSessionStore(Path(url), timeout=60, synchronous=synchronous)
    if backend == "redis":
        return RedisSessionStore(url)
    return DbSessionStore(PostgresAgentDb(url))


def said(texts: Sequence[str]) -> list[SessionMessage]:
    """Give the messages of a conversation."""
    return [SessionMessage(_ROLES[n % 2], text) for n, text in enumerate(texts)]


class _Ours(Subject):
    family = "ours"

    def __init__(self, backend: str, url: str, **options: Any) -> None:
        self.backend = backend
        self.store = opened(backend, url, **options)

    def fill(self, session: str, texts: Sequence[str]) -> None:
        for start in range(0, len(texts), 1000):
            self.store.append_messages(session, said(texts[start : start + 1000]))

    def close(self) -> None:
        self.store.close()


class _OursAsync(AsyncSubject):
    family = "ours"

    def __init__(self, backend: str, url: str, **options: Any) -> None:
        self.backend = backend
        self.store = opened(backend, url, **options)

    async def fill(self, session: str, texts: Sequence[str]) -> None:
        for start in range(0, len(texts), 1000):
            await self.store.aappend_messages(session, said(texts[start : start + 1000]))

    async def close(self) -> None:
        await self.store.aclose()


class Bare(_Ours):
    """A store by itself."""

    name = "the store"

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return self.store.get_messages(session, limit=limit)

    def append(self, session: str, texts: Sequence[str]) -> None:
        self.store.append_messages(session, said(texts))


class AsyncBare(_OursAsync):
    """A store by itself, in asyncio."""

    name = "the store"

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await self.store.aget_messages(session, limit=limit)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await self.store.aappend_messages(session, said(texts))


class Normal(Bare):
    """SQLite's, without a sync at each commit."""

    name = "the store (NORMAL)"

    def __init__(self, url: str) -> None:
        super().__init__("sqlite", url, synchronous="NORMAL")


class AsyncNormal(AsyncBare):
    """The same in asyncio."""

    name = "the store (NORMAL)"

    def __init__(self, url: str) -> None:
        super().__init__("sqlite", url, synchronous="NORMAL")


class ByAlchemy(Bare):
    """SQLite's file, through SQLAlchemy."""

    name = "the store, DbSessionStore(SqliteAgentDb)"

    def __init__(self, url: str) -> None:
        self.backend = "sqlite"
        self.store = DbSessionStore(SqliteAgentDb(url, timeout=60))


class AsyncByAlchemy(AsyncBare):
    """The same in asyncio."""

    name = "the store, DbSessionStore(SqliteAgentDb)"

    def __init__(self, url: str) -> None:
        self.backend = "sqlite"
        self.store = DbSessionStore(SqliteAgentDb(url, timeout=60))


def _langchain(texts: Sequence[str]) -> list[BaseMessage]:
    return [_KINDS[n % 2](text) for n, text in enumerate(texts)]


def _window(limit: int | None) -> Window | None:
    return (limit and Window(max_messages=limit)) or None


class History(_Ours):
    """LangChain's history, one for each call as in a web service."""

    name = "SessionChatMessageHistory"

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return SessionChatMessageHistory(session, self.store, window=_window(limit)).messages

    def append(self, session: str, texts: Sequence[str]) -> None:
        SessionChatMessageHistory(session, self.store).add_messages(_langchain(texts))


class AsyncHistory(_OursAsync):
    """LangChain's history in asyncio."""

    name = "SessionChatMessageHistory"

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        history = SessionChatMessageHistory(session, self.store, window=_window(limit))
        return await history.aget_messages()

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await SessionChatMessageHistory(session, self.store).aadd_messages(_langchain(texts))


class ChatStore(_Ours):
    """LlamaIndex's chat store, which knows no window; a message at a time, as its memory adds."""

    name = "SessionChatStore"
    has_window = False

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self._chats = SessionChatStore(self.store)

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return self._chats.get_messages(session)

    def append(self, session: str, texts: Sequence[str]) -> None:
        for n, text in enumerate(texts):
            self._chats.add_message(session, ChatMessage(text, role=_ROLES[n % 2]))


class AsyncChatStore(_OursAsync):
    """LlamaIndex's chat store in asyncio."""

    name = "SessionChatStore"
    has_window = False

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self._chats = SessionChatStore(self.store)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await self._chats.aget_messages(session)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        for n, text in enumerate(texts):
            await self._chats.async_add_message(session, ChatMessage(text, role=_ROLES[n % 2]))


class MemoryChatStore(_OursAsync):
    """The chat store of LlamaIndex's `Memory`, for asyncio only; nothing is archived."""

    name = "AsyncSessionChatStore"
    has_window = False

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self._chats = AsyncSessionChatStore(self.store)

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await self._chats.get_messages(session)

    async def append(self, session: str, texts: Sequence[str]) -> None:
        for n, text in enumerate(texts):
            await self._chats.add_message(session, ChatMessage(text, role=_ROLES[n % 2]))


def ours(backend: str) -> list[Callable[[str], Subject]]:
    """Give ours on one backend, each made from the URL of the backend."""
    kinds = (Bare, AsyncBare, History, AsyncHistory, ChatStore, AsyncChatStore, MemoryChatStore)
    alchemy = (ByAlchemy, AsyncByAlchemy) if backend == "sqlite" else ()
    return [*(partial(kind, backend) for kind in kinds), *alchemy]
