"""`PostgresChatStore` of LlamaIndex: a row for each session, with an array of its messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions, today
from sessionstore.transfer.readers.llama_index_json import message_of_json
from sessionstore.transfer.readers.tables import Url, table_source, texts_column

__all__ = ["read"]


def read(
    url: Url,
    *,
    table: str = "chatstore",
    schema: str | None = "public",
    when: datetime | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of LlamaIndex's `PostgresChatStore`.

    There are no times in it: see ``when``.

    Args:
        url: The database: SQLAlchemy's URL.
        table: The table's name as `PostgresChatStore` was given it. Older versions have put
            ``data_`` in front of it: that one is found, too.
        schema: The schema that it is in; ``None`` for the connection's own.
        when: The time of all messages; ``None`` for the beginning of this day. An import that is to
            go on where another was stopped needs the same.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    told = when or today()
    source = table_source(
        url,
        [f"data_{table.lower()}", table.lower(), table],
        partial(_parts, told),
        when=told,
        schema=schema,
        session="key",
        columns=[texts_column("value")],
        order=["id"],
    )
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(when: datetime, name: str, rows: Iterable[Any]) -> Iterator[Part]:
    for values, key in rows:
        for place, raw in enumerate(values or ()):
            where = f"{name}, key {key!r:.80}, message {place}"
            yield part_of(where, f"llama-index-{place}", partial(message_of_json, raw), when)
