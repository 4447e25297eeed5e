"""Event loops that end without a word leave no connection, and make no noise."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import psycopg
import pytest
from servers.postgres import PostgresServer
from servers.process import wait_until
from sqlalchemy import make_url

from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, SessionMessage


def say() -> SessionMessage:
    return SessionMessage("user", "hello")


def opened(postgres: PostgresServer, schema: str, driver: str) -> AgentDb:
    url = make_url(postgres.url()).update_query_dict({"application_name": schema})
    if driver == "ours":
        return PostgresAgentDb(postgres.url(), schema=schema, application_name=schema)
    if driver.endswith("asyncpg"):
        settings = {"server_settings": {"application_name": schema}}
        named = make_url(postgres.url()).set(drivername=driver)
        return AgentDb(named, schema=schema, connect_args=settings)
    return AgentDb(url.set(drivername=driver), schema=schema)


def connections(postgres: PostgresServer, name: str) -> int:
    with psycopg.connect(postgres.url(), autocommit=True) as watching:
        many = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        found = watching.execute(many, [name]).fetchone()
        return int(found[0]) if found else 0


DRIVERS = ["ours", "postgresql+psycopg", "postgresql+asyncpg"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_loop_that_is_dropped_takes_its_connections_along(
    postgres: PostgresServer, schema: str, driver: str
) -> None:
    """Never closed: as where a loop is patched so that it can be entered again."""
    db = opened(postgres, schema, driver)
    store = DbSessionStore(db)

    def use() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(store.aappend_message("s", say()))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)  # loop, transport: asyncio's
        for _ in range(5):
            use()
        gc.collect()
    wait_until(lambda: connections(postgres, schema) == 0, "connections stay")
    assert not db._current().of_loops._held
    asyncio.run(store.aappend_message("s", say()))
    db.close()


@pytest.mark.parametrize("driver", DRIVERS[:2])  # asyncpg's sockets wait for the collector
def test_a_loop_that_is_closed_takes_its_connections_along(
    postgres: PostgresServer, schema: str, driver: str
) -> None:
    """At once, without the collector, where its generators are not closed first."""
    db = opened(postgres, schema, driver)
    store = DbSessionStore(db)
    # There are no tables yet: SQLAlchemy ties the frames of the driver's error in a knot.
    asyncio.run(store.aappend_message("s", say()))
    gc.disable()
    try:
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(store.aappend_message("s", say()))
            loop.close()
            wait_until(lambda: connections(postgres, schema) == 0, "connections stay")
    finally:
        gc.enable()
    db.close()


@pytest.mark.parametrize("end", ["loop closed", "database closed", "database dropped"])
def test_connections_of_aiosqlite_are_closed_without_their_loop(tmp_path: Path, end: str) -> None:
    """One that is collected open warns, which fails the test."""
    db: AgentDb | None = AgentDb(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(DbSessionStore(db).aappend_message("s", say()))  # type: ignore[arg-type]
    if end == "database closed":
        db.close()  # type: ignore[union-attr]
    if end != "loop closed":
        db = None
        gc.collect()
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    db = None
    gc.collect()
