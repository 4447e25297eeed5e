"""`SQLChatMessageHistory` of langchain-community: a table ``message_store``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions
from sessionstore.transfer.readers.langchain_json import message_of_json
from sessionstore.transfer.readers.tables import (
    Url,
    file_or_today,
    row_of,
    table_source,
    text_column,
)

__all__ = ["read"]


def read(
    url: Url,
    *,
    table: str = "message_store",
    schema: str | None = None,
    session_column: str = "session_id",
    message_column: str = "message",
    when: datetime | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of LangChain's `SQLChatMessageHistory`.

    There are no times in it: see ``when``.

    Args:
        url: The database: SQLAlchemy's URL, or a SQLite file.
        table: The table.
        schema: The schema that it is in; ``None`` for the connection's own.
        session_column: The column with the session's id.
        message_column: The column with the message, as LangChain's JSON.
        when: The time of all messages; ``None`` for the last change of a file, and for the
            beginning of this day where it is none. An import that is to go on where another was
            stopped needs the same.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    told = when or file_or_today(url)
    source = table_source(
        url,
        [table],
        partial(_parts, told),
        when=told,
        schema=schema,
        session=session_column,
        columns=["id", text_column(message_column)],
        order=["id"],
    )
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(when: datetime, name: str, rows: Iterable[Any]) -> Iterator[Part]:
    for row_id, raw, _ in rows:
        place = f"langchain-sql-{row_id}"
        yield part_of(row_of(name, row_id), place, partial(message_of_json, raw), when)
