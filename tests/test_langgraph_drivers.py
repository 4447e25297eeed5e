"""What drivers raise when their server is dead is an outage, and what callers do wrong is none.

Each error is the driver's own, of a real server: a checkpointer that asks it before each call
raises it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import aiosqlite
import asyncpg
import psycopg2
import pymysql
import pytest
import redis
import redis.asyncio
from graphs import approval
from langgraph.types import Command
from savers import Cut
from servers import redis as redis_servers
from servers.postgres import PASSWORD, PostgresServer
from servers.process import free_port
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from langgraph_sessionstore import FallbackCheckpointer, is_outage

CONFIG = {"configurable": {"thread_id": "t"}}


class Asking(Cut):
    """A saver that asks a server with a driver before it does anything."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def _reach(self):
        self.ask()


def raised(ask):
    """Give what is raised, or nothing."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@pytest.fixture(scope="module")
def server():
    made = PostgresServer()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def cache():
    with redis_servers.single() as made:
        yield made


def sync_sql(dialect):
    def ask(server, statement, *args):
        url = server.url().replace("postgresql:", f"{dialect}:")
        with create_engine(url, poolclass=NullPool).connect() as connection:
            connection.execute(text(statement), *args)

    return ask


def async_sql(server, statement, *args):
    async def run():
        url = server.url().replace("postgresql:", "postgresql+asyncpg:")
        async with create_async_engine(url, poolclass=NullPool).connect() as connection:
            await connection.execute(text(statement), *args)

    asyncio.run(run())


def bare_asyncpg(server, statement, *args):
    async def run():
        connection = await asyncpg.connect(server.url())
        try:
            await connection.fetch(statement, *args)
        finally:
            await connection.close()

    asyncio.run(run())


def bare_psycopg2(server, statement, *args):
    with closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute(statement, *args)


def sync_redis(cache, *command):
    with redis.Redis.from_url(cache.url) as client:
        client.execute_command(*command)


def async_redis(cache, *command):
    async def run():
        async with redis.asyncio.Redis.from_url(cache.url) as client:
            await client.execute_command(*command)

    asyncio.run(run())


POSTGRES = {
    "asyncpg": bare_asyncpg,
    "psycopg2": bare_psycopg2,
    "SQLAlchemy, psycopg": sync_sql("postgresql+psycopg"),
    "SQLAlchemy, psycopg2": sync_sql("postgresql+psycopg2"),
    "SQLAlchemy, asyncpg": async_sql,
}
REDIS = {"redis-py": sync_redis, "redis-py, asyncio": async_redis}


def goes_on(ask, kill, start):
    """Require that a graph goes on while a server is dead, and that all is replayed."""
    saver = Asking(ask)
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        graph.invoke({"log": ["a"]}, CONFIG)
        assert not checkpointer.is_degraded()
        kill()
        try:
            done = graph.invoke(Command(resume="yes"), CONFIG)
            assert checkpointer.is_degraded()
        finally:
            start()
        assert checkpointer.recover()
        saver.ask = lambda: None
        assert graph.copy({"checkpointer": saver}).get_state(CONFIG).values == done


@pytest.mark.parametrize("name", POSTGRES)
def test_a_dead_postgresql_is_an_outage(server, name):
    goes_on(lambda: POSTGRES[name](server, "SELECT 1"), server.kill, server.start)


@pytest.mark.parametrize("name", REDIS)
def test_a_dead_redis_is_an_outage(cache, name):
    goes_on(lambda: REDIS[name](cache, "PING"), cache.kill, cache.start)


def test_a_connection_that_a_killed_server_broke_is_an_outage(server):
    async def run():
        connection = await asyncpg.connect(server.url())
        server.kill()
        try:
            for _ in range(2):  # as it breaks, and as it is broken
                with pytest.raises(
                    (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
                ) as told:
                    await connection.fetch("SELECT 1")
                assert is_outage(told.value)
        finally:
            server.start()

    asyncio.run(run())


def test_a_mysql_that_is_not_there_is_an_outage():
    error = raised(lambda: pymysql.connect(host="127.0.0.1", port=free_port()))
    assert isinstance(error, pymysql.OperationalError)
    assert is_outage(error)
    assert not is_outage(pymysql.OperationalError(1054, "Unknown column"))
    assert not is_outage(pymysql.OperationalError(1205, "Lock wait timeout exceeded"))


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELEC 1", "SELECT 1 / 0"])
@pytest.mark.parametrize("name", POSTGRES)
def test_a_mistake_in_sql_is_none(server, name, statement):
    error = raised(lambda: POSTGRES[name](server, statement))
    assert error is not None
    assert not is_outage(error)


def test_a_mistake_in_arguments_is_none(server):
    for args in ((), ("not a number",)):
        error = raised(lambda: bare_asyncpg(server, "SELECT $1::int", *args))  # noqa: B023
        assert isinstance(error, (asyncpg.InterfaceError, asyncpg.DataError))
        assert not is_outage(error)


@pytest.mark.parametrize("name", POSTGRES)
def test_a_lock_is_none(server, name):
    with closing(psycopg2.connect(server.url())) as holder, holder.cursor() as cursor:
        cursor.execute("CREATE TABLE held (n int)")
        holder.commit()
        try:
            cursor.execute("LOCK TABLE held")
            error = raised(lambda: POSTGRES[name](server, "LOCK TABLE held NOWAIT"))
        finally:
            holder.rollback()
            cursor.execute("DROP TABLE held")
            holder.commit()
    assert error is not None
    assert not is_outage(error)


@pytest.mark.parametrize("name", REDIS)
@pytest.mark.parametrize("command", [("HGET", "text", "a"), ("NONSENSE",), ("AUTH", "wrong")])
def test_a_mistake_with_redis_is_none(cache, name, command):
    sync_redis(cache, "SET", "text", "a")
    error = raised(lambda: REDIS[name](cache, *command))
    assert isinstance(error, redis.RedisError)
    assert not is_outage(error)


def test_a_wrong_password_for_redis_is_none():
    with redis_servers.single(requirepass=PASSWORD) as guarded:
        url = guarded.url.replace("://", "://:wrong@").replace(f":{PASSWORD}@", "")
        with redis.Redis.from_url(url) as client:
            error = raised(client.ping)
    assert isinstance(error, redis.AuthenticationError)
    assert not is_outage(error)


def test_aiosqlite_tells_a_locked_file_from_a_mistake(tmp_path):
    path = tmp_path / "file.db"

    async def run(statement):
        async with aiosqlite.connect(path, timeout=0.05) as connection:
            await connection.execute(statement)

    with closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE there (n)")
        holder.execute("BEGIN IMMEDIATE")
        locked = raised(lambda: asyncio.run(run("INSERT INTO there VALUES (1)")))
    assert is_outage(locked)
    for statement in ("SELECT * FROM nowhere", "SELEC 1", "INSERT INTO there VALUES (1, 2)"):
        mistake = raised(lambda: asyncio.run(run(statement)))  # noqa: B023
        assert isinstance(mistake, sqlite3.OperationalError)
        assert not is_outage(mistake)


def test_sqlite_under_sqlalchemy_tells_a_mistake_from_an_outage(tmp_path):
    def ask(path, statement):
        with create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection:
            connection.execute(text(statement))

    assert not is_outage(raised(lambda: ask(tmp_path / "file.db", "SELECT * FROM nowhere")))
    assert is_outage(raised(lambda: ask(tmp_path, "SELECT 1")))
