"""Reading a session and its messages: one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sessionstore.errors import InvalidMessageError
from sessionstore.models import SYSTEM_ROLES, SessionData, SessionMessage, decode_messages
from sessionstore.operations import Get, GetMessages
from sessionstore.ownership import require_owner
from sessionstore.sql.batching import reads
from sessionstore.sql.cells import checked, checked_head
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.read_statements import FIRST, Reading, reading, seeking
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["get", "get_messages"]


def get(sessions: Sessions, asked: Get) -> SqlFlow[SessionData | None]:
    """Read a session with its last messages, and check its owner.

    Args:
        sessions: The store's.
        asked: What is to be read.

    Returns:
        The session; ``None`` where there is none.

    Raises:
        SessionAccessError: It is another user's.
        CorruptMessageError: It can't be read.
    """
    limited = asked.limit is not None
    keep = asked.keep_system and limited
    kind = Reading(limited, False, asked.user_id is not None, keep, whole=True)
    rows = yield from _rows(sessions, kind, asked)
    head = checked_head(asked.session_id, rows, FIRST)
    if head is None:
        return None
    require_owner(head[6], asked.user_id)
    row = checked(head[3:])
    messages = _oldest_first(asked.session_id, rows)
    if keep:
        messages[:0] = _system_message(asked.session_id, rows, None)
    return SessionData(**row.head(), messages=messages)


def get_messages(sessions: Sessions, asked: GetMessages) -> SqlFlow[list[SessionMessage]]:
    """Read a session's messages, and check its owner.

    Args:
        sessions: The store's.
        asked: What is to be read.

    Returns:
        The messages, oldest first; none where there is no session.

    Raises:
        SessionAccessError: It is another user's.
        InvalidMessageError: It has no message with the id ``before`` or ``after``.
        CorruptMessageError: It can't be read.
    """
    limit, user_id, forward = asked.limit, asked.user_id, asked.after is not None
    keep = asked.keep_system and limit is not None
    named = asked.before or asked.after or None
    kind = Reading(limit is not None, named is not None, user_id is not None, keep, forward)
    rows = yield from _rows(sessions, kind, asked, named)
    head = checked_head(asked.session_id, rows, FIRST)
    if head is None:
        return []
    _, end, _, owner = head
    require_owner(owner, user_id)
    if named is not None and end is None:
        way = "on from" if forward else "before"
        raise InvalidMessageError(f"the session has no message {named!r} to go {way}")
    messages = _oldest_first(asked.session_id, rows)
    return _system_message(asked.session_id, rows, end) + messages if keep else messages


def _rows(
    sessions: Sessions, kind: Reading, asked: Get | GetMessages, named: str | None = None
) -> SqlFlow[Sequence[Any]]:
    session_id = asked.session_id
    values = Values(session_id=session_id, oldest=sessions.oldest())
    if asked.limit is not None:
        values["limit"] = asked.limit
    if asked.user_id is not None:
        values["user_id"] = asked.user_id
    if named is not None:
        values["message"] = named
    reader = (session_id,)  # a reader waits for no lock, so it does not queue behind the writers
    if kind.named and sessions.is_mysql:
        seek = Query(seeking(sessions.tables), values)
        [(values["place"],)] = yield Work(seek, at_once=True, repeatable=True, session=reader)
        kind = kind._replace(sought=True)
    query, batchable = Query(reading(sessions.tables, kind), values), None
    if kind.limited and not (kind.named or kind.forward) and sessions.is_postgres:
        batchable = reads(sessions.tables, kind.keep_system, kind.whole)
    rows: Sequence[Any] = yield Work(query, True, True, reader, batchable=batchable)
    return rows


def _oldest_first(session_id: str, rows: Sequence[Any]) -> list[SessionMessage]:
    messages = sorted([(row[1], row[2]) for row in rows if row[0] > FIRST])
    return decode_messages(session_id, [body for _, body in messages])


def _system_message(session_id: str, rows: Sequence[Any], end: int | None) -> list[SessionMessage]:
    start = min((row[1] for row in rows if row[0] > FIRST), default=end)
    first = [row[2] for row in rows if row[0] == FIRST and (start is None or row[1] < start)]
    return [m for m in decode_messages(session_id, first) if m.role in SYSTEM_ROLES]
