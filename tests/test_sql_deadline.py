"""A call takes its timeout, not more, whatever the server and the network do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.proxy import Proxy
from sqlalchemy import make_url
from stopwatch import Stopwatch

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore._runtime.tickets import ticket
from sessionstore.deadline import until

TIMEOUT = 1.0
LATE = 0.35  # what a machine under load may take beyond


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


@contextmanager
def over_in_time(seconds: float = TIMEOUT) -> Iterator[None]:
    with Stopwatch() as watch:
        yield
    assert watch.seconds < seconds + LATE


@pytest.fixture
def made(postgres: PostgresServer, schema: str) -> None:
    """Have the tables, and a session: to make them takes its time."""
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        DbSessionStore(db).append_messages("s", [say("x" * 500), say()])


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.mark.usefixtures("made")
def test_a_trickling_answer_ends_at_the_deadline(
    postgres: PostgresServer, proxy: Proxy, schema: str, call: Call
) -> None:
    url = postgres.url(port=proxy.port)
    with PostgresAgentDb(url, schema=schema, statement_timeout=TIMEOUT) as db:
        store = DbSessionStore(db)
        assert store.timeout == TIMEOUT
        call(store, "ping")
        proxy.trickle(0.05)
        for name, *arguments in (("get", "s"), ("update", "s"), ("append_message", "s", say())):
            with over_in_time(), pytest.raises(StoreUnavailableError):
                call(store, name, *arguments)
        proxy.carry()
        call(db, "close")


@pytest.mark.usefixtures("made")
def test_a_trickling_first_use_ends_at_the_deadline(
    postgres: PostgresServer, proxy: Proxy, schema: str, call: Call
) -> None:
    """Connecting, looking at the tables and making them are in the time of the call."""
    proxy.trickle(0.01)
    url = postgres.url(port=proxy.port)
    with PostgresAgentDb(url, schema=schema, statement_timeout=TIMEOUT) as db:
        with over_in_time(), pytest.raises(StoreUnavailableError):
            call(DbSessionStore(db), "append_message", "s", say())
        call(db, "close")


def test_a_server_that_accepts_and_says_nothing_times_out(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:x@127.0.0.1:{silent.getsockname()[1]}/d"
        with PostgresAgentDb(url, statement_timeout=TIMEOUT) as db:
            for name in ("ping", "list_sessions"):
                with over_in_time(), pytest.raises(StoreConnectionError, match="timeout"):
                    call(DbSessionStore(db), name)
            call(db, "close")


def test_with_little_time_left_the_database_is_not_blamed_for_a_connection(call: Call) -> None:
    """A call that has waited for others, or is a part of one that is nearly over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:x@127.0.0.1:{silent.getsockname()[1]}/d"
        with PostgresAgentDb(url, statement_timeout=60) as db:
            store = DbSessionStore(db)
            with until(time.monotonic() + 0.05), pytest.raises(StoreTimeoutError) as told:
                call(store, "get", "s")
            assert type(told.value) is StoreTimeoutError
            call(db, "close")


@pytest.mark.usefixtures("made")
def test_a_second_try_ends_at_the_deadline_too(
    postgres: PostgresServer, proxy: Proxy, schema: str, call: Call
) -> None:
    """A connection that is cut, and then a server that says nothing to a new one."""
    url = postgres.url(port=proxy.port)
    with PostgresAgentDb(url, schema=schema, statement_timeout=TIMEOUT) as db:
        store = DbSessionStore(db)
        call(store, "ping")
        proxy.drop_replies(1, then=proxy.stall)
        with over_in_time(), pytest.raises(StoreUnavailableError):
            call(store, "get_messages", "s")
        proxy.carry()
        call(db, "close")


@pytest.mark.soak
@pytest.mark.usefixtures("made")
def test_an_outer_deadline_bounds_the_call(
    postgres: PostgresServer, proxy: Proxy, schema: str, call: Call
) -> None:
    url = postgres.url(port=proxy.port)
    with PostgresAgentDb(url, schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "ping")
        proxy.stall()
        for name, *arguments in (("append_message", "s", say()), ("update", "s"), ("get", "s")):
            with (
                until(time.monotonic() + TIMEOUT),
                over_in_time(),
                pytest.raises(StoreUnavailableError),
            ):
                call(store, name, *arguments)
        proxy.carry()
        call(db, "close")


@pytest.mark.soak
def test_an_outer_deadline_bounds_a_call_through_asyncpg(
    postgres: PostgresServer, proxy: Proxy, schema: str
) -> None:
    url = make_url(postgres.url(port=proxy.port)).set(drivername="postgresql+asyncpg")

    async def main() -> None:
        async with AgentDb(url, schema=schema) as db:
            store = DbSessionStore(db)
            await store.aappend_message("s", say())
            proxy.stall()
            # It waits up to two seconds more for what it closes.
            with (
                until(time.monotonic() + TIMEOUT),
                over_in_time(TIMEOUT + 2),
                pytest.raises(StoreTimeoutError),
            ):
                await store.aget("s")
            proxy.carry()

    asyncio.run(main())


@pytest.mark.usefixtures("made")
def test_the_wait_for_a_pool_ends_at_the_deadline(postgres: PostgresServer, schema: str) -> None:
    options = {"pool_size": 1, "pool_timeout": 30}
    with PostgresAgentDb(
        postgres.url(), schema=schema, statement_timeout=TIMEOUT, engine_options=options
    ) as db:
        store = DbSessionStore(db)
        store.ping()
        gate = db._current().gate
        assert gate is not None
        place = ticket()
        assert gate.try_enter(None, place)
        with over_in_time(), pytest.raises(StoreConnectionError, match="pool"):
            store.append_message("s", say())
        gate.leave(place, answered=True)
