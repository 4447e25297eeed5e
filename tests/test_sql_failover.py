"""A writer that another has replaced stays up, read-only: its connections are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.relay import Relay
from sqlalchemy import make_url

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreReadOnlyError,
)

_MANY = [f"w{number}" for number in range(6)]
_DRIVERS = [
    ("sync", "ours"),
    ("async", "ours"),
    ("sync", "postgresql+psycopg"),
    ("async", "postgresql+psycopg"),
    ("sync", "postgresql+psycopg2"),
    ("async", "postgresql+asyncpg"),
]


def say(**fields: Any) -> SessionMessage:
    return SessionMessage("user", "hello", **fields)


@pytest.fixture(scope="module")
def writers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    old, new = PostgresServer(), PostgresServer()
    yield old, new
    old.stop()
    new.stop()


def _become(server: PostgresServer, state: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}".encode())
        admin.execute("SELECT pg_reload_conf()")
        shown = "SHOW default_transaction_read_only"
        wait_until(lambda: admin.execute(shown).fetchone() == (state,), "it stays as it was")


class Calls:
    """Calls, sync or async, six at once, on connections that are kept."""

    def __init__(self, store: DbSessionStore, kind: str) -> None:
        self.store, self.loop = store, asyncio.new_event_loop() if kind == "async" else None

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.loop is None:
            return getattr(self.store, name)(*args, **kwargs)
        return self.loop.run_until_complete(getattr(self.store, f"a{name}")(*args, **kwargs))

    def at_once(self, name: str, sessions: Sequence[str], *args: Any) -> list[Any]:
        if self.loop is None:
            method = getattr(self.store, name)
            with ThreadPoolExecutor(len(sessions)) as pool:
                return list(pool.map(lambda session: method(session, *args), sessions))

        async def gather() -> list[Any]:
            method = getattr(self.store, f"a{name}")
            return await asyncio.gather(*(method(session, *args) for session in sessions))

        return self.loop.run_until_complete(gather())

    def end(self, db: AgentDb) -> None:
        if self.loop is None:
            db.close()
            return
        self.loop.run_until_complete(db.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.mark.parametrize(("kind", "driver"), _DRIVERS)
def test_writes_go_to_the_new_writer_at_once(
    writers: tuple[PostgresServer, PostgresServer], schema: str, kind: str, driver: str
) -> None:
    old, new = writers
    with PostgresAgentDb(new.url(), schema=schema) as there:
        DbSessionStore(there).append_message("s", say())  # as replication has brought it
    relay = Relay(old.port)
    url = make_url(old.url(port=relay.port))
    if driver == "ours":
        db: AgentDb = PostgresAgentDb(old.url(port=relay.port), schema=schema)
    else:
        db = AgentDb(url.set(drivername=driver), schema=schema)
    calls = Calls(DbSessionStore(db), kind)
    try:
        calls("append_message", "s", say())
        calls.at_once("append_message", _MANY, say())
        # The old one stays up, and takes no writes; the name leads to the new one.
        _become(old, "on")
        relay.lead_to(new.port)
        assert calls("append_message", "s", say(id="m")) == 1
        assert calls("update", "s", metadata={"a": 1}).metadata == {"a": 1}
        for messages in calls.at_once("get_messages", ["s"] * 6):
            assert messages[-1].id == "m"
        for number in range(6):
            assert calls("append_message", f"n{number}", say()) == 1
        calls.end(db)
    finally:
        _become(old, "off")
        relay.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_write_fails_as_read_only_where_all_servers_are(
    writers: tuple[PostgresServer, PostgresServer], schema: str, kind: str
) -> None:
    old, _ = writers
    db = PostgresAgentDb(old.url(), schema=schema)
    calls = Calls(DbSessionStore(db), kind)
    try:
        calls("append_message", "s", say())
        _become(old, "on")
        for _ in range(3):
            with pytest.raises(StoreReadOnlyError, match="read-only"):
                calls("append_message", "s", say())
            with pytest.raises(StoreReadOnlyError, match="read-only"):
                calls("update", "s", metadata={"a": 1})
        assert len(calls("get_messages", "s")) == 1
        _become(old, "off")
        assert calls("append_message", "s", say()) == 1
        calls.end(db)
    finally:
        _become(old, "off")


@pytest.mark.skipif(not mariadb_binary(), reason="there is no mariadbd here")
@pytest.mark.parametrize(
    ("kind", "driver"), [("sync", "mysql+pymysql"), ("async", "mysql+asyncmy")]
)
def test_read_only_connections_to_mariadb_are_replaced(
    mariadb: MariadbServer, schema: str, kind: str, driver: str
) -> None:
    """Those that were opened while the server was so stay so."""
    mariadb.execute(f"CREATE DATABASE {schema}")
    db = AgentDb(make_url(mariadb.url(schema)).set(drivername=driver))
    calls = Calls(DbSessionStore(db), kind)
    try:
        with AgentDb(mariadb.url(schema)) as first:
            DbSessionStore(first).append_message("s", say())
        mariadb.execute("SET GLOBAL tx_read_only = 1")
        calls.at_once("get_messages", _MANY)
        with pytest.raises(StoreReadOnlyError):
            calls("append_message", "s", say())
        calls.at_once("get_messages", _MANY)
        mariadb.execute("SET GLOBAL tx_read_only = 0")
        assert calls("append_message", "s", say()) == 1
        for number in range(6):
            assert calls("append_message", f"n{number}", say()) == 1
        calls.end(db)
    finally:
        mariadb.execute("SET GLOBAL tx_read_only = 0")
        mariadb.execute(f"DROP DATABASE {schema}")
