"""Deleting what has expired, in transactions so short that no writer waits for long."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select

from sessionstore.operations import Prune
from sessionstore.rows.sessions import PRUNE_MESSAGES, PRUNE_SESSIONS
from sessionstore.sql.clock import oldest_live
from sessionstore.sql.expiring import counted, drop, hide
from sessionstore.sql.leases import prune_leases
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["prune"]


def prune(sessions: Sessions, _: Prune) -> SqlFlow[int]:
    """Delete the sessions that have expired, and leases that ended long ago.

    Args:
        sessions: The store's.

    Returns:
        How many sessions were deleted.
    """

    def work(connection: Connection) -> tuple[int, int]:
        return _prune_some(sessions, connection)

    pruned = 0
    while sessions.retention is not None:
        found, dropped = yield Work(work)
        pruned += dropped
        if not found:
            break
    yield from prune_leases(sessions)
    return pruned


def _prune_some(sessions: Sessions, connection: Connection) -> tuple[int, int]:
    """Drop some expired sessions; give how many were found and how many dropped."""
    c = sessions.tables.sessions.c
    expired = c.updated_at < oldest_live()
    some = select(c.session_key, c.message_count).where(expired).limit(PRUNE_SESSIONS)
    found = connection.execute(some, {"oldest": sessions.oldest()}).all()
    keys: list[int] = []
    messages = 0
    if found and counted(found[0].message_count) > PRUNE_MESSAGES:
        return 1, _prune_slice(sessions, connection, found[0].session_key)
    for session_key, message_count in found:
        messages += counted(message_count)
        if keys and messages > PRUNE_MESSAGES:
            break
        keys.append(session_key)
    # Others may have written to one since, or prune too: in the same order, so never crosswise.
    still = select(c.session_key).where(c.session_key.in_(keys), expired)
    in_order = still.order_by(c.session_key).with_for_update()
    locked = connection.scalars(in_order, {"oldest": sessions.oldest()}).all()
    drop(sessions.tables, connection, locked)
    return len(keys), len(locked)


def _prune_slice(sessions: Sessions, connection: Connection, session_key: int) -> int:
    """Drop a part of a large expired session; give 1 where that was the end of it, else 0."""
    tables = sessions.tables
    c, messages = tables.sessions.c, tables.messages
    expired = select(c.session_key).where(
        c.session_key == session_key, c.updated_at < oldest_live()
    )
    oldest = {"oldest": sessions.oldest()}
    locked = connection.execute(expired.with_for_update(), oldest).one_or_none()
    if locked is None:
        return 0
    own = messages.c.session_key == session_key
    first = connection.scalar(select(func.min(messages.c.position)).where(own))
    if first is None:
        drop(tables, connection, [session_key])
        return 1
    hide(tables, connection, session_key)
    some = messages.c.position < first + PRUNE_MESSAGES
    connection.execute(delete(messages).where(own, some))
    return 0
