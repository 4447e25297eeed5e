"""`SQLChatMessageHistory` of langchain-community: a table ``message_store``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, now, part_of, sessions
from sessionstore.transfer.readers.langchain_json import message_of_json
from sessionstore.transfer.readers.tables import Url, table_source, text_column

__all__ = ["read"]


def read(
    url: Url,
    *,
    table: str = "message_store",
    schema: str | None = None,
    session_column: str = "session_id",
    message_column: str = "message",
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of LangChain's `SQLChatMessageHistory`.

    The table tells no times: messages have that of the reading.

    Args:
        url: The database: SQLAlchemy's URL, or a SQLite file.
        table: The table.
        schema: The schema that it is in; ``None`` for the connection's own.
        session_column: The column with the session's id.
        message_column: The column with the message, as LangChain's JSON.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    source = table_source(
        url,
        [table],
        _parts,
        schema=schema,
        session=session_column,
        columns=["id", text_column(message_column)],
        order=["id"],
    )
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(name: str, rows: Iterable[Any]) -> Iterator[Part]:
    when = now()
    for row_id, raw, _ in rows:
        place = f"langchain-sql-{row_id}"
        yield part_of(f"{name}, row {row_id}", place, partial(message_of_json, raw), when)
