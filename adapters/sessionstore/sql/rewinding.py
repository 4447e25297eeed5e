"""Deleting what is behind a message."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from sessionstore.errors import CorruptMessageError, SessionNotFoundError
from sessionstore.operations import Rewind
from sessionstore.rows.sessions import Row
from sessionstore.sql.cells import raw
from sessionstore.sql.changes import remove_at
from sessionstore.sql.column_types import escaped, unescaped
from sessionstore.sql.deleting import Deletion, deleted
from sessionstore.sql.direct import Values
from sessionstore.sql.requests import SqlFlow
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.write_statements import rewinding

__all__ = ["rewind"]

_START = 0  # before the first place


def rewind(sessions: Sessions, asked: Rewind) -> SqlFlow[list[str]]:
    """Delete all messages behind one.

    Args:
        sessions: The store's.
        asked: Which is to be the last one.

    Returns:
        The ids of those that were deleted, in the session's order.

    Raises:
        SessionNotFoundError: There is no such session, or no such message in it.
        SessionAccessError: The session is another user's.
        SessionConflictError: It is at another version.
    """
    to = asked.to

    def told(found: bool, removed: list[str] | None) -> list[str]:
        if not found:
            raise SessionNotFoundError(f"the session has no message {to!r}")
        return list(map(unescaped, removed or ()))

    def removed(connection: Connection, row: Row) -> list[str]:
        return _remove_behind(sessions, connection, row, to)

    which = Values(to=None if to is None else escaped(to))
    deletion = Deletion(rewinding, which, told, removed, asked.without_session)
    return deleted(sessions, asked, deletion)


def _remove_behind(
    sessions: Sessions, connection: Connection, row: Row, message_id: str | None
) -> list[str]:
    """Delete all messages behind one, or all of a session, and give their ids in order."""
    messages = sessions.tables.messages
    own, start = messages.c.session_key == row.session_key, _START
    if message_id is not None:
        place = select(messages.c.position).where(own, messages.c.id == message_id)
        position = connection.execute(place).scalar()
        if position is None:
            raise SessionNotFoundError(f"the session has no message {message_id!r}")
        start = position
    behind = (own, messages.c.position > start)
    named = select(messages.c.position, raw(messages.c.id)).where(*behind)
    found = connection.execute(named.order_by(messages.c.position)).all()
    if not all(type(held) is str for _, held in found):
        raise CorruptMessageError(f"session {row.id!r}: the id of a message can't be read")
    if sessions.is_mysql:  # which would lock what is beside the last of them, too
        remove_at(sessions, connection, row, [position for position, _ in found])
    elif found:
        connection.execute(delete(messages).where(*behind))
    return [held for _, held in found]
