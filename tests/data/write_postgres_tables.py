"""Write `postgres_tables.sql`: tables of langchain-postgres and LlamaIndex, as pg_dump gives them.

Both libraries want asyncpg below 0.31, which waits for a server that hangs for as long as it hangs,
and tests of ours are about that. So this runs in an environment of its own, from `tests`:

    python -m venv old && old/bin/pip install -e '..[langchain]' --group ../pyproject.toml:dev
    old/bin/pip install langchain-postgres==0.0.19 llama-index-storage-chat-store-postgres==0.5.0
    PYTHONPATH=. old/bin/python data/write_postgres_tables.py
"""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import langchain_samples
import llama_index_samples
import psycopg
from langchain_postgres import PostgresChatMessageHistory
from llama_index.storage.chat_store.postgres import PostgresChatStore
from servers.postgres import PostgresServer

TABLES = ["old_chats", "old_json", "old_jsonb"]


def main() -> None:
    server = PostgresServer()
    try:
        write_langchain(server.url())
        write_llama_index(server.url())
        tables = [f"--table={name}" for name in TABLES]
        command = ["pg_dump", "--inserts", "--no-owner", *tables, server.url()]
        dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        server.stop()
    # What begins so is for psql: the rest is SQL.
    lines = [line for line in dumped.splitlines() if line and not line.startswith(("\\", "--"))]
    (Path(__file__).parent / "postgres_tables.sql").write_text("\n".join(lines) + "\n")


def write_langchain(url: str) -> None:
    with psycopg.connect(url) as connection:
        PostgresChatMessageHistory.create_tables(connection, TABLES[0])
        session_id = str(uuid.UUID(int=7))
        history = PostgresChatMessageHistory(TABLES[0], session_id, sync_connection=connection)
        history.add_messages(langchain_samples.MESSAGES)


def write_llama_index(url: str) -> None:
    for table in TABLES[1:]:
        written = PostgresChatStore.from_params(
            connection_string=url.replace("postgresql:", "postgresql+psycopg:"),
            async_connection_string=url.replace("postgresql:", "postgresql+asyncpg:"),
            table_name=table,
            use_jsonb=table.endswith("b"),
        )
        written.set_messages("a", llama_index_samples.MESSAGES)
        written.set_messages("none", [])


if __name__ == "__main__":
    main()
