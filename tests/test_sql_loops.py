"""Event loops that end without a word leave no connection, and make no noise."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

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


_ENDS: dict[str, str] = {
    "dropped": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(store.aappend_message("s", say()))
        """,
    "entered again": """
        import nest_asyncio
        nest_asyncio.apply()
        async def main():
            await store.aappend_message("s", say())
            asyncio.get_running_loop().run_until_complete(store.aappend_message("s", say()))
        asyncio.run(main())
        asyncio.run(main())
        """,
    "running": """
        import threading
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(store.aappend_message("s", say()), loop).result()
        """,
    "closed from another thread": """
        import threading
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(store.aappend_message("s", say()), loop).result()
        db.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        """,
}


@pytest.mark.parametrize("end", _ENDS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_end_of_the_interpreter_is_quiet(
    postgres: PostgresServer, schema: str, driver: str, end: str
) -> None:
    made = (
        "PostgresAgentDb(sys.argv[1], schema=sys.argv[2])"
        if driver == "ours"
        else "AgentDb(sys.argv[1].replace('postgresql', sys.argv[3], 1), schema=sys.argv[2])"
    )
    program = f"""
import asyncio, sys
from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, SessionMessage
def say():
    return SessionMessage("user", "hello")
db = {made}
store = DbSessionStore(db)
{textwrap.dedent(_ENDS[end])}
print("done")
"""
    command: list[Any] = [sys.executable, "-c", program, postgres.url(), schema, driver]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert done.stderr == ""
