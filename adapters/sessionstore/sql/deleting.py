"""Deleting some of a session's messages: on PostgreSQL mostly in one statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, TextClause

from sessionstore.arguments import require_version
from sessionstore.operations import DeleteMessages, Rewind
from sessionstore.ownership import require_owner
from sessionstore.rows.sessions import Row
from sessionstore.sql.appending import NO_VERSION
from sessionstore.sql.changes import find, remove, write_head
from sessionstore.sql.column_types import escaped
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.tables import Tables
from sessionstore.sql.write_statements import removing

__all__ = ["Deletion", "delete_messages", "deleted"]


class Deletion(NamedTuple):
    """Which messages are to go.

    Attributes:
        statement: Makes the statement of PostgreSQL that deletes them.
        which: Its parameters that name them.
        told: Gives their ids, in order, from what the statement tells of them.
        remove: Deletes them in a transaction, and gives their ids in order.
        without_session: Gives what there is to tell where there is no session.
    """

    statement: Callable[[Tables], TextClause]
    which: Values
    told: Callable[..., list[str]]
    remove: Callable[[Connection, Row], list[str]]
    without_session: Callable[[], list[str]]


def delete_messages(sessions: Sessions, asked: DeleteMessages) -> SqlFlow[list[str]]:
    """Delete those messages that are there.

    Args:
        sessions: The store's.
        asked: Their ids.

    Returns:
        The ids of those that were deleted, in the session's order.

    Raises:
        SessionAccessError: The session is another user's.
        SessionConflictError: It is at another version.
    """
    ids = {escaped(message_id): message_id for message_id in asked.message_ids}

    def told(removed: list[str] | None) -> list[str]:
        return [ids[message_id] for message_id in removed or ()]

    def removed(connection: Connection, row: Row) -> list[str]:
        return remove(sessions, connection, row, asked.message_ids)

    return deleted(sessions, asked, Deletion(removing, Values(ids=list(ids)), told, removed, list))


def deleted(
    sessions: Sessions, asked: DeleteMessages | Rewind, deletion: Deletion
) -> SqlFlow[list[str]]:
    """Delete messages of a session that is the caller's, and at the version that is expected.

    Args:
        sessions: The store's.
        asked: Of which session, by whom, at which version.
        deletion: Which messages.

    Returns:
        The ids of those that were deleted, in the session's order.
    """
    if sessions.is_postgres:
        at_once = yield from _at_once(sessions, asked, deletion)
        if at_once is not None:
            return at_once

    def work(connection: Connection) -> list[str]:
        row = find(sessions, connection, asked.session_id, asked.user_id)
        require_version(row.version if row else 0, asked.expected_version)
        if row is None:
            return deletion.without_session()
        removed = deletion.remove(connection, row)
        if removed:
            left = row._replace(message_count=row.message_count - len(removed))
            write_head(sessions, connection, left)
        return removed

    removed: list[str] = yield Work(work, session=asked.session_id)
    return removed


def _at_once(
    sessions: Sessions, asked: DeleteMessages | Rewind, deletion: Deletion
) -> SqlFlow[list[str] | None]:
    """Delete by PostgreSQL's one statement; ``None`` where it has settled nothing."""
    user_id, expected = asked.user_id, asked.expected_version
    session = escaped(asked.session_id)
    values = Values(
        id=session,
        user_id=None if user_id is None else escaped(user_id),
        expected=None if expected is None else min(expected, NO_VERSION),
        oldest=sessions.oldest(),
        **deletion.which,
    )
    query = Query(deletion.statement(sessions.tables), values)
    [reply] = yield Work(query, at_once=True, session=session)
    was_there, owner, is_live, version, settled, *told = reply
    if not (was_there and is_live):
        require_version(0, expected)
        return deletion.without_session()
    if owner is not None and user_id is not None:
        require_owner(owner, escaped(user_id))
    if not settled:
        return None
    require_version(version, expected)
    return deletion.told(*told)
