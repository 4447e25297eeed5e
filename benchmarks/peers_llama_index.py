"""LlamaIndex's chat stores: Redis, PostgreSQL and SQLAlchemy's. One object serves all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peers
from subject import AsyncSubject, Subject


def _messages(texts: Sequence[str]) -> list[Any]:
    from llama_index.core.llms import ChatMessage

    return peers.alternately(
        texts,
        lambda text: ChatMessage(text, role="user"),
        lambda text: ChatMessage(text, role="assistant"),
    )


class _Stores(Subject):
    """Stores that add one message at a time, and read them all."""

    family = "llama-index"
    has_window = False
    _store: Any

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return self._store.get_messages(session)  # type: ignore[no-any-return]

    def append(self, session: str, texts: Sequence[str]) -> None:
        for message in _messages(texts):
            self._store.add_message(session, message)

    def fill(self, session: str, texts: Sequence[str]) -> None:
        self._store.set_messages(session, [*self.load(session, None), *_messages(texts)])


class _AsyncStores(AsyncSubject):
    """The same in asyncio."""

    family = "llama-index"
    has_window = False
    _store: Any

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        return await self._store.aget_messages(session)  # type: ignore[no-any-return]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        for message in _messages(texts):
            await self._store.async_add_message(session, message)

    async def fill(self, session: str, texts: Sequence[str]) -> None:
        await self._store.aset_messages(
            session, [*await self.load(session, None), *_messages(texts)]
        )


class RedisStore(_Stores):
    """LlamaIndex's Redis store: a load is one LRANGE of all, an append an RPUSH a message."""

    name = "RedisChatStore (llama-index)"
    backend = "redis"
    needs = "llama-index-storage-chat-store-redis"

    def __init__(self, url: str) -> None:
        self._store, self._client, _ = _redis_store(url)

    def close(self) -> None:
        self._client.close()


class AsyncRedisStore(_AsyncStores):
    """The same in asyncio."""

    name = "RedisChatStore (llama-index)"
    backend = "redis"
    needs = "llama-index-storage-chat-store-redis"

    def __init__(self, url: str) -> None:
        self._store, _, self._client = _redis_store(url)

    async def close(self) -> None:
        await self._client.aclose()


def _redis_store(url: str) -> tuple[Any, Any, Any]:
    from llama_index.storage.chat_store.redis import RedisChatStore  # type: ignore[import-untyped]
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    clients = Redis.from_url(url), AsyncRedis.from_url(url)
    return RedisChatStore(redis_client=clients[0], aredis_client=clients[1]), *clients


class PostgresStore(_Stores):
    """LlamaIndex's PostgreSQL store: a row a session, with all its messages in an array.

    A load is one SELECT of the row; an append, a message, one upsert that writes the whole row
    again, in a transaction of its own. With psycopg, its own choice.
    """

    name = "PostgresChatStore (llama-index)"
    backend = "postgresql"
    needs = "llama-index-storage-chat-store-postgres"

    def __init__(self, url: str) -> None:
        self._store, self._engine, _ = _postgres_store(url)

    def close(self) -> None:
        self._engine.dispose()


class AsyncPostgresStore(_AsyncStores):
    """The same in asyncio, with asyncpg, its own choice."""

    name = "PostgresChatStore (llama-index)"
    backend = "postgresql"
    needs = "llama-index-storage-chat-store-postgres"

    def __init__(self, url: str) -> None:
        self._store, sync_engine, self._engine = _postgres_store(url)
        sync_engine.dispose()

    async def close(self) -> None:
        await self._engine.dispose()


def _postgres_store(url: str) -> tuple[Any, Any, Any]:
    from llama_index.storage.chat_store.postgres import PostgresChatStore  # type: ignore[import-untyped]
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import sessionmaker

    engine, async_engine = peers.engine(url), peers.async_engine(url)
    store = PostgresChatStore(
        session=sessionmaker(engine),
        async_session=sessionmaker(async_engine, class_=AsyncSession),  # type: ignore[call-overload]
        table_name="chatstore",
    )
    return store, engine, async_engine


class SQLAlchemyStore(AsyncSubject):
    """LlamaIndex's SQLAlchemy store, which is for asyncio only.

    A load is one SELECT by an index, sorted; an append one INSERT of many rows, in a transaction.
    It can only count from the oldest: the last messages are a SELECT of all IDs, to count them, and
    one with LIMIT and OFFSET. SQLite is as it is by default: a rollback journal, synchronous FULL.
    """

    name = "SQLAlchemyChatStore (llama-index)"
    family = "llama-index"
    needs = "llama-index-core"

    def __init__(self, url: str) -> None:
        from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore

        self._engine = peers.async_engine(url)
        self._chats = SQLAlchemyChatStore("chatstore_rows", async_engine=self._engine)
        self._store = peers.Once(self._open)

    async def _open(self) -> Any:
        await self._chats.count_messages("")  # makes the table
        return self._chats

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:
        store = await self._store()
        if limit is None:
            return await store.get_messages(session)  # type: ignore[no-any-return]
        beyond = max(0, await store.count_messages(session) - limit)
        return await store.get_messages(session, limit=limit, offset=beyond)  # type: ignore[no-any-return]

    async def append(self, session: str, texts: Sequence[str]) -> None:
        await (await self._store()).add_messages(session, _messages(texts))

    async def close(self) -> None:
        await self._engine.dispose()


class SQLAlchemyStoreOnSQLite(SQLAlchemyStore):
    """With aiosqlite."""

    backend = "sqlite"


class SQLAlchemyStoreOnPostgres(SQLAlchemyStore):
    """With asyncpg."""

    backend = "postgresql"


SUBJECTS = (
    RedisStore,
    AsyncRedisStore,
    PostgresStore,
    AsyncPostgresStore,
    SQLAlchemyStoreOnSQLite,
    SQLAlchemyStoreOnPostgres,
)
