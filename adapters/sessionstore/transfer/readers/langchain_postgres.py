"""`PostgresChatMessageHistory` of langchain-postgres: a table that the application names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions, today
from sessionstore.transfer.readers.langchain_json import message_of_json
from sessionstore.transfer.readers.tables import (
    Url,
    moment,
    row_of,
    table_source,
    text_column,
    time_column,
)

__all__ = ["read"]


def read(
    url: Url,
    *,
    table: str = "chat_history",
    schema: str | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of langchain-postgres' `PostgresChatMessageHistory`.

    Args:
        url: The database: SQLAlchemy's URL.
        table: The table, which the application has named: there is no usual name but the one in
            LangChain's documentation.
        schema: The schema that it is in; ``None`` for the connection's own.
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
        session="session_id",
        columns=["id", time_column("created_at"), text_column("message")],
        order=["id"],
    )
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(name: str, rows: Iterable[Any]) -> Iterator[Part]:
    for row_id, made, raw, _ in rows:
        where, place = row_of(name, row_id), f"langchain-postgres-{row_id}"
        yield part_of(where, place, partial(message_of_json, raw), moment(made) or today())
