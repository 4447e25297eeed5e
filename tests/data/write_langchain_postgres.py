"""Write `langchain_postgres.sql`: a table of langchain-postgres, as pg_dump gives it.

langchain-postgres wants asyncpg below 0.31, which waits for a server that hangs for as long as it
hangs, and tests of ours are about that. So this runs in an environment of its own, from `tests`:

    python -m venv old && old/bin/pip install -e '..[langchain]' --group ../pyproject.toml:dev
    old/bin/pip install langchain-postgres==0.0.19
    PYTHONPATH=. old/bin/python data/write_langchain_postgres.py
"""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import psycopg
from langchain_postgres import PostgresChatMessageHistory
from langchain_samples import MESSAGES
from servers.postgres import PostgresServer

TABLE = "old_chats"


def main() -> None:
    server = PostgresServer()
    try:
        with psycopg.connect(server.url()) as connection:
            PostgresChatMessageHistory.create_tables(connection, TABLE)
            session_id = str(uuid.UUID(int=7))
            history = PostgresChatMessageHistory(TABLE, session_id, sync_connection=connection)
            history.add_messages(MESSAGES)
        command = ["pg_dump", "--inserts", "--no-owner", "--table", TABLE, server.url()]
        dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        server.stop()
    # What begins so is for psql: the rest is SQL.
    lines = [line for line in dumped.splitlines() if not line.startswith(("\\", "--"))]
    (Path(__file__).parent / "langchain_postgres.sql").write_text("\n".join(lines).strip() + "\n")


if __name__ == "__main__":
    main()
