"""A writer that another has replaced stays up, read-only: its connections are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
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


class Writer:
    """A server that takes writes, or none while it is read-only.

    It tells its sessions one after the other, in the order of their age: they all know when the
    oldest and the newest of them do.
    """

    def __init__(self) -> None:
        self.server = PostgresServer()
        self._oldest = psycopg.connect(self.server.url(), autocommit=True)

    def close(self) -> None:
        self._oldest.close()
        self.server.stop()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self._become("on")
        try:
            yield
        finally:
            self._become("off")

    def _become(self, state: str) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as newest:
            newest.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}".encode())
            newest.execute("SELECT pg_reload_conf()")
            for session in (self._oldest, newest):
                wait_until(lambda: _state(session) == state, "it stays as it was")  # noqa: B023


def _state(session: psycopg.Connection) -> str:
    (state,) = session.execute("SHOW default_transaction_read_only").fetchone() or ("",)
    return str(state)


@pytest.fixture(scope="module")
def old() -> Iterator[Writer]:
    with closing(Writer()) as writer:
        yield writer


@pytest.fixture(scope="module")
def new() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


class Calls:
    """Calls, sync or async, six at once, on connections that are kept."""

    def __init__(self, db: AgentDb, kind: str) -> None:
        self.db, self.store = db, DbSessionStore(db)
        self.loop = asyncio.new_event_loop() if kind == "async" else None

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

    def close(self) -> None:
        if self.loop is None:
            self.db.close()
            return
        self.loop.run_until_complete(self.db.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.mark.parametrize(("kind", "driver"), _DRIVERS)
def test_writes_go_to_the_new_writer_at_once(
    old: Writer, new: PostgresServer, schema: str, kind: str, driver: str
) -> None:
    with PostgresAgentDb(new.url(), schema=schema) as there:
        DbSessionStore(there).append_message("s", say())  # as replication has brought it
    with closing(Relay(old.server.port)) as relay:
        url = old.server.url(port=relay.port)
        if driver == "ours":
            db: AgentDb = PostgresAgentDb(url, schema=schema)
        else:
            db = AgentDb(make_url(url).set(drivername=driver), schema=schema)
        with closing(Calls(db, kind)) as calls:
            calls("append_message", "s", say())
            calls.at_once("append_message", _MANY, say())
            # The old one stays up, and takes no writes; the name leads to the new one.
            with old.read_only():
                relay.lead_to(new.port)
                assert calls("append_message", "s", say(id="m")) == 1
                assert calls("update", "s", metadata={"a": 1}).metadata == {"a": 1}
                for messages in calls.at_once("get_messages", ["s"] * 6):
                    assert messages[-1].id == "m"
                for number in range(6):
                    assert calls("append_message", f"n{number}", say()) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_write_fails_as_read_only_where_all_servers_are(
    old: Writer, schema: str, kind: str
) -> None:
    with closing(Calls(PostgresAgentDb(old.server.url(), schema=schema), kind)) as calls:
        calls("append_message", "s", say())
        with old.read_only():
            for _ in range(3):
                with pytest.raises(StoreReadOnlyError, match="read-only"):
                    calls("append_message", "s", say())
                with pytest.raises(StoreReadOnlyError, match="read-only"):
                    calls("update", "s", metadata={"a": 1})
            assert len(calls("get_messages", "s")) == 1
        assert calls("append_message", "s", say()) == 1


@pytest.mark.soak
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
    try:
        with AgentDb(mariadb.url(schema)) as first:
            DbSessionStore(first).append_message("s", say())
        with closing(Calls(db, kind)) as calls:
            mariadb.execute("SET GLOBAL tx_read_only = 1")
            calls.at_once("get_messages", _MANY)
            with pytest.raises(StoreReadOnlyError):
                calls("append_message", "s", say())
            calls.at_once("get_messages", _MANY)
            mariadb.execute("SET GLOBAL tx_read_only = 0")
            assert calls("append_message", "s", say()) == 1
            for number in range(6):
                assert calls("append_message", f"n{number}", say()) == 1
    finally:
        mariadb.execute("SET GLOBAL tx_read_only = 0")
        mariadb.execute(f"DROP DATABASE {schema}")
