"""Appending messages: one statement on PostgreSQL, one transaction elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from sessionstore.arguments import require_version
from sessionstore.operations import Append
from sessionstore.ownership import require_owner
from sessionstore.rows.sessions import encoded
from sessionstore.sql.batching import appends
from sessionstore.sql.changes import add, find, make, new_row, write_head
from sessionstore.sql.column_types import escaped
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.write_statements import appending

__all__ = ["NO_VERSION", "append"]

NO_VERSION = 2**62
"""A version that no session reaches: to expect a higher one is to expect this one."""


def append(sessions: Sessions, asked: Append) -> SqlFlow[int]:
    """Add those messages whose ids are new, and make the session where it is new.

    Args:
        sessions: The store's.
        asked: What to add.

    Returns:
        How many messages were added.

    Raises:
        SessionAccessError: The session is another user's.
        SessionConflictError: It is at another version.
    """
    records = encoded(asked.messages)
    if records and sessions.is_postgres:
        expected, user_id = asked.expected_version, asked.user_id
        query = Query(appending(sessions.tables), _values(sessions, asked, records))
        # One that expects a version is not repeatable: it would not find that version any more.
        repeatable, session = expected is None, query.values["id"]
        batchable = appends(sessions.tables) if repeatable else None
        [reply] = yield Work(query, True, repeatable, session, batchable=batchable)
        was_there, owner, is_live, version, added, made = reply
        if made:
            return int(added)
        if was_there and is_live:
            if owner is not None and user_id is not None:
                require_owner(owner, escaped(user_id))
            if expected is not None:
                require_version(version, expected)
            return int(added)
        require_version(0, expected)
    # Where PostgreSQL's statement has settled nothing, a transaction does.
    work = partial(_in_transaction, sessions, asked, records)
    count: int = yield Work(work, session=asked.session_id)
    return count


def _values(sessions: Sessions, asked: Append, records: Sequence[tuple[str, str]]) -> Values:
    user_id, expected = asked.user_id, asked.expected_version
    ids, bodies = zip(*records, strict=True)
    return Values(
        id=escaped(asked.session_id),
        agent_id=escaped(asked.agent_id),
        user_id=None if user_id is None else escaped(user_id),
        expected=None if expected is None else min(expected, NO_VERSION),
        oldest=sessions.oldest(),
        count=len(records),
        ids=list(map(escaped, ids)),
        bodies=list(bodies),
    )


def _in_transaction(
    sessions: Sessions, asked: Append, records: Sequence[tuple[str, str]], connection: Connection
) -> int:
    row = find(sessions, connection, asked.session_id, asked.user_id)
    if asked.expected_version is not None:
        require_version(row.version if row else 0, asked.expected_version)
    if not records:
        return 0
    if row is None:
        fresh = new_row(asked.session_id, asked.agent_id, asked.user_id, "{}")
        make(sessions, connection, fresh, records)
        return len(records)
    grown = add(sessions, connection, row, records)
    added = grown.message_count - row.message_count
    if added:
        write_head(sessions, connection, grown)
    return added
