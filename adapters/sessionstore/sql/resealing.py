"""Messages and metadata that are still what they were are swapped, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, select, update

from sessionstore.operations import Reseal
from sessionstore.rows.sessions import Row
from sessionstore.sql.cells import raw
from sessionstore.sql.changes import find, in_parts
from sessionstore.sql.direct import Values
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.tables import Tables

__all__ = ["reseal"]


def reseal(sessions: Sessions, asked: Reseal) -> SqlFlow[int]:
    """Swap what is still what it was.

    Args:
        sessions: The store's.
        asked: What to swap.

    Returns:
        How many messages and values of metadata were swapped.

    Raises:
        SessionAccessError: The session is another user's.
    """
    swaps = asked.swaps()

    def work(connection: Connection) -> int:
        row = find(sessions, connection, asked.session_id, asked.user_id)
        if row is None:
            return 0
        records = swaps.of_messages(_named(sessions, connection, row, list(swaps.messages)))
        _swap(sessions, connection, row, records)
        metadata, count = swaps.of_metadata(row.metadata)
        if metadata is not None:
            values = Values(key=row.session_key, changed=metadata.decode())
            connection.execute(_labelling(sessions.tables), values)
        return len(records) + count

    swapped: int = yield Work(work, session=asked.session_id)
    return swapped


def _named(
    sessions: Sessions, connection: Connection, row: Row, message_ids: Sequence[str]
) -> list[tuple[str, Any]]:
    """Give those messages that a session holds."""
    c = sessions.tables.messages.c
    found: list[tuple[str, Any]] = []
    own = select(c.id, raw(c.body)).where(c.session_key == row.session_key)
    for ids in in_parts(message_ids):
        found += [(held, body) for held, body in connection.execute(own.where(c.id.in_(ids)))]
    return found


def _swap(
    sessions: Sessions, connection: Connection, row: Row, records: Sequence[tuple[str, bytes]]
) -> None:
    values = [
        Values(key=row.session_key, named=message_id, new=body.decode())
        for message_id, body in records
    ]
    if values:
        connection.execute(_swapping(sessions.tables), values)


@lru_cache(maxsize=16)
def _swapping(tables: Tables) -> Any:
    """Make the statement that swaps a message: with ``key``, ``named`` and ``new``."""
    c = tables.messages.c
    own = c.session_key == bindparam("key", type_=BigInteger)
    swap = update(tables.messages).where(own, c.id == bindparam("named", type_=c.id.type))
    return swap.values({c.body: bindparam("new", type_=c.body.type)})


@lru_cache(maxsize=16)
def _labelling(tables: Tables) -> Any:
    """Make the statement that gives a session other metadata: with ``key`` and ``changed``."""
    c = tables.sessions.c
    own = c.session_key == bindparam("key", type_=BigInteger)
    changed = bindparam("changed", type_=c.metadata.type)
    return update(tables.sessions).where(own).values({c.metadata: changed})
