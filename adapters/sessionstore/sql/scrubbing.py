"""Erasing what a database keeps of a user beside the sessions that are listed."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, select

from sessionstore.errors import StoreBusyError
from sessionstore.operations import Scrub, Trace
from sessionstore.rows.sessions import NOT_REWRITTEN, PRUNE_SESSIONS
from sessionstore.sql.expiring import drop
from sessionstore.sql.leases import forget_leases
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.urls import is_in_memory

__all__ = ["scrub"]

_POSTGRES = (
    ("dead rows", "VACUUM frees their space, and it is used again, or VACUUM FULL"),
    ("the write-ahead log", "it is recycled, and its archive as long as you keep it"),
    ("replicas and backups", "they have caught up, and as long as you keep them"),
)
_OTHERS = (
    ("free pages, undo and binary logs", "they are used again, and purged"),
    ("replicas and backups", "they have caught up, and as long as you keep them"),
)


def scrub(sessions: Sessions, asked: Scrub) -> SqlFlow[list[Trace]]:
    """Erase the leases, and the user's sessions that no list shows; write an SQLite file anew.

    Args:
        sessions: The store's.
        asked: Of whom.

    Returns:
        What was found, and what the database keeps by itself.
    """
    leases = yield from forget_leases(sessions, asked.session_ids)
    unlisted = 0
    while asked.user_id is not None:
        dropped = yield Work(partial(_drop_some, sessions, asked.user_id))
        unlisted += dropped
        if dropped < PRUNE_SESSIONS:
            break
    where = sessions.where
    found = [Trace(where, "unlisted sessions", unlisted), Trace(where, "leases", leases)]
    if sessions.is_sqlite and asked.rewrite:
        yield Work(partial(_rewrite, []), at_once=True, repeatable=True)
    elif sessions.is_sqlite and asked.user_id is not None:
        found.append(Trace(where, *NOT_REWRITTEN))
    if sessions.is_sqlite:
        return found
    kept = _POSTGRES if sessions.is_postgres else _OTHERS
    return found + [Trace(where, what, until=until) for what, until in kept]


def _drop_some(sessions: Sessions, user_id: str, connection: Connection) -> int:
    c = sessions.tables.sessions.c
    theirs = select(c.session_key).where(c.user_id == user_id).limit(PRUNE_SESSIONS)
    keys = connection.scalars(theirs).all()
    # In one order, as whoever prunes, so that two never wait for each other crosswise.
    locked = select(c.session_key).where(c.session_key.in_(keys)).order_by(c.session_key)
    drop(sessions.tables, connection, connection.scalars(locked.with_for_update()).all())
    return len(keys)


def _rewrite(done: list[str], connection: Connection) -> None:
    """Write the file anew, and empty its log; when it is run again, it goes on where it was."""
    if is_in_memory(connection.engine.url):
        return
    if not done:
        connection.exec_driver_sql("VACUUM")
        done.append("VACUUM")
    [busy, *_] = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    if busy:
        raise StoreBusyError("the file's log is locked by a reader: try again")
