"""Interpreters that end with an event loop's connections open: without a word."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest
from servers.postgres import PostgresServer

DRIVERS = ["ours", "postgresql+psycopg", "postgresql+asyncpg"]
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
