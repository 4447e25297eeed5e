"""The writes other than an append, each in one transaction; some in one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from sessionstore.arguments import require_version
from sessionstore.errors import SessionExistsError, SessionNotFoundError
from sessionstore.models import (
    SessionData,
    SessionInfo,
    decode_metadata,
    encode_metadata,
    merge_metadata,
)
from sessionstore.operations import Create, Delete, ReplaceMessage, Restore, Update
from sessionstore.rows.sessions import Row, encoded
from sessionstore.sql.changes import (
    add,
    find,
    has_expired,
    make,
    new_row,
    relabel,
    replace_all,
    require,
    write_head,
)
from sessionstore.sql.expiring import drop
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["create", "delete_session", "replace_message", "restore", "update_session"]


def create(sessions: Sessions, asked: Create) -> SqlFlow[SessionData]:
    """Make a new session.

    Args:
        sessions: The store's.
        asked: What it is to be.

    Returns:
        The session.

    Raises:
        SessionExistsError: It is there already.
        SessionAccessError: It is there, and another user's.
    """
    session_id, user_id = str(asked.session_id), asked.user_id
    records = encoded(asked.messages)
    row = new_row(session_id, asked.agent_id, user_id, encode_metadata(asked.metadata).decode())

    def work(connection: Connection) -> Row:
        if find(sessions, connection, session_id, user_id):
            raise SessionExistsError(f"session {session_id!r} is already there")
        return make(sessions, connection, row, records)

    made: Row = yield Work(work, session=session_id)
    return SessionData(**made.head(), messages=list(asked.messages))


def restore(sessions: Sessions, asked: Restore) -> SqlFlow[SessionInfo | None]:
    """Make a session as it was elsewhere, or go on with one.

    Args:
        sessions: The store's.
        asked: What it is to be.

    Returns:
        The session, without its messages; ``None`` where it has expired by now.

    Raises:
        SessionExistsError: It is there already.
        SessionAccessError: It is there, and another user's.
        SessionConflictError: It is at another version than the one to go on with.
    """
    session_id, expected = asked.session_id, asked.expected_version
    records, metadata = encoded(asked.messages), encode_metadata(asked.metadata).decode()
    new = new_row(session_id, asked.agent_id, asked.user_id, metadata)
    new = new._replace(created_at=asked.created_at, updated_at=asked.updated_at)

    def work(connection: Connection) -> Row | None:
        row = find(sessions, connection, session_id, asked.user_id)
        if expected is not None:
            require_version(row.version if row else 0, expected)
        elif row:
            raise SessionExistsError(f"session {session_id!r} is already there")
        if has_expired(sessions, connection, asked.updated_at):
            return None
        if row is None:
            return make(sessions, connection, new, records)
        row = row._replace(metadata=metadata, updated_at=asked.updated_at)
        row = add(sessions, connection, row, records)
        write_head(sessions, connection, row, metadata=True, at=asked.updated_at)
        return row._replace(version=row.version + 1)

    made: Row | None = yield Work(work, session=session_id)
    return made and made.info()


def replace_message(sessions: Sessions, asked: ReplaceMessage) -> SqlFlow[None]:
    """Put a message in the place of the one with its id.

    Args:
        sessions: The store's.
        asked: The message.

    Raises:
        SessionNotFoundError: There is no such session, or no such message in it.
        SessionAccessError: The session is another user's.
    """
    records = encoded([asked.message])
    messages = sessions.tables.messages

    def work(connection: Connection) -> None:
        row = require(sessions, connection, asked.session_id, asked.user_id)
        own = messages.c.session_key == row.session_key
        swap = update(messages).where(own, messages.c.id == records[0][0])
        if not connection.execute(swap.values(body=records[0][1])).rowcount:
            raise SessionNotFoundError(f"the session has no message {records[0][0]!r}")
        write_head(sessions, connection, row)

    yield Work(work, session=asked.session_id)


def update_session(sessions: Sessions, asked: Update) -> SqlFlow[SessionInfo]:
    """Replace the messages and merge the metadata, as far as given.

    Args:
        sessions: The store's.
        asked: What to change.

    Returns:
        The session as it is then, without its messages.

    Raises:
        SessionNotFoundError: There is no such session.
        SessionAccessError: It is another user's.
        SessionConflictError: It is at another version.
    """
    records = None if asked.messages is None else encoded(asked.messages)
    c, changes = sessions.tables.sessions.c, asked.metadata is not None
    if asked.metadata is not None:
        encode_metadata(asked.metadata)

    def work(connection: Connection) -> Row:
        row = require(sessions, connection, asked.session_id, asked.user_id)
        require_version(row.version, asked.expected_version)
        if asked.metadata is not None:
            row = row._replace(metadata=_merged(row.metadata, asked.metadata))
        if records is None:
            return relabel(sessions, connection, row)
        row = replace_all(sessions, connection, row, records)
        write_head(sessions, connection, row, metadata=changes)
        written = select(c.version, c.updated_at).where(c.session_key == row.session_key)
        found = connection.execute(written).one()
        return row._replace(version=found.version, updated_at=found.updated_at)

    row: Row = yield Work(work, session=asked.session_id)
    return row.info()


def _merged(stored: Any, changes: dict[str, Any]) -> str:
    return encode_metadata(merge_metadata(decode_metadata(stored), changes)).decode()


def delete_session(sessions: Sessions, asked: Delete) -> SqlFlow[bool]:
    """Delete a session, also one that can't be read.

    Args:
        sessions: The store's.
        asked: Which.

    Returns:
        Whether it was there.

    Raises:
        SessionAccessError: It is another user's.
    """

    def work(connection: Connection) -> bool:
        row = find(sessions, connection, asked.session_id, asked.user_id, damaged=True)
        if row:
            drop(sessions.tables, connection, [row.session_key])
        return row is not None

    was_there: bool = yield Work(work, session=asked.session_id)
    return was_there
