"""Single statements that psycopg sends itself, on connections that SQLAlchemy's pool keeps."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.relay import Relay
from sqlalchemy import create_engine, event, make_url

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreUnavailableError,
)
from sessionstore.deadline import until
from sessionstore.sql.loop_pool import ready_connection
from sessionstore.sql.stale import expire_pool, is_expired

_LOCK = "SELECT FROM {}.sessionstore_sessions FOR UPDATE"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def mortal_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


@asynccontextmanager
async def an_append_that_waits(
    store: DbSessionStore, postgres: PostgresServer, schema: str
) -> AsyncIterator[DbSessionStore]:
    """Have one connection of the store in use for as long as the block lasts."""
    await store.aappend_message("s", say())
    with psycopg.connect(postgres.url()) as other:
        other.execute(_LOCK.format(schema).encode())
        waiting = asyncio.create_task(store.aappend_message("s", say()))
        await asyncio.sleep(0)
        yield store
        other.rollback()
    assert await waiting == 1


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_an_engine_that_is_not_in_autocommit_commits(
    postgres: PostgresServer, schema: str, call: Call, level: str
) -> None:
    options = {"isolation_level": level}
    with (
        PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db,
        PostgresAgentDb(postgres.url(), schema=schema) as other,
    ):
        for count in range(1, 4):
            assert call(DbSessionStore(db), "append_message", "s", say()) == 1
            assert len(DbSessionStore(other).get_messages("s")) == count


@pytest.mark.parametrize("name", ["engine_connect", "checkout", "checkin"])
def test_listeners_of_a_pool_get_every_use(
    postgres: PostgresServer, schema: str, call: Call, name: str
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        heard: list[Any] = []
        loops = [mine.engine.sync_engine for mine in db._current().of_loops.all()]
        event.listen((loops or [db._sync()])[0], name, lambda *told: heard.append(told))
        for _ in range(3):
            call(store, "append_message", "s", say())
        assert len(heard) == 3
        call(db, "close")


def test_an_interrupted_statement_leaves_nothing_under_way(
    postgres: PostgresServer, schema: str
) -> None:
    """Ctrl-C while the server works: the one connection is there for the next, and in order."""
    options = {"pool_size": 1, "pool_timeout": 60}
    with PostgresAgentDb(
        postgres.url(), schema=schema, statement_timeout=60, engine_options=options
    ) as db:
        store = DbSessionStore(db)
        store.append_message("s", say("first"))

        def interrupt() -> None:
            with psycopg.connect(postgres.url(), autocommit=True) as watching:
                wait_until(lambda: watching.execute(_WAITING).fetchone() == (1,), "none waits")
            os.kill(os.getpid(), signal.SIGINT)

        with psycopg.connect(postgres.url()) as other:
            other.execute(_LOCK.format(schema).encode())
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                store.append_message("s", say("never"))
            thread.join()
            assert [message.content for message in store.get_messages("s")] == ["first"]
            other.rollback()
        assert store.append_message("s", say("second")) == 1
        assert [message.content for message in store.get_messages("s")] == ["first", "second"]


def test_a_cancelled_task_leaves_no_reply_to_others(postgres: PostgresServer, schema: str) -> None:
    """At whatever moment: each of the others reads its own session, on two connections."""
    options = {"pool_size": 2}

    async def read(store: DbSessionStore, number: int) -> None:
        messages = await store.aget_messages(f"s{number}", limit=5)
        assert [message.content for message in messages] == [f"{number}"] * 5

    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
            store = DbSessionStore(db)
            for number in range(6):
                await store.aappend_messages(f"s{number}", [say(f"{number}") for _ in range(5)])
            for turn in range(60):
                tasks = [asyncio.create_task(read(store, number)) for number in range(6)]
                for _ in range(turn % 12):
                    await asyncio.sleep(0)
                for task in tasks[turn % 3 :: 3]:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                for error in ended:
                    assert error is None or isinstance(error, asyncio.CancelledError), error
            pool: Any = (await db._of_loop()).engine.sync_engine.pool
            assert pool.checkedout() == 0

    asyncio.run(main())


def test_a_loops_connections_to_a_server_that_hung_are_replaced(
    mortal_server: PostgresServer, schema: str
) -> None:
    url = mortal_server.url()

    def processes() -> set[Any]:
        ask = "SELECT pid FROM pg_stat_activity WHERE application_name = 'ours'"
        with psycopg.connect(url) as watching:
            return set(watching.execute(ask).fetchall())

    async def main() -> None:
        async with PostgresAgentDb(url, schema=schema, application_name="ours") as db:
            store = DbSessionStore(db)

            async def read_at_once() -> None:
                await asyncio.gather(*(store.aget_messages("s") for _ in range(2)))

            await store.aappend_message("s", say())
            await read_at_once()
            before = processes()
            assert len(before) == 2
            mortal_server.freeze()
            soon = until(time.monotonic() + 0.5)
            with soon, pytest.raises(StoreUnavailableError, match="timeout"):
                await store.aappend_message("s", say())
            mortal_server.thaw()
            await read_at_once()
            wait_until(lambda: len(processes()) == 2, "the old ones stay")
            assert not before & processes()

    asyncio.run(main())


def test_an_expired_pool_of_a_loop_is_replaced_once_nobody_uses_it(
    postgres: PostgresServer, schema: str
) -> None:
    """Its connections can be had without a greenlet again."""

    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema) as db:
            store = DbSessionStore(db)
            await asyncio.gather(*(store.aappend_message("s", say()) for _ in range(2)))
            engine = (await db._of_loop()).engine.sync_engine
            expired = engine.pool
            async with an_append_that_waits(store, postgres, schema):
                expire_pool(expired)
                assert len(await store.aget_messages("s")) == 3
                assert engine.pool is expired
            assert len(await store.aget_messages("s")) == 4
            assert engine.pool is not expired
            assert not is_expired(engine.pool)
            ready = ready_connection(engine)
            assert ready is not None
            ready.close()

    asyncio.run(main())


def test_a_loops_pool_that_is_used_up_is_busy(postgres: PostgresServer, schema: str) -> None:
    options = {"pool_size": 1, "pool_timeout": 0.1}

    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
            store = DbSessionStore(db)
            async with an_append_that_waits(store, postgres, schema):
                for call in (store.aget_messages("s"), store.aupdate("s", metadata={})):
                    with pytest.raises(StoreUnavailableError, match="pool"):
                        await call
            assert len(await store.aget_messages("s")) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 1, "max_overflow": 5},
        {"pool_recycle": 60},
        {"pool_pre_ping": True},
        {"pool_use_lifo": False},
        {"pool_size": 0},
    ],
    ids=str,
)
def test_a_pool_takes_the_callers_options(
    postgres: PostgresServer,
    schema: str,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
) -> None:
    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
            store = DbSessionStore(db)
            for _ in range(3):
                await asyncio.gather(*(store.aappend_message("s", say()) for _ in range(6)))
            assert len(await store.aget_messages("s")) == 18

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert not caplog.records


def test_overflow_connections_are_closed(
    postgres: PostgresServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it is the pooled connection that comes back last, when its place is taken."""
    options = {"pool_size": 1, "max_overflow": 1}

    async def main() -> None:
        async with (
            PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db,
            an_append_that_waits(DbSessionStore(db), postgres, schema) as store,
        ):
            assert len(await store.aget_messages("s")) == 1

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert not caplog.records


def test_a_pool_that_recycles_opens_new_connections(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)
    options = {"pool_recycle": 0}
    url = postgres.url(port=relay.port)
    with PostgresAgentDb(url, schema=schema, engine_options=options) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        before = relay.connections
        for _ in range(3):
            call(store, "append_message", "s", say())
        assert relay.connections == before + 3
        call(db, "close")
    relay.close()


def test_a_write_that_may_have_taken_effect_is_not_resent(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)

    def cut() -> None:
        with psycopg.connect(postgres.url(), autocommit=True) as watching:
            wait_until(lambda: watching.execute(_WAITING).fetchone() == (1,), "none waits")
        relay.cut()
        other.rollback()

    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        with psycopg.connect(postgres.url()) as other:
            other.execute(_LOCK.format(schema).encode())
            cutting = threading.Thread(target=cut)
            cutting.start()
            with pytest.raises(StoreUnavailableError, match="can't be reached"):
                call(store, "append_message", "s", say(), expected_version=1)
            cutting.join()
        call(db, "close")
    relay.close()


_LOSE_AT_COMMIT = """
CREATE FUNCTION {0}.lose() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON {0}.sessionstore_sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id = 'lost')
    EXECUTE FUNCTION {0}.lose()
"""


def test_a_connection_lost_as_it_commits_takes_those_beside_it_along_in_order(
    postgres: PostgresServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of them is closed at the server, and none complains that it could not be closed."""

    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema) as db:
            store = DbSessionStore(db)
            await store.aping()
            await asyncio.gather(*(store.aappend_message(f"s{n}", say()) for n in range(5)))
            with psycopg.connect(postgres.url(), autocommit=True) as other:
                other.execute(_LOSE_AT_COMMIT.format(schema).encode())
            with pytest.raises(StoreUnavailableError):
                await store.acreate("lost")
            await store.aget_messages("s0")
            for _ in range(2):
                await asyncio.gather(*(store.aget_messages(f"s{n}") for n in range(5)))
            assert _connections(postgres) <= before + 5

    before = _connections(postgres)
    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def _connections(postgres: PostgresServer) -> int:
    with psycopg.connect(postgres.url()) as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        [[count]] = connection.execute(statement).fetchall()
        return int(count)


def test_a_callers_engine_gets_no_listener_of_ours(postgres: PostgresServer, schema: str) -> None:
    """Also not where its connections turn out to be read-only."""
    url = make_url(postgres.url()).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    store = DbSessionStore(AgentDb(engine, schema=schema))
    store.append_message("s", say())

    def heard() -> tuple[int, int]:
        return len(engine.pool.dispatch.connect), len(engine.pool.dispatch.checkout)

    before = heard()
    with engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.commit()
    assert store.append_message("s", say()) == 1
    assert heard() == before
    engine.dispose()
