"""`stats().connections`: what is open, and what is in use while a server lets its callers wait."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.redis import Server
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sessionstore import (
    AgentDb,
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
    StoreConnectionError,
    StoreConnections,
    StoreStats,
    WrapperSessionStore,
)

HELLO = {"role": "user", "content": "Hello!"}


def connections(store: SessionStore) -> StoreConnections:
    counted = store.stats().connections
    assert counted is not None
    return counted


def require_one_in_use(store: SessionStore, let_go: Callable[[], object]) -> None:
    """Have a thread's write, and a loop's, wait; each has a connection until it is let go of."""

    async def main() -> None:
        task = asyncio.ensure_future(store.aappend_message("s", HELLO))
        while connections(store).in_use < 2:  # noqa: ASYNC110 - it is what is tested
            await asyncio.sleep(0.01)
        let_go()
        await task

    thread = threading.Thread(target=store.append_message, args=("s", HELLO))
    thread.start()
    wait_until(lambda: connections(store).in_use == 1, "the thread's write waits")
    asyncio.run(main())
    thread.join()
    assert connections(store).in_use == 0
    assert connections(store).idle >= 1


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_sqlite_counts_the_writer_that_waits_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SQLiteSessionStore(path, timeout=60) as store:
        assert connections(store) == StoreConnections(most=17)
        store.append_message("s", HELLO)
        assert connections(store) == StoreConnections(idle=1, most=17)
        with locked(path) as other:
            thread = threading.Thread(target=store.append_message, args=("s", HELLO))
            thread.start()
            wait_until(lambda: connections(store).in_use == 1, "the write waits")
            other.execute("ROLLBACK")
            thread.join()
        assert connections(store) == StoreConnections(idle=1, most=17)
    assert connections(store) == StoreConnections(most=17)
    with SQLiteSessionStore() as store:
        assert connections(store).most == 1


def test_sqlite_by_sqlalchemy_counts_the_main_threads_and_the_others(tmp_path: Path) -> None:
    with SqliteAgentDb(tmp_path / "s.db") as db:
        store = DbSessionStore(db)
        store.append_message("s", HELLO)
        assert connections(store) == StoreConnections(idle=1)
        thread = threading.Thread(target=store.append_message, args=("s", HELLO))
        thread.start()
        thread.join()
        assert connections(store) == StoreConnections(idle=2)
    assert connections(store) == StoreConnections()


def test_postgresql_counts_what_waits_for_a_lock(postgres: PostgresServer, schema: str) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options={"pool_size": 4}) as db:
        store = DbSessionStore(db)
        assert connections(store) == StoreConnections(most=4)
        store.append_message("s", HELLO)
        assert connections(store) == StoreConnections(idle=1, most=4)
        with psycopg.connect(postgres.url()) as other:
            other.execute(f"LOCK TABLE {schema}.sessionstore_sessions")  # type: ignore[call-overload]
            require_one_in_use(store, other.rollback)
        assert connections(store).most == 4  # the loop is over
    assert connections(store).idle == 0


def test_a_pool_of_the_callers_is_counted(postgres: PostgresServer, schema: str) -> None:
    url = postgres.url().replace("postgresql://", "postgresql+psycopg://")
    for options, idle in (({}, 1), ({"poolclass": NullPool}, 0)):
        engine = create_engine(url, **options)
        with AgentDb(engine, schema=schema) as db:
            store = DbSessionStore(db)
            store.append_message("s", HELLO)
            assert connections(store) == StoreConnections(idle=idle)
        engine.dispose()


def test_a_pool_of_the_callers_loop_is_counted(postgres: PostgresServer, schema: str) -> None:
    async def main() -> None:
        engine = create_async_engine(postgres.url().replace("://", "+psycopg://"))
        store = DbSessionStore(AgentDb(engine, schema=schema))
        await store.aappend_message("s", HELLO)
        assert connections(store) == StoreConnections(idle=1)
        await engine.dispose()
        assert connections(store) == StoreConnections()

    asyncio.run(main())


@pytest.mark.parametrize("query", ["", "?max_connections=5"])
def test_redis_counts_what_waits_for_an_answer(redis_server: Server, query: str) -> None:
    most = 5 if query else None
    url = f"{redis_server.url}{query}"
    with RedisSessionStore(url, timeout=60) as store:
        assert connections(store) == StoreConnections(most=most)
        store.append_message("s", HELLO)
        assert connections(store) == StoreConnections(idle=1, most=most)
        with redis.Redis.from_url(redis_server.url) as other:
            other.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            require_one_in_use(store, lambda: other.execute_command("CLIENT", "UNPAUSE"))
    assert connections(store).idle == 0


def test_redis_counts_none_that_the_server_has_closed(redis_server: Server) -> None:
    with RedisSessionStore(f"{redis_server.url}?client_name=counted", timeout=60) as store:
        with redis.Redis.from_url(redis_server.url, decode_responses=True) as other:
            other.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            names = [f"s{number}" for number in range(4)]
            threads = [
                threading.Thread(target=store.append_message, args=(name, HELLO)) for name in names
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: connections(store).in_use == 4, "all wait")
            other.execute_command("CLIENT", "UNPAUSE")
            for thread in threads:
                thread.join()
            assert connections(store) == StoreConnections(idle=4)
            for each in other.client_list():
                if each["name"] == "counted":
                    other.client_kill_filter(_id=each["id"])
        store.get("s1")
        assert connections(store) == StoreConnections(idle=1)


def test_redis_counts_none_that_did_not_come_about() -> None:
    with RedisSessionStore("redis://localhost:1") as store:
        errors = []
        for _ in range(3):
            with pytest.raises(StoreConnectionError) as caught:
                store.get("s")
            errors.append(caught)  # whose frames hold the connections
        assert connections(store) == StoreConnections()


def test_who_wraps_a_store_gives_its_connections() -> None:
    store = SQLiteSessionStore()
    store.append_message("s", HELLO)
    fallback = FallbackSessionStore(store)
    for outer in (WrapperSessionStore(store), fallback, WrapperSessionStore(fallback)):
        assert connections(outer) == StoreConnections(idle=1, most=1)
    fallback.close()


class Own(InMemorySessionStore):
    def stats(self) -> StoreStats:
        return StoreStats(operations={"Get": 1})


@pytest.mark.parametrize("make", [InMemorySessionStore, Own])
def test_a_store_without_any_says_so(make: Any) -> None:
    assert make().stats().connections is None
