"""Deleting what is behind a message: on PostgreSQL mostly in one statement."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from sessionstore.arguments import require_version
from sessionstore.errors import CorruptMessageError, SessionNotFoundError
from sessionstore.operations import Rewind
from sessionstore.ownership import require_owner
from sessionstore.rows import Row
from sessionstore.sql.appending import NO_VERSION
from sessionstore.sql.cells import raw
from sessionstore.sql.changes import find, remove_at, write_head
from sessionstore.sql.column_types import escaped, unescaped
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.requests import SqlFlow, Work
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
    if sessions.is_postgres:
        deleted = yield from _rewind_at_once(sessions, asked)
        if deleted is not None:
            return deleted

    def work(connection: Connection) -> list[str]:
        row = find(sessions, connection, asked.session_id, asked.user_id)
        require_version(row.version if row else 0, asked.expected_version)
        if row is None:
            return asked.without_session()
        removed = _remove_behind(sessions, connection, row, asked.to)
        if removed:
            left = row._replace(message_count=row.message_count - len(removed))
            write_head(sessions, connection, left)
        return removed

    removed: list[str] = yield Work(work, session=asked.session_id)
    return removed


def _rewind_at_once(sessions: Sessions, asked: Rewind) -> SqlFlow[list[str] | None]:
    """Delete by PostgreSQL's one statement; ``None`` where it has settled nothing."""
    user_id, expected, to = asked.user_id, asked.expected_version, asked.to
    session = escaped(asked.session_id)
    values = Values(
        id=session,
        user_id=None if user_id is None else escaped(user_id),
        expected=None if expected is None else min(expected, NO_VERSION),
        oldest=sessions.oldest(),
        to=None if to is None else escaped(to),
    )
    query = Query(rewinding(sessions.tables), values)
    [reply] = yield Work(query, at_once=True, session=session)
    was_there, owner, is_live, version, settled, found, removed = reply
    if not (was_there and is_live):
        require_version(0, expected)
        return asked.without_session()
    if owner is not None and user_id is not None:
        require_owner(owner, escaped(user_id))
    if not settled:
        return None
    require_version(version, expected)
    if not found:
        raise SessionNotFoundError(f"the session has no message {to!r}")
    return list(map(unescaped, removed or ()))


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
